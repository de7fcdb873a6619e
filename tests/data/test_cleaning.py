"""Rows of every layout against hand-written examples."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from autogpt.data.cleaning import to_examples
from autogpt.data.layouts import columns_of, recognise
from autogpt.data.readers import Table
from autogpt.errors import DataError
from autogpt.tasks.spec import METRICS_OF_KIND, TaskKind, TaskSpec
from autogpt.types import Drop, Entity, Example, Message


def table(*rows: Mapping[str, Any], drops: tuple[Drop, ...] = ()) -> Table:
    ids = tuple(f"a.jsonl:{n}" for n in range(1, len(rows) + 1))
    columns = columns_of(rows)
    return Table(rows, ids, columns, recognise(rows, columns), "jsonl", "utf-8", drops, Path("a.jsonl"))


def spec(kind: str, inputs: list[str], output: str, **more: Any) -> TaskSpec:
    metric = METRICS_OF_KIND[TaskKind(kind)][0]
    return TaskSpec(
        description="d",
        kind=TaskKind(kind),
        input_fields=inputs,
        output_field=output,
        metric=metric,
        direction="max",
        **more,
    )


def one(task: TaskSpec, row: Mapping[str, Any]) -> Example:
    examples, drops = to_examples(task, table(row), need_target=True)
    assert not drops, drops
    return examples[0]


LABEL = spec("classification", ["text"], "label")
MULTI = spec("multi_label", ["text"], "tags", labels=["a", "b", "c"])
NER = spec("extraction", ["text"], "entities")
QA = spec("question_answering", ["context", "question"], "answers")
SUMMARY = spec("summarization", ["document"], "summary")
ALPACA = spec("instruction", ["instruction", "input"], "output", layout="alpaca")
CHAT = spec("dialogue", ["messages"], "messages", layout="messages")
SHAREGPT = spec("dialogue", ["conversations"], "messages", layout="sharegpt")
PAIRS = spec("preference", ["prompt"], "chosen", layout="preference")
USER, BOT = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}


@pytest.mark.parametrize(
    ("value", "label"),
    [(" x ", "x"), (3, "3"), (True, "true"), (False, "false"), (0, "0"), (["x"], "x"), ("007", "007")],
)
def test_labels_become_text(value: Any, label: str) -> None:
    example = one(LABEL, {"text": " t ", "label": value, "extra": [1]})
    assert (example.target, example.references, example.input) == (label, (label,), {"text": " t "})


@pytest.mark.parametrize("value", [["a", "b"], "a;b", '["a", "b"]', "a、b", ["a", "b", "a"], "a | b"])
def test_several_labels(value: Any) -> None:
    assert one(MULTI, {"text": "t", "tags": value}).target == ("a", "b")


def test_no_label_at_all_is_a_set_too() -> None:
    assert one(MULTI, {"text": "t", "tags": []}).target == ()


NEAR = (Entity("PER", "Bo", 0, 2), Entity("LOC", "Rome", 9, 13))


@pytest.mark.parametrize(
    "value",
    [
        [{"type": "LOC", "text": "Rome", "start": 9, "end": 13}, {"type": "PER", "text": "Bo", "start": 0, "end": 2}],
        [{"label": "PER", "start": 0, "end": 2}, {"label": "LOC", "start": 9, "end": 13}],
        [{"type": "PER", "text": "Bo"}, {"entity_group": "LOC", "word": "Rome"}],
        [{"type": "PER", "entity": "Bo"}, {"type": "LOC", "entity": "Rome", "start": 9, "end": 13}],
        [{"type": "PER", "text": "Bo", "start": 0, "end": 1}, {"type": "LOC", "text": "Rome", "start": 9, "end": 12}],
        [[0, 2, "PER"], [9, 13, "LOC"]],
        {"PER": ["Bo"], "LOC": ["Rome"]},
        {"PER": {"Bo": [[0, 1]]}, "LOC": {"Rome": [[9, 12]]}},
        '[{"type": "PER", "text": "Bo"}, {"type": "LOC", "text": "Rome"}]',
    ],
)
def test_entities_in_every_shape(value: Any) -> None:
    assert one(NER, {"text": "Bo is in Rome", "entities": value}).target == NEAR


def test_the_same_name_twice_is_found_at_two_places() -> None:
    example = one(
        NER, {"text": "Bo met Bo", "entities": [{"type": "PER", "text": "Bo"}, {"type": "PER", "text": "Bo"}]}
    )
    assert example.target == (Entity("PER", "Bo", 0, 2), Entity("PER", "Bo", 7, 9))
    assert one(NER, {"text": "none", "entities": []}).target == ()


@pytest.mark.parametrize(
    ("value", "references"),
    [
        (["x", "y", "x"], ("x", "y")),
        ("x", ("x",)),
        ({"text": ["x", "y"], "answer_start": [0, 1]}, ("x", "y")),
        ([{"text": "x"}, {"text": "y"}], ("x", "y")),
        ('["x", "y"]', ("x", "y")),
        ('{"text": ["x"], "answer_start": [0]}', ("x",)),
        (15, ("15",)),
        ("[1]", ("[1]",)),
    ],
)
def test_answers_in_every_shape(value: Any, references: tuple[str, ...]) -> None:
    example = one(QA, {"context": "c", "question": "q", "answers": value})
    assert (example.target, example.references) == (references[0], references)


def test_references_column_and_lists_of_summaries() -> None:
    assert one(SUMMARY, {"document": "d", "summary": "s", "references": ["s", "t"]}).references == ("s", "t")
    assert one(SUMMARY, {"document": ["d1", "d2"], "summary": ["s", "t"]}) == Example(
        "a.jsonl:1", {"document": "d1\nd2"}, "s", ("s", "t")
    )


def test_alpaca_without_input_and_structured_output() -> None:
    assert one(ALPACA, {"instruction": "do", "output": "done"}).input == {"instruction": "do", "input": ""}
    assert one(ALPACA, {"instruction": "do", "output": {"k": ["中"]}}).target == '{"k":["中"]}'


def test_plain_text_is_its_own_target() -> None:
    task = spec("generation", [], "text", layout="text")
    assert one(task, {"text": "[a]"}) == Example("a.jsonl:1", {}, "[a]", ("[a]",))
    titled = spec("generation", ["title"], "text")
    assert one(titled, {"title": None, "text": "t"}).input == {"title": ""}


def test_conversations() -> None:
    expected = (Message("user", "q"), Message("assistant", "a"))
    example = one(CHAT, {"messages": [USER, BOT, {"role": "user", "content": "thanks"}], "domain": "x"})
    assert (example.messages, example.target, example.input) == (expected, "a", {})
    turns = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]
    assert one(SHAREGPT, {"conversations": turns}).messages == expected
    assert one(SHAREGPT, {"conversations": turns, "system": "be kind"}).messages == (
        Message("system", "be kind"),
        *expected,
    )
    parts = {"role": "user", "content": [{"type": "text", "text": "q"}]}
    assert one(CHAT, {"messages": [parts, BOT]}).messages == expected


@pytest.mark.parametrize(
    "call",
    [
        {"tool_call": "{'name': 'f', 'arguments': {'x': 1}}"},
        {"tool_call": {"name": "f", "arguments": '{"x": 1}'}},
        {"content": None, "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}]},
        {"content": "", "function_call": {"name": "f", "arguments": {"x": 1}}},
    ],
)
def test_tool_calls_become_compact_json(call: dict[str, Any]) -> None:
    rows = [USER, {"role": "assistant", **call}, {"role": "tool", "content": '{"y": 2}'}, BOT]
    example = one(CHAT, {"messages": rows, "tools": [{"name": "f", "description": "甲"}]})
    assert [message.role for message in example.messages] == ["system", "user", "assistant", "tool", "assistant"]
    assert example.messages[0].content == '[{"name":"f","description":"甲"}]'
    assert example.messages[2].content == '{"name":"f","arguments":{"x":1}}'
    assert one(CHAT, {"messages": [USER, BOT], "tools": []}).messages[0].role == "user"


def test_conversations_for_other_kinds() -> None:
    task = spec("instruction", ["messages"], "messages", layout="messages")
    example = one(task, {"messages": [{"role": "system", "content": "s"}, USER, BOT]})
    assert (example.input, example.target, example.messages) == ({"instruction": "s\n\nq"}, "a", ())
    labelled = spec("classification", ["messages"], "label")
    assert one(labelled, {"messages": [USER, BOT], "label": "x"}).input == {"messages": "user: q\nassistant: a"}


def test_columns_as_dialogue() -> None:
    task = spec("dialogue", ["system", "question"], "reply")
    assert one(task, {"question": "q", "reply": "a", "system": "s"}).messages == (
        Message("system", "s"), Message("user", "q"), Message("assistant", "a")
    )  # fmt: skip


def test_preference_pairs() -> None:
    expected = Example("a.jsonl:1", {"prompt": "q"}, "good", ("good",), rejected="bad")
    assert one(PAIRS, {"prompt": "q", "chosen": "good", "rejected": "bad"}) == expected
    assert one(PAIRS, {"prompt": [USER], "chosen": "good", "rejected": "bad"}) == expected
    good, bad = {"role": "assistant", "content": "good"}, {"role": "assistant", "content": "bad"}
    assert one(PAIRS, {"prompt": [USER], "chosen": [good], "rejected": [bad]}) == expected
    implicit = spec("preference", [], "chosen", layout="preference")
    assert one(implicit, {"chosen": [USER, good], "rejected": [USER, bad]}) == expected


DROPS: list[tuple[TaskSpec, dict[str, Any], str]] = [
    (LABEL, {"text": "", "label": "x"}, "empty input"),
    (LABEL, {"text": " \u200b\ufeff\n", "label": "x"}, "empty input"),
    (LABEL, {"text": None, "label": "x"}, "empty input"),
    (LABEL, {"text": "t", "label": None}, "no answer"),
    (LABEL, {"text": "t", "label": " "}, "no answer"),
    (LABEL, {"text": "t", "label": ["a", "b"]}, "several labels"),
    (LABEL, {"text": "t", "label": {"a": 1}}, "no answer"),
    (MULTI, {"text": "t", "tags": " "}, "no answer"),
    (NER, {"text": "t", "entities": None}, "no answer"),
    (NER, {"text": "Bo", "entities": [{"type": "P", "text": "Al"}]}, "entity outside text"),
    (NER, {"text": "Bo", "entities": [{"type": "P", "text": "Bo", "start": 1, "end": 3}]}, "entity outside text"),
    (NER, {"text": "Bo", "entities": [{"type": "P", "start": 5, "end": 9}]}, "entity outside text"),
    (NER, {"text": "Bo", "entities": [{"text": "Bo"}]}, "entity without a type"),
    (NER, {"text": "Bo", "entities": "Bo"}, "entities cannot be read"),
    (NER, {"text": "Bo", "entities": ["Bo"]}, "entities cannot be read"),
    (QA, {"context": "c", "question": "", "answers": "a"}, "empty input"),
    (QA, {"context": "c", "question": "q", "answers": {"text": [], "answer_start": []}}, "no answer"),
    (ALPACA, {"instruction": "", "input": "i", "output": "o"}, "empty input"),
    (ALPACA, {"instruction": "i", "input": "", "output": ""}, "no answer"),
    (CHAT, {"messages": [USER]}, "no answer"),
    (CHAT, {"messages": []}, "not a list of turns"),
    (CHAT, {"messages": ["hi"]}, "not a list of turns"),
    (CHAT, {"messages": [BOT]}, "no question before the answer"),
    (CHAT, {"messages": [USER, {"role": "wizard", "content": "x"}]}, "unknown role"),
    (CHAT, {"messages": [USER, {"role": "assistant", "content": ""}]}, "empty turn"),
    (CHAT, {"messages": [USER, {"role": "assistant", "content": [{"type": "image"}]}]}, "turn is not text"),
    (PAIRS, {"prompt": "q", "chosen": "same ", "rejected": "same"}, "chosen equals rejected"),
    (PAIRS, {"prompt": "", "chosen": "a", "rejected": "b"}, "empty input"),
    (PAIRS, {"prompt": "q", "chosen": "a", "rejected": None}, "no answer"),
    (PAIRS, {"prompt": "q", "chosen": [USER, BOT], "rejected": [BOT, BOT]}, "prompts differ"),
]


@pytest.mark.parametrize(("task", "row", "why"), DROPS, ids=lambda value: value if isinstance(value, str) else "")
def test_unusable_rows_are_dropped_with_a_reason(task: TaskSpec, row: dict[str, Any], why: str) -> None:
    column = "messages" if task is CHAT else next(iter(row))
    examples, drops = to_examples(task, table(row, {column: None}), need_target=True)
    assert not examples
    assert (drops[0].id, drops[0].reason) == ("a.jsonl:1", why)


def test_prediction_keeps_every_row_in_order() -> None:
    rows = [{"text": "a"}, {"text": "b", "label": "x"}, {"text": "c", "label": ["x", "y"]}]
    examples, drops = to_examples(LABEL, table(*rows), need_target=False)
    assert [(example.id, example.input["text"], example.target) for example in examples] == [
        ("a.jsonl:1", "a", None), ("a.jsonl:2", "b", "x"), ("a.jsonl:3", "c", None)
    ]  # fmt: skip
    assert not drops
    examples, _ = to_examples(CHAT, table({"messages": [USER, BOT, USER]}), need_target=False)
    assert (len(examples[0].messages), examples[0].target) == (3, None)
    examples, _ = to_examples(PAIRS, table({"prompt": "q"}), need_target=False)
    assert (examples[0].input, examples[0].target) == ({"prompt": "q"}, None)


def test_prediction_names_the_row_that_cannot_be_answered() -> None:
    with pytest.raises(DataError, match=r"a\.jsonl:2: empty input"):
        to_examples(LABEL, table({"text": "a"}, {"text": " "}), need_target=False)
    with pytest.raises(DataError, match=r"a\.jsonl:9: not JSON"):
        to_examples(LABEL, table({"text": "a"}, drops=(Drop("a.jsonl:9", "not JSON"),)), need_target=False)


def test_missing_columns_are_named() -> None:
    with pytest.raises(DataError, match=r"no column 'text'; found columns Text, label; did you mean 'Text'"):
        to_examples(LABEL, table({"Text": "a", "label": "x"}), need_target=True)
    with pytest.raises(DataError, match="no column 'label'"):
        to_examples(LABEL, table({"text": "a"}), need_target=True)
    with pytest.raises(DataError, match="no column 'messages'"):
        to_examples(CHAT, table({"text": "a"}), need_target=False)
    with pytest.raises(DataError, match="no column 'rejected'"):
        to_examples(PAIRS, table({"prompt": "a", "chosen": "b"}), need_target=True)
