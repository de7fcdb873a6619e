"""The decoding benchmark in small: both systems write the same tokens, and the table says what was timed."""

from __future__ import annotations

import pytest
from bench_decode import Timing, measured, model_of, table


def test_both_write_the_same_tokens() -> None:
    timing = measured(model_of(64, 2, 300, 160), batch=2, tokens=8, repeats=2)
    assert timing.alike == 1.0
    assert len(timing.theirs) == len(timing.ours) == 2
    assert timing.ratio > 0


def test_the_table_has_medians_and_the_ratio_of_the_turns() -> None:
    timing = Timing(8, 100, (4.0, 8.0, 100.0), (2.0, 2.0, 40.0), 0.5)
    assert timing.ratio == pytest.approx(2.5)
    assert table([timing]).splitlines()[-1] == "| 8 | 100 | 100 | 400 | 2.50 | 50% |"
