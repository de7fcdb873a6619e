"""Pools of several tasks: shares by the formula and by exact counts, every row, weights, windows behind a task."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autogpt.data.batching import Batches, BatchPlan, Encoded
from autogpt.data.mixing import MOST_COPIES, mixed, of_task, task_shares, windows
from autogpt.errors import DataError

BOS, VOCABULARY = 1, 50


def _row(ids: list[int], first_answer: int = 1, id: str = "r") -> Encoded:
    answers = np.arange(len(ids)) >= first_answer
    return Encoded(np.array(ids, dtype=np.int32), answers.astype(np.float32), id, len(ids), answers)


def _tasks(*sizes: int, answers: Sequence[int] = ()) -> list[list[Encoded]]:
    """Rows named `task:number`, with answers of so many tokens (one where nothing is said)."""
    lengths = [*answers, *[1] * (len(sizes) - len(answers))]
    return [
        [_row([VOCABULARY + task, *[3] * length], id=f"{task}:{number}") for number in range(size)]
        for task, (size, length) in enumerate(zip(sizes, lengths, strict=True))
    ]


def _mixed(tasks: Sequence[Sequence[Encoded]], **changed: Any) -> list[Encoded]:
    plain: dict[str, Any] = {"temperature": 1.0, "most": 10**9, "weights": [1.0] * len(tasks), "balance": 0.0}
    return mixed(tasks, **{**plain, "seed": 0, **changed})


def _counts(pool: Sequence[Encoded], tasks: int) -> list[int]:
    found = Counter(int(row.id.split(":")[0]) for row in pool)
    return [found[task] for task in range(tasks)]


# --- windows ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [2, 7, 8, 9, 15, 16, 30])
def test_windows_predict_every_token_of_a_document_once(length: int) -> None:
    row = _row(list(range(length)))
    cut = windows([row], 8)
    assert all(2 <= len(one.ids) <= 8 for one in cut)
    predicted = [int(token) for one in cut for token in one.ids[one.weights > 0]]
    assert predicted == list(range(1, length))
    for before, after in itertools.pairwise(cut):
        assert before.ids[-1] == after.ids[0]
        assert not after.answers[0]
    if length <= 8:
        assert cut[0] is row


def test_windows_never_join_documents() -> None:
    cut = windows([_row([1] * 5), _row([2] * 12)], 8)
    assert [set(one.ids.tolist()) for one in cut] == [{1}, {2}, {2}]


# --- rows of one task ------------------------------------------------------------------------------------------------


def test_the_token_of_the_task_takes_the_place_of_the_start_token() -> None:
    row = _row([BOS, 7, 8, 9], first_answer=2)
    (found,) = of_task([row], 3, VOCABULARY, bos_id=BOS, context=4)
    assert found.ids.tolist() == [53, 7, 8, 9]
    assert (found.weights.tolist(), found.answers.tolist()) == ([0, 0, 1, 1], [False, False, True, True])
    assert (found.id, found.utf8_bytes) == ("r", 4)
    assert row.ids[0] == BOS
    assert found.ids.dtype == row.ids.dtype
    assert found.weights.dtype == row.weights.dtype
    assert found.answers.dtype == row.answers.dtype


@pytest.mark.parametrize("bos", [BOS, None])
def test_it_is_put_in_front_where_there_is_no_start_token(bos: int | None) -> None:
    (found,) = of_task([_row([7, 8, 9], first_answer=1)], 0, VOCABULARY, bos_id=bos, context=4)
    assert found.ids.tolist() == [50, 7, 8, 9]
    assert found.weights.tolist() == [0, 0, 1, 1]


def test_a_full_row_without_a_start_token_loses_a_token_of_the_prompt() -> None:
    (found,) = of_task([_row([6, 7, 8, 9], first_answer=2)], 0, VOCABULARY, bos_id=BOS, context=4)
    assert found.ids.tolist() == [50, 7, 8, 9]
    assert found.weights.tolist() == [0, 0, 1, 1]


def test_rows_may_be_empty() -> None:
    rows = of_task([_row([]), _row([BOS])], 2, VOCABULARY, bos_id=BOS, context=4)
    assert [row.ids.tolist() for row in rows] == [[52], [52]]


@pytest.mark.parametrize("started", [True, False])
@settings(deadline=None)
@given(length=st.integers(1, 60), context=st.integers(3, 16))
def test_every_token_of_a_document_is_predicted_once_behind_its_task(started: bool, length: int, context: int) -> None:
    body = list(range(2, 2 + length))
    row = _row([BOS, *body]) if started else _row(body, first_answer=0)
    cut = of_task([row], 4, 100, bos_id=BOS, context=context)
    assert all(len(one.ids) <= context and one.ids[0] == 104 and one.weights[0] == 0 for one in cut)
    assert [int(token) for one in cut for token in one.ids[one.weights > 0]] == body
    assert all((one.answers == (one.weights > 0)).all() for one in cut)
    for before, after in itertools.pairwise(cut):
        assert before.ids[-1] == after.ids[1]


def test_a_context_without_room_is_refused() -> None:
    with pytest.raises(ValueError, match="context is 2"):
        of_task([], 0, VOCABULARY, bos_id=BOS, context=2)


# --- shares ----------------------------------------------------------------------------------------------------------


def test_shares_of_a_small_example() -> None:
    assert task_shares([900, 100], temperature=2, most=10**6).tolist() == pytest.approx([0.75, 0.25])
    assert task_shares([900, 100], temperature=2, most=400).tolist() == pytest.approx([2 / 3, 1 / 3])
    pool = _mixed(_tasks(900, 100), temperature=2)
    assert _counts(pool, 2) == [900, 300]


@given(
    sizes=st.lists(st.integers(1, 10**7), min_size=1, max_size=6),
    temperature=st.floats(1, 50),
    most=st.integers(1, 10**7),
)
def test_shares_are_those_of_the_formula(sizes: list[int], temperature: float, most: int) -> None:
    parts = [min(size, most) ** (1 / temperature) for size in sizes]
    shares = task_shares(sizes, temperature=temperature, most=most)
    assert shares.tolist() == pytest.approx([part / sum(parts) for part in parts], rel=1e-9)


def test_temperature_one_is_proportional_and_a_large_one_equal() -> None:
    tasks = _tasks(7, 31, 12)
    assert _mixed(tasks) == [row for rows in tasks for row in rows]
    assert _counts(_mixed(tasks, temperature=1e9), 3) == [31, 31, 31]
    assert _counts(_mixed(tasks, most=1), 3) == [31, 31, 31]


@settings(deadline=None, max_examples=60)
@given(
    sizes=st.lists(st.integers(1, 80), min_size=1, max_size=5),
    temperature=st.floats(1, 10),
    most=st.integers(1, 100),
    seed=st.integers(0, 9),
)
def test_the_pool_has_every_row_and_the_shares_within_rounding(
    sizes: list[int], temperature: float, most: int, seed: int
) -> None:
    tasks = _tasks(*sizes)
    pool = _mixed(tasks, temperature=temperature, most=most, seed=seed)
    times = Counter(row.id for row in pool)
    assert set(times) == {row.id for rows in tasks for row in rows}
    assert max(times.values()) <= MOST_COPIES
    shares = task_shares(sizes, temperature=temperature, most=most)
    whole = max(size / share for size, share in zip(sizes, shares, strict=True))
    for task, (size, found) in enumerate(zip(sizes, _counts(pool, len(sizes)), strict=True)):
        assert abs(found - min(whole * shares[task], MOST_COPIES * size)) <= 0.5 + 1e-6
        own = [times[row.id] for row in tasks[task]]
        assert max(own) - min(own) <= 1
    assert pool == _mixed(tasks, temperature=temperature, most=most, seed=seed)


def test_a_tiny_task_is_repeated_so_often_and_no_more() -> None:
    pool = _mixed(_tasks(2, 1000, 100), temperature=1e9)
    assert _counts(pool, 3) == [2 * MOST_COPIES, 1000, 1000]


def test_the_rest_is_drawn_by_the_seed() -> None:
    tasks = _tasks(40, 100)
    drawn = [
        {
            name
            for name, times in Counter(row.id for row in _mixed(tasks, temperature=1e9, seed=seed)).items()
            if times == 3
        }
        for seed in (1, 2)
    ]
    assert len(drawn[0]) == len(drawn[1]) == 20
    assert drawn[0] != drawn[1]


def test_copies_are_the_rows_themselves() -> None:
    tasks = _tasks(3, 90, answers=[1, 5])
    assert {id(row) for row in _mixed(tasks, temperature=1e9)} == {id(row) for rows in tasks for row in rows}
    weighted = _mixed(tasks, temperature=1e9, weights=[1.0, 2.0], balance=0.5)
    assert len({id(row) for row in weighted}) == 93
    given = {row.id: row for rows in tasks for row in rows}
    assert all(row.ids is given[row.id].ids and row.answers is given[row.id].answers for row in weighted)
    assert all((row.weights[1:] == 1).all() for rows in tasks for row in rows)


# --- weights ---------------------------------------------------------------------------------------------------------


def _totals(pool: Sequence[Encoded], tasks: int) -> list[float]:
    sums = [0.0] * tasks
    for row in pool:
        sums[int(row.id.split(":")[0])] += float(row.weights[1:].sum())
    return sums


def test_balance_one_counts_rows_and_zero_tokens() -> None:
    tasks = _tasks(10, 20, answers=[2, 32])
    assert _totals(_mixed(tasks), 2) == [20, 640]
    balanced = _mixed(tasks, balance=1.0)
    assert _totals(balanced, 2) == pytest.approx([220, 440])  # as many as before, shared out by rows
    assert balanced[0].weights.tolist() == pytest.approx([0, 11, 11])
    halfway = _mixed(tasks, balance=0.5)
    ratio = halfway[0].weights[1] / halfway[-1].weights[1]
    assert ratio == pytest.approx(4.0)  # the square root of 32 / 2


def test_the_mean_counts_prompts_that_are_learnt_and_uneven_answers() -> None:
    uneven = [_row([50, 3, 3, 3], id="0:0"), _row([50, 3], id="0:1")]
    prompted = [_row([51, 3, 3], 2, id="1:0")]
    prompted[0].weights[:] = [0, 0.5, 1]
    pool = _mixed([uneven, prompted], balance=1.0)
    mean = (3 + 1 + 1.5) / 3  # of a row of the pool
    assert pool[1].weights[1] == pytest.approx(mean / 2)
    assert pool[2].weights.tolist() == pytest.approx([0, mean / 3, mean / 1.5])
    assert _totals(pool, 2) == pytest.approx([2 * 5.5 / 3, 5.5 / 3])


def test_weights_multiply_the_tokens_of_their_task() -> None:
    tasks = _tasks(4, 8, answers=[3, 3])
    assert _totals(_mixed(tasks, weights=[0.5, 3.0]), 2) == [6, 72]
    assert _totals(_mixed(tasks, weights=[0.5, 0.0], temperature=1e9), 2) == [12, 0]


def test_batches_give_the_same_steps_for_the_same_pool() -> None:
    tasks, plan = _tasks(5, 50, answers=[3, 6]), BatchPlan(128, 16, packed=False, seed=4)
    first, second = (Batches(_mixed(tasks, temperature=3), plan, 0) for _ in range(2))
    for step in range(first.steps_per_epoch):
        assert (first.batch(step).ids_BT == second.batch(step).ids_BT).all()
    assert first.skipped == 0


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("empty", [[], [_row([50, 3, 3], first_answer=3)]])
def test_a_task_without_anything_to_learn_is_an_error(empty: list[Encoded]) -> None:
    with pytest.raises(DataError, match=rf"found task 1 with {len(empty)} rows"):
        _mixed([*_tasks(3), empty])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"temperature": 0.5}, "temperature is 0.5"),
        ({"most": 0}, "most is 0"),
        ({"weights": [1.0]}, "expected 2 numbers"),
        ({"weights": [1.0, -1.0]}, "expected 2 numbers of 0 or more"),
        ({"weights": [1.0, float("nan")]}, "expected 2 numbers of 0 or more"),
        ({"balance": 1.5}, "balance is 1.5"),
    ],
)
def test_senseless_settings_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _mixed(_tasks(2, 3), **changed)
