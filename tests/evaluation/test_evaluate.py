from __future__ import annotations

import numpy as np
import pytest

from autogpt.evaluation.evaluate import confusion, metric_names, paired_test, ranked_rows, score
from autogpt.evaluation.metrics import Unmeasured, get_metric
from autogpt.evaluation.resampling import bootstrap_values, percentile_interval, randomization_p_value
from autogpt.tasks.spec import TaskSpec
from autogpt.types import Entity, Example, Prediction

LABELS = tuple("abcd")


def spec_of(kind: str = "classification", metric: str = "accuracy", direction: str = "max") -> TaskSpec:
    return TaskSpec(
        description="x",
        kind=kind,
        input_fields=["text"],
        output_field="label",
        labels=list(LABELS),
        metric=metric,
        direction=direction,
    )


def rows_of(n: int, seed: int) -> list[Example]:
    rng = np.random.default_rng(seed)
    return [Example(f"f:{i}", {"text": "x"}, LABELS[rng.integers(4)]) for i in range(n)]


def answers(examples: list[Example], right: float, seed: int) -> list[Prediction]:
    rng = np.random.default_rng(seed)
    return [Prediction(str(e.target) if rng.random() < right else LABELS[rng.integers(4)]) for e in examples]


def test_score_reports_every_metric_of_the_kind_and_the_asked_one() -> None:
    examples = rows_of(80, 0)
    predictions = answers(examples, 0.7, 1)
    scores = score(spec_of(metric="exact_match"), examples, predictions, resamples=200)
    assert (
        list(scores.metrics)
        == ["exact_match", "accuracy", "macro_f1"]
        == list(metric_names(spec_of(metric="exact_match")))
    )
    assert scores.main.value == scores.metrics["accuracy"].value
    for value in scores.metrics.values():
        assert value.ci95[0] < value.value < value.ci95[1]
        assert value.n == 80


def test_same_seed_same_scores() -> None:
    examples = rows_of(50, 0)
    predictions = answers(examples, 0.7, 1)
    one, two = (score(spec_of(), examples, predictions, resamples=300, seed=5) for _ in range(2))
    assert one == two != score(spec_of(), examples, predictions, resamples=300, seed=6)


def test_a_secondary_metric_without_its_ingredients_is_left_out() -> None:
    examples = [Example("1", {}, "abc"), Example("2", {}, "de")]
    predictions = [Prediction("", nats=3.0, utf8_bytes=3), Prediction("", nats=1.0, utf8_bytes=2)]
    spec = spec_of("dialogue", "bits_per_byte", "min")
    assert list(score(spec, examples, predictions, resamples=100).metrics) == ["bits_per_byte"]
    with pytest.raises(Unmeasured):
        score(spec_of("dialogue", "rougeL"), examples, predictions)
    with pytest.raises(ValueError, match="1 predictions for 2 examples"):
        score(spec, examples, predictions[:1])


@pytest.mark.parametrize("name", ["accuracy", "macro_f1"])
def test_bootstrap_equals_a_loop_over_resampled_rows(name: str) -> None:
    examples = rows_of(40, 2)
    predictions = answers(examples, 0.5, 3)
    measure = get_metric(name)
    rows = measure.rows(predictions, examples, spec_of())
    (drawn,) = bootstrap_values(measure.value, rows, resamples=50, seed=9)
    picks = np.random.default_rng(9).integers(0, 40, size=(50, 40), dtype=np.int32)
    for value, picked in zip(drawn, picks, strict=True):
        again = measure.rows([predictions[i] for i in picked], [examples[i] for i in picked], spec_of())
        # The label columns may differ, as a label may be missing; the value does not.
        assert value == pytest.approx(float(measure.value(again.sum(0))), abs=1e-12)


def test_wide_statistics_give_the_same_as_narrow_ones() -> None:
    rng = np.random.default_rng(0)
    rows = np.concatenate([rng.random((30, 2)), np.zeros((30, 100))], axis=1)  # wide: goes through a sparse matrix
    mean = get_metric("accuracy").value
    narrow, wide = (bootstrap_values(mean, table, resamples=40, seed=1)[0] for table in (rows[:, :2], rows))
    np.testing.assert_allclose(narrow, wide)
    other = rng.random((30, 102))
    narrow_p, wide_p = (randomization_p_value(mean, rows[:, :w], other[:, :w], resamples=200, seed=1) for w in (2, 102))
    assert narrow_p == pytest.approx(wide_p)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    mean = get_metric("accuracy").value
    covered = 0
    for seed in range(200):
        rows = np.stack([(rng.random(100) < 0.7).astype(float), np.ones(100)], axis=1)
        low, high = percentile_interval(bootstrap_values(mean, rows, resamples=400, seed=seed)[0])
        covered += low <= 0.7 <= high
    assert 0.90 <= covered / 200 <= 0.985


def test_paired_test_agrees_with_a_naive_permutation_loop() -> None:
    examples = rows_of(60, 4)
    a, b = answers(examples, 0.75, 5), answers(examples, 0.55, 6)
    measure = get_metric("macro_f1")

    def value(predictions: list[Prediction]) -> float:
        return float(measure.value(measure.rows(predictions, examples, spec_of()).sum(0)))

    observed = value(a) - value(b)
    rng = np.random.default_rng(0)
    beyond = 0
    for _ in range(1500):
        swap = rng.random(60) < 0.5
        one = [y if s else x for x, y, s in zip(a, b, swap, strict=True)]
        two = [x if s else y for x, y, s in zip(a, b, swap, strict=True)]
        beyond += abs(value(one) - value(two)) >= abs(observed) - 1e-12
    found = paired_test(spec_of(), examples, a, b, metric="macro_f1", resamples=6000)
    assert found.difference == pytest.approx(observed)
    assert found.p_value == pytest.approx((1 + beyond) / 1501, abs=0.02)
    assert found.ci95[0] < found.difference < found.ci95[1]


def test_paired_test_of_a_sign_test_equals_the_binomial() -> None:
    # 9 rows differ, 8 in favour of a: the exact two-sided p-value of the sign test is 2 * (1 + 9) / 2^9.
    examples = rows_of(30, 0)
    wrong = {e.id: next(label for label in LABELS if label != e.target) for e in examples}
    a = [Prediction(wrong[e.id] if i == 8 else str(e.target)) for i, e in enumerate(examples)]
    b = [Prediction(wrong[e.id] if i < 8 else str(e.target)) for i, e in enumerate(examples)]
    found = paired_test(spec_of(), examples, a, b, resamples=40_000)
    assert found.difference == pytest.approx(7 / 30)
    assert found.p_value == pytest.approx(20 / 512, abs=0.004)


def test_identical_answers_have_p_one_and_less_is_better_turns_the_sign() -> None:
    examples = rows_of(20, 0)
    a = answers(examples, 0.5, 1)
    assert paired_test(spec_of(), examples, a, a, resamples=100).p_value == 1.0
    low = [Prediction("", nats=1.0 + i % 3, utf8_bytes=10) for i in range(20)]
    high = [Prediction("", nats=2.0 + i % 3, utf8_bytes=10) for i in range(20)]
    found = paired_test(spec_of("generation", "bits_per_byte", "min"), examples, low, high, resamples=500)
    assert found.difference > 0
    assert found.p_value < 0.01


def test_p_values_of_equal_models_are_about_uniform() -> None:
    p_values = []
    for seed in range(150):
        examples = rows_of(80, seed)
        a, b = answers(examples, 0.7, 1000 + seed), answers(examples, 0.7, 2000 + seed)
        p_values.append(paired_test(spec_of(), examples, a, b, resamples=300, seed=seed).p_value)
    shares = [float(np.mean(np.array(p_values) <= level)) for level in (0.05, 0.2, 0.5)]
    # The accuracy is discrete, so p-values are on the large side; never on the small side beyond chance.
    assert shares[0] <= 0.09
    assert 0.08 <= shares[1] <= 0.28
    assert 0.36 <= shares[2] <= 0.6


def test_confusions_by_hand() -> None:
    examples = [Example(str(i), {"text": "x"}, t) for i, t in enumerate("aaab")]
    found = confusion(spec_of(), examples, [Prediction(p) for p in "abbb"])
    assert [(c.truth, c.predicted, c.count) for c in found] == [("a", "b", 2)]
    multi = [Example("1", {}, ("a", "b"))]
    found = confusion(spec_of("multi_label", "micro_f1"), multi, [Prediction(("b", "c"))])
    assert {(c.truth, c.predicted) for c in found} == {("a", ""), ("", "c")}
    ner = [Example("1", {"text": "Bo"}, (Entity("PER", "Bo", 0, 2),))]
    found = confusion(spec_of("extraction", "entity_f1"), ner, [Prediction((Entity("ORG", "Bo", 0, 2),))])
    assert {(c.truth, c.predicted) for c in found} == {("PER: Bo", ""), ("", "ORG: Bo")}
    assert confusion(spec_of("translation", "chrf"), examples, [Prediction("x")] * 4) == []


def test_ranked_rows_by_the_probability_of_the_true_label() -> None:
    examples = [Example(str(i), {"text": "x"}, "a") for i in range(5)]
    chances = [0.5, 0.9, 0.1, 0.7, 0.3]
    predictions = [Prediction("a", scores={"a": p, "b": 1 - p}) for p in chances]
    best, worst = ranked_rows(spec_of(), examples, predictions, 2)
    assert [(row.index, row.score) for row in best] == [(1, 0.9), (3, 0.7)]
    assert [(row.index, row.score) for row in worst] == [(2, 0.1), (4, 0.3)]
    losses = [Prediction("", nats=n, utf8_bytes=1) for n in (5.0, 1.0, 3.0, 2.0, 4.0)]
    best, worst = ranked_rows(spec_of("generation", "bits_per_byte", "min"), examples, losses, 10)
    assert [row.index for row in best] == [1, 3]
    assert [row.index for row in worst] == [0, 4]
