"""The winner, continued and cooled down: the full rate while validation gains, then down to zero."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from autogpt.errors import NoModelError
from autogpt.events import Event
from autogpt.training.candidate import Candidate
from autogpt.training.loop import averaged, compile_steps, load_state, save_state, train
from autogpt.training.machine import compiling_pays

__all__ = ["FinishPlan", "Judgement", "finish"]

_VALIDATIONS = 20
"""Most validations of a finish: each costs time, and judging more often would take noise for a trend."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What validation says of a model.

    Attributes:
        score: the task's metric; decides which weights are kept.
        loss: mean negative log-likelihood of the reference answers. A metric on written text stays at its floor, or
            sinks, while a young model is still learning; training goes on as long as either of the two gains.
        rows: the metric's statistics of each row, [n, k], where they are known.
        losses: nats of each row's reference answer and what they are divided by, [n, 2]; `loss` is the ratio of sums.
    """

    score: float
    loss: float
    rows: npt.NDArray[np.float64] | None = None
    losses: npt.NDArray[np.float64] | None = None


Validate = Callable[[Any], Judgement]


@dataclass(frozen=True, slots=True)
class FinishPlan:
    """How long and how patiently.

    Attributes:
        seconds: wall-clock for everything here, validation included.
        cooldown_share: share of the seconds kept for the cool-down.
        patience: validations without any gain after which the cool-down starts from the last state that had gained.
        higher_is_better: direction of the score.
        folder: where the checkpoints go.
    """

    seconds: float
    cooldown_share: float
    patience: int
    higher_is_better: bool
    folder: Path


class _Best:
    """The best score with its weights, and the lowest loss, of the validations so far."""

    def __init__(self, judgement: Judgement, weights: list[torch.Tensor], *, higher_is_better: bool) -> None:
        self.score, self.loss, self.weights = judgement.score, judgement.loss, weights
        self._sign = 1 if higher_is_better else -1

    def take(self, judgement: Judgement, weights: Iterable[torch.Tensor], *, ties: bool = False) -> bool:
        """Whether score or loss gained; weights are kept when the score did (or, with `ties`, when it is equal)."""
        gain, lower = self._sign * (judgement.score - self.score), judgement.loss < self.loss
        if gain > 0 or (ties and gain == 0):
            self.score, self.weights = judgement.score, [w.detach().clone() for w in weights]
        self.loss = min(self.loss, judgement.loss)
        return gain > 0 or lower


def finish(candidate: Candidate, plan: FinishPlan, validate: Validate) -> Iterator[Event]:
    """Train `candidate` on; when the generator ends its model holds the weights that scored best.

    `validate` is given a model in evaluation mode. Checkpoints in `plan.folder` let an interrupted run go on from the
    last state that gained. Yields `training.step` and `training.evaluated` events; the last one has `final: true`.
    """
    began, state = time.perf_counter(), candidate.state

    def elapsed() -> float:
        return time.perf_counter() - began

    def judge_average() -> Judgement:
        with averaged(state) as model:
            return validate(model)

    first = judge_average()
    best = _Best(first, [a.clone() for a in state.ema.average], higher_is_better=plan.higher_is_better)
    judged_s = elapsed()
    pause = max(3.0, 8 * judged_s, plan.seconds / _VALIDATIONS)
    # Two more validations are sure to come: where the full rate ends, and of the cooled weights.
    free_s = max(0.0, plan.seconds - 3 * judged_s)
    save_state(state, plan.folder, {"score": first.score})
    if candidate.batches.plan.packed and compiling_pays(candidate.settings.device, plan.seconds):
        compile_steps(state)
    constant_s, stale = judged_s + free_s * (1 - plan.cooldown_share), 0
    yield _evaluated(state.step, first)
    while elapsed() < constant_s and state.step < candidate.max_steps and stale < plan.patience:
        until = min(elapsed() + pause, constant_s)
        steps = train(
            state, candidate.batches, candidate.settings, until=candidate.max_steps, objective=candidate.objective
        )
        for event in steps:
            yield event
            if elapsed() >= until:
                break
        found = judge_average()
        yield _evaluated(state.step, found)
        if best.take(found, state.ema.average):
            stale = 0
            save_state(state, plan.folder, {"score": found.score})
        else:
            stale += 1
    if stale >= plan.patience:
        load_state(state, plan.folder)
    end_s = max(plan.seconds - judged_s, elapsed() + 0.3 * plan.cooldown_share * free_s)
    yield from _cool_down(candidate, plan.cooldown_share, lambda: end_s - elapsed())
    state.model.eval()
    cooled = validate(state.model)
    trained = [p for p in state.model.parameters() if p.requires_grad]
    best.take(cooled, trained, ties=True)
    for parameter, weights in zip(trained, best.weights, strict=True):
        parameter.data.copy_(weights)
    if not all(bool(torch.isfinite(w).all()) for w in best.weights):
        raise NoModelError("the finished model holds weights that are not finite", todo="lower search.space.lr")
    yield Event(
        "training.evaluated", {"step": state.step, "value": best.score, "cooled_value": cooled.score, "final": True}
    )


def _evaluated(step: int, judgement: Judgement) -> Event:
    return Event("training.evaluated", {"step": step, "value": judgement.score, "loss": round(judgement.loss, 5)})


def _cool_down(candidate: Candidate, share: float, left_s: Callable[[], float]) -> Iterator[Event]:
    """As long as the time allows, but no longer than the share of all steps: after an early stop more would overfit."""
    state = candidate.state
    rate = state.step / state.seconds if state.seconds else 1.0
    steps = max(10, int(min(0.95 * left_s() * rate, max(share / (1 - share) * state.step, 50))))
    state.schedule = replace(state.schedule, cooldown_start=state.step, cooldown_steps=steps)
    for event in train(state, candidate.batches, candidate.settings, objective=candidate.objective):
        yield event
        if left_s() < 0:  # the machine became slower than it was: what follows needs its time too
            break
