"""Rows of several tasks as one pool: cut to the context, marked with their task, repeated and weighted by task.

A model of several tasks is told which one it does by a row's first token, whose id is the vocabulary's size plus the
task's number. Such rows are padded, never packed: joined to one stream they would lose their first tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from autogpt.data.batching import Encoded
from autogpt.errors import DataError

__all__ = ["MOST_COPIES", "mixed", "of_task", "task_shares", "windows"]

MOST_COPIES = 64
"""How often `mixed` has a row in the pool at most. A row of a tiny task is learnt by heart long before that."""


def windows(rows: Sequence[Encoded], context: int) -> list[Encoded]:
    """Rows of at most `context` tokens that never hold two documents.

    A longer row is cut into windows that overlap by one token, so that every token but a document's first is predicted
    once. `utf8_bytes` of a cut row are not divided: all its windows say 0.
    """
    cut: list[Encoded] = []
    for row in rows:
        if len(row.ids) <= context:
            cut.append(row)
            continue
        for first in range(0, len(row.ids) - 1, context - 1):
            part = slice(first, first + context)
            answers, weights = row.answers[part].copy(), row.weights[part].copy()
            if first:
                answers[0], weights[0] = False, 0.0  # predicted at the end of the window before
            cut.append(replace(row, ids=row.ids[part], weights=weights, answers=answers, utf8_bytes=0))
    return cut


def of_task(rows: Sequence[Encoded], task: int, vocab_size: int, *, bos_id: int | None, context: int) -> list[Encoded]:
    """Rows of at most `context` tokens that begin with the token of `task`, of which nothing is predicted.

    It takes the place of the start token, or is put in front where there is none. A supervised row that was as long as
    `context` without a start token loses its first token to it, which is one of the prompt's. Longer rows, and
    documents, are cut into `windows` that each begin with the task's token and overlap by one token behind it.

    Args:
        rows: encoded rows of one task, with or without start tokens.
        task: its number, from 0.
        vocab_size: `config.vocab_size` of the model; published ones may have more than their tokenizer's.
        bos_id: the tokenizer's start token; None for none.
        context: most tokens of a row, the task's included; 3 or more.
    """
    if context < 3:
        raise ValueError(f"context is {context}, expected 3 or more: the task, a token, and one to predict")
    marked: list[Encoded] = []
    for row in rows:
        begun = int(len(row.ids) > 0 and int(row.ids[0]) == bos_id)
        prompted = len(row.ids) > 0 and not row.answers[0]
        if not begun and len(row.ids) == context and prompted:
            begun = 1
        body = replace(row, ids=row.ids[begun:], weights=row.weights[begun:], answers=row.answers[begun:])
        marked += [_marked(window, vocab_size + task) for window in windows([body], context - 1)]
    return marked


def _marked(row: Encoded, token: int) -> Encoded:
    return replace(
        row,
        ids=np.concatenate([np.array([token], dtype=row.ids.dtype), row.ids]),
        weights=np.concatenate([np.zeros(1, dtype=row.weights.dtype), row.weights]),
        answers=np.concatenate([np.zeros(1, dtype=row.answers.dtype), row.answers]),
    )


def task_shares(sizes: Sequence[int], *, temperature: float, most: int) -> npt.NDArray[np.float64]:
    """Share of each task in what is trained on, [K], adding up to 1: min(n, most)^(1/temperature), normalised.

    Raffel et al. 2020 (T5), section 3.5.2. Temperature 1 is proportional to the (limited) sizes; a large one, equal.

    Args:
        sizes: rows of each task.
        temperature: 1 or more.
        most: rows above which a task counts as no larger.
    """
    if not temperature >= 1:
        raise ValueError(f"temperature is {temperature}, expected 1 or more")
    if most < 1 or min(sizes) < 1:
        raise ValueError(f"sizes are {list(sizes)} and most is {most}, expected 1 or more")
    # Over the largest first: a power of the sizes themselves would lose digits before the division.
    limited_K = np.minimum(np.array(sizes, dtype=np.float64), most)
    parts_K = (limited_K / limited_K.max()) ** (1 / temperature)
    shares_K: npt.NDArray[np.float64] = parts_K / parts_K.sum()
    return shares_K


def mixed(
    tasks: Sequence[Sequence[Encoded]],
    *,
    temperature: float,
    most: int,
    weights: Sequence[float],
    balance: float,
    seed: int,
) -> list[Encoded]:
    """The rows that one pass of training goes through, task by task, for `Batches` to put in order.

    Every row is there at least once. The pool is the smallest in which tasks have their `task_shares` of the rows:
    those that get more rows than they have are repeated, as whole copies and a sample drawn by the seed for the rest.
    No row is there more than `MOST_COPIES` times. A task that would need more has 64 times its rows and less than its
    share; the others keep their ratios to each other, and so have a little more than theirs.

    A row's token weights are multiplied by w * (M / m)^balance, with w the task's weight, m the mean over its rows of
    the sum of their token weights, and M that mean over the pool. With `balance` 0 every token counts alike, so that
    tasks of long answers count most; with 1 every row of the pool does, in the mean of its task.

    Copies of a row are one object, and share ids and answers with the row that was given; where a task's factor is 1
    they are that row.

    What weights cannot do: the training loop divides the loss of a step by the sum of its weights, so they shift
    attention between tasks that meet in a step, not between steps that hold one task each. `Batches` sorts by length:
    tasks whose rows differ much in length seldom meet.

    Args:
        tasks: rows of each task, as `of_task` returns them.
        temperature: 1 or more; see `task_shares`.
        most: rows above which a task counts as no larger.
        weights: of each task's loss, 0 or more.
        balance: 0 to 1.
        seed: of the samples.

    Raises:
        DataError: a task has no token to learn from.
    """
    if len(weights) != len(tasks) or not all(0 <= weight < float("inf") for weight in weights):
        raise ValueError(f"weights are {list(weights)}, expected {len(tasks)} numbers of 0 or more")
    if not 0 <= balance <= 1:
        raise ValueError(f"balance is {balance}, expected 0 to 1")
    means_K = np.array([_mean_weight(rows) for rows in tasks])
    if not means_K.all():
        raise DataError(
            "a task has no token to learn from",
            found=f"task {int(means_K.argmin())} with {len(tasks[int(means_K.argmin())])} rows",
            expected="rows with an answer",
        )
    sizes = [len(rows) for rows in tasks]
    counts_K = _counts(sizes, task_shares(sizes, temperature=temperature, most=most))
    factors_K = np.array(weights) * ((counts_K * means_K).sum() / counts_K.sum() / means_K) ** balance
    rng, pool = np.random.default_rng(seed), list[Encoded]()
    for rows, count, factor in zip(tasks, counts_K, factors_K, strict=True):
        scaled = [_scaled(row, float(factor)) for row in rows]
        copies, rest = divmod(int(count), len(rows))
        pool += scaled * copies
        pool += [scaled[row] for row in np.sort(rng.permutation(len(rows))[:rest])]
    return pool


def _mean_weight(rows: Sequence[Encoded]) -> float:
    """Sum of the weights of a row's predicted tokens, in the mean."""
    return sum(float(row.weights[1:].sum(dtype=np.float64)) for row in rows) / max(1, len(rows))


def _counts(sizes: Sequence[int], shares_K: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Rows of each task in the smallest pool that has all of them and keeps the shares, but for the limit."""
    sizes_K = np.array(sizes, dtype=np.int64)
    pool = (sizes_K / shares_K).max()
    counts_K: npt.NDArray[np.int64] = np.clip(np.rint(pool * shares_K), sizes_K, sizes_K * MOST_COPIES).astype(np.int64)
    return counts_K


def _scaled(row: Encoded, factor: float) -> Encoded:
    return row if factor == 1 else replace(row, weights=row.weights * np.float32(factor))
