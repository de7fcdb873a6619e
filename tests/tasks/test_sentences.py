"""What a sentence says, without any data."""

from __future__ import annotations

import pytest

from autogpt.tasks.sentences import mentions_of, read_sentence
from autogpt.tasks.spec import TaskKind


@pytest.mark.parametrize(
    ("sentence", "metric"),
    [
        ("Classify reviews, optimise macro F1", "macro_f1"),
        ("给评论分类，按宏平均F1评价", "macro_f1"),
        ("翻译成中文，用BLEU评价", "bleu"),
        ("Translate, optimise BLEU", "bleu"),
        ("总结文章，看 ROUGE-2", "rouge2"),
        ("summarise, rouge", "rougeL"),
        ("准确率越高越好", "accuracy"),
        ("准确地翻译句子", ""),
        ("best F1 please", "f1"),
        ("困惑度要低", "bits_per_byte"),
        ("write a poem", ""),
    ],
)
def test_metric(sentence: str, metric: str) -> None:
    assert read_sentence(sentence).metric == metric


@pytest.mark.parametrize(
    ("sentence", "language"),
    [
        ("Translate English into Chinese", "zh"),
        ("Translate everyday sentences to simplified Chinese", "zh"),
        ("把中文翻译成英文", "en"),
        ("中译英", "en"),
        ("英汉翻译", "zh"),
        ("en-zh machine translation", "zh"),
        ("英语句子译成汉语", "zh"),
        ("translate into French", "other"),
        ("reply to customers", None),
        ("写成故事", None),
    ],
)
def test_target_language(sentence: str, language: str | None) -> None:
    assert read_sentence(sentence).target_language == language


@pytest.mark.parametrize(
    ("sentence", "classes"),
    [("77 classes", 77), ("分到 10 个栏目", 10), ("三类", 0), ("in 2024", 0), ("5-way task", 5)],
)
def test_classes(sentence: str, classes: int) -> None:
    assert read_sentence(sentence).classes == classes


def test_favourite_needs_a_lead() -> None:
    assert read_sentence("Translate sentences").favourite is TaskKind.TRANSLATION
    assert read_sentence("asdf").favourite is None
    assert read_sentence("总结并翻译文章").favourite is None


def test_full_width_and_capitals_are_the_same_word() -> None:
    assert read_sentence("ＣＬＡＳＳＩＦＹ Reviews").kinds == read_sentence("classify reviews").kinds


@pytest.mark.parametrize(
    ("sentence", "cues"),
    [
        ("write the reply to a customer's message", {"message": "near", "reply": "out"}),
        ("sort customer messages into categories", {"message": "object", "category": "out"}),
        ("给客户留言分类", {"message": "near", "category": "near"}),
        ("根据留言写回复", {"message": "in", "reply": "out"}),
        ("Given the category, write a reply", {"category": "in", "reply": "out"}),
        ("预测留言的类别", {"message": "in"}),
        ("something else", {}),
    ],
)
def test_mentions(sentence: str, cues: dict[str, str]) -> None:
    found = mentions_of(read_sentence(sentence), ["message", "category", "reply"])
    assert {name: found[name].cue for name in cues if name in found} == cues
