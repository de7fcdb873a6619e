"""Parallel coordinates of a search in inline SVG: every trial as a line through its parameters to its score."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from autogpt.evaluation.report_axes import Axis, axis_of, label, line, picture
from autogpt.evaluation.report_markup import Html, element
from autogpt.evaluation.report_text import Language, number, word
from autogpt.evaluation.report_view import cut
from autogpt.search.importance import common_rung, observed_space, places, rung_score
from autogpt.search.trials import Direction, Trial

__all__ = ["Lines", "parallel_chart"]

FEWEST_LINES = 3
"""Fewer trials are read faster in the table."""

LEVELS = 5
"""Colours of ranks: a fifth of the trials each."""

_NAME_WIDTH = 112
"""Of a parameter's name; where axes stand closer, names are written in storeys."""
_STOREY = 17
_CHAR_WIDTH = 6.4


@dataclass(frozen=True, slots=True)
class Lines:
    """What the chart shows.

    Attributes:
        trials: of the search.
        chosen: number of the trial that is highlighted.
        metric: its name, as in the report's scores; `title`: as shown.
    """

    trials: Sequence[Trial]
    direction: Direction
    chosen: int | None
    language: Language
    metric: str
    title: str


@dataclass(frozen=True, slots=True)
class _Field:
    """Where the axes stand, in units of the picture.

    Attributes:
        gaps: whether some line has no value on the axis, for each axis.
    """

    names: tuple[str, ...]
    axes: tuple[Axis, ...]
    gaps: tuple[bool, ...]
    left: float = 70.0
    right: float = 890.0
    deep: float = 240.0

    @property
    def between(self) -> float:
        return (self.right - self.left) / (len(self.axes) - 1)

    @property
    def storeys(self) -> int:
        return max(1, math.ceil(_NAME_WIDTH / self.between))

    @property
    def top(self) -> float:
        return 8.0 + _STOREY * self.storeys

    @property
    def bottom(self) -> float:
        return self.top + self.deep

    @property
    def below(self) -> float:
        """Where a line passes an axis on which it has no value."""
        return self.bottom + 26

    def x(self, i: int) -> float:
        return self.left + self.between * i

    def y(self, fraction: float) -> float:
        return self.bottom - self.deep * fraction


def parallel_chart(of: Lines) -> Html | None:
    """A line a trial with a score, through all parameters that vary, to the score at the common rung.

    Returns None for fewer than three lines, or when nothing varies. Lines through the same choice lie above each other
    by rank, and the best score is on top. A parameter that a trial does not have is passed below the axes, and so is
    the score of one that was stopped before the common rung.
    """
    place, rung = places(of.trials, of.direction), common_rung(of.trials)
    ranked = sorted((trial for trial in of.trials if trial.number in place), key=lambda t: (place[t.number], t.number))
    space = observed_space(sorted(ranked, key=lambda trial: trial.number))
    varied = [name for name in space.names if len({repr(t.config[name]) for t in ranked if name in t.config}) > 1]
    if rung is None or len(ranked) < FEWEST_LINES or not varied:
        return None
    scores = [rung_score(trial, rung) for trial in ranked]
    rows: list[list[Any]] = [
        [*(trial.config.get(name) for name in varied), score] for trial, score in zip(ranked, scores, strict=True)
    ]
    known = [
        [*(name in trial.config for name in varied), score is not None]
        for trial, score in zip(ranked, scores, strict=True)
    ]
    reached = [score for score in scores if score is not None]
    field = _Field(
        (*varied, of.title),
        (
            *(axis_of(space[name].dimension) for name in varied),
            Axis((), min(reached), max(reached), flipped=of.direction == "min"),
        ),
        tuple(not all(column) for column in zip(*known, strict=True)),
    )
    rays: list[tuple[bool, Html]] = []
    for position in reversed(range(len(ranked))):
        ys = _heights(field, rows[position], known[position], 1 - 2 * position / (len(ranked) - 1))
        own = ranked[position].number == of.chosen
        told = f"{word(of.language, 'trial')} {ranked[position].number}: {number(of.metric, scores[position])}"
        style = f"ray level{LEVELS * position // len(ranked)}{' own' if own else ''}"
        rays.append((own, _ray(field, ys, style, told)))
    upright = [
        line((field.x(i), field.top), (field.x(i), field.below if gap else field.bottom), "axis")
        for i, gap in enumerate(field.gaps)
    ]
    # The chosen one is drawn last, above the others.
    drawn = [ray for _, ray in sorted(rays, key=lambda ray: ray[0])]
    end = field.below if any(field.gaps) else field.bottom
    parts = [*upright, *drawn, *_texts(field, of.language), *_key(of.language, end + 34)]
    return picture(word(of.language, "parallel"), end + 44, parts)


def _heights(field: _Field, row: Sequence[Any], known: Sequence[bool], rank: float) -> list[float]:
    """Where a line crosses each axis; `rank` is 1 for the best trial and -1 for the worst."""
    return [
        field.y(axis.fraction(value) + axis.spread * rank) if there else field.below - 6 * rank
        for axis, value, there in zip(field.axes, row, known, strict=True)
    ]


def _ray(field: _Field, ys: Sequence[float], style: str, told: str) -> Html:
    path = " ".join(f"{field.x(i):.1f},{y:.1f}" for i, y in enumerate(ys))
    return element("g", element("title", told), element("polyline", points=path, class_=style))


def _texts(field: _Field, language: Language) -> list[Html]:
    """Names above the axes and values beside them, written over the lines."""
    parts: list[Html] = []
    room = max(4, int((field.between - 12) / _CHAR_WIDTH))
    last = len(field.axes) - 1
    for i, (name, axis) in enumerate(zip(field.names, field.axes, strict=True)):
        fits = max(room, int((field.left - 6) / _CHAR_WIDTH)) if i == 0 else room
        x, y = field.x(i), field.top - 8 - _STOREY * ((last - i) % field.storeys)
        own = " own" if i == last else ""
        if y < field.top - 8:
            parts.append(line((x, y + 4), (x, field.top)))
        parts.append(label(cut(name, 22), x, y, "middle", f"tick name{own}"))
        side, anchor = (8, "start") if i == last else (-6, "end")
        for fraction, shown in axis.ticks(10_000):
            parts.append(label(cut(shown, fits), x + side, field.y(fraction) + 4, anchor, f"tick value{own}"))
        if field.gaps[i]:
            shown = word(language, "stopped") if i == last else "–"
            parts.append(label(cut(shown, 9), x + side, field.below + 4, anchor, "tick value"))
    return parts


def _key(language: Language, y: float) -> list[Html]:
    """The colours of the ranks, best first."""
    left, step = 396.0, 34.0
    parts = [label(word(language, "rank_best"), left - 8, y + 4, "end")]
    for level in range(LEVELS):
        points = f"{left + step * level:.1f},{y:.1f} {left + step * (level + 1) - 3:.1f},{y:.1f}"
        parts.append(element("polyline", points=points, class_=f"ray key level{level}"))
    return [*parts, label(word(language, "rank_worst"), left + step * LEVELS + 5, y + 4, "start")]
