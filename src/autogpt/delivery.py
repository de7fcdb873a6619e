"""What a run leaves behind: the model folder, the report, the samples, and the model's name in the store."""

from __future__ import annotations

import json
import platform
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from autogpt.data.splits import Dataset
from autogpt.errors import ModelError
from autogpt.evaluation.final import Examination
from autogpt.evaluation.report import (
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
from autogpt.models.hub import save_model
from autogpt.run import Run
from autogpt.search.importance import importance, observed_space
from autogpt.search.pareto import pareto_front, trade_offs
from autogpt.search.study import Study, Trial
from autogpt.store import keys
from autogpt.store.artifacts import write_atomic, write_json
from autogpt.store.database import Store
from autogpt.tasks.spec import TaskKind, TaskSpec
from autogpt.tasks.templates import render
from autogpt.training.candidate import Candidate
from autogpt.training.loop import averaged

__all__ = ["checked_name", "deliver", "deliver_so_far", "fit_summary", "task_key"]

_WRITTEN_SAMPLES = 5
_SHOWN_ROWS = 3
"""Of the best and of the worst test rows, for whoever watches the run."""


def task_key(spec: TaskSpec, fingerprint: str) -> str:
    """What makes two runs the same task."""
    return keys.task_key(spec.model_dump(mode="json"), fingerprint)


def checked_name(store: Store, name: str | None, data: Path, key: str) -> str:
    """The model's name: the wanted one, or one from the data file's name (`zh_news.train.jsonl` → `zh-news`).

    Raises ModelError when the wanted name belongs to a model of another task; of the same task it is replaced.
    """
    if name is None:
        return store.free_name(data.name.split(".")[0])
    wanted = keys.slug(name)
    taken = next((model for model in store.models() if model.name == wanted), None)
    if taken is not None and taken.task_key != key:
        raise ModelError(
            f"the name {wanted!r} belongs to a model of another task",
            todo=f"choose another --name, such as {store.free_name(wanted)!r}, or autogpt models remove {wanted}",
        )
    return wanted


def fit_summary(model: Model) -> dict[str, Any]:
    """The JSON document that `autogpt fit --json` prints."""
    return {
        **model.recipe["fit"],
        "known_task": bool(model.recipe.get("known_task", model.recipe["fit"]["known_task"])),
    }


def deliver(
    run: Run, spec: TaskSpec, dataset: Dataset, study: Study, candidate: Candidate, examination: Examination
) -> Model:
    """Write everything and register the model; returns it as a user would load it."""
    assert study.chosen is not None
    name = str(run.row.config["name"])
    folder = run.folder.model
    save_model(candidate.model, candidate.tokenizer, folder)
    spec.save(folder / TASK_FILE)
    _write_samples(run, spec, examination)
    report = _report(run, spec, dataset, study, candidate, examination)
    fit = _summary(run, spec, study, report, folder)
    write_json(folder / RECIPE_FILE, _recipe(run, candidate, study.chosen, fit))
    write_report(run.folder.path, report)
    document = {**run.row.config, "chosen": dict(study.chosen.config), "reasons": run.reasons}
    write_atomic(run.folder.config, yaml.safe_dump(document, allow_unicode=True, sort_keys=False))
    main, row = examination.scores.main, run.row.id
    run.keep(
        lambda: run.store.register_model(
            name, folder=folder, metric=main, run=row, description=spec.description, replace=True
        )
    )
    shutil.rmtree(run.folder.so_far, ignore_errors=True)  # only a copy that would be taken for the model
    run.emit(
        "pipeline.done",
        model=name,
        folder=str(folder),
        report=str(run.folder.report_html),
        metric={"name": main.name, "value": main.value, "ci95": list(main.ci95), "n": main.n},
        verdict=report.verdict,
        overhead=round(report.overhead_share, 4),
        next=report.next_commands,
    )
    return Model(folder, name=name)


def deliver_so_far(run: Run, spec: TaskSpec, candidate: Candidate, trial: Trial) -> None:
    """Make the averaged weights of a trial, as they are now, a model that can be used if the run ends here.

    Its score is that of the validation rows, and nothing is said about baselines: the sealed rows stay sealed.
    """
    folder = run.folder.so_far
    with averaged(candidate.state) as model:
        save_model(model, candidate.tokenizer, folder)
    spec.save(folder / TASK_FILE)
    fit = {
        **_identity(run, spec, folder),
        "known_task": False,
        "unfinished": f"trial {trial.number} after {trial.share:.0%} of its length, scored on validation rows",
        "metric": {"name": spec.metric, "value": trial.score},
        "best_config": dict(trial.config),
        "seconds": round(run.budget.elapsed(), 2),
    }
    write_json(folder / RECIPE_FILE, _recipe(run, candidate, trial, fit))


def _identity(run: Run, spec: TaskSpec, folder: Path) -> dict[str, Any]:
    """Which model a summary speaks of: its name, its folder, its run and its task."""
    name, task = str(run.row.config["name"]), spec.model_dump(mode="json")
    return {"model": name, "model_dir": str(folder), "run": run.row.id, "task": task}


def _recipe(run: Run, candidate: Candidate, trial: Trial, fit: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": str(run.row.config["name"]),
        "run": run.row.id,
        "context": candidate.context,
        "max_new_tokens": candidate.max_new_tokens,
        "repetition_penalty": candidate.repetition_penalty,
        "temperature": candidate.temperature,
        "adaptation": candidate.adaptation,
        "budget_s": run.row.budget_s,
        "config": dict(trial.config),
        "fit": dict(fit),
    }


def _summary(run: Run, spec: TaskSpec, study: Study, report: RunReport, folder: Path) -> dict[str, Any]:
    assert study.chosen is not None
    main, best = report.main, report.best_baseline
    compared: Mapping[str, Any] | None = None
    if best is not None and best.comparison is not None:
        compared = {"name": best.name, **best.comparison.model_dump(include={"difference", "p_value", "n"})}
    return {
        **_identity(run, spec, folder),
        "known_task": bool(run.row.config["known_task"]),
        "metric": {"name": main.name, "value": main.value, "ci95": list(main.ci95), "n": main.n},
        "baselines": [{"name": rung.name, "value": rung.value, "ci95": list(rung.ci95)} for rung in report.ladder],
        "better_than_best_baseline": compared,
        "verdict": report.verdict,
        "trials": len(study.trials),
        "best_config": dict(study.chosen.config),
        "seconds": round(run.budget.elapsed(), 2),
    }


def _report(
    run: Run, spec: TaskSpec, dataset: Dataset, study: Study, candidate: Candidate, examination: Examination
) -> RunReport:
    assert study.chosen is not None
    name = str(run.row.config["name"])
    counts, dropped = drop_lines(dataset.drops)
    best, worst, mistakes = sample_lines(spec, examination.examples, examination.predictions)
    run.emit("evaluation.samples", rows=[line.model_dump() for line in best[:_SHOWN_ROWS] + worst[:_SHOWN_ROWS]])
    stages = {**run.stages, "report": run.budget.elapsed() - sum(run.stages.values())}
    return RunReport(
        model=name,
        run=run.row.id,
        description=spec.description,
        task=spec.model_dump(mode="json"),
        dropped=counts,
        dropped_rows=dropped,
        splits=dict(dataset.summary["rows"]),
        trials=[TrialLine.model_validate(trial.to_dict()) for trial in study.trials],
        chosen_trial=study.chosen.number,
        trade_offs=[
            TradeOffLine.model_validate(asdict(one)) for one in pareto_front(trade_offs(study.trials), study.direction)
        ],
        importance=importance(observed_space(study.trials), study.trials, study.direction),
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
        notes=[*examination.notes, *_texts(spec, candidate, examination)],
        stages=stages,
        busy_s=run.busy_s,
        budget_s=run.row.budget_s,
        machine={"platform": platform.platform(), "threads": run.reasons.get("precision", "")},
        versions=versions(),
        next_commands=_next_commands(name, spec, run),
    )


def _texts(spec: TaskSpec, candidate: Candidate, examination: Examination) -> list[str]:
    """A few texts of a writing model, so that the report shows what the bits per byte sound like."""
    if spec.kind is not TaskKind.GENERATION:
        return []
    engine = Engine(candidate.model, candidate.tokenizer, context=candidate.context)
    prompts = [render(spec, example, answer=False) for example in examination.examples[:_WRITTEN_SAMPLES]]
    sampling = Sampling(0.8, 0.95, max_new_tokens=min(160, candidate.context // 2), seed=1)
    texts = engine.complete(prompts, sampling)
    read = ["".join(segment.text for segment in prompt).strip() for prompt in prompts]
    word = "写作样本" if spec.output_language == "zh" else "Sample"
    return [f"{word}: {prompt} → {text.strip()}" for prompt, text in zip(read, texts, strict=True)]


def _next_commands(name: str, spec: TaskSpec, run: Run) -> list[str]:
    chat = spec.kind in (TaskKind.DIALOGUE, TaskKind.INSTRUCTION)
    first = f"autogpt chat {name}" if chat else f"autogpt generate {name} {shlex.quote('…')}"
    return [first, f"autogpt generate {name} --file NEW.jsonl --out ANSWERS.jsonl", f"autogpt runs show {run.row.id}"]


def _write_samples(run: Run, spec: TaskSpec, examination: Examination) -> None:
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
    write_atomic(run.folder.samples, "\n".join(rows) + "\n")
