"""The report's figures, against counts of the text in the files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from autogpt.writing.report import report_markdown
from autogpt.writing.units import units


def test_figures(write: Callable[..., list[Any]], make_writer: Any, tmp_path: Path) -> None:
    write(make_writer(("没有完",), 0.2))
    report = json.loads((tmp_path / "book" / "report.json").read_text(encoding="utf-8"))
    body = [
        line for line in (tmp_path / "book" / "book.txt").read_text(encoding="utf-8").splitlines() if line[:1] == "　"
    ]
    row = units("\n".join(body))
    grams = [tuple(row[i : i + 8]) for i in range(len(row) - 7)]
    assert report["words"]["written"] == len(row) == sum(c["words"] for c in report["chapters"])
    assert report["repeats"]["share"] == round(1 - len(set(grams)) / len(grams), 6)
    assert report["repeats"]["distinct"]["1"] == round(len(set(row)) / len(row), 4)
    assert report["tokens"] > report["words"]["written"]
    page = (tmp_path / "book" / "report.md").read_text(encoding="utf-8")
    assert page == report_markdown(report)
    assert f"{len(row)} / 600 字" in page
    assert "| 第一回" in page
