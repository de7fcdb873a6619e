"""Which trial of a search is gone on with: the best, unless the default or a cheaper one is as good."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from autogpt.bench import Bench
from autogpt.evaluation.gain import Gain, gain_of, loss_gain_of
from autogpt.evaluation.metrics import Array, Metric
from autogpt.run import Run
from autogpt.search.pareto import trade_offs
from autogpt.search.trials import Report, Study, Trial
from autogpt.search.worth import slope, steps_that_tell
from autogpt.store.artifacts import RunFolder

__all__ = ["LEAST_STEPS", "RowsAt", "choose", "gains_over_default", "is_improvement", "keep_default_within_noise"]

LEAST_STEPS = 300
"""Of both trials, for the default to be left. One that was ahead by 0.1 bits per byte after 124 steps fell behind by as
much (benchmarks/results/live.md)."""

RowsAt: TypeAlias = Callable[[int, float], tuple[Array, Array] | None]
"""(number of the trial, share of it) → what each validation row gave then: the metric's statistics [n, k], and nats and
what they are divided by [n, 2], as in `Judgement`; None where that was not kept."""


def choose(run: Run, bench: Bench, study: Study) -> Study:
    """The study with its choice made, and the reasons for it in `run.reasons`."""
    study = keep_default_within_noise(run, bench, study)
    prefer = run.config.search.prefer
    return study if prefer == "score" else _cheapest_as_good(run, bench, study, prefer)


def keep_default_within_noise(run: Run, bench: Bench, study: Study) -> Study:
    """The study, with the default configuration kept where the best trial is no better beyond noise.

    Better by the metric, or no worse by the metric and better by the loss on the same rows: where a score counts hits
    on a hundred rows, the loss shows what it cannot. And not only for now: see `LEAST_STEPS` and `_falls_behind`.
    """
    rows = partial(_rows_in, run.folder)
    gains = gains_over_default(study, bench.space.default, bench.score, rows, labels=bench.label_losses)
    best = study.best
    if best is None or not gains:
        return study
    told, default = _told(gains), _with_config(study, bench.space.default)
    if not is_improvement(gains):
        why, note = (
            "scored best, without a significant gain over it",
            "no significant gain over the default configuration",
        )
    elif default is not None and any(map(_is_early, (best, default))):
        steps = min(float(trial.reports[-1].info["step"]) for trial in (best, default))
        why = f"is better after {steps:.0f} steps, which tells who begins faster and not who ends better"
        note = f"trial {best.number} {why}"
    elif default is not None and _falls_behind(best, default, run.budget.remaining()):
        why = "is better now, but its loss falls so much slower that the default would be ahead by the end"
        note = f"trial {best.number} {why}"
    else:
        run.reasons["winner"] = f"trial {best.number} is better than the default configuration ({told})"
        return study
    run.reasons["winner"] = f"the default configuration: trial {best.number} {why} ({told})"
    run.emit("pipeline.note", message=f"{note}: the default is kept ({told})")
    return replace(study, kept=default)


def _is_early(trial: Trial) -> bool:
    """Whether its last score came too early to tell; False where it does not tell its steps."""
    last = trial.reports[-1]
    return float(last.info.get("step", math.inf)) < steps_that_tell(last, LEAST_STEPS)


def _falls_behind(best: Trial, default: Trial, left_s: float) -> bool:
    """Whether the default's loss would be the lower one after `left_s` more seconds of training each, if both fell on
    with the logarithm of time as they last did.

    Trials are much shorter than what the winner is trained for, and small steps, vocabularies and models learn fast at
    first. False where a loss is not known at two shares of both.
    """
    ends = []
    for trial in (best, default):
        known = [report for report in trial.reports if math.isfinite(_loss(report))]
        pace = slope(known, _loss)
        if math.isnan(pace):
            return False
        ends.append(_loss(known[-1]) + pace * math.log1p(left_s / max(known[-1].seconds, 1e-9)))
    return ends[1] < ends[0]


def gains_over_default(
    study: Study, default: Mapping[str, Any], score: Metric, rows: RowsAt, *, labels: bool
) -> dict[str, Gain]:
    """What the best trial gains over the one of the default configuration, at the last share where rows of both are
    known: name of the metric, and "loss" where that is another measure → gain, the metric first.

    Corrected for the trials that came that far, but not for the two measures: a lucky seed is lucky in both. Empty when
    there is nothing to compare: the default is the best, was not tried or failed, or the two have no scored share in
    common. Whether that is enough to claim an improvement says `is_improvement`.
    """
    best, own = study.best, _with_config(study, default)
    if best is None or own is None or best is own or own.score is None:
        return {}
    return _gains(score, rows, (best, own), study.trials, labels=labels)


def is_improvement(gains: Mapping[str, Gain]) -> bool:
    """Whether gains, the metric's first, are real: by the metric, or no worse by the metric and real by the loss."""
    by_metric, *by_loss = gains.values()
    return by_metric.is_real or (by_metric.difference >= 0 and any(gain.is_real for gain in by_loss))


def _with_config(study: Study, config: Mapping[str, Any]) -> Trial | None:
    return next((trial for trial in study.trials if trial.config == config), None)


def _cheapest_as_good(run: Run, bench: Bench, study: Study, prefer: str) -> Study:
    """The study with the smallest or fastest trial kept that is not significantly worse than the one chosen."""
    chosen = study.chosen
    known = {one.number: one for one in trade_offs(study.trials)}
    if chosen is None or chosen.number not in known:
        return study
    cost = operator.attrgetter("parameters" if prefer == "small" else "row_ms")
    for one in sorted(known.values(), key=cost):
        trial = next(trial for trial in study.trials if trial.number == one.number)
        if trial is chosen or cost(one) >= cost(known[chosen.number]):
            break
        pair = (chosen, trial)
        gains = _gains(bench.score, partial(_rows_in, run.folder), pair, pair, labels=bench.label_losses)
        if gains and not any(gain.is_real for gain in gains.values()):
            other = known[chosen.number]
            run.reasons["preferred"] = (
                f"trial {one.number} ({one.parameters:,} parameters, {one.row_ms:g} ms a row): trial {other.number}"
                f" ({other.parameters:,}, {other.row_ms:g} ms) is not significantly better ({_told(gains)})"
            )
            return replace(study, kept=trial)
    run.reasons["preferred"] = f"no trial is cheaper than trial {chosen.number} without being significantly worse"
    return study


def _told(gains: Mapping[str, Gain]) -> str:
    return "; ".join(f"{name}: {gain}" for name, gain in gains.items())


def _rows_in(folder: RunFolder, number: int, share: float) -> tuple[Array, Array] | None:
    """What the run's folder holds of that trial."""
    file = folder.rows(number, share)
    if not file.exists():
        return None
    with np.load(file) as found:
        return found["rows"], found["losses"]


def _gains(
    score: Metric, rows: RowsAt, pair: tuple[Trial, Trial], trials: Sequence[Trial], *, labels: bool
) -> dict[str, Gain]:
    """Name → gain of the first of the pair over the second where both were scored last, corrected for the trials that
    came that far: by the metric, and by the loss where that is not the metric. Empty where the two never met."""
    shares = set.intersection(*({report.share for report in trial.reports} for trial in pair))
    for share in sorted(shares, reverse=True):
        one, other = (rows(trial.number, share) for trial in pair)
        if one is not None and other is not None:
            break
    else:
        return {}
    others = sum(trial.score_at(share) is not None for trial in trials) - 1
    if score.name == "bits_per_byte":
        return {score.name: gain_of(score, one[0], other[0], trials=others)}
    gains = {score.name: gain_of(score, one[0], other[0], trials=others, pace=_pace(pair, share, _score))}
    if len(one[1]) and len(other[1]):
        gains["loss"] = loss_gain_of(one[1], other[1], labels=labels, trials=others, pace=_pace(pair, share, _loss))
    return gains


def _score(report: Report) -> float:
    return report.score


def _loss(report: Report) -> float:
    return float(report.info.get("loss", math.nan))


def _pace(pair: Sequence[Trial], share: float, measure: Callable[[Report], float]) -> float:
    """How much `measure` moves in a step at that share, if it goes with the logarithm of time: of the trial in which it
    moves more. Infinite where one of them was not scored before, or does not tell its steps."""
    found = []
    for trial in pair:
        known = [report for report in trial.reports if report.share <= share]
        found.append(abs(slope(known, measure)) / known[-1].info.get("step", math.nan) if known else math.nan)
    return max(found) if all(map(math.isfinite, found)) else math.inf
