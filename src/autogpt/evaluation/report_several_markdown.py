"""The overview of several tasks as Markdown: the same content as the page, for terminals and code hosts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autogpt.evaluation.report_markdown import begun, closing, safe, table_lines
from autogpt.evaluation.report_several_text import of_sharing, said, several_name
from autogpt.evaluation.report_several_view import (
    PROBE_HEAD,
    TASK_HEAD,
    chosen_rows,
    group_lines,
    link,
    plain,
    probe_rows,
    rows_text,
    task_cells,
)
from autogpt.evaluation.report_text import number, word
from autogpt.evaluation.report_view import interval

if TYPE_CHECKING:
    from autogpt.evaluation.report_several import SeveralReport, TaskLine

__all__ = ["several_to_markdown"]

_SENTENCE_CHARS = 4000


def several_to_markdown(report: SeveralReport) -> str:
    """The whole overview; every value from the data is escaped, so that it is shown and never interpreted."""
    report = type(report).model_validate(plain(report.model_dump()))
    parts = [*_head(report), *_tasks(report), *_sharing(report), *_chosen(report), *closing(report.frame)]
    return "\n".join(parts).rstrip() + "\n"


def _head(report: SeveralReport) -> list[str]:
    text, mean = report.language, report.mean
    row = [safe(several_name(text, mean.name)), number(mean.name, mean.value), interval(mean.name, mean.ci95)]
    head = [word(text, key) for key in ("metric", "value", "interval", "rows")]
    return [
        f"# {safe(report.model)}",
        "",
        f"> {begun(report.description, 1000)}",
        "",
        f"**{word(text, 'verdict')}**: {safe(report.verdict, _SENTENCE_CHARS)}",
        "",
        f"## {word(text, 'result')}",
        *table_lines(head, [[*row, str(mean.n)]]),
        said(text, "scale_intro", more=word(text, "more")),
        "",
    ]


def _tasks(report: SeveralReport) -> list[str]:
    text = report.language
    rows = [
        [_linked(report, task), *map(safe, task_cells(report, task)), safe(rows_text(report, task))]
        for task in report.tasks
    ]
    verdicts = [f"- {begun(task.name)}: {safe(task.verdict, 1000)}" for task in report.tasks if task.verdict]
    return [
        f"## {said(text, 'tasks')}",
        "",
        said(text, "tasks_intro"),
        *table_lines([*(said(text, key) for key in TASK_HEAD), word(text, "data")], rows),
        *([f"### {said(text, 'verdicts')}", "", *verdicts, ""] if verdicts else []),
    ]


def _linked(report: SeveralReport, task: TaskLine) -> str:
    name, address = safe(task.name), link(task.report, ".md")
    shown = f"[{name}]({address})" if address else name
    return shown + (f" ({said(report.language, 'stands_worst')})" if task.name == report.worst else "")


def _sharing(report: SeveralReport) -> list[str]:
    text = report.language
    lines = [
        f"## {of_sharing(report, 'sharing')}",
        "",
        f"**{said(text, 'decision')}**: {safe(report.grouping, _SENTENCE_CHARS)}",
        "",
    ]
    lines += [f"- {begun(line, 1000)}" for line in group_lines(report)]
    if not report.probes:
        return [*lines, "", said(text, "no_probe"), ""]
    rows = [[safe(cell) for cell in row] for row in probe_rows(report)]
    return [
        *lines,
        "",
        of_sharing(report, "probe_intro"),
        *table_lines([of_sharing(report, key) for key in PROBE_HEAD], rows),
    ]


def _chosen(report: SeveralReport) -> list[str]:
    text = report.language
    lines: list[str] = []
    head = [said(text, key) for key in ("option", "value", "meaning")]
    for name, options in chosen_rows(report):
        lines += [f"### {safe(name)}"] if name else []
        lines += table_lines(head, [[safe(cell) for cell in row] for row in options])
    if report.reasons:
        reasons = [f"- {begun(name)}: {safe(reason, 1000)}" for name, reason in report.reasons.items()]
        lines += [f"### {said(text, 'reasons')}", "", *reasons, ""]
    return [f"## {word(text, 'chosen')}", "", *lines] if lines else []
