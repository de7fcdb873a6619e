"""The search itself: propose, run, judge, until the budget is used. A generator of events.

Trials run from one rung to the next as jobs of an executor (`executor.py`), and stand on a checkpoint in between: one
that is stopped at a rung is gone on with when what is known by then would let it pass. Nothing here knows what a model
is; tests search a quadratic in milliseconds.
"""

from __future__ import annotations

import json
import math
import random
import statistics
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

from autogpt.errors import AutoGPTError
from autogpt.events import Event
from autogpt.search.executor import Executor, Job, Outcome
from autogpt.search.racing import Budget, Stopper, Verdict
from autogpt.search.samplers import Sampler
from autogpt.search.space import Config, Space
from autogpt.search.trials import SLACK, Direction, Report, State, Study, Trial, same_config

__all__ = ["Direction", "Limits", "Report", "Study", "Trial", "optimize"]

FAILURES_BEFORE_GIVING_UP = 3
DRAWS_FOR_A_NEW_CONFIG = 200
LOSSES_BEFORE_GIVING_UP = 2
"""A trial whose process was lost goes back to the queue once: a second loss is likely its own doing."""
TIME_IS_USED = "the time of the search is used"


def _anything(config: Config) -> bool:
    return True


def _always(trials: Sequence[Trial], needed_s: float) -> str:
    return ""


@dataclass(frozen=True, slots=True)
class Limits:
    """What bounds a search beside its time.

    Attributes:
        trials: most trials.
        tokens: training tokens of all trials together (`tokens` in the information of their reports) after which no
            new one is started; None for any number.
        allow: whether a configuration may be tried at all; what it refuses costs no trial.
        objection: (trials so far, seconds of a job that would come next) → why it is not worth its time and the search
            ends; empty while it is. The default's and the leader's jobs are not asked about.
    """

    trials: int = 30
    tokens: int | None = None
    allow: Callable[[Config], bool] = _anything
    objection: Callable[[Sequence[Trial], float], str] = _always


def optimize(
    space: Space,
    executor: Executor,
    sampler: Sampler,
    stopper: Stopper,
    budget: Budget,
    *,
    history: Sequence[Trial] = (),
    limits: Limits | None = None,
) -> Generator[Event, None, Study]:
    """Searches `space` until the budget or a limit is reached or nothing new is left to try.

    Args:
        space: what may be proposed.
        executor: runs the jobs; it is closed at the end, whatever happens.
        sampler: proposes configurations from the history alone, so a resumed search goes on as an unbroken one would
            (with one worker); its `direction` says whether values shall be large or small.
        stopper: the rule that stops weak trials.
        budget: the clock of the search. No job is started that, going by the trials so far, would not end in what is
            left.
        history: trials of the same search. Ended ones are not run again, running ones are gone on with from their last
            report; all count in the limits.
        limits: what bounds the search beside its time.

    Yields: what the jobs tell, and `search.trial_started` {number, config, share, reason} (also when a stopped trial is
    gone on with: share > 0), `search.trial_reported` {number, share, score, seconds, info, verdict, reason},
    `search.trial_lost` {number}, `search.trial_finished` {best: number or None, best_score} each time a trial comes to
    rest, and at the end `search.ended` {reason, trials, best, best_score}. Those of a trial carry it whole, as
    {trial: Trial.to_dict()}: who writes it down each time can resume the search with what is written.

    Returns: the Study (the generator's return value: `study = yield from optimize(…)`).
    Raises AutoGPTError with the first reason when the first three trials all fail.
    """
    known = {trial.number: trial for trial in history}
    search = _Search(space, sampler, stopper, budget, limits or Limits(), known)
    with closing(executor):
        while True:
            while len(search.running) < executor.workers and (job := search.next_job()) is not None:
                executor.submit(job)
                yield from search.told(job)
            if not search.running:
                break
            happened = executor.wait()
            if isinstance(happened, Event):
                yield happened
                continue
            yield from search.take(happened)
            search.give_up_when_all_fail()
    study = Study(search.history, sampler.direction, search.ended)
    yield Event("search.ended", {"reason": search.ended, "trials": len(study.trials), **_named(study.best)})
    return study


@dataclass(slots=True)
class _Search:
    """What is known, what is running, and what comes next.

    Attributes:
        trials: number → the trial as it stands.
        running: number → its job, and when that was submitted.
        ended: why no further trial is started; empty while one may be.
        _why: number → why its last job was started, in words; empty where it just goes on.
    """

    space: Space
    sampler: Sampler
    stopper: Stopper
    budget: Budget
    limits: Limits
    trials: dict[int, Trial]
    running: dict[int, tuple[Job, float]] = field(default_factory=dict)
    ended: str = ""
    _why: dict[int, str] = field(default_factory=dict)

    @property
    def history(self) -> tuple[Trial, ...]:
        return tuple(self.trials[number] for number in sorted(self.trials))

    # ------------------------------------------------------- what comes next

    def next_job(self) -> Job | None:
        """The job to start now, marked as running; None when there is none.

        First trials that were interrupted or let through, then stopped ones that would pass now, then new ones.
        """
        for trial in self.history:
            if trial.state == "running" and trial.number not in self.running:
                if (job := self._job(trial)) is not None:
                    return self._start(trial, job, self._why.get(trial.number, "it was interrupted"))
                self.trials[trial.number] = replace(trial, state="stopped", reason=TIME_IS_USED)
        if (job := self._default_follows()) is not None:
            return job
        for trial in self._stopped():
            verdict = self._verdict(trial)
            if verdict.action == "go" and (job := self._job(trial)) is not None and self._is_worth(trial, job):
                return self._start(trial, job, verdict.reason)
        if (job := self._new()) is not None or self.running:
            return job
        return self._last_resort()

    def _default_follows(self) -> Job | None:
        """The default configuration goes as far as the first trial that ends: what is better than it is said of scores
        at the same length."""
        default = self.trials.get(0)
        if default is None or default.state != "stopped" or default.config != self.space.default:
            return None
        if not any(trial.state == "finished" for trial in self.trials.values()):
            return None
        job = self._job(default)
        return None if job is None else self._start(default, job, "the others are compared with the default")

    def _last_resort(self) -> Job | None:
        """Where nothing new can be started and no trial has come to its end: the best one goes on."""
        if any(trial.state == "finished" for trial in self.trials.values()):
            return None
        for trial in self._stopped():
            if (job := self._job(trial)) is not None:
                return self._start(trial, job, f"no other trial can be started ({self.ended})")
        return None

    def _stopped(self) -> list[Trial]:
        """Trials that the race stopped: those first that came furthest, and of these the best."""
        sign = -1.0 if self.sampler.direction == "max" else 1.0
        stopped = [trial for trial in self.history if trial.state == "stopped" and trial.reason != TIME_IS_USED]
        return sorted(stopped, key=lambda trial: (-trial.share, sign * (trial.value or 0.0)))

    def _new(self) -> Job | None:
        self.ended = self._end_reason()
        if self.ended:
            return None
        config = _new_config(self.space, self.sampler, self.history, self.limits.allow)
        if config is None:
            self.ended = "every configuration of the space that could be drawn was tried"
            return None
        trial = Trial(max(self.trials, default=-1) + 1, config, "running")
        job = self._job(trial)
        assert job is not None
        return self._start(trial, job, "")

    def _start(self, trial: Trial, job: Job, why: str) -> Job:
        self.trials[trial.number] = replace(trial, state="running", reason="")
        self.running[trial.number] = (job, self.budget.clock())
        self._why[trial.number] = why
        return job

    def _job(self, trial: Trial) -> Job | None:
        """The trial's next part; None when it would not end in the time that is left."""
        after = trial.reports[-1].share if trial.reports else 0.0
        until = next((rung for rung in self.stopper.rungs if rung > after + SLACK), 1.0)
        if self._needed_s(trial, until) > self.budget.remaining():
            return None
        return Job(trial.number, trial.config, after, until)

    @staticmethod
    def _needed_s(trial: Trial, until: float) -> float:
        """Seconds to that share, going by those so far; 0 for a trial that has not reported."""
        if not trial.reports or not (after := trial.reports[-1].share):
            return 0.0
        return trial.reports[-1].seconds / after * (until - after)

    def _is_worth(self, trial: Trial, job: Job) -> bool:
        leads = Study(self.history, self.sampler.direction).best is trial
        return leads or not self.limits.objection(self.history, self._needed_s(trial, job.until))

    def _end_reason(self) -> str:
        """Why no further trial is started; empty when one is."""
        if len(self.trials) >= self.limits.trials:
            return f"{self.limits.trials} trials have run"
        tokens = sum(int(trial.reports[-1].info.get("tokens", 0)) for trial in self.trials.values() if trial.reports)
        if self.limits.tokens is not None and tokens >= self.limits.tokens:
            return f"{tokens:,} tokens have been trained on"
        left_s = self.budget.remaining()
        if left_s <= 0:
            return TIME_IS_USED
        firsts = [trial.reports[0].seconds for trial in self.trials.values() if trial.reports]
        needed_s = statistics.median(firsts) if firsts else 0.0
        if needed_s > left_s:
            return f"{left_s:.1f} s are left, a trial needs {needed_s:.1f} s to its first score"
        return self.limits.objection(self.history, needed_s)

    # --------------------------------------------------------- what happened

    def told(self, job: Job) -> Generator[Event, None, None]:
        """What is said when a job starts; nothing where a trial just goes on."""
        why = self._why[job.number]
        if why or job.after == 0:
            data = {"number": job.number, "config": dict(job.config), "share": job.after, "reason": why}
            yield Event("search.trial_started", {**data, "trial": self.trials[job.number].to_dict()})

    def take(self, outcome: Outcome) -> Generator[Event, None, None]:
        """Judges a job that ended, and says so."""
        job = outcome.job
        _, began = self.running.pop(job.number)
        self._why[job.number] = ""
        trial = self.trials[job.number]
        seconds = trial.seconds + self.budget.clock() - began
        if outcome.report is None:
            yield self._failed(replace(trial, seconds=seconds), outcome)
            return
        if not math.isfinite(outcome.report.score):
            error = f"the score at {outcome.report.share:.0%} of the trial is {outcome.report.score}"
            yield self._failed(replace(trial, seconds=seconds), Outcome(job, error=error))
            return
        report = replace(outcome.report, seconds=seconds, at=self.budget.elapsed())
        trial = replace(trial, reports=(*trial.reports, report), seconds=seconds)
        over = report.share >= 1 - SLACK
        verdict = self._verdict(trial)
        go, reason = verdict.action == "go", verdict.reason
        if go and not over and self._job(trial) is None:
            go, reason = False, TIME_IS_USED
        # The event carries the trial as it comes to rest: a search that is cut off after it must not run on.
        state: State = "finished" if over else "running" if go else "stopped"
        trial = replace(trial, state=state, reason=reason if state == "stopped" else "")
        self.trials[job.number] = trial
        told = {"verdict": "go" if go else "stop", "reason": reason, "trial": trial.to_dict()}
        yield Event("search.trial_reported", {"number": job.number, **report.to_dict(), **told})
        if state != "running":
            yield self._finished(trial)

    def _failed(self, trial: Trial, outcome: Outcome) -> Event:
        error = outcome.error
        if outcome.lost:
            trial = replace(trial, lost=trial.lost + 1)
            if trial.lost < LOSSES_BEFORE_GIVING_UP:
                self.trials[trial.number] = trial
                self._why[trial.number] = "the process that ran it was lost"
                return Event("search.trial_lost", {"number": trial.number, "trial": trial.to_dict()})
            error = f"the process that ran it was lost {trial.lost} times"
        self.trials[trial.number] = trial = replace(trial, state="failed", error=error)
        return self._finished(trial)

    def _finished(self, trial: Trial) -> Event:
        best = Study(self.history, self.sampler.direction).best
        return Event("search.trial_finished", {"trial": trial.to_dict(), **_named(best)})

    def _verdict(self, trial: Trial) -> Verdict:
        others = [other for other in self.history if other.number != trial.number]
        return self.stopper.verdict(trial.reports, others, direction=self.sampler.direction)

    def give_up_when_all_fail(self) -> None:
        ended = [trial for trial in self.history if trial.state != "running"]
        if len(ended) >= FAILURES_BEFORE_GIVING_UP and all(trial.state == "failed" for trial in ended):
            raise AutoGPTError(
                f"all {len(ended)} trials failed, the search gives up",
                found=ended[0].error,
                todo="see events.jsonl in the run folder for the configurations",
            )


def _new_config(
    space: Space, sampler: Sampler, trials: Sequence[Trial], allow: Callable[[Config], bool]
) -> Config | None:
    """The sampler's proposal, or when that was tried already or is not allowed, the first random draw that is neither.

    None when all draws were.

    The draws depend on the number of trials alone, so a resumed search makes the same ones.
    """
    config = space.validate(sampler.ask(trials))
    rng = random.Random(f"{len(trials)}:{json.dumps(config, sort_keys=True)}")
    for _ in range(DRAWS_FOR_A_NEW_CONFIG):
        if not any(same_config(config, trial.config) for trial in trials) and allow(config):
            return config
        config = space.sample(rng)
    return None


def _named(best: Trial | None) -> dict[str, Any]:
    return {"best": None if best is None else best.number, "best_score": None if best is None else best.score}
