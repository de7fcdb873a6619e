"""Headings and numerals, against tables written by hand."""

from __future__ import annotations

import pytest

from autogpt.errors import ConfigError
from autogpt.writing.forms import FORMS, chinese_number, form_named, heading, roman, scene_heading


@pytest.mark.parametrize(
    ("number", "said"),
    [(1, "一"), (10, "十"), (12, "十二"), (20, "二十"), (21, "二十一"), (100, "一百"), (105, "一百零五"),
     (110, "一百一十"), (120, "一百二十"), (999, "九百九十九"),
     (1001, "一千零一"), (1010, "一千零一十"), (2020, "二千零二十")],
)  # fmt: skip
def test_chinese_numbers(number: int, said: str) -> None:
    assert chinese_number(number) == said


def test_chinese_numbers_differ() -> None:
    assert len({chinese_number(n) for n in range(1, 10_000)}) == 9999


@pytest.mark.parametrize(
    ("number", "said"), [(1, "I"), (4, "IV"), (9, "IX"), (14, "XIV"), (40, "XL"), (1994, "MCMXCIV")]
)
def test_roman_numbers(number: int, said: str) -> None:
    assert roman(number) == said


@pytest.mark.parametrize("number", [0, 10_000])
def test_numbers_outside(number: int) -> None:
    with pytest.raises(ValueError, match="not within"):
        chinese_number(number)
    with pytest.raises(ValueError, match="not within"):
        roman(number)


def test_headings() -> None:
    assert heading(FORMS["novel"], "zh", 3, "甲乙　丙丁", classical=True) == "第三回　甲乙　丙丁"
    assert heading(FORMS["novel"], "zh", 3, "") == "第三章"
    assert heading(FORMS["novel"], "en", 3, "The Sea") == "Chapter 3: The Sea"
    assert heading(FORMS["script"], "en", 3, "") == "ACT III"
    assert heading(FORMS["article"], "zh", 2, "背景") == "二、背景"
    assert heading(FORMS["ad"], "en", 1, "Buy now") == "Buy now"
    assert scene_heading("en", 2, "The castle") == "SCENE II. The castle."
    assert scene_heading("zh", 2, "") == "第二场"


def test_unknown_form() -> None:
    with pytest.raises(ConfigError, match="did you mean 'novel'"):
        form_named("novle")
