"""Whether a fit begins with a like task's model: real tiny trainings, what is refused, and what a resume finds."""

from __future__ import annotations

import json
import random
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from autogpt.bench import Bench, candidate_of, judge_parts, set_up_tasks
from autogpt.config import load_run_config
from autogpt.errors import StoreError
from autogpt.evaluation.metrics import get_metric
from autogpt.events import Event
from autogpt.given import read_tasks
from autogpt.model import RECIPE_FILE, SHARED, TASK_FILE, TASKS, Model
from autogpt.models.hub import load_model, save_model
from autogpt.run import Run
from autogpt.search.gpt_space import SCRATCH
from autogpt.search.racing import Budget
from autogpt.stages_grouping import trained
from autogpt.stages_transfer import Probe, _probe, decided, with_transfer
from autogpt.stages_transfer_mix import in_words
from autogpt.store.artifacts import RunFolder, write_json
from autogpt.store.database import Store
from autogpt.training import candidate as candidates_of_training
from autogpt.training.finish import Judgement
from autogpt.training.loop import train
from autogpt.training.task_mix import TaskMix, rows_to_mix_by
from autogpt.types import MetricValue

THINGS = {"red": ("rose", "blood", "tomato", "ruby"), "green": ("grass", "leaf", "lime", "moss")}
SENTENCE = "Sort short texts by the colour of the thing"
SHORT = ["training.threads=1", "search.space={epochs: 1, tokens_per_step: 256}"]
"""Trainings that end by their epoch, long before their seconds, and that teach a model from scratch nothing."""
LONG = ["training.threads=1", "search.space={width: 64, depth: 2, vocabulary: 512, epochs: 30, tokens_per_step: 512}"]


def _file(path: Path, count: int, *, seed: int, labels: Sequence[str] = ("red", "green")) -> Path:
    rng, rows = random.Random(seed), []
    for number in range(count):
        colour = rng.choice(sorted(THINGS))
        label = labels[sorted(THINGS).index(colour) - 1]
        rows.append(
            {"text": f"{rng.choice(['my', 'the'])} {rng.choice(THINGS[colour])} {seed}{number}", "label": label}
        )
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def _begun(
    store: Store, file: Path, options: Sequence[str], seconds: float, **document: Any
) -> tuple[Run, Bench, list[Event]]:
    """A run that has looked at its data, what it works on, and what it will tell."""
    config, events = load_run_config(None, options, budget=f"{seconds:.0f}s"), list[Event]()
    given = read_tasks(SENTENCE, [file], [], config)
    noted = {**given.sources, "fresh": False, **document}
    row = store.start_run(
        file.stem, spec=given.understood, fingerprint=given.fingerprint, config=noted, budget_s=seconds
    )
    run = Run(row, RunFolder(row.folder), config, store, Budget(seconds), [events.append])
    return run, set_up_tasks(config, given.tasks, seconds), events


def _noted(run: Run, name: str, folder: Path) -> None:
    metric = MetricValue("accuracy", 1.0, (1.0, 1.0), 9, True)
    run.store.register_model(name, folder=folder, metric=metric, run=run.row.id)


@pytest.fixture(scope="module")
def trained_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a model that tells colours apart, and its rows beside it."""
    folder = tmp_path_factory.mktemp("known")
    store = Store(folder / "home")
    run, bench, _ = _begun(store, _file(folder / "colours.jsonl", 300, seed=1), [*LONG, "base=scratch"], 60.0)
    kept: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        build = candidates_of_training.build

        def keep(*given: Any, **named: Any) -> Any:
            kept.append(build(*given, **named))
            return kept[-1]

        patch.setattr("autogpt.bench.build", keep)
        (judged,) = trained(run, bench, bench.space.default, 60.0)
    assert judged.score > 0.9
    save_model(kept[0].model, kept[0].tokenizer, run.folder.model)
    bench.parts[0].spec.save(run.folder.model / TASK_FILE)
    write_json(run.folder.model / RECIPE_FILE, {"name": "colours", "context": kept[0].context})
    _noted(run, "colours", run.folder.model)
    store.close()
    return folder


@pytest.fixture
def known(trained_once: Path, tmp_path: Path) -> Store:
    """The same, for a test of its own."""
    shutil.copytree(trained_once / "home", tmp_path / "home")
    return Store(tmp_path / "home")


def test_a_like_task_begins_with_the_model_and_a_resumed_run_too(known: Store, tmp_path: Path) -> None:
    run, bench, events = _begun(known, _file(tmp_path / "hues.jsonl", 120, seed=2), SHORT, 120.0)
    assert bench.space.default["start"] == SCRATCH
    found = with_transfer(run, bench)
    assert list(found.bases) == ["colours"], run.reasons
    assert found.space.default["start"] == "colours"
    assert found.space.default["method"] == "full"
    assert set(found.space["start"].dimension.values) == {SCRATCH, "colours"}  # type: ignore[union-attr]
    start = found.bases["colours"]
    assert start.folder.is_relative_to(run.folder.path)
    assert start.shape.hidden_size == 64
    assert run.reasons["transfer"].startswith("from colours, the model of a like task, which is significantly better")
    assert run.reasons["transfer"].endswith(" s")
    assert [event.data["message"] for event in events if event.kind == "pipeline.note"] == [run.reasons["transfer"]]
    assert [event.data["stage"] for event in events if event.kind == "pipeline.stage"] == ["transfer"]
    (probe,) = json.loads((run.folder.path / "transfer.json").read_text(encoding="utf-8"))["probes"]
    assert probe["better"]
    assert probe["score"] > probe["default"]
    (judged,) = trained(run, found, found.space.default, 60.0)
    assert judged.score == pytest.approx(probe["score"])

    # What the model was may be gone by then: the run has a copy.
    shutil.rmtree(known.model("colours").folder)
    again = Run(run.row, run.folder, run.config, known, Budget(120.0), [])
    resumed = with_transfer(again, bench)
    assert resumed.space.default == found.space.default
    assert resumed.space.names == found.space.names
    assert resumed.bases["colours"].folder == start.folder
    assert again.reasons == run.reasons
    assert again.stages == {}

    shutil.rmtree(start.folder)
    with pytest.raises(StoreError, match=r"the model that run .* starts from is gone"):
        with_transfer(again, bench)


@pytest.mark.parametrize(
    ("options", "seconds", "document"),
    [
        (["transfer=never"], 120.0, {}),
        (["base=scratch"], 120.0, {}),
        ([], 119.0, {}),
        ([], 120.0, {"fresh": True}),
        (["search.space={width: 96}"], 120.0, {}),
        (["search.space={start: scratch}"], 120.0, {}),
    ],
    ids=["never", "scratch", "a short budget", "fresh", "a shape", "a start"],
)
def test_where_nobody_wants_it_nothing_is_probed(
    options: list[str], seconds: float, document: dict[str, Any], known: Store, tmp_path: Path
) -> None:
    hues = _file(tmp_path / "hues.jsonl", 60, seed=2)
    run, bench, events = _begun(known, hues, [*SHORT, *options], seconds, **document)
    assert with_transfer(run, bench) is bench
    assert not events
    assert list(run.folder.path.iterdir()) == []


def test_unlike_tasks_cost_nothing(known: Store, tmp_path: Path) -> None:
    lines = [{"document": f"the story of thing {n} " * 8, "summary": f"story number {n} is told"} for n in range(60)]
    file = tmp_path / "titles.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    run, bench, events = _begun(known, file, [*SHORT, "task.kind=summarization"], 120.0)
    assert with_transfer(run, bench) is bench
    assert not events
    assert list(run.folder.path.iterdir()) == []


def _refused(known: Store, file: Path, options: Sequence[str] = SHORT) -> str:
    run, bench, _ = _begun(known, file, options, 120.0)
    assert with_transfer(run, bench) is bench
    assert not list((run.folder.path / "start").iterdir() if (run.folder.path / "start").exists() else [])
    assert json.loads((run.folder.path / "transfer.json").read_text(encoding="utf-8"))["chosen"] == ""
    return run.reasons["transfer"]


def test_a_model_that_knows_the_rows_is_refused(known: Store, trained_once: Path, tmp_path: Path) -> None:
    before = (trained_once / "colours.jsonl").read_text(encoding="utf-8")
    same = tmp_path / "same.jsonl"
    same.write_text(before, encoding="utf-8")
    other_task = [*SHORT, "task.metric=macro_f1"]
    assert "colours is not probed: it was trained on a file of this task" in _refused(known, same, other_task)

    grown = _file(tmp_path / "grown.jsonl", 20, seed=3)
    grown.write_text(before + grown.read_text(encoding="utf-8"), encoding="utf-8")
    assert "it has seen 93.8% of this task's rows" in _refused(known, grown)


def test_a_model_whose_rows_cannot_be_looked_at_is_refused(known: Store, tmp_path: Path) -> None:
    moved = known.run(str(known.model("colours").run))
    other = known.start_run(
        "other",
        spec=known.task(moved.task_key)[0],
        fingerprint="0123456789abcdef",
        config={"files": [str(tmp_path / "gone.jsonl")]},
        budget_s=1.0,
    )
    metric = MetricValue("accuracy", 1.0, (1.0, 1.0), 9, True)
    known.register_model("other", folder=known.model("colours").folder, metric=metric, run=other.id)
    known.remove_model("colours")
    told = _refused(known, _file(tmp_path / "hues.jsonl", 60, seed=2))
    assert "other is not probed: the files that it was trained on cannot be read" in told


def test_a_model_that_spells_the_language_in_bytes_is_refused(known: Store, tmp_path: Path) -> None:
    lines = [{"text": f"这家店的味道非常不错{n}", "label": ("red", "green")[n % 2]} for n in range(60)]
    file = tmp_path / "zh.jsonl"
    file.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
    told = _refused(known, file, [*SHORT, "task.kind=classification"])
    assert told.startswith("no model of a like task can be started from: colours is not probed: ")
    assert "tokens a character of this data" in told


# --- from a model of several tasks ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained_several(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a model of two tasks that share its weights: colours, and the same labels the wrong way round."""
    folder = tmp_path_factory.mktemp("several")
    files = [_file(folder / "colours.jsonl", 300, seed=1)]
    files += [_file(folder / "swapped.jsonl", 300, seed=4, labels=("green", "red"))]
    options = ["training.threads=1", "base=scratch"]
    options += ["search.space={width: 64, depth: 2, vocabulary: 512, epochs: 25, tokens_per_step: 512, sharing: own}"]
    config = load_run_config(None, options, budget="60s")
    given = read_tasks(f"{SENTENCE}; {SENTENCE}, the wrong one", files, [], config)
    bench = set_up_tasks(config, given.tasks, 60.0)
    candidate = candidate_of(bench, config, bench.space.default)
    for _ in train(
        candidate.state, candidate.batches, candidate.settings, until=candidate.max_steps, objective=candidate.objective
    ):
        pass
    assert [judged.score > 0.9 for judged in judge_parts(bench, candidate, candidate.model)] == [True, True]
    store = Store(folder / "home")
    noted = {**given.sources, "fresh": False}
    row = store.start_run("desk", spec=given.understood, fingerprint=given.fingerprint, config=noted, budget_s=60.0)
    model = RunFolder(row.folder).model
    save_model(candidate.model, candidate.tokenizer, model / SHARED)
    for place, part in enumerate(bench.parts):
        own = model / TASKS / part.name
        own.mkdir(parents=True)
        part.spec.save(own / TASK_FILE)
        weights = {"folder": f"../../{SHARED}", "task": place}
        write_json(own / RECIPE_FILE, {"name": part.name, "context": candidate.context, "weights": weights})
    write_json(model / RECIPE_FILE, {"name": "desk", "tasks": [part.name for part in bench.parts]})
    metric = MetricValue("mean", 1.0, (1.0, 1.0), 9, True)
    store.register_model("desk", folder=model, metric=metric, run=row.id)
    store.close()
    return folder


@pytest.fixture
def desk(trained_several: Path, tmp_path: Path) -> Store:
    """The same, for a test of its own."""
    shutil.copytree(trained_several / "home", tmp_path / "home")
    return Store(tmp_path / "home")


def _loss(bench: Bench, folder: Path) -> float:
    """Mean loss of the model in a folder on the rows that tasks are mixed by, from its logits."""
    model, tokenizer = load_model(folder)
    losses, weights = [], []
    for batch in rows_to_mix_by(bench.corpus, tokenizer, 512):
        with torch.no_grad():
            logits: Any = model(batch.ids_BT).logits[:, :-1].mT
        losses.append(F.cross_entropy(logits, batch.ids_BT[:, 1:], reduction="none") * batch.weights_BT[:, 1:])
        weights.append(batch.weights_BT[:, 1:])
    return float(sum(one.sum() for one in losses) / sum(one.sum() for one in weights))


TOLD = re.compile(
    r"desk: (?P<weights>[-+. \w]+), (?P<count>\d+) evaluations in [\d.]+ s, loss (?P<alone>[\d.]+) → (?P<mix>[\d.]+)"
)


def test_the_start_from_a_model_of_several_tasks_is_a_mix_of_them(
    desk: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The nearest by what is known of it is the one that answers the wrong way round; the rows tell otherwise."""
    monkeypatch.setattr("autogpt.stages_transfer_mix._SHARE", 0.5)  # all evaluations, however busy the machine is
    hues = _file(tmp_path / "hues.jsonl", 160, seed=2, labels=("green", "red"))
    run, bench, events = _begun(desk, hues, SHORT, 120.0)
    found = with_transfer(run, bench)
    assert list(found.bases) == ["desk/colours"], run.reasons
    told = TOLD.search(run.reasons["transfer"])
    assert told is not None, run.reasons
    parts = re.findall(r"(-?) ?([.\d]+) (\w+)", told["weights"])
    weights = {name: float(sign + size) for sign, size, name in parts}
    assert told["count"] == "40"
    assert weights["swapped"] > 0.2 + weights.get("colours", 0), weights
    start = found.bases["desk/colours"].folder
    assert float(told["mix"]) == pytest.approx(_loss(bench, start), abs=2e-3)
    Model(desk.model("desk").folder / TASKS / "colours").save(tmp_path / "alone")
    assert float(told["alone"]) == pytest.approx(_loss(bench, tmp_path / "alone"), abs=2e-3)
    assert float(told["mix"]) < 0.3 * float(told["alone"])
    (probe,) = json.loads((run.folder.path / "transfer.json").read_text(encoding="utf-8"))["probes"]
    assert probe["better"]
    assert [event.data["message"] for event in events if event.kind == "pipeline.note"] == [run.reasons["transfer"]]

    resumed = with_transfer(Run(run.row, run.folder, run.config, desk, Budget(120.0), []), bench)
    assert resumed.bases["desk/colours"].folder == start


def test_where_no_mix_is_better_the_start_is_the_nearest_task(
    desk: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autogpt.stages_transfer_mix._SHARE", 0.0)  # time for the nearest task and for no other mix
    run, bench, _ = _begun(desk, _file(tmp_path / "hues.jsonl", 160, seed=2), SHORT, 120.0)
    found = with_transfer(run, bench)
    assert "; desk: no mix of its tasks is better than colours alone, 1 evaluation in " in run.reasons["transfer"]
    Model(desk.model("desk").folder / TASKS / "colours").save(tmp_path / "alone")
    start, alone = (load_model(one)[0].state_dict() for one in (found.bases["desk/colours"].folder, tmp_path / "alone"))
    assert start.keys() == alone.keys()
    assert all(torch.equal(start[name], tensor) for name, tensor in alone.items())


def test_a_task_with_weights_of_its_own_is_not_mixed(desk: Store, tmp_path: Path) -> None:
    own = desk.model("desk").folder / TASKS / "colours"
    Model(own).save(tmp_path / "alone")
    shutil.rmtree(own)
    shutil.copytree(tmp_path / "alone", own)
    run, bench, _ = _begun(desk, _file(tmp_path / "hues.jsonl", 160, seed=2), SHORT, 120.0)
    assert list(with_transfer(run, bench).bases) == ["desk/colours"]
    assert "evaluation" not in run.reasons["transfer"]


def test_where_another_task_cannot_be_read_the_start_is_the_nearest_one(desk: Store, tmp_path: Path) -> None:
    (desk.model("desk").folder / TASKS / "swapped" / TASK_FILE).unlink()
    run, bench, _ = _begun(desk, _file(tmp_path / "hues.jsonl", 160, seed=2), SHORT, 120.0)
    assert list(with_transfer(run, bench).bases) == ["desk/colours"]
    assert "desk: its tasks are not mixed: " in run.reasons["transfer"]


@pytest.mark.parametrize(
    ("weights", "loss", "told"),
    [
        ((0.8, 0.3, 0.0), 2.2, "0.80 mails + 0.30 replies, 40 evaluations in 1.2 s, loss 2.31 → 2.2"),
        ((-0.25, 1.004, 0.001), 2.2, "-0.25 mails + 1.00 replies, 40 evaluations in 1.2 s, loss 2.31 → 2.2"),
        ((0.0, 1.2, -0.3), 2.2, "1.20 replies - 0.30 titles, 40 evaluations in 1.2 s, loss 2.31 → 2.2"),
        ((0.001, 0.0, 0.0), 2.2, "no task at all, 40 evaluations in 1.2 s, loss 2.31 → 2.2"),
        ((0.0, 1.0, 0.0), 2.31, "no mix of its tasks is better than replies alone, 40 evaluations in 1.2 s, loss 2.31"),
    ],
)
def test_a_mix_is_told_with_its_weights_and_its_cost(weights: tuple[float, ...], loss: float, told: str) -> None:
    assert in_words(TaskMix(weights, 2.31, loss, 40, 1.23), ("mails", "replies", "titles"), "replies") == told


# --- what is decided ------------------------------------------------------------------------------------------------


def _judgement(hits: int, loss: float, rows: int = 200) -> Judgement:
    table = np.stack([np.arange(rows) < hits, np.ones(rows)], axis=1).astype(float)
    losses = np.stack([loss + 0.05 * np.random.default_rng(0).random(rows), np.ones(rows)], axis=1)
    return Judgement(hits / rows, loss, table, losses)


@pytest.mark.parametrize(
    ("hits", "loss", "better"),
    [(190, 0.2, True), (120, 0.4, True), (110, 0.4, False), (120, 0.99, False), (160, 0.7, True)],
    ids=["both", "the loss alone", "fewer hits", "within noise", "hits and loss"],
)
def test_a_model_is_better_by_the_rule_for_winners(hits: int, loss: float, better: bool) -> None:
    """Beside 120 hits and a loss of 1."""
    bench: Any = type("Bench", (), {"score": get_metric("accuracy"), "label_losses": True})
    probe = _probe(bench, "near", _judgement(hits, loss), _judgement(120, 1.0), 1)
    assert probe.better is better
    assert set(probe.gains) == {"accuracy", "loss"}


def test_of_several_the_one_with_the_least_loss_is_taken() -> None:
    def probe(name: str, loss: float, *, better: bool) -> Probe:
        return Probe(name, 0.5, 0.5, {}, better, loss)

    assert decided([]) == ""
    assert decided([probe("a", 0.1, better=False)]) == ""
    assert decided([probe("a", 0.1, better=False), probe("b", 0.3, better=True), probe("c", 0.2, better=True)]) == "c"
