"""Whether a search found anything: its best trial against the default configuration, on the same validation rows.

The best of several noisy scores looks better than it is, and a second training of one configuration with another seed
scores differently too. A gain is claimed when a paired randomisation test says so after Bonferroni's correction for
the trials that could have been the best, and when it is larger than what seeds alone do to the metric.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from autogpt.evaluation.metrics import Array, get_metric
from autogpt.evaluation.resampling import randomization_p_value

__all__ = ["SEED_NOISE", "Gain", "gain_of"]

SIGNIFICANT = 0.05

SEED_NOISE = 0.0065
"""Standard deviation between seeds of bits per byte, as a share of it: what five seeds of eleven recipes on each of
three corpora gave (benchmarks/results/recipe.md). Metrics that count hits vary more by rows, which the test knows."""


@dataclass(frozen=True, slots=True)
class Gain:
    """The best trial against the default one.

    Attributes:
        difference: in the metric's unit; positive means that the best trial is better.
        p_value: two-sided, corrected for `trials`.
        seed_noise: how large a difference two seeds of one configuration may show (95 %); 0 where rows vary more.
        rows: validation rows that both were scored on.
        trials: how many could have been the best.
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
        corrected = f" corrected for {self.trials} trials" if self.trials > 1 else ""
        return f"Δ={self.difference:+.4g}, p={self.p_value:.2g}{corrected}{noise}, {self.rows} validation rows"


def gain_of(metric: str, best: Array, default: Array, *, trials: int) -> Gain:
    """The gain of one table of row statistics over another.

    Args:
        metric: its name; the tables are what its `rows` gave, and rows that only one of them has are left out.
        trials: how many trials, the default aside, could have been the best.
    """
    measure = get_metric(metric)
    rows = min(len(best), len(default))
    ours, theirs = best[:rows], default[:rows]
    was = float(measure.value(theirs.sum(0)))
    difference = (1 if measure.higher_is_better else -1) * (float(measure.value(ours.sum(0))) - was)
    p_value = randomization_p_value(measure.value, ours, theirs, resamples=10_000, seed=0)
    noise = 1.96 * math.sqrt(2) * SEED_NOISE * was if metric == "bits_per_byte" else 0.0
    return Gain(difference, min(1.0, p_value * max(1, trials)), noise, rows, trials)
