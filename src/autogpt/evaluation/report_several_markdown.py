"""The overview of several tasks as Markdown: the same content as the page, for terminals and code hosts."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from autogpt.evaluation.report_markdown import _e, _end, _table
from autogpt.evaluation.report_several_text import said, several_name
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

_OPENING = re.compile(r"^(\d*)([-+~=.)])")
_SENTENCE_CHARS = 4000


def several_to_markdown(report: SeveralReport) -> str:
    """The whole overview; every value from the data is escaped, so that it is shown and never interpreted."""
    report = type(report).model_validate(plain(report.model_dump()))
    parts = [*_head(report), *_tasks(report), *_sharing(report), *_chosen(report), *_end(report.frame)]
    return "\n".join(parts).rstrip() + "\n"


def _begun(text: object, most: int = 300) -> str:
    """Escaped to stand where a block begins: a dash, a number or a row of tildes opens no list and no code there."""
    return _OPENING.sub(r"\1\\\2", _e(text, most))


def _head(report: SeveralReport) -> list[str]:
    text, mean = report.language, report.mean
    row = [_e(several_name(text, mean.name)), number(mean.name, mean.value), interval(mean.name, mean.ci95)]
    head = [word(text, key) for key in ("metric", "value", "interval", "rows")]
    return [
        f"# {_e(report.model)}",
        "",
        f"> {_begun(report.description, 1000)}",
        "",
        f"**{word(text, 'verdict')}**: {_e(report.verdict, _SENTENCE_CHARS)}",
        "",
        f"## {word(text, 'result')}",
        *_table(head, [[*row, str(mean.n)]]),
        said(text, "scale_intro", more=word(text, "more")),
        "",
    ]


def _tasks(report: SeveralReport) -> list[str]:
    text = report.language
    rows = [
        [_linked(report, task), *map(_e, task_cells(report, task)), _e(rows_text(report, task))]
        for task in report.tasks
    ]
    verdicts = [f"- {_begun(task.name)}: {_e(task.verdict, 1000)}" for task in report.tasks if task.verdict]
    return [
        f"## {said(text, 'tasks')}",
        "",
        said(text, "tasks_intro"),
        *_table([*(said(text, key) for key in TASK_HEAD), word(text, "data")], rows),
        *([f"### {said(text, 'verdicts')}", "", *verdicts, ""] if verdicts else []),
    ]


def _linked(report: SeveralReport, task: TaskLine) -> str:
    name, address = _e(task.name), link(task.report, ".md")
    shown = f"[{name}]({address})" if address else name
    return shown + (f" ({said(report.language, 'stands_worst')})" if task.name == report.worst else "")


def _sharing(report: SeveralReport) -> list[str]:
    text = report.language
    lines = [
        f"## {said(text, 'sharing')}",
        "",
        f"**{said(text, 'decision')}**: {_e(report.grouping, _SENTENCE_CHARS)}",
        "",
    ]
    lines += [f"- {_begun(line, 1000)}" for line in group_lines(report)]
    if not report.probes:
        return [*lines, "", said(text, "no_probe"), ""]
    rows = [[_e(cell) for cell in row] for row in probe_rows(report)]
    return [*lines, "", said(text, "probe_intro"), *_table([said(text, key) for key in PROBE_HEAD], rows)]


def _chosen(report: SeveralReport) -> list[str]:
    text = report.language
    lines: list[str] = []
    head = [said(text, key) for key in ("option", "value", "meaning")]
    for name, options in chosen_rows(report):
        lines += [f"### {_e(name)}"] if name else []
        lines += _table(head, [[_e(cell) for cell in row] for row in options])
    if report.reasons:
        reasons = [f"- {_begun(name)}: {_e(reason, 1000)}" for name, reason in report.reasons.items()]
        lines += [f"### {said(text, 'reasons')}", "", *reasons, ""]
    return [f"## {word(text, 'chosen')}", "", *lines] if lines else []
