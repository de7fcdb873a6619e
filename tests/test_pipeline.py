"""The main path from a sentence and a file to a model folder, on tiny data; and what bad input leaves: nothing."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from autogpt.config import RunConfig, load_run_config
from autogpt.errors import BadInput, BudgetError, ConfigError, DataError, Interrupted
from autogpt.events import Event
from autogpt.model import Model, load
from autogpt.pipeline import fit, fit_summary, resume
from autogpt.store.artifacts import RunFolder
from autogpt.store.database import Store

COLOURS = {"red": ["rose", "blood", "tomato", "ruby"], "green": ["grass", "leaf", "lime", "moss"]}
SENTENCE = "Sort short texts by the colour of the thing"


def _rows(count: int, seed: int = 0) -> list[dict[str, str]]:
    rng, rows = random.Random(seed), []
    for i in range(count):
        label = rng.choice(sorted(COLOURS))
        things = [rng.choice(COLOURS[label]), *rng.choices(["a", "the", "one", "my", "old", "new"], k=4)]
        rng.shuffle(things)
        rows.append({"text": f"{' '.join(things)} {i}", "label": label})
    return rows


def _write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def _quick(*more: str) -> RunConfig:
    """Two tiny trials that end by their epochs, long before the budget."""
    space = "{width: 64, depth: 2, vocabulary: 512, tokens_per_step: 1024, epochs: 10}"
    options = [f"search.space={space}", "search.max_trials=2", "search.share=0.3", "evaluation.bootstrap=200"]
    options += ["training.threads=1", *more]
    return load_run_config(None, options, budget="60s")


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOGPT_HOME", str(tmp_path / "home"))


@pytest.fixture
def colours(tmp_path: Path) -> Path:
    return _write(tmp_path / "colours.jsonl", _rows(200))


@dataclass(frozen=True, slots=True)
class Fitted:
    """A fit that tests share.

    Attributes:
        home: where it lies.
        events: what it told.
    """

    home: Path
    data: Path
    model: Model
    events: list[Event]


def _fitted(folder: Path, config: RunConfig, test: Path | None = None) -> Fitted:
    home, data, events = folder / "home", _write(folder / "colours.jsonl", _rows(200)), list[Event]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUTOGPT_HOME", str(home))
        return Fitted(home, data, fit(SENTENCE, data, test=test, config=config, consumers=[events.append]), events)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    return _fitted(tmp_path_factory.mktemp("first"), _quick())


@pytest.fixture
def copied(first: Fitted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fitted:
    """The first fit in a home of the test's own, where it can be gone on with."""
    home = tmp_path / "copied"
    shutil.copytree(first.home, home)
    monkeypatch.setenv("AUTOGPT_HOME", str(home))
    return replace(first, home=home, model=Model(home / first.model.folder.relative_to(first.home)))


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """Llama-shaped, and scored on rows of another world."""
    folder = tmp_path_factory.mktemp("llama")
    test = _write(folder / "test.jsonl", [{"text": f"zzz qqq {i}", "label": "red"} for i in range(20)])
    return _fitted(folder, _quick("search.space.block=llama"), test).model


def test_a_sentence_and_a_file_become_a_model_with_a_report(first: Fitted) -> None:
    summary = fit_summary(first.model)
    assert summary["metric"]["name"] == "accuracy"
    assert summary["metric"]["value"] > 0.8
    assert summary["trials"] == 2
    assert not summary["known_task"]
    assert {line["name"] for line in summary["baselines"]} >= {"majority", "TF-IDF + logistic regression"}

    run = first.model.folder.parent
    for name in ("task.yaml", "config.yaml", "events.jsonl", "trials.csv", "samples.jsonl"):
        assert (run / name).stat().st_size > 0, name
    for name in ("report.md", "report.json", "report.html"):
        assert (run / name).stat().st_size > 0, name
    kinds = [event.kind for event in first.events]
    assert kinds.index("pipeline.understood") < kinds.index("search.trial_started") < kinds.index("pipeline.done")


def test_what_was_fitted_is_found_by_its_name_and_again_by_its_task(copied: Fitted) -> None:
    answers = load(copied.model.name).predict([{"text": "my old tomato"}, "the new moss"])
    assert [answer["prediction"] for answer in answers] == ["red", "green"]
    assert sum(answers[0]["scores"].values()) == pytest.approx(1.0, abs=1e-4)

    events: list[Event] = []
    again = fit(SENTENCE, copied.data, config=_quick(), consumers=[events.append])
    assert fit_summary(again)["known_task"]
    assert again.name == copied.model.name
    assert events[-1].kind == "pipeline.known_task"


def test_a_larger_budget_trains_the_known_model_on(copied: Fitted) -> None:
    first = copied.model
    events: list[Event] = []
    config = _quick("search.max_trials=1")
    second = fit(SENTENCE, copied.data, config=config, budget="80s", consumers=[events.append])
    assert (second.name, second.folder == first.folder) == (first.name, False)
    summary = fit_summary(second)
    assert summary["known_task"]
    assert summary["best_config"]["start"] == str(first.folder)
    assert summary["metric"]["value"] > 0.8


def test_the_sealed_rows_are_scored_and_no_trial_has_read_them(llama: Model) -> None:
    """Test rows of another world: were they read in training, the vocabulary and the score would show it."""
    assert fit_summary(llama)["metric"]["n"] == 20
    vocabulary = (llama.folder / "tokenizer.json").read_text(encoding="utf-8")
    assert "zzz" not in vocabulary
    assert "qqq" not in vocabulary


def test_a_llama_shaped_model_needs_only_transformers(llama: Model) -> None:
    code = (
        "import sys; from transformers import AutoModelForCausalLM, AutoTokenizer\n"
        "model = AutoModelForCausalLM.from_pretrained(sys.argv[1])\n"
        "tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])\n"
        "ids = tokenizer('my old tomato', return_tensors='pt').input_ids\n"
        "print(type(model).__name__, model.generate(ids, max_new_tokens=3).shape[0], 'autogpt' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code, str(llama.folder)], capture_output=True, text=True, check=True)
    assert out.stdout.split() == ["LlamaForCausalLM", "1", "False"]


def test_models_apart_have_a_board_each(tmp_path: Path) -> None:
    """Both have a trial 0 and the same steps, which in one folder would be one curve."""
    pytest.importorskip("tensorboard")
    files = [_write(tmp_path / f"{name}.jsonl", _rows(120, seed)) for seed, name in enumerate(("old", "new"))]
    config = _quick("grouping=apart", "search.max_trials=1", "base=scratch")
    fit(SENTENCE, files, name="duo", config=config)
    boards = {
        row.config["name"]: sorted(path.name for path in RunFolder(row.folder).tensorboard.glob("*"))
        for row in Store(tmp_path / "home").runs()
    }
    assert boards == {"duo": [], "duo-old": ["trial-0", "winner"], "duo-new": ["trial-0", "winner"]}


@pytest.mark.parametrize(
    ("rows", "description", "error"),
    [
        ([], SENTENCE, DataError),
        ([{"text": f"a{i}", "label": "x"} for i in range(50)], SENTENCE, BadInput),
        ([{"text": f"a{i}", "label": f"l{i}"} for i in range(50)], SENTENCE, BadInput),
        (_rows(10), SENTENCE, DataError),
        (_rows(50), "", BadInput),
    ],
)
def test_bad_input_leaves_nothing_behind(
    tmp_path: Path, rows: list[dict[str, Any]], description: str, error: type[BadInput]
) -> None:
    path = _write(tmp_path / "bad.jsonl", rows)
    with pytest.raises(error) as caught:
        fit(description, path, config=_quick("task.kind=classification") if description else _quick())
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "home").glob("runs/*"))


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"budget": "3s"}, BudgetError),
        ({"budget": "soon"}, BudgetError),
        ({"base": "smolm2-135m"}, BadInput),
        ({"base": "no/such/folder/here"}, BadInput),
    ],
)
def test_options_that_cannot_be_are_refused_before_anything_is_written(
    tmp_path: Path, colours: Path, change: dict[str, str], error: type[BadInput], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTOGPT_OFFLINE", "1")
    with pytest.raises(error):
        fit(SENTENCE, colours, config=_quick().model_copy(update=change))
    assert not list((tmp_path / "home").glob("runs/*"))


@pytest.mark.parametrize("wish", ["search.space.lrr=1e-3", "search.space.lr=7", "search.sampler=oracle"])
def test_wishes_about_the_search_are_checked_first(tmp_path: Path, colours: Path, wish: str) -> None:
    with pytest.raises(ConfigError):
        fit(SENTENCE, colours, config=_quick(wish))
    assert not list((tmp_path / "home").glob("runs/*"))


def _killed_fit(colours: Path, home: Path) -> str:
    """Start a fit in a process of its own and kill it without warning after its first trial ended; the run's id."""
    code = (
        "import sys; from autogpt.pipeline import fit; from autogpt.config import load_run_config\n"
        "options = ['search.space={width: 128, depth: 3, vocabulary: 1024, epochs: 40}', 'search.share=0.45']\n"
        "options += ['evaluation.bootstrap=200']\n"
        f"fit({SENTENCE!r}, {str(colours)!r}, config=load_run_config(None, options, budget='90s'))"
    )
    environment = {**os.environ, "AUTOGPT_HOME": str(home)}
    process = subprocess.Popen([sys.executable, "-c", code], env=environment)
    try:
        for _ in range(600):
            time.sleep(0.2)
            assert process.poll() is None, "the fit ended before it could be killed"
            runs = Store(home).runs() if (home / "autogpt.db").exists() else []
            if runs and any(trial.state == "finished" for trial in Store(home).trials(runs[0].id)):
                break
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
    return runs[0].id


@pytest.mark.slow
def test_after_a_kill_no_ended_trial_is_lost_or_run_again(tmp_path: Path, colours: Path) -> None:
    home = tmp_path / "home"
    run_id = _killed_fit(colours, home)
    known = Store(home).trials(run_id)
    before = {trial.number: trial for trial in known if trial.state == "finished"}
    assert before
    events: list[Event] = []
    model = resume(run_id, consumers=[events.append])
    after = {trial.number: trial for trial in Store(home).trials(run_id)}
    assert {number: after[number] for number in before} == before
    assert all(after[trial.number].reports[: len(trial.reports)] == trial.reports for trial in known)
    started = [event.data["number"] for event in events if event.kind == "search.trial_started"]
    assert not set(started) & set(before)
    assert isinstance(model, Model)
    assert Store(home).run(run_id).state == "finished"
    assert fit_summary(model)["trials"] == len(after)


def _interrupted(colours: Path) -> str:
    """A run that the user stops at the first score; its id."""

    def stop(event: Event) -> None:
        if event.kind == "search.trial_reported":
            raise KeyboardInterrupt

    with pytest.raises(Interrupted, match="autogpt runs resume") as caught:
        fit(SENTENCE, colours, config=_quick(), consumers=[stop])
    return str(caught.value).split()[-1]


def test_an_interrupted_run_goes_on(tmp_path: Path, colours: Path) -> None:
    run_id = _interrupted(colours)
    row = Store(tmp_path / "home").run(run_id)
    assert row.state == "interrupted"
    early = load(str(RunFolder(row.folder).so_far))
    assert early.predict(["my old rose 3"])[0]["prediction"] in COLOURS
    assert early.recipe["fit"]["unfinished"].startswith("trial 0 after ")
    model = resume(run_id)
    assert not RunFolder(row.folder).so_far.exists()
    assert fit_summary(model)["run"] == run_id
    assert Store(tmp_path / "home").run(run_id).state == "finished"
    assert resume(run_id).folder == model.folder  # finished already: its model


def test_data_that_changed_cannot_be_resumed(colours: Path) -> None:
    run_id = _interrupted(colours)
    _write(colours, _rows(210))
    with pytest.raises(DataError, match="changed"):
        resume(run_id)
