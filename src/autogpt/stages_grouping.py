"""Whether several tasks are learnt together, apart or in groups: a short comparison in equal time decides."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from autogpt.bench import Bench, Part, bench_of, candidate_of, judge_parts
from autogpt.config import RunConfig
from autogpt.data.readers import fingerprint
from autogpt.errors import TrainingError
from autogpt.evaluation.gain import gain_of, loss_gain_of
from autogpt.evaluation.metrics import get_metric
from autogpt.given import files_noted, sources_of, understood_of
from autogpt.model import Model
from autogpt.model_several import MultitaskModel, model_in
from autogpt.run import Run
from autogpt.search.gpt_space import JOINT_PARAMETERS
from autogpt.search.racing import Budget
from autogpt.store.artifacts import RunFolder, write_atomic, write_json
from autogpt.store.database import RunRow
from autogpt.tasks.spec import TaskKind
from autogpt.training.admission import Admission, Ceilings
from autogpt.training.finish import Judgement
from autogpt.training.loop import averaged, train

__all__ = ["Grouping", "Probe", "child_run", "grouped", "trained"]

_SHARE, _LEAST_S, _MOST_S = 0.2, 20.0, 900.0
"""Share of the budget for the comparison, and the seconds for it: fewer teach nothing, more tell little more."""
_FILE = "grouping.json"
_DONE_BEFORE = ("baselines", "feasibility")


@dataclass(frozen=True, slots=True)
class Probe:
    """How a task did in the comparison.

    Attributes:
        together, alone: its metric on validation rows, in one model with all tasks and in one of its own.
        difference: of the two, positive where alone is better; `loss_difference`: the same of the mean loss.
        p_value, loss_p_value: of paired tests on the same rows.
        leaves: whether it is better alone beyond what rows and seeds do.
    """

    task: str
    metric: str
    together: float
    alone: float
    difference: float
    p_value: float
    loss_difference: float
    loss_p_value: float
    leaves: bool


@dataclass(frozen=True, slots=True)
class Grouping:
    """Which tasks share a model.

    Attributes:
        groups: places of the tasks of each model.
        why: in words.
        probes: how each task did, where that was compared.
        seconds: that the comparison took.
    """

    groups: tuple[tuple[int, ...], ...]
    why: str
    probes: tuple[Probe, ...] = ()
    seconds: float = 0.0


def grouped(run: Run, bench: Bench) -> Grouping:
    """How the tasks of `bench` are to be grouped; what was found once is kept for a resumed run.

    Together, all tasks are trained by the default configuration for half of the time; apart, each for its share of the
    other half. A task leaves the common model when a model of its own is better by a paired test and beyond what seeds
    do, by its metric, or by its loss where its metric is no worse. Those that stay remain together. One model is
    simpler than several, so it is kept wherever nothing speaks against it; that a task leaves says what training for
    minutes says, and no more.
    """
    if len(bench.parts) == 1:
        return Grouping(((0,),), "")
    found = _grouped(run, bench)
    run.reasons["grouping"] = found.why
    return found


def _grouped(run: Run, bench: Bench) -> Grouping:
    every = tuple(range(len(bench.parts)))
    if run.config.grouping != "auto":
        groups = (every,) if run.config.grouping == "together" else tuple((place,) for place in every)
        return Grouping(groups, f"{run.config.grouping}: asked for")
    file = run.folder.path / _FILE
    if file.exists():
        return _read(file)
    seconds = min(_MOST_S, _SHARE * run.budget.remaining())
    if seconds < _LEAST_S:
        why = f"together: {seconds:.0f} s, a fifth of the budget, is too short to compare with models apart"
        return Grouping((every,), why)
    run.stage("grouping", f"{seconds:.0f} s")
    began, config, left_s = run.budget.elapsed(), of_one_task(run.config), run.budget.remaining()
    try:
        with run.busy():
            together = trained(run, bench, _allowed(run, bench), seconds / 2)
            apart = [bench_of(config, [part], left_s / len(every)) for part in bench.parts]
            alone = [trained(run, own, _allowed(run, own), seconds / 2 / len(every))[0] for own in apart]
    except TrainingError as error:
        return Grouping((every,), f"together: nothing could be compared ({error})")
    tests = len(every)
    probes = tuple(_probe(*each, tests) for each in zip(bench.parts, together, alone, strict=True))
    stay = tuple(place for place, probe in enumerate(probes) if not probe.leaves)
    left = tuple((place,) for place, probe in enumerate(probes) if probe.leaves)
    groups = (*((stay,) if stay else ()), *left)
    found = Grouping(groups, _why(probes), probes, round(run.budget.elapsed() - began, 1))
    write_json(file, asdict(found))
    run.emit("pipeline.note", message=found.why)
    return found


def of_one_task(config: RunConfig) -> RunConfig:
    """`config` without the wishes that only a model of several tasks can meet."""
    space = {name: wish for name, wish in config.search.space.items() if name not in JOINT_PARAMETERS}
    return config.model_copy(update={"search": config.search.model_copy(update={"space": space})})


def _allowed(run: Run, bench: Bench) -> Mapping[str, Any]:
    """The default configuration. Raises TrainingError where it is above a ceiling of the user."""
    options = run.config.search
    admission = Admission(bench.corpus, bench.bases, run.config.training, bench.machine.precision, Ceilings.of(options))
    if refusal := admission.refusal(bench.space.default):
        raise TrainingError("the default configuration is above a ceiling", found=refusal)
    return bench.space.default


def trained(run: Run, bench: Bench, config: Mapping[str, Any], seconds: float) -> list[Judgement]:
    """What the validation rows of each task say after so many seconds of training by a configuration."""
    candidate = candidate_of(bench, run.config, config)
    state = candidate.state
    for _ in train(
        state, candidate.batches, candidate.settings, until=candidate.max_steps, objective=candidate.objective
    ):
        if state.seconds >= seconds:
            break
    with averaged(state) as model:
        return judge_parts(bench, candidate, model)


def _probe(part: Part, together: Judgement, alone: Judgement, tests: int = 1) -> Probe:
    """`tests` is how many tasks are compared: each could leave by chance."""
    assert together.rows is not None
    assert together.losses is not None
    assert alone.rows is not None
    assert alone.losses is not None
    metric = get_metric(part.spec.metric)
    by_metric = gain_of(metric, alone.rows, together.rows, trials=tests)
    labels = part.spec.kind is TaskKind.CLASSIFICATION
    by_loss = loss_gain_of(alone.losses, together.losses, labels=labels, trials=tests)
    return Probe(
        task=part.name,
        metric=metric.name,
        together=together.score,
        alone=alone.score,
        difference=by_metric.difference,
        p_value=by_metric.p_value,
        loss_difference=by_loss.difference,
        loss_p_value=by_loss.p_value,
        leaves=by_metric.is_real or (by_metric.difference >= 0 and by_loss.is_real),
    )


def _why(probes: Sequence[Probe]) -> str:
    told = "; ".join(
        f"{one.task} {one.together:.4g} together, {one.alone:.4g} alone"
        f" (p={one.p_value:.2g}, by the loss {one.loss_p_value:.2g})"
        for one in probes
    )
    left = [one.task for one in probes if one.leaves]
    if not left:
        return f"together: no task is significantly better alone ({told})"
    if len(left) == len(probes):
        return f"apart: every task is significantly better alone ({told})"
    return f"in groups: {', '.join(left)} significantly better alone ({told})"


def _read(file: Path) -> Grouping:
    found = json.loads(file.read_text(encoding="utf-8"))
    groups = tuple(tuple(group) for group in found["groups"])
    return Grouping(groups, found["why"], tuple(Probe(**one) for one in found["probes"]), found["seconds"])


def child_run(run: Run, tasks: Sequence[str], seconds: float) -> Run | Model | MultitaskModel:
    """A run for some of the tasks of `run`: the one that was begun before, or a new one of so many seconds.

    Where it is finished already, the model that it left.
    """
    parent = run.row.config
    if (known := _known_child(run, tasks)) is not None:
        if known.state == "finished":
            return model_in(RunFolder(known.folder).model)
        known = run.store.claim_run(known.id)
        budget, row = Budget(known.budget_s, spent=known.spent_s), known
    else:
        run.emit("pipeline.note", message=f"{', '.join(tasks)}: a model of its own, {seconds:.0f} s")
        every = run.store.task(run.row.task_key)[0]
        specs = {name: every["tasks"][name] for name in tasks}
        files = sources_of({name: parent["tasks"][name] for name in tasks})
        spec = understood_of(specs, {name: parent["tasks"][name]["weight"] for name in tasks})
        own = run.config if len(tasks) > 1 else of_one_task(run.config)
        document = {
            "description": "; ".join(one["description"] for one in specs.values()),
            **files,
            "name": run.store.free_name(f"{parent['name']}-{tasks[0]}"),
            "known_task": False,
            "fresh": parent["fresh"],
            "parent": {"run": run.row.id, "tasks": list(tasks)},
            "config": own.model_copy(update={"grouping": "together"}).model_dump(mode="json"),
        }
        row = run.store.start_run(
            document["name"], spec=spec, fingerprint=fingerprint(files_noted(files)), config=document, budget_s=seconds
        )
        budget = Budget(seconds)
        for file, value in ((RunFolder(row.folder).task, spec), (RunFolder(row.folder).config, document)):
            write_atomic(file, yaml.safe_dump(value, allow_unicode=True, sort_keys=False))
    config = RunConfig.model_validate(row.config["config"])
    child = Run(row, RunFolder(row.folder), config, run.store, budget, list(run.consumers))
    # What the whole run has done for all tasks takes no time here, but is a measure of what is still to be done.
    child.stages.update({stage: run.stages[stage] * len(tasks) / len(parent["tasks"]) for stage in _DONE_BEFORE})
    return child


def _known_child(run: Run, tasks: Sequence[str]) -> RunRow | None:
    wanted = {"run": run.row.id, "tasks": list(tasks)}
    return next((row for row in run.store.runs() if row.config.get("parent") == wanted), None)
