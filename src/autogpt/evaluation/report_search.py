"""The search explained in inline SVG: best score over time, importance, slices, and all trials side by side."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from autogpt.evaluation.report_axes import Axis, axis_of, dot, label, line, picture
from autogpt.evaluation.report_charts import Plot, nice_ticks
from autogpt.evaluation.report_markup import Html, element
from autogpt.evaluation.report_parallel import Lines, parallel_chart
from autogpt.evaluation.report_text import Language, name_of, number, word
from autogpt.evaluation.report_view import cut
from autogpt.search.importance import FEWEST_TRIALS, common_rung, observed_space, places, rung_score
from autogpt.search.trials import Direction, Report, Trial, is_better

if TYPE_CHECKING:
    from autogpt.evaluation.report import RunReport

__all__ = [
    "importance_chart",
    "importance_sentence",
    "progress_chart",
    "search_charts",
    "slices_chart",
    "tried",
]

_SHOWN_BARS = 12
_LEAST_SHARE = 0.01
_SLICES = 3
_SURE = 40
"""Trials below which an importance is called a hint."""


def search_charts(report: RunReport) -> list[Html]:
    """The charts with their headings and sentences; those that would have nothing to show are left out."""
    trials, text = tried(report), report.language
    rung, scored = common_rung(trials), places(trials, _direction(report))
    values = {
        "metric": name_of(text, report.primary),
        "better": word(text, "more" if report.main.higher_is_better else "less"),
        "share": "–" if rung is None else f"{rung:.0%}",
        "n": str(len(scored)),
    }
    parts = _part(report, "progress", word(text, "progress_intro", **values), progress_chart(report))
    parts += _part(report, "importance", importance_sentence(report), importance_chart(report))
    sentence = word(text, "slices_intro", **values)
    if any(rung_score(trial, rung or 0.0) is None for trial in trials):
        sentence = _joined(text, sentence, word(text, "slices_without"))
    parts += _part(report, "slices", sentence, slices_chart(report))
    lines = Lines(trials, _direction(report), report.chosen_trial, text, report.primary, values["metric"])
    chart = parallel_chart(lines)
    sentence = _joined(text, word(text, "parallel_intro", **values), word(text, "parallel_without"))
    return parts + (_part(report, "parallel", sentence, chart) if chart is not None else [])


def _part(report: RunReport, key: str, sentence: str, chart: Html | None) -> list[Html]:
    """Heading, sentence and chart; without a chart only what explains that there is no importance."""
    if chart is None and not (key == "importance" and sentence):
        return []
    head = [element("h3", word(report.language, key)), element("p", sentence, class_="soft")]
    return head if chart is None else [*head, chart]


def _joined(language: Language, *sentences: str) -> str:
    return ("" if language == "zh" else " ").join(sentences)


def tried(report: RunReport) -> list[Trial]:
    """The report's trials as the search's own records, without scores that are not finite numbers."""
    return [
        Trial(
            line.number,
            line.config,
            line.state,
            tuple(
                Report(point.share, point.score, point.seconds, at=point.at)
                for point in line.reports
                if point.score is not None and math.isfinite(point.score)
            ),
            line.seconds,
        )
        for line in sorted(report.trials, key=lambda line: line.number)
    ]


def _direction(report: RunReport) -> Direction:
    return "max" if report.main.higher_is_better else "min"


def importance_sentence(report: RunReport) -> str:
    """What the importance is and from how many trials; why there is none; empty when nothing true can be said."""
    n = len(places(tried(report), _direction(report)))
    if not report.importance:
        few = 0 < n < FEWEST_TRIALS
        return word(report.language, "importance_few", n=str(n), needed=str(FEWEST_TRIALS)) if few else ""
    said = word(report.language, "importance_intro", n=str(n))
    if n >= _SURE:
        return said
    return _joined(report.language, said, word(report.language, "importance_hint"))


# --- best score over time --------------------------------------------------------------------------------------------


def progress_chart(report: RunReport) -> Html | None:
    """A step line of the best score so far; None without scores. Failed trials are left out: they left no model."""
    scored = [trial for trial in tried(report) if trial.state != "failed"]
    points = sorted((said.at, said.score, trial.number) for trial in scored for said in trial.reports)
    if not points:
        return None
    end = points[-1][0]
    best: list[tuple[float, float, int]] = []
    for point in points:
        if not best or is_better(point[1], best[-1][1], _direction(report)):
            best.append(point)
    caption = word(report.language, "axis_search_seconds")
    plot = Plot.around([*((s, v) for s, v, _ in points), (end, points[0][1])], report.language, report.primary, caption)
    corners = [(best[0][0], best[0][1])]
    for (_, before, _), (second, after, _) in pairwise(best):
        corners += [(second, before), (second, after)]
    corners.append((end, best[-1][1]))
    path = " ".join(f"{plot.x(second):.1f},{plot.y(score):.1f}" for second, score in corners)
    parts = [*plot.axes(), element("polyline", points=path, class_="line own step")]
    new = set(best)
    for point in points:
        told = f"{word(report.language, 'trial')} {point[2]}: {number(report.primary, point[1])}"
        best_yet = point in new
        parts.append(
            dot((plot.x(point[0]), plot.y(point[1])), "own" if best_yet else "faint", told, 4 if best_yet else 3)
        )
    named = {index: (plot.x(second), plot.y(score)) for second, score, index in best}
    off = -9 if report.main.higher_is_better else 18
    parts += [label(str(index), x, y + off, style="tick own name") for index, (x, y) in named.items()]
    return picture(word(report.language, "progress"), plot.height, parts)


# --- importance ------------------------------------------------------------------------------------------------------


def importance_chart(report: RunReport) -> Html | None:
    """Horizontal bars, largest on top, of the up to twelve parameters with 1 % or more; None without importance."""
    shown = [(name, share) for name, share in report.importance.items() if share >= _LEAST_SHARE][:_SHOWN_BARS]
    if not shown:
        return None
    rest = len(report.importance) - len(shown)
    left, right, row = 250, 860, 27
    most = max(max(report.importance.values()), 1e-9)
    parts: list[Html] = []
    for i, (name, share) in enumerate(shown):
        middle, width = 4 + row * i + row / 2, max(1.0, (right - left) * share / most)
        parts += [
            label(cut(name, 34), left - 12, middle + 5, "end", "label"),
            element("rect", x=left, y=f"{middle - 8:.1f}", width=f"{width:.1f}", height=16, rx=3, class_="bar own"),
            label(f"{share:.0%}", left + width + 10, middle + 5, "start", "value"),
        ]
    height = row * len(shown) + 8
    if rest:
        most_left = max(share for name, share in report.importance.items() if name not in dict(shown))
        said = word(report.language, "importance_rest", n=str(rest), share=f"{max(1, math.ceil(100 * most_left))}%")
        parts.append(label(said, left, height + 12, "start"))
        height += 20
    return picture(word(report.language, "importance"), height, parts)


# --- slices ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Panel:
    """Where a slice plot is drawn: its left end and width; the heights are those of all panels."""

    left: float
    width: float = 262.0
    top: float = 34.0
    bottom: float = 214.0
    below: float = 232.0

    def x(self, fraction: float) -> float:
        return self.left + self.width * fraction


def slices_chart(report: RunReport) -> Html | None:
    """Value against score for the three most important parameters, one dot a trial; None without importance."""
    trials = tried(report)
    rung = common_rung(trials)
    scores = [score for trial in trials if (score := rung_score(trial, rung or 0.0)) is not None]
    axes = {p.name: axis_of(p.dimension) for p in observed_space(trials).parameters}
    names = [name for name in report.importance if name in axes][:_SLICES]
    if rung is None or not scores or not names:
        return None
    room = (max(scores) - min(scores)) * 0.06 or abs(max(scores)) * 0.05 or 0.05
    ticks = nice_ticks(min(scores) - room, max(scores) + room, 5)
    parts: list[Html] = []
    for i, name in enumerate(names):
        panel = _Panel(64.0 + i * 303)
        parts += _frame(panel, name, axes[name], ticks, labelled=i == 0)
        parts += _slice_dots(report, panel, (name, axes[name]), ticks)
    return picture(word(report.language, "slices"), 284, parts)


def _frame(panel: _Panel, name: str, axis: Axis, ticks: Sequence[float], *, labelled: bool) -> list[Html]:
    parts = [label(cut(name, 34), panel.x(0.5), 16, style="label")]
    for tick in ticks:
        y = panel.bottom - (panel.bottom - panel.top) * (tick - ticks[0]) / (ticks[-1] - ticks[0])
        parts.append(line((panel.x(0), y), (panel.x(1), y)))
        if labelled:
            parts.append(label(f"{tick:g}", panel.left - 10, y + 4, "end"))
    for fraction, shown in axis.ticks(int(panel.width / 8)):
        parts.append(line((panel.x(fraction), panel.bottom), (panel.x(fraction), panel.bottom + 4)))
        parts.append(label(shown, panel.x(fraction), 260))
    return parts


def _slice_dots(report: RunReport, panel: _Panel, of: tuple[str, Axis], ticks: Sequence[float]) -> list[Html]:
    name, axis = of
    trials = [trial for trial in tried(report) if name in trial.config]
    rung = common_rung(tried(report)) or 0.0
    seen: Counter[str] = Counter()
    dots: list[tuple[bool, Html]] = []
    for trial in trials:
        value, score, own = trial.config[name], rung_score(trial, rung), trial.number == report.chosen_trial
        seen[repr(value)] += 1
        x = panel.x(axis.fraction(value) + axis.spread * _aside(seen[repr(value)]))
        if score is None:
            y, style = panel.below, "dim"
        else:
            y = panel.bottom - (panel.bottom - panel.top) * (score - ticks[0]) / (ticks[-1] - ticks[0])
            style = "clear"
        said = f"{name} {axis.shown(value)}, {number(report.primary, score)}"
        told = f"{word(report.language, 'trial')} {trial.number}: {said}"
        dots.append((own, dot((x, y), f"{style} own" if own else style, told, 6 if own else 4.5)))
    return [drawn for _, drawn in sorted(dots, key=lambda pair: pair[0])]


def _aside(turn: int) -> float:
    """Steps to the left and right in turn (0, −¼, ¼, …, within ±1), so that equal values do not hide each other."""
    step = (turn // 2) % 5
    return (1 if turn % 2 else -1) * step / 4
