"""What may be searched: typed parameters, some of which exist only when another one has a certain value.

A configuration is a plain dict of JSON scalars that holds the *active* parameters only: with `start: base` there is no
`width` in it. The user may fix or range any parameter (`Space.narrowed`), also beyond what is searched unasked and also
one that is not searched at all unless it is named. What comes out is a space like any other, so samplers need not know
about it.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeAlias

from autogpt.errors import ConfigError
from autogpt.registry import did_you_mean
from autogpt.search.dimensions import Choice, Dimension, Float, Int, ends, identity, member, shown

__all__ = ["Choice", "Config", "Dimension", "Float", "Int", "Parameter", "Space"]

Config: TypeAlias = dict[str, Any]
"""Parameter name → JSON scalar, active parameters only."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """A named dimension.

    Attributes:
        name: as it stands in configurations and in the user's file.
        dimension: the values it may have.
        default: the value of the first trial; a member of the dimension.
        when: it exists only while each of these earlier parameters is active and has one of the values; None: always.
        explanation: one plain sentence for the printed table.
        allowed: what a user may ask for, where that is more than `dimension`, which it must hold; None for the same.
    """

    name: str
    dimension: Dimension
    default: Any
    when: Mapping[str, tuple[Any, ...]] | None = None
    explanation: str = ""
    allowed: Dimension | None = None

    def __post_init__(self) -> None:
        default = member(self.dimension, self.default)
        if default is None:
            raise ValueError(f"default of {self.name!r} is {self.default!r}, outside {self.dimension}")
        object.__setattr__(self, "default", default[0])
        outside = [value for value in ends(self.dimension) if member(self.askable, value) is None]
        if outside:
            raise ValueError(f"{self.name!r} may be {outside[0]!r}, outside what is allowed: {self.allowed}")

    @property
    def askable(self) -> Dimension:
        """The values that a user may ask for."""
        return self.dimension if self.allowed is None else self.allowed

    def is_active(self, config: Mapping[str, Any]) -> bool:
        """Whether this parameter exists next to the values of its parents in `config`."""
        return all(
            parent in config and identity(config[parent]) in {identity(value) for value in values}
            for parent, values in (self.when or {}).items()
        )


@dataclass(frozen=True)
class Space:
    """Parameters in an order in which parents come before the parameters that depend on them.

    Raises ValueError when a name is used twice or a condition names no earlier parameter.

    Attributes:
        parameters: what is searched.
        optional: what is searched only when the user names it; conditions may name any of `parameters` and any earlier
            optional one. Configurations of this space hold none of them; `narrowed` moves those that are asked for
            among the parameters.
    """

    parameters: Sequence[Parameter]
    optional: Sequence[Parameter] = ()
    _by_name: dict[str, Parameter] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "parameters", tuple(self.parameters))
        object.__setattr__(self, "optional", tuple(self.optional))
        earlier: set[str] = set()
        for parameter in (*self.parameters, *self.optional):
            if parameter.name in earlier:
                raise ValueError(f"parameter {parameter.name!r} is there twice")
            for parent in parameter.when or {}:
                if parent not in earlier:
                    raise ValueError(f"{parameter.name!r} depends on {parent!r}, which is not an earlier parameter")
            earlier.add(parameter.name)
        self._by_name.update((parameter.name, parameter) for parameter in self.parameters)

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
            checked[name] = _parsed(parameter, config[name], parameter.dimension)
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
                list (the values it may have). Each may be whatever the parameter allows, searched unasked or not.

        Returns: a space without the parameters that can no longer be active, with those of the optional ones that are
        asked for and without the others. An optional one stands behind those with the same condition; where there are
        none, behind its parents. Defaults move to the nearest allowed value. Raises ConfigError for an unknown name, a
        value that the parameter does not allow, and a wish that has no effect because of another one.
        """
        known = [*self.names, *(parameter.name for parameter in self.optional)]
        for name in user:
            if name not in known:
                raise _unknown(name, known)
        kept: dict[str, Parameter] = {}
        for parameter in _with_optional(self.parameters, [one for one in self.optional if one.name in user]):
            name = parameter.name
            if not _possible(parameter, kept):
                if name in user:
                    raise ConfigError(f"search.space.{name} has no effect", expected=_condition(parameter))
                continue
            kept[name] = _narrowed(parameter, user[name]) if name in user else parameter
        return Space(tuple(kept.values()))

    def table(self) -> tuple[tuple[str, str, str, str, str], ...]:
        """Printable rows: name, values (and those that may be asked for), default, condition, explanation.

        Those that are searched only when asked for come last, without a default.
        """
        rows = [(p.name, _values(p), shown(p.default), _condition(p), p.explanation) for p in self.parameters]
        for p in self.optional:
            condition = ", ".join(part for part in ("when asked for", _condition(p)) if part)
            rows.append((p.name, _values(p), "", condition, p.explanation))
        return tuple(rows)

    def _known(self, name: str) -> None:
        if name not in self._by_name:
            raise _unknown(name, self.names)


def _unknown(name: object, known: Sequence[str]) -> ConfigError:
    return ConfigError(f"unknown search parameter {str(name)!r}", todo=did_you_mean(str(name), list(known)))


def _parsed(parameter: Parameter, value: Any, dimension: Dimension) -> Any:
    """`value` as a member of `dimension`, which is the parameter's or what of it may be asked for."""
    found = member(dimension, value)
    if found is None:
        raise ConfigError(f"search parameter {parameter.name!r}", found=repr(value), expected=str(dimension))
    return found[0]


def _narrowed(parameter: Parameter, wish: Any) -> Parameter:
    """`parameter` as the user wishes it; nothing else may be asked for afterwards."""
    dimension, what = parameter.dimension, f"search parameter {parameter.name!r}"
    values = list(wish) if isinstance(wish, list | tuple) else [wish]
    if not values:
        raise ConfigError(what, found="an empty list", expected=str(parameter.askable))
    members = [_parsed(parameter, value, parameter.askable) for value in values]
    if len(members) == 2 and not isinstance(dimension, Choice):
        low, high = members
        if low > high:
            raise ConfigError(what, found=repr(wish), expected="low before high")
        ranged = replace(dimension, low=low, high=high, log=dimension.log and low > 0)
        return replace(parameter, dimension=ranged, default=min(high, max(low, parameter.default)), allowed=None)
    distinct = list({identity(one): one for one in members}.values())
    default = parameter.default
    if identity(default) not in {identity(one) for one in distinct}:
        default = distinct[0]
    return replace(parameter, dimension=Choice(tuple(distinct)), default=default, allowed=None)


def _with_optional(parameters: Sequence[Parameter], asked: Sequence[Parameter]) -> list[Parameter]:
    """`parameters` with each one `asked` for behind the last with the same condition; else behind its last parent."""
    merged = list(parameters)
    for one in asked:
        alike = [place for place, other in enumerate(merged) if (other.when or {}) == (one.when or {})]
        parents = [place for place, other in enumerate(merged) if other.name in (one.when or {})]
        merged.insert(max(alike or parents or [len(merged) - 1]) + 1, one)
    return merged


def _values(parameter: Parameter) -> str:
    return f"{parameter.dimension}{f' (allowed: {parameter.allowed})' if parameter.allowed is not None else ''}"


def _possible(parameter: Parameter, kept: Mapping[str, Parameter]) -> bool:
    """Whether some configuration over the parameters `kept` so far makes this one active."""
    return all(
        parent in kept and any(member(kept[parent].dimension, value) is not None for value in values)
        for parent, values in (parameter.when or {}).items()
    )


def _condition(parameter: Parameter) -> str:
    """The condition in words, such as `start = scratch`; empty when there is none."""
    return ", ".join(
        f"{parent} = {' or '.join(shown(value) for value in values)}"
        for parent, values in (parameter.when or {}).items()
    )
