"""The table of strings and the choice of language."""

from __future__ import annotations

import string

import pytest

from autogpt.cli.text import STRINGS, Text, language_for
from autogpt.tasks.spec import TaskKind


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def test_both_languages_have_the_same_placeholders() -> None:
    assert {key: pair for key, pair in STRINGS.items() if placeholders(pair[0]) != placeholders(pair[1])} == {}


def test_every_kind_has_a_name() -> None:
    assert [kind for kind in TaskKind if f"kind.{kind.value}" not in STRINGS] == []


@pytest.mark.parametrize(
    ("description", "environ", "expected"),
    [
        ("给新闻分类", {"LANG": "en_US.UTF-8"}, "zh"),
        ("sort the news", {"LANG": "zh_CN.UTF-8"}, "zh"),
        ("sort the news", {"LC_ALL": "C", "LANG": "zh_CN.UTF-8"}, "en"),
        ("sort the news", {}, "en"),
        ("", {"LC_MESSAGES": "zh_TW"}, "zh"),
    ],
)
def test_language(description: str, environ: dict[str, str], expected: str) -> None:
    assert language_for(description, environ) == expected


def test_text_picks_the_language_and_falls_back_to_the_value() -> None:
    assert Text("en")("step", step="3/9") == "step 3/9"
    assert Text("zh")("stage.search") == "搜索"
    assert Text("en").name("kind", "brand_new") == "brand_new"
    with pytest.raises(KeyError):
        Text("en")("no such string")
