"""What a model has read of a batch: the cache, which of it each row may see, and what the model expects next.

Rows are padded on the left, so that all of them end in the same column of the cache. A row that fills the context is
read again from the start: its first tokens, which attention leans on whatever they are (Xiao et al. 2023, "Efficient
streaming language models with attention sinks"), and the last half of the context. What one row does never depends on
what others do, but for rounding.

Shapes: B rows, T tokens of a call, S columns of the cache, V vocabulary, R rows read again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from autogpt.generation.gpt_step import GPTStep, Place, Tail
from autogpt.generation.kv_cache import RoomyCache, roomy_cache
from autogpt.generation.rows import left_padded, positions_of

__all__ = ["KEPT_FIRST_TOKENS", "Follower", "Reader", "Reading", "shortened"]

KEPT_FIRST_TOKENS = 4
"""Tokens at a row's beginning that are read again when its context is full (as many as Xiao et al. found enough)."""

_FIRST_ROOM_TOKENS = 256
"""Tokens to come that the cache has room for at first."""


class Follower(Protocol):
    """Something that follows what is written, such as a mechanism that adapts to it. Called without gradients.

    Rows are numbers of prompts. One that has ended stays until it leaves the batch, and reads end tokens.

    Attributes:
        tail: makes the scores of one token a row where the model's own modules are not run; None to leave them alone.
        hooked: modules that it listens to while the modules are run.
    """

    @property
    def tail(self) -> Tail | None: ...

    @property
    def hooked(self) -> Collection[Any]: ...

    def about_to_read(self, rows: list[int]) -> None:
        """The model's next pass holds these rows, in this order."""

    def has_read(self, rows: list[int], tokens_B: Tensor | None) -> None:
        """That pass is over.

        Args:
            tokens_B: one more token of each row; None for prompts. When the context was full the pass over what is
                read again follows unheard, but for `about_to_read`.
        """


@dataclass(frozen=True, slots=True)
class Reader:
    """A model, and how it is run.

    Attributes:
        model: any causal language model of transformers.
        context: most tokens that a row of the cache holds.
        pad_id: stands where a row has no token; never seen.
        device: of the model.
        half: whether prompts are read under bf16 autocast.
    """

    model: Any
    context: int
    pad_id: int
    device: torch.device
    half: bool = False

    @contextmanager
    def forward(self) -> Iterator[None]:
        """Without gradients, in the precision of prompts."""
        with torch.inference_mode(), torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
            yield

    def padded(self, rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """Ids padded on the left and their bool mask, both [B, T]."""
        ids_BT, mask_BT = left_padded(rows, self.pad_id)
        return ids_BT.to(self.device), mask_BT.to(self.device)


def shortened(ids: list[int], context: int) -> list[int]:
    """The first tokens and the last half of the context: what is read again when a row has no room left."""
    first = min(KEPT_FIRST_TOKENS, context // 4)
    return ids[:first] + ids[-max(1, context // 2) :]


class Reading:
    """A batch as far as a model has read it.

    Args:
        reader: the model.
        prompts: token ids of each row, at least one and at most the context.
        names: numbers of the rows, for the follower.
        arguments: tensors with a first dimension B that every forward pass is given.
        follower: is told of each pass.
        plain: always run the model itself, never the short way that gives its scores alone.

    Attributes:
        names: numbers of the rows still in the batch.
        logits_BV: scores of the token that follows each row; float32 or the model's type.
    """

    def __init__(
        self,
        reader: Reader,
        prompts: Sequence[Sequence[int]],
        names: Sequence[int],
        arguments: Mapping[str, Tensor] | None = None,
        follower: Follower | None = None,
        *,
        plain: bool = False,
    ) -> None:
        self.names = list(names)
        self._reader, self._follower = reader, follower
        self._arguments = {name: value.to(reader.device) for name, value in (arguments or {}).items()}
        self._held = [list(prompt) for prompt in prompts]
        self._wanted: dict[str, Any] = self._wishes()
        self._fast: GPTStep | None = None
        tail, hooked = (None, ()) if follower is None else (follower.tail, follower.hooked)
        if not plain and not self._arguments and GPTStep.fits(reader.model, hooked):
            self._fast = GPTStep(reader.model, reader.context, tail)
        self._start()
        if follower is not None:
            follower.has_read(list(self.names), None)

    def _wishes(self) -> dict[str, Any]:
        """Further options of every forward pass; for readings that need more than scores."""
        return {}

    def _start(self) -> None:
        self.logits_BV, self._cache = self._pass(range(len(self._held)), self._arguments)
        self._lay_out()

    def _pass(self, places: Sequence[int], arguments: Mapping[str, Tensor]) -> tuple[Tensor, Any]:
        """Read these rows of the batch from nothing: scores of what follows [B, V], and their cache."""
        rows = [self._held[place] for place in places]
        self._announce(places)
        ids_BT, mask_BT = self._reader.padded(rows)
        options: dict[str, Any] = {}
        if len(set(map(len, rows))) > 1:
            positions_BT = positions_of(mask_BT)
            options = {"attention_mask": mask_BT, "position_ids": positions_BT}
        room = min(ids_BT.shape[1] + _FIRST_ROOM_TOKENS, self._reader.context)
        cache = roomy_cache(self._reader.model.config, room)
        with self._reader.forward():
            options |= {"past_key_values": cache, "use_cache": True, "logits_to_keep": 1, **self._wanted}
            out = self._reader.model(input_ids=ids_BT, **options, **arguments)
            self._take_states(out, mask_BT)
        return out.logits[:, -1], out.past_key_values

    def _announce(self, places: Sequence[int]) -> None:
        if self._follower is not None:
            self._follower.about_to_read([self.names[place] for place in places])

    def _take_states(self, out: Any, mask_BT: Tensor) -> None:
        """Keep what was asked for in `_wishes`."""

    def _lay_out(self) -> None:
        """Positions and mask, after rows or columns of the cache have changed."""
        lengths = [len(held) for held in self._held]
        self._longest = max(lengths)
        self._columns = max(self._longest, int(self._cache.get_seq_length()))
        if isinstance(self._cache, RoomyCache) and self._columns > self._longest:
            self._cache.drop_first(self._columns - self._longest)
            self._columns = self._longest
        device = self._reader.device
        self._lengths_B = torch.tensor(lengths, device=device)
        self._mask_BS: Tensor | None = None
        if any(length < self._columns for length in lengths):
            # Wide enough until the next change: no row can hold more than the context before that.
            columns = torch.arange(self._columns + self._reader.context, device=device)
            first_B1 = (self._columns - self._lengths_B)[:, None]
            self._mask_BS = columns >= first_B1
            if self._fast is not None:
                hidden_BS = torch.zeros(self._mask_BS.shape, dtype=self._fast.dtype, device=device)
                self._mask_BS = hidden_BS.masked_fill_(columns < first_B1, float("-inf"))
                self._previous_BS = columns - (columns > first_B1).long()

    def select(self, rows: Sequence[int]) -> None:
        """Go on with these rows, some of them perhaps several times."""
        index = torch.tensor(list(rows), device=self._reader.device)
        with torch.inference_mode():
            self._select_cache(index)
            self.logits_BV = self.logits_BV[index]
            self._arguments = {name: value[index] for name, value in self._arguments.items()}
            self.names = [self.names[row] for row in rows]
            self._held = [list(self._held[row]) for row in rows]
            self._lay_out()

    def _select_cache(self, index: Tensor) -> None:
        self._cache.reorder_cache(index)

    @property
    def full(self) -> list[int]:
        """Rows whose next token makes them be read again."""
        if self._longest < self._reader.context:
            return []
        return [row for row, held in enumerate(self._held) if len(held) >= self._reader.context]

    @torch.inference_mode()
    def read(self, tokens: Sequence[int], tokens_B: Tensor) -> None:
        """Read a token of each row, given on both sides of the device's border. `logits_BV` is what follows."""
        full = self.full
        for held, token in zip(self._held, tokens, strict=True):
            held.append(token)
        for row in full:
            self._held[row] = shortened(self._held[row], self._reader.context)
        if not full:
            self._read_on(tokens_B)
        elif len(full) == len(self._held) or not isinstance(self._cache, RoomyCache):
            self._start()
        else:
            self._read_on(tokens_B)
        if self._follower is not None:
            self._follower.has_read(list(self.names), tokens_B)
        if 0 < len(full) < len(self._held) and isinstance(self._cache, RoomyCache):
            self._reread(full)

    def _read_on(self, tokens_B: Tensor) -> None:
        self._announce(range(len(self.names)))
        # A row that is about to be read again passes through here too, and has no position left.
        positions_B1 = self._lengths_B.clamp_max(self._reader.context - 1)[:, None]
        self._lengths_B += 1
        self._columns += 1
        self._longest += 1
        mask_BS = None if self._mask_BS is None else self._mask_BS[:, : self._columns]
        if self._fast is not None:
            previous_BS = None if mask_BS is None else self._previous_BS[:, : self._columns]
            place = Place(positions_B1[:, 0], len(self._held[0]) - 1, mask_BS, previous_BS)
            self.logits_BV = self._fast(tokens_B, place, self._cache)
            return
        out = self._reader.model(
            input_ids=tokens_B[:, None],
            attention_mask=mask_BS,
            position_ids=positions_B1,
            past_key_values=self._cache,
            use_cache=True,
            **self._arguments,
        )
        self._cache = out.past_key_values
        self.logits_BV = out.logits[:, -1]

    def _reread(self, full: Sequence[int]) -> None:
        """Read the shortened rows again by themselves, and put them in the place of what they held."""
        index = torch.tensor(list(full), device=self._reader.device)
        arguments = {name: value[index] for name, value in self._arguments.items()}
        logits_RV, cache = self._pass(full, arguments)
        self._cache.replace_last(index, cache)
        self.logits_BV[index] = logits_RV.to(self.logits_BV.dtype)
        self._lay_out()
