"""What a run leaves of each task: the understood task, the recipe of the model, samples and a report."""

from __future__ import annotations

import json
import platform
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from autogpt.bench import Bench
from autogpt.evaluation.final import Examination
from autogpt.evaluation.report import (
    MetricLine,
    RunReport,
    TradeOffLine,
    TrialLine,
    drop_lines,
    ladder_line,
    metric_lines,
    sample_lines,
    versions,
)
from autogpt.evaluation.report_files import write_report
from autogpt.generation.engine import Engine
from autogpt.generation.sampling import Sampling
from autogpt.model import RECIPE_FILE, TASK_FILE, Model, plain
from autogpt.model_several import MultitaskModel
from autogpt.run import Run
from autogpt.search.importance import importance, observed_space
from autogpt.search.pareto import pareto_front, trade_offs
from autogpt.search.study import Study, Trial
from autogpt.store.artifacts import write_atomic, write_json
from autogpt.tasks.spec import TaskKind, TaskSpec
from autogpt.tasks.templates import render
from autogpt.training.candidate import Candidate
from autogpt.types import MetricValue

__all__ = ["Ended", "Place", "fit_summary", "metric_document", "register", "write_recipe", "write_task"]

_WRITTEN_SAMPLES = 5
_SHOWN_ROWS = 3
"""Of the best and of the worst test rows, for whoever watches the run."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a task of a model stands.

    Attributes:
        index: of the task.
        name: what the model is called for this task.
        folder: of the task's own files.
        reports: folder of its reports and samples.
        weights: for the recipe: where the weights are, unless in `folder`.
    """

    index: int
    name: str
    folder: Path
    reports: Path
    weights: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ended:
    """A run whose model is trained: what it worked on, its search, and the winner."""

    run: Run
    bench: Bench
    study: Study
    candidate: Candidate


def fit_summary(model: Model | MultitaskModel) -> dict[str, Any]:
    """The JSON document that `autogpt fit --json` prints."""
    return {
        **model.recipe["fit"],
        "known_task": bool(model.recipe.get("known_task", model.recipe["fit"]["known_task"])),
    }


def metric_document(main: MetricValue | MetricLine) -> dict[str, Any]:
    """A metric as plain JSON."""
    return {"name": main.name, "value": main.value, "ci95": list(main.ci95), "n": main.n}


def register(
    run: Run, model: Model | MultitaskModel, main: MetricValue, commands: Sequence[str], *, overhead: float
) -> None:
    """Give the finished model its name in the store, and tell that the run is done.

    Args:
        main: what it scored on the test rows.
        commands: worth trying next.
        overhead: share of the time spent neither training nor evaluating.
    """
    description, row = str(run.row.config["description"]), run.row.id
    run.keep(
        lambda: run.store.register_model(
            model.name, folder=model.folder, metric=main, run=row, description=description, replace=True
        )
    )
    shutil.rmtree(run.folder.so_far, ignore_errors=True)  # only a copy that would be taken for the model
    run.emit(
        "pipeline.done",
        model=model.name,
        folder=str(model.folder),
        report=str(run.folder.report_html),
        metric=metric_document(main),
        verdict=fit_summary(model)["verdict"],
        overhead=round(overhead, 4),
        next=list(commands),
    )


def write_task(ended: Ended, place: Place, examination: Examination) -> RunReport:
    """Write the files that a task has for itself; returns its report."""
    run, spec, chosen = ended.run, ended.bench.parts[place.index].spec, ended.study.chosen
    assert chosen is not None
    _write_samples(place.reports / run.folder.samples.name, spec, examination)
    report = _report(ended, place, examination)
    write_recipe(run, ended.bench, ended.candidate, place, chosen, _summary(ended, report, place))
    write_report(place.reports, report)
    return report


def write_recipe(
    run: Run, bench: Bench, candidate: Candidate, place: Place, trial: Trial, fit: Mapping[str, Any]
) -> None:
    """Write what was understood, how the model was made and how it answers, `fit` being the summary of that."""
    spec = bench.parts[place.index].spec
    identity = {
        "model": place.name,
        "model_dir": str(place.folder),
        "run": run.row.id,
        "task": spec.model_dump(mode="json"),
    }
    recipe = {
        "name": place.name,
        "run": run.row.id,
        "context": candidate.context,
        **asdict(candidate.answering[place.index]),
        "budget_s": run.row.budget_s,
        "config": dict(trial.config),
        "fit": {**identity, **fit},
        **place.weights,
    }
    spec.save(place.folder / TASK_FILE)
    write_json(place.folder / RECIPE_FILE, recipe)


def _summary(ended: Ended, report: RunReport, place: Place) -> dict[str, Any]:
    run, study = ended.run, ended.study
    assert study.chosen is not None
    main, best = report.main, report.best_baseline
    compared: Mapping[str, Any] | None = None
    if best is not None and best.comparison is not None:
        compared = {"name": best.name, **best.comparison.model_dump(include={"difference", "p_value", "n"})}
    return {
        "known_task": bool(run.row.config["known_task"]),
        "metric": metric_document(main),
        "baselines": [{"name": rung.name, "value": rung.value, "ci95": list(rung.ci95)} for rung in report.ladder],
        "better_than_best_baseline": compared,
        "verdict": report.verdict,
        "trials": len(study.trials),
        "best_config": dict(study.chosen.config),
        "seconds": round(run.budget.elapsed(), 2),
    }


def _report(ended: Ended, place: Place, examination: Examination) -> RunReport:
    run, study, name = ended.run, ended.study, place.name
    assert study.chosen is not None
    spec, dataset = ended.bench.parts[place.index].spec, ended.bench.parts[place.index].dataset
    # The search of several tasks ranks by their mean score, which is none of this task's metrics.
    trials = study.trials if len(ended.bench.parts) == 1 else ()
    engine = ended.bench.engine(ended.candidate, ended.candidate.model, place.index)
    counts, dropped = drop_lines(dataset.drops)
    best, worst, mistakes = sample_lines(spec, examination.examples, examination.predictions)
    run.emit("evaluation.samples", rows=[line.model_dump() for line in best[:_SHOWN_ROWS] + worst[:_SHOWN_ROWS]])
    # A run within another one begins with what that has done, which its own clock has not seen.
    stages = {**run.stages, "report": max(0.0, run.budget.elapsed() - sum(run.stages.values()))}
    return RunReport(
        model=name,
        run=run.row.id,
        description=spec.description,
        task=spec.model_dump(mode="json"),
        dropped=counts,
        dropped_rows=dropped,
        splits=dict(dataset.summary["rows"]),
        trials=[TrialLine.model_validate(trial.to_dict()) for trial in trials],
        chosen_trial=study.chosen.number if trials else None,
        trade_offs=[
            TradeOffLine.model_validate(asdict(one)) for one in pareto_front(trade_offs(trials), study.direction)
        ],
        importance=importance(observed_space(trials), trials, study.direction),
        chosen=dict(study.chosen.config),
        reasons=run.reasons,
        primary=examination.scores.primary,
        scores=metric_lines(examination.scores),
        ladder=[
            ladder_line(rung.name, rung.scores, rung.comparison, trivial=rung.trivial, note=rung.note)
            for rung in examination.ladder
        ],
        best=best,
        worst=worst,
        confusions=mistakes,
        notes=[*examination.notes, *_texts(spec, engine, examination)],
        stages=stages,
        busy_s=run.busy_s,
        budget_s=run.row.budget_s,
        machine={"platform": platform.platform(), "threads": run.reasons.get("precision", "")},
        versions=versions(),
        next_commands=_next_commands(name, spec, run),
    )


def _texts(spec: TaskSpec, engine: Engine, examination: Examination) -> list[str]:
    """A few texts of a writing model, so that the report shows what the bits per byte sound like."""
    if spec.kind is not TaskKind.GENERATION:
        return []
    prompts = [render(spec, example, answer=False) for example in examination.examples[:_WRITTEN_SAMPLES]]
    sampling = Sampling(0.8, 0.95, max_new_tokens=min(160, engine.context // 2), seed=1)
    texts = engine.complete(prompts, sampling)
    read = ["".join(segment.text for segment in prompt).strip() for prompt in prompts]
    word = "写作样本" if spec.output_language == "zh" else "Sample"
    return [f"{word}: {prompt} → {text.strip()}" for prompt, text in zip(read, texts, strict=True)]


def _next_commands(name: str, spec: TaskSpec, run: Run) -> list[str]:
    chat = spec.kind in (TaskKind.DIALOGUE, TaskKind.INSTRUCTION)
    first = f"autogpt chat {name}" if chat else f"autogpt generate {name} {shlex.quote('…')}"
    return [first, f"autogpt generate {name} --file NEW.jsonl --out ANSWERS.jsonl", f"autogpt runs show {run.row.id}"]


def _write_samples(file: Path, spec: TaskSpec, examination: Examination) -> None:
    """Every test row with its prediction, one JSON object a line."""
    rows = []
    for example, prediction in zip(examination.examples, examination.predictions, strict=True):
        row: dict[str, Any] = {"id": example.id, **example.input}
        if example.messages:
            row["messages"] = [{"role": turn.role, "content": turn.content} for turn in example.messages]
        row["expected"] = None if example.target is None else plain(example.target)
        row["prediction"] = plain(prediction.target)
        if prediction.nats is not None:
            row |= {"nats": round(prediction.nats, 3), "utf8_bytes": prediction.utf8_bytes}
        rows.append(json.dumps(row, ensure_ascii=False))
    write_atomic(file, "\n".join(rows) + "\n")
