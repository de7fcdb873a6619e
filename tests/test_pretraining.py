"""Pretraining in slices on a tiny made-up corpus: resuming, cooling down, the card, and what is refused."""

from __future__ import annotations

import json
import math
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

import autogpt  # noqa: F401  (makes transformers know the model's class)
from autogpt.cli import pretrain as verb
from autogpt.cli.main import run as autogpt_command
from autogpt.config import home
from autogpt.errors import BadInput, BudgetError, ConfigError, DataError, Interrupted, StoreError
from autogpt.events import Event
from autogpt.models.sizing import parameters, shape_for
from autogpt.pretraining import _ending, pretrain
from autogpt.pretraining_card import held_out_rows
from autogpt.pretraining_recipe import Recipe, load_recipe
from autogpt.store.leases import this_process
from autogpt.training.machine import Machine
from autogpt.training.optim import Schedule

ROOT = Path(__file__).resolve().parent.parent
FOREVER = 30.0
STEPS = 10
"""Steps of two epochs of the made-up corpus; a test below holds it to that."""


@pytest.fixture(autouse=True)
def _quiet_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home of its own, and a machine that is not measured: whether bf16 pays must not change what a test computes."""
    monkeypatch.setenv("AUTOGPT_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("autogpt.pretraining_run.probe", lambda *_: Machine("cpu", 1, "fp32", 1e9, "not measured"))


def rows(count: int, seed: int) -> list[dict[str, str]]:
    rng, found = random.Random(seed), []
    for number in range(count):
        if number % 2:
            found.append({"text": " ".join(rng.choices(["mill", "river", "paper", "old"], k=9)), "lang": "en"})
        else:
            found.append({"text": "".join(rng.choices(["河水", "磨坊", "造纸", "旧"], k=8)), "lang": "zh"})
    return found


def write(path: Path, documents: list[dict[str, str]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in documents), encoding="utf-8")


RECIPE: dict[str, Any] = {
    "name": "tiny",
    "corpus": "corpus",
    "valid": "valid.jsonl",
    "licence": "CC0-1.0",
    "sources": [{"what": "made-up sentences", "licence": "none"}],
    "vocabulary": 300,
    "tokenizer_characters": 2000,
    "width": 32,
    "depth": 1,
    "context": 64,
    "tokens_per_step": 128,
    "micro_tokens": 64,
    "learning_rate": 0.01,
    "warmup_steps": 3,
    "epochs": 2,
    "compile": False,
    "sizes": {"large": {"name": "tiny-large", "width": 64}},
}


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    folder.mkdir()
    write(folder / "a.jsonl", rows(30, 0))
    write(folder / "b.jsonl", rows(30, 1))
    write(folder / "valid.jsonl", rows(8, 2))
    file = tmp_path / "tiny.yaml"
    file.write_text(yaml.safe_dump(RECIPE), encoding="utf-8")
    return file


@pytest.fixture
def recipe(recipe_file: Path) -> Recipe:
    return load_recipe(recipe_file)


def slice_of(recipe: Recipe, *, minutes: float = FOREVER, **options: Any) -> tuple[dict[str, Any], list[Event]]:
    """A slice that ends with the recipe's epochs, on one thread; its result and its events."""
    events: list[Event] = []
    result = pretrain(recipe, minutes=minutes, threads=1, consumers=(events.append,), **options)
    return result, events


def stops_at(step: int) -> Callable[[Event], None]:
    """A consumer that presses Ctrl-C when it sees that step."""

    def consumer(event: Event) -> None:
        if event.kind == "training.step" and event.data["step"] == step:
            os.kill(os.getpid(), signal.SIGINT)

    return consumer


def newest() -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    folder = sorted((home() / "pretraining" / "tiny").glob("step-*"))[-1]
    return load_file(folder / "state.safetensors"), json.loads((folder / "meta.json").read_text(encoding="utf-8"))


# --- slices ----------------------------------------------------------------------------------------------------------


def test_resuming_equals_the_unbroken_run_bit_for_bit(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    result, events = slice_of(recipe)
    unbroken, _ = newest()
    losses = [event.data["loss"] for event in events if event.kind == "training.step"]
    assert result["steps"] == len(losses) == STEPS
    monkeypatch.setenv("AUTOGPT_HOME", str(home().parent / "second"))
    told: list[Event] = []
    for step in (1, 3, 6):
        with pytest.raises(Interrupted, match=f"stopped at step {step}, which is saved"):
            pretrain(recipe, minutes=FOREVER, threads=1, consumers=(told.append, stops_at(step)))
    last, more = slice_of(recipe)
    resumed, meta = newest()
    assert [event.data["loss"] for event in [*told, *more] if event.kind == "training.step"] == losses
    assert resumed.keys() == unbroken.keys()
    assert all(torch.equal(resumed[name], unbroken[name]) for name in unbroken)
    assert last["bits_per_byte"] == result["bits_per_byte"]
    assert [part["steps"] for part in meta["slices"]] == [1, 2, 3, 4]
    assert sum(part["tokens"] for part in meta["slices"]) == meta["tokens"] == result["tokens"]


def test_the_signal_handlers_come_back(recipe: Recipe) -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(Interrupted):
        pretrain(recipe, minutes=FOREVER, threads=1, consumers=(stops_at(1),))
    assert signal.getsignal(signal.SIGINT) is before


def test_an_interrupted_preparation_is_said(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    def stops(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("autogpt.data.token_shards_encode.encode_texts", stops)
    with pytest.raises(Interrupted, match="what was done of tiny is kept"):
        slice_of(recipe)


def test_a_slice_ends_with_its_minutes_and_saves(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")  # a checkout has bases of its own
    result, events = slice_of(recipe.model_copy(update={"epochs": 10**6}), minutes=0.3 / 60)
    kinds = [event.kind for event in events]
    assert kinds[-1] == "pretraining.done"
    assert kinds.count("pretraining.saved") == 1
    assert newest()[1]["step"] == result["steps"] > 0
    assert result["model_dir"] is None
    assert not Path("bases").exists()


def test_a_damaged_checkpoint_is_passed_over(recipe: Recipe) -> None:
    for step in (2, 4):
        with pytest.raises(Interrupted):
            pretrain(recipe, minutes=FOREVER, threads=1, consumers=(stops_at(step),))
    state = home() / "pretraining" / "tiny" / "step-00000004" / "state.safetensors"
    state.write_bytes(state.read_bytes()[:-100])
    _, events = slice_of(recipe)
    assert next(event.data["step"] for event in events if event.kind == "pretraining.started") == 2
    notes = [event.data["message"] for event in events if event.kind == "pretraining.note"]
    assert any("damaged checkpoint passed over: step-00000004" in note for note in notes)


def test_held_out_documents_are_never_trained_on(recipe: Recipe) -> None:
    _, events = slice_of(recipe)
    corpus = next(event.data["corpus"] for event in events if event.kind == "pretraining.prepared")
    assert {language: counts["documents"] for language, counts in corpus.items()} == {"zh": 30, "en": 30}


# --- cooling down ----------------------------------------------------------------------------------------------------


@pytest.fixture
def cooled(recipe: Recipe, tmp_path: Path) -> tuple[dict[str, Any], list[Event], Path]:
    out = tmp_path / "bases" / "tiny"
    result, events = slice_of(recipe, minutes=0.5 / 60, cool_down=True, out=out)
    return result, events, out


def naive_bits_per_byte(folder: Path, documents: list[dict[str, str]], language: str) -> float:
    """One document at a time, with the classes of transformers; every document fits the context."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    model.float()
    nats, size = 0.0, 0
    for row in documents:
        if row["lang"] == language:
            ids = tokenizer(row["text"], return_tensors="pt").input_ids
            assert ids.shape[1] <= 64
            assert ids[0, 0] == tokenizer.bos_token_id
            with torch.no_grad():
                chances = model(ids).logits[0, :-1].log_softmax(-1)
            nats -= float(chances.gather(1, ids[0, 1:, None]).sum())
            size += len(row["text"].encode())
    return nats / math.log(2) / size


def test_the_facts_of_the_card_are_recomputed(cooled: tuple[dict[str, Any], list[Event], Path]) -> None:
    result, events, out = cooled
    facts = json.loads((out / "base.json").read_text(encoding="utf-8"))
    steps = [event for event in events if event.kind == "training.step"]
    for language in ("zh", "en"):
        naive = naive_bits_per_byte(out, rows(8, 2), language)
        assert facts["bits_per_byte"][language] == pytest.approx(naive, rel=1e-5)
    assert facts["bits_per_byte"] == result["bits_per_byte"] == facts["candidates"][facts["weights"]]
    assert sum(facts["bits_per_byte"].values()) == min(sum(found.values()) for found in facts["candidates"].values())
    assert set(facts["candidates"]) == {"trained", "averaged"}
    assert facts["steps"] == len(steps) == steps[-1].data["step"]
    assert facts["held_out"] == {"documents": {"zh": 4, "en": 4}, "tokens": 1000}

    tokenizer = AutoTokenizer.from_pretrained(out)
    texts = [row["text"] for row in [*rows(30, 0), *rows(30, 1)] if row["lang"] == "zh"]
    counts = facts["corpus"]["languages"]["zh"]
    assert counts["documents"] == len(texts)
    assert counts["utf8_bytes"] == len("".join(texts).encode())
    assert counts["tokens"] == sum(len(tokenizer(text).input_ids) + 1 for text in texts)
    model = AutoModelForCausalLM.from_pretrained(out)
    assert facts["parameters"] == sum(p.numel() for p in model.parameters())
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}

    page = (out / "README.md").read_text(encoding="utf-8")
    for said in (
        f"# {facts['name']}",
        f"{facts['tokens_seen']:,} tokens seen",
        f"in {facts['steps']:,} steps",
        "- made-up sentences: none",
        f"| {facts['weights']} (these) | {facts['bits_per_byte']['zh']:.4f} | {facts['bits_per_byte']['en']:.4f} |",
        f"| {facts['machine']} | {facts['steps']:,} |",
    ):
        assert said in page
    header = yaml.safe_load(page.split("---")[1])
    assert (header["language"], header["license"]) == (["zh", "en"], "cc0-1.0")


def test_the_rate_falls_to_zero(cooled: tuple[dict[str, Any], list[Event], Path]) -> None:
    _, events, _ = cooled
    start = next(number for number, event in enumerate(events) if event.kind == "pretraining.cooling")
    rates = [event.data["lr"] for event in events[start:] if event.kind == "training.step"]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] > 0.8 * RECIPE["learning_rate"]
    assert rates[-1] == 0.0
    assert np.allclose(np.diff(rates), np.diff(rates)[0])


def test_after_a_cool_down_the_run_goes_on_at_the_full_rate(
    recipe: Recipe, cooled: tuple[dict[str, Any], list[Event], Path]
) -> None:
    _, events, out = cooled
    start = next(event.data["step"] for event in events if event.kind == "pretraining.cooling")
    kept, meta = newest()
    assert meta["step"] == start
    assert meta["schedule"]["cooldown_start"] is None
    stored = load_file(out / "model.safetensors")["model.norm.weight"]
    assert not torch.equal(kept["weight.model.norm.weight"].bfloat16(), stored)
    more = recipe.model_copy(update={"epochs": start})  # so that there is something left
    seen: list[Event] = []
    with pytest.raises(Interrupted):
        pretrain(more, minutes=FOREVER, threads=1, consumers=(seen.append, stops_at(start + 2)))
    steps = [event.data for event in seen if event.kind == "training.step"]
    assert [step["step"] for step in steps] == [start + 1, start + 2]
    assert {step["lr"] for step in steps} == {RECIPE["learning_rate"]}


def test_an_interrupted_cool_down_keeps_the_state_before_it(recipe: Recipe, tmp_path: Path) -> None:
    def stops(event: Event) -> None:
        if event.kind == "pretraining.cooling":
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted, match=f"stopped while cooling down; the state before it, step {STEPS}, is kept"):
        pretrain(recipe, minutes=0.05, cool_down=True, out=tmp_path / "m", threads=1, consumers=(stops,))
    assert newest()[1]["step"] == STEPS
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("left", [1, 7, 40, 200])
def test_a_cool_down_that_is_planned_anew_has_no_jump(left: int) -> None:
    schedule = Schedule(1.0, 1, cooldown_start=100, cooldown_steps=80)
    again = _ending(schedule, 140, left)
    assert again.end == 140 + left
    assert again.rate(139) == pytest.approx(schedule.rate(139), abs=0.02)
    assert again.rate(139 + left) == 0.0


def test_a_folder_that_is_no_base_is_not_replaced(recipe: Recipe, tmp_path: Path) -> None:
    precious = tmp_path / "thesis"
    precious.mkdir()
    (precious / "chapter.txt").write_text("words", encoding="utf-8")
    with pytest.raises(ConfigError, match="which is no base"):
        pretrain(recipe, minutes=1, cool_down=True, out=precious)
    assert (precious / "chapter.txt").exists()


# --- held-out documents ----------------------------------------------------------------------------------------------


def test_held_out_rows_are_a_fixed_sample_of_beginnings(recipe: Recipe, tmp_path: Path) -> None:
    slice_of(recipe)
    tokenizer = AutoTokenizer.from_pretrained(next((home() / "cache" / "corpora").glob("tokenizer-*")))
    documents = [
        {"text": f"{number} " + "河 mill " * (500 if number < 4 else 1), "lang": "en"} for number in range(400)
    ]
    write(tmp_path / "many.jsonl", [*documents, {"text": "另外", "lang": "zh"}])
    found = held_out_rows(tmp_path / "many.jsonl", tokenizer, ["en"])["en"]
    assert len(found) == 150
    assert found[0].id == "en:0"
    assert found[-1].id == "en:399"
    assert len(found[0].ids) == 1001
    for row in (found[0], found[-1]):
        text = documents[int(row.id.split(":")[1])]["text"]
        kept = tokenizer.decode(row.ids[1:])
        assert text.startswith(kept.rstrip("\ufffd"))
        assert row.utf8_bytes == len(kept.encode()) or "\ufffd" in kept
        assert row.answers.tolist() == [False] + [True] * (len(row.ids) - 1)
    with pytest.raises(DataError, match="language 'other'"):
        held_out_rows(tmp_path / "many.jsonl", tokenizer, ["other"])


# --- recipes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "millions"), [(None, 16.9), ("14m", 16.9), ("40m", 56.0)])
def test_the_recipe_of_the_bilingual_base(recipe_file: Path, size: str | None, millions: float) -> None:
    write(recipe_file.parent / "corpus" / "valid.jsonl.zst", [])
    found = load_recipe(ROOT / "recipes" / "base-zh-en.yaml", size=size, corpus=recipe_file.parent / "corpus")
    shape = shape_for(
        found.width, depth=found.depth, vocab_size=found.vocabulary, context=found.context, late_keys=found.late_keys
    )
    assert round(parameters(shape) / 1e6, 1) == millions
    assert found.name == ("zh-en-40m" if size == "40m" else "zh-en-14m")


def test_paths_are_looked_up_from_the_recipe(recipe_file: Path, tmp_path: Path) -> None:
    found = load_recipe(recipe_file)
    assert found.corpus == (tmp_path / "corpus",)
    assert found.valid == tmp_path / "corpus" / "valid.jsonl"
    assert load_recipe(recipe_file, size="large").width == 64
    other = tmp_path / "other"
    other.mkdir()
    write(other / "valid.jsonl", rows(4, 3))
    assert load_recipe(recipe_file, corpus=other).valid == other / "valid.jsonl"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"widht": 3}, "unknown field 'widht' in recipe tiny.yaml; did you mean 'width'?"),
        ({"width": None}, "field 'width' in recipe tiny.yaml"),
        ({"learning_rate": -1}, "field 'learning_rate' in recipe tiny.yaml; found -1"),
        ({"name": "../x"}, "field 'name' in recipe tiny.yaml"),
        ({"corpus": "nowhere"}, "no corpus"),
        ({"valid": "none.jsonl"}, "no held-out documents 'none.jsonl'"),
    ],
)
def test_a_bad_recipe_is_one_line(recipe_file: Path, change: dict[str, Any], message: str) -> None:
    recipe_file.write_text(yaml.safe_dump({**RECIPE, **change}), encoding="utf-8")
    with pytest.raises(BadInput) as caught:
        load_recipe(recipe_file)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_are_no_recipe(recipe_file: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no recipe"):
        load_recipe(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="did you mean 'large'"):
        load_recipe(recipe_file, size="larg")
    recipe_file.write_text("just words", encoding="utf-8")
    with pytest.raises(ConfigError, match="found str"):
        load_recipe(recipe_file)
    recipe_file.write_text("a: [", encoding="utf-8")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_recipe(recipe_file)
    recipe_file.write_text(yaml.safe_dump({k: v for k, v in RECIPE.items() if k != "depth"}), encoding="utf-8")
    with pytest.raises(ConfigError, match="lacks the field 'depth'"):
        load_recipe(recipe_file)


def test_a_run_is_not_continued_as_another_one(recipe: Recipe) -> None:
    with pytest.raises(Interrupted):
        pretrain(recipe, minutes=FOREVER, threads=1, consumers=(stops_at(2),))
    with pytest.raises(ConfigError, match=r"learning_rate is not what the run 'tiny' began with; found 0\.02"):
        slice_of(recipe.model_copy(update={"learning_rate": 0.02}))
    assert slice_of(recipe.model_copy(update={"micro_tokens": 128, "licence": "MIT"}))[0]["steps"] == STEPS
    write(recipe.corpus[0] / "c.jsonl", rows(4, 5))
    with pytest.raises(ConfigError, match="corpus is not what the run 'tiny' began with"):
        slice_of(recipe)


def test_a_run_that_another_process_holds_is_left_alone(recipe: Recipe) -> None:
    folder = home() / "pretraining" / "tiny"
    folder.mkdir(parents=True)
    holder = folder / "holder.json"
    holder.write_text(json.dumps({**this_process(), "pid": os.getppid()}), encoding="utf-8")
    with pytest.raises(StoreError, match=f"another process works on the run 'tiny'; found process {os.getppid()}"):
        slice_of(recipe)
    assert holder.exists()
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    holder.write_text(json.dumps({**this_process(), "pid": gone.pid}), encoding="utf-8")
    assert slice_of(recipe)[0]["steps"] == STEPS
    assert not holder.exists()


def test_minutes_must_be_some(recipe: Recipe) -> None:
    for minutes in (0.0, -1.0, math.nan):
        with pytest.raises(BudgetError, match="--minutes"):
            pretrain(recipe, minutes=minutes)
    assert not home().exists()


# --- the verb --------------------------------------------------------------------------------------------------------


def test_the_verb_prints_the_result(recipe_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["pretrain", str(recipe_file), "--minutes", "9", "--threads", "1"]
    assert autogpt_command(argv) == 0
    first = capsys.readouterr()
    assert f"step {STEPS}, 2.00 epochs" in first.out
    assert "training from step 0" in first.err
    assert autogpt_command([*argv, "--json", "-q"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    document = json.loads(captured.out)
    assert document["steps"] == STEPS
    assert set(document["bits_per_byte"]) == {"zh", "en"}


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["none.yaml", "--minutes", "1"], "no recipe 'none.yaml'"),
        (["{recipe}"], "Missing option '--minutes'"),
        (["{recipe}", "--minutes", "0"], "--minutes; found 0; expected a number above 0"),
        (["{recipe}", "--minutes", "1", "--size", "huge"], "the recipe has no size 'huge'"),
        (["{recipe}", "--minutes", "1", "--corpus", "none"], "--corpus 'none' does not exist"),
        (["{recipe}", "--minutes", "1", "--out", "m"], "--out without --cool-down"),
        (["{recipe}", "--minutes", "1", "--threads", "0"], "Invalid value for '--threads'"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(
    recipe_file: Path, capsys: pytest.CaptureFixture[str], argv: list[str], message: str
) -> None:
    code = autogpt_command(["pretrain", *(str(recipe_file) if word == "{recipe}" else word for word in argv)])
    captured = capsys.readouterr()
    assert (code, captured.out) == (2, "")
    assert len(captured.err.strip().splitlines()) == 1
    assert message in captured.err


def test_ctrl_c_ends_with_130_and_the_line_to_go_on(
    recipe_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = verb.PretrainView.__call__

    def shows_and_stops(view: verb.PretrainView, event: Event) -> None:
        shown(view, event)
        stops_at(3)(event)

    monkeypatch.setattr(verb.PretrainView, "__call__", shows_and_stops)
    argv = ["pretrain", str(recipe_file), "--minutes", "9", "--threads", "1"]
    assert autogpt_command(argv) == 130
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "stopped at step 3, which is saved; go on with: autogpt pretrain" in error
    assert error.endswith(f"{recipe_file} --minutes 9 --threads 1")
    monkeypatch.undo()


def test_the_view_tells_step_tokens_pace_loss_and_time_left(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    lines: list[str] = []
    with verb.PretrainView(Console(file=sys.stderr, force_terminal=False), lines.append, quiet=False) as view:
        started = {"step": 100, "tokens": 50_000, "seconds": 600.0, "tokens_per_step": 500, "machine": "a machine"}
        view(Event("pretraining.started", started, 1000.0))
        view(Event("training.step", {"step": 110, "loss": 4.5}, 1010.0))
        view(Event("training.step", {"step": 160, "loss": 4.25}, 1060.0))
        view(Event("something.else", {}, 1061.0))
    assert lines[0].endswith("going on at step 100 on a machine")
    assert len(lines) == 2
    assert lines[1].endswith("step 160 · 80,000 tokens · 500 tokens/s · loss 4.25 · done in 9:00")
