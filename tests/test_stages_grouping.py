"""Which tasks share a model: what a comparison on tiny data decides, and the runs that the groups get."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autogpt import stages_grouping
from autogpt.bench import Bench, Part, bench_of, set_up_tasks
from autogpt.config import RunConfig, load_run_config
from autogpt.data.readers import fingerprint
from autogpt.evaluation.metrics import Array
from autogpt.events import Event
from autogpt.given import Given, read_tasks, tasks_again
from autogpt.model import RECIPE_FILE, TASK_FILE, TASKS, Model
from autogpt.model_several import MultitaskModel
from autogpt.run import Run
from autogpt.search.racing import Budget
from autogpt.stages_grouping import Grouping, Probe, _passes, _staying, _why, child_run, compared, grouped
from autogpt.store.artifacts import RunFolder, write_json
from autogpt.store.database import Store
from autogpt.tasks.spec import TaskKind
from autogpt.training.finish import Judgement
from autogpt.types import MetricValue

THINGS = ("rose", "grass", "tomato", "leaf")
SPACE = "{width: 64, depth: 1, vocabulary: 300, tokens_per_step: 512, epochs: 6, dropout: 0.0}"
"""Trainings end by their epochs, long before the twenty seconds of the shortest comparison, so they are repeatable."""
SENTENCE = "Sort short texts by the colour of the thing"


@dataclass(frozen=True, slots=True)
class Desk:
    """Three tasks as a fit has them before its first stage."""

    given: Given
    config: RunConfig
    bench: Bench


def _rows(file: Path, rng: np.random.Generator, *, lies: bool = False) -> Path:
    lines = []
    for number in range(120):
        thing = int(rng.integers(len(THINGS)))
        label = "red" if (thing % 2 == 0) != lies else "green"
        lines.append(json.dumps({"text": f"the {THINGS[thing]} {number}", "label": label}))
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def _desk(folder: Path, *, liars: bool) -> Desk:
    rng = np.random.default_rng(0)
    files = [_rows(folder / f"{name}.jsonl", rng) for name in ("honest", "frank")]
    files.append(_rows(folder / "liars.jsonl", rng, lies=liars))
    options = [f"search.space={SPACE}", "training.threads=1", "base=scratch", "tasks.frank.weight=3"]
    config = load_run_config(None, options, budget="100s")
    given = read_tasks(SENTENCE, files, [], config)
    return Desk(given, config, set_up_tasks(config, given.tasks, 100.0))


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """The third task has the texts of the others and the opposite answers."""
    return _desk(tmp_path_factory.mktemp("desk"), liars=True)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "home")


def _run(store: Store, desk: Desk, *, seconds: float = 120.0, **options: Any) -> tuple[Run, list[Event]]:
    """A run that has looked at its data, and what it will tell."""
    events, given, config = list[Event](), desk.given, desk.config.model_copy(update=options)
    document = {
        "description": given.description,
        **given.sources,
        "name": "desk",
        "known_task": False,
        "fresh": True,
        "config": config.model_dump(mode="json"),
    }
    row = store.start_run(
        "desk", spec=given.understood, fingerprint=given.fingerprint, config=document, budget_s=seconds
    )
    run = Run(row, RunFolder(row.folder), config, store, Budget(seconds), [events.append])
    run.stages.update(baselines=6.0, feasibility=3.0)
    return run, events


# --- grouped ---------------------------------------------------------------------------------------------------------


def test_one_task_has_nobody_to_share_with(store: Store, desk: Desk) -> None:
    run, events = _run(store, desk)
    assert grouped(run, bench_of(desk.config, desk.bench.parts[:1], 100.0)) == Grouping(((0,),), "")
    assert not events


@pytest.mark.parametrize(
    ("options", "seconds", "groups", "why"),
    [
        ({"grouping": "together"}, 100.0, ((0, 1, 2),), "together: asked for"),
        ({"grouping": "apart"}, 100.0, ((0,), (1,), (2,)), "apart: asked for"),
    ],
    ids=["together", "apart"],
)
def test_where_nothing_is_compared(
    options: dict[str, Any], seconds: float, groups: tuple[tuple[int, ...], ...], why: str, store: Store, desk: Desk
) -> None:
    run, events = _run(store, desk, seconds=seconds, **options)
    assert grouped(run, desk.bench) == Grouping(groups, why)
    assert not events
    assert list(run.folder.path.iterdir()) == []


def test_few_rows_are_learnt_together_where_the_time_is_too_short_to_compare(store: Store, desk: Desk) -> None:
    run, events = _run(store, desk, seconds=95.0)
    why = "together: 19 s, a fifth of the budget, is too short to compare with models apart"
    assert grouped(run, desk.bench) == Grouping(((0, 1, 2),), why)
    assert [event.kind for event in events] == ["pipeline.stage"]
    assert list(run.folder.path.iterdir()) == []


def test_rows_that_are_hardly_seen_once_are_learnt_apart(
    store: Store, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _ = _run(store, desk)
    seen = _passes(run, desk.bench)
    assert seen > 10  # 360 short rows in a minute
    monkeypatch.setattr(stages_grouping, "_LEAST_PASSES", 100 * seen)
    found = grouped(run, desk.bench)
    assert found.groups == ((0,), (1,), (2,))
    assert found.why.startswith("apart: there is time for ")
    assert not found.probes
    monkeypatch.undo()
    assert grouped(run, desk.bench) == found  # kept for a resumed run


@pytest.mark.parametrize(
    ("together", "groups"),
    [
        ((0.9, 0.9, 0.9), ((0, 1, 2),)),
        ((0.9, 1.1, 0.9), ((0, 2), (1,))),
        ((0.9, 1.1, 1.1), ((0,), (1,), (2,))),
        ((1.1, 1.1, 1.1), ((0,), (1,), (2,))),
        ((0.9, 1.0, 1.1), ((0, 1), (2,))),
        ((1.0, 1.0, 1.0), ((0,), (1,), (2,))),
    ],
)
def test_tasks_that_lose_nothing_together_stay_where_there_are_two_and_they_gain(
    together: tuple[float, ...],
    groups: tuple[tuple[int, ...], ...],
    store: Store,
    desk: Desk,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def told(run: Run, bench: Bench, config: Any, seconds: float) -> list[Judgement]:
        return [_judged(50, loss) for loss in (together if len(bench.parts) == 3 else (1.0,))]

    monkeypatch.setattr(stages_grouping, "trained", told)
    found = grouped(_run(store, desk)[0], desk.bench)
    assert found.groups == groups
    apart = {group[0] for group in groups if len(group) == 1}
    assert [probe.leaves for probe in found.probes] == [place in apart for place in range(3)]


def test_a_little_is_borne_where_it_may_be_chance(desk: Desk) -> None:
    def probe(difference: float, p_value: float, *, leaves: bool = False) -> Probe:
        return Probe("a", "accuracy", 0.5, 0.5, 0.0, 1.0, difference, p_value, leaves)

    gains, little, much = probe(-0.2, 0.001), probe(0.02, 0.6), probe(0.05, 0.6)
    surely, by_metric = probe(0.02, 0.01), probe(-0.2, 0.5, leaves=True)
    losses = (2.0, 2.0)
    assert _staying((gains, little), losses) == (0, 1)
    for other in (much, surely, by_metric):
        assert _staying((gains, other), losses) == ()
    assert _staying((probe(-0.01, 0.6), little), losses) == ()  # on average they lose
    assert _staying((gains, much, gains), (2.0,) * 3) == (0, 2)


def test_a_task_that_the_others_ruin_leaves_and_that_is_kept(store: Store, desk: Desk) -> None:
    run, events = _run(store, desk)
    found = grouped(run, desk.bench)
    assert found.groups == ((0, 1), (2,))
    assert [probe.leaves for probe in found.probes] == [False, False, True]
    assert [probe.task for probe in found.probes] == ["honest", "frank", "liars"]
    liars = found.probes[2]
    assert liars.metric == "accuracy"
    assert liars.difference == pytest.approx(liars.alone - liars.together)
    assert liars.difference > 0.2
    assert run.reasons["grouping"] == found.why == _why(found.probes, "en")
    assert [event.data["message"] for event in events if event.kind == "pipeline.note"] == [found.why]
    assert run.busy_s > 0

    again, told = _run(store, desk)
    (run.folder.path / "grouping.json").rename(again.folder.path / "grouping.json")
    assert grouped(again, desk.bench) == found
    assert not [event for event in told if event.kind == "training.step"]
    assert again.busy_s == 0


def test_tasks_that_agree_stay_together(store: Store, tmp_path: Path) -> None:
    run, events = _run(store, agreeing := _desk(tmp_path, liars=False))
    found = grouped(run, agreeing.bench)
    assert found.groups == ((0, 1, 2),)
    assert found.why.startswith("together: no task loses by it, and on average they gain (honest ")
    assert not [event for event in events if event.kind == "training.step"]  # no trial's, and not the winner's


# --- the decision of one task ----------------------------------------------------------------------------------------


def _hits(count: int, rows: int = 100) -> Array:
    return np.stack([np.arange(rows) < count, np.ones(rows)], axis=1).astype(float)


def _judged(hits: int, loss: float, rows: int = 100) -> Judgement:
    """So many hits, and losses of rows that vary a little around `loss`."""
    jitter = np.linspace(-0.01, 0.01, rows)
    losses = np.stack([loss + jitter, np.ones(rows)], axis=1)
    return Judgement(hits / rows, loss, _hits(hits, rows), losses)


@pytest.mark.parametrize(
    ("together", "alone", "leaves"),
    [
        (_judged(50, 1.0), _judged(90, 1.0), True),
        (_judged(50, 1.0), _judged(90, 1.5), True),
        (_judged(60, 1.0), _judged(60, 0.5), True),
        (_judged(60, 1.0), _judged(59, 0.5), False),
        (_judged(60, 1.0), _judged(70, 0.9), False),
        (_judged(60, 1.0), _judged(60, 1.0), False),
        (_judged(90, 0.5), _judged(50, 1.0), False),
        (_judged(1, 1.0, 4), _judged(4, 1.0, 4), False),
    ],
    ids=[
        "more hits",
        "more hits at a higher loss",
        "as many hits at a lower loss",
        "a hit fewer at a lower loss",
        "both within what seeds do",
        "no difference",
        "better together",
        "too few rows",
    ],
)
def test_a_task_leaves_by_its_metric_or_by_its_loss_where_the_metric_is_no_worse(
    together: Judgement, alone: Judgement, leaves: bool, desk: Desk
) -> None:
    found = compared(desk.bench.parts[2], together, alone)
    assert found.leaves is leaves
    assert (found.task, found.metric) == ("liars", "accuracy")
    assert (found.together, found.alone) == (together.score, alone.score)
    assert found.difference == pytest.approx(alone.score - together.score)
    assert found.loss_difference == pytest.approx(together.loss - alone.loss)  # a lower loss is a gain


def test_the_p_value_is_that_of_the_sign_test(desk: Desk) -> None:
    """Nine of a hundred rows differ, eight of them in favour of a model alone."""
    rows, other = _hits(60), _hits(60)
    rows[60:68, 0], rows[0, 0] = 1, 0
    losses = np.ones((100, 2))
    found = compared(desk.bench.parts[0], Judgement(0.6, 1.0, other, losses), Judgement(0.67, 1.0, rows, losses))
    exact = 2 * sum(math.comb(9, count) for count in (8, 9)) / 2**9
    assert found.p_value == pytest.approx(exact, abs=0.01)
    assert found.loss_p_value == 1.0
    assert not found.leaves  # it is significant, and no more than what seeds do


def test_of_bits_fewer_are_better(desk: Desk) -> None:
    part = desk.bench.parts[0]
    spec = part.spec.model_copy(update={"kind": TaskKind.GENERATION, "metric": "bits_per_byte"})
    writing = replace(part, spec=spec)

    def judged(bits: float) -> Judgement:
        table = np.stack([bits * 10 + np.linspace(-1, 1, 100), np.full(100, 10.0)], axis=1)
        return Judgement(bits, bits * math.log(2), table, table * [math.log(2), 1.0])

    better, worse = compared(writing, judged(2.0), judged(1.5)), compared(writing, judged(1.5), judged(2.0))
    assert better.difference == pytest.approx(0.5)
    assert worse.difference == pytest.approx(-0.5)
    assert (better.leaves, worse.leaves) == (True, False)


def _told(task: str, leaves: bool) -> Probe:
    return Probe(task, "accuracy", 0.5, 0.91234, 0.41234, 0.012, 0.3, 0.0004, leaves)


@pytest.mark.parametrize(
    ("leaving", "opening"),
    [
        ((False, False), "together: no task loses by it, and on average they gain"),
        ((True, True), "apart: no two tasks gain by each other"),
        ((False, True), "in groups: b better alone"),
    ],
)
def test_why_in_words(leaving: tuple[bool, bool], opening: str) -> None:
    numbers = "0.5 together, 0.9123 alone (p=0.012, by the loss 0.0004)"
    assert _why([_told("a", leaving[0]), _told("b", leaving[1])], "en") == f"{opening} (a {numbers}; b {numbers})"


@pytest.mark.parametrize(
    ("leaving", "opening"),
    [
        ((False, False), "合训：没有任务因此变差，平均有所提高"),
        ((True, True), "分训：没有两个任务能互相帮助"),
        ((True, False), "分组：客服 分训更好"),
    ],
)
def test_why_in_chinese(leaving: tuple[bool, bool], opening: str) -> None:
    numbers = "合训 0.5，分训 0.9123（p=0.012，按损失 0.0004）"
    told = [_told("客服", leaving[0]), _told("b", leaving[1])]
    assert _why(told, "zh") == f"{opening}（客服 {numbers}；b {numbers}）"
    assert _why([_told("a", True), _told("b", True), _told("c", False)], "zh").startswith("分组：a、b 分训")


@pytest.mark.parametrize(
    ("options", "seconds", "why"),
    [
        ({"grouping": "together"}, 100.0, "合训：按要求"),
        ({"grouping": "apart"}, 100.0, "分训：按要求"),
        ({}, 95.0, "合训：预算的五分之一只有 19 秒，不足以与分训的模型比较"),
    ],
)
def test_a_run_described_in_chinese_is_told_in_chinese(
    options: dict[str, Any], seconds: float, why: str, store: Store, desk: Desk
) -> None:
    given = replace(desk.given, description="按颜色给短文本分类")
    run, _ = _run(store, replace(desk, given=given), seconds=seconds, **options)
    assert grouped(run, desk.bench).why == run.reasons["grouping"] == why


def test_what_could_not_be_compared_is_told_in_the_language_of_the_run(store: Store, desk: Desk) -> None:
    given = replace(desk.given, description="按颜色给短文本分类")
    search = desk.config.search.model_copy(update={"max_parameters": 10})
    run, _ = _run(store, replace(desk, given=given), search=search)
    found = grouped(run, desk.bench)
    assert found.groups == ((0, 1, 2),)
    assert found.why.startswith("合训：无法比较（")


def test_what_is_kept_of_a_comparison_has_keys_that_machines_read(store: Store, desk: Desk) -> None:
    given = replace(desk.given, description="按颜色给短文本分类")
    run, _ = _run(store, replace(desk, given=given))
    found = grouped(run, desk.bench)
    assert found.why.startswith("分组：liars 分训更好（honest 合训 ")
    kept = json.loads((run.folder.path / "grouping.json").read_text(encoding="utf-8"))
    assert kept["groups"] == [[0, 1], [2]]
    assert [(probe["task"], probe["metric"], probe["leaves"]) for probe in kept["probes"]] == [
        ("honest", "accuracy", False),
        ("frank", "accuracy", False),
        ("liars", "accuracy", True),
    ]
    assert grouped(run, desk.bench) == found


# --- the run of a group ----------------------------------------------------------------------------------------------


def _child(run: Run, *tasks: str, seconds: float = 12.0) -> Run:
    found = child_run(run, tasks, seconds)
    assert isinstance(found, Run)
    return found


def test_a_run_of_two_of_the_tasks(store: Store, desk: Desk) -> None:
    parent, events = _run(store, desk)
    child = _child(parent, "honest", "frank")
    document = child.row.config
    assert (child.row.budget_s, child.budget.seconds) == (12.0, 12.0)
    assert child.row.id != parent.row.id
    assert document["parent"] == {"run": parent.row.id, "tasks": ["honest", "frank"]}
    assert document["name"] == "desk-honest"
    assert document["fresh"] is True
    assert document["tasks"] == {name: parent.row.config["tasks"][name] for name in ("honest", "frank")}
    assert document["tasks"]["frank"]["weight"] == 3
    assert child.config.grouping == "together"
    assert child.config.model_copy(update={"grouping": "auto"}) == parent.config
    assert child.stages == {"baselines": pytest.approx(4.0), "feasibility": pytest.approx(2.0)}
    child.emit("pipeline.note", message="heard by whoever hears the whole run")
    assert [event.data["message"] for event in events] == [
        "honest, frank: a model of its own, 12 s",
        "heard by whoever hears the whole run",
    ]

    again = tasks_again(document, store.task(child.row.task_key)[0])  # as `resume` of this run alone would
    assert [(task.name, task.weight) for task in again.tasks] == [("honest", 1), ("frank", 3)]
    assert [task.spec for task in again.tasks] == [task.spec for task in desk.given.tasks[:2]]
    assert again.fingerprint == store.task(child.row.task_key)[1] == fingerprint(desk.given.files[:2])


def test_a_run_of_one_of_the_tasks_is_an_ordinary_run(store: Store, desk: Desk) -> None:
    child = _child(_run(store, desk)[0], "liars")
    assert "tasks" not in child.row.config
    (told,) = tasks_again(child.row.config, store.task(child.row.task_key)[0]).tasks
    assert (told.name, told.spec) == ("", desk.given.tasks[2].spec)
    assert child.row.config["description"] == desk.given.tasks[2].spec.description


def test_a_group_gets_the_wishes_that_it_can_meet(store: Store, desk: Desk) -> None:
    space = {**desk.config.search.space, "sharing": "own", "weight_of_honest": 2, "weight_of_liars": [0.5, 1]}
    search = desk.config.search.model_copy(update={"space": space})
    parent, _ = _run(store, desk, search=search)
    two, one = _child(parent, "honest", "frank"), _child(parent, "liars")
    assert two.config.search.space == {**desk.config.search.space, "sharing": "own", "weight_of_honest": 2}
    assert one.config.search.space == desk.config.search.space
    own = bench_of(two.config, desk.bench.parts[:2], 12.0)
    assert own.space.default["weight_of_honest"] == 2
    assert own.space.default["weight_of_frank"] == 1
    bench_of(one.config, desk.bench.parts[2:], 12.0)


def test_each_group_has_its_run_and_each_run_its_groups(store: Store, desk: Desk) -> None:
    parent, other = _run(store, desk)[0], _run(store, desk)[0]
    children = [_child(parent, "liars"), _child(parent, "honest", "frank"), _child(other, "liars")]
    for child in children:
        store.finish_run(child.row.id, "interrupted", spent_s=1.0)
    assert len({child.row.id for child in children}) == 3
    assert _child(parent, "liars").row.id == children[0].row.id
    assert _child(parent, "honest", "frank").row.id == children[1].row.id
    assert _child(other, "liars").row.id == children[2].row.id


@pytest.mark.parametrize("state", ["interrupted", "failed"])
def test_a_run_that_was_begun_goes_on_with_what_is_left_of_its_time(state: Any, store: Store, desk: Desk) -> None:
    parent, _ = _run(store, desk)
    first = _child(parent, "liars")
    store.finish_run(first.row.id, state, spent_s=5.0)
    again = _child(parent, "liars", seconds=40.0)  # what is left to the whole run is not asked anew
    assert again.row.id == first.row.id
    assert again.budget.seconds == 12.0
    assert 5.0 <= again.budget.elapsed() < 12.0
    assert store.run(first.row.id).state == "running"
    assert again.config == first.config


def _finished(child: Run, write: Callable[[Path], None]) -> None:
    write(child.folder.model)
    child.store.finish_run(child.row.id, "finished", spent_s=1.0)


def _one(part: Part) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        folder.mkdir(parents=True)
        part.spec.save(folder / TASK_FILE)
        write_json(folder / RECIPE_FILE, {"name": part.name})

    return write


def test_a_run_that_is_finished_gives_its_model(store: Store, desk: Desk) -> None:
    parent, _ = _run(store, desk)
    one, two = _child(parent, "liars"), _child(parent, "honest", "frank")
    _finished(one, _one(desk.bench.parts[2]))

    def several(folder: Path) -> None:
        for part in desk.bench.parts[:2]:
            _one(part)(folder / TASKS / part.name)
        write_json(folder / RECIPE_FILE, {"name": "desk-honest", "tasks": ["honest", "frank"]})

    _finished(two, several)
    model, both = child_run(parent, ["liars"], 12.0), child_run(parent, ["honest", "frank"], 12.0)
    assert isinstance(model, Model)
    assert isinstance(both, MultitaskModel)
    assert (model.folder, both.folder) == (one.folder.model, two.folder.model)
    assert both.tasks == ("honest", "frank")


def test_a_name_that_is_taken_gets_a_number(store: Store, desk: Desk, tmp_path: Path) -> None:
    store.register_model("desk-liars", folder=tmp_path, metric=MetricValue("accuracy", 1.0, (1.0, 1.0), 1, True))
    assert _child(_run(store, desk)[0], "liars").row.config["name"] == "desk-liars-2"
