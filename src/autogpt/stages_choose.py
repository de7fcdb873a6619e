"""Which trial of a search is gone on with: the best, unless the default or a cheaper one is as good."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from autogpt.evaluation.gain import Gain, gain_of, loss_gain_of
from autogpt.run import Run
from autogpt.search.pareto import trade_offs
from autogpt.search.trials import Study, Trial
from autogpt.stages import Bench
from autogpt.tasks.spec import TaskKind

__all__ = ["choose", "keep_default_within_noise"]


def choose(run: Run, bench: Bench, study: Study) -> Study:
    """The study with its choice made, and the reasons for it in `run.reasons`."""
    study = keep_default_within_noise(run, bench, study)
    prefer = run.config.search.prefer
    return study if prefer == "score" else _cheapest_as_good(run, bench, study, prefer)


def keep_default_within_noise(run: Run, bench: Bench, study: Study) -> Study:
    """The study, with the default configuration kept where the best trial is no better beyond noise.

    Better by the metric, or no worse by the metric and better by the loss on the same rows: where a score counts hits
    on a hundred rows, the loss shows what it cannot.
    """
    best = study.best
    default = next((trial for trial in study.trials if trial.config == bench.space.default), None)
    if best is None or default is None or best is default or default.score is None:
        return study
    gains = _gains(run, bench, (best, default), study.trials)
    if not gains:
        return study
    told = _told(gains)
    if _is_better(gains):
        run.reasons["winner"] = f"trial {best.number} is better than the default configuration ({told})"
        return study
    run.reasons["winner"] = (
        f"the default configuration: trial {best.number} scored best, without a significant gain over it ({told})"
    )
    run.emit("pipeline.note", message=f"no significant gain over the default configuration, which is kept ({told})")
    return replace(study, kept=default)


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
        gains = _gains(run, bench, (chosen, trial), (chosen, trial))
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


def _is_better(gains: Mapping[str, Gain]) -> bool:
    """By the metric; or no worse by the metric, and by the loss."""
    by_metric, *by_loss = gains.values()
    return by_metric.is_real or (by_metric.difference >= 0 and any(gain.is_real for gain in by_loss))


def _gains(run: Run, bench: Bench, pair: tuple[Trial, Trial], trials: Sequence[Trial]) -> dict[str, Gain]:
    """Name → gain of the first of the pair over the second where both were scored last, corrected for the trials that
    came that far: by the metric, and by the loss where that is not the metric. Empty where the two never met."""
    spec, known, others = bench.spec, [], 0
    for share in sorted(set.intersection(*({report.share for report in trial.reports} for trial in pair))):
        files = [run.folder.rows(trial.number, share) for trial in pair]
        if all(file.exists() for file in files):
            known, others = files, sum(trial.score_at(share) is not None for trial in trials) - 1
    if not known:
        return {}
    best, default = (np.load(file) for file in known)
    if spec.metric == "bits_per_byte":
        return {spec.metric: gain_of(spec.metric, best["rows"], default["rows"], trials=others)}
    labels = spec.kind is TaskKind.CLASSIFICATION
    return {
        spec.metric: gain_of(spec.metric, best["rows"], default["rows"], trials=2 * others),
        "loss": loss_gain_of(best["losses"], default["losses"], labels=labels, trials=2 * others),
    }
