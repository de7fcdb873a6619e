"""THE MAIN PATH: one sentence and a file in, a working, evaluated GPT out. Read `fit` and `_main_path` first.

    understand → recall → prepare → baselines → feasibility → search → finish → evaluate → report

This file is wiring: it sees the whole configuration and hands each room its own section. Everything that happens is an
event handed to the run's consumers (the JSONL file, the live view, TensorBoard); nothing here prints. Whatever can be
wrong with the input is found before a run is started, so that bad input leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from autogpt import delivery, stages
from autogpt.config import RunConfig, home, load_run_config, parse_budget
from autogpt.data import readers
from autogpt.errors import BudgetError, DataError
from autogpt.events import Consumer, Event
from autogpt.model import Model
from autogpt.models.bases import resolve
from autogpt.run import Run, recorded
from autogpt.search.gpt_space import SCRATCH
from autogpt.search.racing import Budget
from autogpt.stages_search import search
from autogpt.store.artifacts import RunFolder, require_free, write_atomic
from autogpt.store.database import Store
from autogpt.tasks.spec import TaskSpec
from autogpt.tasks.understand import understand
from autogpt.training.tensorboard import tensorboard_consumer

__all__ = ["fit", "fit_summary", "resume"]

fit_summary = delivery.fit_summary

_LEAST_BUDGET_S = 30.0
_LEAST_FREE_BYTES = 500 * 2**20


def fit(
    description: str,
    data: str | Path,
    *,
    test: str | Path | None = None,
    name: str | None = None,
    config: RunConfig | None = None,
    fresh: bool = False,
    consumers: Sequence[Consumer] = (),
    **options: Any,
) -> Model:
    """A model for the task that `description` and `data` tell, searched and trained within `config.budget`.

    Args:
        description: one sentence, Chinese or English.
        data: a file (or folder) of training rows.
        test: rows kept for the final evaluation; without it a part of `data` is sealed for that.
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
    files = [Path(data), *([Path(test)] if test is not None else [])]
    tables = [readers.read(file) for file in files]
    spec = understand(description, readers.sample(tables[0], seed=config.seed), config.task)
    understood = spec.model_dump(mode="json")
    _tell(consumers, "pipeline.understood", spec=understood)
    require_free(home(), _LEAST_FREE_BYTES)
    store = Store(home())
    fingerprint = readers.fingerprint(files)
    known = None if fresh else store.recall(delivery.task_key(spec, fingerprint))
    if known is not None:
        model = Model(known.folder, name=known.name)
        _tell(consumers, "pipeline.known_task", model=known.name, created=known.created, metric=known.metric_value)
        if budget.seconds <= 1.01 * float(model.recipe["budget_s"]):
            model.recipe["known_task"] = True
            return model
        _tell(consumers, "pipeline.note", message=f"the budget is larger than before: {known.name} is trained on")
        config, name = _continuing(config, known.folder), name or known.name
    wanted = delivery.checked_name(store, name, files[0], delivery.task_key(spec, fingerprint))
    bench = stages.set_up(config, spec, tables, budget.remaining())
    document = {
        "description": description,
        "files": [str(file.resolve()) for file in files],
        "name": wanted,
        "known_task": known is not None,
        "fresh": fresh,
        "config": config.model_dump(mode="json"),
    }
    row = store.start_run(wanted, spec=understood, fingerprint=fingerprint, config=document, budget_s=budget.seconds)
    folder = RunFolder(row.folder)
    bench.spec.save(folder.task)
    write_atomic(folder.config, yaml.safe_dump(document, allow_unicode=True, sort_keys=False))
    return _recorded_path(Run(row, folder, config, store, budget, list(consumers)), bench)


def _continuing(config: RunConfig, folder: Path) -> RunConfig:
    """`config` that starts from the model in `folder`; wishes about the shape of a new model have no place there."""
    search = config.search.model_copy(update={"space": {}})
    return config.model_copy(update={"base": str(folder), "search": search})


def resume(run_id: str, *, consumers: Sequence[Consumer] = ()) -> Model:
    """Go on with an interrupted run: ended trials are kept, and the budget that is left is used.

    A run that is finished already gives its model.

    Raises:
        BadInput: there is no such run. DataError: its data changed since it began.
        StoreError: another process is working on it.
    """
    store = Store(home())
    if store.run(run_id).state == "finished":
        return Model(RunFolder(store.run(run_id).folder).model)
    row = store.claim_run(run_id)
    document, folder = row.config, RunFolder(row.folder)
    config = RunConfig.model_validate(document["config"])
    files = [Path(file) for file in document["files"]]
    tables = [readers.read(file) for file in files]
    understood, fingerprint = store.task(row.task_key)
    spec = TaskSpec.model_validate(understood)
    if (found := readers.fingerprint(files)) != fingerprint:
        raise DataError(
            f"the data of run {run_id} changed since it began",
            found=f"fingerprint {found}",
            expected=fingerprint,
            todo="restore the file or start a new run with autogpt fit",
        )
    budget = Budget(row.budget_s, spent=row.spent_s)
    bench = stages.set_up(config, spec, tables, budget.remaining())
    return _recorded_path(Run(row, folder, config, store, budget, list(consumers)), bench)


def _recorded_path(run: Run, bench: stages.Bench) -> Model:
    board = tensorboard_consumer(run.folder.tensorboard) if run.config.tensorboard else None
    if board is not None:
        run.consumers.append(board)
    run.reasons.update(bench.reasons)
    with recorded(run):
        return _main_path(run, bench)


def _main_path(run: Run, bench: stages.Bench) -> Model:
    run.stage("prepare")
    run.emit("pipeline.prepared", summary=dict(bench.dataset.summary))
    run.stage("baselines")
    resolution = stages.show_baselines(run, bench)
    run.stage("feasibility")
    stages.assess_feasibility(run, bench)
    run.stage("search")
    study = search(run, bench, resolution)
    run.stage("finish")
    candidate = stages.finish_best(run, bench, study)
    run.stage("evaluate")
    examination = stages.evaluate(run, bench, candidate)
    run.stage("report")
    return delivery.deliver(run, bench.spec, bench.dataset, study, candidate, examination)


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
