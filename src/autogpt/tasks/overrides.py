"""What the user fixes about the task (`--set task.kind=...`): read, checked against the sample, never guessed at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

from autogpt.errors import TaskError
from autogpt.registry import did_you_mean
from autogpt.tasks.columns import Column
from autogpt.tasks.spec import METRIC_DIRECTION, TaskKind, TaskSpec

__all__ = ["Overrides", "read_overrides"]

_DERIVED = ("description", "direction", "evidence", "contradictions")
"""Fields of TaskSpec that follow from others."""

_KEYS = [name for name in TaskSpec.model_fields if name not in _DERIVED]
_LANGUAGES = ("zh", "en", "mixed", "other")


@dataclass(frozen=True, slots=True)
class Overrides:
    """Checked overrides. `plain` holds those that need no search: metric, labels, languages, layout, limits."""

    kind: TaskKind | None = None
    input_fields: tuple[str, ...] | None = None
    output_field: str | None = None
    plain: Mapping[str, Any] = field(default_factory=dict)


def _one_of(key: str, value: Any, known: Sequence[str]) -> str:
    if value not in known:
        raise TaskError(f"task.{key}", found=repr(value), todo=did_you_mean(str(value), list(known)))
    return str(value)


def _strings(key: str, value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",") if part.strip()]
    if not isinstance(value, (list, tuple)) or not all(isinstance(item, (str, int, float)) for item in value):
        raise TaskError(f"task.{key}", found=repr(value), expected="a list of names, such as [title, body]")
    return tuple(("true" if item else "false") if isinstance(item, bool) else str(item) for item in value)


def _limit(key: str, value: Any) -> int:
    least = 1 if key == "max_output_chars" else 0
    if type(value) is not int or value < least:
        raise TaskError(f"task.{key}", found=repr(value), expected=f"a whole number of characters, at least {least}")
    return value


def _yes_or_no(key: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise TaskError(f"task.{key}", found=repr(value), expected="true or false")
    return value


def _kind(value: Any) -> TaskKind:
    name = str(value.value if isinstance(value, TaskKind) else value).strip().lower().replace("-", "_")
    return TaskKind(_one_of("kind", name, [kind.value for kind in TaskKind]))


def read_overrides(values: Mapping[str, Any], columns: Sequence[Column]) -> Overrides:
    """The overrides, checked. Labels and the metric are checked later, when the kind is known (`details`).

    Raises:
        TaskError: an unknown key, kind, column, metric, language or layout, with the nearest known one.
    """
    names = [column.name for column in columns]
    plain: dict[str, Any] = {}
    for key, value in values.items():
        if key in _DERIVED:
            raise TaskError(f"task.{key} cannot be set", found=repr(value), expected=f"one of {', '.join(_KEYS)}")
        _one_of_keys(key)
        if key == "metric":
            plain[key] = _one_of(key, value, sorted(METRIC_DIRECTION))
        elif key == "labels":
            plain[key] = _strings(key, value)
        elif key in ("input_language", "output_language"):
            plain[key] = _one_of(key, value, _LANGUAGES)
        elif key == "layout":
            plain[key] = _one_of(key, value, get_args(TaskSpec.model_fields["layout"].annotation))
        elif key == "answer_is_span":
            plain[key] = _yes_or_no(key, value)
        elif key.endswith("_chars"):
            plain[key] = _limit(key, value)
    inputs = None
    if "input_fields" in values:
        inputs = tuple(
            _column("input_fields", name, names) for name in _strings("input_fields", values["input_fields"])
        )
    output = _column("output_field", values["output_field"], names) if "output_field" in values else None
    if output is not None and inputs is not None and output in inputs:
        shape = next(column.shape for column in columns if column.name == output)
        if shape != "turns":
            raise TaskError(f"column {output!r} is both input and output", todo="choose another task.output_field")
    return Overrides(_kind(values["kind"]) if "kind" in values else None, inputs, output, plain)


def _one_of_keys(key: str) -> None:
    if key not in _KEYS:
        raise TaskError(f"unknown option 'task.{key}'", todo=did_you_mean(key, _KEYS))


def _column(key: str, name: Any, names: list[str]) -> str:
    if name not in names:
        raise TaskError(f"task.{key}: there is no column {name!r}", todo=did_you_mean(str(name), names))
    return str(name)
