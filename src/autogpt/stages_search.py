"""The search stage of the main path: what a trial does, and where trials run."""

from __future__ import annotations

import os
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from autogpt.bench import Bench, candidate_of, judge
from autogpt.config import RunConfig
from autogpt.delivery import deliver_so_far
from autogpt.errors import NoModelError, TrainingError
from autogpt.evaluation.gain import seeds_alone, seeds_at_least
from autogpt.events import Event
from autogpt.registry import SAMPLERS
from autogpt.run import Run
from autogpt.search.executor import Executor, Inline, Job, Objective, Outcome
from autogpt.search.neighbours import features_of, first_configs, past_searches
from autogpt.search.processes import Processes
from autogpt.search.racing import Budget
from autogpt.search.samplers import Sampler
from autogpt.search.stopping import rungs_for, stopper
from autogpt.search.study import Limits, optimize
from autogpt.search.trials import Report, Study, Trial, ranking_value
from autogpt.search.worth import Worth
from autogpt.stages import MOST_EVALUATION, reserve_s
from autogpt.stages_choose import LEAST_STEPS, choose
from autogpt.store.artifacts import RunFolder, write_trials_csv
from autogpt.training.admission import Admission, Ceilings
from autogpt.training.candidate import Candidate
from autogpt.training.finish import Judgement
from autogpt.training.loop import averaged, load_state, save_state, train
from autogpt.training.machine import probe

__all__ = ["TrialRunner", "clock_of", "search", "share_of"]

_LEAST_SHARE, _LARGEST_SHARE, _WHOLE_SEARCH_S = 0.1, 0.45, 1200.0
_FULL_TRIALS = 4.0
"""Trials of full length that fit the search's share; most are stopped long before."""


@dataclass(slots=True)
class TrialRunner:
    """The search's objective: trains a trial up to the job's share of its full length, scores it, saves it.

    Attributes:
        full_s: seconds of training of a trial of full length.
        resolution: steps in which scores are ranked; see `ranking_value`.
    """

    bench: Bench
    config: RunConfig
    folder: RunFolder
    full_s: float
    resolution: float
    _last: tuple[int, Candidate] | None = field(default=None, repr=False)

    def __call__(self, job: Job) -> Generator[Event, None, Report]:
        candidate = self._candidate(job)
        state = candidate.state
        steps = train(
            state, candidate.batches, candidate.settings, until=candidate.max_steps, objective=candidate.objective
        )
        for event in steps:
            yield Event(event.kind, {**event.data, "number": job.number}, event.time_s)
            if state.seconds >= job.until * self.full_s:
                break
        began = time.perf_counter()
        with averaged(state) as model:
            found = judge(self.bench, candidate, model)
            size = sum(parameter.numel() for parameter in model.parameters())
        judged_s, rows = time.perf_counter() - began, 1 if found.rows is None else len(found.rows)
        row_ms = round(1000 * judged_s / max(1, rows), 3)
        self._require_fast(row_ms)
        save_state(state, self.folder.checkpoint(f"trial-{job.number}"))
        share = 1.0 if state.step >= candidate.max_steps else job.until
        _keep_rows(self.folder, job.number, share, found)
        self._last = (job.number, candidate)
        info = {
            "step": state.step,
            "steps": candidate.max_steps,
            "tokens": state.tokens,
            "loss": round(found.loss, 5),
            "parameters": size,
            "row_ms": row_ms,
        }
        value = ranking_value(found.score, found.loss, self.resolution, self.bench.direction)
        return Report(share, found.score, info=info, value=value)

    def candidate_of_last(self, trial: Trial) -> Candidate:
        """The candidate of a trial as it was when it reported last: at hand where it ran here, else its checkpoint."""
        if self._last is not None and self._last[0] == trial.number:
            return self._last[1]
        return self._restored(trial.number, trial.config)

    def _require_fast(self, row_ms: float) -> None:
        most = self.config.search.max_row_ms
        if most is not None and row_ms > most:
            raise TrainingError(
                "the model answers too slowly",
                found=f"{row_ms:g} ms a validation row",
                expected=f"at most search.max_row_ms, {most:g} ms",
                todo="raise it, or ask for smaller models (search.space.width, depth)",
            )

    def _candidate(self, job: Job) -> Candidate:
        """At the share where the job begins: as it was left here, from its checkpoint, or new."""
        last, self._last = self._last, None
        if last is not None and last[0] == job.number and job.after:
            return last[1]
        del last  # two models at once may not fit
        return (
            self._restored(job.number, job.config) if job.after else candidate_of(self.bench, self.config, job.config)
        )

    def _restored(self, number: int, config: Mapping[str, Any]) -> Candidate:
        candidate = candidate_of(self.bench, self.config, config)
        load_state(candidate.state, self.folder.checkpoint(f"trial-{number}"))
        return candidate


@dataclass(slots=True)
class _Timed:
    """An executor whose time is booked as training and scoring."""

    inner: Executor
    run: Run

    @property
    def workers(self) -> int:
        return self.inner.workers

    def submit(self, job: Job) -> None:
        self.inner.submit(job)

    def wait(self) -> Event | Outcome:
        with self.run.busy():
            return self.inner.wait()

    def close(self) -> None:
        self.inner.close()


def share_of(budget_s: float) -> float:
    """The share of a budget's seconds that goes into the search.

    In four minutes a search found nothing that was better than the default in the end, and its trials cost the default
    a third of its training (benchmarks/results/live.md). So it gets little of a short budget.
    """
    return min(_LARGEST_SHARE, max(_LEAST_SHARE, _LARGEST_SHARE * budget_s / _WHOLE_SEARCH_S))


def clock_of(run: Run, history: Sequence[Trial]) -> tuple[Budget, float]:
    """The clock of a search that begins now, and the seconds that it and the training of its winner have together.

    These are what the stages before have left, whatever they were (a comparison of groups takes a fifth of the budget),
    without what answering the test rows and the report will need. The search has its share of them.

    Args:
        history: trials of this search that ran before it was interrupted; their time is the search's, and used.
    """
    options = run.config.search
    searched_s = sum(trial.seconds for trial in history) / options.workers
    kept_s = reserve_s(run) + MOST_EVALUATION / 2 * run.budget.seconds
    free_s = max(0.0, run.budget.remaining() + searched_s - kept_s)
    share = share_of(run.budget.seconds) if options.share == "auto" else options.share
    return Budget(share * free_s, spent=searched_s), free_s


def search(run: Run, bench: Bench, resolution: float) -> Study:
    """Trials under one clock; each is trained, scored at its rungs, and kept as a checkpoint that can be continued."""
    options = run.config.search
    history = [Trial.from_dict(row.to_dict()) for row in run.store.trials(run.row.id)]
    clock, free_s = clock_of(run, history)
    admission = Admission(bench.corpus, bench.bases, run.config.training, bench.machine.precision, Ceilings.of(options))
    limits = Limits(options.max_trials, options.max_tokens, partial(_is_below_ceilings, run, admission))
    if options.share == "auto":
        run.reasons["search.share"] = f"{share_of(run.budget.seconds):.2g} at the most: a short budget is for training"
        if options.sampler == "auto" and options.prefer == "score":  # else the user wants trials to be made
            noise = partial(seeds_at_least, bench.score.name)
            worth = Worth(free_s, bench.direction, LEAST_STEPS, noise, options.workers)
            limits = replace(limits, objection=worth.objection)
    full_s = max(6.0, clock.seconds / _FULL_TRIALS)
    rungs = rungs_for(full_s) if options.rungs == "auto" else options.rungs
    runner = TrialRunner(bench, run.config, run.folder, full_s, resolution)
    events = optimize(
        bench.space,
        _Timed(_executor(runner, options.workers), run),
        _sampler(run, bench),
        stopper(options.stopping, rungs, options.keep, options.spare),
        clock,
        history=history,
        limits=limits,
    )
    study = _recorded(run, events, _SoFar(run, runner, {trial.number: trial for trial in history}))
    write_trials_csv(run.folder.trials, [trial.to_dict() for trial in study.trials])
    if study.best is None:
        first = next((trial.error for trial in study.trials if trial.error), "")
        raise NoModelError("the search ended before any trial was scored", found=first, todo="give a larger --budget")
    return choose(run, bench, study)


def _sampler(run: Run, bench: Bench) -> Sampler:
    """The search's sampler. The default one begins with what past runs on similar tasks found."""
    make = partial(SAMPLERS.get(run.config.search.sampler), bench.space, seed=run.config.seed)
    if run.config.search.sampler != "auto":
        sampler: Sampler = make(direction=bench.direction)
        return sampler
    if len(bench.parts) > 1:  # what did well on single tasks says nothing of how tasks share a model
        alone: Sampler = make(direction=bench.direction)
        return alone
    spec, start = run.store.task(run.row.task_key)[0], bench.space.default["start"]
    features = features_of(spec, rows=bench.train_rows, start=start, budget_s=run.row.budget_s)
    past = [] if run.row.config.get("fresh") else past_searches(run.store, features, before=run.row.created)
    proposals = first_configs(bench.space, features, past, bar=seeds_alone)
    if told := dict.fromkeys(one.origin for one in proposals if one.run is not None):
        run.reasons["first"] = "; ".join(told)
        run.emit("pipeline.note", message=f"tried early: {run.reasons['first']}")
    sampler = make(direction=bench.direction, first=[one.config for one in proposals])
    return sampler


def _is_below_ceilings(run: Run, admission: Admission, config: Mapping[str, Any]) -> bool:
    """Whether `config` is below the user's ceilings; the first that is not is told, with the numbers."""
    refusal = admission.refusal(config)
    if refusal and "ceilings" not in run.reasons:
        named = ", ".join(f"{name} {value}" for name, value in config.items())
        run.reasons["ceilings"] = f"what is above them is not tried, such as {named}: {refusal}"
        run.emit("pipeline.note", message=f"configurations above a ceiling are not tried, such as {named}: {refusal}")
    return not refusal


def _executor(runner: TrialRunner, workers: int) -> Executor:
    if workers == 1:
        return Inline(runner)
    # The sealed rows stay here: what another process does not have, it cannot read.
    apart = replace(runner, bench=runner.bench.without_sealed_rows())
    threads = max(1, runner.bench.machine.threads // workers)
    return Processes(partial(_elsewhere, apart, threads), workers, preload=["autogpt.stages_search"])


def _elsewhere(runner: TrialRunner, threads: int) -> Objective:
    """The objective in a worker, which has its share of the cores."""
    os.environ["OMP_NUM_THREADS"] = str(threads)
    machine = probe(runner.bench.machine.precision, threads)
    return replace(runner, bench=replace(runner.bench, machine=machine))


@dataclass(slots=True)
class _SoFar:
    """Keeps a usable model of the best trial so far: a run that ends early, for whatever reason, leaves one.

    Attributes:
        trials: number → the trial as it stands.
        again_s: when the next one may be written; a write takes at most a twentieth of the time between two.
    """

    run: Run
    runner: TrialRunner
    trials: dict[int, Trial]
    again_s: float = 0.0

    def look(self, event: Event) -> None:
        """Write the model of the trial that has just reported, where that leads."""
        trial = Trial.from_dict(event.data["trial"])
        self.trials[trial.number] = trial
        best = Study(tuple(self.trials.values()), self.runner.bench.direction).best
        began = self.run.budget.elapsed()
        if event.kind != "search.trial_reported" or best is not trial or began < self.again_s:
            return
        deliver_so_far(self.run, self.runner.bench, self.runner.candidate_of_last(trial), trial)
        self.again_s = began + 20 * (self.run.budget.elapsed() - began)


def _recorded(run: Run, events: Generator[Event, None, Study], so_far: _SoFar) -> Study:
    """Drive the search; a trial's change is in the store before anyone hears of it."""
    while True:
        try:
            event = next(events)
        except StopIteration as end:
            study: Study = end.value
            return study
        if "trial" in event.data:
            run.keep(partial(run.store.record_trial, run.row.id, event.data["trial"]))
            so_far.look(event)
        run.take(event)


def _keep_rows(folder: RunFolder, number: int, share: float, found: Judgement) -> None:
    if found.rows is not None:
        file = folder.rows(number, share)
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez(file, rows=found.rows, losses=np.zeros((0, 2)) if found.losses is None else found.losses)
