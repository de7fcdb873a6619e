"""Token shards: a corpus as token ids on disk, and batches of it that depend on the seed and the step alone.

A shard is a folder with `tokens.npy` (uint16, or uint32 for large vocabularies: every document from its start token to
its end token, one after another), `offsets.npy` (where each document begins, and the end), `utf8_bytes.npy`,
`characters.npy` and `languages.npy` (one number a document, the last an index of `LANGUAGES`). The tokens are mapped,
not read: memory does not grow with the corpus. `token_shards_encode` writes them.

A row of a batch starts with the start token and is full. A document that fits a row stays whole; a longer one is cut
into pieces of a row, each behind a start token of its own, and one rest. Rests and short documents are put together by
best fit, longest first, so that nothing is left over but in the last row of an epoch; only where no piece fits a gap,
one is cut. Each epoch shuffles which documents meet in a row, at which end of a document its rest lies, and the order
of the rows.

Shapes: B rows, T tokens. Documents are counted over all shards.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from autogpt.data.batching import Batch
from autogpt.errors import ConfigError, DataError

__all__ = ["LANGUAGES", "ShardBatches", "TokenShards"]

LANGUAGES = ("zh", "en", "other")
_Ints = npt.NDArray[np.int64]


class TokenShards:
    """The shards of a corpus, open for reading.

    Args:
        folders: the shards, in order.
        tokenizer: the one they were encoded with.

    Attributes:
        lengths: [documents] tokens of each, start and end token included.
        fingerprint: 16 hex digits of what the shards hold and in which order.

    Raises:
        DataError: a shard's files are missing or do not belong together.
    """

    def __init__(self, folders: Sequence[Path], tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        shards = [_Shard.open(folder) for folder in folders]
        self._tokens = [shard.tokens for shard in shards]
        self._shard_of = np.repeat(np.arange(len(shards)), [len(shard.offsets) - 1 for shard in shards])
        self._starts: _Ints = np.concatenate([shard.offsets[:-1] for shard in shards])
        self.lengths: _Ints = np.concatenate([np.diff(shard.offsets) for shard in shards])
        self._utf8_bytes: _Ints = np.concatenate([shard.utf8_bytes for shard in shards])
        self._characters: _Ints = np.concatenate([shard.characters for shard in shards])
        self._languages = np.concatenate([shard.languages for shard in shards])
        names = [folder.parent.name + folder.name for folder in folders]
        self.fingerprint = hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]
        self.files = tuple(shard.file for shard in shards)
        self.without_text = sum(shard.without_text for shard in shards)

    def __len__(self) -> int:
        """Documents."""
        return len(self.lengths)

    def tokens(self, document: int, start: int, length: int) -> npt.NDArray[np.unsignedinteger[Any]]:
        """`length` token ids of a document from its token `start` on, read from the disk."""
        first = int(self._starts[document]) + start
        piece: npt.NDArray[np.unsignedinteger[Any]] = self._tokens[self._shard_of[document]][first : first + length]
        return piece

    def counts(self) -> Mapping[str, Mapping[str, int]]:
        """language → documents, tokens, UTF-8 bytes and characters; only languages that occur."""
        table = {}
        for index, language in enumerate(LANGUAGES):
            chosen = self._languages == index
            if chosen.any():
                table[language] = {
                    "documents": int(chosen.sum()),
                    "tokens": int(self.lengths[chosen].sum()),
                    "utf8_bytes": int(self._utf8_bytes[chosen].sum()),
                    "characters": int(self._characters[chosen].sum()),
                }
        return table


@dataclass(frozen=True, slots=True)
class _Shard:
    """One shard's arrays; `tokens` is mapped."""

    tokens: npt.NDArray[Any]
    offsets: _Ints
    utf8_bytes: _Ints
    characters: _Ints
    languages: npt.NDArray[np.uint8]
    file: str
    without_text: int

    @staticmethod
    def open(folder: Path) -> _Shard:
        try:
            tokens = np.load(folder / "tokens.npy", mmap_mode="r", allow_pickle=False)
            columns = ("offsets", "utf8_bytes", "characters", "languages")
            rest = [np.load(folder / f"{name}.npy", allow_pickle=False) for name in columns]
            about = json.loads((folder / "shard.json").read_text(encoding="utf-8"))
            if int(rest[0][-1]) != len(tokens) or any(len(column) != len(rest[0]) - 1 for column in rest[1:]):
                raise ValueError("its files do not belong together")
            return _Shard(tokens, rest[0], rest[1], rest[2], rest[3], str(about["file"]), int(about["without_text"]))
        except (OSError, ValueError, KeyError, IndexError) as error:
            raise DataError(
                f"token shard {str(folder)!r} is damaged", found=str(error), todo="delete that folder and run again"
            ) from error


@dataclass(frozen=True, slots=True, eq=False)
class _Packing:
    """Rows made of several pieces. All arrays have one entry a piece, in row order.

    Attributes:
        starts: [rows + 1] the first piece of each row, and the end.
        rank: which rest, counted from the shortest, the piece comes from.
        skip: tokens of that rest that stand in earlier pieces.
        take: tokens of the piece, the start token not counted.
    """

    starts: _Ints
    rank: _Ints
    skip: _Ints
    take: _Ints

    @property
    def rows(self) -> int:
        return len(self.starts) - 1


def pack(lengths: npt.ArrayLike, width: int) -> _Packing:
    """Best fit of rests into rows of `width` tokens, the longest first; see the head of this file.

    A gap takes the longest piece that fits. Where none fits, the shortest of the others is cut, and what is left of it
    is one more piece. A gap of a single token takes none, since a piece starts with a start token.

    Args:
        lengths: tokens of each rest in rising order, a start token included: 2 to `width`.
    """
    first_rank, counts = [0] * (width + 2), np.bincount(np.asarray(lengths, dtype=np.int64), minlength=width + 1)
    for length in range(1, width + 2):
        first_rank[length] = first_rank[length - 1] + int(counts[length - 1])
    waiting: list[list[tuple[int, int]]] = [[] for _ in range(width + 1)]  # (rank, skip) of cut pieces by length
    left: list[int] = counts.tolist()
    there = sum(1 << length for length, count in enumerate(left) if count)  # bit n: a piece of n tokens is there
    starts, pieces = [0], []

    def draw(length: int) -> tuple[int, int]:
        nonlocal there
        if waiting[length]:
            piece = waiting[length].pop()
        else:
            left[length] -= 1
            piece = (first_rank[length] + left[length], 0)
        if not left[length] and not waiting[length]:
            there &= ~(1 << length)
        return piece

    while there:
        gap = width
        while gap > 1 and there:
            fitting = there & ((2 << gap) - 1)
            length = (fitting.bit_length() if fitting else (there & -there).bit_length()) - 1
            rank, skip = draw(length)
            used = min(length, gap)
            pieces.append((rank, skip, used - 1))
            if used < length:
                rest = length - used + 1
                waiting[rest].append((rank, skip + used - 1))
                there |= 1 << rest
            gap -= used
        starts.append(len(pieces))
    rank_, skip_, take_ = np.array(pieces, dtype=np.int64).reshape(-1, 3).T
    return _Packing(np.array(starts, dtype=np.int64), rank_, skip_, take_)


class ShardBatches:
    """Batches of a corpus that is larger than memory; the interface of `batching.Batches`.

    The batch of a step depends on the corpus, the seed and the step alone, so that a run can stop and go on anywhere.
    Every token of the corpus is in an epoch once. All rows are `context` long; only the last row of an epoch may be
    padded, and the last step may have fewer rows. Weights are 1, but 0 at start tokens and padding.

    Args:
        context: tokens of a row.
        tokens_per_step: tokens of a batch; at least one row is taken.
        seed: of the shuffling.

    Raises:
        ConfigError: the context is shorter than 2. DataError: no document.
    """

    def __init__(self, shards: TokenShards, *, context: int, tokens_per_step: int, seed: int) -> None:
        if context < 2:
            raise ConfigError("the context is too short", found=str(context), expected="at least 2 tokens")
        if not len(shards):
            raise DataError("the corpus holds no document with text", todo="check the files")
        self._shards, self._width, self._seed = shards, context, seed
        self._bos, self._pad = int(shards.tokenizer.bos_token_id), int(shards.tokenizer.pad_token_id)
        content = shards.lengths - 1  # without the start token
        self._whole: _Ints = content // (context - 1)  # full rows of each document
        self._rest: _Ints = content % (context - 1)
        self._full_until: _Ints = np.cumsum(self._whole)
        with_rest = np.flatnonzero(self._rest)
        self._rests: _Ints = with_rest[np.argsort(self._rest[with_rest], kind="stable")]
        self._packing = pack(self._rest[self._rests] + 1, context)
        self._full = int(self._full_until[-1])
        self.rows_per_epoch = self._full + self._packing.rows
        self._per_step = max(1, tokens_per_step // context)
        self.steps_per_epoch = -(-self.rows_per_epoch // self._per_step)
        self._epoch = -1
        self._rows = self._place = self._order = np.zeros(0, dtype=np.int64)

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
        rows = self._rows[place * self._per_step : (place + 1) * self._per_step]
        ids = np.full((len(rows), self._width), self._pad, dtype=np.int64)
        self._fill_full(ids, rows)
        self._fill_packed(ids, rows)
        is_text = ids != self._pad
        weights = (is_text & (ids != self._bos)).astype(np.float32)
        return Batch(
            ids_BT=torch.from_numpy(ids),
            labels_BT=torch.from_numpy(np.where(weights > 0, ids, -100)),
            weights_BT=torch.from_numpy(weights),
            attention_mask_BT=torch.from_numpy(is_text.astype(np.int64)),
            tokens=int(is_text.sum()),
            answer_tokens=int((weights > 0).sum()),
        )

    def _plan_epoch(self, epoch: int) -> None:
        rng = np.random.default_rng([self._seed, epoch])
        # Which rest takes which place: shuffled among those of one length, so that the packing stays as it is.
        shuffled = rng.permutation(self._rests)
        self._order = shuffled[np.argsort(self._rest[shuffled], kind="stable")]
        # How many full rows stand before a document's rest: other cuts each epoch, and as many pieces of each length.
        self._place = rng.integers(0, self._whole + 1)
        last = self.rows_per_epoch - 1  # may be padded
        self._rows = np.append(rng.permutation(last), last)
        self._epoch = epoch

    def _fill_full(self, ids: _Ints, rows: _Ints) -> None:
        size = self._width - 1
        full = np.flatnonzero(rows < self._full)
        documents = np.searchsorted(self._full_until, rows[full], side="right")
        number = rows[full] - (self._full_until[documents] - self._whole[documents])
        starts = 1 + number * size + np.where(number >= self._place[documents], self._rest[documents], 0)
        ids[full, 0] = self._bos
        for row, document, start in zip(full.tolist(), documents.tolist(), starts.tolist(), strict=True):
            ids[row, 1:] = self._shards.tokens(document, start, size)

    def _fill_packed(self, ids: _Ints, rows: _Ints) -> None:
        packing, size = self._packing, self._width - 1
        for row in np.flatnonzero(rows >= self._full).tolist():
            first, end = packing.starts[rows[row] - self._full : rows[row] - self._full + 2].tolist()
            column = 0
            documents = self._order[packing.rank[first:end]]
            starts = 1 + self._place[documents] * size + packing.skip[first:end]
            takes = packing.take[first:end].tolist()
            for document, start, take in zip(documents.tolist(), starts.tolist(), takes, strict=True):
                ids[row, column] = self._bos
                ids[row, column + 1 : column + 1 + take] = self._shards.tokens(document, start, take)
                column += 1 + take
            if column == self._width - 1:
                ids[row, column] = self._bos  # a gap too short for a piece: weightless, but no padding
