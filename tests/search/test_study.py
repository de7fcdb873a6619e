"""The search on a quadratic with a clock of our own: milliseconds of real time, minutes of the clock's."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest

from autogpt.errors import AutoGPTError, DataError, Interrupted, TrainingError
from autogpt.events import Event
from autogpt.search.racing import Budget, Racing
from autogpt.search.samplers.bayes import BayesSampler
from autogpt.search.samplers.random import RandomSampler
from autogpt.search.space import Choice, Float, Parameter, Space
from autogpt.search.study import Report, Study, Trial, optimize
from autogpt.testing import conditional_space, quadratic_space

RUNGS = (1 / 9, 1 / 3, 1.0)
SECONDS_OF_A_TRIAL = 9.0


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Quadratic:
    """Trains for nine seconds of the clock; its score rises towards minus the distance to the optimum."""

    def __init__(self, clock: Clock, fault: Callable[[int], BaseException | None] = lambda number: None) -> None:
        self.clock, self.fault = clock, fault
        self.started: list[int] = []
        self.closed: list[int] = []

    def __call__(self, number: int, config: Mapping[str, Any]) -> Iterator[Report]:
        self.started.append(number)
        try:
            loss = sum((value - 1.0) ** 2 for value in config.values())
            before = 0.0
            for share in RUNGS:
                self.clock.now += (share - before) * SECONDS_OF_A_TRIAL
                before = share
                if error := self.fault(number):
                    raise error
                yield Report(share, -loss - (1 - share), info={"loss": loss})
        finally:
            self.closed.append(number)


def search(
    objective: Quadratic,
    *,
    sampler: Any = None,
    seconds: float = 1e9,
    keep: float = 1 / 3,
    history: tuple[Trial, ...] = (),
    max_trials: int = 12,
) -> tuple[Study, list[Event]]:
    sampler = sampler or RandomSampler(quadratic_space(), 0, direction="max")
    run = optimize(
        sampler.space,
        objective,
        sampler,
        Racing(RUNGS, keep),
        Budget(seconds, objective.clock),
        history=history,
        max_trials=max_trials,
    )
    events: list[Event] = []
    while True:
        try:
            events.append(next(run))
        except StopIteration as stop:
            return stop.value, events


def test_runs_trials_and_returns_the_best() -> None:
    objective = Quadratic(Clock())
    study, events = search(objective)
    assert objective.started == objective.closed == list(range(12))
    assert study.trials[0].config == quadratic_space().default
    finished = [trial for trial in study.trials if trial.state == "finished"]
    assert study.best is max(finished, key=lambda trial: trial.score or -1e9)
    assert study.ended == "12 trials have run"
    kinds = [event.kind for event in events]
    assert kinds[:2] == ["search.trial_started", "search.trial_reported"]
    assert kinds[-2:] == ["search.trial_finished", "search.ended"]
    assert events[-1].data["best"] == study.best.number
    for event in events:
        json.dumps(event.data, allow_nan=False)


def test_events_tell_the_whole_study() -> None:
    study, events = search(Quadratic(Clock()))
    told = [Trial.from_dict(event.data["trial"]) for event in events if event.kind == "search.trial_finished"]
    assert tuple(told) == study.trials


def test_weak_trials_are_stopped_with_a_reason_and_closed() -> None:
    objective = Quadratic(Clock())
    study, _ = search(objective)
    stopped = [trial for trial in study.trials if trial.state == "stopped"]
    assert len(stopped) >= 3
    assert all("only the best" in trial.reason and trial.reports for trial in stopped)
    assert study.best is not None
    assert study.best.state == "finished"
    assert objective.closed == objective.started
    full, _ = search(Quadratic(Clock()), keep=1.0)
    assert all(trial.state == "finished" for trial in full.trials)
    assert full.best is not None
    assert full.best.number == study.best.number  # nothing was lost by stopping: curves do not cross here


def test_seconds_are_measured_by_the_clock() -> None:
    study, _ = search(Quadratic(Clock()), keep=1.0, max_trials=2)
    assert [report.seconds for report in study.trials[1].reports] == pytest.approx([1.0, 3.0, 9.0])
    assert study.trials[1].seconds == pytest.approx(9.0)


@pytest.mark.parametrize("kind", [RandomSampler, BayesSampler])
@pytest.mark.parametrize("cut", [1, 4, 7, 11])
def test_a_resumed_search_equals_an_unbroken_one(kind: Any, cut: int) -> None:
    unbroken, _ = search(Quadratic(Clock()), sampler=kind(quadratic_space(), 3, direction="max"))
    rows = [json.loads(json.dumps(trial.to_dict())) for trial in unbroken.trials[:cut]]
    objective = Quadratic(Clock())
    resumed, _ = search(
        objective,
        sampler=kind(quadratic_space(), 3, direction="max"),
        history=tuple(Trial.from_dict(row) for row in rows),
    )

    def without_seconds(study: Study) -> list[Trial]:
        return [
            replace(trial, seconds=0.0, reports=tuple(replace(report, seconds=0.0) for report in trial.reports))
            for trial in study.trials
        ]

    assert without_seconds(resumed) == without_seconds(unbroken)
    assert objective.started == list(range(cut, 12))


def test_no_trial_starts_after_the_end_of_the_budget() -> None:
    objective = Quadratic(Clock())
    study, _ = search(objective, seconds=30.0, keep=1.0)
    assert len(study.trials) == 4
    last = study.trials[-1]  # began at 27 s, was cut at its report at 30 s
    assert (last.state, last.share, last.reason) == ("stopped", RUNGS[1], "the time of the search is used")
    assert objective.clock.now == pytest.approx(30.0)


def test_no_trial_starts_that_cannot_reach_its_first_score() -> None:
    study, _ = search(Quadratic(Clock()), seconds=18.5, keep=1.0)
    assert [trial.state for trial in study.trials] == ["finished", "finished"]
    assert study.ended == "0.5 s are left, a trial needs 1.0 s to its first score"


def test_a_used_budget_starts_nothing() -> None:
    objective = Quadratic(Clock())
    study, events = search(objective, seconds=0.0)
    assert (objective.started, study.best, study.trials) == ([], None, ())
    assert [event.kind for event in events] == ["search.ended"]


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (TrainingError("the loss is not finite"), "the loss is not finite"),
        (
            RuntimeError("CUDA out of memory.\n  Tried to allocate"),
            "RuntimeError: CUDA out of memory. Tried to allocate",
        ),
        (MemoryError(), "MemoryError: MemoryError"),
    ],
)
def test_a_failed_trial_does_not_end_the_search(error: Exception, text: str) -> None:
    objective = Quadratic(Clock(), lambda number: error if number in (0, 1, 5) else None)
    study, _ = search(objective, sampler=BayesSampler(quadratic_space(), direction="max"))
    assert [trial.number for trial in study.trials if trial.state == "failed"] == [0, 1, 5]
    assert study.trials[5].error == text
    assert study.best is not None
    assert objective.closed == list(range(12))


def test_three_failures_at_the_start_end_it_with_the_first_reason() -> None:
    objective = Quadratic(Clock(), lambda number: TrainingError(f"reason {number}"))
    with pytest.raises(AutoGPTError, match="all 3 trials failed, the search gives up; found reason 0") as caught:
        search(objective)
    assert caught.value.exit_code == 1
    assert objective.started == [0, 1, 2]


def test_a_score_that_is_no_number_fails_the_trial() -> None:
    def objective(number: int, config: Mapping[str, Any]) -> Iterator[Report]:
        yield Report(1 / 3, 1.0)
        yield Report(1.0, float("nan") if number == 1 else 2.0)

    objective.clock = Clock()  # type: ignore[attr-defined]
    study, events = search(objective, max_trials=2)  # type: ignore[arg-type]
    assert (study.trials[1].state, study.trials[1].error) == ("failed", "the score at 100% of the trial is nan")
    assert len(study.trials[1].reports) == 1
    assert all(json.dumps(event.data, allow_nan=False) for event in events)


def test_a_trial_without_a_score_has_failed() -> None:
    def objective(number: int, config: Mapping[str, Any]) -> Iterator[Report]:
        return iter([Report(1.0, 1.0)] if number else [])

    objective.clock = Clock()  # type: ignore[attr-defined]
    study, _ = search(objective, max_trials=2)  # type: ignore[arg-type]
    assert [(trial.state, trial.error) for trial in study.trials] == [
        ("failed", "the trial ended without a score"),
        ("finished", ""),
    ]


@pytest.mark.parametrize("error", [DataError("row 3"), Interrupted("stopped"), KeyboardInterrupt(), ValueError("bug")])
def test_other_errors_propagate_and_the_objective_is_closed(error: BaseException) -> None:
    objective = Quadratic(Clock(), lambda number: error if number == 2 else None)
    with pytest.raises(type(error)):
        search(objective, keep=1.0)
    assert objective.closed == [0, 1, 2]


def test_closing_the_search_closes_the_running_trial() -> None:
    objective = Quadratic(Clock())
    sampler = RandomSampler(quadratic_space(), direction="max")
    run = optimize(sampler.space, objective, sampler, Racing(), Budget(1e9, objective.clock))
    next(run)
    next(run)
    run.close()
    assert (objective.started, objective.closed) == ([0], [0])


class Stubborn:
    """Proposes the default again and again."""

    def __init__(self, space: Space) -> None:
        self.space, self.seed, self.direction = space, 0, "max"

    def ask(self, history: Any) -> dict[str, Any]:
        return self.space.default


def test_no_configuration_runs_twice() -> None:
    study, _ = search(Quadratic(Clock()), sampler=Stubborn(quadratic_space()), keep=1.0)
    assert len({json.dumps(trial.config) for trial in study.trials}) == 12


def test_a_space_that_is_used_up_ends_the_search() -> None:
    space = Space(
        [Parameter("a", Choice((1, 2)), 1), Parameter("b", Choice((0, 3)), 0), Parameter("c", Float(1, 1), 1)]
    )
    for sampler in (RandomSampler(space, direction="max"), BayesSampler(space, direction="max"), Stubborn(space)):
        study, _ = search(Quadratic(Clock()), sampler=sampler)
        assert len(study.trials) == 4
        assert study.ended.startswith("every configuration")


def test_conditional_spaces_are_searched() -> None:
    def objective(number: int, config: Mapping[str, Any]) -> Iterator[Report]:
        assert conditional_space().contains(config)
        yield Report(1.0, 1.0 if config.get("method") == "lora" else 0.0)

    objective.clock = Clock()  # type: ignore[attr-defined]
    study, _ = search(objective, sampler=BayesSampler(conditional_space(), direction="max"), max_trials=20)  # type: ignore[arg-type]
    assert study.best is not None
    assert "rank" in study.best.config
