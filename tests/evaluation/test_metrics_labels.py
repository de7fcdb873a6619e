from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score

from autogpt.evaluation.metrics import Unmeasured, get_metric
from autogpt.registry import METRICS
from autogpt.tasks.spec import METRICS_OF_KIND, TaskSpec
from autogpt.types import Entity, Example, Prediction


def spec_of(kind: str = "classification", labels: tuple[str, ...] = (), metric: str = "accuracy") -> TaskSpec:
    return TaskSpec(
        description="sort",
        kind=kind,
        input_fields=["text"],
        output_field="label",
        labels=list(labels),
        metric=metric,
        direction="max",
    )


def whole(name: str, spec: TaskSpec, examples: list[Example], predictions: list[Prediction]) -> float:
    measure = get_metric(name)
    return float(measure.value(measure.rows(predictions, examples, spec).sum(0)))


def random_labels(n: int, seed: int) -> tuple[tuple[str, ...], list[str], list[str]]:
    rng = np.random.default_rng(seed)
    labels = tuple("abcde")
    truth = [labels[i] for i in rng.choice(4, size=n, p=[0.6, 0.2, 0.15, 0.05])]
    answers = [t if rng.random() < 0.6 else labels[rng.integers(5)] for t in truth]
    return labels, truth, answers


@pytest.mark.parametrize("seed", range(4))
def test_accuracy_and_macro_f1_equal_sklearn(seed: int) -> None:
    labels, truth, answers = random_labels(60, seed)
    examples = [Example(str(i), {"text": "x"}, t) for i, t in enumerate(truth)]
    predictions = [Prediction(a) for a in answers]
    spec = spec_of(labels=labels)
    assert whole("accuracy", spec, examples, predictions) == pytest.approx(accuracy_score(truth, answers), abs=1e-12)
    expected = f1_score(truth, answers, average="macro", zero_division=0)
    assert whole("macro_f1", spec, examples, predictions) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_micro_f1_and_subset_accuracy_equal_sklearn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth, answers = rng.random((50, 6)) < 0.3, rng.random((50, 6)) < 0.3
    answers |= truth & (rng.random((50, 6)) < 0.7)
    names = [f"l{i}" for i in range(6)]

    def sets(table: np.ndarray) -> list[tuple[str, ...]]:
        return [tuple(name for name, on in zip(names, row, strict=True) if on) for row in table]

    examples = [Example(str(i), {"text": "x"}, t) for i, t in enumerate(sets(truth))]
    predictions = [Prediction(a) for a in sets(answers)]
    spec = spec_of("multi_label", tuple(names), "micro_f1")
    expected = f1_score(truth, answers, average="micro")
    assert whole("micro_f1", spec, examples, predictions) == pytest.approx(expected, abs=1e-12)
    assert whole("exact_match", spec, examples, predictions) == pytest.approx(accuracy_score(truth, answers), abs=1e-12)


def test_a_predicted_word_that_is_no_label_is_a_miss() -> None:
    examples = [Example("1", {}, "a"), Example("2", {}, "b")]
    predictions = [Prediction("banana"), Prediction("b")]
    assert whole("macro_f1", spec_of(labels=("a", "b")), examples, predictions) == pytest.approx(0.5)


def entity(kind: str, text: str, start: int) -> Entity:
    return Entity(kind, text, start, start + len(text) if start >= 0 else -1)


def test_entity_f1_by_hand() -> None:
    spec = spec_of("extraction", ("PER", "ORG"), "entity_f1")
    truth = [(entity("PER", "Ann", 0), entity("ORG", "Acme", 10)), (entity("PER", "Bo", 3),), ()]
    answers = [
        (entity("PER", "Ann", 0), entity("PER", "Acme", 10)),  # one right, one of the wrong type
        (entity("PER", "Bo", 7),),  # the right text at the wrong place
        (),
    ]
    examples = [Example(str(i), {"text": "x"}, t) for i, t in enumerate(truth)]
    predictions = [Prediction(a) for a in answers]
    assert whole("entity_f1", spec, examples, predictions) == pytest.approx(2 * 1 / (3 + 3))
    measure = get_metric("entity_f1")
    np.testing.assert_allclose(measure.value(measure.rows(predictions, examples, spec)), [0.5, 0.0, 1.0])


def test_entities_without_offsets_are_matched_by_text_once() -> None:
    spec = spec_of("extraction", ("PER",), "entity_f1")
    truth = (entity("PER", "Ann", 0), entity("PER", "Ann", 9))
    twice, thrice = (entity("PER", "Ann", -1),) * 2, (entity("PER", "Ann", -1),) * 3
    example = [Example("1", {"text": "Ann and Ann"}, truth)]
    assert whole("entity_f1", spec, example, [Prediction(twice)]) == 1.0
    assert whole("entity_f1", spec, example, [Prediction(thrice)]) == pytest.approx(2 * 2 / 5)
    assert whole("exact_match", spec, example, [Prediction(twice)]) == 1.0
    assert whole("exact_match", spec, example, [Prediction(thrice)]) == 0.0


def test_preference_accuracy_counts_ties_half() -> None:
    spec = spec_of("preference", metric="preference_accuracy")
    examples = [Example(str(i), {"prompt": "x"}, "good", rejected="bad") for i in range(3)]
    scores = [{"chosen": 2.0, "rejected": 1.0}, {"chosen": 1.0, "rejected": 1.0}, {"chosen": 0.0, "rejected": 1.0}]
    assert whole("preference_accuracy", spec, examples, [Prediction("", scores=s) for s in scores]) == 0.5
    with pytest.raises(Unmeasured):
        whole("preference_accuracy", spec, examples, [Prediction("good")] * 3)


def test_every_metric_of_every_kind_is_registered_under_its_own_name() -> None:
    names = {name for kind in METRICS_OF_KIND.values() for name in kind}
    assert names <= set(METRICS)
    assert all(get_metric(name).name == name for name in METRICS)
