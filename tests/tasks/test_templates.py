"""Rendering: the exact text of each kind, prompt parity, and what is checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autogpt.errors import ConfigError
from autogpt.tasks.spec import METRIC_DIRECTION, METRICS_OF_KIND, TaskKind, TaskSpec
from autogpt.tasks.templates import fill, passage_read, render, template_language, truncate_input
from autogpt.types import Entity, Example, Message, Segment

QA = TaskKind.QUESTION_ANSWERING


def spec(kind: TaskKind, inputs: Sequence[str], language: str = "en", **changes: Any) -> TaskSpec:
    metric = METRICS_OF_KIND[kind][0]
    values: dict[str, Any] = {
        "description": "test",
        "kind": kind,
        "input_fields": list(inputs),
        "output_field": "answer",
        "input_language": language,
        "output_language": language,
        "metric": metric,
        "direction": METRIC_DIRECTION[metric],
    }
    return TaskSpec(**{**values, **changes})


def text_of(segments: Sequence[Segment]) -> str:
    return "".join(segment.text for segment in segments)


@pytest.mark.parametrize(
    ("task", "row", "prompt"),
    [
        (spec(TaskKind.CLASSIFICATION, ["text"]), {"text": "hi"}, "Text: hi\nLabel:\n"),
        (spec(TaskKind.CLASSIFICATION, ["评论"], "zh"), {"评论": "好"}, "文本：好\n类别："),
        (
            spec(TaskKind.CLASSIFICATION, ["title", "正文"], "zh"),
            {"title": "a", "正文": "b"},
            "标题：a\n正文：b\n类别：",
        ),
        (spec(TaskKind.SUMMARIZATION, ["article"], "zh"), {"article": "长"}, "原文：长\n摘要："),
        (spec(TaskKind.TRANSLATION, ["source"]), {"source": "hi"}, "Source: hi\nTranslation:\n"),
        (spec(QA, ["question"], "zh"), {"question": "谁？"}, "问题：谁？\n答案："),
        (spec(QA, ["question", "context"]), {"question": "q?", "context": "c"}, "Context: c\nQuestion: q?\nAnswer:\n"),
        (spec(QA, ["段落", "问题"], "zh"), {"段落": "文", "问题": "问"}, "段落：文\n问题：问\n答案："),
        (
            spec(TaskKind.INSTRUCTION, ["instruction", "input"], "zh"),
            {"instruction": "算", "input": "1+1"},
            "指令：算\n输入：1+1\n回答：",
        ),
        (
            spec(TaskKind.INSTRUCTION, ["instruction", "input"]),
            {"instruction": "go", "input": ""},
            "Instruction: go\nAnswer:\n",
        ),
        (spec(TaskKind.GENERATION, ["title"], "zh"), {"title": "浣溪沙"}, "标题：浣溪沙\n"),
        (spec(TaskKind.GENERATION, ["title"], "zh"), {"title": ""}, ""),
        (spec(TaskKind.GENERATION, []), {}, ""),
        (spec(TaskKind.PREFERENCE, ["prompt"]), {"prompt": "why?"}, "User: why?\nAssistant: "),
        (
            spec(TaskKind.PREFERENCE, ["system", "prompt"], "zh"),
            {"system": "s", "prompt": "p"},
            "系统：s\n用户：p\n助手：",
        ),
    ],
)
def test_prompt(task: TaskSpec, row: dict[str, str], prompt: str) -> None:
    example = Example("t:1", row, target="yes")
    asked, answered = render(task, example, answer=False), render(task, example, answer=True)
    assert text_of(asked) == prompt
    assert not asked[-1].is_answer
    assert text_of(answered) == prompt + "yes"
    assert answered[-1] == Segment("yes", True)


TURNS = (
    Message("system", "Be kind."),
    Message("user", "Hi"),
    Message("assistant", "Hello!"),
    Message("user", "Time?"),
    Message("tool", "12:00"),
    Message("assistant", "Noon."),
)


def test_dialogue_turn_by_turn() -> None:
    segments = render(spec(TaskKind.DIALOGUE, ["messages"]), Example("t:1", {}, "Noon.", messages=TURNS), answer=True)
    assert segments == (
        Segment("System: Be kind.\nUser: Hi\nAssistant: ", False),
        Segment("Hello!", True),
        Segment("\nUser: Time?\nTool: 12:00\nAssistant: ", False),
        Segment("Noon.", True),
    )


def test_dialogue_prompt_keeps_earlier_answers_and_ends_at_the_role() -> None:
    task = spec(TaskKind.DIALOGUE, ["messages"], "zh")
    asked = render(task, Example("t:1", {}, messages=TURNS[1:]), answer=False)
    assert text_of(asked) == "用户：Hi\n助手：Hello!\n用户：Time?\n工具：12:00\n助手："
    assert [segment.is_answer for segment in asked] == [False, True, False]


def test_dialogue_that_ends_with_the_user() -> None:
    task = spec(TaskKind.DIALOGUE, ["messages"])
    example = Example("t:1", {}, messages=TURNS[:4])
    assert text_of(render(task, example, answer=False)).endswith("User: Time?\nAssistant: ")
    assert text_of(render(task, example, answer=True)).endswith("User: Hi\nAssistant: Hello!")
    with pytest.raises(ConfigError, match="no answer"):
        render(task, Example("t:1", {}, messages=TURNS[:2]), answer=True)


def test_dialogue_from_columns_without_turns() -> None:
    example = Example("t:1", {"message": "Hi"}, "Hello")
    segments = render(spec(TaskKind.DIALOGUE, ["message"]), example, answer=True)
    assert segments == (Segment("User: Hi\nAssistant: ", False), Segment("Hello", True))


words = st.text(alphabet="ab 好。\n{}%", min_size=1, max_size=8).filter(lambda text: text.strip() != "")
conversation = st.lists(st.tuples(st.sampled_from(["user", "assistant", "tool"]), words), max_size=5).map(
    lambda turns: (
        Message("user", "start"),
        *(Message(role, text) for role, text in turns),
        Message("user", "and?"),
        Message("assistant", "end"),
    )
)


@given(conversation, st.sampled_from(["zh", "en"]))
def test_parity_of_conversations(messages: tuple[Message, ...], language: str) -> None:
    task = spec(TaskKind.DIALOGUE, ["messages"], language)
    example = Example("t:1", {}, "end", messages=messages)
    asked, answered = render(task, example, answer=False), render(task, example, answer=True)
    assert answered[:-1] == asked
    assert answered[-1] == Segment("end", True)
    assert asked[-1].text.endswith("：" if language == "zh" else ": ")


@given(st.sampled_from(list(TaskKind)), st.lists(words, min_size=2, max_size=2), st.sampled_from(["zh", "en", "mixed"]))
def test_parity_of_rows(kind: TaskKind, values: list[str], language: str) -> None:
    labels = (
        ("x",) if kind is TaskKind.MULTI_LABEL else (Entity("T", "a", 0, 1),) if kind is TaskKind.EXTRACTION else "x"
    )
    task = spec(kind, ["question", "text"], language, labels=["x", "T"])
    example = Example("t:1", dict(zip(("question", "text"), values, strict=True)), target=labels)
    asked, answered = text_of(render(task, example, answer=False)), render(task, example, answer=True)
    assert text_of(answered).startswith(asked)
    assert text_of([segment for segment in answered if not segment.is_answer]) == asked
    assert asked.endswith(("\n", "：", ": "))
    assert all(value in asked for value in values)


def test_template_variables_are_checked_both_ways() -> None:
    assert fill("{a}-{b}", {"a": "{b}", "b": "2"}) == "{b}-2"
    with pytest.raises(ConfigError, match="reads 'b'"):
        fill("{a}{b}", {"a": "1"})
    with pytest.raises(ConfigError, match="does not read 'b'"):
        fill("{a}", {"a": "1", "b": "2"})
    task = spec(TaskKind.CLASSIFICATION, ["text"])
    with pytest.raises(ConfigError, match="has no field 'text'"):
        render(task, Example("t:7", {"body": "x"}), answer=False)
    with pytest.raises(ConfigError, match="field 'body' that the task does not read"):
        render(task, Example("t:7", {"text": "x", "body": "y"}), answer=False)
    with pytest.raises(ConfigError, match="t:7 has no answer"):
        render(task, Example("t:7", {"text": "x"}), answer=True)


@pytest.mark.parametrize(
    ("source", "target", "language"),
    [("zh", "en", "zh"), ("en", "zh", "en"), ("mixed", "zh", "zh"), ("other", "en", "en")],
)
def test_template_language(source: str, target: str, language: str) -> None:
    task = spec(TaskKind.TRANSLATION, ["source"], input_language=source, output_language=target)
    assert template_language(task) == language


def test_of_a_long_passage_the_nearest_sentences_are_read() -> None:
    text = "成都位于四川盆地。人口超过两千万。市花是木芙蓉。地铁于2010年通车。"
    task = spec(QA, ["问题", "文章"], "zh", passage_chars=10)
    row = Example(id="1", input={"问题": "成都的市花是什么？", "文章": text}, target="木芙蓉")
    assert text_of(render(task, row, answer=False)) == "段落：市花是木芙蓉。\n问题：成都的市花是什么？\n答案："
    assert passage_read(task, row) == "市花是木芙蓉。"
    assert text_of(render(task, row, answer=True)).startswith(text_of(render(task, row, answer=False)))
    whole = task.model_copy(update={"passage_chars": 0})
    assert text in text_of(render(whole, row, answer=False))
    assert passage_read(whole, row) == text


# --- length -----------------------------------------------------------------------------------------------------------


def test_what_fits_is_left_alone() -> None:
    example = Example("t:1", {"text": "abc"})
    assert truncate_input(spec(TaskKind.CLASSIFICATION, ["text"]), example, 3) is example


def test_the_question_stays_whole() -> None:
    task = spec(QA, ["context", "question"])
    example = Example("t:1", {"context": "c" * 10, "question": "q" * 30}, "c")
    assert truncate_input(task, example, 34).input == {"context": "cccc", "question": "q" * 30}
    assert truncate_input(task, example, 20).input == {"context": "", "question": "q" * 20}


def test_entities_behind_the_cut_leave_the_target() -> None:
    task = spec(TaskKind.EXTRACTION, ["text"])
    entities = (Entity("A", "ab", 0, 2), Entity("A", "cd", 4, 6))
    shorter = truncate_input(task, Example("t:1", {"text": "ab  cd"}, entities), 5)
    assert (shorter.input["text"], shorter.target) == ("ab  c", entities[:1])


def test_conversation_loses_its_oldest_turns() -> None:
    task = spec(TaskKind.DIALOGUE, ["messages"])
    shorter = truncate_input(task, Example("t:1", {}, "Noon.", messages=TURNS), 20)
    assert [message.content for message in shorter.messages] == ["Be kind.", "Time?", "12:00", "Noon."]


@given(conversation, st.integers(1, 60))
def test_truncated_conversations_fit(messages: tuple[Message, ...], most: int) -> None:
    task = spec(TaskKind.DIALOGUE, ["messages"])
    shorter = truncate_input(task, Example("t:1", {}, "end", messages=messages), most).messages
    assert shorter[-1] == messages[-1]
    assert sum(len(message.content) for message in shorter[:-1]) <= most


@given(st.dictionaries(st.sampled_from(["context", "question", "text"]), words, min_size=1), st.integers(0, 30))
def test_truncated_rows_fit(row: dict[str, str], most: int) -> None:
    shorter = truncate_input(spec(QA, list(row)), Example("t:1", row), most)
    assert sum(map(len, shorter.input.values())) == min(most, sum(map(len, row.values())))
    assert all(row[field].startswith(text) for field, text in shorter.input.items())
