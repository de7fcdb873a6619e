"""What may be searched: typed parameters, some of which exist only when another one has a certain value.

A configuration is a plain dict of JSON scalars that holds the *active* parameters only: with `start: base` there is no
`width` in it. The user may fix or narrow any parameter (`Space.narrowed`), and a narrowed space is a space like any
other, so samplers need not know about it.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeAlias

from autogpt.errors import ConfigError
from autogpt.registry import did_you_mean

__all__ = ["Choice", "Config", "Dimension", "Float", "Int", "Parameter", "Space"]

Config: TypeAlias = dict[str, Any]
"""Parameter name → JSON scalar, active parameters only."""

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
        if len({_identity(value) for value in self.values}) != len(self.values):
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
        known = [_identity(member) for member in self.values]
        number = _number(value)
        wanted = [_identity(value)] if number is None else [_identity(value), _identity(number)]
        return next((known.index(identity) for identity in wanted if identity in known), None)

    def sample(self, rng: random.Random) -> Any:
        return rng.choice(self.values)

    def __str__(self) -> str:
        return ", ".join(_shown(value) for value in self.values)


Dimension: TypeAlias = Float | Int | Choice


def _check_bounds(low: float, high: float, log: bool) -> None:
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise ValueError(f"bounds must be finite and in order, not {low!r} and {high!r}")
    if log and low <= 0:
        raise ValueError(f"a logarithmic dimension starts above zero, not at {low!r}")


def _identity(value: Any) -> tuple[str, Any]:
    """Equality as JSON has it: True and 1 differ, 2 and 2.0 do not."""
    if value is None or isinstance(value, bool):
        return ("constant", str(value))
    return ("number", value) if isinstance(value, int | float) else ("text", value)


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _member(dimension: Dimension, value: Any) -> tuple[Any] | None:
    """`value` as a member of `dimension` in a 1-tuple, None when it is not one."""
    if isinstance(dimension, Choice):
        return dimension.parse(value)
    parsed = dimension.parse(value)
    return None if parsed is None else (parsed,)


@dataclass(frozen=True, slots=True)
class Parameter:
    """A named dimension.

    Attributes:
        name: as it stands in configurations and in the user's file.
        dimension: the values it may have.
        default: the value of the first trial; a member of the dimension.
        when: it exists only while each of these earlier parameters is active and has one of the values; None: always.
        explanation: one plain sentence for the printed table.
    """

    name: str
    dimension: Dimension
    default: Any
    when: Mapping[str, tuple[Any, ...]] | None = None
    explanation: str = ""

    def __post_init__(self) -> None:
        member = _member(self.dimension, self.default)
        if member is None:
            raise ValueError(f"default of {self.name!r} is {self.default!r}, outside {self.dimension}")
        object.__setattr__(self, "default", member[0])

    def is_active(self, config: Mapping[str, Any]) -> bool:
        """Whether this parameter exists next to the values of its parents in `config`."""
        return all(
            parent in config and _identity(config[parent]) in {_identity(value) for value in values}
            for parent, values in (self.when or {}).items()
        )


@dataclass(frozen=True)
class Space:
    """Parameters in an order in which parents come before the parameters that depend on them.

    Raises ValueError when a name is used twice or a condition names no earlier parameter.
    """

    parameters: Sequence[Parameter]
    _by_name: dict[str, Parameter] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "parameters", tuple(self.parameters))
        for parameter in self.parameters:
            if parameter.name in self._by_name:
                raise ValueError(f"parameter {parameter.name!r} is there twice")
            for parent in parameter.when or {}:
                if parent not in self._by_name:
                    raise ValueError(f"{parameter.name!r} depends on {parent!r}, which is not an earlier parameter")
            self._by_name[parameter.name] = parameter

    def __getitem__(self, name: str) -> Parameter:
        return self._by_name[name]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._by_name)

    @cached_property
    def _default(self) -> Config:
        return self.active({parameter.name: parameter.default for parameter in self.parameters})

    @property
    def default(self) -> Config:
        """The configuration of the first trial (a fresh dict)."""
        return dict(self._default)

    def sample(self, rng: random.Random) -> Config:
        """A uniformly drawn configuration; the same state of `rng` gives the same one."""
        config: Config = {}
        for parameter in self.parameters:
            if parameter.is_active(config):
                config[parameter.name] = parameter.dimension.sample(rng)
        return config

    def active(self, config: Mapping[str, Any]) -> Config:
        """`config` without the parameters that do not exist next to its other values; values are not checked."""
        kept: Config = {}
        for parameter in self.parameters:
            if parameter.name in config and parameter.is_active(kept):
                kept[parameter.name] = config[parameter.name]
        return kept

    def validate(self, config: Mapping[str, Any]) -> Config:
        """`config` with its values in the types of their dimensions.

        Raises ConfigError for an unknown, missing, inactive or out-of-range parameter.
        """
        for name in config:
            self._known(name)
        checked: Config = {}
        for parameter in self.parameters:
            name = parameter.name
            if not parameter.is_active(checked):
                if name in config:
                    raise ConfigError(f"parameter {name!r} has no effect here", expected=_condition(parameter))
                continue
            if name not in config:
                raise ConfigError(f"parameter {name!r} is missing", expected=str(parameter.dimension))
            checked[name] = self._parsed(parameter, config[name])
        return checked

    def contains(self, config: Mapping[str, Any]) -> bool:
        """Whether `config` is a complete configuration of this space."""
        try:
            self.validate(config)
        except ConfigError:
            return False
        return True

    def narrowed(self, user: Mapping[str, Any]) -> Space:
        """This space with the user's wishes applied.

        Args:
            user: name → a value (fixes it), two numbers in a list (a new range of a numeric parameter), or any other
                list (the values it may have).

        Returns: a space without the parameters that can no longer be active. Defaults move to the nearest allowed
        value. Raises ConfigError for an unknown name, a value outside the parameter's own dimension, and a wish that
        has no effect because of another one.
        """
        for name in user:
            self._known(name)
        kept: dict[str, Parameter] = {}
        for parameter in self.parameters:
            name = parameter.name
            if not _possible(parameter, kept):
                if name in user:
                    raise ConfigError(f"search.space.{name} has no effect", expected=_condition(parameter))
                continue
            kept[name] = self._narrowed_one(parameter, user[name]) if name in user else parameter
        return Space(tuple(kept.values()))

    def table(self) -> tuple[tuple[str, str, str, str, str], ...]:
        """Printable rows: name, values, default, condition, explanation."""
        return tuple(
            (p.name, str(p.dimension), _shown(p.default), _condition(p), p.explanation) for p in self.parameters
        )

    def _known(self, name: str) -> None:
        if name not in self._by_name:
            raise ConfigError(f"unknown search parameter {str(name)!r}", todo=did_you_mean(str(name), list(self.names)))

    def _parsed(self, parameter: Parameter, value: Any) -> Any:
        member = _member(parameter.dimension, value)
        if member is None:
            raise ConfigError(
                f"search parameter {parameter.name!r}", found=repr(value), expected=str(parameter.dimension)
            )
        return member[0]

    def _narrowed_one(self, parameter: Parameter, wish: Any) -> Parameter:
        dimension = parameter.dimension
        values = list(wish) if isinstance(wish, list | tuple) else [wish]
        if not values:
            raise ConfigError(f"search parameter {parameter.name!r}", found="an empty list", expected=str(dimension))
        members = [self._parsed(parameter, value) for value in values]
        if len(members) == 2 and not isinstance(dimension, Choice):
            low, high = members
            if low > high:
                raise ConfigError(f"search parameter {parameter.name!r}", found=repr(wish), expected="low before high")
            ranged = replace(dimension, low=low, high=high)
            return replace(parameter, dimension=ranged, default=min(high, max(low, parameter.default)))
        distinct = list({_identity(member): member for member in members}.values())
        default = parameter.default
        if _identity(default) not in {_identity(member) for member in distinct}:
            default = distinct[0]
        return replace(parameter, dimension=Choice(tuple(distinct)), default=default)


def _possible(parameter: Parameter, kept: Mapping[str, Parameter]) -> bool:
    """Whether some configuration over the parameters `kept` so far makes this one active."""
    return all(
        parent in kept and any(_member(kept[parent].dimension, value) is not None for value in values)
        for parent, values in (parameter.when or {}).items()
    )


def _condition(parameter: Parameter) -> str:
    """The condition in words, such as `start = scratch`; empty when there is none."""
    return ", ".join(
        f"{parent} = {' or '.join(_shown(value) for value in values)}"
        for parent, values in (parameter.when or {}).items()
    )
