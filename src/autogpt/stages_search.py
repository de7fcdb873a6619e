"""The search stage of the main path: what a trial does, where trials run, and which one is gone on with."""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from autogpt.config import RunConfig
from autogpt.errors import NoModelError
from autogpt.evaluation.gain import Gain, gain_of, loss_gain_of
from autogpt.events import Event
from autogpt.registry import SAMPLERS
from autogpt.run import Run
from autogpt.search.executor import Executor, Inline, Job, Objective, Outcome
from autogpt.search.processes import Processes
from autogpt.search.racing import Budget
from autogpt.search.stopping import stopper
from autogpt.search.study import optimize
from autogpt.search.trials import Report, Study, Trial, ranking_value
from autogpt.stages import MOST_EVALUATION, Bench, candidate_of, judge, reserve_s
from autogpt.store.artifacts import RunFolder, write_trials_csv
from autogpt.tasks.spec import TaskKind
from autogpt.training.candidate import Candidate
from autogpt.training.finish import Judgement
from autogpt.training.loop import averaged, load_state, save_state, train
from autogpt.training.machine import probe

__all__ = ["TrialRunner", "keep_default_within_noise", "search"]

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
            yield event
            if state.seconds >= job.until * self.full_s:
                break
        with averaged(state) as model:
            found = judge(self.bench, candidate, model)
        save_state(state, self.folder.checkpoint(f"trial-{job.number}"))
        share = 1.0 if state.step >= candidate.max_steps else job.until
        _keep_rows(self.folder, job.number, share, found)
        self._last = (job.number, candidate)
        info = {"step": state.step, "tokens": state.tokens, "loss": round(found.loss, 5)}
        value = ranking_value(found.score, found.loss, self.resolution, self.bench.spec.direction)
        return Report(share, found.score, info=info, value=value)

    def _candidate(self, job: Job) -> Candidate:
        """At the share where the job begins: as it was left here, from its checkpoint, or new."""
        last, self._last = self._last, None
        if last is not None and last[0] == job.number and job.after:
            return last[1]
        del last  # two models at once may not fit
        candidate = candidate_of(self.bench, self.config, job.config)
        if job.after:
            load_state(candidate.state, self.folder.checkpoint(f"trial-{job.number}"))
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


def search(run: Run, bench: Bench, resolution: float) -> Study:
    """Trials under one clock; each is trained, scored at its rungs, and kept as a checkpoint that can be continued."""
    options = run.config.search
    looked_s = run.stages["baselines"] + run.stages["feasibility"]
    free_s = run.budget.seconds - looked_s - reserve_s(run) - MOST_EVALUATION / 2 * run.budget.seconds
    search_s = max(0.0, options.share * free_s)
    history = [Trial.from_dict(row.to_dict()) for row in run.store.trials(run.row.id)]
    clock = Budget(search_s, spent=sum(trial.seconds for trial in history) / options.workers)
    runner = TrialRunner(bench, run.config, run.folder, max(6.0, search_s / _FULL_TRIALS), resolution)
    events = optimize(
        bench.space,
        _Timed(_executor(runner, options.workers), run),
        SAMPLERS.get(options.sampler)(bench.space, seed=run.config.seed, direction=bench.spec.direction),
        stopper(options.stopping, options.rungs, options.keep, options.spare),
        clock,
        history=history,
        max_trials=options.max_trials,
    )
    study = _recorded(run, events)
    write_trials_csv(run.folder.trials, [trial.to_dict() for trial in study.trials])
    if study.best is None:
        raise NoModelError("the budget ended before any trial was scored", todo="give a larger --budget")
    return keep_default_within_noise(run, bench, study)


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


def _recorded(run: Run, events: Generator[Event, None, Study]) -> Study:
    """Drive the search; a trial's change is in the store before anyone hears of it."""
    while True:
        try:
            event = next(events)
        except StopIteration as end:
            study: Study = end.value
            return study
        if "trial" in event.data:
            run.store.record_trial(run.row.id, event.data["trial"])
        run.take(event)


def _keep_rows(folder: RunFolder, number: int, share: float, found: Judgement) -> None:
    if found.rows is not None and found.losses is not None:
        file = folder.rows(number, share)
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez(file, rows=found.rows, losses=found.losses)


def keep_default_within_noise(run: Run, bench: Bench, study: Study) -> Study:
    """The study, with the default configuration kept where the best trial is no better beyond noise.

    Better by the metric, or no worse by the metric and better by the loss on the same rows: where a score counts hits
    on a hundred rows, the loss shows what it cannot.
    """
    best = study.best
    default = next((trial for trial in study.trials if trial.config == bench.space.default), None)
    if best is None or default is None or best is default or default.score is None:
        return study
    shares = sorted({report.share for report in best.reports} & {report.share for report in default.reports})
    files = [[run.folder.rows(trial.number, share) for trial in (best, default)] for share in shares]
    known = [pair for pair in files if all(file.exists() for file in pair)]
    if not known:
        return study
    others = sum(trial.score_at(shares[-1]) is not None for trial in study.trials) - 1
    gains = _gains(bench, [np.load(file) for file in known[-1]], others)
    told = "; ".join(f"{name}: {gain}" for name, gain in gains.items())
    by_metric, *by_loss = gains.values()
    if by_metric.is_real or (by_metric.difference >= 0 and any(gain.is_real for gain in by_loss)):
        run.reasons["winner"] = f"trial {best.number} is better than the default configuration ({told})"
        return study
    run.reasons["winner"] = (
        f"the default configuration: trial {best.number} scored best, without a significant gain over it ({told})"
    )
    run.emit("pipeline.note", message=f"no significant gain over the default configuration, which is kept ({told})")
    return replace(study, kept=default)


def _gains(bench: Bench, tables: Sequence[dict[str, np.ndarray]], others: int) -> dict[str, Gain]:
    """Name → gain of the first over the second: by the metric, and by the loss where that is not the metric."""
    (best, default), spec = tables, bench.spec
    if spec.metric == "bits_per_byte":
        return {spec.metric: gain_of(spec.metric, best["rows"], default["rows"], trials=others)}
    labels = spec.kind is TaskKind.CLASSIFICATION
    return {
        spec.metric: gain_of(spec.metric, best["rows"], default["rows"], trials=2 * others),
        "loss": loss_gain_of(best["losses"], default["losses"], labels=labels, trials=2 * others),
    }
