"""Whether a search found anything: its best trial against the default configuration, on the same validation rows.

The best of several noisy scores looks better than it is, and a second training of one configuration with another seed
scores differently too. A gain is claimed when a paired randomisation test says so after Bonferroni's correction for
the trials that could have been the best, and when it is larger than what seeds alone do to the metric.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from statistics import NormalDist

from autogpt.evaluation.joint import MeanScore
from autogpt.evaluation.metrics import Array, Metric, ratio
from autogpt.evaluation.resampling import Value, randomization_p_value

__all__ = [
    "HIT_SEED_NOISE",
    "LABEL_SEED_NOISE",
    "SEED_NOISE",
    "SIGNIFICANT",
    "Gain",
    "gain_of",
    "loss_gain_of",
    "seeds_alone",
    "seeds_at_least",
]

SIGNIFICANT = 0.05

SEED_NOISE = 0.0065
"""Standard deviation between seeds of bits per byte, as a share of it: what five seeds of eleven recipes on each of
three corpora gave (benchmarks/results/recipe.md)."""
LABEL_SEED_NOISE, ANSWER_SEED_NOISE = 0.09, 0.027
"""The same of the mean loss of a label, and of a written answer, after 150 and 200 steps, when trials are judged: five
seeds of four tasks, and of one (benchmarks/results/seed_noise.md)."""
HIT_SEED_NOISE = {"accuracy": 0.07, "macro_f1": 0.07, "micro_f1": 0.07, "preference_accuracy": 0.07, "entity_f1": 0.023}
"""Metric → standard deviation between seeds: of accuracy on the task where it is largest (thirty seeds,
benchmarks/results/aa.md; with the average of four tasks, 0.04, 17 of 100 searches over seeds alone claimed a gain), of
entity F1 on the one that was measured. Of other metrics it is not known: there, only what rows say is asked for."""

JITTER_STEPS = 60
"""Standard deviation between seeds in steps: while a score climbs, one reaches it so much sooner than the other. The
largest of what two tasks showed after 150 to 600 steps (benchmarks/results/aa.md)."""
LEAST_HIT_NOISE, LEAST_LOSS_NOISE = 0.02, 0.04
"""What is left of it in any case: of a score, and of a label's loss as a share."""


@dataclass(frozen=True, slots=True)
class Gain:
    """The best trial against the default one.

    Attributes:
        difference: in the metric's unit; positive means that the best trial is better.
        p_value: two-sided, corrected for `trials`.
        seed_noise: how large a difference seeds alone may show in so many comparisons (95 %); 0 where rows vary more.
        rows: validation rows that both were scored on.
        trials: how many comparisons could have shown one.
    """

    difference: float
    p_value: float
    seed_noise: float
    rows: int
    trials: int

    @property
    def is_real(self) -> bool:
        return self.difference > self.seed_noise and self.p_value < SIGNIFICANT

    def __str__(self) -> str:
        noise = f", {self.seed_noise:.3g} between seeds" if self.seed_noise else ""
        corrected = f" corrected for {self.trials} comparisons" if self.trials > 1 else ""
        return f"Δ={self.difference:+.4g}, p={self.p_value:.2g}{corrected}{noise}, {self.rows} validation rows"


def gain_of(score: Metric, best: Array, default: Array, *, trials: int, pace: float = math.inf) -> Gain:
    """The gain of one table of row statistics over another, by the metric.

    Args:
        score: the metric; the tables are what its `rows` gave, and rows that only one of them has are left out.
        trials: how many trials, the default aside, could have been the best.
        pace: how much the metric moves in a step of training where the two stand; infinite when that is not known.
    """
    sign = 1 if score.higher_is_better else -1
    if isinstance(score, MeanScore):
        best, default = score.paired(best, default)
    if score.name == "bits_per_byte":
        return _gain(score.value, best, default, sign, SEED_NOISE, trials)
    gain = _gain(score.value, best, default, sign, 0.0, trials)
    noise = min(HIT_SEED_NOISE.get(score.name, 0.0), max(LEAST_HIT_NOISE, JITTER_STEPS * pace))
    return replace(gain, seed_noise=_luckiest(trials) * noise)


def loss_gain_of(best: Array, default: Array, *, labels: bool, trials: int, pace: float = math.inf) -> Gain:
    """The same by the loss: tables of nats and what they are divided by, as `Judgement.losses` has them.

    Args:
        labels: whether the answers are labels, whose loss varies more from seed to seed than that of text.
        pace: of the loss; it is looked at for labels alone.
    """
    noise = ANSWER_SEED_NOISE
    if labels:
        was = float(ratio(*default.sum(0)))
        noise = min(LABEL_SEED_NOISE, max(LEAST_LOSS_NOISE, JITTER_STEPS * pace / max(was, 1e-9)))
    return _gain(lambda sums: ratio(sums[..., 0], sums[..., 1]), best, default, -1, noise, trials)


def seeds_alone(metric: str, score: float, trials: int) -> float:
    """How far from `score` seeds alone may bring the best of so many other trainings, at 95 %; infinite for a metric of
    which that is not known."""
    noise = SEED_NOISE * score if metric == "bits_per_byte" else HIT_SEED_NOISE.get(metric, math.inf)
    return _luckiest(trials) * noise


def seeds_at_least(metric: str, score: float) -> float:
    """What seeds do in any case to the difference of two long trainings, at 95 %: less is not worth searching for."""
    noise = SEED_NOISE * score if metric == "bits_per_byte" else LEAST_HIT_NOISE
    return _luckiest(1) * noise


def _gain(value: Value, best: Array, default: Array, sign: int, noise: float, trials: int) -> Gain:
    rows = min(len(best), len(default))
    ours, theirs = best[:rows], default[:rows]
    was = float(value(theirs.sum(0)))
    difference = sign * (float(value(ours.sum(0))) - was)
    p_value = randomization_p_value(value, ours, theirs, resamples=10_000, seed=0)
    comparisons = max(1, trials)
    return Gain(difference, min(1.0, p_value * comparisons), _luckiest(trials) * noise * was, rows, trials)


def _luckiest(trials: int) -> float:
    """How many standard deviations between seeds the difference of two trainings may be, at 95 %, when the best of so
    many is looked at: the same correction as the test's."""
    return math.sqrt(2) * NormalDist().inv_cdf(1 - SIGNIFICANT / 2 / max(1, trials))
