"""Steps of several tasks: every row once an epoch, each task's share in every step, and parts that lose nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from autogpt.data.batching import LENGTH_STEP, Batch, Batches, BatchPlan, Encoded
from autogpt.data.joint_batches import JointBatches, narrowed, of_rows
from autogpt.errors import DataError

VOCABULARY, PAD = 100_000, 0
"""Larger than any number of rows: the second token of a row is its number."""


def _row(task: int, number: int, length: int) -> Encoded:
    ids = np.array([VOCABULARY + task, number + 1, *[3] * (length - 2)], dtype=np.int32)
    answers = np.arange(length) > 0
    return Encoded(ids, answers.astype(np.float32), f"{task}:{number}", 0, answers)


def _rows(*lengths: Sequence[int]) -> list[Encoded]:
    """Rows of tasks with these lengths, numbered over all of them."""
    number, rows = 0, []
    for task, own in enumerate(lengths):
        for length in own:
            rows.append(_row(task, number, length))
            number += 1
    return rows


def _batches(rows: Sequence[Encoded], tokens: int = 256, seed: int = 0) -> JointBatches:
    return JointBatches(rows, BatchPlan(tokens, 128, packed=False, seed=seed), PAD)


def _numbers(batch: Batch) -> list[int]:
    return (batch.ids_BT[:, 1] - 1).tolist()


def _epoch(batches: JointBatches, epoch: int = 0) -> list[Batch]:
    first = epoch * batches.steps_per_epoch
    return [batches.batch(step) for step in range(first, first + batches.steps_per_epoch)]


def _tokens(batch: Batch, task: int) -> int:
    """Tokens of the task's rows in a step, each row padded by itself."""
    lengths_B = batch.attention_mask_BT[batch.ids_BT[:, 0] == VOCABULARY + task].sum(-1)
    return int((-(-lengths_B // LENGTH_STEP) * LENGTH_STEP).sum())


def _mixed_lengths(*sizes: int, seed: int = 0) -> list[list[int]]:
    """Tasks of so many rows, each with lengths of its own size: short labels beside long texts."""
    rng = np.random.default_rng(seed)
    return [rng.integers(4 * 3**task, 12 * 3**task, size).tolist() for task, size in enumerate(sizes)]


# --- steps -----------------------------------------------------------------------------------------------------------


@given(
    lengths=st.lists(st.lists(st.integers(2, 96), min_size=1, max_size=40), min_size=1, max_size=4),
    tokens=st.sampled_from([256, 512, 4096]),
    seed=st.integers(0, 9),
)
@settings(deadline=None, max_examples=60)
def test_every_row_comes_once_an_epoch_and_no_step_is_empty(lengths: list[list[int]], tokens: int, seed: int) -> None:
    rows = _rows(*lengths)
    batches = _batches(rows, tokens, seed)
    for epoch in range(2):
        steps = [_numbers(batch) for batch in _epoch(batches, epoch)]
        assert all(steps)
        found = Counter(number for step in steps for number in step)
        assert set(found) == set(range(len(rows)))
        once = len(steps) <= len(rows) and all(count == 1 for count in found.values())
        assert once or len(set(map(tuple, steps))) < len(steps)  # more only where a whole step had to be repeated


def test_with_rows_enough_every_row_comes_exactly_once() -> None:
    rows = _rows(*_mixed_lengths(300, 120, 45))
    batches = _batches(rows, 512)
    assert batches.steps_per_epoch > 8
    for epoch in range(3):
        found = sorted(number for batch in _epoch(batches, epoch) for number in _numbers(batch))
        assert found == list(range(len(rows)))


def test_each_step_has_each_tasks_share_within_a_row() -> None:
    lengths = _mixed_lengths(400, 150, 60)
    batches = _batches(_rows(*lengths), 1024)
    steps = _epoch(batches)
    for task, own in enumerate(lengths):
        padded = [-(-length // LENGTH_STEP) * LENGTH_STEP for length in own]
        share = sum(padded) / len(steps)
        for batch in steps:
            assert abs(_tokens(batch, task) - share) <= max(padded)
    total = [sum(_tokens(batch, task) for task in range(3)) for batch in steps]
    assert np.mean(total) == pytest.approx(1024, rel=0.5 / len(steps) + 0.01)


def test_cut_by_length_alone_the_same_tasks_hardly_meet() -> None:
    """Why there are steps of their own: plain ones hold one task each where lengths differ."""
    lengths = [[6] * 128, [90] * 24]
    plan = BatchPlan(512, 128, packed=False, seed=0)
    plain = Batches(_rows(*lengths), plan, PAD)
    met = [len(plain.batch(step).ids_BT[:, 0].unique()) == 2 for step in range(plain.steps_per_epoch)]
    assert sum(met) <= 1
    assert all(len(batch.ids_BT[:, 0].unique()) == 2 for batch in _epoch(_batches(_rows(*lengths), 512)))


def test_a_step_holds_rows_of_about_one_length_of_each_task() -> None:
    """The rows of a task are cut into pieces by length: in a step they differ by less than over the epoch."""
    lengths = np.random.default_rng(1).integers(2, 96, 200).tolist()
    steps = _epoch(_batches(_rows(lengths), 512))
    spreads = [int(np.ptp(batch.attention_mask_BT.sum(-1).numpy())) for batch in steps]
    assert np.median(spreads) < np.ptp(lengths) / 4


def test_any_step_can_be_asked_for_at_any_time() -> None:
    rows = _rows(*_mixed_lengths(90, 40))
    whole = _batches(rows)
    steps = 3 * whole.steps_per_epoch
    told = [_numbers(whole.batch(step)) for step in range(steps)]
    for step in np.random.default_rng(0).permutation(steps).tolist():
        assert _numbers(whole.batch(step)) == told[step]
    resumed = _batches(rows)
    assert [_numbers(resumed.batch(step)) for step in range(steps - 3, steps)] == told[-3:]
    with pytest.raises(ValueError, match="expected 0 or more"):
        whole.batch(-1)


def test_the_order_is_that_of_the_seed_and_the_epoch() -> None:
    rows = _rows(*_mixed_lengths(90, 40))
    first, again, other = (_batches(rows, seed=seed) for seed in (0, 0, 1))
    assert [_numbers(b) for b in _epoch(first)] == [_numbers(b) for b in _epoch(again)]
    assert [_numbers(b) for b in _epoch(first)] != [_numbers(b) for b in _epoch(other)]
    assert [_numbers(b) for b in _epoch(first)] != [_numbers(b) for b in _epoch(first, 1)]


def test_a_tiny_task_is_in_as_many_steps_as_it_has_rows() -> None:
    batches = _batches(_rows([8] * 200, [8] * 3), 128)
    assert batches.steps_per_epoch > 20
    held = [int((batch.ids_BT[:, 0] == VOCABULARY + 1).sum()) for batch in _epoch(batches)]
    assert sorted(held, reverse=True) == [1, 1, 1, *[0] * (len(held) - 3)]


def test_rows_are_padded_to_the_longest_of_their_step_and_weighted_as_they_were() -> None:
    rows = _rows([5, 7, 9], [40])
    (batch,) = _epoch(_batches(rows, 4096))
    assert batch.ids_BT.shape == (4, 48)
    by_number = {int(row.ids[1]) - 1: row for row in rows}
    for place, number in enumerate(_numbers(batch)):
        row = by_number[number]
        length = len(row.ids)
        assert batch.ids_BT[place, :length].tolist() == row.ids.tolist()
        assert batch.weights_BT[place, :length].tolist() == row.weights.tolist()
        assert not batch.weights_BT[place, length:].any()
        assert batch.attention_mask_BT[place].tolist() == [1] * length + [0] * (48 - length)
    assert batch.tokens == 5 + 7 + 9 + 40


def test_rows_without_anything_to_learn_are_passed_over() -> None:
    rows = _rows([5, 7], [9])
    silent = [Encoded(row.ids, np.zeros_like(row.weights), row.id, 0, row.answers) for row in _rows([6], [6])]
    batches = _batches([*rows, *silent])
    assert batches.skipped == 2
    assert sorted(number for batch in _epoch(batches) for number in _numbers(batch)) == [0, 1, 2]
    with pytest.raises(DataError, match="no row has a token to learn from"):
        _batches(silent)


# --- parts -----------------------------------------------------------------------------------------------------------


@given(lengths=st.lists(st.integers(2, 128), min_size=1, max_size=60), seed=st.integers(0, 9))
@settings(deadline=None, max_examples=60)
def test_parts_hold_every_row_once_and_whole(lengths: list[int], seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(lengths))
    rows = _rows(lengths)
    batch = _batches([rows[place] for place in order], 10**6).batch(0)
    parts = narrowed(batch)
    assert sorted(number for part in parts for number in _numbers(part)) == list(range(len(lengths)))
    assert sum(part.tokens for part in parts) == batch.tokens
    assert sum(part.answer_tokens for part in parts) == batch.answer_tokens
    assert sum(part.ids_BT.numel() for part in parts) <= batch.ids_BT.numel()
    widths = [part.ids_BT.shape[1] for part in parts]
    assert widths == sorted(widths, reverse=True)
    for part in parts:
        assert part.ids_BT.shape[1] - int(part.attention_mask_BT.sum(-1).max()) < LENGTH_STEP
        for place, number in enumerate(_numbers(part)):
            length = lengths[number]
            assert part.ids_BT[place, :length].tolist() == rows[number].ids.tolist()
            assert part.weights_BT[place, :length].tolist() == rows[number].weights.tolist()
            assert int(part.attention_mask_BT[place].sum()) == length
            labels = part.labels_BT[place]
            assert torch.equal(labels, torch.where(part.weights_BT[place] > 0, part.ids_BT[place], -100))


def test_little_padding_is_one_part_and_much_is_several() -> None:
    alike = _batches(_rows([20] * 30, [30] * 10), 10**6).batch(0)
    (one,) = narrowed(alike)
    assert one.ids_BT.shape == alike.ids_BT.shape
    apart = _batches(_rows([8] * 100, [120] * 4), 10**6).batch(0)
    parts = narrowed(apart)
    assert [part.ids_BT.shape for part in parts] == [(4, 128), (100, 16)]


def test_some_rows_of_a_batch_are_as_wide_as_they_need() -> None:
    batch = _batches(_rows([8, 9, 17], [120]), 10**6).batch(0)
    lengths = batch.attention_mask_BT.sum(-1).tolist()
    chosen = torch.tensor([place for place, length in enumerate(lengths) if length < 120])
    found = of_rows(batch, chosen)
    assert found.ids_BT.shape == (3, 32)
    assert (found.tokens, found.answer_tokens) == (8 + 9 + 17, 7 + 8 + 16)
    assert of_rows(batch, torch.tensor([lengths.index(120)])).ids_BT.shape == (1, batch.ids_BT.shape[1])
