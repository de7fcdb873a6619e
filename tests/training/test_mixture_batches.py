"""Rows of a mixture: whole ones, never joined, and clusters of equal size that mean something."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from autogpt.data.batching import BatchPlan, Encoded
from autogpt.training.mixture_batches import LatentBatch, LatentBatches, answer_clusters


def _row(ids: list[int], first_answer: int = 1) -> Encoded:
    answers = np.arange(len(ids)) >= first_answer
    return Encoded(np.array(ids, dtype=np.int32), answers.astype(np.float32), "r", len(ids), answers)


def test_packed_plans_are_unpacked() -> None:
    rows = [_row([1, *[2] * 30]), _row([1, *[3] * 5])]
    batches = LatentBatches(rows, BatchPlan(64, 16, packed=True, seed=0), 0, components=2)
    assert not batches.plan.packed
    found = [batches.batch(step) for step in range(len(batches))]
    assert sum(int((batch.weights_BT > 0).sum()) for batch in found) == 35
    for batch in found:
        for ids in batch.ids_BT:
            assert len({2, 3} & set(ids.tolist())) == 1


def test_a_batch_says_what_is_answer_and_where_its_rows_begin() -> None:
    rows = [_row([1, 4, 4, 2, 3], first_answer=3), _row([1, 5, 2, 2, 2, 3], first_answer=2)] * 3
    batches = LatentBatches(rows, BatchPlan(64, 16, packed=False, seed=0), 0, components=2)
    batch = batches.batch(0)
    assert isinstance(batch, LatentBatch)
    for ids, answers, mask in zip(batch.ids_BT, batch.answers_BT, batch.attention_mask_BT, strict=True):
        row = rows[0] if int(ids[1]) == 4 else rows[1]
        assert answers[mask.bool()].tolist() == row.answers.tolist()
        assert not answers[~mask.bool()].any()
    part = batch.rows(1, 3).to("cpu")
    assert torch.equal(part.answers_BT, batch.answers_BT[1:3])
    assert torch.equal(part.cluster_B, batch.cluster_B[1:3])
    again = LatentBatches(rows, batches.plan, 0, components=2).batch(0)
    assert torch.equal(again.cluster_B, batch.cluster_B)  # type: ignore[attr-defined]


def test_clusters_find_the_kinds_of_answers_whatever_the_prompts_say() -> None:
    rng = np.random.default_rng(0)
    kinds = rng.permutation(np.repeat(np.arange(4), 30))
    rows = [
        _row([1, *rng.integers(5, 45, 10), *(10 * kind + rng.integers(5, 15, 20))], first_answer=11) for kind in kinds
    ]
    found = answer_clusters(rows, 4, seed=0)
    table = np.zeros((4, 4), dtype=int)
    np.add.at(table, (kinds, found), 1)
    assert (table.max(1) >= 28).all()
    assert np.bincount(found).tolist() == [30] * 4


@pytest.mark.parametrize(("count", "components"), [(5, 4), (9, 2), (3, 8), (40, 1), (1, 1)])
def test_clusters_have_equal_sizes_however_few_rows_there_are(count: int, components: int) -> None:
    rows = [_row([1, 2 + i % 3, 3, 4]) for i in range(count)]
    found = answer_clusters(rows, components, seed=1)
    sizes = np.bincount(found, minlength=components)
    assert len(found) == count
    assert sizes.max() - sizes.min() <= 1


def test_rows_that_are_all_alike_are_shared_out_too() -> None:
    found = answer_clusters([_row([1, 2, 3])] * 12, 3, seed=0)
    assert np.bincount(found).tolist() == [4, 4, 4]
