"""The sets that are drawn from against transformers' own classes, and draws against the distribution they come from."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    LogitsProcessorList,
    MinPLogitsWarper,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
    TypicalLogitsWarper,
)

from autogpt.generation.drawing import Draws, draw, truncated
from autogpt.generation.sampling import Sampling

NONE = torch.zeros(1, 1, dtype=torch.long)
CPU = torch.device("cpu")


def scores(rows: int = 6, vocabulary: int = 500, seed: int = 0, spread: float = 3.0) -> torch.Tensor:
    return torch.randn(rows, vocabulary, generator=torch.Generator().manual_seed(seed)) * spread


def kept(scores_BV: torch.Tensor) -> list[set[int]]:
    return [set(row.isfinite().nonzero().flatten().tolist()) for row in scores_BV]


@pytest.mark.parametrize("spread", [0.1, 1.0, 4.0])
@pytest.mark.parametrize(
    ("options", "warper"),
    [
        ({"top_k": 1}, TopKLogitsWarper(1)),
        ({"top_k": 40}, TopKLogitsWarper(40)),
        ({"top_p": 0.2}, TopPLogitsWarper(0.2)),
        ({"top_p": 0.95}, TopPLogitsWarper(0.95)),
        ({"top_p": 0.0}, TopPLogitsWarper(0.0)),
        ({"min_p": 0.1}, MinPLogitsWarper(0.1)),
        ({"min_p": 1.0}, MinPLogitsWarper(1.0)),
        ({"typical_p": 0.2}, TypicalLogitsWarper(0.2)),
        ({"typical_p": 0.9}, TypicalLogitsWarper(0.9)),
    ],
)
def test_each_set_is_transformers(options: dict[str, Any], warper: Any, spread: float) -> None:
    given = scores(spread=spread)
    ours, theirs = truncated(given, Sampling(temperature=1.0, **options)), warper(NONE, given.clone())
    assert kept(ours) == kept(theirs)
    assert torch.equal(ours, theirs)


def test_all_together_in_transformers_order() -> None:
    sampling = Sampling(temperature=0.7, top_k=50, top_p=0.9, min_p=0.02, typical_p=0.8)
    theirs = LogitsProcessorList(
        [
            TemperatureLogitsWarper(0.7),
            TopKLogitsWarper(50),
            TopPLogitsWarper(0.9),
            MinPLogitsWarper(0.02),
            TypicalLogitsWarper(0.8),
        ]
    )
    for seed in range(5):
        given = scores(seed=seed)
        assert kept(truncated(given, sampling)) == kept(theirs(NONE, given.clone()))


def test_draws_follow_the_distribution() -> None:
    given = scores(1, 12, spread=1.5)
    given[0, 3] = float("-inf")
    uniform = torch.from_numpy(np.random.default_rng(0).random(40_000))
    found = torch.bincount(draw(given.expand(40_000, -1), uniform), minlength=12) / 40_000
    assert found.tolist() == pytest.approx(given.softmax(-1)[0].tolist(), abs=0.01)
    assert found[3] == 0


def test_the_ends_of_the_interval_draw_tokens_that_can_be_drawn() -> None:
    given = torch.tensor([[float("-inf"), 0.0, 0.0, float("-inf")]] * 3)
    uniform = torch.tensor([0.0, 0.5, np.nextafter(1.0, 0.0)], dtype=torch.float64)
    assert draw(given, uniform).tolist() == [1, 2, 2]


def test_numbers_depend_on_the_own_prompt_and_seed_alone() -> None:
    prompts = [[1, 2, 3], [4], [5, 6]]
    together = Draws(prompts, [7, 7, 7])
    alone = [Draws([prompt], [7]) for prompt in prompts]
    for step in range(300):  # more than one block
        row = together.next(CPU).tolist()
        assert row == [draws.next(CPU).item() for draws in alone[: len(row)]]
        assert len(set(row)) == len(row)
        if step == 100:
            together.select([0, 1])
    assert Draws([[1]], [1]).next(CPU) != Draws([[1]], [2]).next(CPU)


def test_numbers_are_uniform() -> None:
    draws = Draws([[i] for i in range(200)], [3] * 200)
    numbers = np.stack([draws.next(CPU).numpy() for _ in range(300)])
    assert np.histogram(numbers, bins=10, range=(0, 1))[0] / numbers.size == pytest.approx([0.1] * 10, abs=0.006)
    assert abs(np.corrcoef(numbers[:-1].ravel(), numbers[1:].ravel())[0, 1]) < 0.02
    assert abs(np.corrcoef(numbers[:, :-1].ravel(), numbers[:, 1:].ravel())[0, 1]) < 0.02
