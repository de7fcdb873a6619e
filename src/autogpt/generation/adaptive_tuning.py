"""How fast a model should adapt: the rates under which text of its own kind is most probable, read in order.

The rate matters most (Krause et al. 2018 say so of dynamic evaluation), so it is tried first, by halves and doubles
from the default; then whether forgetting helps. Every reading scores before it learns, so nothing is fitted to what it
is measured on but the two numbers that are chosen.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from autogpt.data.batching import Encoded
from autogpt.errors import ModelError
from autogpt.generation.adaptive import AdaptationSettings
from autogpt.generation.engine import Engine
from autogpt.generation.fast_weights import FastRates

__all__ = ["Tuned", "read_rows", "tune"]

MOST_TOKENS = 6000
FEWEST_TOKENS = 200
DECAY = 0.01
LEAST_STEP, MOST_STEP = 0.125, 8.0


@dataclass(frozen=True, slots=True)
class Tuned:
    """What tuning found.

    Attributes:
        settings: the defaults where there was too little text or time, or nothing helped.
        gain: share by which perplexity per token falls; 0 where nothing helped or was tried.
        tokens: read for it, answers only.
    """

    settings: AdaptationSettings
    gain: float = 0.0
    tokens: int = 0

    @property
    def why(self) -> str:
        """The choice in words."""
        if not self.tokens:
            return "the default rates: too little text or time to try others, or a model that cannot adapt"
        if self.gain <= 0:
            return f"the default rates: none helped on {self.tokens} validation tokens read in order"
        rates = self.settings.rates
        return (
            f"step {rates.step:g}, decay {rates.decay:g}: {self.tokens} validation tokens read in order have"
            f" {self.gain:.1%} less perplexity than without"
        )


def read_rows(engine: Engine, rows: Sequence[Encoded], settings: AdaptationSettings) -> list[float]:
    """Nats of the answer tokens of each row, read in order by one session that learns from the answers."""
    adaptation = engine.adaptation(settings)
    session, nats = adaptation.session(), list[float]()
    for row in rows:
        answer = row.answer_mask()
        read = adaptation.read(session, row.ids.tolist(), answer.astype(float).tolist())
        nats.append(sum(value for value, counts in zip(read.tolist(), answer[1:], strict=True) if counts))
    return nats


def tune(
    engine: Engine, rows: Sequence[Encoded], seconds: float = math.inf, default: AdaptationSettings | None = None
) -> Tuned:
    """The best rates on `rows`, as far as the time goes.

    Args:
        rows: in the order of the text they come from; the first `MOST_TOKENS` tokens of them are read.
        seconds: about as long as it may take; without time for two readings nothing is tried.
        default: what is begun with; all but the rates stays.
    """
    default, began = default or AdaptationSettings(), time.perf_counter()
    taken, tokens = _first(rows), 0
    tokens = sum(int(row.answer_mask()[1:].sum()) for row in taken)
    if tokens < FEWEST_TOKENS:
        return Tuned(default)
    known: dict[FastRates, float] = {}

    def nats(rates: FastRates) -> float:
        if rates not in known:
            known[rates] = sum(read_rows(engine, taken, replace(default, rates=rates)))
        return known[rates]

    try:
        plain = nats(FastRates(step=0.0))
    except ModelError:  # it cannot adapt, and whoever asks for that is told so
        return Tuned(default)
    one_s = time.perf_counter() - began

    def time_is_left() -> bool:
        return time.perf_counter() - began + 1.3 * one_s < seconds

    if not time_is_left():
        return Tuned(default)
    best = FastRates()
    nats(best)
    for factor in (0.5, 2.0):
        while time_is_left() and LEAST_STEP <= (step := best.step * factor) <= MOST_STEP:
            tried = replace(best, step=step)
            if tried in known or nats(tried) >= known[best]:
                break
            best = tried
    if time_is_left() and nats(forgets := replace(best, decay=DECAY)) < known[best]:
        best = forgets
    gain = 1 - math.exp((known[best] - plain) / tokens)
    return Tuned(replace(default, rates=best) if gain > 0 else default, max(0.0, gain), tokens)


def _first(rows: Sequence[Encoded]) -> list[Encoded]:
    """As many rows as have `MOST_TOKENS` tokens, one at least."""
    taken, tokens = list[Encoded](), 0
    for row in rows:
        if taken and tokens + len(row.ids) > MOST_TOKENS:
            break
        taken.append(row)
        tokens += len(row.ids)
    return taken
