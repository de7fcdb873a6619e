"""Whether a fit begins with the model of a like task: short trainings in equal time decide, by validation rows."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from pathlib import Path

from autogpt.bench import Bench
from autogpt.data import readers
from autogpt.data.shared_rows import share_known
from autogpt.errors import BadInput, ModelError, StoreError, TrainingError
from autogpt.evaluation.gain import Gain, gain_of, loss_gain_of
from autogpt.given import files_noted
from autogpt.model import TASKS, Model
from autogpt.run import Run
from autogpt.search.gpt_space import SCRATCH, space_for
from autogpt.search.space import Space
from autogpt.stages_choose import is_improvement
from autogpt.stages_grouping import trained
from autogpt.stages_transfer_mix import with_mix
from autogpt.store.artifacts import write_json
from autogpt.store.database import ModelRow
from autogpt.tasks.likeness import Alike, candidates
from autogpt.training.admission import Admission, Ceilings, without_impossible
from autogpt.training.cost import Limits, Rates, free_bytes, probe_rates
from autogpt.training.finish import Judgement
from autogpt.training.starts import LEAST_EPOCHS_OWN, Start, bases_of, start_from_model

__all__ = ["Probe", "Transfer", "decided", "with_transfer"]

_LEAST_BUDGET_S, _SHARE, _MOST_S = 120.0, 0.06, 60.0
"""Shortest budget in which models are probed; the share of it that all trainings of the comparison have together; and
the most seconds of each."""
_MOST_SHARE = 0.12
"""Of the budget; so much may the comparison take with the scoring and the mixing, or fewer models are probed."""
_MOST_PROBED = 2
_MOST_ROWS_KNOWN = 0.01
"""Share of this task's rows that the other model's files may hold: short texts are the same by chance."""
_MOST_BYTES = 100_000_000
"""Of files that are read to compare their rows."""
_FILE, _FOLDER = "transfer.json", "start"


@dataclass(frozen=True, slots=True)
class Probe:
    """How the start from a model did beside the default configuration.

    Attributes:
        score, default: the metric on validation rows, with this start and without.
        gains: name of the metric, and "loss" where that is another measure → gain, in words.
        better: whether it is by more than rows and seeds do.
        loss: mean loss on validation rows; of several that are better, the one with the least is taken.
    """

    name: str
    score: float
    default: float
    gains: Mapping[str, str]
    better: bool
    loss: float


@dataclass(frozen=True, slots=True)
class Transfer:
    """What was found.

    Attributes:
        chosen: the model to start from; empty for none.
        methods: what of it may be trained.
        why: in words, with the numbers and the seconds that it took.
    """

    chosen: str
    methods: tuple[str, ...]
    why: str
    probes: tuple[Probe, ...]
    seconds: float


def with_transfer(run: Run, bench: Bench) -> Bench:
    """`bench`, whose search begins with the model of a like task where that is better in a short comparison.

    For one task, where the base is left to the tool and the budget is at least two minutes. The nearest models of the
    registry, two at most, and the default configuration are trained for equal time, six hundredths of the budget in
    all. A model is taken when it is better on the validation rows by the rule that a search's winner is held to. From
    scratch stays in the space. Of a model of several tasks, the start is a mix of them where that explains a handful of
    training rows better than the nearest task alone. A model that has seen rows of this task is refused: its scores
    would be of rows that it knows. The weights are copied into the run's folder, and what was found is kept there for a
    resumed run.

    What it does not do: look at the sealed rows, or tell who would be better in the end; who begins ahead in short
    trainings may be caught up with.

    Raises:
        StoreError: a resumed run's copy of the chosen model is gone.
    """
    if not _is_wanted(run, bench):
        return bench
    file = run.folder.path / _FILE
    if file.exists():
        found = _read(file)
        run.reasons["transfer"] = found.why
        return _again(run, bench, found)
    alike = candidates(run.store, bench.parts[0].spec, run.row.task_key)
    if not alike:
        return bench
    run.stage("transfer", ", ".join(one.name for one in alike[:_MOST_PROBED]))
    began = run.budget.elapsed()
    starts, told, mixing_s = _starts(run, bench, alike)
    probes: tuple[Probe, ...] = ()
    if starts:
        with run.busy():
            probes = _probes(run, bench, starts, told, mixing_s)
    chosen = decided(probes)
    seconds = round(run.budget.elapsed() - began, 1)
    methods = starts[chosen].methods if chosen else ()
    found = Transfer(chosen, methods, _why(probes, told, chosen, seconds), probes, seconds)
    for name in starts:
        if name != chosen:
            shutil.rmtree(_copy_of(run, name), ignore_errors=True)
    write_json(file, asdict(found))
    run.reasons["transfer"] = found.why
    run.emit("pipeline.note", message=found.why)
    return _beginning_with(run, bench, chosen, starts[chosen]) if chosen else bench


def _is_wanted(run: Run, bench: Bench) -> bool:
    """Not where the user asks for something else: a base, a fresh search, or a shape, which a model has already."""
    config = run.config
    if len(bench.parts) > 1 or config.base != "auto" or config.transfer != "auto" or run.row.config.get("fresh"):
        return False
    whole = space_for(bench.parts[0].spec, bench.corpus.characters)
    own = {one.name for one in (*whole.parameters, *whole.optional) if (one.when or {}).get("start") == (SCRATCH,)}
    return run.budget.seconds >= _LEAST_BUDGET_S and not config.search.space.keys() & {"start", *own}


def _starts(run: Run, bench: Bench, alike: Sequence[Alike]) -> tuple[dict[str, Start], list[str], float]:
    """Name → start of the models that can be probed; how tasks were mixed for them, and of the others, why not; and the
    seconds of mixing."""
    starts: dict[str, Start] = {}
    told: list[str] = []
    mixing_s = 0.0
    shutil.rmtree(run.folder.path / _FOLDER, ignore_errors=True)  # of an attempt that was interrupted
    ceilings, limits = Ceilings.of(run.config.search), cache(partial(_limits, run, bench))
    for one in alike:
        if len(starts) == _MOST_PROBED:
            break
        refusal, start = _known_rows(run, one.row), None
        name, folder = _name_in(bench, one.name), _copy_of(run, _name_in(bench, one.name))
        if not refusal:
            try:
                folder.parent.mkdir(exist_ok=True)
                Model(one.row.folder / TASKS / one.task if one.task else one.row.folder).save(folder)
                start, refusal = start_from_model(folder, bench.corpus, limits)
            except (ModelError, OSError) as error:
                refusal = str(error)
        if start is not None:
            start = replace(start, methods=start.methods if bench.bases else start.methods[:1])
            space = _space(run, bench, {name: start}, name)
            admission = Admission(bench.corpus, {name: start}, run.config.training, bench.machine.precision, ceilings)
            refusal = admission.refusal(space.default)
            if not refusal:
                starts[name] = start
                mixed, seconds = with_mix(run, bench, one, start) if one.task else ("", 0.0)
                told += [mixed] if mixed else []
                mixing_s += seconds
                continue
        shutil.rmtree(folder, ignore_errors=True)
        told.append(f"{one.name} is not probed: {refusal}")
    return starts, told, mixing_s


def _limits(run: Run, bench: Bench) -> Limits:
    """What training may take here. The machine is measured only where no base had it measured before."""
    known = next((start.limits.rates for start in bench.bases.values()), None)
    return Limits(
        known or probe_rates(bench.machine),
        run.budget.remaining(),
        free_bytes(bench.machine.device),
        LEAST_EPOCHS_OWN,
        Ceilings.of(run.config.search).memory_of_trial,
    )


def _known_rows(run: Run, row: ModelRow) -> str:
    """Why this model may have seen rows of the run's task; empty when it has not.

    The files that it was trained and tested on are compared with those of the run: their content, and the longest text
    of each row. Answers are not looked at.
    """
    ours, theirs = files_noted(run.row.config), files_noted(run.store.run(str(row.run)).config)
    stored = run.store.task(str(row.task_key))[1]
    own = {readers.fingerprint([path]) for path in ours}
    if stored in own or stored == run.store.task(run.row.task_key)[1]:
        return "it was trained on a file of this task"
    try:
        if readers.fingerprint(theirs) != stored:
            return "the files that it was trained on have changed, and it may have seen rows of this task"
        if own & {readers.fingerprint([path]) for path in theirs}:
            return "it was trained on a file of this task"
        if sum(path.stat().st_size for path in (*ours, *theirs) if path.is_file()) > _MOST_BYTES:
            return "the files are too large to look for rows that it has seen"
        share = share_known(ours, theirs)
    except (BadInput, OSError):
        return "the files that it was trained on cannot be read, and it may have seen rows of this task"
    return f"it has seen {share:.1%} of this task's rows" if share > _MOST_ROWS_KNOWN else ""


def _probes(run: Run, bench: Bench, starts: Mapping[str, Start], told: list[str], spent: float) -> tuple[Probe, ...]:
    """The default configuration and each start, trained for equal time; why one could not be goes into `told`.

    `spent` are seconds that the comparison has taken before.
    """
    seconds = min(_MOST_S, _SHARE * run.budget.seconds / (1 + len(starts)))
    began, found = run.budget.elapsed(), list[Probe]()
    try:
        (default,) = trained(run, bench, bench.space.default, seconds)
    except TrainingError as error:
        told.append(f"the default configuration cannot be trained: {error}")
        return ()
    took = run.budget.elapsed() - began
    for name, start in starts.items():
        if spent + run.budget.elapsed() - began + took > _MOST_SHARE * run.budget.seconds:
            told.append(f"{name} is not probed: training and scoring once takes {took:.0f} s")
            continue
        own = _beginning_with(run, bench, name, start)
        try:
            (judged,) = trained(run, own, own.space.default, seconds)
        except (ModelError, TrainingError) as error:
            told.append(f"{name} is not probed: {error}")
            continue
        found.append(_probe(bench, name, judged, default, len(starts)))
    return tuple(found)


def _probe(bench: Bench, name: str, judged: Judgement, default: Judgement, trials: int) -> Probe:
    gains = _gains(bench, judged, default, trials)
    told = {measure: str(gain) for measure, gain in gains.items()}
    return Probe(name, judged.score, default.score, told, is_improvement(gains), judged.loss)


def _gains(bench: Bench, judged: Judgement, default: Judgement, trials: int) -> dict[str, Gain]:
    assert judged.rows is not None
    assert default.rows is not None
    gains = {bench.score.name: gain_of(bench.score, judged.rows, default.rows, trials=trials)}
    if bench.score.name != "bits_per_byte" and judged.losses is not None and default.losses is not None:
        gains["loss"] = loss_gain_of(judged.losses, default.losses, labels=bench.label_losses, trials=trials)
    return gains


def decided(probes: Sequence[Probe]) -> str:
    """The model to start from: of those that are better than the default, the one with the least loss; or empty."""
    better = [probe for probe in probes if probe.better]
    return min(better, key=lambda probe: probe.loss).name if better else ""


def _why(probes: Sequence[Probe], told: Sequence[str], chosen: str, seconds: float) -> str:
    compared = [
        f"{one.name} {one.score:.4g} against {one.default:.4g} of the default configuration"
        f" ({', '.join(f'{measure}: {gain}' for measure, gain in one.gains.items())})"
        for one in probes
    ]
    if chosen:
        head = f"from {chosen}, the model of a like task, which is significantly better after equal training"
    elif probes:
        head = "no model of a like task is significantly better as a start after equal training"
    else:
        head = "no model of a like task can be started from"
    return f"{head}: {'; '.join((*compared, *told))}; it took {seconds:.0f} s"


def _beginning_with(run: Run, bench: Bench, name: str, start: Start) -> Bench:
    """`bench` with one more base, with which its search begins."""
    bases = {name: start, **bench.bases}
    return replace(bench, bases=bases, space=_space(run, bench, bases, name))


def _space(run: Run, bench: Bench, bases: Mapping[str, Start], first: str) -> Space:
    wishes = run.config.search.space
    found = replace(bases_of(bases, bench.corpus, scratch=True), first=first)
    space = space_for(bench.parts[0].spec, bench.corpus.characters, found, scratch=True)
    return without_impossible(space.narrowed(wishes), wishes, bases)


def _again(run: Run, bench: Bench, found: Transfer) -> Bench:
    """As it was decided before the run was interrupted; what fitted the time then is not asked again."""
    if not found.chosen:
        return bench
    folder = _copy_of(run, found.chosen)
    if not folder.is_dir():
        raise StoreError(
            f"the model that run {run.row.id} starts from is gone",
            found=f"no folder {str(folder)!r}",
            todo="start a new run with autogpt fit",
        )
    unlimited = Limits(Rates(0.0, 0.0, 0.0, bench.machine.precision))
    start, refusal = start_from_model(folder, bench.corpus, lambda: unlimited)
    if start is None:
        raise StoreError(f"run {run.row.id} cannot start from {found.chosen!r} any more", found=refusal)
    return _beginning_with(run, bench, found.chosen, replace(start, methods=found.methods))


def _name_in(bench: Bench, name: str) -> str:
    """What the start is called beside the others."""
    return f"{name}-model" if name in (SCRATCH, *bench.bases) else name


def _copy_of(run: Run, name: str) -> Path:
    return run.folder.path / _FOLDER / name.replace("/", ".")  # other names have no dot


def _read(file: Path) -> Transfer:
    found = json.loads(file.read_text(encoding="utf-8"))
    probes = tuple(Probe(**one) for one in found["probes"])
    return Transfer(found["chosen"], tuple(found["methods"]), found["why"], probes, found["seconds"])
