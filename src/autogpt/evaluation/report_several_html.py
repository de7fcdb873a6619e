"""The overview of several tasks as one HTML page, in the manner of a task's report: no script, no outside file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autogpt.evaluation.report_html import following, head, machine, page, section, tile, time
from autogpt.evaluation.report_markup import Child, Html, element, table
from autogpt.evaluation.report_several_chart import tasks_chart
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
from autogpt.evaluation.report_text import number, seconds_text, word
from autogpt.evaluation.report_view import cut, interval

if TYPE_CHECKING:
    from autogpt.evaluation.report import RunReport
    from autogpt.evaluation.report_several import SeveralReport, TaskLine

__all__ = ["several_to_html"]

_NAME_CHARS = 120


def several_to_html(report: SeveralReport) -> str:
    """The whole page. Its only links lead to the reports of the tasks, in folders beside it."""
    report = type(report).model_validate(plain(report.model_dump()))
    frame = report.frame
    sections: list[Child] = [
        head(frame),
        _tiles(report, frame),
        _tasks(report),
        _sharing(report),
        _chosen(report),
        time(frame),
        machine(frame),
        following(frame),
    ]
    return page(frame, *sections)


def _tiles(report: SeveralReport, frame: RunReport) -> Html:
    text, mean = report.language, report.mean
    models = len(report.groups)
    ahead = sum(task.outcome == "better" for task in report.tasks)
    many = said(text, "many_models", m=models) if models > 1 else said(text, "one_model")
    tiles = [
        tile(several_name(text, mean.name), number(mean.name, mean.value), interval(mean.name, mean.ci95)),
        tile(said(text, "tasks"), str(len(report.tasks)), many),
        tile(said(text, "ahead"), str(ahead), said(text, "of_tasks", n=len(report.tasks))),
    ]
    if report.stages:
        small = word(text, "of_budget", budget=seconds_text(text, report.budget_s)) if report.budget_s else ""
        tiles.append(tile(word(text, "took"), seconds_text(text, frame.seconds), small))
    return element("div", *tiles, class_="tiles")


def _tasks(report: SeveralReport) -> Html:
    text = report.language
    rows: list[list[Child]] = [[_task(report, task), *task_cells(report, task)] for task in report.tasks]
    for row, task in zip(rows, report.tasks, strict=True):
        tag = element("span", word(text, "trivial"), class_="tag") if task.baseline and task.baseline.trivial else None
        row[1], row[4] = element("span", row[1], class_="n"), [element("span", row[4], class_="n"), tag]
    verdicts: list[list[Child]] = [
        [element("div", cell, class_="text") for cell in (_linked(task), task.verdict)]
        for task in report.tasks
        if task.verdict
    ]
    return section(
        said(text, "tasks"),
        element("p", said(text, "tasks_intro"), class_="soft"),
        table([said(text, key) for key in TASK_HEAD], rows, numeric=(2, 3, 5, 6, 7, 8)),
        element("p", said(text, "chart_intro"), " ", said(text, "scale_intro", more=word(text, "more")), class_="soft"),
        # A narrow screen scrolls the chart as it does the tables, so that its words stay readable.
        element("div", element("div", tasks_chart(report), style="min-width:48rem"), class_="scroll"),
        [element("h3", said(text, "verdicts")), table([said(text, "task"), word(text, "verdict")], verdicts)]
        if verdicts
        else None,
    )


def _linked(task: TaskLine) -> Html:
    name, address = element("strong", cut(task.name, _NAME_CHARS), class_="own"), link(task.report, ".html")
    return element("a", name, href=address) if address else name


def _task(report: SeveralReport, task: TaskLine) -> list[Child]:
    worst = element("span", said(report.language, "stands_worst"), class_="tag")
    return [
        _linked(task),
        worst if task.name == report.worst else None,
        element("div", rows_text(report, task), class_="id"),
    ]


def _sharing(report: SeveralReport) -> Html:
    text = report.language
    probes: Child = element("p", said(text, "no_probe"), class_="soft")
    if report.probes:
        head = [of_sharing(report, key) for key in PROBE_HEAD]
        rows: list[list[Child]] = [list(row) for row in probe_rows(report)]
        for row, probe in zip(rows, report.probes, strict=True):
            row[0] = element("div", cut(probe.task, _NAME_CHARS), class_="text")
            row[6] = element("strong", row[6], class_="own") if probe.leaves else row[6]
            row[7] = element("span", row[7], class_="soft")
        intro = element("p", of_sharing(report, "probe_intro"), class_="soft")
        probes = [intro, table(head, rows, numeric=(2, 3, 4, 5))]
    return section(
        of_sharing(report, "sharing"),
        element("p", report.grouping),
        [element("p", line) for line in group_lines(report)],
        probes,
    )


def _chosen(report: SeveralReport) -> Html | None:
    text = report.language
    parts: list[Child] = []
    head = [said(text, key) for key in ("option", "value", "meaning")]
    for name, options in chosen_rows(report):
        rows = [
            [
                *(element("span", cell, class_="config") for cell in (option, value)),
                element("div", what, class_="soft text"),
            ]
            for option, value, what in options
        ]
        parts += [element("h3", name)] if name else []
        parts.append(table(head, rows))
    if report.reasons:
        reasons = [
            [element("span", name, class_="config"), element("div", why, class_="text")]
            for name, why in report.reasons.items()
        ]
        parts += [element("h3", said(text, "reasons")), table([word(text, "field"), word(text, "reason")], reasons)]
    return section(word(text, "chosen"), *parts) if parts else None
