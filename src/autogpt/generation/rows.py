"""Rows of different lengths as batches: which go together, and how they are padded.

Shapes: B rows, T tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

__all__ = ["BATCH_TOKENS", "grouped", "left_padded", "positions_of"]

BATCH_TOKENS = 16384
"""Padded tokens of one forward pass: enough to fill two cores, little enough to stay under a few hundred MB."""


def grouped(lengths: Sequence[int], *, extra: int = 0, copies: int = 1, most: int | None = None) -> Iterator[list[int]]:
    """Indices of rows in batches of similar length, within `BATCH_TOKENS`.

    Args:
        lengths: tokens of each row.
        extra: tokens that come to each row.
        copies: passes of each row that are made at once.
        most: rows of a batch; None for any number.
    """
    group: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        many = most is not None and len(group) >= most
        if group and (many or (lengths[index] + extra) * (len(group) + 1) * copies > BATCH_TOKENS):
            yield group
            group = []
        group.append(index)
    if group:
        yield group


def left_padded(rows: Sequence[Sequence[int]], pad_id: int) -> tuple[Tensor, Tensor]:
    """Ids padded on the left and their bool mask, both [B, T]."""
    length = max(map(len, rows))
    ids_BT = torch.full((len(rows), length), pad_id, dtype=torch.long)
    mask_BT = torch.zeros(len(rows), length, dtype=torch.bool)
    for place, row in enumerate(rows):
        ids_BT[place, length - len(row) :] = torch.tensor(row)
        mask_BT[place, length - len(row) :] = True
    return ids_BT, mask_BT


def positions_of(mask_BT: Tensor) -> Tensor:
    """Position of each token in its row [B, T]; 0 at padding on the left."""
    return (mask_BT.long().cumsum(-1) - 1).clamp_min(0)
