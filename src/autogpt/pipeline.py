"""THE MAIN PATH: one sentence and a file in, a working, evaluated GPT out. Read `fit` and `_main_path` first.

    understand → recall → prepare → baselines → feasibility → transfer → search → finish → evaluate → report

This file is wiring: it sees the whole configuration and hands each room its own section. Everything that happens is an
event handed to the run's consumers (the JSONL file, the live view, TensorBoard); nothing here prints. Whatever can be
wrong with the input is found before a run is started, so that bad input leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, overload

import yaml

from autogpt import delivery, stages
from autogpt.adding import Added, added, unharmed
from autogpt.bench import Bench, bench_of, set_up_tasks
from autogpt.config import RunConfig, home, load_run_config, parse_budget
from autogpt.delivery_several import deliver_several, gather
from autogpt.delivery_task import Ended, fit_summary
from autogpt.errors import BudgetError, DataError
from autogpt.events import Consumer, Event
from autogpt.given import Given, files_of, read_tasks, tasks_again
from autogpt.model import Model
from autogpt.model_several import MultitaskModel, model_in
from autogpt.models.bases import resolve
from autogpt.run import Run, recorded
from autogpt.search.gpt_space import SCRATCH
from autogpt.search.racing import Budget
from autogpt.stages_grouping import Grouping, child_run, grouped
from autogpt.stages_search import search
from autogpt.stages_transfer import with_transfer
from autogpt.store.artifacts import RunFolder, require_free, write_atomic
from autogpt.store.database import RunRow, Store
from autogpt.store.keys import task_key
from autogpt.training.tensorboard import on_board

__all__ = ["fit", "fit_summary", "resume"]

_LEAST_BUDGET_S = 30.0
_LEAST_FREE_BYTES = 500 * 2**20
_GATHERING_S = 3.0
"""Seconds kept for putting the models of several groups together."""


@overload
def fit(
    description: str,
    data: str | Path,
    *,
    test: str | Path | None = ...,
    name: str | None = ...,
    config: RunConfig | None = ...,
    fresh: bool = ...,
    consumers: Sequence[Consumer] = ...,
    **options: Any,
) -> Model: ...


@overload
def fit(
    description: str,
    data: Sequence[str | Path],
    *,
    test: Sequence[str | Path] = ...,
    name: str | None = ...,
    config: RunConfig | None = ...,
    fresh: bool = ...,
    consumers: Sequence[Consumer] = ...,
    **options: Any,
) -> Model | MultitaskModel: ...


def fit(
    description: str,
    data: str | Path | Sequence[str | Path],
    *,
    test: str | Path | Sequence[str | Path] | None = None,
    name: str | None = None,
    config: RunConfig | None = None,
    fresh: bool = False,
    consumers: Sequence[Consumer] = (),
    **options: Any,
) -> Model | MultitaskModel:
    """A model for the task that `description` and `data` tell, searched and trained within `config.budget`.

    Several files are several tasks, which one model learns: the sentence says what each is about.

    Args:
        description: one sentence, Chinese or English.
        data: a file (or folder) of training rows; several of them for several tasks, or a YAML file that names them.
        test: rows kept for the final evaluation, one file for each of `data`; without it a part of `data` is sealed for
            that.
        name: what to call the model; derived from the file's name when not given.
        fresh: search anew, without a model of the same task and data and without what past searches found.
        consumers: are handed every event.
        options: top-level options of `RunConfig`, such as `budget="2m"`, in place of those in `config`.

    Raises:
        BadInput: something about the arguments or the data; nothing was written.
        NoModelError: the budget ended before any model existed.
    """
    config = load_run_config(**{**(config or RunConfig()).model_dump(), **options})
    budget = _checked(config)
    given = read_tasks(description, files_of(data), files_of(test), config)
    store = Store(home())
    found = added(store, given, config) if config.add_to else Added(given, config, given.files[0].name)
    given, config = found.given, found.config
    _tell(consumers, "pipeline.understood", spec=given.understood)
    require_free(home(), _LEAST_FREE_BYTES)
    key = task_key(given.understood, given.fingerprint)
    known = None if fresh else store.recall(key)
    if known is not None:
        model = model_in(known.folder, known.name)
        _tell(consumers, "pipeline.known_task", model=known.name, created=known.created, metric=known.metric_value)
        if budget.seconds <= 1.01 * float(model.recipe["budget_s"]):
            model.recipe["known_task"] = True
            return model
        config, name = _continuing(config, model, consumers), name or known.name
    document = {
        "description": given.description,
        **given.sources,
        "name": delivery.checked_name(store, name, found.like, key),
        "known_task": known is not None,
        "fresh": fresh,
        "config": config.model_dump(mode="json"),
    }
    bench = set_up_tasks(config, given.tasks, budget.remaining())
    row = _started(store, given, document, budget.seconds)
    folder = RunFolder(row.folder)
    write_atomic(folder.task, given.to_yaml([part.spec for part in bench.parts]))
    return _recorded_path(Run(row, folder, config, store, budget, list(consumers)), bench)


def _started(store: Store, given: Given, document: dict[str, Any], seconds: float) -> RunRow:
    """A new run in the store, and its folder with what it was asked."""
    name, understood, fingerprint = str(document["name"]), given.understood, given.fingerprint
    row = store.start_run(name, spec=understood, fingerprint=fingerprint, config=document, budget_s=seconds)
    text = yaml.safe_dump(document, allow_unicode=True, sort_keys=False)
    write_atomic(RunFolder(row.folder).config, text)
    return row


def _continuing(config: RunConfig, model: Model | MultitaskModel, consumers: Sequence[Consumer]) -> RunConfig:
    """`config` that starts from a known model; wishes about the shape of a new model have no place there.

    A model of several tasks is trained anew: its weights are no base for one.
    """
    if isinstance(model, MultitaskModel):
        _tell(consumers, "pipeline.note", message=f"the budget is larger than before: {model.name} is trained anew")
        return config
    _tell(consumers, "pipeline.note", message=f"the budget is larger than before: {model.name} is trained on")
    search = config.search.model_copy(update={"space": {}})
    return config.model_copy(update={"base": str(model.folder), "search": search})


def resume(run_id: str, *, consumers: Sequence[Consumer] = ()) -> Model | MultitaskModel:
    """Go on with an interrupted run: ended trials are kept, and the budget that is left is used.

    A run that is finished already gives its model.

    Raises:
        BadInput: there is no such run. DataError: its data changed since it began.
        StoreError: another process is working on it.
    """
    store = Store(home())
    if store.run(run_id).state == "finished":
        return model_in(RunFolder(store.run(run_id).folder).model)
    document = store.run(run_id).config
    config = RunConfig.model_validate(document["config"])
    understood, fingerprint = store.task(store.run(run_id).task_key)
    given = tasks_again(document, understood)
    if (found := given.fingerprint) != fingerprint:
        raise DataError(
            f"the data of run {run_id} changed since it began",
            found=f"fingerprint {found}",
            expected=fingerprint,
            todo="restore the file or start a new run with autogpt fit",
        )
    row = store.claim_run(run_id)
    budget, folder = Budget(row.budget_s, spent=row.spent_s), RunFolder(row.folder)
    bench = set_up_tasks(config, given.tasks, budget.remaining())
    return _recorded_path(Run(row, folder, config, store, budget, list(consumers)), bench)


def _recorded_path(run: Run, bench: Bench) -> Model | MultitaskModel:
    run.reasons.update(bench.reasons)
    with recorded(run), on_board(run.consumers, run.folder.tensorboard if run.config.tensorboard else None):
        return _main_path(run, bench)


def _main_path(run: Run, bench: Bench) -> Model | MultitaskModel:
    run.stage("prepare")
    for part in bench.parts:
        run.emit("pipeline.prepared", **part.told, summary=dict(part.dataset.summary))
    run.stage("baselines")
    resolutions = stages.show_baselines(run, bench)
    run.stage("feasibility")
    stages.assess_feasibility(run, bench)
    groups = grouped(run, bench)
    if len(groups.groups) > 1:
        return _in_groups(run, bench, resolutions, groups)
    return _one_model(run, bench, stages.resolution_of(bench, resolutions), groups)


def _one_model(run: Run, bench: Bench, resolution: float, groups: Grouping) -> Model | MultitaskModel:
    bench = with_transfer(run, bench)
    run.stage("search")
    run.emit("search.begun", metric=bench.score.name, direction=bench.direction)
    study = search(run, bench, resolution)
    run.stage("finish")
    candidate = stages.finish_best(run, bench, study)
    run.stage("evaluate")
    groups = unharmed(run, bench, candidate, groups)
    examinations = stages.evaluate(run, bench, candidate)
    run.stage("report")
    return delivery.deliver(Ended(run, bench, study, candidate), examinations, groups)


def _in_groups(run: Run, bench: Bench, resolutions: Sequence[float], groups: Grouping) -> MultitaskModel:
    """A run of its own for each group, with its share of the time that is left; and one model that answers for all."""
    run.stage("groups")
    names = [[bench.parts[place].name for place in group] for group in groups.groups]
    models, waiting = list[Model | MultitaskModel](), len(bench.parts)
    for group, tasks in zip(groups.groups, names, strict=True):
        seconds = max(1.0, run.budget.remaining() - _GATHERING_S) * len(group) / waiting
        waiting -= len(group)
        child = child_run(run, tasks, seconds)
        if isinstance(child, Model | MultitaskModel):
            models.append(child)
            continue
        found = Grouping((tuple(range(len(group))),), groups.why)
        board = child.folder.tensorboard if child.config.tensorboard else None
        with recorded(child), on_board(child.consumers, board):
            own = bench_of(child.config, [bench.parts[place] for place in group], seconds)
            child.reasons.update(own.reasons)
            models.append(_one_model(child, own, stages.resolution_of(own, [resolutions[i] for i in group]), found))
        run.busy_s += child.busy_s
    run.stage("report")
    reports = gather(run, models, names)
    fits = [model.recipe["fit"] for model in models]
    chosen = {", ".join(tasks): fit["best_config"] for fit, tasks in zip(fits, names, strict=True)}
    return deliver_several(run, bench, reports, groups, chosen, sum(fit["trials"] for fit in fits))


def _tell(consumers: Sequence[Consumer], kind: str, **data: Any) -> None:
    for consumer in consumers:
        consumer(Event(kind, data))


def _checked(config: RunConfig) -> Budget:
    """The budget's clock, started. A base that is not there is said here, even where a known model will do."""
    if config.base not in ("auto", SCRATCH):
        resolve(config.base, home())
    seconds = parse_budget(config.budget, config.price_per_hour)
    if seconds < _LEAST_BUDGET_S:
        raise BudgetError(
            "the budget is too short to train anything",
            found=config.budget,
            expected=f"at least {_LEAST_BUDGET_S:.0f}s",
            todo="try --budget 2m",
        )
    return Budget(seconds)
