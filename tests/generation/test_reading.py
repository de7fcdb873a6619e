"""What a model has read against plain forward passes over the whole text, the context's window included."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from autogpt.generation.engine import Engine
from autogpt.generation.reading import KEPT_FIRST_TOKENS, Reading, shortened

KINDS: list[dict[str, Any]] = [
    {},
    {"late_key_heads": 1, "position": "learned"},
    {"kind": "llama"},
    {"kind": "qwen2"},
    {"kind": "qwen2", "use_sliding_window": True, "sliding_window": 64, "max_window_layers": 1},
]
IDS = ["gpt", "late keys", "llama", "qwen2", "sliding window"]


def expected(engine: Engine, row: list[int]) -> torch.Tensor:
    with torch.no_grad():
        return engine.model(torch.tensor([row]), use_cache=False).logits[0, -1]


class Noted:
    """A follower that keeps what it is told."""

    tail, hooked = None, ()

    def __init__(self) -> None:
        self.told: list[tuple[str, list[int], list[int] | None]] = []

    def about_to_read(self, rows: list[int]) -> None:
        self.told.append(("about to", rows, None))

    def has_read(self, rows: list[int], tokens_B: torch.Tensor | None) -> None:
        self.told.append(("has", rows, None if tokens_B is None else tokens_B.tolist()))


@pytest.mark.parametrize("fields", KINDS, ids=IDS)
def test_rows_equal_a_pass_over_their_window_alone(make_engine: Any, fields: dict[str, Any]) -> None:
    """Rows of different lengths, written far past a context of 16; rows leave on the way."""
    engine: Engine = make_engine(context=16, **fields)
    rows = [[1, *range(20, 20 + size)] for size in (3, 14, 9, 15)]
    reading = Reading(engine._reader, rows, range(4))
    windows = [list(row) for row in rows]
    for step in range(40):
        tokens = [(7 * step + 13 * row) % 300 + 20 for row in range(len(windows))]
        reading.read(tokens, torch.tensor(tokens))
        for row, token in enumerate(tokens):
            whole = [*windows[row], token]
            windows[row] = whole if len(whole) <= 16 else whole[:4] + whole[-8:]
        for row, logits in zip(windows, reading.logits_BV, strict=True):
            torch.testing.assert_close(logits, expected(engine, row), atol=5e-5, rtol=1e-4)
        if step == 20:
            reading.select([3, 1])
            windows = [windows[3], windows[1]]
    assert reading.names == [3, 1]


def test_shortened_keeps_the_first_tokens_and_the_last_half() -> None:
    assert shortened(list(range(33)), 32) == [0, 1, 2, 3, *range(17, 33)]
    assert len(shortened(list(range(33)), 32)) == KEPT_FIRST_TOKENS + 16
    assert shortened([1, 2, 3], 2) == [3]
    assert shortened([1, 2], 1) == [2]


def test_a_follower_is_told_of_every_pass_and_token(make_engine: Any) -> None:
    engine: Engine = make_engine(context=16)
    noted = Noted()
    reading = Reading(engine._reader, [[1, 5], [1, *range(6, 20)]], [8, 9], follower=noted)
    for token in (30, 31, 32):
        reading.read([token, token + 10], torch.tensor([token, token + 10]))
    reading.select([0])
    reading.read([50], torch.tensor([50]))
    assert noted.told == [
        ("about to", [8, 9], None),
        ("has", [8, 9], None),
        ("about to", [8, 9], None),
        ("has", [8, 9], [30, 40]),
        ("about to", [8, 9], None),
        ("has", [8, 9], [31, 41]),
        ("about to", [9], None),  # its context was full
        ("about to", [8, 9], None),
        ("has", [8, 9], [32, 42]),
        ("about to", [8], None),
        ("has", [8], [50]),
    ]


def test_row_arguments_go_with_their_rows(make_engine: Any) -> None:
    """A model that reads one more tensor: it moves the scores of a row by the row's own number."""
    engine: Engine = make_engine(context=16)
    plain = engine.model

    class Shifted(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.config, self.inner = plain.config, plain

        def forward(self, shift: torch.Tensor, **options: Any) -> Any:
            out = self.inner(**options)
            out.logits = out.logits + shift[:, None, None]
            return out

    shifted = Engine(Shifted(), engine.tokenizer, context=16)
    prompts = [[1, 5, 6], [1, 7], [1, *range(6, 20)]]
    shift = torch.tensor([100.0, 200.0, 300.0])
    ours = Reading(shifted._reader, prompts, range(3), {"shift": shift})
    other = Reading(engine._reader, prompts, range(3))
    for step in range(6):
        for reading in (ours, other):
            reading.read([30, 40, 50][: len(reading.names)], torch.tensor([30, 40, 50][: len(reading.names)]))
        found = ours.logits_BV - other.logits_BV
        torch.testing.assert_close(found, shift[ours.names][:, None].expand_as(found), atol=1e-3, rtol=0)
        if step == 2:
            for reading in (ours, other):
                reading.select([2, 0])
