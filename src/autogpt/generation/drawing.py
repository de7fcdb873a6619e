"""Which tokens are drawn from, and the draw itself: temperature, truncated distributions, numbers of each row's own.

Each truncation gives minus infinity to the tokens it leaves out and equals transformers' class of the same purpose
(`TopKLogitsWarper`, `TopPLogitsWarper`, `MinPLogitsWarper`, `TypicalLogitsWarper`); the order is theirs too.

Shapes: B sequences, V vocabulary, R ranked tokens.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from autogpt.generation.sampling import Sampling

__all__ = ["Draws", "draw", "truncated"]

_MINUS_INFINITY = float("-inf")
_FIRST_RANKS = 256
"""Tokens ranked at first: they nearly always hold the mass asked for, and ranking all takes ten times as long."""

_BLOCK = 256
"""Numbers drawn at once from each row's generator: a call a row and token would cost more than the choice."""


def truncated(scores_BV: Tensor, sampling: Sampling) -> Tensor:
    """Scores at the temperature, minus infinity outside the sets of tokens that may be drawn; float32, [B, V]."""
    scores_BV = scores_BV.float() / sampling.temperature
    if 0 < sampling.top_k < scores_BV.shape[-1]:
        floor_B1 = scores_BV.topk(sampling.top_k, dim=-1).values[:, -1:]
        scores_BV = scores_BV.masked_fill(scores_BV < floor_B1, _MINUS_INFINITY)
    if sampling.top_p < 1.0:
        scores_BV = _nucleus(scores_BV, sampling.top_p)
    if sampling.min_p > 0.0:
        probabilities_BV = scores_BV.softmax(-1)
        least_B1 = sampling.min_p * probabilities_BV.amax(-1, keepdim=True)
        scores_BV = scores_BV.masked_fill(probabilities_BV < least_B1, _MINUS_INFINITY)
    if sampling.typical_p < 1.0:
        scores_BV = _typical(scores_BV, sampling.typical_p)
    return scores_BV


def _nucleus(scores_BV: Tensor, mass: float) -> Tensor:
    """Nucleus sampling (Holtzman et al. 2020): the smallest set of most probable tokens whose mass reaches `mass`."""
    probabilities_BV = scores_BV.softmax(-1)
    size = scores_BV.shape[-1]
    ranks = min(_FIRST_RANKS, size)
    ranked_BR, order_BR = probabilities_BV.topk(ranks, dim=-1)
    if ranks < size and bool((ranked_BR.sum(-1) < mass).any()):
        ranked_BR, order_BR = probabilities_BV.sort(dim=-1, descending=True)
    # A token stays while the mass before it is below `mass`, so the most probable one always stays.
    stays_BR = ranked_BR.cumsum(-1) - ranked_BR < mass
    stays_BR[:, 0] = True
    kept_BV = torch.zeros_like(scores_BV, dtype=torch.bool).scatter_(-1, order_BR, stays_BR)
    return scores_BV.masked_fill(~kept_BV, _MINUS_INFINITY)


def _typical(scores_BV: Tensor, mass: float) -> Tensor:
    """Locally typical sampling (Meister et al. 2022): tokens whose surprise is nearest to the entropy, up to `mass`."""
    logs_BV = scores_BV.log_softmax(-1)
    probabilities_BV = logs_BV.exp()
    entropy_B1 = -(logs_BV * probabilities_BV).nansum(-1, keepdim=True)
    order_BV = (-logs_BV - entropy_B1).abs().argsort(dim=-1)
    ranked_BV = probabilities_BV.gather(-1, order_BV)
    stays_BV = ranked_BV.cumsum(-1) - ranked_BV < mass
    stays_BV[:, 0] = True
    kept_BV = torch.zeros_like(scores_BV, dtype=torch.bool).scatter_(-1, order_BV, stays_BV)
    return scores_BV.masked_fill(~kept_BV, _MINUS_INFINITY)


def draw(scores_BV: Tensor, uniform_B: Tensor) -> Tensor:
    """A token of each row, [B]: the one in whose share of the cumulated softmax the row's number falls.

    Args:
        scores_BV: scores, minus infinity for tokens that are never drawn; a row needs one that is finite.
        uniform_B: float64 numbers, 0 to 1, 1 excluded.
    """
    cumulated_BV = scores_BV.double().softmax(-1).cumsum(-1)
    total_B1 = cumulated_BV[:, -1:]
    # Rounding may lift the product to the total, and no token lies beyond that.
    below_B1 = torch.nextafter(total_B1, torch.zeros_like(total_B1))
    point_B1 = torch.minimum(uniform_B[:, None] * total_B1, below_B1)
    return torch.searchsorted(cumulated_BV, point_B1, right=True).squeeze(-1)


class Draws:
    """Uniform numbers for each row of a batch that depend on the row's seed and prompt alone, not on its neighbours.

    A counter-based generator for each row (Philox; Salmon et al. 2011), keyed by a hash of seed and prompt. So two rows
    with the same prompt and seed get the same text; give them different seeds for different ones.

    Args:
        prompts: token ids of each row.
        seeds: one for each row.
    """

    def __init__(self, prompts: Sequence[Sequence[int]], seeds: Sequence[int]) -> None:
        self._generators = [
            np.random.Generator(np.random.Philox(key=_key(prompt, seed)))
            for prompt, seed in zip(prompts, seeds, strict=True)
        ]
        self._block_BN = np.empty((len(prompts), 0))
        self._used = 0

    def next(self, device: torch.device) -> Tensor:
        """The next number of each row, [B] float64."""
        if self._used == self._block_BN.shape[1]:
            self._block_BN = np.stack([generator.random(_BLOCK) for generator in self._generators])
            self._used = 0
        numbers_B = self._block_BN[:, self._used].copy()
        self._used += 1
        return torch.from_numpy(numbers_B).to(device)

    def select(self, rows: Sequence[int]) -> None:
        """Go on with these rows only."""
        self._generators = [self._generators[row] for row in rows]
        self._block_BN = self._block_BN[list(rows)]


def _key(prompt: Sequence[int], seed: int) -> int:
    text = np.asarray([seed, *prompt], dtype=np.int64).tobytes()
    return int.from_bytes(hashlib.blake2b(text, digest_size=16).digest(), "little")
