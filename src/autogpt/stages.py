"""The stages of the main path but the search, each a function of the run and of what it works on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch

from autogpt.bench import Bench, Part, candidate_of, judge
from autogpt.config import home
from autogpt.evaluation.baselines import ladder
from autogpt.evaluation.evaluate import score
from autogpt.evaluation.feasibility import assess, leak_evidence
from autogpt.evaluation.final import Examination, ExamLimits, UntunedBase, examine
from autogpt.evaluation.joint import on_common_scale
from autogpt.evaluation.learning_curve import proxy_points
from autogpt.evaluation.report_text import language_of
from autogpt.generation.adaptive import AdaptationSettings
from autogpt.generation.engine import Engine
from autogpt.generation.sampling import Sampling
from autogpt.models.bases import available, own_bases, resolve
from autogpt.models.hub import load_model
from autogpt.run import Run
from autogpt.search.study import Study
from autogpt.training.candidate import Candidate
from autogpt.training.finish import FinishPlan, finish
from autogpt.training.loop import load_state

__all__ = [
    "MOST_EVALUATION",
    "assess_feasibility",
    "evaluate",
    "finish_best",
    "reserve_s",
    "resolution_of",
    "show_baselines",
]

_BASE_SHARE, _BASE_FROM_S = 0.07, 240.0
"""Share of the budget in which the untuned base may answer; in shorter runs loading it would cost too much."""
MOST_EVALUATION = 0.2
"""Share of the budget that answering the test rows may take; beyond it fewer are answered, and the report says so."""
_LEAST_EVALUATION = 0.05
"""Share of the budget that answering the test rows gets in any case."""
_TUNING_SHARE = 0.05
"""Share of the budget in which decoding may be tuned."""
_ADAPTING_SHARE, _MOST_ADAPTING_S = 0.02, 30.0
_STANDARD_ERRORS_IN_INTERVAL = 2 * 1.96
_CURVE_LADDERS, _FEASIBILITY_SHARE = 4.0, 0.05
"""A learning curve of baselines takes about as long as so many ladders; so much of the budget may go into it."""


def show_baselines(run: Run, bench: Bench) -> list[float]:
    """What simple methods reach on validation rows, so that the user knows early what there is to beat.

    Returns: for each task, the 95 % interval of the baseline that varies most, on the scale that the search ranks by; 0
    for bits per byte, in which each byte counts. See `resolution_of`.
    """
    widths = []
    with run.busy():
        for part in bench.parts:
            widest, rows = 0.0, part.validator.examples
            for baseline in ladder(part.spec, part.dataset.train, rows):
                main = score(part.spec, rows, baseline.predictions, resamples=200).main
                widest = max(widest, main.ci95[1] - main.ci95[0])
                run.emit("pipeline.baseline", **part.told, name=baseline.name, value=main.value, ci95=list(main.ci95))
            likelihood = part.spec.metric == "bits_per_byte"
            common = len(bench.parts) > 1 and not likelihood
            width = float(on_common_scale(part.spec.metric, np.array(widest))) if common else widest
            widths.append(0.0 if likelihood else width)
    return widths


def resolution_of(bench: Bench, widths: Sequence[float]) -> float:
    """How far apart two scores must be to tell models apart: two standard errors, of the mean where tasks are several.

    Args:
        widths: 95 % intervals of the tasks' scores.
    """
    weights = [part.weight for part in bench.parts]
    spread = math.hypot(*(weight * width for weight, width in zip(weights, widths, strict=True)))
    return spread / sum(weights) / _STANDARD_ERRORS_IN_INTERVAL * 2


def assess_feasibility(run: Run, bench: Bench) -> None:
    """Say what a simple model's learning curve and a look at the rows promise: more data, nothing, or a leak.

    Left out where it would take a noticeable part of the budget: the curve costs about as much as three ladders.
    """
    if _CURVE_LADDERS * run.stages["baselines"] > _FEASIBILITY_SHARE * run.budget.seconds:
        return
    for part in bench.parts:
        spec, train, valid = part.spec, part.dataset.train, part.dataset.valid
        with run.busy():
            points = proxy_points(spec, train, valid, seed=run.config.seed)
            finding = assess(points, rows=len(train), leak=leak_evidence(spec, train, valid))
        told = finding.text(language_of(spec.description))
        run.reasons[part.reason("feasibility")] = told
        run.emit("pipeline.note", message=f"{part.name}: {told}" if part.name else told)


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
    sealed = sum(len(part.dataset.sealed) for part in bench.parts)
    answers_s = min(1.3 * row_s * sealed, MOST_EVALUATION * run.budget.seconds)
    tuning_s = [_tuning_s(run, part, len(bench.parts)) for part in bench.parts]
    with run.busy():
        plan = FinishPlan(
            seconds=max(1.0, run.budget.remaining() - answers_s - sum(map(sum, tuning_s)) - reserve_s(run)),
            cooldown_share=run.config.training.cooldown_share,
            patience=run.config.training.patience,
            higher_is_better=bench.score.higher_is_better,
            folder=folder,
        )
        run.emit("pipeline.note", message=f"trial {study.chosen.number} goes on for up to {plan.seconds:.0f} s")
        for event in finish(candidate, plan, lambda model: judge(bench, candidate, model)):
            run.take(event)
        for place, seconds in enumerate(tuning_s):
            _tune(run, bench, candidate, place, seconds)
    return candidate


def _tuning_s(run: Run, part: Part, tasks: int) -> tuple[float, float]:
    """Seconds in which decoding, and adaptation, may be tuned for one of so many tasks."""
    decoding_s = _TUNING_SHARE * run.budget.seconds if part.validator.writes else 0.0
    adapting_s = min(_MOST_ADAPTING_S, _ADAPTING_SHARE * run.budget.seconds) if part.spec.writes_freely else 0.0
    return decoding_s / tasks, adapting_s / tasks


def _tune(run: Run, bench: Bench, candidate: Candidate, place: int, seconds: tuple[float, float]) -> None:
    """Find how the trained model answers best the task at that place, by its validation rows."""
    part, answering = bench.parts[place], candidate.answering[place]
    engine = bench.engine(candidate, candidate.model, place)
    sampling = Sampling(max_new_tokens=answering.max_new_tokens)
    sampling, why = part.validator.best_sampling(engine, sampling, seconds[0])
    answering.repetition_penalty = sampling.repetition_penalty
    run.reasons[part.reason("repetition_penalty")] = why
    answering.temperature, why = part.validator.best_temperature(engine)
    run.reasons[part.reason("temperature")] = why
    if part.spec.writes_freely:
        wanted = AdaptationSettings(mode=run.config.adaptation.mode)
        tuned = part.validator.best_adaptation(engine, part.dataset.valid, seconds[1], wanted)
        answering.adaptation = tuned.settings.to_dict()
        run.reasons[part.reason("adaptation")] = tuned.why


def reserve_s(run: Run) -> float:
    """Seconds kept for the baselines and the untuned base on the test rows, and for the report."""
    base_s = _BASE_SHARE * run.budget.seconds if run.budget.seconds >= _BASE_FROM_S else 0.0
    return 1.5 * run.stages.get("baselines", 0.0) + base_s + 3.0


def evaluate(run: Run, bench: Bench, candidate: Candidate) -> list[Examination]:
    """Open the sealed rows and score everything on them, once; one examination a task."""
    bases, found = _untuned_bases(run, bench), []
    needs = [max(part.validator.seconds_per_row, 1e-4) * len(part.dataset.sealed) for part in bench.parts]
    with run.busy():
        for place, part in enumerate(bench.parts):
            row_s = max(part.validator.seconds_per_row, 1e-4)
            free_s = max(run.budget.remaining() - reserve_s(run), _LEAST_EVALUATION * run.budget.seconds)
            free_s *= needs[place] / sum(needs[place:])
            answering = candidate.answering[place]
            sampling = Sampling(
                max_new_tokens=answering.max_new_tokens, repetition_penalty=answering.repetition_penalty
            )
            found.append(
                examine(
                    bench.engine(candidate, candidate.model, place),
                    part.spec,
                    part.dataset.train,
                    part.dataset.sealed.open(),
                    limits=ExamLimits(max(20, int(free_s / (1.1 * row_s))), sampling, run.config.evaluation.bootstrap),
                    bases=bases,
                    temperature=answering.temperature,
                )
            )
    return found


def _untuned_bases(run: Run, bench: Bench) -> list[UntunedBase]:
    """The bases of the search, and one that was pulled: yardsticks even where they were not worth a trial."""
    if run.budget.seconds < _BASE_FROM_S or any(part.known for part in bench.parts):
        return []  # a model that a task is added to is no yardstick: `adding.unharmed` compares with it
    folders = {name: start.folder for name, start in bench.bases.items()}
    pulled = [name for name in available(home()) if name not in own_bases()]
    folders |= {name: resolve(name, home()) for name in pulled[:1]}
    half = bench.machine.precision == "bf16"

    def load(folder: Path) -> Engine:
        model, tokenizer = load_model(folder, dtype=torch.bfloat16 if half else torch.float32)
        return Engine(model, tokenizer, context=1024, precision=bench.machine.precision)

    rows = run.config.evaluation.base_rows
    seconds = _BASE_SHARE * run.budget.seconds / max(1, len(folders)) / len(bench.parts)
    return [UntunedBase(Path(name).name, partial(load, folder), rows, seconds) for name, folder in folders.items()]
