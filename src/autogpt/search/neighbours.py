"""What searches on similar tasks found, to be tried early in a new one.

The winners of the nearest tasks begin, as in Feurer, Springenberg and Hutter 2015, "Initializing Bayesian
Hyperparameter Optimization via Meta-Learning"; the portfolio follows, last of it what lost clearly there. Only the runs
in the user's own store are read.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

from autogpt.search.gpt_space import SCRATCH
from autogpt.search.portfolio import PORTFOLIO, fitted, portfolio_of
from autogpt.search.space import Config, Space
from autogpt.search.trials import SLACK, Direction, Study, Trial, is_better, same_config

if TYPE_CHECKING:
    from autogpt.store.database import Store

__all__ = [
    "Bar",
    "Features",
    "PastSearch",
    "Proposal",
    "distance",
    "features_of",
    "first_configs",
    "past_searches",
]

_FEWEST_TRIALS = 3
"""A search with fewer scored trials has hardly compared anything."""
_NEIGHBOURS = 3
"""Most runs that are asked, and so most configurations that they propose: the new task has to have its say too."""
_FARTHEST = 1.0
"""A task is similar when all its differences together are no more than one factor of ten, or another language."""
_UNKNOWN_ROWS = 0.5
_REPORTS_READ = 12
"""Reports that are opened for their row counts: the nearest by what the database knows."""
_SHAPE, _SAME_BUDGET = ("width", "depth"), 2.0
"""How large a model is best depends on how long it is trained, so shapes are taken from like budgets only."""

Bar: TypeAlias = Callable[[str, float, int], float]
"""(metric, score of the default, comparisons) → how far from that score another one must be to differ clearly; infinite
for a metric of which that is not known."""


@dataclass(frozen=True, slots=True)
class Features:
    """What a task is compared by.

    Attributes:
        languages: of the input and of the answer.
        labels: size of the label set, or number of entity types; 0 where there are none.
        rows: training rows; None when not known.
        input_chars, answer_chars: 99th percentile of a row, as `TaskSpec` has them.
        from_base: whether the search begins with a pretrained base.
        budget_s: wall-clock of the whole run.
    """

    kind: str
    languages: tuple[str, str]
    labels: int
    rows: int | None
    input_chars: int
    answer_chars: int
    from_base: bool
    budget_s: float

    def __str__(self) -> str:
        asked, answered = self.languages
        parts = [self.kind.replace("_", " "), asked if asked == answered else f"{asked} to {answered}"]
        parts += [f"{self.labels} labels"] if self.labels else []
        parts += [f"{self.rows:,} rows"] if self.rows is not None else []
        return ", ".join(parts)


@dataclass(frozen=True, slots=True)
class PastSearch:
    """A finished search. Its trial 0 is the default configuration of its space."""

    run: str
    features: Features
    metric: str
    direction: Direction
    trials: tuple[Trial, ...]


@dataclass(frozen=True, slots=True)
class Proposal:
    """A configuration to try early.

    Attributes:
        origin: where it comes from, in words.
        run: the past run that it won; None for one of the portfolio.
    """

    config: Config
    origin: str
    run: str | None = None


def features_of(spec: Mapping[str, Any], *, rows: int | None, start: object, budget_s: float) -> Features:
    """The features of a task.

    Args:
        spec: the task as the store holds it, `TaskSpec.model_dump(mode="json")`; of a field that is not there, the
            default of `TaskSpec` or nothing is taken.
        rows: training rows.
        start: what the first trial starts from: `scratch`, or the name of a base.
        budget_s: wall-clock of the whole run.
    """
    return Features(
        kind=spec["kind"],
        languages=(spec.get("input_language") or "en", spec.get("output_language") or "en"),
        labels=len(spec.get("labels") or ()),
        rows=rows,
        input_chars=spec.get("max_input_chars") or 0,
        answer_chars=spec.get("max_output_chars") or 0,
        from_base=start not in (None, SCRATCH),
        budget_s=budget_s,
    )


def distance(one: Features, other: Features) -> float:
    """How far apart two tasks are, in factors of ten; 0 for equal features, infinite for tasks of different kinds.

        |log10| of the ratios of labels, rows, input characters, answer characters and budget, summed
        + 1/2 for another input language, 1/2 for another answer language
        + 1 where one search begins with a base and the other from scratch

    Counts below one are taken as one. A row count that is not known counts as half a factor of ten. The kind must agree
    because it decides what an answer is, how it is scored and which parameters there are. The weights are judgement,
    not measured.
    """
    if one.kind != other.kind:
        return math.inf
    known = one.rows is not None and other.rows is not None
    return math.fsum(
        (
            _tens(one.labels, other.labels),
            _tens(one.rows or 0, other.rows or 0) if known else _UNKNOWN_ROWS,
            _tens(one.input_chars, other.input_chars),
            _tens(one.answer_chars, other.answer_chars),
            _tens(one.budget_s, other.budget_s),
            *(0.5 for mine, theirs in zip(one.languages, other.languages, strict=True) if mine != theirs),
            float(one.from_base != other.from_base),
        )
    )


def _tens(one: float, other: float) -> float:
    return abs(math.log10(max(1.0, one)) - math.log10(max(1.0, other)))


def first_configs(
    space: Space,
    features: Features,
    past: Iterable[PastSearch],
    *,
    bar: Bar,
    portfolio: Sequence[Mapping[str, Any]] = PORTFOLIO,
) -> list[Proposal]:
    """The configurations that a search of `space` should try first, after its default.

    First the winners of the nearest similar tasks, the nearest first (of equally near ones the newest): at most three
    runs are asked, of those with three scored trials or more. A run proposes its best trial, unless that is its default
    or is neither of full length nor better than the default beyond `bar`. Then the portfolio, at its end what failed or
    was worse than the default beyond `bar` in a run that was asked.

    Winners are fitted to the space as the portfolio is, with their width and depth where the budgets are within a
    factor of two; one whose start or method the space does not allow is left out.

    Returns: members of the space, each once, without the default. It does not depend on the order of `past`.
    """
    near = _nearest(features, past)
    found: list[Proposal] = []
    for one in near:
        best = _winner(one, bar)
        config = None if best is None else _taken_over(space, best.config, one.features, features)
        if config is not None and _is_new(space, config, found):
            found.append(Proposal(config, f"best of run {one.run}, a similar task: {one.features}", one.run))
    last: list[Proposal] = []
    for entry in portfolio:
        for config in portfolio_of(space, (entry,)):
            if _is_new(space, config, found + last):
                lost = next((why for one in near if (why := _lost(space, entry, one, bar))), "")
                (last if lost else found).append(Proposal(config, f"portfolio, last: {lost}" if lost else "portfolio"))
    return found + last


def past_searches(store: Store, features: Features, *, before: float = math.inf) -> list[PastSearch]:
    """The searches in the store that `first_configs` would ask for a task with these features, the nearest first.

    Those that ended before the moment `before` (seconds since the epoch): with that of a run's start, the same ones are
    found when the run is resumed.

    Row counts are read from the reports of the twelve nearest by what the database itself knows; where more are as
    near as these, the others are not seen. Raises StoreError when the database cannot be read.
    """
    from autogpt.store.history import finished_searches, training_rows  # loads SQLAlchemy

    known = []
    for run in finished_searches(store, features.kind, fewest=_FEWEST_TRIALS, before=before):
        own = features_of(run.spec, rows=None, start=run.start, budget_s=run.budget_s)
        if (apart := distance(own, features)) - _UNKNOWN_ROWS <= _FARTHEST:
            known.append((apart, own, run))
    known.sort(key=lambda entry: entry[0])
    counted = [(replace(own, rows=training_rows(run.folder)), run) for _, own, run in known[:_REPORTS_READ]]
    found: list[PastSearch] = []
    for own, run in sorted(counted, key=lambda entry: distance(entry[0], features)):
        if len(found) < _NEIGHBOURS:
            trials = tuple(Trial.from_dict(row.to_dict()) for row in store.trials(run.run))
            found += _nearest(features, [PastSearch(run.run, own, run.spec["metric"], run.spec["direction"], trials)])
    return found


# --- who is asked ----------------------------------------------------------------------------------------------------


def _nearest(features: Features, past: Iterable[PastSearch]) -> list[PastSearch]:
    similar = [
        one
        for one in past
        if distance(one.features, features) <= _FARTHEST and len(_scored(one.trials)) >= _FEWEST_TRIALS
    ]
    # Ids begin with the time at which a run started.
    newest = sorted(similar, key=lambda one: one.run, reverse=True)
    return sorted(newest, key=lambda one: distance(one.features, features))[:_NEIGHBOURS]


def _scored(trials: Sequence[Trial]) -> list[Trial]:
    return [trial for trial in trials if trial.value is not None and math.isfinite(trial.value)]


# --- what they say ---------------------------------------------------------------------------------------------------


def _winner(past: PastSearch, bar: Bar) -> Trial | None:
    best, default = Study(past.trials, past.direction).best, _default(past)
    if best is None or default is None or best is default:
        return None
    # The best trial is one of those that came furthest, or beat them: of full length, it is the first of these.
    return best if best.share >= 1.0 - SLACK or _is_clearly_better(best, default, past, bar) else None


def _default(past: PastSearch) -> Trial | None:
    return next((trial for trial in past.trials if trial.number == 0), None)


def _is_clearly_better(one: Trial, other: Trial, past: PastSearch, bar: Bar) -> bool:
    """Whether `one` is ahead at the last share that both saw by more than the bar, taken at the default's score."""
    share = min(one.share, other.share)
    mine, theirs = one.score_at(share), other.score_at(share)
    if mine is None or theirs is None or not is_better(mine, theirs, past.direction):
        return False
    default = theirs if other.number == 0 else mine
    comparisons = sum(trial.score_at(share) is not None for trial in past.trials) - 1
    return abs(mine - theirs) > bar(past.metric, default, max(1, comparisons))


def _taken_over(space: Space, config: Mapping[str, Any], theirs: Features, ours: Features) -> Config | None:
    """`config` as a member of `space`; None when what decides which parameters there are cannot be kept."""
    like = max(theirs.budget_s, ours.budget_s) <= _SAME_BUDGET * min(theirs.budget_s, ours.budget_s)
    values = config if like else {name: value for name, value in config.items() if name not in _SHAPE}
    found = fitted(space, values)
    deciding = {parent for parameter in space.parameters for parent in parameter.when or {}} & found.keys()
    kept = {name: values[name] for name in deciding if name in values}
    return found if same_config(kept, {name: found[name] for name in deciding}) else None


def _is_new(space: Space, config: Config, found: Sequence[Proposal]) -> bool:
    return not any(same_config(config, other) for other in (space.default, *(one.config for one in found)))


def _lost(space: Space, entry: Mapping[str, Any], past: PastSearch, bar: Bar) -> str:
    """Why this entry of the portfolio lost to the default there, in words; empty when it did not, or was not tried.

    It was tried by the trial that is the default but for the entry's values, as far as `space` can tell these apart.
    """
    default, wanted = _default(past), fitted(space, entry)
    if default is None:
        return ""
    rest = {name: value for name, value in default.config.items() if name not in entry}
    for trial in past.trials:
        said = {name: value for name, value in trial.config.items() if name in entry}
        others = {name: value for name, value in trial.config.items() if name not in entry}
        if not same_config(others, rest) or not same_config(fitted(space, said), wanted):
            continue
        if trial.state == "failed":
            return f"it failed in run {past.run}, a similar task: {past.features}"
        if _is_clearly_better(default, trial, past, bar):
            return f"clearly worse than the default in run {past.run}, a similar task: {past.features}"
    return ""
