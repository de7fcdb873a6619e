"""Metrics whose value is not a mean over rows: BLEU and chrF (statistics by sacrebleu) and bits per byte."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from autogpt.evaluation.metrics import Array, Unmeasured, answer_text, ratio, references_of
from autogpt.evaluation.metrics_text import require_text
from autogpt.tasks.spec import TaskSpec
from autogpt.types import Example, Prediction

__all__ = ["BitsPerByte", "Bleu", "Chrf"]


def _statistics(scorer: Any, predictions: Sequence[Prediction], examples: Sequence[Example]) -> Array:
    """sacrebleu's own per-segment statistics; a row with fewer references than others is padded with None."""
    references = [references_of(example) for example in examples]
    most = max(len(row) for row in references)
    streams = [[row[i] if i < len(row) else None for row in references] for i in range(most)]
    answers = [answer_text(prediction) for prediction in predictions]
    # sacrebleu has no public way to get segment statistics; a test holds this to its public corpus_score at 1e-9.
    return np.array(scorer._extract_corpus_statistics(answers, streams), dtype=np.float64)


class Bleu:
    """Corpus BLEU-4 of sacrebleu 2 (exponential smoothing), 0..100.

    Tokenizer `zh` when the output is Chinese or mixed (Chinese characters apart, the rest as 13a), else `13a`.
    """

    name = "bleu"
    higher_is_better = True

    def rows(self, predictions: Sequence[Prediction], examples: Sequence[Example], spec: TaskSpec) -> Array:
        from sacrebleu.metrics.bleu import BLEU

        require_text(self.name, predictions)
        tokenizer = "zh" if spec.output_language in ("zh", "mixed") else "13a"
        return _statistics(BLEU(tokenize=tokenizer, force=True), predictions, examples)

    def value(self, sums: Array) -> Array:
        length, reference_length = sums[..., 0], sums[..., 1]
        correct, total = sums[..., 2:6], sums[..., 6:10]
        # Exponential smoothing: the m-th order without a match counts 1 / 2^m matches.
        smoothed = np.where(correct > 0, correct, 0.5 ** np.cumsum(correct == 0, axis=-1))
        precisions = ratio(smoothed, total)
        usable = np.asarray((total > 0).all(-1) & (correct > 0).any(-1))
        logs = np.log(np.where(usable[..., None], precisions, 1.0)).mean(-1)
        short = np.minimum(0.0, 1.0 - ratio(reference_length, length, empty=math.inf))
        return np.where(usable, 100.0 * np.exp(logs + short), 0.0)


class Chrf:
    """Corpus chrF2 of sacrebleu 2 (character 1- to 6-grams, no word n-grams, beta 2, no white space), 0..100.

    Needs no segmentation, so it suits Chinese. With several references a row counts the one it matches best.
    """

    name = "chrf"
    higher_is_better = True
    _beta_squared = 4.0

    def rows(self, predictions: Sequence[Prediction], examples: Sequence[Example], spec: TaskSpec) -> Array:
        from sacrebleu.metrics.chrf import CHRF

        require_text(self.name, predictions)
        return _statistics(CHRF(), predictions, examples)

    def value(self, sums: Array) -> Array:
        found, true, shared = np.moveaxis(sums.reshape(*sums.shape[:-1], -1, 3), -1, 0)
        counted = (found > 0) & (true > 0)
        orders = counted.sum(-1).astype(np.float64)
        precision = ratio(np.where(counted, ratio(shared, found), 0.0).sum(-1), orders)
        recall = ratio(np.where(counted, ratio(shared, true), 0.0).sum(-1), orders)
        above = (1 + self._beta_squared) * precision * recall
        return 100.0 * ratio(above, self._beta_squared * precision + recall)


class BitsPerByte:
    """Negative log-likelihood of the reference answers in bits, divided by their UTF-8 bytes; less is better.

    Comparable across tokenizers. Bits and bytes are summed over rows before dividing, so long rows count more.
    """

    name = "bits_per_byte"
    higher_is_better = False

    def rows(self, predictions: Sequence[Prediction], examples: Sequence[Example], spec: TaskSpec) -> Array:
        pairs = [(p.nats, p.utf8_bytes) for p in predictions if p.nats is not None and p.utf8_bytes is not None]
        if len(pairs) < len(predictions):
            raise Unmeasured("bits_per_byte needs the likelihood of every row's reference answer")
        rows = np.array(pairs, dtype=np.float64).reshape(-1, 2)
        rows[:, 0] /= math.log(2)
        return rows

    def value(self, sums: Array) -> Array:
        return ratio(sums[..., 0], sums[..., 1])
