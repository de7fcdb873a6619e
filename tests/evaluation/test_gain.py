"""A search claims a gain when there is one, and hardly ever when configurations differ in their luck alone."""

from __future__ import annotations

import numpy as np
import pytest

from autogpt.evaluation.gain import HIT_SEED_NOISE, LABEL_SEED_NOISE, SEED_NOISE, gain_of, loss_gain_of
from autogpt.evaluation.metrics import get_metric

ROWS = 200


def hits(share: float, rng: np.random.Generator) -> np.ndarray:
    """A table of accuracy: whether each row was hit, and one."""
    return np.stack([rng.random(ROWS) < share, np.ones(ROWS)], axis=1).astype(float)


def test_searches_over_luck_claim_gains_in_five_of_a_hundred_at_most() -> None:
    claims = 0
    for search in range(100):
        rng = np.random.default_rng(search)
        trials = [hits(0.8, rng) for _ in range(8)]
        default, *others = trials
        best = max(others, key=lambda table: table[:, 0].sum())
        claims += gain_of(get_metric("accuracy"), best, default, trials=len(others)).is_real
    assert claims <= 5


def test_losses_that_differ_by_seed_alone_claim_as_seldom() -> None:
    """Rows differ between two trainings, and one training differs from the other as a whole, as seeds do."""
    claims = 0
    for search in range(100):
        rng = np.random.default_rng(search)
        rows = rng.gamma(1.0, 1.0, ROWS)
        trials = [
            np.stack([rows * (1 + LABEL_SEED_NOISE * rng.normal()) * rng.normal(1, 0.2, ROWS), np.ones(ROWS)], axis=1)
            for _ in range(8)
        ]
        default, *others = trials
        best = min(others, key=lambda table: table[:, 0].sum())
        claims += loss_gain_of(best, default, labels=True, trials=2 * len(others)).is_real
    assert claims <= 5


@pytest.mark.parametrize(("hits_", "expected"), [(0.62, False), (0.80, True)])
def test_hits_must_differ_by_more_than_seeds_do(hits_: float, expected: bool) -> None:
    """On five thousand rows a tenth more hits are sure; another seed of the same configuration may bring as many."""
    tables = [
        np.stack([np.arange(5000) < share * 5000, np.ones(5000)], axis=1).astype(float) for share in (hits_, 0.52)
    ]
    gain = gain_of(get_metric("accuracy"), *tables, trials=1)
    assert gain.p_value < 0.01
    assert gain.seed_noise == pytest.approx(1.96 * 2**0.5 * HIT_SEED_NOISE["accuracy"], rel=1e-3)
    assert gain.is_real is expected


def test_a_much_smaller_loss_is_claimed() -> None:
    rng = np.random.default_rng(0)
    default = np.stack([rng.gamma(1.0, 1.0, ROWS), np.ones(ROWS)], axis=1)
    assert loss_gain_of(default * [0.5, 1.0], default, labels=True, trials=8).is_real
    assert not loss_gain_of(default * [1.3, 1.0], default, labels=True, trials=8).is_real


def test_a_large_gain_is_claimed() -> None:
    rng = np.random.default_rng(0)
    gain = gain_of(get_metric("accuracy"), hits(0.9, rng), hits(0.6, rng), trials=8)
    assert gain.is_real
    assert gain.difference == pytest.approx(0.3, abs=0.08)
    assert "corrected for 8 comparisons" in str(gain)


def test_a_worse_best_is_no_gain_however_sure() -> None:
    rng = np.random.default_rng(0)
    assert not gain_of(get_metric("accuracy"), hits(0.6, rng), hits(0.9, rng), trials=1).is_real


@pytest.mark.parametrize(("factor", "expected"), [(1 - SEED_NOISE, False), (1 - 4 * SEED_NOISE, True)])
def test_bits_per_byte_must_differ_by_more_than_seeds_do(factor: float, expected: bool) -> None:
    """Each row a little better: the rows are sure of it, but another seed would do as much."""
    nats = np.random.default_rng(0).uniform(80, 120, ROWS)
    tables = [np.stack([nats * scale, np.full(ROWS, 50.0)], axis=1) for scale in (factor, 1.0)]
    gain = gain_of(get_metric("bits_per_byte"), *tables, trials=1)
    assert gain.p_value < 0.01
    assert gain.is_real is expected


def test_only_rows_that_both_have_are_compared() -> None:
    rng = np.random.default_rng(1)
    table = hits(0.5, rng)
    gain = gain_of(get_metric("accuracy"), table, table[:150], trials=1)
    assert (gain.rows, gain.difference, gain.p_value) == (150, 0.0, 1.0)
