"""Rows of a latent-variable model: one document or one window of it each, and a first guess of which belong together.

Shapes: B rows, T tokens; N rows of a data set, M components.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from autogpt.data.batching import Batch, Batches, BatchPlan, Encoded
from autogpt.data.mixing import windows

__all__ = ["LatentBatch", "LatentBatches", "answer_clusters"]

_FEATURES, _DIRECTIONS, _ROUNDS = 2**14, 32, 10
_MOST_CLUSTERED = 20_000
"""Rows that are clustered with equal sizes; of a larger data set an even sample, and the others join the nearest."""


@dataclass(frozen=True, slots=True, eq=False)
class LatentBatch(Batch):
    """A batch that knows which tokens are the answer, and where its rows start.

    Attributes:
        answers_BT: whether a token belongs to an answer: to y of p(y|x), not to x.
        cluster_B: component that a row is given to at first; -1 for none.
    """

    answers_BT: torch.Tensor
    cluster_B: torch.Tensor

    def rows(self, first: int, last: int) -> LatentBatch:
        """Rows `first` up to, not including, `last`, at the same width."""
        return _latent(Batch.rows(self, first, last), self.answers_BT[first:last], self.cluster_B[first:last])

    def to(self, device: torch.device | str) -> LatentBatch:
        """The same batch on `device`."""
        return _latent(Batch.to(self, device), self.answers_BT.to(device), self.cluster_B.to(device))


def _latent(batch: Batch, answers_BT: torch.Tensor, cluster_B: torch.Tensor) -> LatentBatch:
    parts = (batch.ids_BT, batch.labels_BT, batch.weights_BT, batch.attention_mask_BT)
    return LatentBatch(*parts, batch.tokens, batch.answer_tokens, answers_BT, cluster_B)


class LatentBatches(Batches):
    """`Batches` of whole rows, never packed; packed plans are given `windows` of the rows and become padded ones.

    Args:
        rows: encoded rows.
        plan: how to batch.
        pad_id: token id of padding.
        components: M, into which the rows are clustered by their answers; the clusters depend on the plan's seed.
    """

    def __init__(self, rows: Sequence[Encoded], plan: BatchPlan, pad_id: int, *, components: int) -> None:
        if plan.packed:
            rows, plan = windows(rows, plan.context), replace(plan, packed=False)
        super().__init__(rows, plan, pad_id)
        self._clusters = answer_clusters(self._rows, components, plan.seed)

    def _padded(self, rows: npt.NDArray[np.int64]) -> Batch:
        batch = super()._padded(rows)
        answers = np.zeros(batch.ids_BT.shape, dtype=np.bool_)
        for place, row in enumerate(rows):
            answers[place, : len(self._rows[row].ids)] = self._rows[row].answers
        return _latent(batch, torch.from_numpy(answers), torch.from_numpy(self._clusters[rows]))


def answer_clusters(rows: Sequence[Encoded], components: int, seed: int) -> npt.NDArray[np.int64]:
    """Component of each row, [N]: balanced k-means over tf-idf of single tokens and pairs of the answers.

    Clusters of equal size over such features are what Gururangan et al. 2023 ("Scaling expert language models with
    unsupervised domain discovery") train their experts on. Reproducible by the seed.
    """
    if components == 1 or len(rows) <= components:
        return np.arange(len(rows), dtype=np.int64) % components
    points = _points(rows, seed)
    rng = np.random.default_rng(seed)
    sample = np.sort(rng.permutation(len(rows))[:_MOST_CLUSTERED])
    centres = points[rng.choice(sample, 1)]
    while len(centres) < components:  # as far apart as can be, which no balance repairs later
        distances = np.linalg.norm(points[sample][:, None] - centres, axis=-1).min(-1) ** 2
        chances = distances / distances.sum() if distances.sum() > 0 else None
        centres = np.concatenate([centres, points[rng.choice(sample, 1, p=chances)]])
    for _ in range(_ROUNDS):
        found = _balanced(np.linalg.norm(points[sample][:, None] - centres, axis=-1))
        centres = np.stack([points[sample][found == cluster].mean(0) for cluster in range(components)])
    nearest: npt.NDArray[np.int64] = np.linalg.norm(points[:, None] - centres, axis=-1).argmin(-1)
    nearest[sample] = found
    return nearest


def _points(rows: Sequence[Encoded], seed: int) -> npt.NDArray[np.float64]:
    """Unit vectors of the answers in a few dimensions, [N, at most 32]."""
    from sklearn.feature_extraction import FeatureHasher
    from sklearn.feature_extraction.text import TfidfTransformer
    from sklearn.utils.extmath import randomized_svd

    hasher = FeatureHasher(_FEATURES, input_type="string", alternate_sign=False)
    tfidf = TfidfTransformer(sublinear_tf=True).fit_transform(hasher.transform(_units(row) for row in rows))
    left, scales, _ = randomized_svd(tfidf, min(_DIRECTIONS, len(rows) - 1), random_state=seed)
    points: npt.NDArray[np.float64] = left * scales
    return points / np.maximum(np.linalg.norm(points, axis=-1, keepdims=True), 1e-12)


def _units(row: Encoded) -> list[str]:
    ids = row.ids[row.answers].tolist()
    return [str(token) for token in ids] + [f"{a} {b}" for a, b in itertools.pairwise(ids)]


def _balanced(distances: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """The nearest cluster that has room for each point; those that would lose most by waiting choose first."""
    count, components = distances.shape
    ranked = np.sort(distances, axis=-1)
    preferences = np.argsort(distances, axis=-1)
    room = np.full(components, count // components)
    room[: count % components] += 1
    found = np.zeros(count, dtype=np.int64)
    for point in np.argsort(ranked[:, 0] - ranked[:, 1], kind="stable"):
        found[point] = next(cluster for cluster in preferences[point] if room[cluster])
        room[found[point]] -= 1
    return found
