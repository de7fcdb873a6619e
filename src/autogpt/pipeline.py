"""THE MAIN PATH: one sentence and a file in, a working, evaluated GPT out. Read `fit` and `_main_path` first.

    understand → recall → prepare → baselines → search → finish → evaluate → report

This file is wiring: it sees the whole configuration and hands each room its own section. Everything that happens is an
event handed to the run's consumers (the JSONL file, the live view, TensorBoard); nothing here prints. Whatever can be
wrong with the input is found before a run is started, so that bad input leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from autogpt import delivery
from autogpt.config import RunConfig, home, load_run_config, parse_budget
from autogpt.data import readers
from autogpt.data.corpus import Corpus
from autogpt.data.splits import Dataset, prepare
from autogpt.errors import BudgetError, DataError, NoModelError
from autogpt.evaluation.baselines import ladder
from autogpt.evaluation.evaluate import score
from autogpt.evaluation.final import Examination, ExamLimits, UntunedBase, examine, seconds_per_row
from autogpt.evaluation.validate import Validator
from autogpt.events import Consumer, Event
from autogpt.generation.engine import Engine
from autogpt.generation.sampling import Sampling
from autogpt.model import Model
from autogpt.models.bases import available, resolve
from autogpt.models.hub import load_model
from autogpt.registry import SAMPLERS
from autogpt.run import Run, recorded
from autogpt.search.gpt_space import SCRATCH, space_for
from autogpt.search.racing import Budget, Racing
from autogpt.search.space import Space
from autogpt.search.study import Report, Study, Trial, optimize
from autogpt.store.artifacts import RunFolder, require_free, write_atomic, write_trials_csv
from autogpt.store.database import Store
from autogpt.tasks.spec import TaskSpec
from autogpt.tasks.understand import understand, with_labels
from autogpt.training.candidate import Candidate, build
from autogpt.training.finish import FinishPlan, Judgement, finish
from autogpt.training.loop import averaged, load_state, save_state, train
from autogpt.training.machine import Machine, probe
from autogpt.training.starts import choose_bases
from autogpt.training.tensorboard import tensorboard_consumer

__all__ = ["fit", "fit_summary", "resume"]

fit_summary = delivery.fit_summary

_LEAST_BUDGET_S = 30.0
_LEAST_FREE_BYTES = 500 * 2**20
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
    bases: Mapping[str, Path]
    space: Space
    validator: Validator
    reasons: Mapping[str, str]


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
        fresh: search anew although a model of the same task and data is known.
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
    bench = _bench(config, spec, tables, budget.remaining())
    document = {
        "description": description,
        "files": [str(file.resolve()) for file in files],
        "name": wanted,
        "known_task": known is not None,
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
    bench = _bench(config, spec, tables, budget.remaining())
    return _recorded_path(Run(row, folder, config, store, budget, list(consumers)), bench)


def _recorded_path(run: Run, bench: Bench) -> Model:
    board = tensorboard_consumer(run.folder.tensorboard) if run.config.tensorboard else None
    if board is not None:
        run.consumers.append(board)
    run.reasons.update(bench.reasons)
    with recorded(run):
        return _main_path(run, bench)


def _main_path(run: Run, bench: Bench) -> Model:
    run.stage("prepare")
    run.emit("pipeline.prepared", summary=dict(bench.dataset.summary))
    run.stage("baselines")
    _show_baselines(run, bench)
    run.stage("search")
    study = _search(run, bench)
    run.stage("finish")
    candidate = _finish(run, bench, study)
    run.stage("evaluate")
    examination = _examine(run, bench, candidate)
    run.stage("report")
    return delivery.deliver(run, bench.spec, bench.dataset, study, candidate, examination)


# ---- stages ----------------------------------------------------------------------------------------------------------


def _tell(consumers: Sequence[Consumer], kind: str, **data: Any) -> None:
    for consumer in consumers:
        consumer(Event(kind, data))


def _checked(config: RunConfig) -> Budget:
    """The budget's clock, started. A base that is not there is said here, even where a known model will do."""
    if config.base not in ("auto", SCRATCH):
        resolve(config.base, home())
    seconds = parse_budget(config.budget)
    if seconds < _LEAST_BUDGET_S:
        raise BudgetError(
            "the budget is too short to train anything",
            found=config.budget,
            expected=f"at least {_LEAST_BUDGET_S:.0f}s",
            todo="try --budget 2m",
        )
    return Budget(seconds)


def _bench(config: RunConfig, spec: TaskSpec, tables: Sequence[readers.Table], seconds: float) -> Bench:
    """Everything that can be refused is refused here: rows, names of samplers and bases, wishes about the space."""
    SAMPLERS.get("bayes" if config.search.sampler == "auto" else config.search.sampler)
    Racing(config.search.rungs, config.search.keep)
    dataset = prepare(spec, tables[0], tables[1] if len(tables) > 1 else None, config.data, config.seed)
    spec = with_labels(spec, [example.target for example in (*dataset.train, *dataset.valid)])
    corpus = Corpus(spec, dataset)
    machine = probe(config.training.precision, config.training.threads)
    reasons = {"precision": f"{machine.precision}: {machine.reason}; {machine.threads} threads"}
    bases = choose_bases(config.base, corpus, machine, seconds, reasons)
    scratch = config.base in ("auto", SCRATCH)
    space = space_for(spec, corpus.characters, tuple(bases), scratch=scratch).narrowed(config.search.space)
    validator = Validator(spec, dataset.valid, config.evaluation.search_rows)
    return Bench(spec, dataset, corpus, machine, bases, space, validator, reasons)


def _show_baselines(run: Run, bench: Bench) -> None:
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


def _search(run: Run, bench: Bench) -> Study:
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
                for event in train(state, candidate.batches, candidate.settings, until=candidate.max_steps):
                    run.take(event)
                    if state.seconds >= rung * full_s:
                        break
                with averaged(state) as model:
                    found = _judge(bench, candidate, model)
            save_state(state, run.folder.checkpoint(f"trial-{number}"))
            over = state.step >= candidate.max_steps
            info = {"step": state.step, "tokens": state.tokens, "loss": round(found.loss, 5)}
            yield Report(1.0 if over else rung, found.score, info=info)
            if over:
                return

    sampler = SAMPLERS.get("bayes" if options.sampler == "auto" else options.sampler)
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
    return study


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


def _finish(run: Run, bench: Bench, study: Study) -> Candidate:
    """The best trial, continued from its checkpoint and cooled down in the time that the test rows will not need."""
    assert study.best is not None
    candidate = _candidate(run, bench, study.best.config)
    folder = run.folder.checkpoint("finish")
    found = load_state(candidate.state, folder)
    found = found or load_state(candidate.state, run.folder.checkpoint(f"trial-{study.best.number}"))
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
        run.emit("pipeline.note", message=f"trial {study.best.number} goes on for up to {plan.seconds:.0f} s")
        for event in finish(candidate, plan, lambda model: _judge(bench, candidate, model)):
            run.take(event)
        sampling = Sampling(max_new_tokens=candidate.max_new_tokens)
        sampling, why = bench.validator.best_sampling(_engine(bench, candidate, candidate.model), sampling)
        candidate.repetition_penalty = sampling.repetition_penalty
        run.reasons["repetition_penalty"] = why
    return candidate


def _reserve_s(run: Run) -> float:
    """Seconds kept for the baselines and the untuned base on the test rows, and for the report."""
    base_s = _BASE_SHARE * run.budget.seconds if run.budget.seconds >= _BASE_FROM_S else 0.0
    return 1.5 * run.stages.get("baselines", 0.0) + base_s + 3.0


def _examine(run: Run, bench: Bench, candidate: Candidate) -> Examination:
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
            base=_untuned_base(run, bench),
        )


def _untuned_base(run: Run, bench: Bench) -> UntunedBase | None:
    """The base of the search, or the first pulled one: a yardstick even where it was not worth a trial."""
    if run.budget.seconds < _BASE_FROM_S:
        return None
    folders = dict(bench.bases) or {name: resolve(name, home()) for name in available(home())}
    for name, folder in folders.items():

        def load(folder: Path = folder) -> Engine:
            half = bench.machine.precision == "bf16"
            model, tokenizer = load_model(folder, dtype=torch.bfloat16 if half else torch.float32)
            return Engine(model, tokenizer, context=1024, precision=bench.machine.precision)

        return UntunedBase(Path(name).name, load, run.config.evaluation.base_rows, _BASE_SHARE * run.budget.seconds)
    return None
