"""The stages of the main path but the search, each a function of the run and of what it works on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from autogpt.config import RunConfig, home
from autogpt.data import readers
from autogpt.data.corpus import Corpus
from autogpt.data.splits import Dataset, SealedSplit, prepare
from autogpt.evaluation.baselines import ladder
from autogpt.evaluation.evaluate import score
from autogpt.evaluation.feasibility import assess, leak_evidence
from autogpt.evaluation.final import Examination, ExamLimits, UntunedBase, examine
from autogpt.evaluation.learning_curve import proxy_points
from autogpt.evaluation.report_text import language_of
from autogpt.evaluation.validate import Validator
from autogpt.generation.adaptive import AdaptationSettings
from autogpt.generation.engine import Engine
from autogpt.generation.sampling import Sampling
from autogpt.models.bases import available, own_bases, resolve
from autogpt.models.hub import load_model
from autogpt.registry import SAMPLERS
from autogpt.run import Run
from autogpt.search.gpt_space import SCRATCH, space_for
from autogpt.search.space import Space
from autogpt.search.stopping import stopper
from autogpt.search.study import Study
from autogpt.tasks.spec import TaskSpec
from autogpt.tasks.understand import with_labels
from autogpt.training.admission import Admission, Ceilings, without_impossible
from autogpt.training.candidate import Candidate, build
from autogpt.training.finish import FinishPlan, Judgement, finish
from autogpt.training.loop import load_state
from autogpt.training.machine import Machine, probe
from autogpt.training.starts import Start, bases_of, choose_bases

__all__ = [
    "MOST_EVALUATION",
    "Bench",
    "assess_feasibility",
    "candidate_of",
    "evaluate",
    "finish_best",
    "judge",
    "reserve_s",
    "set_up",
    "show_baselines",
]

_BASE_SHARE, _BASE_FROM_S = 0.07, 240.0
"""Share of the budget in which the untuned base may answer; in shorter runs loading it would cost too much."""
MOST_EVALUATION = 0.2
"""Share of the budget that answering the test rows may take; beyond it fewer are answered, and the report says so."""
_LEAST_EVALUATION = 0.05
"""Share of the budget that answering the test rows gets in any case."""
_TUNING_SHARE = 0.05
_ADAPTING_SHARE, _MOST_ADAPTING_S = 0.02, 30.0
"""Share of the budget in which decoding may be tuned."""
_STANDARD_ERRORS_IN_INTERVAL = 2 * 1.96
_CURVE_LADDERS, _FEASIBILITY_SHARE = 4.0, 0.05
"""A learning curve of baselines takes about as long as so many ladders; so much of the budget may go into it."""


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

    def without_sealed_rows(self) -> Bench:
        """The same for a process that must not be able to read the test rows."""
        dataset = replace(self.dataset, sealed=SealedSplit(()), drops=())
        return replace(self, dataset=dataset, corpus=Corpus(self.spec, dataset))


def set_up(config: RunConfig, spec: TaskSpec, tables: Sequence[readers.Table], seconds: float) -> Bench:
    """Everything that can be refused is refused here: rows, names of samplers and bases, wishes and ceilings."""
    rungs = (1.0,) if config.search.rungs == "auto" else config.search.rungs
    stopper(config.search.stopping, rungs, config.search.keep, config.search.spare)
    dataset = prepare(spec, tables[0], tables[1] if len(tables) > 1 else None, config.data, config.seed)
    spec = with_labels(spec, [example.target for example in (*dataset.train, *dataset.valid)])
    corpus = Corpus(spec, dataset)
    machine = probe(config.training.precision, config.training.threads)
    reasons = {"precision": f"{machine.precision}: {machine.reason}; {machine.threads} threads"}
    ceilings = Ceilings.of(config.search)
    bases = choose_bases(config.base, corpus, machine, seconds, reasons, ceilings.memory_of_trial)
    scratch = config.base in ("auto", SCRATCH)
    space = space_for(spec, corpus.characters, bases_of(bases, corpus, scratch=scratch), scratch=scratch)
    space = without_impossible(space.narrowed(config.search.space), config.search.space, bases)
    Admission(corpus, bases, config.training, machine.precision, ceilings).require_any(space)
    SAMPLERS.get(config.search.sampler)(space, config.seed, direction=spec.direction)
    validator = Validator(spec, dataset.valid, config.evaluation.search_rows)
    return Bench(spec, dataset, corpus, machine, bases, space, validator, reasons)


def show_baselines(run: Run, bench: Bench) -> float:
    """What simple methods reach on validation rows, so that the user knows early what there is to beat.

    Returns: how far apart two scores on these rows must be to tell models apart, two standard errors of the baseline
    that varies most; 0 for bits per byte, in which each byte counts.
    """
    widest = 0.0
    with run.busy():
        rows = bench.validator.examples
        for baseline in ladder(bench.spec, bench.dataset.train, rows):
            main = score(bench.spec, rows, baseline.predictions, resamples=200).main
            widest = max(widest, main.ci95[1] - main.ci95[0])
            run.emit("pipeline.baseline", name=baseline.name, value=main.value, ci95=list(main.ci95))
    return 0.0 if bench.spec.metric == "bits_per_byte" else widest / _STANDARD_ERRORS_IN_INTERVAL * 2


def assess_feasibility(run: Run, bench: Bench) -> None:
    """Say what a simple model's learning curve and a look at the rows promise: more data, nothing, or a leak.

    Left out where it would take a noticeable part of the budget: the curve costs about as much as three ladders.
    """
    if _CURVE_LADDERS * run.stages["baselines"] > _FEASIBILITY_SHARE * run.budget.seconds:
        return
    train, valid = bench.dataset.train, bench.dataset.valid
    with run.busy():
        points = proxy_points(bench.spec, train, valid, seed=run.config.seed)
        finding = assess(points, rows=len(train), leak=leak_evidence(bench.spec, train, valid))
    run.reasons["feasibility"] = finding.text(language_of(bench.spec.description))
    run.emit("pipeline.note", message=run.reasons["feasibility"])


def candidate_of(bench: Bench, config: RunConfig, trial: Mapping[str, Any]) -> Candidate:
    """What the configuration of a trial trains, at step 0."""
    return build(
        trial,
        bench.corpus,
        base=bench.bases.get(trial["start"]),
        options=config.training,
        machine=bench.machine,
        longest_answer=config.evaluation.max_new_tokens,
        seed=config.seed,
    )


def _engine(bench: Bench, candidate: Candidate, model: Any) -> Engine:
    return Engine(model, candidate.tokenizer, context=candidate.context, precision=bench.machine.precision)


def judge(bench: Bench, candidate: Candidate, model: Any) -> Judgement:
    """What the validation rows say of `model`, which is the candidate's own or an average of it."""
    return bench.validator.judge(_engine(bench, candidate, model), candidate.max_new_tokens)


def finish_best(run: Run, bench: Bench, study: Study) -> Candidate:
    """The chosen trial, continued from its checkpoint and cooled down in the time that the test rows will not need."""
    assert study.chosen is not None
    candidate = candidate_of(bench, run.config, study.chosen.config)
    folder = run.folder.checkpoint("finish")
    found = load_state(candidate.state, folder)
    found = found or load_state(candidate.state, run.folder.checkpoint(f"trial-{study.chosen.number}"))
    for broken in found.passed_over if found else ("the winner's checkpoint is gone: it is trained anew",):
        run.emit("pipeline.note", message=broken)
    row_s = float(study.chosen.reports[-1].info.get("row_ms", 0.0)) / 1000
    answers_s = min(1.3 * row_s * len(bench.dataset.sealed), MOST_EVALUATION * run.budget.seconds)
    tuning_s = _TUNING_SHARE * run.budget.seconds if bench.validator.writes else 0.0
    adapting_s = min(_MOST_ADAPTING_S, _ADAPTING_SHARE * run.budget.seconds) if bench.spec.writes_freely else 0.0
    with run.busy():
        plan = FinishPlan(
            seconds=max(1.0, run.budget.remaining() - answers_s - tuning_s - adapting_s - reserve_s(run)),
            cooldown_share=run.config.training.cooldown_share,
            patience=run.config.training.patience,
            higher_is_better=bench.spec.direction == "max",
            folder=folder,
        )
        run.emit("pipeline.note", message=f"trial {study.chosen.number} goes on for up to {plan.seconds:.0f} s")
        for event in finish(candidate, plan, lambda model: judge(bench, candidate, model)):
            run.take(event)
        sampling = Sampling(max_new_tokens=candidate.max_new_tokens)
        engine = _engine(bench, candidate, candidate.model)
        sampling, why = bench.validator.best_sampling(engine, sampling, tuning_s)
        candidate.repetition_penalty = sampling.repetition_penalty
        run.reasons["repetition_penalty"] = why
        candidate.temperature, why = bench.validator.best_temperature(engine)
        run.reasons["temperature"] = why
        if bench.spec.writes_freely:
            wanted = AdaptationSettings(mode=run.config.adaptation.mode)
            tuned = bench.validator.best_adaptation(engine, bench.dataset.valid, adapting_s, wanted)
            candidate.adaptation = tuned.settings.to_dict()
            run.reasons["adaptation"] = tuned.why
    return candidate


def reserve_s(run: Run) -> float:
    """Seconds kept for the baselines and the untuned base on the test rows, and for the report."""
    base_s = _BASE_SHARE * run.budget.seconds if run.budget.seconds >= _BASE_FROM_S else 0.0
    return 1.5 * run.stages.get("baselines", 0.0) + base_s + 3.0


def evaluate(run: Run, bench: Bench, candidate: Candidate) -> Examination:
    """Open the sealed rows and score everything on them, once."""
    engine = _engine(bench, candidate, candidate.model)
    sampling = Sampling(max_new_tokens=candidate.max_new_tokens, repetition_penalty=candidate.repetition_penalty)
    with run.busy():
        row_s = max(bench.validator.seconds_per_row, 1e-4)
        free_s = max(run.budget.remaining() - reserve_s(run), _LEAST_EVALUATION * run.budget.seconds)
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
