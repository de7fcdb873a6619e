"""A tiny model as a writer: its sampling, and a session that a resumed book goes on with bit by bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from autogpt.errors import ModelError
from autogpt.tasks.spec import TaskKind
from autogpt.writing.book import write_book
from autogpt.writing.model_writer import ModelWriter
from autogpt.writing.order import Order, WritingSettings
from tests.writing.test_writers import spec_of

SCENE = "Ann saw the red boat at night. Ben hid an old map under the bridge. Cora sold a green door after the war."


@pytest.fixture(scope="module")
def engine() -> Any:
    """A model without training: what is tested here is what happens to its weights."""
    import torch

    from autogpt.data.tokenizers import train_tokenizer
    from autogpt.generation.engine import Engine
    from autogpt.models.gpt import GPT
    from autogpt.models.sizing import shape_for

    tokenizer = train_tokenizer([SCENE * 20], 300)
    torch.manual_seed(0)
    return Engine(GPT(shape_for(32, depth=2, vocab_size=len(tokenizer), context=96)), tokenizer)


def writer_of(engine: Any, identity: str = "tiny", **settings: Any) -> ModelWriter:
    values = {"adapt": True, **settings}
    return ModelWriter(engine, spec_of(TaskKind.GENERATION), WritingSettings(**values), identity=identity)


def nats(engine: Any, writer: ModelWriter, text: str) -> float:
    """Mean nats of `text` under what the writer has learnt, by the adaptation itself at rate 0."""
    from autogpt.generation.adaptive import AdaptationSettings
    from autogpt.generation.fast_weights import FastRates

    still = engine.adaptation(AdaptationSettings(FastRates(step=0.0)))
    session = still.session()
    if writer._session is not None:
        session.state = writer._session.state
    ids = [engine.bos_id, *engine.tokenizer(text, add_special_tokens=False)["input_ids"]]
    return float(still.read(session, ids).mean())


def test_a_text_may_not_end_at_once(engine: Any) -> None:
    for seed in range(5):
        writer = writer_of(engine, min_new_tokens=30, dry_multiplier=0.0)
        assert writer.count_tokens("".join(writer.write("Ann saw", 40, seed=seed))) >= 20


def test_it_learns_the_premise_fully_and_its_own_scenes_a_little(engine: Any) -> None:
    plain, told, own = (writer_of(engine) for _ in range(3))
    for _ in range(3):
        told.remember(SCENE, own=False)
        own.remember(SCENE)
    assert nats(engine, told, SCENE) < nats(engine, own, SCENE) < nats(engine, plain, SCENE)


def test_drafts_teach_nothing_and_are_repeated(engine: Any) -> None:
    writer = writer_of(engine)
    writer.remember(SCENE, own=False)
    before = nats(engine, writer, SCENE)
    first = "".join(writer.write("Ann saw", 48, seed=3))
    assert "".join(writer.write("Ann saw", 48, seed=3)) == first
    assert nats(engine, writer, SCENE) == before


def test_a_restored_writer_goes_on_as_the_first(engine: Any) -> None:
    one = writer_of(engine)
    one.remember(SCENE, own=False)
    one.remember(SCENE)
    other = writer_of(engine)
    other.restore(one.state())
    for writer in (one, other):
        writer.remember("Ben lost the last letter before the storm.")
    assert nats(engine, other, SCENE) == nats(engine, one, SCENE)
    assert "".join(other.write("Cora", 30, seed=1)) == "".join(one.write("Cora", 30, seed=1))


def test_repetition_is_not_learnt(engine: Any) -> None:
    writer = writer_of(engine)
    writer.remember(SCENE, own=False)
    before = nats(engine, writer, SCENE)
    writer.remember("Ann saw the red boat. " * 20)
    assert nats(engine, writer, SCENE) == before


def test_a_state_belongs_to_its_model(engine: Any) -> None:
    writer = writer_of(engine)
    writer.remember(SCENE)
    with pytest.raises(ModelError, match="belongs to another model"):
        writer_of(engine, "other").restore(writer.state())
    with pytest.raises(ModelError, match="damaged"):
        writer_of(engine).restore(writer.state()[:100])


def test_without_adaptation_there_is_no_state(engine: Any) -> None:
    writer = writer_of(engine, adapt=False)
    writer.remember(SCENE)
    assert writer.state() == b""


def test_a_resumed_book_is_the_same(engine: Any, tmp_path: Path) -> None:
    """Cut after each finished scene, and within the next one."""
    order = Order("Ann and Ben live at sea.", "novel", 2, 120)
    settings = WritingSettings(adapt=True, max_repeats=1.0, formats=("txt",), scene_words=30, rewrites=1)
    states = {}
    for event in write_book(order, writer_of(engine), tmp_path / "whole", settings):
        if event.kind == "writing.scene":
            states |= {path.name: path.read_bytes() for path in (tmp_path / "whole").glob("state-*")}
    lines = (tmp_path / "whole" / "journal.jsonl").read_bytes().splitlines(keepends=True)
    ends = [number for number, line in enumerate(lines) if b'"kind": "scene"' in line]
    assert len(ends) == 4
    for end in (ends[0], ends[1] + 2, ends[2]):
        folder = tmp_path / f"cut-{end}"
        folder.mkdir()
        (folder / "journal.jsonl").write_bytes(b"".join(lines[: end + 1]))
        for name, data in states.items():
            (folder / name).write_bytes(data)
        list(write_book(order, writer_of(engine), folder, settings))
        assert (folder / "book.txt").read_bytes() == (tmp_path / "whole" / "book.txt").read_bytes()
