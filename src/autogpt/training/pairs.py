"""Pairs of rows that are read in one step: a better and a worse answer, or a prompt with its own and another's answer.

Shapes: B pairs, T tokens (one row of a `PairBatch` holds both rows of a pair), N pairs of a data set.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from autogpt.data.batching import LENGTH_STEP, Batch, Batches, BatchPlan, Encoded, encode_all
from autogpt.errors import DataError
from autogpt.tasks.spec import TaskSpec
from autogpt.tasks.templates import render
from autogpt.training.objectives import tensors_of
from autogpt.types import Example

__all__ = ["Pair", "PairBatch", "PairBatches", "last_answer", "mismatched_pairs", "preference_pairs"]


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """Two rows that are read in one step.

    Attributes:
        first: the answer that is judged; for DPO the chosen one.
        second: for DPO the rejected answer to the same prompt; for KTO the same prompt with another row's answer.
        good: whether `first` is an answer to learn (only KTO has others).
    """

    first: Encoded
    second: Encoded
    good: bool = True


def preference_pairs(
    spec: TaskSpec, examples: Sequence[Example], tokenizer: Any, *, context: int, prompt_weight: float = 0.0
) -> list[Pair]:
    """Chosen and rejected answer of each example that has both, rendered and encoded as everywhere.

    Args:
        context: most tokens of either row.
        prompt_weight: weight of the prompt's tokens in the likelihood term of an objective.
    """
    both = [example for example in examples if example.target is not None and example.rejected is not None]
    worse = [replace(e, target=e.rejected, references=(str(e.rejected),)) for e in both]
    rows = [render(spec, example, answer=True) for example in [*both, *worse]]
    names = [example.id for example in [*both, *worse]]
    encoded = encode_all(tokenizer, rows, max_tokens=context, prompt_weight=prompt_weight, ids=names)
    return [Pair(first, second) for first, second in zip(encoded[: len(both)], encoded[len(both) :], strict=True)]


def mismatched_pairs(
    spec: TaskSpec, judged: Sequence[tuple[Example, bool]], tokenizer: Any, *, context: int, prompt_weight: float = 0.0
) -> list[Pair]:
    """What KTO learns from: each answer, and beside it the same prompt with the answer of the row after it.

    The second rows estimate how far the model has moved from the reference whatever it is asked (see `KTO`).

    Args:
        judged: examples with their answer in `target`, and whether that answer is good. The order matters only in that
            neighbours should not answer the same prompt.
    """
    own = [example for example, _ in judged]
    others = [replace(e, target=own[(i + 1) % len(own)].target, references=()) for i, e in enumerate(own)]
    rows = [render(spec, example, answer=True) for example in [*own, *others]]
    names = [example.id for example in [*own, *others]]
    encoded = encode_all(tokenizer, rows, max_tokens=context, prompt_weight=prompt_weight, ids=names)
    return [
        Pair(first, second, good)
        for first, second, (_, good) in zip(encoded[: len(own)], encoded[len(own) :], judged, strict=True)
    ]


def last_answer(row: Encoded) -> npt.NDArray[np.bool_]:
    """[T] whether a token belongs to the last answer, its end token included; earlier turns stand in both rows."""
    mask = np.zeros(len(row.ids), dtype=np.bool_)
    prompt = np.flatnonzero(~row.answers)
    mask[prompt[-1] + 1 if len(prompt) else 0 :] = True
    mask[0] = False  # nothing stands before it
    return mask


# --- batches ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class PairBatch(Batch):
    """A step's pairs. Each row holds a pair: the first row padded to half the width, then the second one.

    So a slice of the batch never parts a pair, and a step's padded tokens are counted as they are.

    Attributes:
        weights_BT: share of each token in the mean loss of the pair's first row: sums to 1 for each pair, 0 in second
            halves. The loop divides by the sum of the weights, which is the number of pairs.
        answers_BT: whether a token belongs to the answer that is compared.
        reference_B2: log-probability in nats of both answers under the reference.
        good_B: whether the first row is an answer to learn.
    """

    answers_BT: torch.Tensor
    reference_B2: torch.Tensor
    good_B: torch.Tensor

    def rows(self, first: int, last: int) -> PairBatch:
        """Pairs `first` up to, not including, `last`, at the same width."""
        parts = {name: value[first:last] for name, value in tensors_of(self).items()}
        tokens, answer_tokens = int(parts["attention_mask_BT"].sum()), int(parts["answers_BT"].sum())
        return replace(self, **parts, tokens=tokens, answer_tokens=answer_tokens)

    def to(self, device: torch.device | str) -> PairBatch:
        """The same batch on `device`."""
        parts = {name: value.to(device) for name, value in tensors_of(self).items()}
        return replace(self, **parts)


class PairBatches(Batches):
    """`Batches` whose rows are pairs: both rows of a pair stand in the same step, always.

    Args:
        pairs: what is compared. A pair whose prompt left no room for one of its answers is passed over.
        reference_N2: see `reference_logs` and `uniform_logs`; one row for each of `pairs`.
        plan: how to batch; `tokens_per_step` counts both rows of a pair. Packing is meaningless here and ignored.
        pad_id: token id of padding.

    Raises:
        DataError: no pair is left.
    """

    def __init__(self, pairs: Sequence[Pair], reference_N2: torch.Tensor, plan: BatchPlan, pad_id: int) -> None:
        if len(pairs) != len(reference_N2):
            raise ValueError(f"{len(reference_N2)} reference values for {len(pairs)} pairs")
        kept = [place for place, pair in enumerate(pairs) if last_answer(pair.first).any() and _teaches(pair)]
        if not kept:
            raise DataError(
                "no row has two answers to compare",
                found=f"{len(pairs)} pairs",
                expected="rows with a chosen and a rejected answer",
            )
        self._pairs = [pairs[place] for place in kept]
        self._reference_N2 = reference_N2[kept].float().cpu()
        super().__init__([_stand_in(pair) for pair in self._pairs], replace(plan, packed=False), pad_id)
        self.skipped = len(pairs) - len(kept)

    def _padded(self, rows: npt.NDArray[np.int64]) -> PairBatch:
        half = int(self._widths[rows].max()) // 2
        shape = (len(rows), 2, half)
        ids, mask = np.full(shape, self.pad_id, dtype=np.int64), np.zeros(shape, dtype=np.int64)
        weights, answers = np.zeros(shape, dtype=np.float32), np.zeros(shape, dtype=np.bool_)
        chosen = [self._pairs[row] for row in rows]
        for place, pair in enumerate(chosen):
            for side, row in enumerate((pair.first, pair.second)):
                ids[place, side, : len(row.ids)], mask[place, side, : len(row.ids)] = row.ids, 1
                answers[place, side, : len(row.ids)] = last_answer(row)
            taught = pair.first.weights[1:]
            weights[place, 0, 1 : len(taught) + 1] = taught / taught.sum()
        ids_BT, mask_BT, weights_BT, answers_BT = (
            torch.from_numpy(part.reshape(len(rows), 2 * half)) for part in (ids, mask, weights, answers)
        )
        return PairBatch(
            ids_BT=ids_BT,
            labels_BT=torch.where(answers_BT, ids_BT, -100),
            weights_BT=weights_BT,
            attention_mask_BT=mask_BT,
            tokens=int(mask.sum()),
            answer_tokens=int(answers.sum()),
            answers_BT=answers_BT,
            reference_B2=self._reference_N2[torch.from_numpy(rows)],
            good_B=torch.tensor([pair.good for pair in chosen]),
        )


def _teaches(pair: Pair) -> bool:
    return bool(last_answer(pair.second).any() and pair.first.weights[1:].any())


def _stand_in(pair: Pair) -> Encoded:
    """A row as long as both padded rows of `pair`, by which the order of the pairs is planned."""
    half = -(-max(len(pair.first.ids), len(pair.second.ids)) // LENGTH_STEP) * LENGTH_STEP
    ids, weights = np.zeros(2 * half, dtype=np.int32), np.ones(2 * half, dtype=np.float32)
    return Encoded(ids, weights, pair.first.id, pair.first.utf8_bytes, weights > 0)
