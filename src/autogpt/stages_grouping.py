"""Whether several tasks are learnt together, apart or in groups: a short comparison in equal time decides."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from autogpt.bench import Bench, Part, bench_of, candidate_of, judge_parts
from autogpt.config import RunConfig
from autogpt.data.readers import fingerprint
from autogpt.errors import TrainingError
from autogpt.evaluation.gain import SIGNIFICANT, gain_of, loss_gain_of
from autogpt.evaluation.metrics import get_metric
from autogpt.evaluation.report_text import Language, language_of
from autogpt.given import files_noted, sources_of, understood_of
from autogpt.model import Model
from autogpt.model_several import MultitaskModel, model_in
from autogpt.run import Run
from autogpt.search.gpt_space import wishes_of
from autogpt.search.racing import Budget
from autogpt.store.artifacts import RunFolder, write_atomic, write_json
from autogpt.store.database import RunRow
from autogpt.tasks.spec import TaskKind
from autogpt.training.admission import Admission, Ceilings
from autogpt.training.finish import Judgement
from autogpt.training.loop import averaged, train

__all__ = ["Grouping", "Probe", "child_run", "compared", "grouped", "trained"]

_SHARE, _LEAST_S, _MOST_S = 0.2, 20.0, 900.0
"""Share of the budget for the comparison, and the seconds for it: fewer teach nothing, more tell little more."""
_LEAST_PASSES = 2.0
"""Passes over the rows of all tasks that must fit the time. Where rows are seen less than once, what tasks learn of
each other is not worth the steps that it takes (benchmarks/results/multitask.md). From where on it is was not measured:
two tasks of 400 rows gained with some ten passes."""
_TRAINING_SHARE, _MOST_TIMED_S, _TIMED_STEPS = 0.6, 3.0, 4
"""Share of the time left in which one model would be trained; and how long, and how often, a step is timed."""
_TOLERANCE = 0.02
"""Share of its loss that a task may lose to the others where that cannot be told from chance: seeds do more."""
_FILE = "grouping.json"
_DONE_BEFORE = ("baselines", "feasibility")
_WORDS: Mapping[Language, Mapping[str, str]] = {
    "en": {
        "asked_together": "together: asked for",
        "asked_apart": "apart: asked for",
        "short": "together: {seconds:.0f} s, a fifth of the budget, is too short to compare with models apart",
        "failed": "together: nothing could be compared ({error})",
        "scarce": "apart: there is time for {passes:.1g} passes over all rows, and tasks help where rows are few",
        "together": "together: no task loses by it, and on average they gain ({told})",
        "apart": "apart: no two tasks gain by each other ({told})",
        "groups": "in groups: {names} better alone ({told})",
        "task": "{name} {together:.4g} together, {alone:.4g} alone (p={p:.2g}, by the loss {loss_p:.2g})",
        "between_tasks": "; ",
        "between_names": ", ",
    },
    "zh": {
        "asked_together": "合训：按要求",
        "asked_apart": "分训：按要求",
        "short": "合训：预算的五分之一只有 {seconds:.0f} 秒，不足以与分训的模型比较",
        "failed": "合训：无法比较（{error}）",
        "scarce": "分训：时间只够把全部数据读 {passes:.1g} 遍，数据少时任务之间才有帮助",
        "together": "合训：没有任务因此变差，平均有所提高（{told}）",
        "apart": "分训：没有两个任务能互相帮助（{told}）",
        "groups": "分组：{names} 分训更好（{told}）",
        "task": "{name} 合训 {together:.4g}，分训 {alone:.4g}（p={p:.2g}，按损失 {loss_p:.2g}）",
        "between_tasks": "；",
        "between_names": "、",
    },
}


@dataclass(frozen=True, slots=True)
class Probe:
    """How a task did in the comparison.

    Attributes:
        together, alone: its metric on validation rows, in one model with all tasks and in one of its own.
        difference: of the two, positive where alone is better; `loss_difference`: the same of the mean loss.
        p_value, loss_p_value: of paired tests on the same rows.
        leaves: whether it has a model of its own.
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
        why: in words, in the language of the run's description.
        probes: how each task did, where that was compared.
        seconds: that the comparison took.
        kept: places of tasks that keep the model which did them before others were added to it.
    """

    groups: tuple[tuple[int, ...], ...]
    why: str
    probes: tuple[Probe, ...] = ()
    seconds: float = 0.0
    kept: tuple[int, ...] = ()


def grouped(run: Run, bench: Bench) -> Grouping:
    """How the tasks of `bench` are to be grouped; what was found once is kept for a resumed run.

    Where the time is too short for two passes over all rows, they are learnt apart, and nothing is compared. Otherwise
    all tasks are trained together by the default configuration for half of the comparison's time; and apart, each for
    its share of the other half. Those stay together, two or more, that lose nothing by it on validation rows: no
    more than 2 % of the loss, not significantly, and nothing of the metric beyond what seeds do; and on average they
    must gain. So most groupings are right, and none is sure: it is what training for minutes says.
    """
    if len(bench.parts) == 1:
        return Grouping(((0,),), "")
    found = _grouped(run, bench)
    run.reasons["grouping"] = found.why
    return found


def _grouped(run: Run, bench: Bench) -> Grouping:
    every = tuple(range(len(bench.parts)))
    every_alone = tuple((place,) for place in every)
    language = language_of(str(run.row.config["description"]))
    words = _WORDS[language]
    if run.config.grouping != "auto":
        groups = (every,) if run.config.grouping == "together" else every_alone
        return Grouping(groups, words[f"asked_{run.config.grouping}"])
    file = run.folder.path / _FILE
    if file.exists():
        return _read(file)
    seconds = min(_MOST_S, _SHARE * run.budget.remaining())
    run.stage("grouping", f"{seconds:.0f} s")
    began, left_s = run.budget.elapsed(), run.budget.remaining()
    try:
        with run.busy():
            if (passes := _passes(run, bench)) < _LEAST_PASSES:
                return _settled(run, Grouping(every_alone, words["scarce"].format(passes=passes)))
            if seconds < _LEAST_S:
                return Grouping((every,), words["short"].format(seconds=seconds))
            together = trained(run, bench, _allowed(run, bench), seconds / 2)
            apart = [bench_of(of_tasks(run.config, [p.name]), [p], left_s / len(every)) for p in bench.parts]
            alone = [trained(run, own, _allowed(run, own), seconds / 2 / len(every))[0] for own in apart]
    except TrainingError as error:
        return Grouping((every,), words["failed"].format(error=error))
    tests = len(every)
    probes = [compared(*each, tests) for each in zip(bench.parts, together, alone, strict=True)]
    stay = _staying(probes, [judgement.loss for judgement in alone])
    told = tuple(replace(probe, leaves=place not in stay) for place, probe in enumerate(probes))
    groups = (*((stay,) if stay else ()), *((place,) for place in every if place not in stay))
    return _settled(run, Grouping(groups, _why(told, language), told, round(run.budget.elapsed() - began, 1)))


def _staying(probes: Sequence[Probe], alone: Sequence[float]) -> tuple[int, ...]:
    """Places of the tasks that share a model, two or more; `alone` is the loss of each in a model of its own."""
    worse = [probe.loss_difference / max(loss, 1e-9) for probe, loss in zip(probes, alone, strict=True)]
    stay = tuple(
        place
        for place, probe in enumerate(probes)
        if worse[place] <= _TOLERANCE
        and not probe.leaves
        and not (worse[place] > 0 and probe.loss_p_value < SIGNIFICANT)
    )
    return stay if len(stay) > 1 and sum(worse[place] for place in stay) < 0 else ()


def _settled(run: Run, found: Grouping) -> Grouping:
    """Keep what was found for a resumed run, and tell it."""
    write_json(run.folder.path / _FILE, asdict(found))
    run.emit("pipeline.note", message=found.why)
    return found


def _passes(run: Run, bench: Bench) -> float:
    """How often all rows would be seen by one model, in the time that is left, at the pace of a few steps."""
    candidate = candidate_of(bench, run.config, _allowed(run, bench))
    state, first_s = candidate.state, 0.0
    for _ in train(state, candidate.batches, candidate.settings, until=_TIMED_STEPS, objective=candidate.objective):
        first_s = first_s or state.seconds  # takes longer than those that follow
        if state.seconds > _MOST_TIMED_S:
            break
    step_s = (state.seconds - first_s) / (state.step - 1) if state.step > 1 else state.seconds
    return _TRAINING_SHARE * run.budget.remaining() / step_s / candidate.batches.steps_per_epoch


def of_tasks(config: RunConfig, names: Sequence[str]) -> RunConfig:
    """`config` without the wishes that a model of some of the tasks cannot meet; see `wishes_of`."""
    space = wishes_of(config.search.space, names)
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


def compared(part: Part, together: Judgement, alone: Judgement, tests: int = 1) -> Probe:
    """How one task did in the two models; `tests` is how many tasks are compared: each could leave by chance."""
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


def _why(probes: Sequence[Probe], language: Language) -> str:
    words = _WORDS[language]
    told = words["between_tasks"].join(
        words["task"].format(
            name=one.task, together=one.together, alone=one.alone, p=one.p_value, loss_p=one.loss_p_value
        )
        for one in probes
    )
    left = [one.task for one in probes if one.leaves]
    found = "together" if not left else "apart" if len(left) == len(probes) else "groups"
    return words[found].format(told=told, names=words["between_names"].join(left))


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
        own = of_tasks(run.config, tasks)
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
