"""Batches of rows: every row once, within the bound, padded so that the ends meet."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from autogpt.generation.rows import BATCH_TOKENS, grouped, left_padded, positions_of


@given(st.lists(st.integers(1, 9000), max_size=30), st.integers(0, 500), st.integers(1, 8), st.integers(1, 9))
def test_every_row_is_in_one_batch_within_the_bounds(lengths: list[int], extra: int, copies: int, most: int) -> None:
    groups = list(grouped(lengths, extra=extra, copies=copies, most=most))
    assert sorted(index for group in groups for index in group) == list(range(len(lengths)))
    for group in groups:
        longest = max(lengths[index] for index in group) + extra
        assert len(group) == 1 or (longest * len(group) * copies <= BATCH_TOKENS and len(group) <= most)
    assert [lengths[index] for group in groups for index in group] == sorted(lengths)


def test_rows_end_together() -> None:
    ids, mask = left_padded([[5, 6, 7], [8]], pad_id=2)
    assert ids.tolist() == [[5, 6, 7], [2, 2, 8]]
    assert mask.tolist() == [[True, True, True], [False, False, True]]
    assert positions_of(mask).tolist() == [[0, 1, 2], [0, 0, 0]]
    assert torch.equal(positions_of(mask)[:, -1] + 1, mask.sum(-1))
