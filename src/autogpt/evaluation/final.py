"""The one look at the test split: the model, the ladder of baselines and the untuned base on the same rows."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from autogpt.evaluation.baselines import ladder
from autogpt.evaluation.calibration import calibration_note, tempered
from autogpt.evaluation.evaluate import Comparison, paired_test, score
from autogpt.generation.engine import Engine
from autogpt.generation.predict import predict
from autogpt.generation.sampling import Sampling
from autogpt.tasks.spec import TaskKind, TaskSpec
from autogpt.types import Example, Prediction, Scores

__all__ = ["ExamLimits", "Examination", "Rung", "UntunedBase", "examine"]

_CHUNK_ROWS, _FEWEST_BASE_ROWS = 8, 16


@dataclass(frozen=True, slots=True)
class Rung:
    """A baseline of the ladder with its scores and how the model compares (positive: the model is better)."""

    name: str
    trivial: bool
    scores: Scores
    comparison: Comparison
    note: str = ""


@dataclass(frozen=True, slots=True)
class UntunedBase:
    """A pretrained model before any training, to be read once: `load` is called only when there is time for it."""

    name: str
    load: Callable[[], Engine]
    rows: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Examination:
    """What the test rows say.

    Attributes:
        examples, predictions: the rows that were scored and the model's answers.
        rows_sealed: how many the test split holds; more than `examples` when time was short.
    """

    examples: tuple[Example, ...]
    predictions: tuple[Prediction, ...]
    scores: Scores
    ladder: tuple[Rung, ...]
    rows_sealed: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ExamLimits:
    """What the remaining time allows: rows, how answers are written, and resamples of an interval."""

    rows: int
    sampling: Sampling
    resamples: int = 2000


def _answers(engine: Engine, spec: TaskSpec, examples: Sequence[Example], sampling: Sampling) -> tuple[Prediction, ...]:
    writes = spec.kind is not TaskKind.GENERATION
    return tuple(predict(engine, spec, examples, sampling, with_text=writes))


def _base_rungs(
    base: UntunedBase, spec: TaskSpec, examples: Sequence[Example], model: Sequence[Prediction], max_new_tokens: int
) -> list[Rung]:
    """The untuned base as it writes by itself and, where answers are spans, held to spans as the model is."""
    engine = base.load()
    rungs = [(f"untuned {base.name}", spec)]
    if spec.answer_is_span:
        free = spec.model_copy(update={"answer_is_span": False})
        rungs = [(f"untuned {base.name}", free), (f"untuned {base.name}, held to spans", spec)]
    result = []
    for name, told in rungs:
        answers = _within(base.seconds / len(rungs), engine, told, examples[: base.rows], max_new_tokens)
        rows, own = examples[: len(answers)], model[: len(answers)]
        note = f"zero-shot with the same prompts, first {len(answers)} of {len(examples)} rows"
        result.append(Rung(name, False, score(spec, rows, answers), paired_test(spec, rows, own, answers), note))
    return result


def _within(
    seconds: float, engine: Engine, spec: TaskSpec, examples: Sequence[Example], max_new_tokens: int
) -> list[Prediction]:
    """Answers to as many of `examples` as the time allows, to a few in any case."""
    began = time.perf_counter()
    writes = not spec.is_likelihood_task  # where the likelihood decides, nobody needs to read what the base would write
    answers: list[Prediction] = []
    chunk_s = 0.0
    while len(answers) < len(examples):
        if len(answers) >= _FEWEST_BASE_ROWS and time.perf_counter() - began + chunk_s > seconds:
            break
        chunk_began = time.perf_counter()
        chunk = examples[len(answers) : len(answers) + _CHUNK_ROWS]
        answers += predict(engine, spec, chunk, Sampling(max_new_tokens=max_new_tokens), with_text=writes)
        chunk_s = time.perf_counter() - chunk_began
    return answers


def examine(
    engine: Engine,
    spec: TaskSpec,
    train: Sequence[Example],
    test: Sequence[Example],
    *,
    limits: ExamLimits,
    bases: Sequence[UntunedBase] = (),
    temperature: float = 1.0,
) -> Examination:
    """Score the model once on the test rows, and everything it has to beat on the same ones.

    Args:
        train: what the baselines learn from.
        test: the sealed rows, just opened.
        bases: untuned bases, where there are any.
        temperature: of the model's label probabilities, as it was fitted on validation rows.
    """
    # In the file's order rows may be sorted by label; whoever answers only the first ones must meet all of them.
    rows = tuple(random.Random(0).sample(list(test), len(test))[: limits.rows])
    notes = []
    if len(rows) < len(test):
        notes.append(f"evaluated on {len(rows)} of {len(test)} test rows: the budget allows no more")
    told = _answers(engine, spec, rows, limits.sampling)
    predictions = tuple(tempered(told, temperature))
    if spec.kind is TaskKind.CLASSIFICATION and (note := calibration_note(rows, told, predictions)):
        notes.append(note)
    rungs = [
        Rung(
            baseline.name,
            baseline.trivial,
            score(spec, rows, baseline.predictions, resamples=limits.resamples),
            paired_test(spec, rows, predictions, baseline.predictions),
            baseline.note,
        )
        for baseline in ladder(spec, train, rows)
    ]
    for base in bases:
        rungs += _base_rungs(base, spec, rows, predictions, limits.sampling.max_new_tokens)
    if not bases:
        notes.append("no untuned base was at hand: autogpt models pull smollm2-135m")
    scores = score(spec, rows, predictions, resamples=limits.resamples)
    return Examination(rows, predictions, scores, tuple(rungs), len(test), tuple(notes))
