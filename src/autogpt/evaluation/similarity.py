"""TF-IDF features and what is built on them: nearest neighbours and logistic regression. scikit-learn, bounded cost."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autogpt.evaluation.metrics import Array

__all__ = ["TextFeatures", "fit_logistic", "nearest", "softmax_scores"]

_CHARACTER_BUDGET = 2_400_000  # of Latin text; Chinese has more n-grams to a character
_SHORTEST_CUT = 120
_MOST_FEATURES = 120_000
_STEP_BUDGET = 2e9  # non-zero features x classes x steps: some seconds on one core
_DEFAULT_C = 10.0
_CANDIDATE_C = (1.0, 10.0, 100.0)


@dataclass(frozen=True, slots=True)
class TextFeatures:
    """TF-IDF of training and test texts in one space; rows have length 1.

    Attributes:
        train, rows: sparse matrices [texts, features].
        cut_chars: characters of each text that were read; None when all were.
    """

    train: Any
    rows: Any
    cut_chars: int | None

    @classmethod
    def fit(cls, train: Sequence[str], rows: Sequence[str], *, chinese: bool) -> TextFeatures:
        """Character 1- to 4-grams for Chinese; words 1-2 and, within words, characters 2-4 otherwise.

        Vocabulary and weights come from the training texts alone. Long texts are cut to their beginning so that the
        whole stays within a fixed number of characters, hence of seconds.
        """
        from scipy.sparse import hstack  # type: ignore[import-untyped]
        from sklearn.feature_extraction.text import TfidfVectorizer

        total = sum(map(len, train)) + sum(map(len, rows))
        budget = _CHARACTER_BUDGET // 2 if chinese else _CHARACTER_BUDGET
        cut = None if total <= budget else max(_SHORTEST_CUT, budget // (len(train) + len(rows)))
        train, rows = [text[:cut] for text in train], [text[:cut] for text in rows]
        common = {"sublinear_tf": True, "min_df": 2 if len(train) >= 200 else 1, "dtype": np.float32}
        if chinese:
            makers = [TfidfVectorizer(analyzer="char", ngram_range=(1, 4), max_features=_MOST_FEATURES, **common)]
        else:
            words = {"token_pattern": r"(?u)\b\w+\b|[^\w\s]", "max_features": _MOST_FEATURES // 2}
            makers = [
                TfidfVectorizer(ngram_range=(1, 2), **words, **common),
                TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), max_features=_MOST_FEATURES // 2, **common),
            ]
        scale = np.float32(1 / np.sqrt(len(makers)))
        try:
            fitted = [maker.fit_transform(train) * scale for maker in makers]
        except ValueError:  # no n-gram occurs twice, or every text is empty: fall back to single characters
            makers = [TfidfVectorizer(analyzer=_characters, dtype=np.float32)]
            fitted, scale = [makers[0].fit_transform(train)], np.float32(1)
        seen = [maker.transform(rows) * scale for maker in makers]
        return cls(hstack(fitted, format="csr"), hstack(seen, format="csr"), cut)


def _characters(text: str) -> list[str]:
    return list(text) or [""]


def nearest(features: TextFeatures) -> list[int]:
    """For each test row the index of the training text with the highest cosine; the first of those that tie."""
    best: list[int] = []
    transposed = features.train.T.tocsr()
    for start in range(0, features.rows.shape[0], 256):
        best += (features.rows[start : start + 256] @ transposed).toarray().argmax(1).tolist()
    return best


def fit_logistic(train: Any, targets: Sequence[int], rows: Any) -> Array:
    """Class probabilities [rows, classes] of a logistic regression (multinomial, L2) on sparse features.

    Classes are 0..max; those that do not occur in `targets` get probability 0. The penalty is chosen on a held-out
    seventh of the training rows where that is cheap (few classes); the number of steps is bounded by the cost of one.
    """
    y = np.array(targets)
    probabilities = np.zeros((rows.shape[0], int(y.max()) + 1))
    if len(set(targets)) == 1:
        probabilities[:, y[0]] = 1.0
        return probabilities
    cost = train.nnz * len(set(targets))
    steps = int(np.clip(_STEP_BUDGET / cost, 25, 60))
    strength = _DEFAULT_C
    held = np.arange(len(y)) % 7 == 3
    if cost * 60 * len(_CANDIDATE_C) < _STEP_BUDGET / 4 and held.sum() >= 20 and len(set(y[~held].tolist())) > 1:
        fits = {c: _logistic(train[~held], y[~held], c, steps).score(train[held], y[held]) for c in _CANDIDATE_C}
        strength = max(fits, key=lambda c: fits[c])
    model = _logistic(train, y, strength, steps)
    probabilities[:, model.classes_] = model.predict_proba(rows)
    return probabilities


def _logistic(features: Any, targets: NDArray[np.int64], strength: float, steps: int) -> Any:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        # A bounded number of steps is the intention; the scores barely move afterwards.
        warnings.simplefilter("ignore", ConvergenceWarning)
        # SAGA (Defazio et al. 2014): of scipy's L-BFGS most of the time is its own vector work, 37 s on ten classes of
        # 7,200 titles where this takes one, with the same accuracy.
        model = LogisticRegression(C=strength, solver="saga", tol=1e-3, max_iter=steps, random_state=0)
        return model.fit(features, targets)


def softmax_scores(labels: Sequence[str], row: Array) -> dict[str, float]:
    """Label → probability, plain floats."""
    return dict(zip(labels, row.tolist(), strict=True))
