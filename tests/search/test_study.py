"""The search on a quadratic with a clock of our own: milliseconds of real time, minutes of the clock's."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from autogpt.errors import AutoGPTError, DataError, Interrupted, TrainingError
from autogpt.events import Event
from autogpt.search.executor import Inline, Job
from autogpt.search.racing import Budget, Racing
from autogpt.search.samplers.bayes import BayesSampler
from autogpt.search.samplers.random import RandomSampler
from autogpt.search.space import Choice, Float, Parameter, Space
from autogpt.search.study import Limits, Report, Study, Trial, optimize
from autogpt.testing import conditional_space, quadratic_space

RUNGS = (1 / 9, 1 / 3, 1.0)
SECONDS_OF_A_TRIAL = 9.0


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Quadratic:
    """A trial takes nine seconds of the clock; its score rises towards minus the distance to the optimum."""

    def __init__(self, clock: Clock, fault: Callable[[Job], BaseException | None] = lambda job: None) -> None:
        self.clock, self.fault = clock, fault
        self.started: list[int] = []
        self.jobs: list[Job] = []
        self.open = 0

    def __call__(self, job: Job) -> Generator[Event, None, Report]:
        self.jobs.append(job)
        self.open += 1
        if job.after == 0:
            self.started.append(job.number)
        try:
            yield Event("training.step", {"number": job.number})
            loss = sum((value - 1.0) ** 2 for value in job.config.values())
            self.clock.now += (job.until - job.after) * SECONDS_OF_A_TRIAL
            if error := self.fault(job):
                raise error
            return Report(job.until, -loss - (1 - job.until), info={"loss": loss})
        finally:
            self.open -= 1


def search(
    objective: Quadratic,
    *,
    sampler: Any = None,
    seconds: float = 1e9,
    keep: float = 1 / 3,
    history: tuple[Trial, ...] = (),
    max_trials: int = 12,
    wait: int = 0,
) -> tuple[Study, list[Event]]:
    sampler = sampler or RandomSampler(quadratic_space(), 0, direction="max")
    run = optimize(
        sampler.space,
        Inline(objective),
        sampler,
        Racing(RUNGS, keep, wait=wait),
        Budget(seconds, objective.clock),
        history=history,
        limits=Limits(max_trials),
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
    assert (objective.started, objective.open) == (list(range(12)), 0)
    assert study.trials[0].config == quadratic_space().default
    finished = [trial for trial in study.trials if trial.state == "finished"]
    assert study.best is max(finished, key=lambda trial: trial.score or -1e9)
    assert study.ended == "12 trials have run"
    kinds = [event.kind for event in events]
    assert kinds[:3] == ["search.trial_started", "training.step", "search.trial_reported"]
    assert kinds[-2:] == ["search.trial_finished", "search.ended"]
    assert events[-1].data["best"] == study.best.number
    for event in events:
        json.dumps(event.data, allow_nan=False)


def ended_after(events: list[Event], finishes: int) -> tuple[Trial, ...]:
    """The trials as they stood when a trial had come to rest so many times, by what the events tell."""
    told = [event.data["trial"] for event in events if event.kind == "search.trial_finished"][:finishes]
    return tuple({row["number"]: Trial.from_dict(json.loads(json.dumps(row))) for row in told}.values())


def test_events_tell_the_whole_study() -> None:
    study, events = search(Quadratic(Clock()))
    assert sorted(ended_after(events, 10**6), key=lambda trial: trial.number) == list(study.trials)


def test_weak_trials_are_stopped_with_a_reason() -> None:
    objective = Quadratic(Clock())
    study, _ = search(objective)
    stopped = [trial for trial in study.trials if trial.state == "stopped"]
    assert len(stopped) >= 3
    assert all("only the best" in trial.reason and trial.reports for trial in stopped)
    assert study.best is not None
    assert study.best.state == "finished"
    assert objective.open == 0
    full, _ = search(Quadratic(Clock()), keep=1.0)
    assert all(trial.state == "finished" for trial in full.trials)
    assert full.best is not None
    assert full.best.number == study.best.number  # nothing was lost by stopping: curves do not cross here


def test_a_stopped_trial_goes_on_when_it_would_pass_now() -> None:
    order = [1.0, 4.0, 2.0, 5.0]  # two of four pass a rung, one of three does

    class Given(Stubborn):
        def ask(self, history: Any) -> dict[str, Any]:
            return {"x": order[len(history)], "y": 1.0, "z": 1.0}

    objective = Quadratic(Clock())
    study, events = search(objective, sampler=Given(quadratic_space()), max_trials=4)
    again = [event.data for event in events if event.kind == "search.trial_started" and event.data["share"] > 0]
    assert [(data["number"], data["share"]) for data in again] == [(2, RUNGS[0])]
    assert again[0]["reason"] == "place 2 of 4 at 11% of the trial with -1.889; the best 2 go on"
    assert [job.after for job in objective.jobs if job.number == 2] == [0.0, RUNGS[0]]
    assert study.trials[2].share == RUNGS[1]
    assert study.trials[2].seconds == pytest.approx(3.0)  # of its own: those of others in between do not count


def test_the_best_of_three_goes_on_first_and_then_the_default_for_comparison() -> None:
    class Given(RandomSampler):
        def ask(self, history: Any) -> dict[str, Any]:
            return {"x": 1.5, "y": 1.0, "z": 1.0} if len(history) == 2 else super().ask(history)

    leader = 2
    study, events = search(Quadratic(Clock()), sampler=Given(quadratic_space(), 5, direction="max"), wait=2)
    assert study.best is study.trials[leader]
    reported = [
        (event.data["number"], event.data["share"]) for event in events if event.kind == "search.trial_reported"
    ]
    assert reported[:5] == [(0, RUNGS[0]), (1, RUNGS[0]), (2, RUNGS[0]), (leader, RUNGS[1]), (leader, 1.0)]
    assert reported[5:7] == [(0, RUNGS[1]), (0, 1.0)]
    again = [event.data["reason"] for event in events if event.kind == "search.trial_started" and event.data["share"]]
    assert "the others are compared with the default" in again


@pytest.mark.parametrize("max_trials", [1, 2])
def test_a_trial_that_waits_in_vain_goes_on_at_the_end(max_trials: int) -> None:
    study, _ = search(Quadratic(Clock()), max_trials=max_trials, wait=2)
    assert study.best is not None
    assert (len(study.trials), study.best.state) == (max_trials, "finished")
    assert study.ended == f"{max_trials} trials have run"


def test_seconds_are_measured_by_the_clock() -> None:
    study, _ = search(Quadratic(Clock()), keep=1.0, max_trials=2)
    assert [report.seconds for report in study.trials[1].reports] == pytest.approx([1.0, 3.0, 9.0])
    assert study.trials[1].seconds == pytest.approx(9.0)


@pytest.mark.parametrize("kind", [RandomSampler, BayesSampler])
@pytest.mark.parametrize("cut", [1, 4, 7, 11])
def test_a_resumed_search_equals_an_unbroken_one(kind: Any, cut: int) -> None:
    unbroken, events = search(Quadratic(Clock()), sampler=kind(quadratic_space(), 3, direction="max"))
    resumed, _ = search(
        Quadratic(Clock()), sampler=kind(quadratic_space(), 3, direction="max"), history=ended_after(events, cut)
    )
    assert without_seconds(resumed) == without_seconds(unbroken)


def without_seconds(study: Study) -> list[Trial]:
    return [
        replace(trial, seconds=0.0, reports=tuple(replace(report, seconds=0.0, at=0.0) for report in trial.reports))
        for trial in study.trials
    ]


def test_a_running_trial_of_the_history_goes_on_from_its_last_report() -> None:
    whole, _ = search(Quadratic(Clock()), max_trials=3, keep=1.0)
    cut = replace(whole.trials[1], state="running", reports=whole.trials[1].reports[:1], seconds=1.0)
    objective = Quadratic(Clock())
    resumed, events = search(objective, history=(whole.trials[0], cut), max_trials=3, keep=1.0)
    assert without_seconds(resumed) == without_seconds(whole)
    assert [(job.number, job.after) for job in objective.jobs[:2]] == [(1, RUNGS[0]), (1, RUNGS[1])]
    assert [events[0].data[key] for key in ("number", "share", "reason")] == [1, RUNGS[0], "it was interrupted"]


@pytest.mark.parametrize("cut", range(1, 40, 3))
def test_a_search_resumes_from_any_event(cut: int) -> None:
    unbroken, events = search(Quadratic(Clock()))
    told = [event.data["trial"] for event in events[:cut] if "trial" in event.data]
    history = tuple({row["number"]: Trial.from_dict(json.loads(json.dumps(row))) for row in told}.values())
    objective = Quadratic(Clock())
    resumed, _ = search(objective, history=history)
    assert without_seconds(resumed) == without_seconds(unbroken)
    known = {(trial.number, report.share) for trial in history for report in trial.reports}
    assert not known & {(job.number, job.until) for job in objective.jobs}  # nothing is run again


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
    objective = Quadratic(Clock(), lambda job: error if job.number in (0, 1, 5) else None)
    study, _ = search(objective, sampler=BayesSampler(quadratic_space(), direction="max"))
    assert [trial.number for trial in study.trials if trial.state == "failed"] == [0, 1, 5]
    assert study.trials[5].error == text
    assert study.best is not None
    assert (objective.started, objective.open) == (list(range(12)), 0)


def test_three_failures_at_the_start_end_it_with_the_first_reason() -> None:
    objective = Quadratic(Clock(), lambda job: TrainingError(f"reason {job.number}"))
    with pytest.raises(AutoGPTError, match="all 3 trials failed, the search gives up; found reason 0") as caught:
        search(objective)
    assert caught.value.exit_code == 1
    assert objective.started == [0, 1, 2]


def test_a_score_that_is_no_number_fails_the_trial() -> None:
    def objective(job: Job) -> Generator[Event, None, Report]:
        yield from ()
        return Report(job.until, float("nan") if job.number == 1 and job.after else 2.0)

    objective.clock = Clock()  # type: ignore[attr-defined]
    study, events = search(objective, max_trials=2)  # type: ignore[arg-type]
    assert (study.trials[1].state, study.trials[1].error) == ("failed", "the score at 33% of the trial is nan")
    assert len(study.trials[1].reports) == 1
    assert all(json.dumps(event.data, allow_nan=False) for event in events)


@pytest.mark.parametrize("error", [DataError("row 3"), Interrupted("stopped"), KeyboardInterrupt(), ValueError("bug")])
def test_other_errors_propagate_and_the_objective_is_closed(error: BaseException) -> None:
    objective = Quadratic(Clock(), lambda job: error if job.number == 2 else None)
    with pytest.raises(type(error)):
        search(objective, keep=1.0)
    assert (objective.started, objective.open) == ([0, 1, 2], 0)


def test_closing_the_search_closes_the_running_trial() -> None:
    objective = Quadratic(Clock())
    sampler = RandomSampler(quadratic_space(), direction="max")
    run = optimize(sampler.space, Inline(objective), sampler, Racing(), Budget(1e9, objective.clock))
    next(run)
    next(run)
    assert (objective.started, objective.open) == ([0], 1)
    run.close()
    assert objective.open == 0


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
    def objective(job: Job) -> Generator[Event, None, Report]:
        assert conditional_space().contains(job.config)
        yield from ()
        return Report(1.0, 1.0 if job.config.get("method") == "lora" else 0.0)

    objective.clock = Clock()  # type: ignore[attr-defined]
    study, _ = search(objective, sampler=BayesSampler(conditional_space(), direction="max"), max_trials=20)  # type: ignore[arg-type]
    assert study.best is not None
    assert "rank" in study.best.config


def test_no_trial_starts_after_the_last_token() -> None:
    def objective(job: Job) -> Generator[Event, None, Report]:
        yield from ()
        return Report(job.until, 1.0, info={"tokens": round(900 * job.until)})

    sampler = RandomSampler(quadratic_space(), direction="max")
    run = optimize(sampler.space, Inline(objective), sampler, Racing((1.0,)), Budget(1e9), limits=Limits(99, 2000))
    *_, ended = run
    assert ended.data["reason"] == "2,700 tokens have been trained on"
    assert ended.data["trials"] == 3


def test_what_is_not_allowed_costs_no_trial() -> None:
    space = quadratic_space()
    objective = Quadratic(Clock())
    sampler = RandomSampler(space, direction="max")
    limits = Limits(8, allow=lambda config: config["x"] < 0)
    run = optimize(space, Inline(objective), sampler, Racing(), Budget(1e9, objective.clock), limits=limits)
    assert len([event for event in run if event.kind == "search.trial_finished"]) >= 8
    assert objective.started == list(range(8))
    assert all(job.config["x"] < 0 for job in objective.jobs)


def test_an_objection_ends_the_search_and_the_leader_still_comes_to_its_end() -> None:
    def objection(trials: Sequence[Trial], needed_s: float) -> str:
        return "it costs too much" if trials else ""

    objective = Quadratic(Clock())
    sampler = RandomSampler(quadratic_space(), direction="max")
    limits = Limits(8, objection=objection)
    run = optimize(
        sampler.space, Inline(objective), sampler, Racing(RUNGS, wait=2), Budget(1e9, objective.clock), limits=limits
    )
    *_, ended = run
    assert (ended.data["reason"], ended.data["trials"]) == ("it costs too much", 1)
    assert [job.until for job in objective.jobs] == list(RUNGS)
