"""Which mix of a multi-task model's tasks suits a new task's rows best, found without gradients.

LoRAHub (Huang et al. 2023, "LoraHub: Efficient Cross-Task Generalization via Dynamic LoRA Composition"): the weights of
the tasks are all that is learnt, by some forty evaluations of the loss on a handful of rows plus 0.05 times the sum of
their magnitudes. Here the optimiser is CMA-ES (Hansen 2016, "The CMA evolution strategy: a tutorial"; theirs is a
portfolio with CMA-ES in it), the search begins at the nearest task instead of at no task, and tasks differ
in the embedding of their first token beside the adapters.

Shapes as in `multitask`: B rows, T tokens, K tasks.

What this file does not do: say whether the mix is better on rows that it has not seen; look at validation rows.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from cmaes import CMA

from autogpt.data.batching import LENGTH_STEP, Batch, Batches, BatchPlan, encode_all
from autogpt.data.corpus import Texts
from autogpt.errors import DataError
from autogpt.models.gpt import GPT
from autogpt.models.multitask import MultitaskGPT
from autogpt.training.objectives import weighted_token_loss

__all__ = ["TaskMix", "mix_of_tasks", "rows_to_mix_by"]

_EVALUATIONS, _PENALTY, _LARGEST = 40, 0.05, 1.5
"""As in LoRAHub: losses that are computed, what the sum of the weights' magnitudes costs, and the largest of them."""
_SPREAD = 0.5
"""Standard deviation of the first weights that are tried, around those of the nearest task."""
_ROWS, _TOKENS = 64, 4096
"""Rows that are looked at, at most, and their tokens, but for the first row; some more are padding."""
_BATCHES = 2

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class TaskMix:
    """The best mix that was found.

    Attributes:
        weights: of the tasks, in their order; one for the nearest and zeros where nothing better was found.
        alone: mean loss of the nearest task in nats a weighted token.
        loss: the same of the mix; never more than `alone`.
        evaluations: losses that were computed, that of the nearest task counted.
        seconds: that they took.
    """

    weights: tuple[float, ...]
    alone: float
    loss: float
    evaluations: int
    seconds: float

    @property
    def is_better(self) -> bool:
        """Whether the loss is less than that of the nearest task alone."""
        return self.loss < self.alone


def rows_to_mix_by(corpus: Texts, tokenizer: Any, positions: int) -> list[Batch]:
    """A fixed handful of training rows as one or two padded batches: at most 64, evenly spaced, with their answers.

    Args:
        corpus: of the new task; only its training rows are read.
        tokenizer: of the model whose tasks are mixed.
        positions: longest sequence that the model reads; longer rows are cut as `encode_all` cuts them.

    Raises:
        DataError: no row has a token to learn from.
    """
    rows = encode_all(tokenizer, _evenly(corpus.segments, _ROWS), max_tokens=positions)
    useful = [row for row in rows if (row.weights[1:] > 0).any()]
    if not useful:
        raise DataError("no row has a token to learn from", found=f"{len(rows)} rows", expected="rows with an answer")
    kept = useful
    while len(kept) > 1 and sum(len(row.ids) for row in kept) > _TOKENS:
        kept = _evenly(useful, len(kept) - 1)
    # Rows are sorted by length and cut into steps: each has room for half of them, at the width of the longest.
    widths = [-(-len(row.ids) // LENGTH_STEP) * LENGTH_STEP for row in kept]
    plan = BatchPlan(max(widths) * -(-len(kept) // _BATCHES), positions, packed=False, seed=0)
    batches = Batches(kept, plan, pad_id=tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0)
    return [batches.batch(step) for step in range(batches.steps_per_epoch)]


def _evenly(rows: Sequence[_T], count: int) -> list[_T]:
    """As many of the rows, evenly spaced."""
    count = min(count, len(rows))
    return [rows[place * len(rows) // count] for place in range(count)]


def mix_of_tasks(
    model: MultitaskGPT,
    batches: Sequence[Batch],
    nearest: int,
    *,
    seed: int,
    seconds: float = math.inf,
    evaluations: int = _EVALUATIONS,
) -> TaskMix:
    """The mix of the model's tasks with the least penalised loss on the rows, of those that were tried.

    The nearest task alone is tried first, and a mix counts only where its loss, without the penalty, is no more: on
    these rows the result is never worse. The same seed and rows give the same mix, unless the time ends the search.

    Args:
        model: not changed; on the device of the batches.
        batches: rows of the new task, which begin with the start token.
        nearest: the task to begin with.
        seed: of the weights that are tried.
        seconds: after which no other mix is tried.
        evaluations: losses to compute, at most; 1 or more.

    Raises:
        ModelError: there is no such task.
    """
    began = time.perf_counter()
    alone = loss = _mean_loss(model.plain(nearest), batches)
    best = np.eye(model.config.tasks)[nearest]
    least, tried = loss + _PENALTY, 1
    bounds = np.array([[-_LARGEST, _LARGEST]] * len(best))
    search, told = CMA(best, _SPREAD, bounds=bounds, seed=seed), list[tuple[np.ndarray, float]]()
    while tried < evaluations and time.perf_counter() - began < seconds:
        weights_K = search.ask()
        found = _mean_loss(model.mixed(weights_K.tolist()), batches)
        penalised = found + _PENALTY * float(np.abs(weights_K).sum())
        tried += 1
        if found <= alone and penalised < least:
            best, loss, least = weights_K, found, penalised
        told.append((weights_K, penalised))
        if len(told) == search.population_size:
            search.tell(told)
            told = []
    return TaskMix(tuple(best.tolist()), alone, loss, tried, time.perf_counter() - began)


@torch.no_grad()
def _mean_loss(gpt: GPT, batches: Sequence[Batch]) -> float:
    """Weighted mean in nats; infinite where it is no number, which weights far from any task's may lead to."""
    total = sum(float(weighted_token_loss(gpt, batch)) for batch in batches)
    mean = total / sum(float(batch.weights_BT[:, 1:].sum()) for batch in batches)
    return mean if math.isfinite(mean) else math.inf
