"""The page of `bench_samplers.py`: what it leaves out, and what it tests."""

from __future__ import annotations

from typing import Any

import numpy as np
from bench_samplers import TASKS, complete, holm, rank_tests


def _row(task: str, sampler: str, seed: int) -> dict[str, Any]:
    return {"task": task, "sampler": sampler, "seed": seed}


def test_tasks_that_some_sampler_lacks_are_left_out() -> None:
    rows = [_row(task, sampler, seed) for task in TASKS[:3] for sampler in ("gp", "random") for seed in (0, 1)]
    rows.remove(_row(TASKS[1], "gp", 1))
    assert complete(rows) == ([TASKS[0], TASKS[2]], [TASKS[1]])


def test_tasks_are_blocks_and_then_seeds_too() -> None:
    regret_TSM = np.array([[[0.1, 0.2, 0.3]] * 4] * 5)
    lines = rank_tests(regret_TSM, ["a", "b", "c"], 60)
    assert [line.partition("Friedman's test over ")[2][:9] for line in lines] == ["5 blocks:", "20 blocks"]
    assert all("Ranks: a 1.00, b 2.00, c 3.00." in line for line in lines)
    # Nemenyi's difference is 2.343 sqrt(3 · 4 / (6 · 5)) = 1.48 over tasks, and 0.74 over tasks and seeds.
    assert "Further apart: a and c." in lines[0]
    assert "Further apart: a and b; a and c; b and c." in lines[1]


def test_holms_adjustment() -> None:
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == {"a": 0.03, "c": 0.06, "b": 0.06}
