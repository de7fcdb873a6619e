"""The main path of several tasks, on tiny data: one folder that answers for all, with what belongs to each of them."""

from __future__ import annotations

import json
import math
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autogpt.config import RunConfig, load_run_config
from autogpt.data.splits import SealedSplit
from autogpt.delivery_several import gather, mean_of
from autogpt.errors import Interrupted, ModelError
from autogpt.events import Event
from autogpt.model import RECIPE_FILE, SHARED, TASK_FILE, TASKS, Model, load
from autogpt.model_several import MultitaskModel, model_in
from autogpt.models.hub import load_model
from autogpt.models.multitask import MultitaskGPT
from autogpt.pipeline import fit, fit_summary, resume
from autogpt.run import Run
from autogpt.search.racing import Budget
from autogpt.store.artifacts import RunFolder, write_json
from autogpt.store.database import RunRow, Store
from autogpt.types import Example, MetricValue

COLOURS = {"red": ["rose", "blood", "tomato", "ruby"], "green": ["grass", "leaf", "lime", "moss"]}
SENTENCE = "Sort short texts by the colour of the thing; continue the tales"


def _write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def _data(folder: Path) -> list[Path]:
    rng = np.random.default_rng(0)
    things, tales = [], []
    for i in range(160):
        label = str(rng.choice(list(COLOURS)))
        things.append({"text": f"{rng.choice(['my', 'the', 'old'])} {rng.choice(COLOURS[label])} {i}", "label": label})
        tales.append({"text": f"Once a {rng.choice(COLOURS['red'])} met a {rng.choice(COLOURS['green'])} on day {i}."})
    return [_write(folder / "colours.jsonl", things), _write(folder / "tales.jsonl", tales[:80])]


def _quick(*more: str) -> RunConfig:
    """One model and two tiny trials that end by their epochs, long before the budget."""
    space = "{width: 64, depth: 2, vocabulary: 400, tokens_per_step: 1024, epochs: 12}"
    options = [f"search.space={space}", "search.max_trials=2", "search.share=0.3", "evaluation.bootstrap=200"]
    options += ["training.threads=1", "base=scratch", "grouping=together", *more]
    return load_run_config(None, options, budget="60s")


@dataclass(frozen=True, slots=True)
class Fitted:
    """A fit that tests share.

    Attributes:
        opened: how many events had been told when sealed rows were opened, each time.
    """

    home: Path
    data: list[Path]
    model: MultitaskModel
    events: list[Event]
    opened: list[int]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    folder = tmp_path_factory.mktemp("desk")
    data, events, opened, really = _data(folder), list[Event](), list[int](), SealedSplit.open

    def counted(split: SealedSplit) -> tuple[Example, ...]:
        opened.append(len(events))
        return really(split)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUTOGPT_HOME", str(folder / "home"))
        patch.setattr(SealedSplit, "open", counted)
        model = fit(SENTENCE, data, name="desk", config=_quick(), consumers=[events.append])
    assert isinstance(model, MultitaskModel)
    return Fitted(folder / "home", data, model, events, opened)


@pytest.fixture
def at_home(desk: Fitted, monkeypatch: pytest.MonkeyPatch) -> Fitted:
    monkeypatch.setenv("AUTOGPT_HOME", str(desk.home))
    return desk


def test_one_set_of_weights_and_a_folder_of_each_task(desk: Fitted) -> None:
    folder = desk.model.folder
    assert desk.model.tasks == ("colours", "tales")
    assert sorted(path.name for path in folder.iterdir()) == sorted([RECIPE_FILE, SHARED, TASKS])
    assert len(list(folder.rglob("*.safetensors"))) == len(list((folder / SHARED).glob("*.safetensors"))) == 1
    model, _ = load_model(folder / SHARED)
    assert isinstance(model, MultitaskGPT)
    for place, task in enumerate(desk.model.tasks):
        assert {TASK_FILE, RECIPE_FILE} <= {path.name for path in (folder / TASKS / task).iterdir()}
        recipe = json.loads((folder / TASKS / task / RECIPE_FILE).read_text(encoding="utf-8"))
        assert recipe["weights"] == {"folder": f"../../{SHARED}", "task": place}
        assert recipe["name"] == f"desk/{task}"


def test_each_task_has_a_report_and_its_test_rows(desk: Fitted) -> None:
    run = desk.model.folder.parent
    kinds = Counter(event.kind for event in desk.events)
    assert kinds["pipeline.prepared"] == 2
    rows = {
        event.data["task"]: event.data["summary"]["rows"] for event in desk.events if event.kind == "pipeline.prepared"
    }
    for task in desk.model.tasks:
        for name in ("report.md", "report.json", "report.html", "samples.jsonl"):
            assert (run / TASKS / task / name).stat().st_size > 0, (task, name)
        lines = (run / TASKS / task / "samples.jsonl").read_text(encoding="utf-8").splitlines()
        ids = [json.loads(line)["id"] for line in lines]
        assert len(set(ids)) == len(ids) == rows[task]["test"]
        assert {name.split(".")[0] for name in ids} == {task}
        report = json.loads((run / TASKS / task / "report.json").read_text(encoding="utf-8"))
        assert report["model"] == f"desk/{task}"
    for name in ("task.yaml", "config.yaml", "events.jsonl", "trials.csv"):
        assert (run / name).stat().st_size > 0, name


def test_what_is_told_at_the_end_is_there(desk: Fitted) -> None:
    (done,) = (event.data for event in desk.events if event.kind == "pipeline.done")
    assert (done["model"], done["folder"]) == ("desk", str(desk.model.folder))
    assert Path(done["report"]).stat().st_size > 0
    assert [task for task in desk.model.tasks if not any(f"desk/{task}" in line for line in done["next"])] == []


def test_the_sealed_rows_are_opened_once_when_everything_is_decided(desk: Fitted) -> None:
    assert len(desk.opened) == 2
    stages = [event.data["stage"] for event in desk.events[: min(desk.opened)] if event.kind == "pipeline.stage"]
    assert stages[-1] == "evaluate"
    late = Counter(event.kind for event in desk.events[min(desk.opened) :])
    assert late["training.step"] == late["search.trial_started"] == 0


def test_the_score_is_the_mean_of_the_tasks_on_a_common_scale(desk: Fitted) -> None:
    summary = fit_summary(desk.model)
    accuracy, bits = (summary["tasks"][task]["metric"] for task in desk.model.tasks)
    assert (accuracy["name"], bits["name"]) == ("accuracy", "bits_per_byte")
    assert accuracy["value"] > 0.8
    assert bits["value"] < 2.5
    assert summary["metric"]["name"] == "mean_score"
    assert summary["metric"]["value"] == pytest.approx((accuracy["value"] + 2 ** -bits["value"]) / 2)
    assert summary["metric"]["n"] == accuracy["n"] + bits["n"]
    low, high = summary["metric"]["ci95"]
    assert low < summary["metric"]["value"] < high
    assert summary["trials"] == 2
    assert not summary["known_task"]


def test_each_task_is_found_by_its_name_and_does_its_work(at_home: Fitted) -> None:
    answers = load("desk/colours").predict([{"text": "my old tomato"}, "the moss"])
    assert [answer["prediction"] for answer in answers] == ["red", "green"]
    again = model_in(at_home.model.folder)
    assert isinstance(again, MultitaskModel)
    assert again["colours"].predict([{"text": "my old tomato"}, "the moss"]) == answers
    assert isinstance(again.generate("Once a", task="tales", max_new_tokens=4), str)
    assert load("desk", "tales").score("Once a rose met a leaf on day 7.") < load("desk", "tales").score(
        "Qzx! 9#kk? Vvv."
    )


def test_a_task_must_be_named(at_home: Fitted) -> None:
    with pytest.raises(ModelError, match=r"desk does 2 tasks; expected one of colours, tales; name it: desk/colours"):
        load("desk")
    with pytest.raises(ModelError, match=r"desk has no task 'colour'.*did you mean 'colours'"):
        load("desk/colour")
    with pytest.raises(ModelError, match="did you mean 'desk'"):
        load("desc/colours")


def test_the_same_tasks_are_known_again(at_home: Fitted) -> None:
    events: list[Event] = []
    again = fit(SENTENCE, at_home.data, config=_quick(), consumers=[events.append])
    assert isinstance(again, MultitaskModel)
    assert (again.folder, again.name) == (at_home.model.folder, "desk")
    assert fit_summary(again)["known_task"]
    assert events[-1].kind == "pipeline.known_task"


def test_other_weights_are_another_model(at_home: Fitted) -> None:
    events: list[Event] = []

    def stop(event: Event) -> None:
        events.append(event)
        if event.kind == "pipeline.stage":
            raise KeyboardInterrupt

    with pytest.raises(Interrupted):
        fit(SENTENCE, at_home.data, config=_quick("tasks.tales.weight=20"), consumers=[stop])


# --- interrupted -----------------------------------------------------------------------------------------------------


def _interrupted(data: list[Path]) -> str:
    """A run that the user stops at the first score; its id."""

    def stop(event: Event) -> None:
        if event.kind == "search.trial_reported":
            raise KeyboardInterrupt

    with pytest.raises(Interrupted, match="autogpt runs resume") as caught:
        fit(SENTENCE, data, config=_quick("search.max_trials=1", "tasks.tales.weight=2"), consumers=[stop])
    return str(caught.value).split()[-1]


def test_an_interrupted_run_goes_on_with_all_its_tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOGPT_HOME", str(tmp_path / "home"))
    run_id = _interrupted(_data(tmp_path))
    folder = RunFolder(Store(tmp_path / "home").run(run_id).folder)
    early = model_in(folder.so_far)
    assert isinstance(early, MultitaskModel)
    assert early.recipe["fit"]["unfinished"].startswith("trial 0 after ")
    assert early["colours"].predict(["my old rose"])[0]["prediction"] in COLOURS

    model = resume(run_id)
    assert isinstance(model, MultitaskModel)
    assert not folder.so_far.exists()
    summary = fit_summary(model)
    assert summary["run"] == run_id
    accuracy, bits = (summary["tasks"][task]["metric"]["value"] for task in model.tasks)
    assert summary["metric"]["value"] == pytest.approx((accuracy + 2 * 2**-bits) / 3)  # the weights were kept
    assert Store(tmp_path / "home").run(run_id).state == "finished"
    again = resume(run_id)
    assert (type(again), again.folder) == (MultitaskModel, model.folder)


def test_a_folder_that_was_moved_still_answers(desk: Fitted, tmp_path: Path) -> None:
    shutil.copytree(desk.model.folder, tmp_path / "elsewhere")
    moved = load(tmp_path / "elsewhere", "colours")
    assert isinstance(moved, Model)
    assert moved.weights_folder == (tmp_path / "elsewhere" / SHARED).resolve()
    assert moved.predict(["the moss"]) == desk.model["colours"].predict(["the moss"])


# --- a model for each task -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Apart:
    """A fit with a model for each task, stopped in the second one's search and resumed.

    Attributes:
        message: of the stop; `states`: of the runs at that time, by their models' names.
        before, after: what was told until the stop, and from there on.
    """

    store: Store
    model: MultitaskModel
    message: str
    states: dict[str, str]
    before: list[Event]
    after: list[Event]

    @property
    def run(self) -> RunRow:
        return next(row for row in self.store.runs() if "parent" not in row.config)

    def child(self, task: str) -> RunRow:
        return next(row for row in self.store.runs() if row.config["name"] == f"duo-{task}")


@pytest.fixture(scope="module")
def apart(tmp_path_factory: pytest.TempPathFactory) -> Apart:
    folder = tmp_path_factory.mktemp("apart")
    before, after = list[Event](), list[Event]()

    def stop(event: Event) -> None:
        before.append(event)
        if event.kind == "search.trial_reported" and sum(one.kind == "search.begun" for one in before) == 2:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUTOGPT_HOME", str(folder / "home"))
        config = _quick("grouping=apart", "search.max_trials=1")
        with pytest.raises(Interrupted) as caught:
            fit(SENTENCE, _data(folder), name="duo", config=config, consumers=[stop])
        store = Store(folder / "home")
        states = {str(row.config["name"]): row.state for row in store.runs()}
        parent = next(row.id for row in store.runs() if "parent" not in row.config)
        model = resume(parent, consumers=[after.append])
    assert isinstance(model, MultitaskModel)
    return Apart(store, model, str(caught.value), states, before, after)


def test_a_stop_in_the_run_of_a_task_stops_the_whole_run(apart: Apart) -> None:
    assert apart.states == {"duo": "interrupted", "duo-colours": "finished", "duo-tales": "interrupted"}
    assert apart.message.endswith(f"go on with: autogpt runs resume {apart.run.id}")


def test_what_was_finished_before_the_stop_is_not_done_again(apart: Apart) -> None:
    assert {row.state for row in apart.store.runs()} == {"finished"}
    assert len(apart.store.runs()) == 3
    done = [event.data["model"] for event in apart.after if event.kind == "pipeline.done"]
    assert done == ["duo-tales", "duo"]
    told = [event.data["model"] for event in apart.before if event.kind == "pipeline.done"]
    assert told == ["duo-colours"]
    for task in ("colours", "tales"):
        assert apart.child(task).config["parent"] == {"run": apart.run.id, "tasks": [task]}
        assert len(apart.store.trials(apart.child(task).id)) == 1
    assert apart.store.trials(apart.run.id) == []


def test_the_time_is_shared_out(apart: Apart) -> None:
    """The first task gets half of what is left, and what it does not need goes to the second."""
    first, second = (apart.child(task).budget_s for task in ("colours", "tales"))
    assert 20 < first < 30
    assert first < second < 60
    for task in ("colours", "tales"):
        assert apart.child(task).spent_s < apart.child(task).budget_s


def test_one_folder_answers_for_models_apart(apart: Apart) -> None:
    folder = apart.model.folder
    assert apart.model.tasks == ("colours", "tales")
    assert sorted(path.name for path in folder.iterdir()) == sorted([RECIPE_FILE, TASKS])
    assert len(list(folder.rglob("*.safetensors"))) == 2
    rows = ["my old tomato", "the moss", "the ruby"]
    own = Model(RunFolder(apart.child("colours").folder).model)
    assert apart.model.predict(rows, task="colours") == own.predict(rows)
    assert [answer["prediction"] for answer in own.predict(rows)] == ["red", "green", "red"]
    tales = Model(RunFolder(apart.child("tales").folder).model)
    assert apart.model["tales"].score("Once a rose met a leaf.") == tales.score("Once a rose met a leaf.")
    assert sorted(row.name for row in apart.store.models()) == ["duo", "duo-colours", "duo-tales"]
    assert apart.store.model("duo").folder == folder


def test_the_report_of_models_apart(apart: Apart) -> None:
    run, summary = apart.model.folder.parent, fit_summary(apart.model)
    assert summary["groups"] == [["colours"], ["tales"]]
    assert (summary["verdict"], summary["trials"], summary["run"]) == ("apart: asked for", 2, apart.run.id)
    assert summary["best_config"].keys() == {"colours", "tales"}
    accuracy, bits = (summary["tasks"][task]["metric"]["value"] for task in apart.model.tasks)
    assert summary["metric"]["value"] == pytest.approx((accuracy + 2**-bits) / 2)
    for name in ("report.html", "report.md", "report.json"):
        assert (run / name).stat().st_size > 0
        for task in apart.model.tasks:
            own, copied = (
                (folder / name).read_text("utf-8") for folder in (apart.child(task).folder, run / TASKS / task)
            )
            assert f"duo/{task}" in copied
            assert copied.replace(f"duo/{task}", f"duo-{task}") == own
    report = json.loads((run / "report.json").read_text(encoding="utf-8"))
    assert [line["model"] for line in report["tasks"]] == ["duo/colours", "duo/tales"]
    assert all((run / line["report"]).is_file() for line in report["tasks"])
    assert report["groups"] == [["colours"], ["tales"]]
    assert report["probes"] == []
    for task in apart.model.tasks:
        own = json.loads((run / TASKS / task / "report.json").read_text(encoding="utf-8"))
        assert all(seconds >= 0 for seconds in own["stages"].values())
        assert "precision" in own["reasons"]
        assert (run / TASKS / task / "samples.jsonl").stat().st_size > 0
        assert (apart.child(task).folder / "task.yaml").is_file()


# --- gathering -------------------------------------------------------------------------------------------------------


def _empty_run(home: Path) -> Run:
    store, config = Store(home), RunConfig()
    row = store.start_run("all", spec={}, fingerprint="f", config={"name": "all"}, budget_s=60.0)
    return Run(row, RunFolder(row.folder), config, store, Budget(60.0), [])


def test_groups_of_several_and_of_one_are_gathered(desk: Fitted, apart: Apart, tmp_path: Path) -> None:
    run = _empty_run(tmp_path)
    hues = Model(RunFolder(apart.child("colours").folder).model)
    reports = gather(run, [hues, desk.model], [["hues"], ["colours", "tales"]])
    folder = run.folder.model
    assert sorted(path.name for path in folder.iterdir()) == ["shared-0", TASKS]
    assert sorted(path.name for path in (folder / TASKS).iterdir()) == ["colours", "hues", "tales"]
    weights = {path.parent.relative_to(folder).as_posix() for path in folder.rglob("*.safetensors")}
    assert weights == {"shared-0", f"{TASKS}/hues"}

    write_json(folder / RECIPE_FILE, {"name": "all", "tasks": ["hues", "colours", "tales"]})
    whole, rows = MultitaskModel(folder), ["my old tomato", "the moss"]
    assert whole["hues"].weights_folder == folder / TASKS / "hues"
    assert whole["colours"].weights_folder == whole["tales"].weights_folder == (folder / "shared-0").resolve()
    assert whole.predict(rows, task="hues") == hues.predict(rows)
    assert whole.predict(rows, task="colours") == desk.model.predict(rows, task="colours")
    text = "Once a rose met a leaf on day 7."
    assert whole["tales"].score(text) == desk.model["tales"].score(text)

    assert list(reports) == ["hues", "colours", "tales"]
    made_in = {"hues": hues.folder.parent} | {
        task: desk.model.folder.parent / TASKS / task for task in desk.model.tasks
    }
    for task, made in made_in.items():
        recipe = json.loads((folder / TASKS / task / RECIPE_FILE).read_text(encoding="utf-8"))
        assert recipe["name"] == recipe["fit"]["model"] == f"all/{task}"
        assert recipe["fit"]["model_dir"] == str(folder / TASKS / task)
        for name in ("report.html", "report.md", "report.json"):
            own = (run.folder.path / TASKS / task / name).read_text(encoding="utf-8")
            assert f"all/{task}" in own
            assert own.replace(f"all/{task}", _called(made)) == (made / name).read_text(encoding="utf-8")
        assert reports[task].main.value == recipe["fit"]["metric"]["value"]
    assert desk.model["colours"].weights_folder == (desk.model.folder / SHARED).resolve()  # what is copied stays


def test_half_a_copy_is_replaced(desk: Fitted, tmp_path: Path) -> None:
    run = _empty_run(tmp_path)
    gather(run, [desk.model], [desk.model.tasks])
    folder = run.folder.model
    whole = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    (file,) = folder.rglob("*.safetensors")
    file.write_bytes(file.read_bytes()[:100])
    (folder / TASKS / "colours" / RECIPE_FILE).unlink()
    (folder / TASKS / "tales" / f".{RECIPE_FILE}.tmp").write_text("half", encoding="utf-8")
    (run.folder.path / TASKS / "tales" / "report.html").write_text("half", encoding="utf-8")
    gather(run, [desk.model], [desk.model.tasks])
    assert {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()} == whole
    page = (run.folder.path / TASKS / "tales" / "report.html").read_text(encoding="utf-8")
    made = desk.model.folder.parent / TASKS / "tales"
    assert page.replace("all/tales", _called(made)) == (made / "report.html").read_text(encoding="utf-8")


def _called(reports: Path) -> str:
    """The model that the reports in a folder speak of."""
    return str(json.loads((reports / "report.json").read_text(encoding="utf-8"))["model"])


# --- the mean --------------------------------------------------------------------------------------------------------


def _measured(name: str, value: float, half: float, n: int = 100) -> MetricValue:
    return MetricValue(name, value, (value - half, value + half), n, name != "bits_per_byte")


def test_the_mean_by_hand() -> None:
    found = mean_of([1.0, 3.0], [_measured("accuracy", 0.8, 0.08, 50), _measured("chrf", 40.0, 4.0, 70)])
    assert found.value == pytest.approx((0.8 + 3 * 0.4) / 4)
    half = math.hypot(0.08 / 4, 0.04 * 3 / 4)
    assert found.ci95 == pytest.approx((found.value - half, found.value + half))
    assert (found.name, found.n, found.higher_is_better) == ("mean_score", 120, True)


def test_of_fewer_bits_the_mean_is_higher_and_its_interval_is_in_order() -> None:
    one, other = (mean_of([1.0], [_measured("bits_per_byte", bits, 0.2)]) for bits in (2.0, 1.0))
    assert (one.value, other.value) == (0.25, 0.5)
    for found in (one, other):
        assert found.ci95[0] < found.value < found.ci95[1]


def test_the_interval_holds_the_true_mean_in_95_of_100_samples() -> None:
    """Two tasks of hits, and one of bits per byte, measured again and again on rows of their own."""
    rng, weights, rows, runs = np.random.default_rng(0), [1.0, 2.0, 1.0], (200, 120, 150), 2000
    truth = (0.7 + 2 * 0.4 + 2**-1.5) / 4
    held = 0
    for _ in range(runs):
        measured = []
        for share, n in zip((0.7, 0.4), rows, strict=False):
            hits = rng.random(n) < share
            measured.append(_measured("accuracy", float(hits.mean()), 1.96 * float(hits.std()) / math.sqrt(n), n))
        bits = rng.gamma(9.0, 1.5 / 9.0, rows[2])
        half = 1.96 * float(bits.std()) / math.sqrt(rows[2])
        low, high = mean_of(weights, [*measured, _measured("bits_per_byte", float(bits.mean()), half)]).ci95
        held += low <= truth <= high
    assert held / runs == pytest.approx(0.95, abs=0.015)
