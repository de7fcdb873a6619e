"""The search itself: propose, run, judge, until the budget is used. A generator of events.

The objective is a generator too: it trains a little, yields a `Report`, trains on. Stopping a trial is closing its
generator, so the objective frees what it holds in a `finally`. Nothing here knows what a model is; tests search a
quadratic in milliseconds.
"""

from __future__ import annotations

import json
import math
import random
import statistics
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from autogpt.errors import AutoGPTError, BadInput, Interrupted
from autogpt.events import Event
from autogpt.search.racing import Budget, Racing
from autogpt.search.samplers import Sampler
from autogpt.search.space import Config, Space
from autogpt.search.trials import Direction, Report, State, Study, Trial, same_config

__all__ = ["Direction", "Objective", "Report", "Study", "Trial", "optimize"]

Objective: TypeAlias = Callable[[int, Mapping[str, Any]], Iterator[Report]]
"""(number, configuration) → reports. Ends by itself when the trial is complete; a class of its own errors fails it."""

FAILURES_BEFORE_GIVING_UP = 3
DRAWS_FOR_A_NEW_CONFIG = 200


def optimize(
    space: Space,
    objective: Objective,
    sampler: Sampler,
    racing: Racing,
    budget: Budget,
    *,
    history: Sequence[Trial] = (),
    max_trials: int = 30,
) -> Generator[Event, None, Study]:
    """Searches `space` until the budget is used, `max_trials` have run or nothing new is left to try.

    Args:
        space: what may be proposed.
        objective: runs one trial. An AutoGPTError (BadInput and Interrupted aside), RuntimeError or MemoryError fails
            the trial and the search goes on; anything else propagates after the objective was closed.
        sampler: proposes configurations from the history alone, so a resumed search goes on as an unbroken one would;
            its `direction` says whether scores shall be large or small.
        racing: the rule that stops weak trials.
        budget: the clock of the search. No trial is started that cannot reach its first score in what is left (by the
            median of the trials so far); a running one is stopped at its next report after the end.
        history: ended trials of the same search; none of them is run again, and they count in `max_trials`.

    Yields: `search.trial_started` {number, config}, `search.trial_reported` {number, share, score, seconds, info,
    verdict, reason}, `search.trial_finished` {trial: Trial.to_dict(), best: number or None, best_score} and at the end
    `search.ended` {reason, trials, best, best_score}.

    Returns: the Study (the generator's return value: `study = yield from optimize(…)`).
    Raises AutoGPTError with the first reason when the first three trials all fail.
    """
    trials = sorted(history, key=lambda trial: trial.number)
    while True:
        ended = _end_reason(trials, budget, max_trials)
        config = None if ended else _new_config(space, sampler, trials)
        if config is None:
            ended = ended or "every configuration of the space that could be drawn was tried"
            break
        number = max((trial.number for trial in trials), default=-1) + 1
        yield Event("search.trial_started", {"number": number, "config": dict(config)})
        trial = yield from _Run(number, config, racing, budget, sampler.direction).events(objective, trials)
        trials.append(trial)
        best = Study(tuple(trials), sampler.direction).best
        yield Event("search.trial_finished", {"trial": trial.to_dict(), **_named(best)})
        if len(trials) >= FAILURES_BEFORE_GIVING_UP and all(one.state == "failed" for one in trials):
            raise AutoGPTError(
                f"all {len(trials)} trials failed, the search gives up",
                found=trials[0].error,
                todo="see events.jsonl in the run folder for the configurations",
            )
    study = Study(tuple(trials), sampler.direction, ended)
    yield Event("search.ended", {"reason": ended, "trials": len(trials), **_named(study.best)})
    return study


@dataclass(frozen=True, slots=True)
class _Run:
    """One trial while it runs."""

    number: int
    config: Config
    racing: Racing
    budget: Budget
    direction: Direction

    def events(self, objective: Objective, history: Sequence[Trial]) -> Generator[Event, None, Trial]:
        """Runs the objective; yields its reports as events and returns the ended trial."""
        start = self.budget.clock()
        reports: list[Report] = []
        try:
            reason = yield from self._drive(objective, history, reports)
        except (BadInput, Interrupted):
            raise
        except (AutoGPTError, RuntimeError, MemoryError) as error:
            text = " ".join(str(error).split()) or type(error).__name__
            if not isinstance(error, AutoGPTError):
                text = f"{type(error).__name__}: {text}"
            return Trial(self.number, self.config, "failed", tuple(reports), self.budget.clock() - start, error=text)
        state: State = "stopped" if reason else "finished"
        return Trial(self.number, self.config, state, tuple(reports), self.budget.clock() - start, reason=reason)

    def _drive(
        self, objective: Objective, history: Sequence[Trial], reports: list[Report]
    ) -> Generator[Event, None, str]:
        """Fills `reports`; returns why the trial was stopped, empty when it ended by itself."""
        start = self.budget.clock()
        with _closed(objective(self.number, self.config)) as source:
            for said in source:
                if not math.isfinite(said.score):
                    raise AutoGPTError(f"the score at {said.share:.0%} of the trial is {said.score}")
                report = replace(said, seconds=self.budget.clock() - start)
                reports.append(report)
                verdict = self.racing.verdict(reports, history, direction=self.direction)
                action, reason = verdict.action, verdict.reason
                if action == "go" and report.share < 1 and self.budget.remaining() <= 0:
                    action, reason = "stop", "the time of the search is used"
                yield Event(
                    "search.trial_reported",
                    {"number": self.number, **report.to_dict(), "verdict": action, "reason": reason},
                )
                if action == "stop":
                    return reason
        if not reports:
            raise AutoGPTError("the trial ended without a score")
        return ""


def _closed(source: Iterator[Report]) -> closing[Any]:
    """`source` as a context that closes it; an iterator without `close` has nothing to free."""
    return closing(source if hasattr(source, "close") else (report for report in source))


def _end_reason(trials: Sequence[Trial], budget: Budget, max_trials: int) -> str:
    """Why no further trial is started; empty when one is."""
    if len(trials) >= max_trials:
        return f"{max_trials} trials have run"
    left_s = budget.remaining()
    if left_s <= 0:
        return "the time of the search is used"
    needed_s = seconds_to_first_rung(trials)
    if needed_s > left_s:
        return f"{left_s:.1f} s are left, a trial needs {needed_s:.1f} s to its first score"
    return ""


def seconds_to_first_rung(trials: Sequence[Trial]) -> float:
    """Median seconds from the start of a trial to its first report; 0 when nothing is known."""
    return statistics.median([trial.reports[0].seconds for trial in trials if trial.reports] or [0.0])


def _new_config(space: Space, sampler: Sampler, trials: Sequence[Trial]) -> Config | None:
    """The sampler's proposal, or when that was tried already a random draw that was not; None when all draws were.

    The draws depend on the number of trials alone, so a resumed search makes the same ones.
    """
    config = space.validate(sampler.ask(trials))
    rng = random.Random(f"{len(trials)}:{json.dumps(config, sort_keys=True)}")
    for _ in range(DRAWS_FOR_A_NEW_CONFIG):
        if not any(same_config(config, trial.config) for trial in trials):
            return config
        config = space.sample(rng)
    return None


def _named(best: Trial | None) -> dict[str, Any]:
    return {"best": None if best is None else best.number, "best_score": None if best is None else best.score}
