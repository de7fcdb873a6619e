"""Rendered rows → token ids with a weight for each token → batches that depend on the step alone.

Shapes: B rows, T tokens. `weights_BT[b, t]` is the weight of predicting `ids_BT[b, t]` from what stands before it, so a
loss drops the first column of weights and the last of predictions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from autogpt.data.tokenizers import encode_texts
from autogpt.errors import DataError, ModelError
from autogpt.types import Segment

__all__ = ["Batch", "BatchPlan", "Batches", "Encoded", "Steps", "encode", "encode_all"]

LENGTH_STEP = 16
"""Rows are padded to a multiple of this, so that few shapes occur."""

_Ints = npt.NDArray[np.int32]
_Floats = npt.NDArray[np.float32]
_Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """One row as tokens.

    Attributes:
        ids: [T] token ids, the start token first when the tokenizer has one.
        weights: [T] weight of predicting each token: 1 in answers and on the end token after each, `prompt_weight`
            elsewhere, 0 on the start token.
        id: the example's.
        utf8_bytes: UTF-8 length of the answers that are in `ids`, end tokens not counted.
        answers: [T] whether a token belongs to an answer.
    """

    ids: _Ints
    weights: _Floats
    id: str
    utf8_bytes: int
    answers: _Bools

    def answer_mask(self) -> _Bools:
        """[T] whether a token belongs to an answer, end tokens included; a copy that may be written to."""
        return self.answers.copy()


def encode(
    tokenizer: Any, segments: Sequence[Segment], *, max_tokens: int, prompt_weight: float = 0.0, id: str = ""
) -> Encoded:
    """`encode_all` of one row."""
    return encode_all(tokenizer, [segments], max_tokens=max_tokens, prompt_weight=prompt_weight, ids=[id])[0]


def encode_all(
    tokenizer: Any,
    rows: Sequence[Sequence[Segment]],
    *,
    max_tokens: int,
    prompt_weight: float = 0.0,
    ids: Sequence[str] = (),
) -> list[Encoded]:
    """Rendered rows as tokens: the start token, the segments, the end token after each answer segment.

    Prompt segments that follow one another are tokenised as one text; answers on their own. A row longer than
    `max_tokens` loses the middle of what stands before its last answer, as prompts do when they are answered; a quarter
    of the room is kept for it. Only then is the last answer cut at its end, and such an answer has no end token.

    Args:
        tokenizer: ours or any fast tokenizer of transformers. Without a start token none is put in front.
        rows: segments of each row, as `tasks.templates.render` returns them.
        max_tokens: most tokens of a row, the start token included.
        prompt_weight: weight of predicting prompt tokens; 0 trains on answers alone.
        ids: names of the rows, in order.

    Raises:
        ModelError: the tokenizer has no end token.
        DataError: a text that is not valid Unicode.
    """
    if tokenizer.eos_token_id is None:
        raise ModelError("the tokenizer has no end token", expected="eos_token", todo="choose another base")
    merged = [_merged(segments) for segments in rows]
    encoded = iter(encode_texts(tokenizer, [segment.text for row in merged for segment in row]))
    names = [*ids, *[""] * (len(rows) - len(ids))]
    return [
        _encoded(tokenizer, row, encoded, (max_tokens, prompt_weight), name)
        for row, name in zip(merged, names, strict=True)
    ]


def _merged(segments: Sequence[Segment]) -> list[Segment]:
    merged: list[Segment] = []
    for segment in segments:
        if merged and not segment.is_answer and not merged[-1].is_answer:
            merged[-1] = Segment(merged[-1].text + segment.text, is_answer=False)
        else:
            merged.append(segment)
    return merged


def _encoded(
    tokenizer: Any, segments: Sequence[Segment], encoded: Iterator[list[int]], limits: tuple[int, float], name: str
) -> Encoded:
    max_tokens, prompt_weight = limits
    start = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    pieces = [next(encoded) + [tokenizer.eos_token_id] * segment.is_answer for segment in segments]
    ids = np.array([token for piece in pieces for token in piece], dtype=np.int32)
    answers = np.repeat([segment.is_answer for segment in segments], [len(piece) for piece in pieces]).astype(np.bool_)
    weights = np.where(answers, np.float32(1.0), np.float32(prompt_weight)).astype(np.float32)
    utf8_bytes = sum(len(segment.text.encode("utf-8")) for segment in segments if segment.is_answer)
    room = max(max_tokens - len(start), 1)
    if len(ids) > room:
        last = len(pieces[-1]) if segments[-1].is_answer else 0
        kept, joint = _kept(len(ids) - last, last, room)
        if joint:
            weights[kept[joint]] = 0.0  # what stands before it now is not what it followed
        ids, answers, weights = ids[kept], answers[kept], weights[kept]
        utf8_bytes = _answer_bytes(tokenizer, ids, answers)
    head = len(start)
    return Encoded(
        ids=np.concatenate([np.array(start, dtype=np.int32), ids]),
        weights=np.concatenate([np.zeros(head, dtype=np.float32), weights]),
        id=name,
        utf8_bytes=utf8_bytes,
        answers=np.concatenate([np.zeros(head, dtype=np.bool_), answers]),
    )


def _kept(before: int, last: int, room: int) -> tuple[npt.NDArray[np.int64], int]:
    """(positions that stay, where among them the cut closes) of `before` tokens and a last answer of `last`."""
    context = max(room - last, min(before, room // 4)) if last else room
    tail_end = before + min(last, room - context)
    if context >= before:
        return np.arange(before + min(last, room - before)), 0
    head = context // 2
    return np.concatenate([np.arange(head), np.arange(before - (context - head), tail_end)]), head


def _answer_bytes(tokenizer: Any, ids: _Ints, answers: _Bools) -> int:
    """UTF-8 bytes of the answer tokens that were kept; half a character at a cut does not count."""
    kept = [int(token) for token in ids[answers] if token != tokenizer.eos_token_id]
    text = tokenizer.decode(kept, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    return len(text.strip("\ufffd").encode("utf-8"))


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """How rows become batches.

    Attributes:
        tokens_per_step: padded tokens of one step, as near as whole rows allow and not more (one row may be more).
        context: width of packed rows; supervised rows were cut to it when they were encoded.
        packed: join all rows to one stream and cut it into full rows (plain continuation), rather than pad each.
        seed: of the order.
    """

    tokens_per_step: int
    context: int
    packed: bool
    seed: int


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """One step's rows, padded on the right.

    Attributes:
        ids_BT: token ids.
        labels_BT: the same ids, unshifted, -100 where the weight is 0, as transformers' models take them.
        weights_BT: weight of predicting each token; the first column is 0.
        attention_mask_BT: 1 on tokens, 0 on padding.
        tokens: tokens that are not padding.
        answer_tokens: tokens that are predicted with a weight above 0.
    """

    ids_BT: torch.Tensor
    labels_BT: torch.Tensor
    weights_BT: torch.Tensor
    attention_mask_BT: torch.Tensor
    tokens: int
    answer_tokens: int

    def rows(self, first: int, last: int) -> Batch:
        """Rows `first` up to, not including, `last`, at the same width."""
        parts = (self.ids_BT, self.labels_BT, self.weights_BT, self.attention_mask_BT)
        ids_BT, labels_BT, weights_BT, mask_BT = (part[first:last] for part in parts)
        return Batch(ids_BT, labels_BT, weights_BT, mask_BT, int(mask_BT.sum()), int((weights_BT > 0).sum()))

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on `device`."""
        parts = (self.ids_BT, self.labels_BT, self.weights_BT, self.attention_mask_BT)
        ids_BT, labels_BT, weights_BT, mask_BT = (part.to(device) for part in parts)
        return Batch(ids_BT, labels_BT, weights_BT, mask_BT, self.tokens, self.answer_tokens)


class Steps(Protocol):
    """What the training loop wants of its data: the batch of any step, whenever it is asked for."""

    steps_per_epoch: int

    def batch(self, step: int) -> Batch:
        """The batch of `step`, counted from 0 over all epochs; the same one whenever it is asked for."""
        ...


class Batches:
    """All steps of all epochs, reached by number: the same rows, plan and step give the same batch, always.

    Padded rows: an epoch's rows are sorted by padded length, rows of one length in an order drawn by seed and epoch,
    cut into steps, and the steps shuffled. Each epoch has every row once and the same number of steps. Which rows of a
    rare length meet in a step hardly changes from epoch to epoch: the price of little padding and of epochs of one
    length.

    Packed rows: the rows, in an order drawn by seed and epoch, are joined and cut into rows of `context` that overlap
    by one token, so that every token but the very first is predicted once an epoch. The last step may have fewer rows.
    Attention is not stopped at the seam between two documents; the start token marks it.

    Args:
        rows: encoded rows. Padded rows without any weight teach nothing and are passed over (`skipped` counts them).
        plan: how to batch.
        pad_id: token id of padding.

    Raises:
        DataError: no row has a token to learn from.
    """

    def __init__(self, rows: Sequence[Encoded], plan: BatchPlan, pad_id: int) -> None:
        useful = [row for row in rows if (row.weights[1:] > 0).any()]
        if not useful:
            raise DataError(
                "no row has a token to learn from", found=f"{len(rows)} rows", expected="rows with an answer"
            )
        self.plan, self.pad_id = plan, pad_id
        self.skipped = 0 if plan.packed else len(rows) - len(useful)
        self._rows = list(rows) if plan.packed else useful
        self._lengths = np.array([len(row.ids) for row in self._rows], dtype=np.int64)
        if plan.packed:
            self._width = max(2, min(plan.context, int(_rounded_up(self._lengths.sum()))))
            self._chunks = max(1, -(-(int(self._lengths.sum()) - 1) // (self._width - 1)))
            self._per_step = max(1, plan.tokens_per_step // self._width)
            self.steps_per_epoch = -(-self._chunks // self._per_step)
        else:
            self._widths = np.maximum(np.minimum(_rounded_up(self._lengths), plan.context), self._lengths)
            self._cuts = self._step_cuts()
            self.steps_per_epoch = len(self._cuts) - 1
        self._epoch = -1
        self._order: npt.NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self._steps: npt.NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self._stream: tuple[_Ints, _Floats] = (np.zeros(0, dtype=np.int32), np.zeros(0, dtype=np.float32))

    def __len__(self) -> int:
        """Steps of one epoch."""
        return self.steps_per_epoch

    def batch(self, step: int) -> Batch:
        """The batch of `step`, counted from 0 over all epochs."""
        if step < 0:
            raise ValueError(f"step is {step}, expected 0 or more")
        epoch, place = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            self._plan_epoch(epoch)
        if self.plan.packed:
            chunks = self._steps[place * self._per_step : (place + 1) * self._per_step]
            return self._packed(chunks)
        which = int(self._steps[place])
        return self._padded(self._order[self._cuts[which] : self._cuts[which + 1]])

    def _step_cuts(self) -> list[int]:
        """Where the rows, longest first, are cut into steps. Depends on the lengths alone, hence on no epoch."""
        widths = np.sort(self._widths)[::-1]
        cuts = [0]
        while cuts[-1] < len(widths):
            fit = max(1, self.plan.tokens_per_step // int(widths[cuts[-1]]))
            cuts.append(min(cuts[-1] + fit, len(widths)))
        return cuts

    def _plan_epoch(self, epoch: int) -> None:
        rng = np.random.default_rng([self.plan.seed, epoch])
        order = rng.permutation(len(self._rows))
        if self.plan.packed:
            self._steps = rng.permutation(self._chunks)
            self._stream = (
                np.concatenate([self._rows[row].ids for row in order]),
                np.concatenate([self._rows[row].weights for row in order]),
            )
        else:
            self._order = order[np.argsort(-self._widths[order], kind="stable")]
            self._steps = rng.permutation(self.steps_per_epoch)
        self._epoch = epoch

    def _padded(self, rows: npt.NDArray[np.int64]) -> Batch:
        chosen = [self._rows[row] for row in rows]
        return self._batch([(row.ids, row.weights) for row in chosen], int(self._widths[rows].max()))

    def _packed(self, chunks: npt.NDArray[np.int64]) -> Batch:
        ids, weights = self._stream
        starts = [int(chunk) * (self._width - 1) for chunk in chunks]
        return self._batch([(ids[at : at + self._width], weights[at : at + self._width]) for at in starts], self._width)

    def _batch(self, rows: Sequence[tuple[_Ints, _Floats]], width: int) -> Batch:
        ids = np.full((len(rows), width), self.pad_id, dtype=np.int64)
        weights = np.zeros((len(rows), width), dtype=np.float32)
        mask = np.zeros((len(rows), width), dtype=np.int64)
        for place, (row_ids, row_weights) in enumerate(rows):
            ids[place, : len(row_ids)] = row_ids
            weights[place, : len(row_ids)] = row_weights
            mask[place, : len(row_ids)] = 1
        weights[:, 0] = 0.0  # nothing stands before it
        labels = np.where(weights > 0, ids, -100)
        return Batch(
            ids_BT=torch.from_numpy(ids),
            labels_BT=torch.from_numpy(labels),
            weights_BT=torch.from_numpy(weights),
            attention_mask_BT=torch.from_numpy(mask),
            tokens=int(mask.sum()),
            answer_tokens=int((weights > 0).sum()),
        )


def _rounded_up(lengths: Any) -> Any:
    return -(-lengths // LENGTH_STEP) * LENGTH_STEP
