"""A YAML file of tasks: their names, sentences, data, corrections and weights, read strictly. Torch-free.

A tasks file looks like this; paths are relative to its folder, and `task` has the keys of the configuration's section::

    description: support desk            # for tasks without one of their own
    tasks:
      category: {description: sort support mails into categories, data: mails.jsonl, test: mails.test.jsonl}
      reply: {description: write the reply, data: replies.jsonl, weight: 2.0, task: {metric: chrf}}

Data files are looked for, never opened.
"""

from __future__ import annotations

import difflib
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from autogpt.errors import BadInput, ConfigError, DataError, TaskError
from autogpt.registry import did_you_mean
from autogpt.store.keys import slug
from autogpt.tasks.overrides import read_overrides

__all__ = [
    "TaskSource",
    "addressed",
    "addressed_text",
    "check_source",
    "is_task_file",
    "read_task_file",
    "sentence_of",
    "weight_of",
]

_SUFFIXES = (".yaml", ".yml")
_MOST_BYTES = 2**20
_MOST_NODES = 100_000
"""Values of a tasks file with every anchor written out, so that anchors within anchors cannot fill the memory."""
_MOST_DIGITS = 100
_TAGS = frozenset(
    f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "map", "seq", "merge")
)
_FILE_KEYS = ["description", "tasks"]
_TASK_KEYS = ["data", "description", "task", "test", "weight"]
_OF_COLUMNS = ("input_fields", "output_field")
_SENTENCE = "one sentence that names the task"


@dataclass(frozen=True, slots=True)
class TaskSource:
    """One task as the user brought it, before its data are read.

    Attributes:
        name: a slug, unique among the tasks of a run.
        description: what the user wrote; the same sentence for every file when one sentence covers them all.
        data: file or folder of training rows; it exists.
        test: rows to be judged on, or None to seal some of `data`.
        overrides: fields of `TaskSpec` that the user fixed, as `understand` takes them.
        weight: how much the task counts beside the others, more than 0.
    """

    name: str
    description: str
    data: Path
    test: Path | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)
    weight: float = 1.0


def is_task_file(path: str | Path) -> bool:
    """Whether `path` names a YAML file, which holds tasks and not rows. The file need not be there."""
    return Path(path).suffix.lower() in _SUFFIXES and not os.path.isdir(path)


def read_task_file(path: Path, description: str, tests: Sequence[Path]) -> tuple[TaskSource, ...]:
    """The tasks of a file, in its order.

    Args:
        path: the YAML file.
        description: stands in where a task has none, before the file's own.
        tests: none, or one for each task that names no test file, in order.

    Raises:
        DataError: the file is missing or too large, leads to a tasks file, or the number of `tests` does not fit.
        ConfigError: it is no YAML (with the line), has unknown or duplicate keys, values of the wrong kind, no task, or
            a name that is not a slug.
    """
    document = _mapping(_load(path), path.name, "the file", _FILE_KEYS)
    shared = description.strip() or sentence_of(document.get("description"), f"description in {path.name}")
    tasks = _mapping(document.get("tasks"), path.name, "tasks", None)
    if not tasks:
        raise ConfigError(f"{path.name} holds no tasks", expected="tasks: {NAME: {description: ..., data: FILE}}")
    found = [_entry(path, name, entry, shared) for name, entry in tasks.items()]
    without = [index for index, source in enumerate(found) if source.test is None]
    if tests and len(tests) != len(without):
        raise DataError(
            f"{len(tests)} test file{'s' * (len(tests) != 1)} for {len(without)} of the tasks in {path.name}",
            expected="no --test, or one for each task that has no `test` there, in the same order",
        )
    for index, test in zip(without, tests, strict=False):
        found[index] = replace(found[index], test=Path(test))
    return tuple(found)


def _entry(path: Path, name: str, entry: Any, shared: str) -> TaskSource:
    if name != slug(name):
        raise ConfigError(
            f"task name {name!r} in {path.name}",
            expected="lower-case letters and digits joined by -, at most 40",
            todo=f"such as {slug(name)!r}",
        )
    where = f"tasks.{name}"
    values = _mapping(entry, path.name, where, _TASK_KEYS)
    if values.get("data") is None:
        raise ConfigError(f"task {name!r} in {path.name} has no data", todo=f"add {where}.data: FILE")
    test = values.get("test")
    return TaskSource(
        name=name,
        description=sentence_of(values.get("description"), f"{where}.description in {path.name}") or shared,
        data=_path(path, values["data"], f"{where}.data"),
        test=None if test is None else _path(path, test, f"{where}.test"),
        overrides=_mapping({} if values.get("task") is None else values["task"], path.name, f"{where}.task", None),
        weight=weight_of(values.get("weight", 1.0), f"{where}.weight in {path.name}"),
    )


def _path(file: Path, value: Any, where: str) -> Path:
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise ConfigError(f"{where} in {file.name}", found=repr(value), expected="the path of a file or folder")
    found = file.parent / os.path.expanduser(value)
    if is_task_file(found):
        itself = os.path.realpath(found) == os.path.realpath(file)
        raise DataError(
            f"{where} in {file.name} names {'the tasks file itself' if itself else 'another tasks file'}",
            found=repr(value),
            expected="a data file; tasks files are not read within tasks files",
        )
    return found


def sentence_of(value: Any, where: str) -> str:
    """A description, "" when there is none. Raises ConfigError when it is no text."""
    if not isinstance(value, str | None):
        raise ConfigError(where, found=repr(value), expected=_SENTENCE)
    return (value or "").strip()


def weight_of(value: Any, where: str) -> float:
    """A task's weight. Raises ConfigError when it is no number above 0."""
    usable = isinstance(value, int | float) and not isinstance(value, bool)
    if not usable or not 0 < value < math.inf:
        raise ConfigError(where, found=repr(value), expected="a number above 0")
    return float(value)


def _mapping(value: Any, file: str, where: str, known: list[str] | None) -> dict[str, Any]:
    """`value` when it is a mapping with words as keys, all of them among `known` where that is given."""
    if not isinstance(value, dict):
        found = "nothing" if value is None else type(value).__name__
        raise ConfigError(f"{where} in {file}", found=found, expected="a mapping")
    for key in value:
        if not isinstance(key, str):
            raise ConfigError(
                f"a key of {where} in {file}", found=repr(key), expected="a word", todo="put it in quotes"
            )
        if known is not None and key not in known:
            place = key if where == "the file" else f"{where}.{key}"
            raise ConfigError(f"unknown key {place!r} in {file}", todo=did_you_mean(key, known))
    return value


def _load(path: Path) -> Any:
    """The document in a YAML file, without duplicate keys and with plain values only."""
    try:
        size = path.stat().st_size
        text = path.read_bytes().decode("utf-8-sig") if size <= _MOST_BYTES else ""
    except (OSError, ValueError) as error:
        missing = isinstance(error, FileNotFoundError)
        what = f"no tasks file {str(path)!r}" if missing else f"tasks file {str(path)!r} cannot be read"
        raise DataError(what, found="" if missing else str(error), expected="YAML in UTF-8") from error
    if size > _MOST_BYTES:
        raise DataError(f"tasks file {path.name}", found=f"{size} bytes", expected=f"at most {_MOST_BYTES}")
    loader = None
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _check_nodes(node, path.name)
        return loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f" line {mark.line + 1}" if mark else ""
        raise ConfigError(f"{path.name}{line} is not YAML", found=error.problem or str(error)) from error
    except yaml.reader.ReaderError as error:
        line = f" line {text.count(chr(10), 0, error.position) + 1}"
        raise ConfigError(f"{path.name}{line} is not YAML", found=f"character {error.character:#06x}") from error
    except (ValueError, LookupError) as error:  # `!!int word`, `!!bool word`, `!!float ""`
        raise ConfigError(f"{path.name} holds a value that is not what its tag says", found=str(error)) from error
    except RecursionError as error:
        raise ConfigError(f"{path.name} is nested too deeply", expected="tasks: {NAME: {data: FILE}}") from error
    finally:
        if loader is not None:
            loader.dispose()


def _check_nodes(root: yaml.Node, file: str) -> None:
    """Refuse duplicate keys, of which YAML readers keep the last, and what no option can have as its value."""
    waiting, seen = [root], 0
    while waiting:
        node = waiting.pop()
        seen += 1
        line = f"{file} line {node.start_mark.line + 1}"
        if seen > _MOST_NODES:
            raise ConfigError(f"{line}: too many values", expected=f"at most {_MOST_NODES}", todo="use fewer anchors")
        if node.tag not in _TAGS:
            shown = repr(node.value) if isinstance(node, yaml.ScalarNode) else node.tag
            raise ConfigError(f"{line}: not a plain value", found=shown, todo="put it in quotes")
        if isinstance(node, yaml.ScalarNode):
            if not node.tag.endswith(":str") and len(node.value) > _MOST_DIGITS:
                raise ConfigError(f"{line}: a number of {len(node.value)} digits", todo="put it in quotes")
            if not node.value.isascii() and any("\ud800" <= character <= "\udfff" for character in node.value):
                raise ConfigError(f"{line}: half a character", found=repr(node.value), expected="text")
        elif isinstance(node, yaml.MappingNode):
            known: dict[str, int] = {}
            for key, value in node.value:
                place = key.start_mark.line + 1
                if isinstance(key, yaml.ScalarNode) and key.value in known:
                    what = f"{file} line {place}: {key.value!r} a second time"
                    found = f"the first in line {known[key.value]}"
                    raise ConfigError(what, found=found, todo="give it another name or remove one")
                if isinstance(key, yaml.ScalarNode):
                    known[key.value] = place
                waiting += [key, value]
        else:
            waiting += node.value


def check_source(source: TaskSource) -> None:
    """Refuse what is wrong before any row is read; columns are checked when the task is understood.

    Raises:
        TaskError: no description, or an override that no task can have.
        DataError: a file that is missing, or holds tasks in place of rows.
    """
    if not source.description:
        raise TaskError(
            f"task {source.name!r} has no description", expected=_SENTENCE, todo="in the file or behind fit"
        )
    plain = {key: value for key, value in source.overrides.items() if key not in _OF_COLUMNS}
    try:
        read_overrides(plain, ())
    except TaskError as error:
        raise addressed(error, source.name) from error
    for path in filter(None, (source.data, source.test)):
        if not os.path.exists(path):
            raise DataError(f"task {source.name!r}: no file {str(path)!r}", todo=_nearest(path))
        if is_task_file(path):
            raise DataError(f"task {source.name!r}: {path.name} is a tasks file", expected="a data file")


def addressed(error: BadInput, name: str) -> BadInput:
    """The same error, said of one task of several: `task.metric` becomes `tasks.NAME.metric`."""
    what = addressed_text(error.what, name)
    return type(error)(
        f"task {name!r}: {what}" if what == error.what else what,
        found=error.found,
        expected=error.expected,
        todo=addressed_text(error.todo, name),
    )


def addressed_text(text: str, name: str) -> str:
    """`--set task.metric=...` and the like, as they are written for one task of several."""
    return re.sub(r"\btask\.(?=[a-z_])", f"tasks.{name}.", text)


def _nearest(path: Path) -> str:
    try:
        there = os.listdir(path.parent)
    except (OSError, ValueError):
        return f"there is no folder {str(path.parent)!r}"
    near = difflib.get_close_matches(path.name, there, n=1)
    return f"did you mean {near[0]!r}?" if near else f"looked in {os.path.abspath(path.parent)!r}"
