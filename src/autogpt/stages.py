"""The stages of the main path, each a function of the run and of what it works on; `pipeline` calls them in order."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from autogpt.config import RunConfig, home
from autogpt.data import readers
from autogpt.data.corpus import Corpus
from autogpt.data.splits import Dataset, prepare
from autogpt.errors import NoModelError
from autogpt.evaluation.baselines import ladder
from autogpt.evaluation.evaluate import score
from autogpt.evaluation.final import Examination, ExamLimits, UntunedBase, examine, seconds_per_row
from autogpt.evaluation.gain import gain_of
from autogpt.evaluation.validate import Validator
from autogpt.events import Event
from autogpt.generation.engine import Engine
from autogpt.generation.sampling import Sampling
from autogpt.models.bases import available, own_bases, resolve
from autogpt.models.hub import load_model
from autogpt.registry import SAMPLERS
from autogpt.run import Run
from autogpt.search.gpt_space import SCRATCH, space_for
from autogpt.search.racing import Budget, Racing
from autogpt.search.space import Space
from autogpt.search.study import Report, Study, Trial, optimize
from autogpt.store.artifacts import write_trials_csv
from autogpt.tasks.spec import TaskSpec
from autogpt.tasks.understand import with_labels
from autogpt.training.candidate import Candidate, build
from autogpt.training.finish import FinishPlan, Judgement, finish
from autogpt.training.loop import averaged, load_state, save_state, train
from autogpt.training.machine import Machine, probe
from autogpt.training.starts import Start, bases_of, choose_bases

__all__ = ["Bench", "evaluate", "finish_best", "keep_default_within_noise", "search", "set_up", "show_baselines"]

_FULL_TRIALS = 4.0
"""Trials of full length that fit the search's share; with the default rungs about twice as many start."""
_BASE_SHARE, _BASE_FROM_S = 0.07, 240.0
"""Share of the budget in which the untuned base may answer; in shorter runs loading it would cost too much."""
_MOST_EVALUATION = 0.2
"""Share of the budget that answering the test rows may take; beyond it fewer are answered, and the report says so."""


@dataclass(frozen=True, slots=True)
class Bench:
    """What the stages work on: the task, its data as splits and as tokens, the machine, the bases and the score."""

    spec: TaskSpec
    dataset: Dataset
    corpus: Corpus
    machine: Machine
    bases: Mapping[str, Start]
    space: Space
    validator: Validator
    reasons: Mapping[str, str]


def set_up(config: RunConfig, spec: TaskSpec, tables: Sequence[readers.Table], seconds: float) -> Bench:
    """Everything that can be refused is refused here: rows, names of samplers and bases, wishes about the space."""
    SAMPLERS.get(config.search.sampler)
    Racing(config.search.rungs, config.search.keep)
    dataset = prepare(spec, tables[0], tables[1] if len(tables) > 1 else None, config.data, config.seed)
    spec = with_labels(spec, [example.target for example in (*dataset.train, *dataset.valid)])
    corpus = Corpus(spec, dataset)
    machine = probe(config.training.precision, config.training.threads)
    reasons = {"precision": f"{machine.precision}: {machine.reason}; {machine.threads} threads"}
    bases = choose_bases(config.base, corpus, machine, seconds, reasons)
    scratch = config.base in ("auto", SCRATCH)
    space = space_for(spec, corpus.characters, bases_of(bases, corpus, scratch=scratch), scratch=scratch)
    space = space.narrowed(config.search.space)
    validator = Validator(spec, dataset.valid, config.evaluation.search_rows)
    return Bench(spec, dataset, corpus, machine, bases, space, validator, reasons)


def show_baselines(run: Run, bench: Bench) -> None:
    """What simple methods reach on validation rows, so that the user knows early what there is to beat."""
    with run.busy():
        rows = bench.validator.examples
        for baseline in ladder(bench.spec, bench.dataset.train, rows):
            main = score(bench.spec, rows, baseline.predictions, resamples=200).main
            run.emit("pipeline.baseline", name=baseline.name, value=main.value, ci95=list(main.ci95))


def _candidate(run: Run, bench: Bench, config: Mapping[str, Any]) -> Candidate:
    return build(
        config,
        bench.corpus,
        base=bench.bases.get(config["start"]),
        options=run.config.training,
        machine=bench.machine,
        longest_answer=run.config.evaluation.max_new_tokens,
        seed=run.config.seed,
    )


def _engine(bench: Bench, candidate: Candidate, model: Any) -> Engine:
    return Engine(model, candidate.tokenizer, context=candidate.context, precision=bench.machine.precision)


def _judge(bench: Bench, candidate: Candidate, model: Any) -> Judgement:
    return bench.validator.judge(_engine(bench, candidate, model), candidate.max_new_tokens)


def search(run: Run, bench: Bench) -> Study:
    """Trials under one clock; each is trained, scored at its rungs, and kept as a checkpoint that can be continued."""
    options = run.config.search
    free_s = run.budget.seconds - run.stages["baselines"] - _reserve_s(run) - _MOST_EVALUATION / 2 * run.budget.seconds
    search_s = max(0.0, options.share * free_s)
    full_s = max(6.0, search_s / _FULL_TRIALS)
    history = [Trial.from_dict(row.to_dict()) for row in run.store.trials(run.row.id)]
    clock = Budget(search_s, spent=sum(trial.seconds for trial in history))

    def objective(number: int, config: Mapping[str, Any]) -> Iterator[Report]:
        candidate = _candidate(run, bench, config)
        state = candidate.state
        for rung in options.rungs:
            with run.busy():
                steps = train(
                    state,
                    candidate.batches,
                    candidate.settings,
                    until=candidate.max_steps,
                    objective=candidate.objective,
                )
                for event in steps:
                    run.take(event)
                    if state.seconds >= rung * full_s:
                        break
                with averaged(state) as model:
                    found = _judge(bench, candidate, model)
            save_state(state, run.folder.checkpoint(f"trial-{number}"))
            over = state.step >= candidate.max_steps
            share = 1.0 if over else rung
            _keep_rows(run.folder.rows(number, share), found)
            info = {"step": state.step, "tokens": state.tokens, "loss": round(found.loss, 5)}
            yield Report(share, found.score, info=info)
            if over:
                return

    sampler = SAMPLERS.get(options.sampler)
    study = _recorded_study(
        run,
        optimize(
            bench.space,
            objective,
            sampler(bench.space, seed=run.config.seed, direction=bench.spec.direction),
            Racing(options.rungs, options.keep),
            clock,
            history=history,
            max_trials=options.max_trials,
        ),
    )
    write_trials_csv(run.folder.trials, [trial.to_dict() for trial in study.trials])
    if study.best is None:
        raise NoModelError("the budget ended before any trial was scored", todo="give a larger --budget")
    return keep_default_within_noise(run, bench, study)


def _keep_rows(file: Path, found: Judgement) -> None:
    if found.rows is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        np.save(file, found.rows)


def keep_default_within_noise(run: Run, bench: Bench, study: Study) -> Study:
    """The study, with the default configuration kept where the best trial is no better beyond noise."""
    best = study.best
    default = next((trial for trial in study.trials if trial.config == bench.space.default), None)
    if best is None or default is None or best is default:
        return study
    shares = sorted({report.share for report in best.reports} & {report.share for report in default.reports})
    files = [[run.folder.rows(trial.number, share) for trial in (best, default)] for share in shares]
    known = [pair for pair in files if all(file.exists() for file in pair)]
    if default.score is None or not known:
        return study
    others = sum(trial.score_at(shares[-1]) is not None for trial in study.trials) - 1
    gain = gain_of(bench.spec.metric, *(np.load(file) for file in known[-1]), trials=others)
    if gain.is_real:
        run.reasons["winner"] = f"trial {best.number} is better than the default configuration ({gain})"
        return study
    run.reasons["winner"] = (
        f"the default configuration: trial {best.number} scored best, without a significant gain over it ({gain})"
    )
    run.emit("pipeline.note", message=f"no significant gain over the default configuration, which is kept ({gain})")
    return replace(study, kept=default)


def _recorded_study(run: Run, events: Generator[Event, None, Study]) -> Study:
    """Drive the search; an ended trial is in the store before anyone hears of it."""
    while True:
        try:
            event = next(events)
        except StopIteration as end:
            study: Study = end.value
            return study
        if event.kind == "search.trial_finished":
            run.store.record_trial(run.row.id, event.data["trial"])
        run.take(event)


def finish_best(run: Run, bench: Bench, study: Study) -> Candidate:
    """The chosen trial, continued from its checkpoint and cooled down in the time that the test rows will not need."""
    assert study.chosen is not None
    candidate = _candidate(run, bench, study.chosen.config)
    folder = run.folder.checkpoint("finish")
    found = load_state(candidate.state, folder)
    found = found or load_state(candidate.state, run.folder.checkpoint(f"trial-{study.chosen.number}"))
    for broken in found.passed_over if found else ("the winner's checkpoint is gone: it is trained anew",):
        run.emit("pipeline.note", message=broken)
    with run.busy():
        with averaged(candidate.state) as model:
            engine = _engine(bench, candidate, model)
            row_s = seconds_per_row(engine, bench.spec, bench.validator.examples, candidate.max_new_tokens)
        answers_s = min(1.3 * row_s * len(bench.dataset.sealed), _MOST_EVALUATION * run.budget.seconds)
        plan = FinishPlan(
            seconds=max(1.0, run.budget.remaining() - answers_s - _reserve_s(run)),
            cooldown_share=run.config.training.cooldown_share,
            patience=run.config.training.patience,
            higher_is_better=bench.spec.direction == "max",
            folder=folder,
        )
        run.emit("pipeline.note", message=f"trial {study.chosen.number} goes on for up to {plan.seconds:.0f} s")
        for event in finish(candidate, plan, lambda model: _judge(bench, candidate, model)):
            run.take(event)
        sampling = Sampling(max_new_tokens=candidate.max_new_tokens)
        sampling, why = bench.validator.best_sampling(_engine(bench, candidate, candidate.model), sampling)
        candidate.repetition_penalty = sampling.repetition_penalty
        run.reasons["repetition_penalty"] = why
        candidate.temperature, why = bench.validator.best_temperature(_engine(bench, candidate, candidate.model))
        run.reasons["temperature"] = why
    return candidate


def _reserve_s(run: Run) -> float:
    """Seconds kept for the baselines and the untuned base on the test rows, and for the report."""
    base_s = _BASE_SHARE * run.budget.seconds if run.budget.seconds >= _BASE_FROM_S else 0.0
    return 1.5 * run.stages.get("baselines", 0.0) + base_s + 3.0


def evaluate(run: Run, bench: Bench, candidate: Candidate) -> Examination:
    """Open the sealed rows and score everything on them, once."""
    engine = _engine(bench, candidate, candidate.model)
    sampling = Sampling(max_new_tokens=candidate.max_new_tokens, repetition_penalty=candidate.repetition_penalty)
    with run.busy():
        row_s = seconds_per_row(engine, bench.spec, bench.validator.examples, candidate.max_new_tokens)
        free_s = max(run.budget.remaining() - _reserve_s(run), 0.5 * _MOST_EVALUATION * run.budget.seconds)
        return examine(
            engine,
            bench.spec,
            bench.dataset.train,
            bench.dataset.sealed.open(),
            limits=ExamLimits(max(20, int(free_s / (1.1 * row_s))), sampling, run.config.evaluation.bootstrap),
            bases=_untuned_bases(run, bench),
            temperature=candidate.temperature,
        )


def _untuned_bases(run: Run, bench: Bench) -> list[UntunedBase]:
    """The bases of the search, and one that was pulled: yardsticks even where they were not worth a trial."""
    if run.budget.seconds < _BASE_FROM_S:
        return []
    folders = {name: start.folder for name, start in bench.bases.items()}
    pulled = [name for name in available(home()) if name not in own_bases()]
    folders |= {name: resolve(name, home()) for name in pulled[:1]}
    half = bench.machine.precision == "bf16"

    def load(folder: Path) -> Engine:
        model, tokenizer = load_model(folder, dtype=torch.bfloat16 if half else torch.float32)
        return Engine(model, tokenizer, context=1024, precision=bench.machine.precision)

    rows, seconds = run.config.evaluation.base_rows, _BASE_SHARE * run.budget.seconds / max(1, len(folders))
    return [UntunedBase(Path(name).name, partial(load, folder), rows, seconds) for name, folder in folders.items()]
