from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from autogpt.errors import BadInput
from autogpt.search import curves
from autogpt.search.curves import Prediction, chance_to_lead, curve_of, predict, probability_better
from autogpt.search.trials import Report, Trial

RUNGS = (1 / 9, 1 / 3, 1.0)
SHARES = (1 / 27, 1 / 9, 2 / 9, 1 / 3, 0.45, 0.6, 0.75, 0.9, 1.0)

Curve = list[tuple[float, float]]


def power(a: float, b: float, c: float, shares: tuple[float, ...] = SHARES) -> Curve:
    return [(share, c + a * share**-b) for share in shares]


def log_moments(prediction: Prediction) -> tuple[float, float]:
    variance = math.log(1 + (prediction.std / prediction.mean) ** 2)
    return math.log(prediction.mean) - variance / 2, math.sqrt(variance)


# ------------------------------------------------------------------ the power law


@pytest.mark.parametrize(("a", "b", "c"), [(0.3, 0.5, 2.0), (1.0, 0.3, 1.0), (0.1, 1.0, 3.0), (2.0, 0.2, 0.5)])
@pytest.mark.parametrize("known", [5, 7])
def test_a_power_law_without_noise_is_continued(a: float, b: float, c: float, known: int) -> None:
    curve = power(a, b, c)
    prediction = predict(curve[:known], [])
    low, high = prediction.interval()
    assert prediction.mean == pytest.approx(a + c, rel=0.03)
    assert low < a + c < high


def test_agrees_with_least_squares_within_its_own_uncertainty() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        a, b, c = rng.uniform(0.2, 1), rng.uniform(0.2, 0.8), rng.uniform(1, 3)
        curve = [(share, loss * math.exp(rng.normal(0, 0.003))) for share, loss in power(a, b, c)[:7]]
        shares, losses = np.array(curve).T
        (fit_a, _, fit_c), _ = optimize.curve_fit(
            lambda s, a, b, c: c + a * s**-b, shares, losses, p0=(a, b, c), bounds=([0, 0.05, 0], [10, 4, 10])
        )
        prediction = predict(curve, [])
        assert abs(fit_a + fit_c - prediction.mean) < 2 * prediction.std


@pytest.mark.parametrize("at", [0.5, 0.02, 1.0])
def test_equals_the_posterior_computed_the_long_way(at: float) -> None:
    """Every point of the grid by Gaussian conditioning with a nearly flat prior over the level, nothing simplified."""
    curve = [(1 / 9, 3.1), (1 / 4, 2.6), (0.4, 2.45)]
    exponent, reducible, log_prior = curves._grid()
    times = np.array([share for share, _ in curve] + [at])
    fall = np.log(1 + reducible[:, None] * (times[None, :] ** -exponent[:, None] - 1))
    logs, losses = np.log(times), np.log([loss for _, loss in curve])
    weights, means, variances = [], [], []
    for (noise, drift), prior in zip(curves.SCALES, curves.SCALE_PRIOR, strict=True):
        # The random walk is pinned to 0 at the first share of the curve and runs from there in both directions.
        gone = logs - logs[0]
        walk = np.where(np.sign(gone)[:, None] == np.sign(gone)[None, :], 1.0, 0.0)
        walk *= np.minimum.outer(abs(gone), abs(gone)) * drift**2
        joint = walk + np.eye(4) * (noise * curves.NOISE) ** 2 + 30.0**2
        seen = joint[:3, :3]
        likelihood = stats.multivariate_normal(cov=seen).logpdf(losses - fall[:, :3])
        gain = np.linalg.solve(seen, joint[:3, 3])
        weights.append(np.log(prior) + log_prior + likelihood)
        means.append(fall[:, 3] + (losses - fall[:, :3]) @ gain)
        variances.append(np.full(len(fall), joint[3, 3] - joint[3, :3] @ gain))
    weight, mean, variance = (np.concatenate(part) for part in (weights, means, variances))
    weight = np.exp(weight - weight.max())
    weight /= weight.sum()
    middle = weight @ mean
    spread = math.sqrt(weight @ (variance + (mean - middle) ** 2))
    assert log_moments(predict(curve, [], at=at)) == pytest.approx((middle, spread), rel=2e-3)


def test_more_points_of_a_power_law_make_the_prediction_narrower() -> None:
    for a, b, c in [(0.3, 0.5, 2.0), (1.0, 0.3, 1.0), (2.0, 0.2, 0.5)]:
        spreads = [predict(power(a, b, c)[:known], []).std for known in range(1, 9)]
        assert spreads == sorted(spreads, reverse=True)
        assert spreads[-1] < spreads[0] / 10


def test_uncertainty_grows_with_the_distance() -> None:
    curve = power(0.5, 0.4, 2.0)[:4]
    spreads = [predict(curve, [], at=at).std for at in (0.34, 0.45, 0.6, 0.8, 1.0)]
    assert spreads == sorted(spreads)


@pytest.mark.parametrize("known", [1, 2, 4, 7])
def test_four_fifths_of_noisy_power_laws_lie_in_the_interval_or_more(known: int) -> None:
    rng = np.random.default_rng(known)
    inside = 0
    for _ in range(100):
        total = rng.uniform(0.5, 4)
        reducible = total * rng.uniform(0.1, 0.7)
        exact = power(reducible, rng.uniform(0.2, 0.8), total - reducible)
        curve = [(share, loss * math.exp(rng.normal(0, curves.NOISE))) for share, loss in exact]
        low, high = predict(curve[:known], []).interval(0.8)
        inside += low <= curve[-1][1] <= high
    assert inside >= 75


# ------------------------------------------------------------------ the other trials


def test_one_point_is_continued_as_the_others_went() -> None:
    alone = predict([(1 / 9, 3.0)], [])
    flat = predict([(1 / 9, 3.0)], [[(1 / 9, 5.0), (1.0, 4.9)]] * 8)
    steep = predict([(1 / 9, 3.0)], [[(1 / 9, 5.0), (1.0, 1.5)]] * 8)
    assert flat.mean == pytest.approx(3.0 * 4.9 / 5.0, rel=0.1)
    assert steep.mean == pytest.approx(3.0 * 1.5 / 5.0, rel=0.25)
    assert steep.mean < alone.mean < flat.mean
    assert max(log_moments(flat)[1], log_moments(steep)[1]) < log_moments(alone)[1]


def test_the_others_fall_is_shrunk_towards_the_prior() -> None:
    rng = np.random.default_rng(3)
    falls = rng.normal(0.1, 0.02, 30)
    others = [[(1 / 9, 2.0), (1.0, 2.0 * math.exp(-fall))] for fall in falls]
    prior = log_moments(predict([(1 / 9, 2.0)], []))[0]
    told = [log_moments(predict([(1 / 9, 2.0)], others[:count]))[0] for count in (1, 3, 10, 30)]
    final = math.log(2.0) - float(falls.mean())
    assert prior < told[0] < told[-1] < final + 0.01
    distances = [abs(middle - final) for middle in (prior, *told)]
    assert distances == sorted(distances, reverse=True)


def test_late_bloomers_among_the_others_are_expected_to_bloom() -> None:
    plateau = [(1 / 9, 3.0), (1 / 3, 2.95)]
    bloomers = [[(1 / 9, 3.2), (1 / 3, 3.1), (1.0, 1.4 + 0.05 * i)] for i in range(5)]
    sleepers = [[(1 / 9, 3.2), (1 / 3, 3.1), (1.0, 3.0 + 0.02 * i)] for i in range(5)]
    assert probability_better(predict(plateau, bloomers), 2.0) > 0.5
    assert probability_better(predict(plateau, sleepers), 2.0) < 0.01


def test_curves_that_rose_are_expected_to_rise() -> None:
    overfitted = [[(1 / 9, 2.0), (1 / 3, 1.7), (1.0, 2.4 + 0.1 * i)] for i in range(5)]
    assert predict([(1 / 9, 2.1), (1 / 3, 1.75)], overfitted).mean > 1.9


def test_scattered_others_widen_the_prediction() -> None:
    curve = power(0.5, 0.4, 2.0)[:6]
    rng = np.random.default_rng(1)

    def noisy(scale: float) -> list[Curve]:
        return [[(s, y * math.exp(rng.normal(0, scale))) for s, y in power(0.5, 0.4, 2.0)] for _ in range(8)]

    assert predict(curve, noisy(0.08)).std > 1.5 * predict(curve, noisy(0.002)).std


def test_trials_that_never_got_further_say_nothing_about_what_follows() -> None:
    curve = [(1 / 9, 3.0), (1 / 3, 2.5)]
    assert predict(curve, [[(1 / 9, 9.0)], [(1 / 9, 9.0), (1 / 3, 8.0)]]) == predict(curve, [])


def test_one_diverged_trial_does_not_decide() -> None:
    curve = power(0.5, 0.4, 2.0)[:5]
    others = [power(0.5, 0.4, 2.0 + 0.1 * i) for i in range(6)]
    diverged = [*power(0.5, 0.4, 2.0)[:5], (0.6, 1e3), (0.75, 1e8), (0.9, 1e30), (1.0, 1e300)]
    prediction = predict(curve, [*others, diverged])
    assert prediction.mean == pytest.approx(2.5, rel=0.4)
    assert math.isfinite(prediction.std)


def test_what_is_no_loss_is_left_out_of_the_others() -> None:
    clean = [power(0.4, 0.5, 2.0), power(0.6, 0.4, 1.8)]
    dirty = [[*clean[0], (0.5, math.nan), (0.7, math.inf)], [(0.0, 9.0), *clean[1], (0.2, -1.0), (0.3, 0.0)], []]
    assert predict(clean[0][:3], dirty) == predict(clean[0][:3], clean)


def test_recalibration_equals_the_integral_over_mean_and_variance() -> None:
    errors = [1.2, -0.3, 2.5, 0.9]
    means, variances = np.meshgrid(np.linspace(-6, 6, 801), np.geomspace(0.01, 400, 1201), indexing="ij")
    freedom = curves.PRIOR_SPREADS
    density = stats.norm.pdf(means, 0, np.sqrt(variances / curves.PRIOR_ERRORS))
    density *= stats.invgamma.pdf(variances, freedom / 2, scale=freedom / 2) * variances  # of log variance
    for error in errors:
        density *= stats.norm.pdf(error, means, np.sqrt(variances))
    density /= density.sum()
    shift, widening = curves._recalibration(errors)
    variance = 1 / (density / variances).sum()  # the harmonic mean of an inverse gamma is its scale
    assert shift == pytest.approx((density * means).sum(), abs=1e-4)
    assert widening**2 == pytest.approx(variance * (1 + 1 / (len(errors) + curves.PRIOR_ERRORS)), rel=1e-4)
    assert curves._recalibration([]) == (0.0, 1.0)


# ------------------------------------------------------------------ laws

losses = st.floats(0.05, 20)
a_curve = st.lists(losses, min_size=1, max_size=8).map(lambda ys: list(zip(SHARES, ys, strict=False)))
some_curves = st.lists(a_curve, max_size=5)


@settings(max_examples=40, deadline=None)
@given(a_curve, some_curves, st.randoms(use_true_random=False))
def test_neither_the_order_of_the_others_nor_of_the_points_matters(curve: Curve, others: list[Curve], rng) -> None:
    shuffled = [rng.sample(other, len(other)) for other in rng.sample(others, len(others))]
    assert predict(rng.sample(curve, len(curve)), shuffled) == predict(curve, others)


@settings(max_examples=40, deadline=None)
@given(a_curve, some_curves, st.floats(0.1, 10))
def test_another_unit_of_the_loss_changes_nothing_else(curve: Curve, others: list[Curve], unit: float) -> None:
    """Nats or bits, and the level of the others, which may be of another size."""
    plain, scaled = predict(curve, others), predict([(share, unit * loss) for share, loss in curve], others)
    assert scaled.mean == pytest.approx(unit * plain.mean, rel=1e-6)
    assert scaled.std == pytest.approx(unit * plain.std, rel=1e-6)


@settings(max_examples=40, deadline=None)
@given(a_curve, some_curves, st.floats(0.01, 1.0))
def test_a_prediction_is_always_a_distribution_of_losses(curve: Curve, others: list[Curve], at: float) -> None:
    prediction = predict(curve, others, at=at)
    low, high = prediction.interval()
    assert 0 < low < high < math.inf
    assert curves.NOISE * 0.999 < log_moments(prediction)[1] < curves.MOST_SPREAD * 1.001


@settings(max_examples=40, deadline=None)
@given(a_curve, some_curves, losses, st.floats(1.0, 3.0))
def test_worse_curves_and_better_incumbents_lower_the_chance(
    curve: Curve, others: list[Curve], incumbent: float, factor: float
) -> None:
    chance = probability_better(predict(curve, others), incumbent)
    worse = probability_better(predict([(share, factor * loss) for share, loss in curve], others), incumbent)
    assert 0 <= worse <= chance + 1e-9 <= 1 + 1e-9
    assert probability_better(predict(curve, others), incumbent / factor) <= chance


def test_moments_interval_and_chance_are_those_of_a_log_normal() -> None:
    prediction = Prediction(mean=2.0, std=0.7)
    middle, spread = log_moments(prediction)
    truth = stats.lognorm(s=spread, scale=math.exp(middle))
    assert (truth.mean(), truth.std()) == pytest.approx((2.0, 0.7))
    assert prediction.interval(0.8) == pytest.approx(truth.interval(0.8))
    assert [probability_better(prediction, x) for x in (0.5, 2.0, 5.0)] == pytest.approx(truth.cdf([0.5, 2.0, 5.0]))
    assert [probability_better(prediction, x) for x in (-1.0, 0.0, math.inf)] == [0.0, 0.0, 1.0]
    assert [probability_better(Prediction(2.0, 0.0), x) for x in (1.9, 2.1)] == [0.0, 1.0]


@pytest.mark.parametrize(
    "call",
    [
        lambda: predict([], []),
        lambda: predict([(0.5, 0.0)], []),
        lambda: predict([(0.5, math.nan)], []),
        lambda: predict([(0.0, 1.0)], []),
        lambda: predict([(1.5, 1.0)], []),
        lambda: predict([(0.5, 1.0)], [], at=0.0),
        lambda: predict([(0.5, 1.0)], [], at=1.1),
        lambda: predict([(0.5, 1.0)], [], noise=0.0),
    ],
)
def test_what_cannot_be_predicted_is_named(call: Callable[[], Prediction]) -> None:
    with pytest.raises(BadInput, match="expected"):
        call()


# ------------------------------------------------------------------ reports and trials


def trial(number: int, losses: list[float | None], scores: list[float] | None = None, state: str = "stopped") -> Trial:
    told = [{} if loss is None else {"loss": loss} for loss in losses]
    kept = scores or [-(loss or 0.0) for loss in losses]
    reports = [Report(rung, score, info=info) for rung, score, info in zip(RUNGS, kept, told, strict=False)]
    return Trial(number, {}, state, tuple(reports))


def test_the_curve_is_read_from_the_reports() -> None:
    reports = [
        Report(0.1, 0.5, info={"loss": 3}),
        Report(0.2, 0.5),
        Report(0.3, 0.5, info={"loss": None}),
        Report(0.4, 0.5, info={"loss": math.inf}),
        Report(0.5, 0.5, info={"loss": 2.5, "step": 7}),
    ]
    assert curve_of(reports) == [(0.1, 3.0), (0.5, 2.5)]


def test_a_slow_starter_has_a_chance_and_a_hopeless_trial_has_none() -> None:
    history = [
        trial(0, [2.5, 2.2, 2.0], state="finished"),
        trial(1, [3.5, 2.9, 2.1], state="finished"),
        trial(2, [2.8, 2.4, 2.15], state="finished"),
    ]
    starter = trial(3, [3.6, 2.8]).reports
    hopeless = trial(3, [3.6, 3.55]).reports
    assert chance_to_lead(starter, history, direction="max") > 0.1
    assert chance_to_lead(hopeless, history, direction="max") < 0.02


def test_the_chance_is_that_of_the_prediction_against_the_incumbents_last_loss() -> None:
    history = [
        trial(0, [2.5, 2.2, 2.0], [0.1, 0.2, 0.9], state="finished"),
        trial(1, [2.4, 2.1, 1.9], [0.1, 0.2, 0.8], state="finished"),
        trial(2, [2.6, 2.5], [0.1, 0.95]),
    ]
    reports = trial(3, [2.6, 2.3]).reports
    prediction = predict(curve_of(reports), [curve_of(one.reports) for one in history])
    most = chance_to_lead(reports, history, direction="max")
    least = chance_to_lead(reports, history, direction="min")
    assert (most, least) == (probability_better(prediction, 2.0), probability_better(prediction, 1.9))


def test_nothing_speaks_for_a_trial_without_losses_or_without_an_incumbent() -> None:
    finished = trial(0, [2.5, 2.2, 2.0], state="finished")
    running = trial(3, [2.0, 1.5]).reports
    silent = trial(3, [None, None], [0.5, 0.5]).reports
    assert chance_to_lead(running, [finished], direction="max") > 0.5
    assert chance_to_lead(silent, [finished], direction="max") == 0.0
    assert chance_to_lead(running, [], direction="max") == 0.0
    assert chance_to_lead(running, [trial(0, [2.5, 2.2])], direction="max") == 0.0
    assert chance_to_lead(running, [trial(0, [9.0, 9.0, 9.0], state="failed")], direction="max") == 0.0
