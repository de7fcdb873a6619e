"""What the layers of a GPT know of a sequence beside its tokens: masks, positions, and which token came before.

Shape suffixes as in `gpt`: B batch, T tokens of this call, S tokens seen so far, G key-value heads, K head size.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Sight", "one_token_late", "previous_tokens"]


@dataclass(frozen=True, slots=True)
class Sight:
    """What every layer knows of the sequence beside its tokens.

    Attributes:
        mask: which tokens are seen, as `create_causal_mask` returns it; None for plainly causal.
        rotation: cosines and sines of rotary positions.
        previous_BS: index of the token before each one (its own for a first one); None where that is simply the one to
            the left.
    """

    mask: Tensor | None
    rotation: tuple[Tensor, Tensor] | None
    previous_BS: Tensor | None


def previous_tokens(attention_mask: Tensor | None, position_ids: Tensor | None, seen: int) -> Tensor | None:
    """`Sight.previous_BS` of rows that are padded, packed or trees (tokens whose mask shows several branches).

    In a tree, the token before is the visible one whose position is one less. With a cache, rows are not packed.
    """
    if attention_mask is not None and attention_mask.dim() == 4:
        if seen or position_ids is None:
            return None
        visible_BTS = attention_mask[:, 0] if attention_mask.dtype == torch.bool else attention_mask[:, 0] == 0
        is_before_BTS = visible_BTS & (position_ids[:, None, :] == position_ids[:, :, None] - 1)
        own_S = torch.arange(position_ids.shape[1], device=position_ids.device)
        return torch.where(is_before_BTS.any(-1), is_before_BTS.int().argmax(-1), own_S)
    first_BS = None
    if attention_mask is not None:
        first_BS = attention_mask.long().cumsum(-1) <= 1
    elif position_ids is not None and not seen:
        first_BS = position_ids == 0
    if first_BS is None:
        return None
    return torch.arange(first_BS.shape[1], device=first_BS.device) - (~first_BS).long()


def one_token_late(k_BGSK: Tensor, previous_BS: Tensor | None) -> Tensor:
    """Each token's key replaced by that of the token before it; a first token keeps its own."""
    if previous_BS is None:
        return torch.cat((k_BGSK[:, :, :1], k_BGSK[:, :, :-1]), 2)
    index_BGSK = previous_BS[:, None, :, None].expand(k_BGSK.shape[0], k_BGSK.shape[1], -1, k_BGSK.shape[3])
    late_BGSK = k_BGSK[:, :, : previous_BS.shape[1]].gather(2, index_BGSK)
    return torch.cat((late_BGSK, k_BGSK[:, :, previous_BS.shape[1] :]), 2)  # the rest of a preallocated cache is unused
