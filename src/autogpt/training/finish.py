"""The winner, continued and cooled down: the full rate while validation gains, then down to zero."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from autogpt.errors import NoModelError
from autogpt.events import Event
from autogpt.training.candidate import Candidate
from autogpt.training.loop import averaged, load_state, save_state, train

__all__ = ["FinishPlan", "finish"]

Validate = Callable[[Any], float]


@dataclass(frozen=True, slots=True)
class FinishPlan:
    """How long and how patiently.

    Attributes:
        seconds: wall-clock for everything here, validation included.
        cooldown_share: share of the seconds kept for the cool-down.
        patience: validations without gain after which the cool-down starts from the best state.
        higher_is_better: direction of the validation score.
        folder: where the checkpoints go.
    """

    seconds: float
    cooldown_share: float
    patience: int
    higher_is_better: bool
    folder: Path


def _weights(model: Any) -> list[torch.Tensor]:
    return [p.detach().clone() for p in model.parameters() if p.requires_grad]


def finish(candidate: Candidate, plan: FinishPlan, validate: Validate) -> Iterator[Event]:
    """Train `candidate` on; when the generator ends its model holds the weights that validated best.

    `validate` is given a model in evaluation mode. Checkpoints in `plan.folder` let an interrupted run go on from the
    best state so far. Yields `training.step` and `training.evaluated` events; the last one has `final: true`.
    """
    began, state, sign = time.perf_counter(), candidate.state, 1 if plan.higher_is_better else -1

    def elapsed() -> float:
        return time.perf_counter() - began

    def score_average() -> float:
        with averaged(state) as model:
            return validate(model)

    best = score_average()
    best_weights = [a.clone() for a in state.ema.average]
    pause = max(5.0, 8 * elapsed())
    save_state(state, plan.folder, {"score": best})
    constant_s, stale = plan.seconds * (1 - plan.cooldown_share), 0
    yield Event("training.evaluated", {"step": state.step, "value": best})
    while elapsed() < constant_s and state.step < candidate.max_steps and stale < plan.patience:
        until = min(elapsed() + pause, constant_s)
        for event in train(state, candidate.batches, candidate.settings, until=candidate.max_steps):
            yield event
            if elapsed() >= until:
                break
        value = score_average()
        yield Event("training.evaluated", {"step": state.step, "value": value})
        if sign * (value - best) > 0:
            best, stale, best_weights = value, 0, [a.clone() for a in state.ema.average]
            save_state(state, plan.folder, {"score": best})
        else:
            stale += 1
    if stale:
        load_state(state, plan.folder)
    yield from _cool_down(candidate, plan, elapsed)
    state.model.eval()
    value = validate(state.model)
    if sign * (value - best) >= 0:
        best, best_weights = value, _weights(state.model)
    trained = [p for p in state.model.parameters() if p.requires_grad]
    for parameter, weights in zip(trained, best_weights, strict=True):
        parameter.data.copy_(weights)
    if not all(bool(torch.isfinite(w).all()) for w in best_weights):
        raise NoModelError("the finished model holds weights that are not finite", todo="lower search.space.lr")
    yield Event("training.evaluated", {"step": state.step, "value": best, "cooled_value": value, "final": True})


def _cool_down(candidate: Candidate, plan: FinishPlan, elapsed: Callable[[], float]) -> Iterator[Event]:
    state = candidate.state
    left = max(plan.seconds - elapsed(), 0.3 * plan.cooldown_share * plan.seconds)
    rate = state.step / state.seconds if state.seconds else 1.0
    # As long as the time allows, but no longer than the share of all steps: after an early stop more would overfit.
    share = plan.cooldown_share / (1 - plan.cooldown_share)
    steps = max(10, int(min(0.95 * left * rate, max(share * state.step, 50))))
    state.schedule = replace(state.schedule, cooldown_start=state.step, cooldown_steps=steps)
    for event in train(state, candidate.batches, candidate.settings):
        yield event
        if elapsed() > plan.seconds * 1.1 and state.step % 10 == 0 and elapsed() > plan.seconds + 5:
            break
