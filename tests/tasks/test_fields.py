"""Which columns are read."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from autogpt.tasks.columns import profile
from autogpt.tasks.fields import input_columns
from autogpt.tasks.sentences import mentions_of, read_sentence
from autogpt.tasks.spec import TaskKind
from autogpt.tasks.understand import Sample


@pytest.mark.parametrize(
    ("name", "sentence", "kind", "output", "inputs"),
    [
        ("mail", "", TaskKind.CLASSIFICATION, "priority", ["subject", "body"]),
        ("mail", "judge the subject", TaskKind.CLASSIFICATION, "priority", ["subject"]),
        ("service", "", TaskKind.DIALOGUE, "reply", ["message"]),
        ("service", "given the category and the message", TaskKind.DIALOGUE, "reply", ["message", "category"]),
        ("zh_qa", "", TaskKind.QUESTION_ANSWERING, "答案", ["文章", "问题"]),
        ("label_first", "", TaskKind.CLASSIFICATION, "label", ["review"]),
        ("pairs", "", TaskKind.TRANSLATION, "en", ["zh"]),
        ("poems", "", TaskKind.GENERATION, "text", []),
        ("poems", "given a title", TaskKind.GENERATION, "text", ["title"]),
        ("zh_alpaca", "", TaskKind.INSTRUCTION, "output", ["system", "instruction", "input"]),
        ("prose", "", TaskKind.CLASSIFICATION, "text", []),
    ],
)
def test_inputs(
    sample: Callable[[str], Sample], name: str, sentence: str, kind: TaskKind, output: str, inputs: list[str]
) -> None:
    data = sample(name)
    columns = profile(data.columns, data.rows)
    answer = next(column for column in columns if column.name == output)
    mentions = mentions_of(read_sentence(sentence), data.columns)
    assert [column.name for column in input_columns(kind, answer, columns, mentions, data.layout)] == inputs
