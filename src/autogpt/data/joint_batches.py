"""Steps that hold rows of every task, and such a step in parts of about one length, so that little of it is padding."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from autogpt.data.batching import LENGTH_STEP, Batch, Batches, BatchPlan, Encoded

__all__ = ["JointBatches", "narrowed", "of_rows"]

_PASS_TOKENS = 1024
"""Padding that a part of its own must save: a pass through a small model costs as much as some hundred tokens."""


class JointBatches(Batches):
    """`Batches` whose steps have the same share of each task's tokens, as near as whole rows allow.

    The loss of a step is a mean over its tokens. Were the rows cut into steps by length alone, tasks of different
    lengths would seldom meet: each step would be of one task, its weight would cancel out, and gradients of two tasks
    would never be there to be compared. So each task's rows are cut into as many pieces of equal size as there are
    steps, by length, and each step takes one piece of each task, long ones with long ones, in an order drawn by seed
    and epoch. A step is as wide
    as its longest row; `narrowed` undoes that.

    Args:
        rows: begin with the token of their task, as those of `mixing.mixed`; padded, never packed.
        plan, pad_id: as in `Batches`.
    """

    def __init__(self, rows: Sequence[Encoded], plan: BatchPlan, pad_id: int) -> None:
        super().__init__(rows, plan, pad_id)
        self._tasks = np.array([row.ids[0] for row in self._rows])
        self.steps_per_epoch = min(len(self._rows), max(1, round(int(self._widths.sum()) / plan.tokens_per_step)))
        self._rows_of: list[npt.NDArray[np.int64]] = []

    def batch(self, step: int) -> Batch:
        if step < 0:
            raise ValueError(f"step is {step}, expected 0 or more")
        epoch, place = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            self._plan_epoch(epoch)
        return self._padded(self._rows_of[place])

    def _plan_epoch(self, epoch: int) -> None:
        rng = np.random.default_rng([self.plan.seed, epoch])
        found: list[list[npt.NDArray[np.int64]]] = [[] for _ in range(self.steps_per_epoch)]
        order = rng.permutation(self.steps_per_epoch)
        for task in np.unique(self._tasks):
            rows = np.flatnonzero(self._tasks == task)
            rows = rows[rng.permutation(len(rows))]
            rows = rows[np.argsort(-self._widths[rows], kind="stable")]
            ends = np.cumsum(self._widths[rows])
            piece = ((ends - self._widths[rows] / 2) / ends[-1] * self.steps_per_epoch).astype(np.int64)
            cuts = np.searchsorted(piece, np.arange(1, self.steps_per_epoch))
            for step, part in zip(order, np.split(rows, cuts), strict=True):
                found[step].append(part)
        # A task with fewer rows than steps leaves steps without it; one without any row is no step.
        filled = [np.concatenate(parts) for parts in found]
        spare = [part for part in filled if len(part)]
        self._rows_of = [part if len(part) else spare[step % len(spare)] for step, part in enumerate(filled)]
        self._epoch = epoch


def narrowed(batch: Batch) -> list[Batch]:
    """The rows of a batch in parts, each as wide as its own longest row; one part where that would save little.

    Every row is in one part, longest first.
    """
    lengths_B = batch.attention_mask_BT.sum(-1)
    order_B = lengths_B.argsort(descending=True, stable=True)
    ranked = lengths_B[order_B].tolist()
    cuts = [0]
    for place, length in enumerate(ranked):
        if (ranked[cuts[-1]] - length) * (len(ranked) - place) >= _PASS_TOKENS:
            cuts.append(place)
    return [of_rows(batch, order_B[a:b]) for a, b in zip(cuts, [*cuts[1:], len(ranked)], strict=True)]


def of_rows(batch: Batch, rows_N: torch.Tensor) -> Batch:
    """Some rows of a batch, without the columns that only longer rows need."""
    longest = int(batch.attention_mask_BT[rows_N].sum(-1).max())
    width = min(batch.ids_BT.shape[1], -(-longest // LENGTH_STEP) * LENGTH_STEP)
    parts = (batch.ids_BT, batch.labels_BT, batch.weights_BT, batch.attention_mask_BT)
    ids_BT, labels_BT, weights_BT, mask_BT = (part[rows_N, :width] for part in parts)
    return Batch(ids_BT, labels_BT, weights_BT, mask_BT, int(mask_BT.sum()), int((weights_BT > 0).sum()))
