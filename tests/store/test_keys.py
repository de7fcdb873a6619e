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


SEVERAL = {"tasks": {"sort": SPEC, "write": {**SPEC, "kind": "generation", "labels": [], "metric": "bits_per_byte"}}}


def test_several_tasks_are_the_same_in_any_order_and_in_any_words() -> None:
    worded = {name: {**task, "description": "x", "evidence": []} for name, task in SEVERAL["tasks"].items()}
    turned = {"tasks": dict(reversed(worded.items()))}
    assert task_key(turned, "f1") == task_key(SEVERAL, "f1")
    assert task_key(SEVERAL, "f1") != task_key(SEVERAL, "f2")


def test_every_one_of_several_tasks_counts() -> None:
    sort, write = SEVERAL["tasks"]["sort"], SEVERAL["tasks"]["write"]
    others = [
        {"tasks": {"sort": sort}},
        {"tasks": {"sort": sort, "draw": write}},
        {"tasks": {"sort": write, "write": sort}},
        {"tasks": {"sort": {**sort, "metric": "macro_f1"}, "write": write}},
        SPEC,
        {**SPEC, "tasks": {}},
    ]
    keys = [task_key(spec, "f1") for spec in (SEVERAL, *others)]
    assert len(set(keys)) == len(keys)


def test_the_key_of_several_tasks_never_changes() -> None:
    assert task_key(SEVERAL, "f1") == "8ba8e9e5f41861fe"


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
