"""Metrics of written answers, averaged over rows: exact match and token F1 of question answering, and ROUGE.

With several references a row counts its best one. A row is measured the Chinese way when the task's output is Chinese
or a reference holds a Chinese character, else the English way.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Sequence

import numpy as np

from autogpt.evaluation.metrics import Array, MeanOfRows, Unmeasured, answer_text, references_of
from autogpt.evaluation.metrics_labels import count_same_entities, label_set
from autogpt.evaluation.text_units import (
    Style,
    cmrc_segments,
    cmrc_strip,
    lcs_length,
    longest_shared_run,
    ngrams,
    rouge_tokens,
    squad_normalize,
    style_of,
)
from autogpt.tasks.spec import TaskSpec
from autogpt.types import Entity, Example, Prediction

__all__ = ["ExactMatch", "Rouge1", "Rouge2", "RougeL", "TokenF1", "require_text"]


def require_text(name: str, predictions: Sequence[Prediction]) -> None:
    """Raises Unmeasured when the predictions hold likelihoods alone and no text."""
    if all(p.nats is not None and not p.text and not p.target for p in predictions):
        raise Unmeasured(f"{name} needs written answers", found="likelihoods only")


class _BestReference(MeanOfRows):
    """A metric of one answer against one reference; the best reference of a row counts."""

    @abstractmethod
    def compare(self, answer: str, reference: str, style: Style) -> float:
        """0..1 for one answer and one reference."""

    def rows(self, predictions: Sequence[Prediction], examples: Sequence[Example], spec: TaskSpec) -> Array:
        require_text(self.name, predictions)
        values = []
        for prediction, example in zip(predictions, examples, strict=True):
            answer, references = answer_text(prediction), references_of(example)
            style = style_of(spec.output_language, references)
            values.append(max(self.compare(answer, reference, style) for reference in references))
        return np.stack([np.array(values, dtype=np.float64), np.ones(len(values))], axis=1)


class ExactMatch(_BestReference):
    """Share of answers equal to a reference.

    English: equal after the SQuAD script's normalisation. Chinese: equal after the CMRC 2018 script's punctuation
    removal. Label sets and entities: equal as sets (entities by type and offsets).
    """

    name = "exact_match"

    def rows(self, predictions: Sequence[Prediction], examples: Sequence[Example], spec: TaskSpec) -> Array:
        if any(isinstance(example.target, tuple) for example in examples):
            same = [_same_set(p, e) for p, e in zip(predictions, examples, strict=True)]
            return np.stack([np.array(same, dtype=np.float64), np.ones(len(same))], axis=1)
        return super().rows(predictions, examples, spec)

    def compare(self, answer: str, reference: str, style: Style) -> float:
        normal = cmrc_strip if style == "chinese" else squad_normalize
        return float(normal(answer) == normal(reference))


def _same_set(prediction: Prediction, example: Example) -> bool:
    answer, truth = prediction.target or (), example.target or ()
    if any(isinstance(part, Entity) for part in (*answer, *truth)):
        ours = [part for part in answer if isinstance(part, Entity)]
        theirs = [part for part in truth if isinstance(part, Entity)]
        return len(ours) == len(theirs) == count_same_entities(ours, theirs)
    return label_set(prediction.target) == label_set(example.target)


class TokenF1(_BestReference):
    """Mean F1 between answer and reference.

    English: bag of words after the SQuAD 2.0 script's normalisation (an empty side scores only against an empty one).
    Chinese: the CMRC 2018 script's definition, by the longest common contiguous run of its mixed segments (not a bag
    of characters, which gives higher numbers).
    """

    name = "token_f1"

    def compare(self, answer: str, reference: str, style: Style) -> float:
        if style == "chinese":
            ours, theirs = cmrc_segments(answer), cmrc_segments(reference)
            return _f1(longest_shared_run(ours, theirs), len(ours), len(theirs))
        words, true_words = squad_normalize(answer).split(), squad_normalize(reference).split()
        if not words or not true_words:
            return float(words == true_words)
        return _f1((Counter(words) & Counter(true_words)).total(), len(words), len(true_words))


def _f1(shared: int, found: int, true: int) -> float:
    return 2 * shared / (found + true) if shared else 0.0


class _Rouge(_BestReference):
    """F-measure of ROUGE as rouge-score computes it without stemming; Chinese by character (see `rouge_tokens`)."""

    order = 1

    def compare(self, answer: str, reference: str, style: Style) -> float:
        ours = ngrams(rouge_tokens(answer, style), self.order)
        theirs = ngrams(rouge_tokens(reference, style), self.order)
        return _f1((ours & theirs).total(), ours.total(), theirs.total())


class Rouge1(_Rouge):
    """Shared unigrams."""

    name = "rouge1"


class Rouge2(_Rouge):
    """Shared bigrams."""

    name = "rouge2"
    order = 2


class RougeL(_Rouge):
    """Longest common subsequence over the whole text (sentence-level ROUGE-L, not the summary-level ROUGE-Lsum)."""

    name = "rougeL"

    def compare(self, answer: str, reference: str, style: Style) -> float:
        ours, theirs = rouge_tokens(answer, style), rouge_tokens(reference, style)
        return _f1(lcs_length(theirs, ours), len(ours), len(theirs))
