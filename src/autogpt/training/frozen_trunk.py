"""Training the last blocks of a base: what the frozen blocks below them say of a row is computed once and kept.

Of a base whose lower blocks (the trunk) stay as they are, a row's hidden states above the trunk never change. They are
computed when the first epoch comes to the row, kept in bf16, and from the second epoch on a step costs only the blocks
that are trained and the head. The model in training is the whole one all the time: it is scored and saved as ever.

    freeze_trunk(model, 2)                          # what is trained: the last two blocks, the last norm, a free head
    batches = TrunkBatches(rows, plan, pad_id, model=model, top=2, keep=Keep(limit_bytes=2**31))
    objective = TopObjective(model, 2)              # for the one training loop

Shapes: B rows, T tokens, D hidden width, N tokens of all rows.

What this file does not do: keep hidden states on disk, or for adapters inside the trunk; the gradient of the trunk.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from autogpt.data.batching import Batch, Batches, BatchPlan, Encoded
from autogpt.errors import ModelError, TrainingError
from autogpt.models.gpt import GPT, GPTModel
from autogpt.training.objectives import weighted_loss_of

__all__ = ["Keep", "TopObjective", "TrunkBatch", "TrunkBatches", "freeze_trunk", "store_bytes"]


def freeze_trunk(model: Any, top: int) -> Any:
    """`model` with only its last `top` blocks, the last norm and a head of its own trained; in place.

    A head that is tied to the embeddings stays frozen with them: what the trunk says must not change. Without any block
    to train, though, it becomes a head of its own: a linear probe.

    Args:
        top: from 0 to the number of blocks.

    Raises:
        ModelError: more blocks than there are, or a model whose blocks are not found.
    """
    inner = getattr(model, "base_model", None)
    blocks, norm = getattr(inner, "layers", None), getattr(inner, "norm", None)
    if not isinstance(blocks, nn.ModuleList) or norm is None:
        raise ModelError(
            "the last blocks of this base cannot be trained alone",
            found=type(model).__name__,
            expected="blocks called layers and a norm, as Llama has them",
            todo="choose the method full or lora",
        )
    if not 0 <= top <= len(blocks):
        raise ModelError(f"the last {top} blocks cannot be trained", expected=f"0 to {len(blocks)} blocks")
    model.requires_grad_(False)
    for part in (*blocks[len(blocks) - top :], norm):
        part.requires_grad_(True)
    head = model.get_output_embeddings()
    if top == 0 and head.weight is model.get_input_embeddings().weight:
        head.weight = nn.Parameter(head.weight.detach().clone())
        model.config.tie_word_embeddings = False
    if head.weight is not model.get_input_embeddings().weight:
        head.requires_grad_(True)
    return model


def store_bytes(tokens: int, width: int, dtype: torch.dtype = torch.bfloat16) -> int:
    """Bytes of the hidden states of `tokens` tokens."""
    return tokens * width * dtype.itemsize


@dataclass(frozen=True, slots=True)
class Keep:
    """How hidden states are computed and kept.

    Attributes:
        limit_bytes: most bytes that they may take.
        precision: "bf16" computes the trunk under autocast, as the loop computes the rest.
        dtype: in which they are kept.
    """

    limit_bytes: int
    precision: str = "fp32"
    dtype: torch.dtype = torch.bfloat16


@dataclass(frozen=True, slots=True, eq=False)
class TrunkBatch(Batch):
    """A batch with the hidden states above the trunk, [B, T, D]; zeros at padding, where nobody looks."""

    hidden_BTD: torch.Tensor

    def rows(self, first: int, last: int) -> TrunkBatch:
        """Rows `first` up to, not including, `last`, at the same width."""
        return _with_hidden(Batch.rows(self, first, last), self.hidden_BTD[first:last])

    def to(self, device: torch.device | str) -> TrunkBatch:
        """The same batch on `device`."""
        return _with_hidden(Batch.to(self, device), self.hidden_BTD.to(device))


def _with_hidden(batch: Batch, hidden_BTD: torch.Tensor) -> TrunkBatch:
    return TrunkBatch(
        batch.ids_BT,
        batch.labels_BT,
        batch.weights_BT,
        batch.attention_mask_BT,
        batch.tokens,
        batch.answer_tokens,
        hidden_BTD,
    )


class TrunkBatches(Batches):
    """`Batches` whose batches carry the hidden states above the trunk, computed when a row is first met and then kept.

    They are computed in the batches of epoch 0, whichever step asks for them, so that a resumed run holds the same bits
    as an unbroken one. Packed rows are cut from one stream in the order of epoch 0, in all epochs; the order in which
    they are seen still changes.

    Args:
        rows: encoded rows, as for `Batches`.
        plan: how to batch.
        pad_id: token id of padding.
        model: a GPT whose trunk was frozen by `freeze_trunk`.
        top: blocks above the trunk.
        keep: how the hidden states are computed and kept.

    Raises:
        ModelError: a model whose upper blocks need more than the hidden states (see `_part`).
        TrainingError: the hidden states would take more bytes than `keep` allows.
    """

    def __init__(
        self,
        rows: Sequence[Encoded],
        plan: BatchPlan,
        pad_id: int,
        *,
        model: Any,
        top: int,
        keep: Keep,
    ) -> None:
        super().__init__(rows, plan, pad_id)
        dtype, limit_bytes = keep.dtype, keep.limit_bytes
        sizes = np.full(self._chunks, self._width) if plan.packed else self._lengths
        width = model.config.hidden_size
        needed = store_bytes(int(sizes.sum()), width, dtype)
        if needed > limit_bytes:
            raise TrainingError(
                "the hidden states of the training rows do not fit into memory",
                found=f"{int(sizes.sum())} tokens of width {width}: {needed / 2**20:.0f} MiB",
                expected=f"at most {limit_bytes / 2**20:.0f} MiB",
                todo="use fewer rows (data.max_rows) or another method (search.space.method)",
            )
        self._trunk = _trunk(model, top)
        self._precision = keep.precision
        self._device = model.device
        self._starts = np.concatenate([[0], np.cumsum(sizes)])
        # Pages of memory that were never written cost nothing: the store grows with the rows that were met.
        self._store_ND = torch.empty(int(self._starts[-1]), width, dtype=dtype)
        self._groups = self._groups_of_epoch_0()
        self._group_of = np.zeros(len(sizes), dtype=np.int64)
        for number, group in enumerate(self._groups):
            self._group_of[group] = number
        self._filled = np.zeros(len(self._groups), dtype=np.bool_)

    def rebound(self, model: Any, top: int) -> TrunkBatches:
        """These batches, computed from now on by the equal trunk of `model`, so that an earlier model can be freed."""
        self._trunk = _trunk(model, top)
        return self

    def _groups_of_epoch_0(self) -> list[npt.NDArray[np.int64]]:
        """Rows (or, of a packed stream, chunks) of each batch of epoch 0."""
        self._plan_epoch(0)
        if not self.plan.packed:
            return [self._order[a:b] for a, b in zip(self._cuts[:-1], self._cuts[1:], strict=True)]
        self._first_stream = self._stream
        return [self._steps[a : a + self._per_step] for a in range(0, self._chunks, self._per_step)]

    def _plan_epoch(self, epoch: int) -> None:
        super()._plan_epoch(epoch)
        if self.plan.packed and epoch:
            self._stream = self._first_stream

    def _padded(self, rows: npt.NDArray[np.int64]) -> Batch:
        return self._carrying(super()._padded(rows), rows)

    def _packed(self, chunks: npt.NDArray[np.int64]) -> Batch:
        return self._carrying(super()._packed(chunks), chunks)

    def _carrying(self, batch: Batch, places: npt.NDArray[np.int64]) -> TrunkBatch:
        for group in np.unique(self._group_of[places]):
            if not self._filled[group]:
                self._fill(int(group))
        hidden_BTD = self._store_ND.new_zeros(*batch.ids_BT.shape, self._store_ND.shape[1])
        for row, place in enumerate(places):
            kept_TD = self._store_ND[self._starts[place] : self._starts[place + 1]]
            hidden_BTD[row, : len(kept_TD)] = kept_TD
        return _with_hidden(batch, hidden_BTD)

    @torch.no_grad()
    def _fill(self, number: int) -> None:
        places = self._groups[number]
        plain = Batches._packed(self, places) if self.plan.packed else Batches._padded(self, places)
        self._trunk.eval()
        device = torch.device(self._device).type
        with torch.autocast(device, torch.bfloat16, enabled=self._precision == "bf16"):
            hidden_BTD = self._trunk(input_ids=plain.ids_BT.to(self._device), use_cache=False).last_hidden_state
        for row, place in enumerate(places):
            first, last = self._starts[place], self._starts[place + 1]
            self._store_ND[first:last] = hidden_BTD[row, : last - first].to("cpu", self._store_ND.dtype)
        self._filled[number] = True


class TopObjective:
    """`weighted_token_loss` of a `TrunkBatch`: the hidden states go through the trained blocks and the head alone.

    Its loss, and the gradient of everything that is trained, are those of the whole model with a frozen trunk (up to
    the rounding of the kept hidden states).
    """

    def __init__(self, model: Any, top: int) -> None:
        blocks = len(model.base_model.layers)
        self._top = _part(model, blocks - top, blocks)

    def __call__(self, model: Any, batch: Batch) -> torch.Tensor:
        assert isinstance(batch, TrunkBatch)
        self._top.train(model.training)
        x_BTD = batch.hidden_BTD.to(model.dtype)
        hidden_BTD = self._top(inputs_embeds=x_BTD, use_cache=False).last_hidden_state
        return weighted_loss_of(model, hidden_BTD, batch)


def _trunk(model: Any, top: int) -> GPTModel:
    """The blocks of `model` below its last `top` ones."""
    trunk = _part(model, 0, len(model.base_model.layers) - top)
    trunk.norm = nn.Identity()
    return trunk


def _part(model: Any, first: int, last: int) -> GPTModel:
    """A GPTModel made of the blocks `first` up to `last` of `model`, sharing its modules.

    Raises ModelError where the blocks read more than the hidden states and the positions.
    """
    config = getattr(model, "config", None)
    if not isinstance(model, GPT) or config is None:
        raise ModelError("hidden states can be kept for a GPT or a Llama only", found=type(model).__name__)
    if config.position != "rope" or config.dropout or config.value_embeddings or config.residual_scalars:
        raise ModelError(
            "hidden states cannot be kept for this GPT",
            expected="rotary positions, no dropout, no value embeddings and no residual scalars",
        )
    with torch.device("meta"):
        part = GPTModel(config)
    part.embed_tokens, part.rotary, part.norm = model.model.embed_tokens, model.model.rotary, model.model.norm
    part.layers = model.model.layers[first:last]
    return part
