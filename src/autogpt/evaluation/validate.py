"""The search's objective: the task's own metric on validation rows, by the same path that scores the test rows."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Sequence

import numpy as np

from autogpt.data.batching import encode_all
from autogpt.evaluation.calibration import fit_temperature
from autogpt.evaluation.metrics import Array, get_metric
from autogpt.generation.adaptive import AdaptationSettings
from autogpt.generation.adaptive_tuning import Tuned, tune
from autogpt.generation.engine import Engine
from autogpt.generation.predict import likelihoods, predict
from autogpt.generation.sampling import Sampling
from autogpt.tasks.spec import TaskKind, TaskSpec
from autogpt.tasks.templates import render
from autogpt.training.finish import Judgement
from autogpt.types import Example, Prediction

__all__ = ["Validator"]

_FEWEST_ROWS = 48
_PENALTIES = (1.0, 1.1, 1.2, 1.4)
_FEWEST_TUNING_ROWS = 16
_PROMPT_CHARACTERS = 40_000
_ROWS_WITHOUT_WRITING = 4
"""Rows that need no decoding are this many times cheaper, so as many more are scored."""


class Validator:
    """Scores a model on validation rows.

    Args:
        examples: the validation split.
        rows: most rows where text is written; the same ones for every trial.

    Attributes:
        seconds_per_row: that the last `judge` took; 0 before the first.
    """

    def __init__(self, spec: TaskSpec, examples: Sequence[Example], rows: int) -> None:
        writes = not (spec.kind is TaskKind.CLASSIFICATION or spec.is_likelihood_task)
        self.spec, self.writes = spec, writes
        self.seconds_per_row = 0.0
        # Splits keep the file's order, which may be sorted by label; the first rows must look like the rest.
        mixed = random.Random(0).sample(list(examples), len(examples))
        self.examples = tuple(mixed[: rows if writes else rows * _ROWS_WITHOUT_WRITING])

    def best_sampling(self, engine: Engine, sampling: Sampling, seconds: float = math.inf) -> tuple[Sampling, str]:
        """How this model's answers are best written, and why in words: greedy with the best repetition penalty.

        Small models run into loops that a penalty breaks; on structured answers too large a one hurts. Nothing is
        retrained. Where nothing is written, no penalty scores better, or `seconds` do not suffice for some rows, going
        by the last `judge`, `sampling` comes back.
        """
        if not self.writes:
            return sampling, "nothing is written to be scored"
        rows = self._rows(sampling.max_new_tokens)
        if self.seconds_per_row:
            rows = rows[: int(min(len(rows), seconds / len(_PENALTIES) / self.seconds_per_row))]
        if len(rows) < _FEWEST_TUNING_ROWS:
            return sampling, f"{sampling.repetition_penalty}: no time to try others on {_FEWEST_TUNING_ROWS} rows"
        scores: dict[float, float] = {}
        metric = get_metric(self.spec.metric)
        for penalty in _PENALTIES:
            tried = sampling.with_options({"repetition_penalty": penalty})
            found = predict(engine, self.spec, rows, tried, with_likelihood=False)
            scores[penalty] = float(metric.value(metric.rows(found, rows, self.spec).sum(0)))
        sign = 1 if self.spec.direction == "max" else -1
        best = max(scores, key=lambda penalty: (sign * scores[penalty], -penalty))
        told = ", ".join(f"{penalty}: {value:.4g}" for penalty, value in scores.items())
        return sampling.with_options({"repetition_penalty": best}), f"{best} of {told} on {len(rows)} validation rows"

    def best_temperature(self, engine: Engine) -> tuple[float, str]:
        """The temperature that makes label probabilities say how sure one can be, and why in words; else 1."""
        if self.spec.kind is not TaskKind.CLASSIFICATION:
            return 1.0, "only the probabilities of single labels are calibrated"
        scores = [prediction.scores for prediction in predict(engine, self.spec, self.examples)]
        fitted = round(fit_temperature(scores, [str(example.target) for example in self.examples]), 4)
        return fitted, f"{fitted:.3g} makes the labels of {len(scores)} validation rows most likely"

    def best_adaptation(
        self, engine: Engine, examples: Sequence[Example], seconds: float, default: AdaptationSettings
    ) -> Tuned:
        """How the model adapts best to `examples`, read in this order."""
        rendered = [render(self.spec, example, answer=True) for example in examples]
        return tune(engine, encode_all(engine.tokenizer, rendered, max_tokens=2**30), seconds, default)

    def judge(self, engine: Engine, max_new_tokens: int) -> Judgement:
        """The deciding metric, and the mean loss of the reference answers, on the same rows.

        Long prompts and long answers are read and written for fewer rows: the time goes into training.
        """
        rows = self._rows(max_new_tokens)
        began = time.perf_counter()
        predictions = predict(
            engine,
            self.spec,
            rows,
            Sampling(max_new_tokens=max_new_tokens),
            with_likelihood=not self.writes,
            with_text=self.writes,
        )
        metric = get_metric(self.spec.metric)
        table = metric.rows(predictions, rows, self.spec)
        losses = self._losses(engine, rows, predictions)
        nats, size = losses.sum(0)
        self.seconds_per_row = (time.perf_counter() - began) / max(1, len(rows))
        return Judgement(float(metric.value(table.sum(0))), float(nats / max(1.0, size)), table, losses)

    def _rows(self, max_new_tokens: int) -> Sequence[Example]:
        """The rows that are worth their time: all where nothing is written, else fewer the longer they are."""
        if not self.writes:
            return self.examples
        characters = sum(len(text) for example in self.examples for text in example.input.values())
        prompt = characters / max(1, len(self.examples))
        most = len(self.examples) * 32 // max(32, max_new_tokens)
        return self.examples[: max(_FEWEST_ROWS, min(most, int(_PROMPT_CHARACTERS / max(1.0, prompt))))]

    def _losses(self, engine: Engine, rows: Sequence[Example], predictions: Sequence[Prediction]) -> Array:
        """Of each row: nats and 1 (the label) for classification, nats and UTF-8 bytes of the answer otherwise."""
        if self.spec.kind is TaskKind.CLASSIFICATION:
            likely = [p.scores.get(str(e.target), 0.0) for p, e in zip(predictions, rows, strict=True)]
            return np.array([(-math.log(max(value, 1e-9)), 1.0) for value in likely])
        measured = [(p.nats, p.utf8_bytes) for p in predictions if p.nats is not None and p.utf8_bytes is not None]
        return np.array(measured or list(likelihoods(engine, self.spec, rows)), dtype=float).reshape(-1, 2)
