"""Inline SVG charts: the ladder as bars with intervals, and the scores of trials over seconds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from autogpt.evaluation.report_markup import Html, element
from autogpt.evaluation.report_text import Language, name_of, number, word
from autogpt.evaluation.report_view import cut

if TYPE_CHECKING:
    from autogpt.evaluation.report import RunReport

__all__ = ["Plot", "ladder_chart", "nice_ticks", "trials_chart"]

_WIDTH = 960
_ROW = 34
_LABEL_WIDTH = 250
_BAR_END = 800


@dataclass(frozen=True, slots=True)
class _Bar:
    label: str
    value: float
    ci95: tuple[float, float]
    style: str


def ladder_chart(report: RunReport) -> Html:
    """Horizontal bars from 0, best on top, with the 95 % interval as a whisker; the model's bar stands out."""
    text, metric = report.language, report.primary
    bars = [_Bar(word(text, "this_model"), report.main.value, report.main.ci95, "own")]
    bars += [
        _Bar(name_of(text, line.name), line.value, line.ci95, "trivial" if line.trivial else "learned")
        for line in report.ladder
    ]
    bars.sort(key=lambda bar: -bar.value if report.main.higher_is_better else bar.value)
    most = max((bar.ci95[1] for bar in bars), default=0.0) or 1.0
    ticks = nice_ticks(0.0, most, 5)
    scale = (_BAR_END - _LABEL_WIDTH) / max(most, ticks[-1])
    height = _ROW * len(bars) + 34
    parts: list[Html] = []
    for tick in ticks:
        x = _LABEL_WIDTH + tick * scale
        parts.append(element("line", x1=f"{x:.1f}", x2=f"{x:.1f}", y1=4, y2=height - 26, class_="grid"))
        parts.append(element("text", f"{tick:g}", x=f"{x:.1f}", y=height - 8, text_anchor="middle", class_="tick"))
    for i, bar in enumerate(bars):
        parts += _bar(bar, i, scale, metric)
    title = f"{word(text, 'ladder')}: {name_of(text, metric)}"
    return element("svg", *parts, viewBox=f"0 0 {_WIDTH} {height}", role="img", aria_label=title, class_="chart")


def _bar(bar: _Bar, i: int, scale: float, metric: str) -> list[Html]:
    middle = 6 + _ROW * i + _ROW / 2
    low, high = (_LABEL_WIDTH + max(0.0, end) * scale for end in bar.ci95)
    end = _LABEL_WIDTH + max(0.0, bar.value) * scale
    whisker = {"y1": f"{middle:.1f}", "y2": f"{middle:.1f}", "class_": "whisker"}
    caps = [
        element("line", x1=f"{x:.1f}", x2=f"{x:.1f}", y1=middle - 5, y2=middle + 5, class_="whisker")
        for x in (low, high)
    ]
    label = cut(bar.label, 34)
    return [
        element("text", label, x=_LABEL_WIDTH - 12, y=middle + 5, text_anchor="end", class_=f"label {bar.style}"),
        element(
            "rect",
            x=_LABEL_WIDTH,
            y=middle - 10,
            width=f"{max(1.0, end - _LABEL_WIDTH):.1f}",
            height=20,
            rx=3,
            class_=f"bar {bar.style}",
        ),
        element("line", x1=f"{low:.1f}", x2=f"{high:.1f}", **whisker),
        *caps,
        element("text", number(metric, bar.value), x=f"{high + 10:.1f}", y=middle + 5, class_=f"value {bar.style}"),
    ]


def trials_chart(report: RunReport) -> Html | None:
    """Each trial as a line from its first to its last score; None when no trial reported one."""
    trials = [
        (trial.number, [(p.seconds, p.score) for p in trial.reports if p.score is not None and math.isfinite(p.score)])
        for trial in report.trials
    ]
    trials = [(number_, points) for number_, points in trials if points]
    if not trials:
        return None
    # The chosen one is drawn last, above the others.
    trials.sort(key=lambda trial: (trial[0] == report.chosen_trial, trial[0]))
    every = [point for _, points in trials for point in points]
    plot = Plot.around(every, report.language, report.primary)
    parts = plot.axes()
    for index, points in trials:
        parts += plot.line(points, "own" if index == report.chosen_trial else "other")
    parts += plot.labels([(str(index), points[-1], index == report.chosen_trial) for index, points in reversed(trials)])
    title = word(report.language, "trials_intro", metric=name_of(report.language, report.primary))
    return element("svg", *parts, viewBox=f"0 0 {_WIDTH} {plot.height}", role="img", aria_label=title, class_="chart")


@dataclass(frozen=True, slots=True)
class Plot:
    """A coordinate system of scores over seconds: data ranges and where they are drawn, in units of the picture.

    Attributes:
        caption: below the seconds; what they are counted from.
    """

    x_ticks: Sequence[float]
    y_ticks: Sequence[float]
    language: Language
    metric: str
    caption: str
    left: int = 64
    right: int = 930
    top: int = 16
    bottom: int = 250
    height: int = 300

    @classmethod
    def around(cls, points: Sequence[tuple[float, float]], language: Language, metric: str, caption: str = "") -> Plot:
        """A plot that holds all (second, score) points, with some room above and below."""
        scores = [score for _, score in points]
        room = (max(scores) - min(scores)) * 0.08 or abs(max(scores)) * 0.05 or 0.05
        seconds = max(second for second, _ in points) or 1.0
        x_ticks, y_ticks = nice_ticks(0.0, seconds, 8), nice_ticks(min(scores) - room, max(scores) + room, 5)
        return cls(x_ticks, y_ticks, language, metric, caption or word(language, "axis_seconds"))

    def x(self, second: float) -> float:
        return self.left + (self.right - self.left) * second / self.x_ticks[-1]

    def y(self, score: float) -> float:
        low, high = self.y_ticks[0], self.y_ticks[-1]
        return self.bottom - (self.bottom - self.top) * (score - low) / (high - low)

    def axes(self) -> list[Html]:
        parts = []
        for tick in self.y_ticks:
            y = f"{self.y(tick):.1f}"
            parts.append(element("line", x1=self.left, x2=self.right, y1=y, y2=y, class_="grid"))
            place = {"x": self.left - 10, "y": f"{self.y(tick) + 4:.1f}"}
            parts.append(element("text", f"{tick:g}", **place, text_anchor="end", class_="tick"))
        for tick in self.x_ticks:
            place = {"x": f"{self.x(tick):.1f}", "y": self.bottom + 20}
            parts.append(element("text", f"{tick:g}", **place, text_anchor="middle", class_="tick"))
        middle = (self.left + self.right) / 2
        return [*parts, element("text", self.caption, x=middle, y=self.height - 8, text_anchor="middle", class_="tick")]

    def line(self, points: Sequence[tuple[float, float]], style: str) -> list[Html]:
        places = [(self.x(second), self.y(score)) for second, score in points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        dots = [element("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r=4, class_=f"dot {style}") for x, y in places]
        return [element("polyline", points=path, class_=f"line {style}"), *dots]

    def labels(self, ends: Sequence[tuple[str, tuple[float, float], bool]]) -> list[Html]:
        """Trial numbers at the ends of their lines; one that would lie on another is left out."""
        parts: list[Html] = []
        taken: list[tuple[float, float]] = []
        for label, (second, score), own in ends:
            x, y = self.x(second), self.y(score)
            if all(abs(x - left) > 24 or abs(y - above) > 13 for left, above in taken):
                taken.append((x, y))
                style = "tick own" if own else "tick"
                parts.append(element("text", label, x=f"{x + 8:.1f}", y=f"{y + 4:.1f}", class_=style))
        return parts


def nice_ticks(low: float, high: float, about: int) -> list[float]:
    """Round numbers that cover [low, high] in about so many steps of 1, 2 or 5 times a power of ten."""
    raw = (high - low) / max(1, about)
    if not raw > 0:
        return [low, low + 1.0]
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(step for step in (power, 2 * power, 5 * power, 10 * power) if step >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 12) for i in range(first, max(last, first + 1) + 1)]
