"""Curves drawn from known power laws are found again, with intervals that hold what they promise."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from autogpt.evaluation.baselines import ladder
from autogpt.evaluation.evaluate import score
from autogpt.evaluation.learning_curve import CurvePoints, Point, best_value, fit_learning_curve, proxy_points
from autogpt.tasks.spec import METRIC_DIRECTION, METRICS_OF_KIND, TaskKind, TaskSpec
from autogpt.types import Entity, Example, Message, Target

SIZES = (250, 500, 1000)


def power_law(rows: float, limit: float, scale: float, exponent: float) -> float:
    return limit - scale * rows**-exponent


def spec_of(kind: str) -> TaskSpec:
    metric = METRICS_OF_KIND[TaskKind(kind)][0]
    return TaskSpec(
        description="x",
        kind=kind,
        input_fields=[] if kind == "generation" else ["text"],
        output_field="answer",
        metric=metric,
        direction=METRIC_DIRECTION[metric],
    )


@pytest.mark.parametrize(("limit", "scale", "exponent"), [(0.95, 2.0, 0.4), (0.9, 0.9, 0.2), (0.85, 20.0, 0.9)])
def test_a_noiseless_power_law_is_continued(limit: float, scale: float, exponent: float) -> None:
    sizes = (125, 250, 500, 1000, 2000)
    scores = [power_law(n, limit, scale, exponent) for n in sizes]
    curve = fit_learning_curve(sizes, scores, [1e-4] * 5, higher_is_better=True, ceiling=1.0)
    mean, low, high = curve.predict(4000)
    truth = power_law(4000, limit, scale, exponent)
    rise = scores[-1] - scores[0]
    assert low <= truth <= high
    assert mean == pytest.approx(truth, abs=0.06 * rise)
    assert curve.gain(4000)[0] == pytest.approx(truth - scores[-1], abs=0.06 * rise)


def test_intervals_hold_the_truth_about_four_times_in_five() -> None:
    """Limits, exponents and noise drawn anew each time; one more noisy fit with twice the rows is predicted."""
    held, runs, noise = 0, 150, 0.01
    rng = np.random.default_rng(0)
    for _ in range(runs):
        exponent, last = rng.uniform(0.1, 1.0), rng.uniform(0.6, 0.9)
        limit = last + rng.uniform(0, 1 - last)
        scale = (limit - last) * 1000**exponent
        scores = [min(1.0, power_law(n, limit, scale, exponent) + noise * rng.standard_normal()) for n in SIZES]
        curve = fit_learning_curve(SIZES, scores, [noise] * 3, higher_is_better=True, ceiling=1.0)
        _, low, high = curve.predict(2000)
        held += low <= power_law(2000, limit, scale, exponent) + noise * rng.standard_normal() <= high
    assert 0.7 <= held / runs <= 0.9


def test_noise_widens_the_interval_and_the_ceiling_bounds_the_curve() -> None:
    curves = [
        fit_learning_curve(SIZES, (0.70, 0.75, 0.79), [error] * 3, higher_is_better=True, ceiling=0.82)
        for error in (0.002, 0.03)
    ]
    (_, low, high), (_, wide_low, wide_high) = (curve.gain(2000) for curve in curves)
    assert wide_high - wide_low > 4 * (high - low)
    assert wide_low < 0 < low
    assert all(((curve.level + curve.rise) <= 0.82 + 1e-9).all() for curve in curves)
    assert all(0.05 <= value <= 1.5 for curve in curves for value in curve.exponent.tolist())


def test_less_is_better_mirrors_more_is_better() -> None:
    errors = [0.01] * 3
    up = fit_learning_curve(SIZES, (-2.6, -2.4, -2.25), errors, higher_is_better=True, ceiling=0.0)
    down = fit_learning_curve(SIZES, (2.6, 2.4, 2.25), errors, higher_is_better=False, ceiling=0.0)
    mean, low, high = up.predict(2000)
    assert down.predict(2000) == pytest.approx((-mean, -high, -low))
    assert down.gain(2000)[2] < 0
    assert down.chance(2000, 0.05) == up.chance(2000, 0.05) > 0.9
    assert down.rows_for(2.1) == up.rows_for(-2.1)


def test_rows_for_is_where_the_mean_curve_reaches_the_score() -> None:
    curve = fit_learning_curve(SIZES, (0.70, 0.75, 0.79), [0.003] * 3, higher_is_better=True, ceiling=1.0)

    def mean(rows: int) -> float:
        return float(np.mean(curve.level + curve.rise * (1 - (rows / 1000) ** -curve.exponent)))

    rows = curve.rows_for(0.84)
    assert rows is not None
    assert mean(rows - 1) < 0.84 <= mean(rows)
    assert curve.rows_for(0.9999) is None
    assert (curve.rows_for(0.7) or 0) < 500


def test_scores_that_agree_leave_some_doubt_and_order_does_not_matter() -> None:
    curve = fit_learning_curve(SIZES, (0.8, 0.8, 0.8), [0.0] * 3, higher_is_better=True, ceiling=1.0)
    mean, low, high = curve.predict(2000)
    assert low < mean < high
    assert mean == pytest.approx(0.8, abs=0.002)
    perfect = fit_learning_curve(SIZES, (1.0, 1.0, 1.0), [0.0] * 3, higher_is_better=True, ceiling=1.0)
    assert perfect.gain(2000)[0] == pytest.approx(0, abs=1e-6)
    forth, back = (
        fit_learning_curve(SIZES[::step], (0.70, 0.75, 0.79)[::step], [0.01] * 3, higher_is_better=True, ceiling=1.0)
        for step in (1, -1)
    )
    assert forth.predict(3000) == back.predict(3000)


@pytest.mark.parametrize(
    ("sizes", "scores", "errors"),
    [
        ((100, 200), (0.5, 0.6), (0.01, 0.01)),
        ((100, 100, 200), (0.5, 0.5, 0.6), (0.01,) * 3),
        ((100, 200, 400), (0.5, 0.6, 1.1), (0.01,) * 3),
        ((100, 200, 400), (0.5, 0.6, 0.7), (0.01, -0.01, 0.01)),
        ((100, 200, 400), (0.5, 0.6, float("nan")), (0.01,) * 3),
        ((100, 200, 400), (0.5, 0.6, 0.7), (0.01,) * 2),
    ],
)
def test_what_is_no_curve_is_refused(
    sizes: tuple[int, ...], scores: tuple[float, ...], errors: tuple[float, ...]
) -> None:
    with pytest.raises(ValueError, match=r"different sizes|within the ceiling"):
        fit_learning_curve(sizes, scores, errors, higher_is_better=True, ceiling=1.0)


def test_points_have_an_order_and_a_curve_a_beginning() -> None:
    points = tuple(Point(rows, 0.5, 0.01) for rows in (400, 200, 100))
    with pytest.raises(ValueError, match="few rows to many"):
        CurvePoints("accuracy", points, 0.5, 0.0, "x")
    with pytest.raises(ValueError, match="one row"):
        CurvePoints("accuracy", points[::-1], 0.5, 0.0, "x").curve().predict(0)


def test_best_values() -> None:
    assert [best_value(name) for name in ("accuracy", "chrf", "bits_per_byte")] == [1.0, 100.0, 0.0]


def noisy_labels(count: int, seed: int) -> list[Example]:
    """Two of twenty words that tell the label stand among eight that do not; one label in eight is wrong."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(count):
        label = int(rng.integers(2))
        words = [f"w{label}x{rng.integers(20)}" for _ in range(2)] + [f"n{rng.integers(200)}" for _ in range(8)]
        rows.append(
            Example(f"f:{seed}:{i}", {"text": " ".join(words)}, ("left", "right")[label ^ (rng.random() < 1 / 8)])
        )
    return rows


def test_proxy_points_of_labels_are_means_over_parts_without_common_rows() -> None:
    spec, train, valid = spec_of("classification"), noisy_labels(160, 0), noisy_labels(100, 1)
    found = proxy_points(spec, train, valid, seed=3)
    assert found == proxy_points(spec, train, valid, seed=3)
    assert [point.rows for point in found.points] == [40, 80, 160]
    assert found.learner == "TF-IDF + logistic regression"
    assert not found.looks_up
    rungs = {rung.name: score(spec, valid, rung.predictions, resamples=200) for rung in ladder(spec, train, valid)}
    assert found.points[-1].score == rungs[found.learner].main.value
    assert found.floor == rungs["majority"].main.value
    order = np.random.default_rng(3).permutation(160)
    quarters = [[train[i] for i in sorted(order[k : k + 40].tolist())] for k in range(0, 160, 40)]
    values = [
        score(spec, valid, ladder(spec, part, valid)[-1].predictions, resamples=50).main.value for part in quarters
    ]
    assert found.points[0].score == pytest.approx(np.mean(values))
    share = found.points[-1].score
    assert found.points[-1].error == pytest.approx(np.sqrt(share * (1 - share) / 100), rel=0.2)
    spreads = [point.spread or 0.0 for point in found.points]
    assert spreads[2] == pytest.approx(2**0.5 * spreads[1])  # one fit instead of the mean of two


def test_the_spread_is_that_of_fits_on_other_rows() -> None:
    spec, valid = spec_of("classification"), noisy_labels(100, 1)
    found = proxy_points(spec, noisy_labels(160, 0), valid)
    fits = [ladder(spec, noisy_labels(40, seed), valid)[-1].predictions for seed in range(10, 34)]
    apart = np.std([score(spec, valid, fit, resamples=20).main.value for fit in fits], ddof=1)
    assert found.points[0].spread == pytest.approx(apart / 2, rel=0.5)


def test_proxy_points_of_text_are_those_of_the_n_gram_model() -> None:
    rng = np.random.default_rng(0)
    lines = [" ".join(f"word{rng.integers(30)}" for _ in range(12)) for _ in range(140)]
    rows = [Example(f"f:{i}", {}, line, references=(line,)) for i, line in enumerate(lines)]
    found = proxy_points(spec_of("generation"), rows[:120], rows[120:])
    assert found.learner.endswith("-gram")
    first, _, last = (point.score for point in found.points)
    assert found.floor > first > last > 0
    assert found.has_risen()


def test_answers_that_are_looked_up_are_marked() -> None:
    rows = [Example(f"f:{i}", {"text": f"question {i % 9} {i}"}, f"answer {i % 9}") for i in range(60)]
    assert proxy_points(spec_of("instruction"), rows[:48], rows[48:]).looks_up


def test_several_labels_entities_and_preferences_have_a_learner() -> None:
    def answer(kind: str, word: str) -> Target:
        if kind == "extraction":
            return (Entity("WORD", word, 0, len(word)),)
        return (word, "all") if kind == "multi_label" else f"a {word} answer"

    words = ("red", "green", "blue", "grey")
    for kind, learner in (
        ("multi_label", "TF-IDF + logistic regression"),
        ("extraction", "dictionary"),
        ("preference", "TF-IDF + logistic regression"),
    ):
        rows = [
            Example(f"f:{i}", {"text": f"{words[i % 4]} thing {i % 7}"}, answer(kind, words[i % 4]), rejected=f"no {i}")
            for i in range(80)
        ]
        found = proxy_points(spec_of(kind), rows[:60], rows[60:])
        assert found.learner == learner
        assert found.looks_up is (kind == "extraction")
        assert found.points[-1].score == 1


def test_proxy_points_take_sizes_and_refuse_what_is_no_curve() -> None:
    spec, train, valid = spec_of("classification"), noisy_labels(60, 0), noisy_labels(40, 1)
    assert [point.rows for point in proxy_points(spec, train, valid, sizes=(10, 20, 30)).points] == [10, 20, 30]
    for sizes in ((10, 20), (10, 20, 61), (40, 50, 60), (0, 20, 40)):
        with pytest.raises(ValueError, match="three different sizes"):
            proxy_points(spec, train, valid, sizes=sizes)


def test_long_texts_leave_fewer_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autogpt.evaluation.learning_curve._MOST_CHARACTERS", 6000)
    found = proxy_points(spec_of("classification"), noisy_labels(400, 0), noisy_labels(40, 1))
    assert 40 <= found.points[-1].rows <= 120


def test_a_conversation_is_counted_and_scored() -> None:
    rng = np.random.default_rng(0)
    rows = []
    for i in range(60):
        turns = (Message("user", f"say {rng.integers(9)}"), Message("assistant", "well " * int(rng.integers(3, 9))))
        rows.append(Example(f"f:{i}", {}, messages=turns))
    found = proxy_points(spec_of("dialogue"), rows[:48], rows[48:])
    assert [point.rows for point in found.points] == [12, 24, 48]


@pytest.mark.shared
def test_doubling_real_rows_gives_what_was_said(shared: Path) -> None:
    lines = (shared / "classification" / "zh_thucnews_topic.train.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [Example(str(i), {"text": row["text"]}, row["label"]) for i, row in enumerate(map(json.loads, lines[:2900]))]
    spec, train, valid = spec_of("classification").model_copy(update={"input_language": "zh"}), rows[:2400], rows[2400:]
    _, low, high = proxy_points(spec, train[:1200], valid).curve().predict(2400)
    learned = next(rung for rung in ladder(spec, train, valid) if rung.name.startswith("TF-IDF"))
    assert low <= score(spec, valid, learned.predictions, resamples=50).main.value <= high
