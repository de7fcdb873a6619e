"""What users give models, as rows, examples and prompts."""

from __future__ import annotations

from typing import Any

import pytest

from autogpt.errors import DataError
from autogpt.model_inputs import continues, example_of, examples_of, prompt_of, row_of
from autogpt.tasks.spec import METRIC_DIRECTION, METRICS_OF_KIND, TaskKind, TaskSpec
from autogpt.tasks.templates import render


def spec(kind: TaskKind, **fields: Any) -> TaskSpec:
    metric = METRICS_OF_KIND[kind][0]
    values = {"input_fields": ["text"], "output_field": "out", **fields}
    return TaskSpec(description="a test", kind=kind, metric=metric, direction=METRIC_DIRECTION[metric], **values)


def test_a_text_is_the_only_field_and_a_mapping_is_a_row() -> None:
    told = spec(TaskKind.SUMMARIZATION)
    assert row_of(told, "hello") == {"text": "hello"}
    assert row_of(told, {"text": "hello", "more": 1}) == {"text": "hello", "more": 1}
    assert example_of(told, "hello").input == {"text": "hello"}
    assert prompt_of(told, example_of(told, "hello")) == render(told, example_of(told, "hello"), answer=False)


def test_several_fields_are_json_or_for_instructions_optional() -> None:
    told = spec(TaskKind.QUESTION_ANSWERING, input_fields=["context", "question"])
    assert row_of(told, '{"context": "a", "question": "b"}') == {"context": "a", "question": "b"}
    with pytest.raises(DataError, match="several fields"):
        row_of(told, "only one")
    with pytest.raises(DataError, match="not JSON"):
        row_of(told, "{broken")
    asked = spec(TaskKind.INSTRUCTION, input_fields=["instruction", "input"])
    assert row_of(asked, "do it") == {"instruction": "do it", "input": ""}


def test_plain_continuation_goes_on_from_the_text_itself() -> None:
    told = spec(TaskKind.GENERATION, input_fields=[], output_field="text", layout="text")
    assert continues(told)
    assert prompt_of(told, example_of(told, "once upon")) == "once upon"
    assert [example.id for example in examples_of(told, ["a", "b"])] == ["input:1", "input:2"]
    assert not continues(spec(TaskKind.GENERATION, input_fields=["title"]))


def test_a_conversation_begins_with_the_text() -> None:
    told = spec(TaskKind.DIALOGUE, input_fields=["messages"], output_field="messages", layout="messages")
    assert example_of(told, "hi").messages[0].content == "hi"
