"""Both writers: a tiny model trained here in seconds, and an endpoint on this machine."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from autogpt.errors import EndpointError, TaskError
from autogpt.tasks.spec import METRIC_DIRECTION, METRICS_OF_KIND, TaskKind, TaskSpec
from autogpt.testing import said, scripted_llm
from autogpt.writing import grammars
from autogpt.writing.book import write_book
from autogpt.writing.model_writer import ModelWriter
from autogpt.writing.order import Order, WritingSettings
from autogpt.writing.units import ends_sentence
from autogpt.writing.writers import EndpointWriter, fingerprint, until

WHO = ("Ann", "Ben", "Cora")
DID = ("saw", "found", "lost", "painted", "carried", "wanted", "sold", "hid")
WHAT = (
    "the red boat",
    "an old map",
    "the cold sea",
    "a small house",
    "the long road",
    "a green door",
    "the last letter",
)
WHERE = ("in the morning", "near the harbour", "under the bridge", "before the storm", "after the war", "at night")


def spec_of(kind: TaskKind) -> TaskSpec:
    metric = METRICS_OF_KIND[kind][0]
    fields: dict[str, Any] = {"labels": ["a", "b"]} if kind is TaskKind.CLASSIFICATION else {}
    fields["input_fields"] = ["text"] if kind is TaskKind.CLASSIFICATION else []
    return TaskSpec(
        description="a test",
        kind=kind,
        metric=metric,
        direction=METRIC_DIRECTION[metric],
        output_field="out",
        **fields,
    )


@pytest.fixture(scope="module")
def engine() -> Any:
    """A model that has learnt three hundred sentences well enough to write others like them."""
    import torch

    from autogpt.data.tokenizers import train_tokenizer
    from autogpt.generation.engine import Engine
    from autogpt.models.gpt import GPT
    from autogpt.models.sizing import shape_for

    draw = random.Random(0)
    rows = [
        " ".join((draw.choice(WHO), draw.choice(DID), draw.choice(WHAT), draw.choice(WHERE))) + "." for _ in range(300)
    ]
    text = " ".join(rows)
    tokenizer = train_tokenizer([text], 400)
    torch.manual_seed(0)
    model = GPT(shape_for(32, depth=2, vocab_size=len(tokenizer), context=96))
    ids_T = torch.tensor(tokenizer(text, add_special_tokens=False)["input_ids"])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(80):
        starts = torch.randint(0, len(ids_T) - 33, (12,))
        ids_BT = torch.stack([ids_T[start : start + 32] for start in starts])
        loss = model(input_ids=ids_BT, labels=ids_BT).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return Engine(model, tokenizer)


def writer_of(engine: Any, **settings: Any) -> ModelWriter:
    return ModelWriter(engine, spec_of(TaskKind.GENERATION), WritingSettings(**settings), name="tiny")


def test_a_seed_gives_one_text(engine: Any) -> None:
    writer = writer_of(engine)
    texts = ["".join(writer.write("Ann saw", 20, seed=seed)) for seed in (1, 1, 2, 3)]
    assert texts[0] == texts[1]
    assert len(set(texts)) > 1
    assert (
        "".join(writer.write("Ann saw", 40, seed=1, stop=(".",)))
        == "".join(writer.write("Ann saw", 40, seed=1)).split(".")[0]
    )


def test_a_grammar_is_held(engine: Any) -> None:
    assert "".join(writer_of(engine).write("Ann saw", 40, grammar=grammars.named("Cora", "en"))).startswith("Cora ")


def test_tokens_are_those_of_the_tokenizer(engine: Any) -> None:
    writer = writer_of(engine)
    assert writer.count_tokens("Ann saw it.") == len(engine.tokenizer.encode("Ann saw it.", add_special_tokens=False))
    assert writer.state() == b""


def test_only_free_text_is_written(engine: Any) -> None:
    with pytest.raises(TaskError, match="does not write free text; found a classification model"):
        ModelWriter(engine, spec_of(TaskKind.CLASSIFICATION), WritingSettings(), name="m")


def test_a_real_model_writes_a_book_and_goes_on_with_it(engine: Any, tmp_path: Path) -> None:
    order = Order("Ann and Ben, who hides, live at sea.", "novel", 2, 160)
    # three hundred sentences cannot be told without repeats
    settings = WritingSettings(max_repeats=0.5, formats=("txt",), scene_words=80)
    *_, done = write_book(order, writer_of(engine), tmp_path / "whole", settings)
    report = done.data["report"]
    assert report["promises"]["made"] == 4
    assert report["promises"]["kept"] >= 3  # what so small a model makes of it depends on rounding, and so on threads
    assert report["words"]["written"] > 100
    assert all(chapter["ends_whole"] for chapter in report["chapters"])
    lines = (tmp_path / "whole" / "journal.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "journal.jsonl").write_bytes(b"".join(lines[: len(lines) // 2]))
    list(write_book(order, writer_of(engine), tmp_path / "half", settings))
    assert (tmp_path / "half" / "book.txt").read_text() == (tmp_path / "whole" / "book.txt").read_text()


def test_until_finds_a_mark_across_pieces() -> None:
    assert "".join(until(iter(["ab", "c\n", "\nd"]), ("\n\n",))) == "abc"
    assert "".join(until(iter(["ab", "cd"]), ())) == "abcd"
    assert "".join(until(iter(["a|b"]), ("||", "|"))) == "a"


def test_fingerprints_differ_with_the_weights(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"1")
    (tmp_path / "notes.txt").write_bytes(b"1")
    first = fingerprint(tmp_path)
    (tmp_path / "notes.txt").write_bytes(b"2")
    assert fingerprint(tmp_path) == first
    (tmp_path / "model.safetensors").write_bytes(b"2")
    assert fingerprint(tmp_path) != first


def test_an_endpoint_is_asked_again_then_given_up() -> None:
    from autogpt.endpoint import Endpoint

    pytest.importorskip("openai")
    failures = [2]

    def script(path: str, body: dict[str, Any]) -> tuple[int, str]:
        failures[0] -= 1
        return (500, "busy") if failures[0] >= 0 else said("He left.")

    with scripted_llm(script) as server:
        writer = EndpointWriter(Endpoint(server.url, "m"))
        assert "".join(writer.write("x", 10, seed=7)) == "He left."
        assert server.seen[-1][2]["seed"] == 7
        failures[0] = 3
        with pytest.raises(EndpointError, match="answered 500"):
            "".join(writer.write("x", 10))


def test_json_is_cut_out_of_an_answer() -> None:
    from autogpt.endpoint import Endpoint

    pytest.importorskip("openai")
    with scripted_llm(lambda path, body: said('Here: {"a": 1} Done.')) as server:
        writer = EndpointWriter(Endpoint(server.url, "m"))
        assert json.loads(writer.ask("x", {"type": "object"}, 10, 0)) == {"a": 1}
        assert ends_sentence("".join(writer.write("x", 10)))
