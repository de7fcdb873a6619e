"""What the user gave: the tasks as they were understood, their files as they were read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from autogpt.bench import Known, Told
from autogpt.config import DataConfig, RunConfig
from autogpt.data import readers
from autogpt.errors import ConfigError
from autogpt.tasks.several import sources, understand_all
from autogpt.tasks.spec import TaskSpec
from autogpt.tasks.understand import understand

__all__ = ["Given", "files_noted", "files_of", "read_tasks", "sources_of", "tasks_again", "understood_of"]


def files_of(data: str | Path | Sequence[str | Path] | None) -> list[Path]:
    """One path or several as a list; None as none."""
    if data is None:
        return []
    return [Path(data)] if isinstance(data, str | Path) else [Path(one) for one in data]


@dataclass(frozen=True)
class Given:
    """One task or several, ready for a bench.

    Attributes:
        description: the user's sentence.
        tasks: names are empty where there is one.
        paths: of each task: its training rows and, perhaps, its test rows.
    """

    description: str
    tasks: tuple[Told, ...]
    paths: tuple[tuple[Path, ...], ...]

    @property
    def files(self) -> list[Path]:
        """All files, in the order of the tasks."""
        return [path for paths in self.paths for path in paths]

    @cached_property
    def fingerprint(self) -> str:
        """Of the content of all files."""
        return readers.fingerprint(self.files)

    @property
    def understood(self) -> dict[str, Any]:
        """The task as plain JSON; of several tasks, `tasks`: name → that."""
        specs = {task.name: task.spec.model_dump(mode="json") for task in self.tasks}
        return understood_of(specs, {task.name: task.weight for task in self.tasks})

    @property
    def sources(self) -> dict[str, Any]:
        """What `tasks_again` needs to read the same once more, as plain JSON."""
        noted = {
            task.name: {"files": [str(path.resolve()) for path in paths], "weight": task.weight} | _noted(task.known)
            for task, paths in zip(self.tasks, self.paths, strict=True)
        }
        return sources_of(noted)

    def to_yaml(self, specs: Sequence[TaskSpec]) -> str:
        """What was understood, for a person; `specs` are the tasks' with all the labels of their rows."""
        if len(specs) == 1:
            return specs[0].to_yaml()
        named = {task.name: spec.model_dump(mode="json") for task, spec in zip(self.tasks, specs, strict=True)}
        return yaml.safe_dump({"tasks": named}, allow_unicode=True, sort_keys=False, width=120)


def _noted(known: Known | None) -> dict[str, Any]:
    if known is None:
        return {}
    data = known.data.model_dump(mode="json")
    return {"known": {"model": str(known.model), "rows": known.rows, "data": data, "seed": known.seed}}


def _known(noted: Mapping[str, Any]) -> Known | None:
    if (found := noted.get("known")) is None:
        return None
    return Known(Path(found["model"]), int(found["rows"]), DataConfig.model_validate(found["data"]), int(found["seed"]))


def understood_of(specs: Mapping[str, Any], weights: Mapping[str, float]) -> dict[str, Any]:
    """Tasks, name → plain JSON, as `store.start_run` takes them: a single one as it is."""
    if len(specs) == 1:
        return dict(next(iter(specs.values())))
    return {"tasks": dict(specs), **({"weights": dict(weights)} if len(set(weights.values())) > 1 else {})}


def sources_of(noted: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Name → files and weight, as a run's document has them: of a single task its files alone."""
    return {"files": next(iter(noted.values()))["files"]} if len(noted) == 1 else {"tasks": dict(noted)}


def files_noted(document: Mapping[str, Any]) -> list[Path]:
    """All files of a run, training and test rows of its tasks in their order, as `Given.files`."""
    noted = document["tasks"].values() if "tasks" in document else (document,)
    return [Path(file) for one in noted for file in one["files"]]


def read_tasks(description: str, data: Sequence[Path], tests: Sequence[Path], config: RunConfig) -> Given:
    """The tasks that sentence and files tell.

    Raises:
        BadInput: a file or the description of a task cannot be read or understood.
    """
    found = sources(description, data, tests, config.tasks)
    paths = tuple((one.data, *([one.test] if one.test is not None else [])) for one in found)
    tables = [[readers.read(path) for path in each] for each in paths]
    samples = {one.name: readers.sample(read[0], seed=config.seed) for one, read in zip(found, tables, strict=True)}
    if len(found) == 1:
        (one,) = found
        spec = understand(one.description, samples[one.name], {**config.task, **one.overrides})
        return Given(one.description, (Told(spec, tables[0]),), paths)
    if config.task:
        raise ConfigError(
            "task is for one task, and there are several",
            found=f"task.{next(iter(config.task))}",
            todo=f"say which: tasks.{found[0].name}.{next(iter(config.task))}",
        )
    specs = understand_all(found, samples)
    told = tuple(Told(spec, read, one.name, one.weight) for spec, read, one in zip(specs, tables, found, strict=True))
    return Given(description or "; ".join(spec.description for spec in specs), told, paths)


def tasks_again(document: Mapping[str, Any], understood: Mapping[str, Any]) -> Given:
    """The tasks of an earlier run, from what it noted (`Given.sources`) and understood; files are read anew."""
    if "tasks" not in document:
        paths = tuple(Path(file) for file in document["files"])
        told = Told(TaskSpec.model_validate(understood), [readers.read(path) for path in paths])
        return Given(document["description"], (told,), (paths,))
    tasks, every = [], []
    for name, noted in document["tasks"].items():
        paths = tuple(Path(file) for file in noted["files"])
        spec = TaskSpec.model_validate(understood["tasks"][name])
        tables = [readers.read(path) for path in paths]
        tasks.append(Told(spec, tables, name, float(noted["weight"]), _known(noted)))
        every.append(paths)
    return Given(document["description"], tuple(tasks), tuple(every))
