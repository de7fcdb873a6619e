"""What more training rows would give: an inverse power law through a few scores, and a simple model that yields them.

The score with n training rows is taken to follow c − a·n^−b, which learning curves of text classifiers (Figueroa et al.
2012, "Predicting sample size required for classification performance") and of neural networks (Hestness et al. 2017,
"Deep learning scaling is predictable, empirically") do over wide ranges. Three points do not pin down three parameters,
so nothing here is a best fit: every curve that the points allow is kept with its weight, and what is said of larger
sizes is an interval over all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from autogpt.evaluation.baselines import Baseline, ladder
from autogpt.evaluation.baselines_types import input_text
from autogpt.evaluation.metrics import Array, get_metric, references_of
from autogpt.evaluation.resampling import bootstrap_values
from autogpt.tasks.spec import TaskSpec
from autogpt.types import Example

__all__ = ["CurvePoints", "LearningCurve", "Point", "best_value", "fit_learning_curve", "proxy_points"]

_EXPONENTS = (0.05, 1.5)
_DRAWS = 4000
_TAILS = (0.1, 0.9)
_WIDEST = 4.5  # standard errors either way that the grid covers
_MISFIT = 0.05
"""How far real curves leave a power law, as a share of what they rise between the smallest and the largest point."""
_SMALLEST_ERROR = 1e-3
"""Least standard error of a point, as a share of its distance from the ceiling: scores that agree are still scores."""
_FARTHEST = 100
"""How many times the rows seen a prediction of needed rows may reach; beyond, it would be a guess."""
_MOST_CHARACTERS = 1_000_000
"""Text that the simple models read at full length; beyond it they would cut texts, and more rows would look worse."""
_BEYOND_NOISE, _NINE_IN_TEN = 1.96, 1.28  # standard errors
_STILL_NOTHING = 0.2
_RESAMPLES = 300
_MOST_PARTS = 4
_WEIGHT_OF_ROWS = 4.0


@dataclass(frozen=True, slots=True)
class Point:
    """A score with a number of training rows.

    Attributes:
        rows: training rows.
        score: in the metric's unit, on the validation rows.
        error: its standard error over validation rows, the same rows for every point.
        spread: its standard error over other draws of as many training rows, on the same validation rows. Only this
            blurs the curve, as the validation rows are shared; where it was not measured, `error` stands in for it.
    """

    rows: int
    score: float
    error: float
    spread: float | None = None


@dataclass(frozen=True, slots=True)
class CurvePoints:
    """The scores of one learner at several sizes, and what guessing scores on the same rows.

    Attributes:
        metric: name of the metric.
        points: from few rows to many.
        floor: score of the best trivial method.
        floor_error: its standard error over validation rows.
        learner: what was trained, such as "TF-IDF + logistic regression".
        looks_up: the learner only repeats answers or entities that it has seen, so that its failure says nothing about
            a model that can read.
    """

    metric: str
    points: tuple[Point, ...]
    floor: float
    floor_error: float
    learner: str
    looks_up: bool = False

    def __post_init__(self) -> None:
        if any(a.rows >= b.rows for a, b in pairwise(self.points)):
            raise ValueError("points must go from few rows to many")

    @property
    def span(self) -> float:
        """The way from guessing to perfect, in the metric's unit and 0 or more."""
        return abs(best_value(self.metric) - self.floor)

    def curve(self) -> LearningCurve:
        """The curves that these points allow. Raises ValueError as `fit_learning_curve`."""
        return fit_learning_curve(
            [point.rows for point in self.points],
            [point.score for point in self.points],
            [_spread(point) for point in self.points],
            higher_is_better=get_metric(self.metric).higher_is_better,
            ceiling=best_value(self.metric),
        )

    def has_risen(self) -> bool:
        """Whether the last score is better than the first beyond the noise of fits."""
        first, last = self.points[0], self.points[-1]
        rise = self.curve().sign * (last.score - first.score)
        return bool(rise > _BEYOND_NOISE * np.hypot(_spread(first), _spread(last)))

    def beats_guessing(self) -> bool:
        """Whether some score is better than the floor beyond the noise of validation rows."""
        sign = 1 if get_metric(self.metric).higher_is_better else -1
        gaps = ((sign * (p.score - self.floor), np.hypot(p.error, self.floor_error)) for p in self.points)
        return any(gap > _BEYOND_NOISE * noise for gap, noise in gaps)

    def nothing_learned(self, rows: int) -> bool:
        """Whether the scores have not risen, none is better than guessing beyond noise, and that says something.

        It does where even twice `rows` are not expected, with nine chances in ten, to reach a fifth of the way from
        guessing to perfect.
        """
        if self.has_risen() or self.beats_guessing():
            return False
        curve = self.curve()
        expected = curve.sign * (curve.predict(2 * rows)[0] - self.floor)
        noise = float(np.hypot(self.points[-1].error, self.floor_error))
        return expected + _NINE_IN_TEN * noise < _STILL_NOTHING * self.span


def _spread(point: Point) -> float:
    return point.error if point.spread is None else point.spread


@dataclass(frozen=True, slots=True, eq=False)
class LearningCurve:
    """Curves level + rise·(1 − (n / rows)^−exponent), equally likely given the points; `rows` is the largest size seen.

    Attributes:
        rows: training rows of the largest point.
        level: score there, one a curve; turned so that more is better, as is `rise`.
        rise: what endless rows would add.
        exponent: how fast.
        noise: standard error of one more fit on the same validation rows.
        sign: 1, or −1 for a metric of which less is better.
    """

    rows: int
    level: Array
    rise: Array
    exponent: Array
    noise: float
    sign: int

    def predict(self, rows: int) -> tuple[float, float, float]:
        """Mean and 80 % interval of the score of one fit on so many rows, on the validation rows of the points."""
        return self._summary(self._at(rows) + self.noise * _standard_normal(len(self.level)))

    def gain(self, rows: int, *, since: int | None = None) -> tuple[float, float, float]:
        """Mean and 80 % interval of what the score changes from `since` to `rows` training rows, in the metric's unit.

        As seen when one more model is fitted: the interval may hold 0 although no curve falls. `since` is the largest
        size seen when not given.
        """
        return self._summary(self._rise(rows, since) + self.noise * _standard_normal(len(self.level)))

    def chance(self, rows: int, least: float, *, since: int | None = None) -> float:
        """Probability that the expected score improves, whatever the metric's direction, by `least` or more."""
        return float(np.mean(self._rise(rows, since) >= least))

    def rows_for(self, score: float) -> int | None:
        """Fewest rows with which the mean over the curves reaches `score`; None beyond 100 times the largest size."""
        wanted = self.sign * score

        def reached(rows: int) -> bool:
            return float(self._at(rows).mean()) >= wanted

        low, high = 0, _FARTHEST * self.rows
        if not reached(high):
            return None
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if reached(middle) else (middle, high)
        return high

    def _at(self, rows: int) -> Array:
        if rows < 1:
            raise ValueError("a curve begins at one row")
        return self.level + self.rise * (1 - (rows / self.rows) ** -self.exponent)

    def _rise(self, rows: int, since: int | None) -> Array:
        return self._at(rows) - self._at(since or self.rows)

    def _summary(self, values: Array) -> tuple[float, float, float]:
        low, high = np.sort(self.sign * np.quantile(values, _TAILS))
        return float(self.sign * values.mean()), float(low), float(high)


def fit_learning_curve(
    sizes: Sequence[int], scores: Sequence[float], errors: Sequence[float], *, higher_is_better: bool, ceiling: float
) -> LearningCurve:
    """The curves that scores at three or more sizes allow.

    The posterior is worked out on a grid of (exponent, level at the largest size, rise between the smallest and the
    largest), the last two spanned by what the points say, and 4,000 curves are drawn from it. The prior is weak: the
    exponent is log-uniform in 0.05..1.5 (Hestness et al. report 0.07 to 0.35 for well-tuned networks; simple models are
    faster at first), and the share of the way to the ceiling that endless rows would go is uniform. Curves that fall
    with more rows are excluded.

    Args:
        sizes: training rows.
        scores: in the metric's unit.
        errors: standard error of each score, in so far as it is not shared by all points.
        ceiling: the metric's best value; no curve goes beyond it.

    Raises: ValueError for fewer than three different sizes, an error below 0, or a score beyond the ceiling.
    """
    sign = 1 if higher_is_better else -1
    n, y = np.array(sizes, dtype=np.float64), sign * np.array(scores, dtype=np.float64)
    noise, top = np.array(errors, dtype=np.float64), sign * ceiling
    if not len(n) == len(y) == len(noise) or len(set(sizes)) < 3 or n.min() < 1:
        raise ValueError("a learning curve needs scores and errors at three or more different sizes")
    if not np.isfinite(y).all() or (noise < 0).any() or (y > top).any():
        raise ValueError("scores must be finite and within the ceiling, and errors 0 or more")
    order = np.argsort(n)
    n, y, noise = n[order], y[order], noise[order]
    least = _SMALLEST_ERROR * max(float(top - y.min()), 1e-9)
    blur = np.sqrt(noise**2 + (_MISFIT * np.ptp(y)) ** 2 + least**2)

    edges = np.geomspace(*_EXPONENTS, 41)
    exponent = np.sqrt(edges[1:] * edges[:-1])[:, None, None]
    level = np.linspace(-_WIDEST, _WIDEST, 46)[None, :, None] * blur[-1] + y[-1]
    highest = max(0.0, y[-1] - y[0]) + _WIDEST * np.hypot(blur[0], blur[-1])
    seen = ((np.arange(80) + 0.5) / 80 * highest)[None, None, :]
    per_rise = (n[-1] / n[0]) ** exponent - 1
    rise = seen / per_rise

    fitted = [level + rise * (1 - (size / n[-1]) ** -exponent) for size in n]
    log = -0.5 * sum(((f - value) / error) ** 2 for f, value, error in zip(fitted, y, blur, strict=True))
    room = top - level
    inside = (room > 0) & (rise <= room)
    # A uniform share of the way to the ceiling has the density 1 / room over `rise`, and `seen` is rise * per_rise.
    log = np.where(inside, log - np.log(per_rise) - np.log(np.where(room > 0, room, 1)), -np.inf)
    weights = np.exp(log - log.max()).ravel()
    # Evenly spaced quantiles of the flattened grid: the same points give the same curves, without luck.
    chosen = np.searchsorted(np.cumsum(weights), (np.arange(_DRAWS) + 0.5) / _DRAWS * weights.sum())
    levels, rises, exponents = (np.broadcast_to(p, log.shape).ravel()[chosen] for p in (level, rise, exponent))
    return LearningCurve(int(n[-1]), levels, rises, exponents, float(np.hypot(noise[-1], least)), sign)


def _standard_normal(count: int) -> Array:
    return np.random.default_rng(0).standard_normal(count)


def best_value(metric: str) -> float:
    """The best value a metric can have: 0 bits per byte, 100 for BLEU and chrF, else 1."""
    if not get_metric(metric).higher_is_better:
        return 0.0
    return 100.0 if metric in ("bleu", "chrf") else 1.0


def proxy_points(
    spec: TaskSpec, train: Sequence[Example], valid: Sequence[Example], *, sizes: Sequence[int] = (), seed: int = 0
) -> CurvePoints:
    """Scores of the best learned rung of the ladder with a quarter, a half and all of the training rows.

    Labels and preferences: TF-IDF and logistic regression. Likelihood tasks: the byte n-gram model. Extraction: the
    dictionary. Written answers: the answer of the nearest training row. Each size is fitted on up to four parts of one
    shuffled order that have no row in common (four quarters, two halves), of which the mean is the score. Three times
    the cost of the ladder.

    Args:
        sizes: other numbers of training rows. Without them at most about a million characters of rows are used, which
            leaves fewer rows than there are when texts are long.

    Raises: ValueError for fewer than three different sizes, no two parts of the smallest, or without validation rows.
    """
    order = np.random.default_rng(seed).permutation(len(train))
    most = _affordable([train[i] for i in order], valid)
    chosen = sorted(set(sizes or (most // 4, most // 2, most)))
    if len(chosen) < 3 or chosen[0] < 1 or 2 * chosen[0] > chosen[-1] or chosen[-1] > len(train):
        raise ValueError(f"a learning curve needs three different sizes in 1..{len(train)}, not {chosen}")
    measure = get_metric(spec.metric)
    points: list[Point] = []
    single = 0.0
    for size in chosen:
        parts = [order[start : start + size] for start in range(0, chosen[-1] - size + 1, size)][:_MOST_PARTS]
        rungs = [ladder(spec, [train[i] for i in sorted(part.tolist())], valid) for part in parts]
        learners = [_learner(rung) for rung in rungs]
        tables = [measure.rows(learner.predictions, valid, spec) for learner in learners]
        drawn = bootstrap_values(measure.value, *tables, resamples=_RESAMPLES, seed=seed)
        values = [float(measure.value(table.sum(0))) for table in tables]
        single = _variance_of_fits(values, drawn) if len(parts) > 1 else single
        error = float(np.mean(drawn, axis=0).std())
        points.append(Point(size, float(np.mean(values)), error, float(np.sqrt(single / len(parts)))))
    sign = 1 if measure.higher_is_better else -1
    trivial = [measure.rows(rung.predictions, valid, spec) for rung in rungs[0] if rung.trivial]
    floor = max(trivial, key=lambda table: sign * float(measure.value(table.sum(0))))
    (blurred,) = bootstrap_values(measure.value, floor, resamples=_RESAMPLES, seed=seed)
    name = learners[0].name
    looks_up = name in ("dictionary", "nearest neighbour")
    return CurvePoints(
        spec.metric, tuple(points), float(measure.value(floor.sum(0))), float(blurred.std()), name, looks_up
    )


def _variance_of_fits(values: Sequence[float], drawn: Sequence[Array]) -> float:
    """Variance of the score of one fit on the same validation rows, from the fits of one size.

    Few fits say little about how far fits are apart. That two of them answer rows differently says more: if they did so
    on each row by itself, half the bootstrap variance of their difference would be the variance wanted. That counts as
    much as `_WEIGHT_OF_ROWS` more fits.
    """
    pairs = [float((a - b).var()) / 2 for i, a in enumerate(drawn) for b in drawn[:i]]
    return (_WEIGHT_OF_ROWS * float(np.mean(pairs)) + float(np.var(values)) * len(values)) / (
        _WEIGHT_OF_ROWS + len(values) - 1
    )


def _affordable(train: Sequence[Example], valid: Sequence[Example]) -> int:
    """How many of these training rows are within the limit of characters, at least a dozen where there are as many."""

    def sizes(rows: Sequence[Example]) -> Array:
        return np.array([len(input_text(row)) + len(references_of(row)[0]) for row in rows], dtype=np.float64)

    within = int(np.searchsorted(np.cumsum(sizes(train)), _MOST_CHARACTERS - sizes(valid).sum(), side="right"))
    return min(len(train), max(12, within))


def _learner(rungs: Sequence[Baseline]) -> Baseline:
    """The rung that learns most from rows; "nearest sentence" of a passage learns nothing from them."""
    by_name = {rung.name: rung for rung in rungs if not rung.trivial}
    names = [name for name in by_name if name.endswith("-gram")]
    for name in ("TF-IDF + logistic regression", *names, "dictionary", "nearest neighbour"):
        if name in by_name:
            return by_name[name]
    raise ValueError("no rung of the ladder learns from rows")
