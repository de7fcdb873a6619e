"""The three files of a report: `report.json` (everything), `report.md` and `report.html`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from autogpt.evaluation.report import RunReport
from autogpt.evaluation.report_html import to_html
from autogpt.evaluation.report_markdown import to_markdown
from autogpt.store.artifacts import write_atomic

__all__ = ["write_report", "write_texts"]


def write_report(folder: Path, report: RunReport) -> dict[str, Path]:
    """Write the three files into `folder`, each whole or not at all; returns {"json", "md", "html"} → path."""
    json = report.model_dump_json(indent=2) + "\n"
    return write_texts(folder, {"json": json, "md": to_markdown(report), "html": to_html(report)})


def write_texts(folder: Path, texts: Mapping[str, str]) -> dict[str, Path]:
    """Write each text as `report.KIND` into `folder`, whole or not at all; returns kind → path."""
    paths = {kind: folder / f"report.{kind}" for kind in texts}
    for kind, path in paths.items():
        write_atomic(path, texts[kind])
    return paths
