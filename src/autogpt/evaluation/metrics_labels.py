"""Metrics that compare parsed answers: labels, label sets, entities, preferences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from autogpt.evaluation.metrics import Array, MeanOfRows, Unmeasured, ratio
from autogpt.tasks.spec import TaskSpec
from autogpt.types import Entity, Example, Prediction, Target

__all__ = ["Accuracy", "EntityF1", "MacroF1", "MicroF1", "PreferenceAccuracy", "count_same_entities", "label_set"]


def label_set(target: Target | None) -> frozenset[str]:
    """A target as a set of labels: a single label is a set of one, an empty answer the empty set."""
    if target is None or target == "":
        return frozenset()
    if isinstance(target, str):
        return frozenset((target,))
    return frozenset(part.text if isinstance(part, Entity) else part for part in target)


class Accuracy(MeanOfRows):
    """Share of rows whose answer equals the target; label sets are compared as sets, text after stripping spaces."""

    name = "accuracy"

    def rows(self, predictions: Sequence[Prediction], examples: Sequence[Example], spec: TaskSpec) -> Array:
        right = [_same(p.target, e) for p, e in zip(predictions, examples, strict=True)]
        return np.stack([np.array(right, dtype=np.float64), np.ones(len(right))], axis=1)


def _same(answer: Target, example: Example) -> bool:
    if isinstance(answer, str) and isinstance(example.target, str):
        return answer.strip() in {example.target.strip(), *(r.strip() for r in example.references)}
    return label_set(answer) == label_set(example.target)


class MacroF1:
    """Mean F1 over labels, each label equal, as scikit-learn's `f1_score(average="macro")`.

    Statistics are (true positives, predicted, true) of each label in `spec.labels` or among the targets. Labels that
    neither occur nor are predicted in the rows at hand are left out of the mean. A predicted word that is no label
    counts as a miss, not as a class of its own.
    """

    name = "macro_f1"
    higher_is_better = True

    def rows(self, predictions: Sequence[Prediction], examples: Sequence[Example], spec: TaskSpec) -> Array:
        truths = [label_set(example.target) for example in examples]
        labels = sorted(set(spec.labels).union(*truths))
        column = {label: i for i, label in enumerate(labels)}
        counts = np.zeros((len(examples), 3, len(labels)))
        for row, (prediction, truth) in enumerate(zip(predictions, truths, strict=True)):
            answer = label_set(prediction.target)
            for kind, found in enumerate((answer & truth, answer, truth)):
                counts[row, kind, [column[label] for label in found if label in column]] = 1
        return counts.reshape(len(examples), -1)

    def value(self, sums: Array) -> Array:
        same, answered, true = np.moveaxis(sums.reshape(*sums.shape[:-1], 3, -1), -2, 0)
        present = answered + true > 0
        return ratio(ratio(2 * same, answered + true).sum(-1), present.sum(-1).astype(np.float64))


class _F1OfCounts:
    """F1 of summed (found and true, found, true); 1 when there is nothing to find and nothing was found."""

    higher_is_better = True

    def value(self, sums: Array) -> Array:
        return ratio(2 * sums[..., 0], sums[..., 1] + sums[..., 2], empty=1.0)


class MicroF1(_F1OfCounts):
    """F1 over all (row, label) pairs of a multi-label task, as scikit-learn's `f1_score(average="micro")`."""

    name = "micro_f1"

    def rows(self, predictions: Sequence[Prediction], examples: Sequence[Example], spec: TaskSpec) -> Array:
        pairs = [(label_set(p.target), label_set(e.target)) for p, e in zip(predictions, examples, strict=True)]
        return np.array([(len(a & t), len(a), len(t)) for a, t in pairs], dtype=np.float64).reshape(-1, 3)


class EntityF1(_F1OfCounts):
    """Micro F1 over entities: an entity is right when its type and both offsets are (as in CoNLL 2003).

    Entities are counted as a multiset. Where one side has no offsets (`start` below 0, a text that could not be
    located), type and text decide instead, each true entity used once.
    """

    name = "entity_f1"

    def rows(self, predictions: Sequence[Prediction], examples: Sequence[Example], spec: TaskSpec) -> Array:
        counts = []
        for prediction, example in zip(predictions, examples, strict=True):
            answer, truth = _entities(prediction.target), _entities(example.target)
            counts.append((count_same_entities(answer, truth), len(answer), len(truth)))
        return np.array(counts, dtype=np.float64).reshape(-1, 3)


def _entities(target: Target | None) -> list[Entity]:
    return [part for part in target or () if isinstance(part, Entity)]


def count_same_entities(answer: Sequence[Entity], truth: Sequence[Entity]) -> int:
    """How many entities of `answer` are in `truth` (see EntityF1)."""
    exact = Counter((e.type, e.start, e.end) for e in truth if e.start >= 0)
    left = list(truth)
    same, unlocated = 0, []
    for entity in answer:
        key = (entity.type, entity.start, entity.end)
        if exact[key] > 0:
            exact[key] -= 1
            left.remove(next(e for e in left if (e.type, e.start, e.end) == key))
            same += 1
        else:
            unlocated.append(entity)
    for entity in unlocated:
        for other in left:
            if (entity.start < 0 or other.start < 0) and (entity.type, entity.text) == (other.type, other.text):
                left.remove(other)
                same += 1
                break
    return same


class PreferenceAccuracy(MeanOfRows):
    """Share of pairs whose chosen answer has the higher score; a tie counts half."""

    name = "preference_accuracy"

    def rows(self, predictions: Sequence[Prediction], examples: Sequence[Example], spec: TaskSpec) -> Array:
        if any("chosen" not in p.scores or "rejected" not in p.scores for p in predictions):
            raise Unmeasured("preference_accuracy needs the scores of the chosen and the rejected answer of every row")
        gaps = np.array([p.scores["chosen"] - p.scores["rejected"] for p in predictions], dtype=np.float64)
        return np.stack([(np.sign(gaps) + 1) / 2, np.ones(len(gaps))], axis=1)
