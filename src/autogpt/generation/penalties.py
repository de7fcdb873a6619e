"""What is added to a model's scores before a token is chosen: biases, penalties on repeating, bans.

Applied in the order of transformers' `_get_logits_processor`, with the penalties that it lacks after its
`repetition_penalty`: see `Sampling`.

Shapes: B sequences, V vocabulary, N tokens of prompt and text.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from autogpt.errors import ConfigError
from autogpt.generation.sampling import Sampling

__all__ = ["Penalties", "breakers_of", "dry_penalties", "repeating"]

_Ints = npt.NDArray[np.int64]
_Floats = npt.NDArray[np.float64]
_Bools = npt.NDArray[np.bool_]

_BREAKERS = '\n"“”「」『』«»'
"""Newlines and quotation marks. The apostrophe is not one of them: it stands inside words."""

_LARGEST_DRY = 1e4
"""Beyond this a token is out of reach, and larger powers would overflow."""

_BREAKERS_OF: WeakKeyDictionary[Any, _Bools] = WeakKeyDictionary()


def breakers_of(tokenizer: Any) -> _Bools:
    """[V] whether a token ends what DRY compares: its text has a newline or a quotation mark, or it is a control token.

    Found once for each tokenizer; that takes a few microseconds a token.
    """
    if tokenizer not in _BREAKERS_OF:
        texts = tokenizer.batch_decode([[token] for token in range(len(tokenizer))])
        found = np.array([any(mark in text for mark in _BREAKERS) for text in texts], dtype=bool)
        found[[token for token in tokenizer.all_special_ids if token < len(found)]] = True
        _BREAKERS_OF[tokenizer] = found
    return _BREAKERS_OF[tokenizer]


def repeating(ids_N: _Ints, size: int) -> _Ints:
    """Tokens that would complete a sequence of `size` tokens that `ids_N` has already (Paulus et al. 2018)."""
    if len(ids_N) < size:
        return ids_N[:0]
    windows = np.lib.stride_tricks.sliding_window_view(ids_N, size)
    begun = ids_N[len(ids_N) + 1 - size :]
    return np.unique(windows[(windows[:, :-1] == begun).all(axis=1), -1])


def dry_penalties(ids_N: _Ints, is_breaker_V: _Bools, sampling: Sampling) -> tuple[_Ints, _Floats]:
    """Tokens that would go on with a repetition, and the DRY penalty of each (p-e-w, "DRY: Don't repeat yourself").

    Where the last n tokens stand somewhere before, followed by a token, that token costs `dry_multiplier` *
    `dry_base` ** (n - `dry_allowed_length`), for the longest n of at least the allowed length. A repetition does not
    reach over a breaker.
    """
    none = ids_N[:0], np.empty(0)
    if len(ids_N) < 2 or is_breaker_V[ids_N[-1]]:
        return none
    growth = math.log(sampling.dry_base) or math.inf
    longest = sampling.dry_allowed_length + int(min(math.log(_LARGEST_DRY) / growth, 1000))
    ends = np.flatnonzero(ids_N[:-1] == ids_N[-1])
    ends = ends[~is_breaker_V[ids_N[ends + 1]]]
    lengths = np.ones(len(ends), dtype=np.int64)
    alive = np.arange(len(ends))
    for back in range(1, min(longest, len(ids_N) - 1)):
        if is_breaker_V[ids_N[-1 - back]]:
            break
        alive = alive[ends[alive] >= back]
        alive = alive[ids_N[ends[alive] - back] == ids_N[-1 - back]]
        if not len(alive):
            break
        lengths[alive] += 1
    long = lengths >= sampling.dry_allowed_length
    if not long.any():
        return none
    tokens, places = np.unique(ids_N[ends[long] + 1], return_inverse=True)
    most = np.zeros(len(tokens), dtype=np.int64)
    np.maximum.at(most, places, lengths[long])
    return tokens, sampling.dry_multiplier * sampling.dry_base ** (most - sampling.dry_allowed_length).astype(float)


class Penalties:
    """The penalties of a batch, and what of each row's past they need.

    Args:
        sampling: which penalties are on.
        prompts: token ids of each row; they count for `no_repeat_ngram` and DRY only.
        vocabulary: size V of the scores.
        tokenizer: for the end token and the breakers of DRY.
        device: where the scores are.

    Raises:
        ConfigError: `logit_bias` names a token that the model does not have.
    """

    def __init__(
        self,
        sampling: Sampling,
        prompts: Sequence[Sequence[int]],
        vocabulary: int,
        tokenizer: Any,
        device: torch.device,
    ) -> None:
        self._sampling, self._eos_id, self._written, self._device = sampling, tokenizer.eos_token_id, 0, device
        self._bias_V: Tensor | None = None
        if sampling.logit_bias:
            self._bias_V = _bias(sampling, vocabulary).to(device)
        self._counts_BV: Tensor | None = None
        if sampling.repetition_penalty != 1.0 or sampling.frequency_penalty or sampling.presence_penalty:
            self._counts_BV = torch.zeros(len(prompts), vocabulary, device=device)
        self._past: list[_Past] = []
        if sampling.no_repeat_ngram or sampling.dry_multiplier:
            self._past = [_Past(prompt) for prompt in prompts]
        self._is_breaker_V = breakers_of(tokenizer) if sampling.dry_multiplier else np.zeros(0, dtype=bool)

    @classmethod
    def of(
        cls,
        sampling: Sampling,
        prompts: Sequence[Sequence[int]],
        vocabulary: int,
        tokenizer: Any,
        device: torch.device,
    ) -> Penalties | None:
        """Penalties of a batch; None when every one of them is off."""
        s = sampling
        on = s.logit_bias or s.repetition_penalty != 1.0 or s.frequency_penalty or s.presence_penalty
        if on or s.no_repeat_ngram or s.dry_multiplier or s.min_new_tokens:
            return cls(sampling, prompts, vocabulary, tokenizer, device)
        return None

    @property
    def may_forbid_all(self) -> bool:
        """Whether a row may be left without any token that is allowed."""
        return bool(self._sampling.no_repeat_ngram or self._sampling.logit_bias or self._sampling.min_new_tokens)

    @torch.inference_mode()
    def apply(self, scores_BV: Tensor) -> Tensor:
        """The scores with all that is added to them; float32, [B, V]. What is given is not changed."""
        s = self._sampling
        scores_BV = scores_BV.float() if self._bias_V is None else scores_BV.float() + self._bias_V
        if self._counts_BV is not None:
            if s.repetition_penalty != 1.0:
                factor = s.repetition_penalty
                penalised_BV = torch.where(scores_BV > 0, scores_BV / factor, scores_BV * factor)
                scores_BV = torch.where(self._counts_BV > 0, penalised_BV, scores_BV)
            if s.frequency_penalty:
                scores_BV = scores_BV - s.frequency_penalty * self._counts_BV
            if s.presence_penalty:
                scores_BV = scores_BV - s.presence_penalty * (self._counts_BV > 0)
        ends_early = self._written < s.min_new_tokens
        if self._past or ends_early:
            scores_BV = scores_BV.clone()
        for row, past in enumerate(self._past):
            self._apply_past(scores_BV[row], past.ids)
        if ends_early:
            scores_BV[:, self._eos_id] = float("-inf")
        return scores_BV

    def _apply_past(self, scores_V: Tensor, ids_N: _Ints) -> None:
        if self._sampling.dry_multiplier:
            tokens, costs = dry_penalties(ids_N, self._is_breaker_V, self._sampling)
            if len(tokens):
                scores_V[torch.from_numpy(tokens).to(self._device)] -= torch.from_numpy(costs).to(scores_V)
        if self._sampling.no_repeat_ngram:
            banned = repeating(ids_N, self._sampling.no_repeat_ngram)
            scores_V[torch.from_numpy(banned).to(self._device)] = float("-inf")

    @torch.inference_mode()
    def follow(self, tokens: Sequence[int]) -> None:
        """Each row wrote this token; what a finished row is said to have written does not matter."""
        self._written += 1
        if self._counts_BV is not None:
            ids_B1 = torch.tensor(tokens, device=self._device)[:, None]
            self._counts_BV.scatter_add_(1, ids_B1, torch.ones_like(ids_B1, dtype=self._counts_BV.dtype))
        for past, token in zip(self._past, tokens, strict=False):
            past.append(token)

    @torch.inference_mode()
    def select(self, rows: Sequence[int]) -> None:
        """Go on with these rows, some of them perhaps several times."""
        if self._counts_BV is not None:
            self._counts_BV = self._counts_BV[torch.tensor(list(rows), device=self._device)]
        if self._past:
            kept = [self._past[row] for row in rows]
            self._past = [past if kept.index(past) == place else past.copy() for place, past in enumerate(kept)]


def _bias(sampling: Sampling, vocabulary: int) -> Tensor:
    bias_V = torch.zeros(vocabulary)
    for token, value in sampling.logit_bias:
        if token >= vocabulary:
            raise ConfigError("logit_bias names no token", found=str(token), expected=f"0 to {vocabulary - 1}")
        bias_V[token] = value
    return bias_V


class _Past:
    """Token ids of one row, prompt and text, in an array that grows by doubling."""

    def __init__(self, ids: Sequence[int]) -> None:
        self._room = np.empty(max(64, 2 * len(ids)), dtype=np.int64)
        self._room[: len(ids)] = ids
        self._length = len(ids)

    @property
    def ids(self) -> _Ints:
        return self._room[: self._length]

    def append(self, token: int) -> None:
        if self._length == len(self._room):
            self._room = np.concatenate([self._room, np.empty_like(self._room)])
        self._room[self._length] = token
        self._length += 1

    def copy(self) -> _Past:
        return _Past(self.ids.tolist())
