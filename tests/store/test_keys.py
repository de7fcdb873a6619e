from __future__ import annotations

import pytest

from autogpt.store.keys import slug, task_key

SPEC = {
    "description": "sort the messages",
    "kind": "classification",
    "input_fields": ["text"],
    "output_field": "label",
    "labels": ["b", "a"],
    "metric": "accuracy",
    "evidence": [{"field": "kind"}],
}


def test_the_words_and_the_order_of_labels_do_not_count() -> None:
    same = {**SPEC, "description": "把消息分类", "labels": ["a", "b"], "evidence": [], "max_input_chars": 7}
    assert task_key(same, "f1") == task_key(SPEC, "f1")


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "multi_label"},
        {"input_fields": ["text", "title"]},
        {"output_field": "topic"},
        {"labels": ["a", "b", "c"]},
        {"metric": "macro_f1"},
    ],
)
def test_every_essential_counts(change: dict) -> None:
    assert task_key({**SPEC, **change}, "f1") != task_key(SPEC, "f1")


def test_the_data_counts() -> None:
    assert task_key(SPEC, "f1") != task_key(SPEC, "f2")


def test_the_key_never_changes() -> None:
    """Keys stand in users' databases: a change here makes every known task unknown."""
    assert task_key(SPEC, "f1") == "7edd1a32f367c9b5"


def test_equal_texts_in_two_unicode_forms_are_one_task() -> None:
    assert task_key({**SPEC, "labels": ["caf\u00e9"]}, "f") == task_key({**SPEC, "labels": ["cafe\u0301"]}, "f")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("News Topic!", "news-topic"),
        ("  新闻 主题 ", "新闻-主题"),
        ("../../etc/passwd", "etc-passwd"),
        ("", "model"),
        ("😀", "model"),
        ("a" * 39 + " b", "a" * 39),
        ("ＡＢＣ", "abc"),
    ],
)
def test_slugs(text: str, name: str) -> None:
    assert slug(text) == name
