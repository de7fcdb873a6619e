"""What a run of several tasks leaves beside each task's files: one folder that answers for all, and one report."""

from __future__ import annotations

import json
import platform
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from autogpt.bench import Bench
from autogpt.delivery_task import metric_document, register
from autogpt.evaluation.joint import MeanScore, on_common_scale
from autogpt.evaluation.report import MetricLine, RunReport, versions
from autogpt.evaluation.report_files import write_report
from autogpt.evaluation.report_several import ProbeLine, SeveralReport, TaskLine, write_several_report
from autogpt.model import RECIPE_FILE, SHARED, TASKS, Model
from autogpt.model_several import MultitaskModel
from autogpt.run import Run
from autogpt.stages_grouping import Grouping
from autogpt.store.artifacts import write_json
from autogpt.types import MetricValue

__all__ = ["deliver_several", "gather", "mean_of", "write_several"]


def deliver_several(
    run: Run,
    bench: Bench,
    reports: Mapping[str, RunReport],
    grouping: Grouping,
    chosen: Mapping[str, Any],
    trials: int,
) -> MultitaskModel:
    """Write what speaks of all tasks, and register the model, whose tasks stand in its folder already.

    Args:
        reports: task → its own report.
        chosen: the configuration of the model; of several models, name → that.
        trials: that were made.
    """
    name, folder = str(run.row.config["name"]), run.folder.model
    main = mean_of([part.weight for part in bench.parts], [reports[part.name].main for part in bench.parts])
    line = MetricLine(name=main.name, value=main.value, ci95=main.ci95, n=main.n)
    report = _report(run, bench, reports, grouping, line)
    report.chosen.update(chosen)
    fit = {
        "tasks": {part.name: Model(folder / TASKS / part.name).recipe["fit"] for part in bench.parts},
        "groups": report.groups,
        "known_task": bool(run.row.config["known_task"]),
        "metric": metric_document(main),
        "verdict": grouping.why,
        "worst_task": report.worst,
        "trials": trials,
        "best_config": dict(chosen),
        "seconds": round(run.budget.elapsed(), 2),
    }
    write_several(run, bench, folder, fit)
    write_several_report(run.folder.path, report)
    model = MultitaskModel(folder, name=name)
    overhead = max(0.0, 1 - run.busy_s / max(1e-9, run.budget.elapsed()))
    register(run, model, main, report.next_commands, overhead=overhead)
    return model


def write_several(run: Run, bench: Bench, folder: Path, fit: Mapping[str, Any]) -> None:
    """Write the recipe of the whole model, `fit` being the summary of how it was made."""
    name = str(run.row.config["name"])
    recipe = {
        "name": name,
        "run": run.row.id,
        "tasks": [part.name for part in bench.parts],
        "budget_s": run.row.budget_s,
        "fit": {"model": name, "model_dir": str(folder), "run": run.row.id, **fit},
    }
    write_json(folder / RECIPE_FILE, recipe)


def gather(run: Run, models: Sequence[Model | MultitaskModel], groups: Sequence[Sequence[str]]) -> dict[str, RunReport]:
    """Copy the models of several groups into one folder, each task where a model of several tasks has it.

    Returns: task → its report.
    """
    folder, name, reports = run.folder.model, str(run.row.config["name"]), {}
    shared: dict[Path, str] = {}
    for model, tasks in zip(models, groups, strict=True):
        for task in tasks:
            own = folder / TASKS / task
            source = model.folder / TASKS / task if isinstance(model, MultitaskModel) else model.folder
            _copied(source, own)
            recipe = json.loads((own / RECIPE_FILE).read_text(encoding="utf-8"))
            if "weights" in recipe:
                weights = (source / recipe["weights"]["folder"]).resolve()
                if weights not in shared:
                    shared[weights] = f"{SHARED}-{len(shared)}"
                    _copied(weights, folder / shared[weights])
                recipe["weights"]["folder"] = f"../../{shared[weights]}"
            recipe["name"] = recipe["fit"]["model"] = f"{name}/{task}"
            recipe["fit"]["model_dir"] = str(own)
            write_json(own / RECIPE_FILE, recipe)
            made_in = model.folder.parent / TASKS / task if isinstance(model, MultitaskModel) else model.folder.parent
            report = RunReport.model_validate_json((made_in / run.folder.report_json.name).read_text(encoding="utf-8"))
            report.next_commands = [line.replace(report.model, f"{name}/{task}") for line in report.next_commands]
            report.model = f"{name}/{task}"
            _copied(made_in, run.folder.path / TASKS / task, only=run.folder.samples.name)
            write_report(run.folder.path / TASKS / task, report)
            reports[task] = report
    return reports


def _copied(folder: Path, target: Path, only: str = "*") -> None:
    shutil.rmtree(target, ignore_errors=True)  # half of a copy, where a run was killed
    target.mkdir(parents=True)
    for file in folder.glob(only):
        if file.is_dir():
            shutil.copytree(file, target / file.name)
        else:
            shutil.copy2(file, target / file.name)


def mean_of(weights: Sequence[float], mains: Sequence[MetricLine | MetricValue]) -> MetricValue:
    """The weighted mean of the tasks' deciding metrics, on a common scale.

    The interval takes the tasks' rows as independent, and their intervals as normal.
    """
    shares = np.array(weights) / sum(weights)
    values = np.array([on_common_scale(one.name, np.array([one.value, *one.ci95])) for one in mains])
    widths = np.abs(values[:, 2] - values[:, 1]) / 2
    value, half = float(shares @ values[:, 0]), float(np.hypot.reduce(shares * widths))
    return MetricValue(MeanScore.name, value, (value - half, value + half), sum(one.n for one in mains), True)


def _report(
    run: Run, bench: Bench, reports: Mapping[str, RunReport], grouping: Grouping, mean: MetricLine
) -> SeveralReport:
    name = str(run.row.config["name"])
    lines = [
        TaskLine(
            name=part.name,
            kind=part.spec.kind.value,
            metric=reports[part.name].main,
            baseline=reports[part.name].best_baseline,
            verdict=reports[part.name].verdict,
            rows=reports[part.name].splits,
            report=f"{TASKS}/{part.name}/{run.folder.report_html.name}",
            model=f"{name}/{part.name}",
        )
        for part in bench.parts
    ]
    probes = [
        ProbeLine(
            task=probe.task,
            together=probe.together,
            alone=probe.alone,
            metric=probe.metric,
            difference=probe.difference,
            p_value=probe.p_value,
            leaves=probe.leaves,
            note=f"loss {probe.loss_difference:+.4g}, p={probe.loss_p_value:.2g}",
        )
        for probe in grouping.probes
    ]
    return SeveralReport(
        model=name,
        run=run.row.id,
        description=str(run.row.config["description"]),
        tasks=lines,
        groups=[[bench.parts[place].name for place in group] for group in grouping.groups],
        grouping=grouping.why,
        probes=probes,
        added_to=run.config.add_to,
        mean=mean,
        reasons=run.reasons,
        stages={**run.stages, "report": run.budget.elapsed() - sum(run.stages.values())},
        busy_s=run.busy_s,
        budget_s=run.row.budget_s,
        machine={"platform": platform.platform(), "threads": run.reasons.get("precision", "")},
        versions=versions(),
        next_commands=[report.next_commands[0] for report in reports.values()],
    )
