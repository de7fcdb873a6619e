"""What keeps a session from learning nonsense: it stops learning while the model repeats itself, and takes back what
makes the user's own first words less probable.

A sentence that was repeated becomes more probable with every repetition (Xu et al. 2022, "Learning to break the loop"),
and learning from it would make that permanent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from autogpt.generation.fast_weights import FastRates, FastState, FastWeights, Seen, without_scores

__all__ = ["Guard", "repeated_share"]

REPLAY_TOKENS = 256
LOOK_EVERY_STEPS = 4
WORST_RISE = 1.02
"""Of the replayed text's nats, over those of the model by itself. Not over the best there was: whoever goes on to
another chapter forgets some of the first one, and that is no harm."""
RECENT_TOKENS, MOST_REPEATED, FROZEN_CHUNKS = 256, 0.25, 2


@dataclass(slots=True)
class Guard:
    """The memory of one session.

    Attributes:
        replay: the first words of the user, with what followed each; None before there are any.
        plain: its nats by the model itself.
        good: the last fast weights that were good for it; None for fresh ones.
        slower: what every rate is multiplied by; halved at each step back.
        steps: since the last look.
        taken_back: how often fast weights were.
        recent: tokens that the model wrote last.
        frozen: chunks for which nothing more is learnt from own words.
    """

    replay: tuple[Seen, Tensor] | None = None
    plain: float | None = None
    good: FastState | None = None
    slower: float = 1.0
    steps: int = 0
    taken_back: int = 0
    recent: list[int] = field(default_factory=list)
    frozen: int = 0

    @property
    def is_frozen(self) -> bool:
        return self.frozen > 0

    def rates(self, rates: FastRates) -> FastRates:
        """The rates of this session now."""
        return replace(rates, step=rates.step * self.slower)

    def remember(self, seen: Seen, targets_ST: Tensor, weights_ST: Tensor) -> None:
        """Keep the user's first words; later ones are let go."""
        held = 0 if self.replay is None else self.replay[1].shape[1]
        if held >= REPLAY_TOKENS or not bool((weights_ST >= 1).all()):
            return
        kept = without_scores(seen)
        if self.replay is None:
            self.replay = (kept, targets_ST)
        else:
            self.replay = (Seen.joined([self.replay[0], kept]), torch.cat([self.replay[1], targets_ST], 1))
        self.plain = None

    def look(self, weights: FastWeights, state: FastState) -> None:
        """Every few steps: whether the user's first words are still as probable; else `state` goes back, in place."""
        self.steps += 1
        if self.replay is None or self.steps % LOOK_EVERY_STEPS:
            return
        if self.plain is None:
            self.plain = float(weights.nats(weights.fresh(), *self.replay).mean())
        nats = float(weights.nats(state, *self.replay).mean())
        if math.isfinite(nats) and nats <= WORST_RISE * self.plain:
            self.good = state.rows([0])
            return
        self.taken_back += 1
        self.slower /= 2
        state.put([0], self.good if self.good is not None else weights.fresh())

    def wrote(self, tokens: Sequence[int]) -> None:
        """The model wrote a chunk; frozen while too much of what it wrote last is repetition."""
        self.recent = [*self.recent, *tokens][-RECENT_TOKENS:]
        if repeated_share(self.recent, 4) > MOST_REPEATED:
            self.frozen = FROZEN_CHUNKS
        elif self.frozen:
            self.frozen -= 1


def repeated_share(tokens: Sequence[int], size: int) -> float:
    """Share of the n-grams of `tokens` that stood there before (rep-n of Welleck et al. 2020); 0 for short texts."""
    grams = [tuple(tokens[at : at + size]) for at in range(len(tokens) - size + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0
