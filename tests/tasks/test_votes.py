"""What the data say on their own."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from autogpt.tasks.columns import profile
from autogpt.tasks.spec import TaskKind
from autogpt.tasks.understand import Sample
from autogpt.tasks.votes import RULED_OUT, hypotheses


@pytest.mark.parametrize(
    ("name", "kind", "output"),
    [
        ("en_topic", TaskKind.CLASSIFICATION, "label"),
        ("many_classes", TaskKind.CLASSIFICATION, "intent"),
        ("tags", TaskKind.MULTI_LABEL, "tags"),
        ("tags_cell", TaskKind.MULTI_LABEL, "labels"),
        ("entities", TaskKind.EXTRACTION, "entities"),
        ("squad", TaskKind.QUESTION_ANSWERING, "answers"),
        ("sums", TaskKind.QUESTION_ANSWERING, "answer"),
        ("news", TaskKind.SUMMARIZATION, "summary"),
        ("source_target", TaskKind.TRANSLATION, "target"),
        ("chat", TaskKind.DIALOGUE, "messages"),
        ("alpaca", TaskKind.INSTRUCTION, "output"),
        ("prose", TaskKind.GENERATION, "text"),
        ("preference", TaskKind.PREFERENCE, "chosen"),
    ],
)
def test_best_hypothesis(sample: Callable[[str], Sample], name: str, kind: TaskKind, output: str) -> None:
    data = sample(name)
    best = max(hypotheses(profile(data.columns, data.rows), data.layout, {}), key=lambda item: item.weight)
    assert (best.kind, best.output.name) == (kind, output)
    assert all(vote.reason for vote in best.votes)


def test_what_cannot_be_is_ruled_out(sample: Callable[[str], Sample]) -> None:
    data = sample("en_topic")
    found = hypotheses(profile(data.columns, data.rows), data.layout, {})
    text_kinds = (TaskKind.TRANSLATION, TaskKind.SUMMARIZATION, TaskKind.DIALOGUE)
    for item in found:
        if item.output.name == "label" and item.kind in text_kinds:
            assert any(vote.weight == RULED_OUT for vote in item.votes)
