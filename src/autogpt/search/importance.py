"""What a search has taught: which parameters mattered, how trials compare, and the whole search as an Optuna study."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from itertools import accumulate
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from autogpt.errors import BadInput, StoreError
from autogpt.search.samplers.optuna_study import coded, direction_of, distribution, intermediate_values, is_point, quiet
from autogpt.search.space import Choice, Dimension, Float, Int, Parameter, Space
from autogpt.search.trials import Direction, Trial, is_better

if TYPE_CHECKING:
    import optuna

__all__ = [
    "FEWEST_TRIALS",
    "SQLITE",
    "common_rung",
    "export",
    "importance",
    "observed_space",
    "places",
    "rung_score",
]

_TOP = 5
"""Trials that count as good, at the least: Optuna advises it for PED-ANOVA."""

_FEWEST_GOOD = 2
"""One trial that is better than all others may be luck."""

_TOP_SHARE = 0.25

FEWEST_TRIALS = 2 * _TOP
"""Below it nothing is said: as many trials as count as good have to be left to compare them with.

On quadratics of eight parameters, one of which rules the score, that one came first in three quarters of the searches
of 10 trials, in half of those of 6, and in nearly all of those of 25.
"""

_MOST_WHOLE_VALUES = 6
"""Whole numbers that took no more than so many values are taken for a choice."""

_LOG_RATIO = 3.0
"""A positive range whose ends are that far apart is taken for a logarithmic one, as all ranges of our spaces are."""

SQLITE = (".db", ".sqlite", ".sqlite3")
"""Names of files that end so become databases."""


# --- comparing trials ------------------------------------------------------------------------------------------------


def rung_score(trial: Trial, rung: float) -> float | None:
    """The score of `trial` at `rung` (see `Trial.score_at`); None also when it is not a finite number."""
    score = trial.score_at(rung)
    return score if score is not None and math.isfinite(score) else None


def _scored(trials: Sequence[Trial]) -> list[Trial]:
    """Trials that came to rest with a usable model."""
    return [t for t in trials if t.state != "running" and t.score is not None and math.isfinite(t.score)]


def common_rung(trials: Sequence[Trial]) -> float | None:
    """The highest share of the full length at which at least half of the scored trials have a score.

    Scores of different shares are different measurements; at this one most trials can be compared, late enough to
    tell them apart. None when no trial has a score.
    """
    scored = _scored(trials)
    for share in sorted({report.share for trial in scored for report in trial.reports}, reverse=True):
        if 2 * sum(rung_score(trial, share) is not None for trial in scored) >= len(scored):
            return share
    return None


def places(trials: Sequence[Trial], direction: Direction) -> dict[int, int]:
    """Number of each scored trial → how many trials were better at the common rung, 0 for the best.

    Equal scores share a place. Trials that were stopped before the common rung share the last one: the race stops a
    trial because others were better at the same share, so leaving it out would hide what made it weak.
    """
    scored, rung = _scored(trials), common_rung(trials)
    if rung is None:
        return {}
    reached = [score for trial in scored if (score := rung_score(trial, rung)) is not None]

    def place(own: float | None) -> int:
        return len(reached) if own is None else sum(is_better(other, own, direction) for other in reached)

    return {trial.number: place(rung_score(trial, rung)) for trial in scored}


# --- importance ------------------------------------------------------------------------------------------------------


def importance(space: Space, trials: Sequence[Trial], direction: Direction) -> dict[str, float]:
    """How much each parameter had to do with being among the good trials.

    PED-ANOVA (Watanabe, Bansal and Hutter 2023, "PED-ANOVA: Efficiently Quantifying Hyperparameter Importance in
    Arbitrary Subspaces") as Optuna has it: how far the density of a parameter's values among the good trials is from
    that among all. Good are the best quarter by `places`, five trials at the least, fewer where ties leave no choice.
    A parameter that exists in some trials only is judged among these and weighed by their part in the good ones
    (Optuna's conditional PED-ANOVA).

    Args:
        space: what was searched, or `observed_space(trials)`. A trial with a value outside it is left out.
        direction: whether scores shall be large or small.

    Returns:
        Name → share, summing to 1, largest first; parameters that had one value only are not in it. Empty when there
        are fewer than `FEWEST_TRIALS` scored trials, when so many scored the same that no two of them stand out, or
        when nothing tells the good ones from the others.

    Each parameter is judged alone: that two matter only together is not seen. The sampler prefers what did well, so
    the shares speak of the trials that were made, not of the whole space. With few trials they are a hint.
    """
    known = [trial for trial in _scored(trials) if _holds(space, trial.config)]
    place = places(known, direction)
    names = [name for name in space.names if _varies(name, known)]
    good = _good(list(place.values()))
    if len(known) < FEWEST_TRIALS or good < _FEWEST_GOOD or not names:
        return {}
    import optuna

    # Half a trial less, because Optuna rounds up and good / n * n may be a little more than good.
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=(good - 0.5) / len(known))
    with quiet(), warnings.catch_warnings():
        # About parameters that a single trial has or lacks.
        warnings.simplefilter("ignore", UserWarning)
        study = optuna.create_study(direction="minimize")
        study.add_trials([_placed(space, trial, place[trial.number]) for trial in known])
        found = optuna.importance.get_param_importances(study, evaluator=evaluator, params=names, normalize=False)
    total = sum(found.values())
    if not total > 0:
        return {}
    return {name: found[name] / total for name in sorted(names, key=lambda name: -found[name])}


def _good(taken: Sequence[int]) -> int:
    """How many trials count as good, given the places of all; 0 when no line can be drawn.

    Equal trials stand on the same side: where ties would make most trials good, the line is drawn above them.
    """
    if not taken:
        return 0
    line = sorted(taken)[: max(_TOP, math.ceil(_TOP_SHARE * len(taken)))][-1]
    good = sum(place <= line for place in taken)
    return good if 2 * good <= len(taken) else sum(place < line for place in taken)


def _holds(space: Space, config: Mapping[str, Any]) -> bool:
    """Whether all values are members; a parameter may be missing, because an observed space knows no conditions."""
    return all(name in space.names and space[name].dimension.parse(value) is not None for name, value in config.items())


def _varies(name: str, trials: Sequence[Trial]) -> bool:
    return len({_key(trial.config[name]) for trial in trials if name in trial.config}) > 1


def _key(value: Any) -> tuple[bool, Any]:
    """Equality as configurations have it: True and 1 differ, 2 and 2.0 do not."""
    return isinstance(value, bool), value


def _placed(space: Space, trial: Trial, place: int) -> optuna.trial.FrozenTrial:
    """`trial` with its place as its value.

    A choice becomes its position as a whole number: Optuna's estimator smooths categories so strongly that, with tens
    of trials, a choice would hardly ever count for more than a number.
    """
    import optuna

    params: dict[str, Any] = {}
    distributions: dict[str, Any] = {}
    for name, value in trial.config.items():
        dimension = space[name].dimension
        params[name] = coded(dimension, value)
        distributions[name] = distribution(dimension)
        if isinstance(dimension, Choice):
            distributions[name] = optuna.distributions.IntDistribution(0, len(dimension.values) - 1)
    return optuna.trial.create_trial(value=float(place), params=params, distributions=distributions)


# --- a space from trials ---------------------------------------------------------------------------------------------


def observed_space(trials: Sequence[Trial]) -> Space:
    """The smallest space that holds the values that were tried, for when the searched one cannot be had any more.

    Numbers that seldom repeat become a range from the smallest to the largest, logarithmic when that is a factor of
    three or more; everything else becomes a choice of the values that were tried, numbers in their order. Conditions
    are left out: whether a parameter is in a configuration says the same. The default is the first value tried.
    """
    values: dict[str, list[Any]] = {}
    for trial in trials:
        for name, value in trial.config.items():
            values.setdefault(name, []).append(value)
    return Space([Parameter(name, _observed(tried), tried[0]) for name, tried in values.items()])


def _observed(values: Sequence[Any]) -> Dimension:
    distinct = list({_key(value): value for value in values}.values())
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in distinct)
    if not numbers:
        return Choice(tuple(sorted(distinct, key=lambda value: isinstance(value, bool) and value)))
    whole = all(value == int(value) for value in distinct)
    if 2 * len(distinct) <= len(values) or (whole and len(distinct) <= _MOST_WHOLE_VALUES) or len(distinct) == 1:
        return Choice(tuple(sorted(distinct)))
    low, high = min(distinct), max(distinct)
    log = low > 0 and high >= _LOG_RATIO * low
    return Int(int(low), int(high), log) if whole else Float(float(low), float(high), log)


# --- export ----------------------------------------------------------------------------------------------------------


def export(
    space: Space, trials: Sequence[Trial], direction: Direction, file: Path, name: str, *, began: float = 0.0
) -> None:
    """Write the search as an Optuna study that `optuna.load_study` and optuna-dashboard open.

    SQLite when `file` ends in .db, .sqlite or .sqlite3, else Optuna's journal file. Finished trials are COMPLETE,
    stopped ones PRUNED with their last score as value, failed ones FAIL, those not yet at rest RUNNING. Each has its
    duration, its scores on the way (step: share of the full length in millionths), and as user attributes why it was
    stopped or failed.

    Args:
        space: what was searched, or `observed_space(trials)`.
        file: where to; written whole or not at all.
        name: of the study.
        began: when the search began, in seconds since 1970. Trials are put one after the other from there: the time
            between them is not known.

    Raises BadInput when the file is there already, its folder is not, or a trial has a value outside the space;
    StoreError when it cannot be written. Optuna's `best_trial` is the finished trial with the best last score, which
    need not be the one that the search chose.
    """
    if file.exists() or not file.absolute().parent.is_dir():
        found = "there already" if file.exists() else "no such folder"
        raise BadInput(f"cannot export to {file}", found=found, todo="give a new file in an existing folder")
    ordered = sorted(trials, key=lambda trial: trial.number)
    outside = next((trial.number for trial in ordered if not _holds(space, trial.config)), None)
    if outside is not None:
        raise BadInput(f"trial {outside} lies outside the space", todo="export with observed_space(trials)")
    starts = accumulate((trial.seconds for trial in ordered), initial=began)
    frozen = [_exported(space, trial, start) for trial, start in zip(ordered, starts, strict=False)]
    try:
        with TemporaryDirectory(dir=file.absolute().parent, prefix=".export-") as folder, quiet():
            part = Path(folder) / file.name
            _write(part, name, direction, frozen)
            part.replace(file)
    except OSError as error:
        raise StoreError(f"cannot write {file}", found=str(error), todo="check the folder and its rights") from error


def _write(file: Path, name: str, direction: Direction, trials: Sequence[optuna.trial.FrozenTrial]) -> None:
    import optuna
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    if file.suffix.lower() not in SQLITE:
        # A symbolic link, Optuna's default lock, needs rights on Windows that users seldom have.
        backend = JournalFileBackend(str(file), JournalFileOpenLock(str(file)))
        journal = optuna.storages.JournalStorage(backend)
        optuna.create_study(storage=journal, study_name=name, direction=direction_of(direction)).add_trials(trials)
        return
    storage = optuna.storages.RDBStorage(f"sqlite:///{file.as_posix()}")
    try:
        optuna.create_study(storage=storage, study_name=name, direction=direction_of(direction)).add_trials(trials)
    finally:
        storage.remove_session()
        storage.engine.dispose()


def _exported(space: Space, trial: Trial, start: float) -> optuna.trial.FrozenTrial:
    import optuna

    state = _state(trial)
    ended = state.is_finished()
    began = datetime.fromtimestamp(start)
    params = {name: _readable(space[name].dimension, value) for name, value in trial.config.items()}
    return optuna.trial.FrozenTrial(
        number=trial.number,
        state=state,
        value=trial.score if ended and state != optuna.trial.TrialState.FAIL else None,
        datetime_start=began,
        datetime_complete=began + timedelta(seconds=trial.seconds) if ended else None,
        params=params,
        distributions={name: _readable_distribution(space[name].dimension) for name in params},
        user_attrs={key: text for key, text in (("reason", trial.reason), ("error", trial.error)) if text},
        system_attrs={},
        intermediate_values=intermediate_values(trial, ranked=False),
        trial_id=-1,  # the storage gives its own
    )


def _state(trial: Trial) -> optuna.trial.TrialState:
    import optuna

    if trial.state == "running":
        return optuna.trial.TrialState.RUNNING
    if not _scored([trial]):
        return optuna.trial.TrialState.FAIL
    return optuna.trial.TrialState.COMPLETE if trial.state == "finished" else optuna.trial.TrialState.PRUNED


def _readable(dimension: Dimension, value: Any) -> Any:
    """`value` as a person wants to read it: a choice by its value, not by its position."""
    if isinstance(dimension, Choice):
        return _options(dimension)[coded(dimension, value)]
    parsed = dimension.parse(value)
    return dimension.low if is_point(dimension) else parsed


def _readable_distribution(dimension: Dimension) -> Any:
    import optuna

    if isinstance(dimension, Choice):
        return optuna.distributions.CategoricalDistribution(_options(dimension))
    if is_point(dimension):
        return optuna.distributions.CategoricalDistribution((dimension.low,))
    return distribution(dimension)


def _options(dimension: Choice) -> tuple[Any, ...]:
    """The values of a choice; as JSON text where Optuna could not tell them apart, such as True and 1."""
    if len(set(dimension.values)) == len(dimension.values):
        return dimension.values
    return tuple(json.dumps(value) for value in dimension.values)
