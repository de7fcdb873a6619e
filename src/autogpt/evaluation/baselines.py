"""The ladder: what simple methods reach on the same rows, so that a report can say whether a GPT is worth it.

Each kind of task has at least one trivial rung (no learning worth the name) and, where one is known, a cheap learned
one. The untuned base model is a rung too, but it is added by whoever owns models. Everything here runs in seconds on
one core; where a long training set is cut for that, the rung's note says so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from autogpt.evaluation.baselines_text import text_rungs
from autogpt.evaluation.baselines_types import Baseline, input_text, is_chinese
from autogpt.evaluation.lexicon import EntityLexicon
from autogpt.evaluation.metrics_labels import label_set
from autogpt.evaluation.ngram import Coded, NGram, code
from autogpt.evaluation.similarity import TextFeatures, fit_logistic, nearest, softmax_scores
from autogpt.tasks.spec import TaskKind, TaskSpec
from autogpt.tasks.templates import render
from autogpt.types import Example, Prediction

__all__ = ["Baseline", "ladder"]

_NGRAM_BYTES = 4_000_000
_LONG_ORDER, _SHORT_ORDER, _LONG_ORDER_BYTES = 12, 9, 1_500_000

Rungs = list[Baseline]


def ladder(spec: TaskSpec, train: Sequence[Example], rows: Sequence[Example]) -> list[Baseline]:
    """Predictions of every simple method for `rows`, learned from `train` alone.

    The kind decides, except where the metric is a likelihood: then the rungs are byte n-gram models, which are scored
    on the same answer bytes (and ends of answers) as a model. Trivial rungs come first.

    Raises ValueError when either set is empty.
    """
    if not train or not rows:
        raise ValueError("the ladder needs training rows and rows to answer")
    rungs = _rungs_of(spec)(spec, train, rows)
    return sorted(rungs, key=lambda rung: not rung.trivial)


def _rungs_of(spec: TaskSpec) -> Callable[[TaskSpec, Sequence[Example], Sequence[Example]], Rungs]:
    if spec.metric == "bits_per_byte":
        return _likelihood
    by_kind = {
        TaskKind.CLASSIFICATION: _classification,
        TaskKind.MULTI_LABEL: _multi_label,
        TaskKind.EXTRACTION: _extraction,
        TaskKind.PREFERENCE: _preference,
    }
    return by_kind.get(spec.kind, text_rungs)


def _classification(spec: TaskSpec, train: Sequence[Example], rows: Sequence[Example]) -> Rungs:
    counts = Counter(str(example.target) for example in train)
    labels = sorted(counts, key=lambda label: (-counts[label], label))
    shares = {label: counts[label] / len(train) for label in labels}
    majority = [Prediction(labels[0], labels[0], shares)] * len(rows)

    features = _features(spec, train, rows)
    near = [str(train[i].target) for i in nearest(features)]
    code_of = {label: i for i, label in enumerate(labels)}
    probabilities = fit_logistic(features.train, [code_of[str(e.target)] for e in train], features.rows)
    learned = []
    for row in probabilities:
        label = labels[int(row.argmax())]
        learned.append(Prediction(label, label, softmax_scores(labels, row)))
    return [
        Baseline("majority", True, majority, f"always {labels[0]!r}"),
        Baseline("nearest neighbour", False, [Prediction(label, label) for label in near], _note(features)),
        Baseline("TF-IDF + logistic regression", False, learned, _note(features)),
    ]


def _multi_label(spec: TaskSpec, train: Sequence[Example], rows: Sequence[Example]) -> Rungs:
    sets = [label_set(example.target) for example in train]
    usual = min(Counter(sets).items(), key=lambda item: (-item[1], sorted(item[0])))[0]
    labels = sorted(frozenset().union(*sets))
    features = _features(spec, train, rows)
    near = [sets[i] for i in nearest(features)]
    columns = [fit_logistic(features.train, [int(label in s) for s in sets], features.rows) for label in labels]
    # A label that every row has leaves one class, the second; fit_logistic then returns it with probability 1.
    scores = np.stack([column[:, 1] if column.shape[1] == 2 else np.zeros(len(rows)) for column in columns], axis=1)
    never_empty = all(sets)
    learned = []
    for row in scores:
        chosen = {labels[i] for i in np.flatnonzero(row >= 0.5)}
        if never_empty and not chosen:
            chosen = {labels[int(row.argmax())]}
        learned.append(_label_prediction(chosen, softmax_scores(labels, row)))
    return [
        Baseline("most frequent set", True, [_label_prediction(usual)] * len(rows), f"always {sorted(usual)}"),
        Baseline("nearest neighbour", False, [_label_prediction(s) for s in near], _note(features)),
        Baseline("TF-IDF + logistic regression", False, learned, _note(features)),
    ]


def _label_prediction(labels: frozenset[str] | set[str], scores: dict[str, float] | None = None) -> Prediction:
    ordered = tuple(sorted(labels))
    return Prediction(ordered, ", ".join(ordered), scores or {})


def _extraction(spec: TaskSpec, train: Sequence[Example], rows: Sequence[Example]) -> Rungs:
    lexicon = EntityLexicon(train)
    found = [lexicon.find(example) for example in rows]
    return [
        Baseline("nothing found", True, [Prediction(())] * len(rows)),
        Baseline("dictionary", False, [Prediction(entities) for entities in found], f"{len(lexicon)} known entities"),
    ]


def _preference(spec: TaskSpec, train: Sequence[Example], rows: Sequence[Example]) -> Rungs:
    chosen, rejected = [str(e.target or "") for e in rows], [e.rejected or "" for e in rows]
    longer = [_choice(c, r, float(len(c)), float(len(r))) for c, r in zip(chosen, rejected, strict=True)]
    rungs = [Baseline("longer answer", True, longer)]

    known, other = [str(e.target or "") for e in train], [e.rejected or "" for e in train]
    features = TextFeatures.fit(known + other, chosen + rejected, chinese=is_chinese(spec.output_language, known))
    half = len(train)
    gaps = features.train[:half] - features.train[half:]
    signs = np.where(np.arange(half) % 2 == 0, 1, -1)  # half of the pairs turned round, so that there are two classes
    flipped = gaps.multiply(signs[:, None]).tocsr()
    test_gaps = features.rows[: len(rows)] - features.rows[len(rows) :]
    if half >= 2:
        likely = fit_logistic(flipped, (signs > 0).astype(int).tolist(), test_gaps)[:, 1]
        learned = [_choice(c, r, p, 1 - p) for c, r, p in zip(chosen, rejected, likely.tolist(), strict=True)]
        rungs.append(Baseline("TF-IDF + logistic regression", False, learned, _note(features)))
    return rungs


def _choice(chosen: str, rejected: str, score: float, other: float) -> Prediction:
    text = chosen if score >= other else rejected
    return Prediction(text, text, {"chosen": score, "rejected": other})


def _likelihood(spec: TaskSpec, train: Sequence[Example], rows: Sequence[Example]) -> Rungs:
    coded, size = [], 0
    for example in train:
        coded.append(code(render(spec, example, answer=True)))
        size += len(coded[-1].symbols)
        if size >= _NGRAM_BYTES:
            break
    asked = [code(render(spec, example, answer=True)) for example in rows]
    order = _LONG_ORDER if size <= _LONG_ORDER_BYTES else _SHORT_ORDER
    cut = f"; fitted on the first {len(coded)} of {len(train)} rows" if len(coded) < len(train) else ""
    return [
        Baseline("byte frequencies", True, _ngram_predictions(coded, asked, 1), "bytes without context" + cut),
        Baseline(f"byte {order}-gram", False, _ngram_predictions(coded, asked, order), "interpolated Kneser-Ney" + cut),
    ]


def _ngram_predictions(train: Sequence[Coded], rows: Sequence[Coded], order: int) -> list[Prediction]:
    nats = NGram(train, order=order).nats(rows).tolist()
    return [Prediction("", nats=value, utf8_bytes=row.utf8_bytes) for value, row in zip(nats, rows, strict=True)]


def _features(spec: TaskSpec, train: Sequence[Example], rows: Sequence[Example]) -> TextFeatures:
    texts = [input_text(example) for example in train]
    return TextFeatures.fit(texts, [input_text(e) for e in rows], chinese=is_chinese(spec.input_language, texts))


def _note(features: TextFeatures) -> str:
    return f"first {features.cut_chars} characters of each text" if features.cut_chars else ""
