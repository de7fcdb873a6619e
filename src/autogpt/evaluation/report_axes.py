"""What the charts of a search are drawn with: axes of parameters, and the SVG elements they have in common."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from autogpt.evaluation.report_charts import nice_ticks
from autogpt.evaluation.report_markup import Html, element
from autogpt.evaluation.report_view import cut
from autogpt.search.space import Choice, Dimension

__all__ = ["WIDTH", "Axis", "axis_of", "dot", "label", "line", "picture"]

WIDTH = 960
"""Of every picture, in its own units; the page scales it."""

_END = 0.04
"""Share of an axis that is left free at both ends of a range."""
_MOST_TICKS = 5


@dataclass(frozen=True, slots=True)
class Axis:
    """Values on a line from 0 to 1: a range, linear or logarithmic, or a choice of equally wide slots.

    Attributes:
        values: of a choice; empty for a range.
        low, high: the ends of a range, equal for a single value.
        flipped: the low end lies at 1.
    """

    values: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 1.0
    log: bool = False
    flipped: bool = False

    def fraction(self, value: Any) -> float:
        """Where `value`, a member, lies: the middle of its slot, or its place in the range."""
        if self.values:
            return ((Choice(self.values).index(value) or 0) + 0.5) / len(self.values)
        low, high, at = (math.log(v) if self.log else float(v) for v in (self.low, self.high, value))
        place = 0.5 if high <= low else _END + (1 - 2 * _END) * (at - low) / (high - low)
        return 1 - place if self.flipped else place

    @property
    def spread(self) -> float:
        """How far dots of the same slot may be moved apart to either side; 0 in a range, where that would be false."""
        return min(0.06, 0.3 / len(self.values)) if self.values else 0.0

    def shown(self, value: Any) -> str:
        """`value` in short: three digits of a number, 5e-5 for 0.00005."""
        if not isinstance(value, float):
            return str(value)
        if not 0 < abs(value) < 1e-3:
            return f"{value:.3g}"
        digits, _, power = f"{value:.2e}".partition("e")
        return f"{digits.rstrip('0').rstrip('.')}e{int(power)}"

    def ticks(self, most_chars: int) -> list[tuple[float, str]]:
        """(place, label) of each slot, or of round numbers within the range.

        Labels share `most_chars` characters: those of slots are cut, round numbers are left out.
        """
        if self.values:
            room = max(3, most_chars // len(self.values))
            return [(self.fraction(value), cut(self.shown(value), room)) for value in self.values]
        for inside in self._round():
            if len(inside) > 1 and sum(len(self.shown(tick)) + 3 for tick in inside) <= most_chars:
                break
        else:
            inside = [self.low, self.high] if self.high > self.low else [self.low]
        return [(self.fraction(tick), self.shown(tick)) for tick in inside]

    def _round(self) -> list[list[float]]:
        """Round numbers within the range, at most five of them, in ever wider steps."""
        if self.log:
            decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            # Through text, because 5 times 10 to the power of -4 is not 0.0005 to the last digit.
            rows = [
                [float(f"{step * 10.0**decade:.3g}") for decade in decades for step in steps]
                for steps in ((1.0, 2.0, 5.0), (1.0, 3.0), (1.0,))
            ]
        else:
            rows = [nice_ticks(self.low, self.high, about) for about in (_MOST_TICKS - 1, 3, 2)]
        rows = [[tick for tick in row if self.low <= tick <= self.high] for row in rows]
        return [row for row in rows if len(row) <= _MOST_TICKS]


def axis_of(dimension: Dimension) -> Axis:
    """The axis of a parameter."""
    if isinstance(dimension, Choice):
        return Axis(dimension.values)
    return Axis((), float(dimension.low), float(dimension.high), dimension.log)


def picture(title: str, height: float, parts: Sequence[Html]) -> Html:
    """A chart of `WIDTH` by `height`; `title` is for those who do not see it."""
    return element("svg", *parts, viewBox=f"0 0 {WIDTH} {height:g}", role="img", aria_label=title, class_="chart")


def label(shown: str, x: float, y: float, anchor: str = "middle", style: str = "tick") -> Html:
    """Text at a place."""
    return element("text", shown, x=f"{x:.1f}", y=f"{y:.1f}", text_anchor=anchor, class_=style)


def line(start: tuple[float, float], end: tuple[float, float], style: str = "grid") -> Html:
    """A straight line."""
    (x1, y1), (x2, y2) = start, end
    return element("line", x1=f"{x1:.1f}", y1=f"{y1:.1f}", x2=f"{x2:.1f}", y2=f"{y2:.1f}", class_=style)


def dot(place: tuple[float, float], style: str, told: str, radius: float = 4) -> Html:
    """A dot that says `told` under the pointer."""
    x, y = place
    circle = element("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r=f"{radius:g}", class_=f"dot {style}")
    return element("g", element("title", told), circle)
