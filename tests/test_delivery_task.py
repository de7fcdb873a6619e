"""What a run leaves of a task: its samples, what to do next, and the summary that is printed."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from autogpt.delivery_task import _next_commands, _write_samples, fit_summary
from autogpt.evaluation.final import Examination
from autogpt.tasks.spec import METRIC_DIRECTION, METRICS_OF_KIND, TaskKind, TaskSpec
from autogpt.types import Entity, Example, Message, Prediction, Scores


def _spec(kind: TaskKind) -> TaskSpec:
    metric = METRICS_OF_KIND[kind][0]
    return TaskSpec(
        description="d",
        kind=kind,
        input_fields=["text"],
        output_field="out",
        metric=metric,
        direction=METRIC_DIRECTION[metric],
    )


def _written(
    file: Path, kind: TaskKind, examples: list[Example], predictions: list[Prediction]
) -> list[dict[str, Any]]:
    found = Examination(tuple(examples), tuple(predictions), Scores("", {}), (), len(examples))
    _write_samples(file, _spec(kind), found)
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def test_every_test_row_stands_in_the_samples_with_its_answer(tmp_path: Path) -> None:
    rows = _written(
        tmp_path / "samples.jsonl",
        TaskKind.SUMMARIZATION,
        [Example("a:1", {"text": "x\ny"}, "两个"), Example("a:2", {"text": "z"})],
        [Prediction("eins", "eins", nats=1.23456, utf8_bytes=6), Prediction("zwei", "zwei")],
    )
    assert rows == [
        {"id": "a:1", "text": "x\ny", "expected": "两个", "prediction": "eins", "nats": 1.235, "utf8_bytes": 6},
        {"id": "a:2", "text": "z", "expected": None, "prediction": "zwei"},
    ]


def test_entities_labels_and_conversations_are_plain_json(tmp_path: Path) -> None:
    entity = {"type": "P", "text": "Ann", "start": 0, "end": 3}
    (row,) = _written(
        tmp_path / "a.jsonl",
        TaskKind.EXTRACTION,
        [Example("a:1", {"text": "Ann"}, (Entity("P", "Ann", 0, 3),))],
        [Prediction(())],
    )
    assert (row["expected"], row["prediction"]) == ([entity], [])
    turns = (Message("user", "hi"), Message("assistant", "hello"))
    (row,) = _written(
        tmp_path / "b.jsonl", TaskKind.DIALOGUE, [Example("b:1", {}, messages=turns)], [Prediction("ho", "ho")]
    )
    assert row["messages"] == [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]
    (row,) = _written(
        tmp_path / "c.jsonl", TaskKind.MULTI_LABEL, [Example("c:1", {"text": "t"}, ("a", "b"))], [Prediction(("b",))]
    )
    assert (row["expected"], row["prediction"]) == (["a", "b"], ["b"])


@pytest.mark.parametrize("kind", list(TaskKind))
def test_what_to_do_next_names_the_model_of_the_task(kind: TaskKind) -> None:
    run: Any = SimpleNamespace(row=SimpleNamespace(id="20260101-desk"))
    first, file, show = _next_commands("desk/mails", _spec(kind), run)
    verb = "chat" if kind in (TaskKind.DIALOGUE, TaskKind.INSTRUCTION) else "generate"
    assert first.startswith(f"autogpt {verb} desk/mails")
    assert file.startswith("autogpt generate desk/mails --file ")
    assert show == "autogpt runs show 20260101-desk"


def test_a_summary_says_whether_the_task_was_known_when_the_model_was_asked_for() -> None:
    fit = {"known_task": False, "trials": 3}
    model: Any = SimpleNamespace(recipe={"fit": fit})
    assert fit_summary(model) == fit
    model.recipe["known_task"] = True  # as `fit` notes it on a model that it finds
    assert fit_summary(model) == {**fit, "known_task": True}
