"""The start from a model of several tasks: a mix of them, where that explains the new task's rows better than one."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from autogpt.bench import Bench
from autogpt.errors import DataError, ModelError
from autogpt.model import TASKS, Model, tasks_of
from autogpt.models.hub import load_model, save_model
from autogpt.run import Run
from autogpt.tasks.likeness import Alike
from autogpt.training.starts import Start
from autogpt.training.task_mix import TaskMix, mix_of_tasks, rows_to_mix_by

__all__ = ["in_words", "with_mix"]

_SHARE, _MOST_S = 0.02, 20.0
"""Of the budget, for the mix of one model's tasks; and the most seconds."""
_LEAST_TOLD = 0.005
"""Smaller weights are not named: they would be 0.00."""


def with_mix(run: Run, bench: Bench, alike: Alike, start: Start) -> tuple[str, float]:
    """(what was found in words, seconds that it took); empty where no other task shares the weights of the nearest one.

    The folder of `start`, which holds the plain model of the nearest task, then holds that of the mix if its loss on a
    handful of training rows is less; no description of a task stands beside it. Where the tasks cannot be mixed, the
    words say why, and the folder stays as it was.

    Args:
        alike: a model of several tasks, and which one is the nearest.

    Raises:
        StoreError: the mix cannot be written.
    """
    began = time.perf_counter()
    try:
        with run.busy():
            told = _mixed(run, bench, alike, start)
    except (DataError, ModelError) as error:
        told = f"its tasks are not mixed: {error}"
    return f"{alike.row.name}: {told}" if told else "", time.perf_counter() - began


def _mixed(run: Run, bench: Bench, alike: Alike, start: Start) -> str:
    shared, names = _sharing(alike.row.folder, alike.task)
    if len(names) < 2:
        return ""
    model: Any
    model, tokenizer = load_model(shared, dtype=torch.float32)
    model.to(bench.machine.device)
    rows = rows_to_mix_by(bench.corpus, tokenizer, start.positions)
    found = mix_of_tasks(
        model,
        [batch.to(bench.machine.device) for batch in rows],
        next(place for place, name in names.items() if name == alike.task),
        seed=run.config.seed,
        seconds=min(_MOST_S, _SHARE * run.budget.seconds),
    )
    if found.is_better:
        save_model(model.mixed(found.weights), tokenizer, start.folder)
    return in_words(found, [names.get(place, f"task {place}") for place in range(len(found.weights))], alike.task)


def _sharing(folder: Path, task: str) -> tuple[Path, Mapping[int, str]]:
    """Where the weights of a task are, and place among them → name of each task that has the same weights."""
    nearest, names = Model(folder / TASKS / task), dict[int, str]()
    for name in tasks_of(folder):
        other = Model(folder / TASKS / name)
        if "weights" in other.recipe and other.weights_folder == nearest.weights_folder:
            names[int(other.recipe["weights"]["task"])] = name
    return nearest.weights_folder, names


def in_words(found: TaskMix, names: Sequence[str], nearest: str) -> str:
    """The weights and what they cost: `0.80 mails + 0.30 replies, 40 evaluations in 1.2 s, loss 2.31 → 2.2`."""
    count = f"{found.evaluations} evaluation{'s' * (found.evaluations > 1)}"
    cost = f"{count} in {found.seconds:.1f} s, loss {found.alone:.4g}"
    if not found.is_better:
        return f"no mix of its tasks is better than {nearest} alone, {cost}"
    parts = [(weight, name) for weight, name in zip(found.weights, names, strict=True) if abs(weight) >= _LEAST_TOLD]
    told = " ".join(f"{'-' if weight < 0 else '+'} {abs(weight):.2f} {name}" for weight, name in parts)
    told = f"-{told[2:]}" if told.startswith("-") else told[2:]
    return f"{told or 'no task at all'}, {cost} → {found.loss:.4g}"
