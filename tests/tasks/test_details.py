"""Languages, metric, limits and layout of the finished spec."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from autogpt.errors import TaskError
from autogpt.tasks.understand import Sample, understand

Make = Callable[..., Sample]


@pytest.mark.parametrize(
    ("name", "description", "languages"),
    [
        ("pairs", "translate English into Chinese", ("en", "zh")),
        ("zh_topic", "分类", ("zh", "zh")),
        ("zh_chat", "客服机器人", ("zh", "zh")),
        ("entities", "find names", ("en", "en")),
        ("sums", "solve word problems", ("en", "en")),
        ("stars", "根据评论预测星级", ("en", "en")),
    ],
)
def test_languages(sample: Make, name: str, description: str, languages: tuple[str, str]) -> None:
    spec = understand(description, sample(name))
    assert (spec.input_language, spec.output_language) == languages


def test_wrong_language_in_the_sentence_is_said(sample: Make) -> None:
    spec = understand("判断英文影评的情感", sample("zh_columns"))
    assert any("speaks of en text" in note for note in spec.contradictions)


@pytest.mark.parametrize(
    ("name", "description", "metric"),
    [
        ("en_topic", "classify, optimise macro F1", "macro_f1"),
        ("en_topic", "classify, best F1", "macro_f1"),
        ("entities", "抽取人名，看F1", "entity_f1"),
        ("pairs", "把英文翻译成中文，按 BLEU 评价", "bleu"),
        ("squad", "answer questions; exact match counts", "exact_match"),
        ("squad", "回答问题，准确率要高", "exact_match"),
        ("sums", "solve word problems", "exact_match"),
        ("chat", "a chatbot with low perplexity", "bits_per_byte"),
    ],
)
def test_metric(sample: Make, name: str, description: str, metric: str) -> None:
    assert understand(description, sample(name)).metric == metric


def test_metric_of_another_kind_is_refused_aloud(sample: Make) -> None:
    spec = understand("classify articles, optimise BLEU", sample("en_topic"))
    assert spec.metric == "accuracy"
    assert any("bleu" in note for note in spec.contradictions)


def test_limits() -> None:
    rows = tuple({"text": "x" * (10 + n % 2), "label": "yes" if n % 2 else "no"} for n in range(40))
    spec = understand("classify", Sample(("text", "label"), rows, "table"))
    assert (spec.max_input_chars, spec.max_output_chars) == (11, 3)


@pytest.mark.parametrize(
    ("name", "description", "layout"),
    [
        ("chat", "chatbot", "messages"),
        ("sharegpt", "chatbot", "sharegpt"),
        ("zh_chat", "给对话按话题分类", "table"),
        ("alpaca", "assistant", "alpaca"),
        ("prose", "续写", "text"),
    ],
)
def test_layout(sample: Make, name: str, description: str, layout: str) -> None:
    assert understand(description, sample(name)).layout == layout


def test_turns_in_a_table_are_a_conversation(sample: Make) -> None:
    data: Any = sample("chat")
    assert understand("chatbot", Sample(data.columns, data.rows, "table")).layout == "messages"


@pytest.mark.parametrize(
    ("name", "is_span", "chars"), [("squad", True, 0), ("zh_qa", False, 0), ("faq", False, 0), ("sums", False, 0)]
)
def test_how_a_passage_is_read(sample: Make, name: str, is_span: bool, chars: int) -> None:
    """Spans are recognised; where nothing in the question leads to the answer, all of the passage is read."""
    spec = understand("answer the questions", sample(name), {"kind": "question_answering"})
    assert (spec.answer_is_span, spec.passage_chars) == (is_span, chars)
    assert any(entry.field == "answer_is_span" and entry.source == "data" for entry in spec.evidence)


def test_of_a_long_passage_the_nearest_sentences_are_enough() -> None:
    filler = "".join(f"这里说的是完全无关的第{i}件小事。" for i in range(30))
    rows = tuple(
        {
            "文章": f"{filler}编号{row}的仓库建在{row}号码头。{filler}",
            "问题": f"编号{row}的仓库在哪里？",
            "答案": f"{row}号码头",
        }
        for row in range(100, 160)
    )
    spec = understand("阅读理解", Sample(("文章", "问题", "答案"), rows, "table", "qa.jsonl", len(rows)))
    assert (spec.kind.value, spec.answer_is_span, spec.passage_chars) == ("question_answering", True, 96)


def test_how_a_passage_is_read_can_be_set(sample: Make) -> None:
    spec = understand("answer the questions", sample("squad"), {"answer_is_span": False, "passage_chars": 40})
    assert (spec.answer_is_span, spec.passage_chars) == (False, 40)
    with pytest.raises(TaskError, match="answer_is_span"):
        understand("answer the questions", sample("squad"), {"answer_is_span": "maybe"})
    with pytest.raises(TaskError, match="passage_chars"):
        understand("answer the questions", sample("squad"), {"passage_chars": -1})
