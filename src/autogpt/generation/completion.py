"""What a model wrote: the text, its tokens, why it ended, and how probable each token was."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

__all__ = ["Completion", "FinishReason", "TokenLogprob"]

FinishReason: TypeAlias = Literal["stop", "length", "grammar"]
"""The end token or a stop string; the most tokens that were asked for; the end of a grammar."""


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """How probable a written token was to the model itself: before penalties, grammar, temperature and truncation.

    Attributes:
        token: its id.
        logprob: natural logarithm of its probability.
        alternatives: (token id, natural logarithm) of the most probable tokens at this place, the best first.
    """

    token: int
    logprob: float
    alternatives: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Completion:
    """The continuation of one prompt.

    Attributes:
        text: without the end token, and without the stop string that ended it.
        token_ids: what was written, the end token left out. A stop string's tokens are still here.
        finish_reason: why nothing more was written. A grammar that is cut off by `max_new_tokens` ends in "length".
        logprobs: one for each of `token_ids`; empty when none were asked for.
        prompt_tokens: tokens of the prompt that the model read.
        prompt_tokens_dropped: tokens of the prompt that had no room and were cut from its middle.
        latent: the component of a latent-variable model that wrote; None where all did, and for other models.
    """

    text: str
    token_ids: tuple[int, ...]
    finish_reason: FinishReason
    logprobs: tuple[TokenLogprob, ...] = ()
    prompt_tokens: int = 0
    prompt_tokens_dropped: int = 0
    latent: int | None = None
