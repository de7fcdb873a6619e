"""Dimensions of a search: a real number, a whole number, or one of a few values; each parses what a user writes."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import Any, TypeAlias

__all__ = ["Choice", "Dimension", "Float", "Int", "ends", "identity", "member", "shown"]

DIGITS = 4
"""Significant digits of a proposed float: finer differences are noise, and `lr: 0.0003124` can be read."""


def _number(value: Any) -> float | None:
    """`value` as a float; None when it is not a finite number. YAML reads `1e-3` as text, so text is read too."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


@dataclass(frozen=True, slots=True)
class Float:
    """A real number in [low, high]; `log` spreads proposals evenly over orders of magnitude."""

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        _check_bounds(self.low, self.high, self.log)

    def parse(self, value: Any) -> float | None:
        """`value` as a member of this dimension, None when it is none."""
        number = _number(value)
        return number if number is not None and self.low <= number <= self.high else None

    def nearest(self, value: float) -> float:
        """`value` clipped to the bounds and rounded to four significant digits (the bounds stay exact)."""
        return min(self.high, max(self.low, float(f"{value:.{DIGITS}g}")))

    def sample(self, rng: random.Random) -> float:
        low, high = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        drawn = rng.uniform(low, high)
        return self.nearest(math.exp(drawn) if self.log else drawn)

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}{' (log)' if self.log else ''}"


@dataclass(frozen=True, slots=True)
class Int:
    """A whole number in [low, high], both ends included; `log` as in `Float`."""

    low: int
    high: int
    log: bool = False

    def __post_init__(self) -> None:
        _check_bounds(self.low, self.high, self.log)

    def parse(self, value: Any) -> int | None:
        """`value` as a member of this dimension, None when it is none."""
        number = _number(value)
        if number is None or number != int(number) or not self.low <= number <= self.high:
            return None
        return int(number)

    def nearest(self, value: float) -> int:
        """The whole number nearest to `value` within the bounds."""
        return min(self.high, max(self.low, round(value)))

    def sample(self, rng: random.Random) -> int:
        if self.log:  # the half steps give both ends their full share
            return self.nearest(math.exp(rng.uniform(math.log(self.low - 0.5), math.log(self.high + 0.5))))
        return rng.randint(self.low, self.high)

    def __str__(self) -> str:
        return f"{self.low} to {self.high}{' (log)' if self.log else ''}"


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few values without an order. Values are JSON scalars: text, numbers, true/false, null."""

    values: tuple[Any, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", tuple(self.values))
        if not self.values:
            raise ValueError("a choice needs at least one value")
        wrong = [value for value in self.values if not (value is None or isinstance(value, str | int | float))]
        if wrong:
            raise ValueError(f"a choice holds JSON scalars, not {wrong[0]!r}")
        if len({identity(value) for value in self.values}) != len(self.values):
            raise ValueError(f"a choice holds each value once: {self.values!r}")

    @property
    def is_ordered(self) -> bool:
        """Whether the values are numbers, so that some of them are neighbours."""
        return all(isinstance(value, int | float) and not isinstance(value, bool) for value in self.values)

    def parse(self, value: Any) -> tuple[Any] | None:
        """The member that equals `value`, in a 1-tuple because None may be a member; None when there is none."""
        index = self.index(value)
        return None if index is None else (self.values[index],)

    def index(self, value: Any) -> int | None:
        """Position of `value`; True is not 1, but 2.0 is 2 and the text "1e-3" is 0.001."""
        known = [identity(one) for one in self.values]
        number = _number(value)
        wanted = [identity(value)] if number is None else [identity(value), identity(number)]
        return next((known.index(one) for one in wanted if one in known), None)

    def sample(self, rng: random.Random) -> Any:
        return rng.choice(self.values)

    def __str__(self) -> str:
        return ", ".join(shown(value) for value in self.values)


Dimension: TypeAlias = Float | Int | Choice


def _check_bounds(low: float, high: float, log: bool) -> None:
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise ValueError(f"bounds must be finite and in order, not {low!r} and {high!r}")
    if log and low <= 0:
        raise ValueError(f"a logarithmic dimension starts above zero, not at {low!r}")


def identity(value: Any) -> tuple[str, Any]:
    """Equality as JSON has it: True and 1 differ, 2 and 2.0 do not."""
    if value is None or isinstance(value, bool):
        return ("constant", str(value))
    return ("number", value) if isinstance(value, int | float) else ("text", value)


def shown(value: Any) -> str:
    """`value` as messages and tables print it."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def ends(dimension: Dimension) -> tuple[Any, ...]:
    """All values of a choice, lowest and highest of a range."""
    return dimension.values if isinstance(dimension, Choice) else (dimension.low, dimension.high)


def member(dimension: Dimension, value: Any) -> tuple[Any] | None:
    """`value` as a member of `dimension` in a 1-tuple, None when it is not one."""
    if isinstance(dimension, Choice):
        return dimension.parse(value)
    parsed = dimension.parse(value)
    return None if parsed is None else (parsed,)
