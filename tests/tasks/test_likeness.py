"""How alike tasks are: examples by hand, what holds for any two, the order of real tasks, and models of a registry."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autogpt.store.database import Store
from autogpt.store.keys import task_key
from autogpt.tasks.likeness import candidates, likeness
from autogpt.tasks.spec import METRIC_DIRECTION, METRICS_OF_KIND, TaskKind, TaskSpec
from autogpt.types import MetricValue


def _spec(kind: TaskKind = TaskKind.CLASSIFICATION, **fields: Any) -> TaskSpec:
    metric = METRICS_OF_KIND[kind][0]
    known: dict[str, Any] = {"description": "d", "input_fields": ["text"], "output_field": "label", "metric": metric}
    return TaskSpec(kind=kind, direction=METRIC_DIRECTION[metric], **{**known, **fields})


MOODS = _spec(labels=["positive", "negative"], max_input_chars=99)


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        ({}, 1.0),
        ({"labels": ["NEGATIVE", "Positive"]}, 1.0),
        # pos and neg are wholly within a label of the other set
        ({"labels": ["pos", "neg"]}, 1.0),
        # one label of two and of one has its like: 0.4 · 1/2 + 0.25 · 2/3 + 0.2 + 0.15
        ({"labels": ["positive"]}, 0.4 / 2 + 0.25 * 2 / 3 + 0.35),
        ({"labels": ["sport", "money"]}, 0.75),
        ({"labels": ["差评", "好评"], "input_language": "zh", "output_language": "zh"}, 0.55),
        ({"input_language": "mixed"}, 0.95),
        ({"input_language": "other"}, 0.9),
        ({"max_input_chars": 9}, 0.85 + 0.15 * 10 / 100),
        ({"kind": TaskKind.MULTI_LABEL}, 0.7),
        ({"kind": TaskKind.SUMMARIZATION}, 0.0),
    ],
)
def test_hand_examples_with_labels(other: dict[str, Any], expected: float) -> None:
    changed = _spec(**{"labels": MOODS.labels, "max_input_chars": 99, **other})
    assert likeness(MOODS, changed) == pytest.approx(expected)


def test_hand_examples_without_labels() -> None:
    titles = _spec(TaskKind.SUMMARIZATION, max_input_chars=399, max_output_chars=39)
    assert likeness(titles, _spec(TaskKind.SUMMARIZATION, max_input_chars=399, max_output_chars=39)) == 1.0
    longer = _spec(TaskKind.SUMMARIZATION, max_input_chars=799, max_output_chars=159, output_language="zh")
    assert likeness(titles, longer) == pytest.approx(0.25 + 0.25 / 2 + 0.25 / 4)
    assert likeness(titles, _spec(TaskKind.TRANSLATION, max_input_chars=399, max_output_chars=39)) == 0.0
    talk, orders = _spec(TaskKind.DIALOGUE), _spec(TaskKind.INSTRUCTION)
    assert likeness(talk, orders) == pytest.approx(0.7)


_SPECS = st.builds(
    _spec,
    kind=st.sampled_from(TaskKind),
    labels=st.lists(st.text(max_size=6), max_size=4, unique=True),
    input_language=st.sampled_from(["zh", "en", "mixed", "other"]),
    output_language=st.sampled_from(["zh", "en", "mixed", "other"]),
    max_input_chars=st.integers(0, 5000),
    max_output_chars=st.integers(1, 5000),
)


@given(_SPECS, _SPECS)
def test_it_is_symmetric_and_whole_for_the_same(one: TaskSpec, other: TaskSpec) -> None:
    assert likeness(one, other) == likeness(other, one)
    assert 0.0 <= likeness(one, other) <= 1.0
    assert likeness(one, one) == pytest.approx(1.0)


def _described(folder: Path, task: dict[str, Any]) -> TaskSpec:
    """What the list of the data sets says of a task, with the labels and the lengths of its training rows."""
    rows = [json.loads(line) for line in (folder / task["train"]).read_text(encoding="utf-8").splitlines()]
    answer = task["output"] if task["output"] in rows[0] else "label"
    lengths = sorted(max(len(str(value)) for name, value in row.items() if name != answer) for row in rows)
    return _spec(
        labels=sorted({str(row[answer]) for row in rows}),
        input_language=task["language"],
        output_language=task["language"],
        max_input_chars=lengths[int(0.99 * (len(lengths) - 1))],
    )


@pytest.mark.shared
def test_sentiment_in_two_languages_is_nearer_than_intents_or_news(shared: Path) -> None:
    listed = [json.loads(line) for line in (shared / "tasks.jsonl").read_text(encoding="utf-8").splitlines()]
    names = ("en_sst2_sentiment", "zh_waimai_sentiment", "en_banking77_intent", "zh_thucnews_topic")
    specs = {task["id"]: _described(shared, task) for task in listed if task["id"] in names}
    moods, critics, intents, news = (specs[name] for name in names)
    between = likeness(moods, critics)
    for one in (moods, critics):
        for other in (intents, news):
            assert between > likeness(one, other)


# --- candidates ------------------------------------------------------------------------------------------------------


def _registered(store: Store, name: str, spec: dict[str, Any], data: str) -> Path:
    row = store.start_run(name, spec=spec, fingerprint=data, config={}, budget_s=1.0)
    folder = row.folder / "model"
    folder.mkdir()
    store.register_model(name, folder=folder, metric=MetricValue("accuracy", 1.0, (1.0, 1.0), 9, True), run=row.id)
    return folder


def test_candidates_are_models_of_like_tasks_whose_folders_are_there(tmp_path: Path) -> None:
    store, spec = Store(tmp_path), MOODS.model_dump(mode="json")
    far, near = {**spec, "labels": ["sport", "money"]}, {**spec, "labels": ["pos", "neg"]}
    unlike = _spec(TaskKind.SUMMARIZATION).model_dump(mode="json")
    _registered(store, "own", spec, "d0")
    _registered(store, "far", far, "d1")
    _registered(store, "near-before", near, "d2")
    _registered(store, "near", near, "d2")
    shutil.rmtree(_registered(store, "gone", spec, "d3"))
    _registered(store, "unlike", unlike, "d4")
    _registered(store, "strange", {"kind": "telepathy"}, "d5")
    _registered(
        store, "desk", {"tasks": {"titles": unlike, "tones": far, "moods": {**near, "max_input_chars": 199}}}, "d6"
    )
    found = candidates(store, MOODS, task_key(spec, "d0"))
    assert [one.name for one in found] == ["near", "desk/moods", "far"]
    assert [round(one.likeness, 3) for one in found] == [1.0, 0.925, 0.75]
    assert candidates(store, _spec(TaskKind.TRANSLATION), "other") == []
