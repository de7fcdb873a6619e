"""Languages, metric, limits and layout of the finished spec."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

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
