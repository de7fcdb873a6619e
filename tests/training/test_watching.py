"""The rules on curves made by hand: each fires on its own curve, once, and none on a healthy one."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator

import pytest

from autogpt.events import Event
from autogpt.training.watching import Watch


def _steps(losses: Iterable[float], norm: float = 1.0, epochs: float = 1.0) -> Iterator[Event]:
    noise = random.Random(0)
    for step, loss in enumerate(losses, 1):
        values = {"step": step, "loss": loss + noise.gauss(0, 0.05), "grad_norm": norm, "epoch": step * epochs / 1000}
        yield Event("training.step", values)


def _found(events: Iterable[Event], watch: Watch | None = None) -> list[str]:
    watch = watch or Watch()
    return [noticed.data["what"] for event in events for noticed in watch.look(event)]


HEALTHY = [2 + 6 * math.exp(-step / 80) for step in range(600)]


def test_a_healthy_curve_is_left_alone() -> None:
    assert _found(_steps(HEALTHY)) == []


@pytest.mark.parametrize(
    ("losses", "what"),
    [
        ([*HEALTHY[:300], *[2 + 0.02 * step for step in range(200)]], "divergence"),
        ([8.0] * 300, "dead learning rate"),
    ],
)
def test_bad_curves(losses: list[float], what: str) -> None:
    assert _found(_steps(losses)) == [what]


def test_gradients_that_explode() -> None:
    events = list(_steps(HEALTHY))
    for place in (200, 210, 220, 230):
        events[place] = Event("training.step", {**events[place].data, "grad_norm": 50.0})
    assert _found(events) == ["exploding gradients"]
    events[210:231] = list(_steps(HEALTHY))[210:231]
    assert _found(events) == []  # a single spike is nothing
    for place in range(20):
        events[place] = Event("training.step", {**events[place].data, "grad_norm": 50.0})
    assert _found(events) == []  # nor are the first steps


def test_rows_seen_too_often() -> None:
    assert _found(_steps(HEALTHY, epochs=40)) == []
    assert _found(_steps(HEALTHY, epochs=100)) == ["few data"]


@pytest.mark.parametrize(("losses", "found"), [([1.0, 1.1, 1.2, 1.3], ["overfitting"]), ([1.0, 1.1, 1.05, 1.2], [])])
def test_validation_that_rises_while_training_falls(losses: list[float], found: list[str]) -> None:
    steps, events = list(_steps(HEALTHY[:400])), []
    for place, loss in enumerate(losses):
        events += steps[100 * place : 100 * (place + 1)]
        events.append(Event("training.evaluated", {"step": 100 * (place + 1), "value": 0.5, "loss": loss}))
    assert _found(events) == found


def test_a_new_trial_begins_anew() -> None:
    watch = Watch()
    assert _found(_steps([8.0] * 300), watch) == ["dead learning rate"]
    watch.look(Event("search.trial_started", {"number": 1, "config": {}}))
    assert _found(_steps([8.0] * 300), watch) == ["dead learning rate"]


def test_a_finish_that_hardly_moves_is_no_dead_rate() -> None:
    watch = Watch()
    watch.look(Event("pipeline.stage", {"stage": "finish"}))
    assert _found(_steps([2.0] * 300), watch) == []
