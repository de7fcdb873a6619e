"""A task added to a model, on tiny data: what is replayed, what stays as it was, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autogpt import pipeline
from autogpt.adding import REPLAYED_ROWS, added
from autogpt.bench import candidate_of, set_up_tasks
from autogpt.config import RunConfig, load_run_config
from autogpt.data.splits import prepare
from autogpt.errors import BadInput, ConfigError, DataError, Interrupted, ModelError
from autogpt.events import Event
from autogpt.given import Given, read_tasks, tasks_again
from autogpt.model import RECIPE_FILE, load
from autogpt.model_several import MultitaskModel
from autogpt.models.hub import load_model
from autogpt.models.multitask import MultitaskGPT
from autogpt.store.database import Store

COLOURS = {"red": ["rose", "blood", "tomato", "ruby"], "green": ["grass", "leaf", "lime", "moss"]}
SIZES = {"big": ["house", "whale", "tree", "ship"], "small": ["ant", "seed", "pin", "crumb"]}
BY_COLOUR, BY_SIZE = "Sort short texts by the colour of the thing", "Sort short texts by the size of the thing"
SPACE = "{width: 64, depth: 2, vocabulary: 400, tokens_per_step: 1024, epochs: 12}"
SHORT = "{tokens_per_step: 1024, epochs: 8}"


def _file(path: Path, things: dict[str, list[str]], count: int = 160, seed: int = 0) -> Path:
    rng, rows = np.random.default_rng(seed), []
    for number in range(count):
        label = str(rng.choice(list(things)))
        rows.append({"text": f"{rng.choice(['my', 'the'])} {rng.choice(things[label])} {seed}{number}", "label": label})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def _config(*more: str, space: str = SHORT, **options: Any) -> RunConfig:
    quick = ["search.max_trials=1", "search.share=0.3", "evaluation.bootstrap=200", "training.threads=1", *more]
    return load_run_config(None, [f"search.space={space}", *quick], budget="60s", **options)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a model that tells colours, and its rows beside it."""
    folder = tmp_path_factory.mktemp("adding")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUTOGPT_HOME", str(folder / "home"))
        file = _file(folder / "colours.jsonl", COLOURS, 2 * REPLAYED_ROWS)
        model = pipeline.fit(BY_COLOUR, file, name="desk", config=_config("seed=3", base="scratch", space=SPACE))
    assert model.recipe["fit"]["metric"]["value"] > 0.9
    return folder


@pytest.fixture
def desk(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for a test, with that model in its home."""
    monkeypatch.setenv("AUTOGPT_HOME", str(home / "home"))
    return tmp_path


def _given(file: Path, sentence: str = BY_SIZE) -> Given:
    return read_tasks(sentence, [file], [], _config())


def _added(file: Path, *more: str, add_to: str = "desk", **options: Any) -> MultitaskModel:
    config = _config(*more, add_to=add_to)
    model = pipeline.fit(BY_SIZE, file, config=config, **options)
    assert isinstance(model, MultitaskModel)
    return model


def test_a_model_learns_a_task_more_and_the_one_of_before_is_untouched(desk: Path) -> None:
    before = load("desk")
    weights = (before.folder / "model.safetensors").read_bytes()
    model = _added(_file(desk / "sizes.jsonl", SIZES))
    assert model.tasks == ("desk", "sizes")
    assert model.name == "desk-2"
    fit = pipeline.fit_summary(model)
    assert fit["tasks"]["sizes"]["metric"]["value"] > 0.8
    assert fit["tasks"]["desk"]["metric"]["value"] > 0.9
    assert {one["prediction"] for one in model["sizes"].predict(["my whale 1", "the pin 2"])} <= {"big", "small"}
    assert [one["prediction"] for one in model["desk"].predict(["my rose", "the moss"])] == ["red", "green"]
    assert "desk" in fit["verdict"]
    assert (load("desk").folder / "model.safetensors").read_bytes() == weights


def test_a_task_that_would_be_worse_keeps_the_model_it_had(desk: Path) -> None:
    # A rate at which nothing is left of what was learnt.
    events: list[Event] = []
    file = _file(desk / "heights.jsonl", SIZES, seed=5)
    config = _config(add_to="desk", space="{tokens_per_step: 256, epochs: 8, base_lr: 0.1}")
    model = pipeline.fit(BY_SIZE, file, name="ruined", config=config, consumers=[events.append])
    assert isinstance(model, MultitaskModel)
    fit, before = pipeline.fit_summary(model), load("desk")
    assert fit["groups"] == [["heights"], ["desk"]]
    assert fit["verdict"].startswith("added; desk would be worse and keep the model that they had")
    assert fit["tasks"]["desk"]["metric"] == before.recipe["fit"]["metric"]
    rows = ["my rose", "the moss", "the ruby 7"]
    assert model["desk"].predict(rows) == before.predict(rows)
    report = json.loads((model.folder.parent / "report.json").read_text(encoding="utf-8"))
    (probe,) = report["probes"]
    assert probe["leaves"]
    assert report["added_to"] == "desk"
    assert report["verdict"].count("before") > 1
    assert probe["alone"] > probe["together"]
    with pytest.raises(ModelError, match=r"do not share one model; found desk; heights; name a task.*ruined/desk"):
        added(Store(desk.parent), _given(file), _config(add_to="ruined"))


def test_known_rows_are_replayed_and_split_as_they_were(home: Path, desk: Path) -> None:
    config, given = _config(add_to="desk"), _given(_file(desk / "sizes.jsonl", SIZES))
    store = Store(home / "home")
    found = added(store, given, config)
    bench = set_up_tasks(found.config, found.given.tasks, 60.0)
    old, new = bench.parts
    spec, tables = found.given.tasks[0].spec, found.given.tasks[0].tables
    whole = prepare(spec, tables[0], None, config.data, 3)  # the seed of the run before, not of this one
    assert [row.id for row in old.dataset.valid] == [row.id for row in whole.valid]
    assert [row.id for row in old.dataset.train] == [row.id for row in whole.train]
    assert len(old.learnt.train) == len(bench.corpus.parts[0].segments) == REPLAYED_ROWS
    assert {row.id for row in old.learnt.train} < {row.id for row in whole.train}
    share = np.mean([row.target == "red" for row in whole.train])
    assert np.mean([row.target == "red" for row in old.learnt.train]) == pytest.approx(share, abs=0.01)
    assert new.learnt is new.dataset
    again = tasks_again({"description": "", **found.given.sources}, found.given.understood)
    assert [task.known for task in again.tasks] == [task.known for task in found.given.tasks]


def test_training_begins_with_the_weights_of_the_model(home: Path, desk: Path) -> None:
    rows = [json.loads(line) for line in (home / "colours.jsonl").read_text(encoding="utf-8").splitlines()]
    long = [{"text": " ".join(row["text"] for row in rows[i : i + 40]), "label": "ab"[i % 2]} for i in range(100)]
    (desk / "long.jsonl").write_text("".join(json.dumps(row) + "\n" for row in long), encoding="utf-8")
    found = added(Store(home / "home"), _given(desk / "long.jsonl"), _config(add_to="desk"))
    bench = set_up_tasks(found.config, found.given.tasks, 60.0)
    candidate, (before, _) = candidate_of(bench, found.config, bench.space.default), load_model(load("desk").folder)
    assert isinstance(candidate.model, MultitaskGPT)
    plain = candidate.model.plain(0)
    for name, weight in before.state_dict().items():
        assert weight.equal(plain.state_dict()[name]), name
    # Rows that are longer than any of before are read whole.
    assert candidate.context > before.config.max_position_embeddings
    assert plain.config.max_position_embeddings == candidate.context


def test_a_third_task_and_a_run_that_is_stopped(desk: Path) -> None:
    first = _added(_file(desk / "weights.jsonl", SIZES, seed=2), name="two")
    assert pipeline.fit_summary(first)["groups"] == [["desk", "weights"]]

    def stop(event: Event) -> None:
        if event.kind == "search.trial_reported":
            raise KeyboardInterrupt

    file = _file(desk / "lengths.jsonl", SIZES, seed=3)
    with pytest.raises(Interrupted) as caught:
        _added(file, add_to="two", name="three", consumers=[stop])
    model = pipeline.resume(str(caught.value).split()[-1])
    assert isinstance(model, MultitaskModel)
    assert model.tasks == ("desk", "weights", "lengths")
    assert model["lengths"].recipe["weights"]["task"] == 2
    assert isinstance(load_model(model["lengths"].weights_folder)[0], MultitaskGPT)


@pytest.mark.parametrize(
    ("name", "sentence", "options", "error", "found"),
    [
        ("desk", BY_SIZE, {}, DataError, "'desk' has a task 'desk' already"),
        ("sizes", BY_SIZE, {"base": "scratch"}, ConfigError, "base is settled"),
        ("sizes", BY_SIZE, {"grouping": "apart"}, ConfigError, "grouping is settled"),
        ("sizes", BY_SIZE, {"add_to": "dusk"}, ModelError, "did you mean 'desk'"),
        ("sizes", BY_SIZE, {"add_to": "desk/tales"}, ModelError, "desk"),
    ],
)
def test_what_cannot_be_added_is_refused(
    desk: Path, name: str, sentence: str, options: dict[str, str], error: type[BadInput], found: str
) -> None:
    file = _file(desk / f"{name}.jsonl", SIZES)
    before = len(Store(desk).runs())
    with pytest.raises(error, match=found):
        pipeline.fit(sentence, file, config=_config(**{"add_to": "desk", **options}))
    assert len(Store(desk).runs()) == before


def test_rows_of_before_are_needed_as_they_were(home: Path, desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    again = shutil.copy(home / "colours.jsonl", desk / "hues.jsonl")
    store = Store(home / "home")
    with pytest.raises(DataError, match=r"'hues.jsonl' is a file of a task that 'desk' does already"):
        added(store, _given(Path(again)), _config(add_to="desk"))
    given = _given(_file(desk / "sizes.jsonl", SIZES))
    was = (home / "colours.jsonl").read_bytes()
    try:
        (home / "colours.jsonl").write_bytes(was[: len(was) // 2].rsplit(b"\n", 1)[0] + b"\n")
        with pytest.raises(DataError, match="the data of 'desk' changed since it was trained"):
            added(store, given, _config(add_to="desk"))
        (home / "colours.jsonl").unlink()
        with pytest.raises(BadInput, match=r"colours\.jsonl"):
            added(store, given, _config(add_to="desk"))
    finally:
        (home / "colours.jsonl").write_bytes(was)


def test_a_model_from_elsewhere_has_no_rows_to_replay(home: Path, desk: Path) -> None:
    copied = desk / "copied"
    shutil.copytree(load("desk").folder, copied)
    recipe = json.loads((copied / RECIPE_FILE).read_text(encoding="utf-8"))
    (copied / RECIPE_FILE).write_text(json.dumps({**recipe, "run": "of-another-home"}), encoding="utf-8")
    given = _given(_file(desk / "sizes.jsonl", SIZES))
    with pytest.raises(ModelError, match=r"not known what 'desk' was trained on.*run of-another-home"):
        added(Store(home / "home"), given, _config(add_to=str(copied)))
