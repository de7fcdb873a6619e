"""The chart of the overview of several tasks: the model's interval and the best baseline's, one below the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING
from unicodedata import east_asian_width

import numpy as np

from autogpt.evaluation.joint import on_common_scale
from autogpt.evaluation.report_axes import dot, label, line, picture
from autogpt.evaluation.report_charts import nice_ticks
from autogpt.evaluation.report_markup import Html
from autogpt.evaluation.report_several_text import said
from autogpt.evaluation.report_text import name_of, number, word
from autogpt.evaluation.report_view import cut, interval

if TYPE_CHECKING:
    from autogpt.evaluation.report_several import SeveralReport, TaskLine

__all__ = ["tasks_chart"]

_LEFT, _RIGHT, _TOP = 262, 770, 8
_ROW, _BETWEEN, _BELOW = 24, 14, 44
_LABEL_CELLS = 32
"""Latin letters that fit left of the axis; a Chinese one takes the room of two."""


@dataclass(frozen=True, slots=True)
class _Interval:
    """A value and its interval on the common scale, and what stands beside them."""

    name: str
    shown: str
    told: str
    at: float
    low: float
    high: float
    style: str


def tasks_chart(report: SeveralReport) -> Html | None:
    """Dots with 95 % intervals on the scale of `on_common_scale`, two to a task; None where there is no task."""
    tasks = [list(_intervals(report, task)) for task in report.tasks]
    every = [one for pair in tasks for one in pair]
    if not every:
        return None
    ticks = nice_ticks(max(0.0, min(one.low for one in every)), max(one.high for one in every), 6)
    scale = (_RIGHT - _LEFT) / (ticks[-1] - ticks[0])
    rows: list[Html] = []
    y = float(_TOP)
    for pair in tasks:
        for one in pair:
            at, low, high = (max(_LEFT, _LEFT + scale * (end - ticks[0])) for end in (one.at, one.low, one.high))
            rows += _row(one, (at, low, high), y + _ROW / 2)
            y += _ROW
        y += _BETWEEN
    parts: list[Html] = []
    for tick in ticks:
        x = _LEFT + scale * (tick - ticks[0])
        parts += [line((x, _TOP), (x, y)), label(f"{tick:g}", x, y + 16)]
    caption = f"{said(report.language, 'common_scale')} ({word(report.language, 'more')})"
    parts.append(label(caption, (_LEFT + _RIGHT) / 2, y + _BELOW - 8))
    return picture(f"{said(report.language, 'tasks')}: {caption}", y + _BELOW, [*parts, *rows])


def _intervals(report: SeveralReport, task: TaskLine) -> Iterator[_Interval]:
    """The model's, and the baseline's where there is one."""
    language, metric, rung = report.language, task.metric.name, task.baseline
    given = [(task.name, f"{name_of(language, metric)} ", task.metric.value, task.metric.ci95, "own")]
    if rung is not None:
        given.append((name_of(language, rung.name), "", rung.value, rung.ci95, "learned"))
    for name, before, value, ci95, style in given:
        at, *ends = on_common_scale(metric, np.array([value, *ci95])).tolist()
        shown = before + number(metric, value)
        told = f"{name}: {name_of(language, metric)} {number(metric, value)} ({interval(metric, ci95)})"
        yield _Interval(_fitted(name), shown, told, at, min(ends), max(ends), style)


def _row(one: _Interval, places: tuple[float, float, float], y: float) -> list[Html]:
    at, low, high = places
    return [
        label(one.name, _LEFT - 14, y + 5, "end", f"label {one.style}"),
        line((low, y), (high, y), "whisker"),
        *(line((end, y - 5), (end, y + 5), "whisker") for end in (low, high)),
        dot((at, y), one.style, one.told, 5),
        label(one.shown, high + 12, y + 5, "start", f"value {one.style}"),
    ]


def _fitted(name: str) -> str:
    """As many characters as there is room for."""
    cells = 0
    for count, letter in enumerate(name):
        cells += 2 if east_asian_width(letter) in "WF" else 1
        if cells > _LABEL_CELLS:
            return cut(name, count)
    return name
