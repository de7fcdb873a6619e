"""Where a learning curve is going: the loss at the end of a trial, predicted from its beginning, with its uncertainty.

Halving ranks trials by where they stand and so loses the slow starters. Here the rest of a curve is predicted:

    log y(s) = log(c + a s^-b) + drift(s) + noise,    a, b, c >= 0

A power law with a floor c describes the loss of language models over data and steps (Hestness et al. 2017, "Deep
Learning Scaling is Predictable, Empirically"; Kaplan et al. 2020, "Scaling Laws for Neural Language Models"), and it is
one of the families that Domhan et al. 2015, "Speeding Up Automatic Hyperparameter Optimization of Deep Neural Networks
by Extrapolation of Learning Curves", average over; LC-PFN (Adriaensen et al. 2023) and ifBO (Rakotoarison et al. 2024)
take theirs from priors over such families. We need no network and no Markov chain: given b and the fall over the last
decade of shares, the level is integrated out in closed form, so a grid over two numbers is the whole posterior.

No real curve is a power law all the way: losses lie on plateaus before they fall, and rise when the model overfits. Two
things make up for it. A random walk over log(share), of unknown size, is added to the model, so that uncertainty grows
with the distance. And the other trials of the search are predicted from as little as is known of the running one; how
wrong these predictions were (in their own standard deviations) shifts and widens the one for the running trial. With a
single point on the curve this is the others' mean fall from there on, shrunk towards the prior.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from autogpt.errors import BadInput
from autogpt.search.trials import SLACK, Direction, Report, Trial

__all__ = ["NOISE", "Prediction", "chance_to_lead", "curve_of", "predict", "probability_better"]

Array: TypeAlias = npt.NDArray[np.float64]

Point: TypeAlias = tuple[float, float]
"""(share of the trial's full length, validation loss)."""

Curve: TypeAlias = tuple[Point, ...]
"""Ascending shares."""

NOISE = 0.007
"""Relative standard deviation of a loss between equal trials with different seeds: the least that is assumed."""

EXPONENTS = (0.05, 4.0)
"""Of the power law. Scaling laws find 0.05 to 0.8; exponentially fast curves look like larger ones."""

MEDIAN_EXPONENT, EXPONENT_SPREAD = 0.6, 1.0
"""Of the prior of b, a normal distribution over log b."""

MEAN_FALL = 0.5
"""Prior mean of log(loss at a tenth of the trial / loss at its end), exponentially distributed: the loss falls by two
fifths on the last decade. Scaling laws give 0.1 to 0.5; short trials, which begin at random weights, are steeper."""

STEEPEST_FALL = 3.0

SCALES = tuple((noise, drift) for noise in (1.0, 4.0) for drift in (0.0, 0.06, 0.2, 0.6))
"""What the data choose from: noise in multiples of the least, and drift in log(loss) per square root of log(share)."""

SCALE_PRIOR = tuple(noise * drift for noise in (1.0, 0.3) for drift in (1.0, 1.0, 1.0, 0.7))

PRIOR_ERRORS = 1.0
"""As how many predictions that were right on average the prior counts when the others' errors shift a prediction."""

PRIOR_SPREADS = 3.0
"""As how many errors of the size that the model expects the prior counts when the others' errors widen a prediction."""

OUTLIERS = 0.1
"""Probability that another trial's curve, say of one that diverged, tells nothing of the scales."""

LARGEST_ERROR = 8.0
"""An error of more standard deviations counts as this many: one trial that diverged must not decide for all."""

MOST_SPREAD = 2.0
"""A standard deviation of log(loss) beyond which nothing is known anyway; it keeps the moments finite."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """A log-normal distribution of a validation loss, by its moments.

    Attributes:
        mean: expected loss, in the unit of the curve.
        std: its standard deviation, the noise of one more measurement included.
    """

    mean: float
    std: float

    def interval(self, share: float = 0.8) -> tuple[float, float]:
        """The central interval that holds the loss with probability `share`."""
        middle, spread = self._log_moments()
        width = NormalDist().inv_cdf(0.5 + share / 2) * spread
        return math.exp(middle - width), math.exp(middle + width)

    def _log_moments(self) -> tuple[float, float]:
        """Mean and standard deviation of log(loss)."""
        variance = math.log1p((self.std / self.mean) ** 2)
        return math.log(self.mean) - variance / 2, math.sqrt(variance)

    @classmethod
    def _of_log(cls, middle: float, spread: float) -> Prediction:
        mean = math.exp(middle + spread**2 / 2)
        return cls(mean, mean * math.sqrt(math.expm1(spread**2)))


def predict(
    curve: Sequence[Point], others: Sequence[Sequence[Point]], *, at: float = 1.0, noise: float = NOISE
) -> Prediction:
    """The loss that the running trial will report at the share `at`.

    Args:
        curve: of the running trial, (share, loss) in any order; shares in (0, 1], losses positive and finite.
        others: curves of other trials of the same search, however long; the order does not matter. Points that are no
            loss (zero, negative, not finite) are left out. They inform the prediction by their scatter and by what
            followed where the running trial stands now, not by their level.
        at: the share to predict for, in (0, 1].
        noise: least relative standard deviation of a loss.

    Deterministic; below a millisecond for each curve or beginning of one that was not seen by an earlier call, next to
    nothing for the others. A rise towards the end can only be foreseen when others rose; the model itself knows falling
    curves. Losses, not scores: accuracy has no power law.
    Raises BadInput for an empty curve, a point out of range, or an `at` or `noise` out of range.
    """
    if not 0 < at <= 1:
        raise BadInput("the share to predict a loss for", found=repr(at), expected="above 0, at most 1")
    if not 0 < noise < 1:
        raise BadInput("the least noise of a loss", found=repr(noise), expected="above 0, below 1")
    wrong = [point for point in curve if not _is_usable(point)]
    if wrong or not curve:
        raise BadInput("a learning curve", found=repr(wrong or curve), expected="shares in (0, 1], positive losses")
    own = tuple(sorted(curve))
    known = sorted(tuple(sorted(point for point in other if _is_usable(point))) for other in others)
    evidence = _evidence_of_scales(known, noise)
    errors = _errors(known, own[-1][0], at, noise, evidence)
    middle, spread = _forecast(own, at, noise, evidence)
    shift, widening = _recalibration(errors)
    return Prediction._of_log(middle + shift * spread, max(noise, min(MOST_SPREAD, spread * widening)))


def probability_better(prediction: Prediction, incumbent: float) -> float:
    """Probability, 0 to 1, that the predicted loss is below the loss `incumbent`."""
    if incumbent <= 0:
        return 0.0
    middle, spread = prediction._log_moments()
    if spread == 0:
        return float(middle < math.log(incumbent))
    return 1.0 if incumbent == math.inf else NormalDist(middle, spread).cdf(math.log(incumbent))


def curve_of(reports: Sequence[Report]) -> list[Point]:
    """(share, validation loss) of the reports that carry a usable loss in `info["loss"]`, in their order."""
    points = [(report.share, report.info["loss"]) for report in reports if report.info.get("loss") is not None]
    return [(float(share), float(loss)) for share, loss in points if _is_usable((share, loss))]


def chance_to_lead(reports: Sequence[Report], history: Sequence[Trial], *, direction: Direction) -> float:
    """Probability, 0 to 1, that the running trial will end with a lower validation loss than the incumbent.

    The incumbent is the trial with the best value among those that came to their end; its loss is its last one. The
    running trial must not be in `history`. 0, nothing speaks for the trial, when it reports no losses or nobody has
    come to the end with one.
    """
    own = curve_of(reports)
    alive = [trial for trial in history if trial.state != "failed"]
    ended = [trial.reports[-1] for trial in alive if trial.share >= 1 - SLACK and curve_of(trial.reports[-1:])]
    if not own or not ended:
        return 0.0
    incumbent = (max if direction == "max" else min)(ended, key=lambda report: report.value)
    prediction = predict(own, [curve_of(trial.reports) for trial in alive])
    return probability_better(prediction, incumbent.info["loss"])


def _is_usable(point: Point) -> bool:
    share, loss = point
    return 0 < share <= 1 + SLACK and 0 < loss < math.inf


@lru_cache(maxsize=1)
def _grid() -> tuple[Array, Array, Array]:
    """Exponent, a / (a + c) and log prior of each point of the grid, three arrays of the same length."""
    exponents = np.geomspace(*EXPONENTS, 24)
    # Equal steps of the square root: fine where most curves are, and where a step is a visible part of the fall.
    falls = np.linspace(0, math.sqrt(STEEPEST_FALL), 65)[1:] ** 2
    exponent, fall = (axis.ravel() for axis in np.meshgrid(exponents, falls, indexing="ij"))
    reducible = np.expm1(fall) / np.expm1(exponent * math.log(10))
    log_prior = -0.5 * (np.log(exponent / MEDIAN_EXPONENT) / EXPONENT_SPREAD) ** 2
    log_prior += -fall / MEAN_FALL + 0.5 * np.log(fall)  # the last term is the width of a step
    possible = reducible <= 1  # a floor below zero is no loss
    log_prior = log_prior[possible]
    log_prior -= math.log(np.exp(log_prior).sum())
    return exponent[possible], reducible[possible], log_prior


def _log_fall(share: float) -> Array:
    """log(loss at `share` / loss at the end) without drift and noise, one value for each point of the grid."""
    exponent, reducible, _ = _grid()
    return np.log1p(reducible * np.expm1(-exponent * math.log(share)))


def _covariance(shares: Sequence[float], scale: tuple[float, float], noise: float) -> Array:
    """Of log(loss) at the shares: independent noise and a random walk that begins at the first of them."""
    logs = np.log(np.asarray(shares))
    walk: Array = np.minimum.outer(logs, logs) - logs.min()
    return (scale[0] * noise) ** 2 * np.eye(len(logs)) + scale[1] ** 2 * walk


@dataclass(frozen=True, slots=True)
class _Design:
    """What the likelihood of curves with the same k shares has in common, so that a search computes it once.

    Attributes:
        falls: (points, k), `_log_fall` at the shares.
        whitening: (scales, k, k), makes the residuals of log(loss) independent and removes their level.
        expected: (scales, points, k), the falls after the whitening.
        base: (scales, points), log prior plus what of the log likelihood does not depend on the losses.
    """

    falls: Array
    whitening: Array
    expected: Array
    base: Array


@lru_cache(maxsize=64)
def _design(shares: tuple[float, ...], noise: float) -> _Design:
    falls = np.stack([_log_fall(share) for share in shares], axis=1)
    whitening, constants = [], []
    for scale in SCALES:
        root = np.linalg.inv(np.linalg.cholesky(_covariance(shares, scale, noise)))
        level = root.sum(axis=1)
        # A flat prior over log(level) is integrated out: the residuals lose their component along it.
        whitening.append(root - np.outer(level, level @ root) / (level @ level))
        constants.append(np.log(np.diag(root)).sum() - 0.5 * math.log(level @ level))
    stacked = np.stack(whitening)
    expected = falls @ stacked.transpose(0, 2, 1)
    base = np.array(constants)[:, None] + _grid()[2] - 0.5 * np.square(expected).sum(axis=2)
    return _Design(falls, stacked, expected, base)


def _posterior(curve: Curve, noise: float) -> tuple[Array, Array]:
    """Weights of the grid under each scale, (scales, points) with rows that sum to 1, and log evidence, (scales,)."""
    design = _design(_shares(curve), noise)
    seen = design.whitening @ np.log([loss for _, loss in curve])
    # The squared distance of seen and expected, expanded, because all but the product is known beforehand.
    joint = design.base + (design.expected @ seen[:, :, None])[:, :, 0]
    best = joint.max(axis=1, keepdims=True)
    weights = np.exp(joint - best)
    total = weights.sum(axis=1, keepdims=True)
    return weights / total, (best + np.log(total))[:, 0] - 0.5 * np.square(seen).sum(axis=1)


def _shares(curve: Curve) -> tuple[float, ...]:
    """The shares, rounded so that trials judged at the same rung share a `_Design`."""
    return tuple(max(round(share, 4), 1e-4) for share, _ in curve)


@lru_cache(maxsize=4096)
def _by_scale(curve: Curve, at: float, noise: float) -> tuple[Array, Array, Array]:
    """Mean and variance of log(loss) at `at` under each scale, and the curve's log evidence of the scales."""
    weights, evidence = _posterior(curve, noise)
    gains, variances = _kriging(_shares(curve), at, noise)
    shapes = _log_fall(at) - gains @ _design(_shares(curve), noise).falls.T  # (scales, points)
    centres = (weights * shapes).sum(axis=1)
    within = (weights * np.square(shapes - centres[:, None])).sum(axis=1)
    return gains @ np.log([loss for _, loss in curve]) + centres, variances + within, evidence


@lru_cache(maxsize=256)
def _kriging(shares: tuple[float, ...], at: float, noise: float) -> tuple[Array, Array]:
    """Best linear unbiased prediction at `at` of a level plus the random walk, from noisy residuals at the shares.

    Gains on the residuals, (scales, k), and variances of a measurement there, (scales,): ordinary kriging (Cressie
    1993, "Statistics for Spatial Data", section 3.2).
    """
    gains, variances = [], []
    for scale in SCALES:
        precision = np.linalg.inv(_covariance(shares, scale, noise))
        logs, log_at = np.log(shares), math.log(at)
        to_point = scale[1] ** 2 * np.maximum(0.0, np.minimum(logs, log_at) - logs.min())
        level = precision.sum(axis=0) / precision.sum()
        missing = 1 - (precision @ to_point).sum()
        gains.append(precision @ to_point + missing * level)
        unexplained = scale[1] ** 2 * abs(log_at - logs.min()) - to_point @ precision @ to_point
        variances.append(unexplained + missing**2 / precision.sum() + (scale[0] * noise) ** 2)
    return np.stack(gains), np.array(variances)


def _evidence_of_scales(others: Sequence[Curve], noise: float) -> Array:
    """Log evidence of the scales from the prior and the others, (scales,).

    The others count together as one curve: they agree on the noise of the task, not on how well a power law fits. Two
    points say nothing of either.
    """
    prior: Array = np.log(SCALE_PRIOR)
    seen = np.array([_by_scale(other, 1.0, noise)[2] for other in others if len(other) > 2])
    if not len(seen):
        return prior
    likely = np.exp(seen - seen.max(axis=1, keepdims=True))
    likely /= likely.sum(axis=1, keepdims=True)
    told: Array = np.log((1 - OUTLIERS) * likely + OUTLIERS / len(prior)).mean(axis=0)
    return prior + told


def _forecast(curve: Curve, at: float, noise: float, evidence: Array) -> tuple[float, float]:
    """Mean and standard deviation of log(loss) at `at`, from this curve and the evidence of the scales alone."""
    means, variances, own_evidence = _by_scale(curve, at, noise)
    total = evidence + own_evidence
    chosen = np.exp(total - total.max())
    chosen /= chosen.sum()
    middle = float(chosen @ means)
    return middle, math.sqrt(float(chosen @ (variances + np.square(means - middle))))


def _errors(others: Sequence[Sequence[Point]], known: float, at: float, noise: float, evidence: Array) -> list[float]:
    """How wrong the other trials would have been predicted at the share `known`, in standard deviations.

    Each at the furthest point that it reached beyond `known`, at most `at`; one that never got there says nothing.
    """
    errors = []
    for other in others:
        before = tuple(point for point in other if point[0] <= known + SLACK)
        after = [point for point in other if known + SLACK < point[0] <= at + SLACK]
        if before and after:
            middle, spread = _forecast(before, min(after[-1][0], 1.0), noise, evidence)
            error = (math.log(after[-1][1]) - middle) / spread
            errors.append(max(-LARGEST_ERROR, min(LARGEST_ERROR, error)))
    return errors


def _recalibration(errors: Sequence[float]) -> tuple[float, float]:
    """Mean and standard deviation of the next error, given the errors so far; 0 and 1 when there are none.

    Normal with unknown mean and variance under the conjugate prior (Gelman et al. 2013, "Bayesian Data Analysis",
    section 3.3) whose mean is 0 and whose variance is 1.
    """
    if not errors:
        return 0.0, 1.0
    count, mean = len(errors), math.fsum(errors) / len(errors)
    shrunk = count + PRIOR_ERRORS
    squares = math.fsum((error - mean) ** 2 for error in errors) + PRIOR_ERRORS * count / shrunk * mean**2
    variance = (PRIOR_SPREADS + squares) / (PRIOR_SPREADS + count)
    return count * mean / shrunk, math.sqrt(variance * (1 + 1 / shrunk))
