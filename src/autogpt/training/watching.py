"""What goes wrong in training, recognised from its events by rules, and what is done about it, in words.

The rules: a loss that runs away, gradients that explode, a rate at which nothing is learnt, rows learnt by heart, rows
that were all seen too often. Each is said once a trial. Nothing here stops a trial: racing, patience and the loop's own
limits do, and the message says which.
"""

from __future__ import annotations

import itertools
import statistics
from collections import deque

from autogpt.events import Event

__all__ = ["Watch"]

_SMOOTHING = 0.97
"""Weight of the past in the smoothed loss: about the last 33 steps count."""
_SETTLED_STEPS = 60
"""Before this a loss tells little."""
_RUNAWAY = 1.3
"""A smoothed loss this many times its lowest value has run away; half a nat at the least."""
_EXPLOSION, _EXPLOSIONS = 20.0, 3
"""A gradient norm this many times the median, so often within the last hundred steps."""
_DEAD_RATE = "dead learning rate"
_DEAD_STEPS, _DEAD = 200, 0.98
"""Steps by which the loss must have fallen below this share of where it began."""
_RISES = 3
"""Validations in a row whose loss rose while the training loss fell."""
_EPOCHS = 30.0


class Watch:
    """Looks at the events of one trial after the other; begins anew with `search.trial_started` and the finish."""

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._said: set[str] = set()
        self._steps, self._first, self._smooth, self._lowest = 0, 0.0, 0.0, float("inf")
        self._norms: deque[float] = deque(maxlen=100)
        self._exploded: deque[bool] = deque(maxlen=100)
        self._validation: list[tuple[float, float]] = []

    def look(self, event: Event) -> list[Event]:
        """`training.noticed` events {what, message, step} that follow from `event`; mostly none."""
        if event.kind == "search.trial_started":
            self._begin()
        elif event.kind == "pipeline.stage" and event.data["stage"] == "finish":
            self._begin()
            self._said.add(_DEAD_RATE)  # what was trained before may well have little left to learn
        elif event.kind == "training.step":
            return self._step(event)
        elif event.kind == "training.evaluated" and event.data.get("loss") is not None:
            return self._evaluated(event)
        return []

    def _notice(self, what: str, message: str, step: int) -> list[Event]:
        if what in self._said:
            return []
        self._said.add(what)
        return [Event("training.noticed", {"what": what, "message": message, "step": step})]

    def _step(self, event: Event) -> list[Event]:
        data = event.data
        loss, step = float(data["loss"]), int(data["step"])
        self._steps += 1
        self._smooth = loss if self._steps == 1 else _SMOOTHING * self._smooth + (1 - _SMOOTHING) * loss
        if self._steps == _SETTLED_STEPS // 3:
            self._first = self._smooth
        if self._steps >= _SETTLED_STEPS:
            self._lowest = min(self._lowest, self._smooth)
        found = [*self._runaway(step), *self._explosion(float(data.get("grad_norm") or 0.0), step)]
        if self._steps == _DEAD_STEPS and self._smooth > _DEAD * self._first:
            message = (
                f"the loss has hardly moved in {_DEAD_STEPS} steps ({self._first:.3g} to {self._smooth:.3g}): the rate"
                " may be far too low or too high; racing drops the trial, without rivals set another search.space.lr"
            )
            found += self._notice(_DEAD_RATE, message, step)
        if float(data.get("epoch") or 0.0) >= _EPOCHS:
            message = (
                f"every row was seen {_EPOCHS:.0f} times: more rows would help more than more time; training ends when"
                " validation no longer gains"
            )
            found += self._notice("few data", message, step)
        return found

    def _runaway(self, step: int) -> list[Event]:
        if self._steps < _SETTLED_STEPS or self._smooth < max(_RUNAWAY * self._lowest, self._lowest + 0.5):
            return []
        message = (
            f"the loss rose from {self._lowest:.3g} to {self._smooth:.3g}: it diverges; racing drops the trial at its"
            " next score, a finish falls back on the best weights so far"
        )
        return self._notice("divergence", message, step)

    def _explosion(self, norm: float, step: int) -> list[Event]:
        usual = statistics.median(self._norms) if len(self._norms) >= _SETTLED_STEPS else float("inf")
        self._norms.append(norm)
        self._exploded.append(norm > _EXPLOSION * usual)
        if sum(self._exploded) < _EXPLOSIONS:
            return []
        message = (
            f"gradient norms of {norm:.3g} where {usual:.3g} is usual: they are clipped; a lower rate would be safer"
        )
        return self._notice("exploding gradients", message, step)

    def _evaluated(self, event: Event) -> list[Event]:
        self._validation.append((float(event.data["loss"]), self._smooth))
        last = self._validation[-_RISES - 1 :]
        pairs = list(itertools.pairwise(last))
        if len(pairs) < _RISES or not all(new[0] > old[0] and new[1] < old[1] for old, new in pairs):
            return []
        message = (
            f"validation loss rose {_RISES} times in a row ({last[0][0]:.3g} to {last[-1][0]:.3g}) while training loss"
            " fell: rows are learnt by heart; patience ends it and the best weights are kept"
        )
        return self._notice("overfitting", message, int(event.data["step"]))
