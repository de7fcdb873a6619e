"""How numbers and records look, by hand-made examples."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from autogpt.cli import show
from autogpt.cli.text import Text


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0, "0:00"), (7.4, "0:07"), (59.6, "1:00"), (754, "12:34"), (3723, "1:02:03"), (-5, "0:00")]
)
def test_clock(seconds: float, shown: str) -> None:
    assert show.clock(seconds) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.123456, "0.1235"),
        (1e-05, "1e-05"),
        (12, "12"),
        (True, "True"),
        (None, "–"),
        ("adam", "adam"),
        (12345.678, "1.235e+04"),
    ],
)
def test_number(value: object, shown: str) -> None:
    assert show.number(value) == shown


@pytest.mark.parametrize(
    ("n", "shown"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (3 * 2**30, "3.0 GiB"), (2**42, "4096.0 GiB")]
)
def test_size(n: int, shown: str) -> None:
    assert show.size(n) == shown


def test_interval_and_p_value() -> None:
    assert show.interval([0.8, 0.91234]) == "[0.8, 0.9123]"
    assert show.interval(None) == show.interval([None, None]) == ""
    assert (show.p_value(0.0004), show.p_value(0.0412), show.p_value(None)) == ("p < 0.001", "p = 0.041", "")


def test_one_line() -> None:
    assert show.one_line("a\n b\t c", 10) == "a b c"
    assert show.one_line("abcdefgh", 5) == "abcd…"


def test_fields_align_chinese_and_skip_empty() -> None:
    assert show.fields([("任务", "x"), ("none", ""), ("metric", "y")], indent="") == ["任务    x", "metric  y"]


SPEC = {
    "kind": "classification",
    "input_fields": ["title", "body"],
    "output_field": "topic",
    "labels": [f"label {n}" for n in range(15)],
    "input_language": "en",
    "output_language": "en",
    "metric": "accuracy",
    "direction": "max",
    "contradictions": ["the sentence says summary, the column `topic` has 15 values"],
}


def test_understood_in_both_languages() -> None:
    english = "\n".join(show.understood(SPEC, Text("en")))
    for part in (
        "classification",
        "title, body",
        "topic",
        "label 11 … 15 in all",
        "English",
        "accuracy (more is better)",
    ):
        assert part in english
    assert "label 12" not in english
    assert "the sentence says summary" in english
    chinese = "\n".join(show.understood({**SPEC, "input_language": "zh", "direction": "min"}, Text("zh")))
    for part in ("分类", "中文 → 英文", "越小越好"):
        assert part in chinese


def test_understood_plain_generation() -> None:
    spec = {
        "kind": "generation",
        "input_fields": [],
        "output_field": "text",
        "labels": [],
        "metric": "bits_per_byte",
        "direction": "min",
    }
    lines = "\n".join(show.understood(spec, Text("en")))
    assert "the text itself" in lines
    assert "labels" not in lines


def test_counts() -> None:
    assert show.counts({"train": 900, "test": 100}) == "train 900, test 100"


def test_table_prints_markup_as_it_is() -> None:
    console = Console(file=io.StringIO(), width=80, record=True)
    console.print(show.table(["name", "value"], [("[red]x[/red]", 0.5), ("y", None)]))
    text = console.export_text()
    assert "[red]x[/red]" in text
    assert "0.5" in text
    assert "–" in text
