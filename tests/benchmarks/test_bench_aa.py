"""The A/A test on pools that are known: nothing to find, and something that nobody can miss."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
from aa_pool import RUNGS, Pool, Training, fill
from bench_aa import TRIALS, draw, measured, replayed, table

from autogpt.data import readers
from autogpt.tasks.spec import TaskSpec
from autogpt.tasks.understand import understand
from autogpt.training.finish import Judgement

ROWS = 400
DESCRIPTION = "Tell whether a sentence is good or bad."
TEXTS = {"good": "bright warm kind", "bad": "dark cold mean"}


def _file_of_rows(folder: Path) -> Path:
    rng = random.Random(0)
    rows = [{"text": f"{TEXTS[label]} {rng.random()}", "label": label} for label in TEXTS for _ in range(60)]
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> TaskSpec:
    return understand(DESCRIPTION, readers.sample(readers.read(_file_of_rows(tmp_path_factory.mktemp("rows")))))


def _training(seed: int, hits: float, loss: float, times: int = 1) -> Training:
    """One whose rows are hit with that chance, independently of every other training."""
    rng = np.random.default_rng([seed, times])
    at = {}
    for rung in RUNGS:
        rows = np.stack([rng.random(ROWS) < hits, np.ones(ROWS)], axis=1).astype(float)
        losses = np.stack([rng.gamma(4.0, loss / 4, ROWS), np.ones(ROWS)], axis=1)
        at[rung] = Judgement(float(rows[:, 0].mean()), float(losses[:, 0].mean()), rows, losses)
    return Training(seed, at, 1.0, times)


@pytest.fixture(scope="module")
def pool(spec: TaskSpec) -> Pool:
    plain = [_training(seed, 0.5, 1.0) for seed in range(24)]
    longer = [_training(seed, 0.9, 0.3, times=2) for seed in range(8)]
    return Pool("known", spec, 9, 0.05, plain, longer)


def test_of_equal_trainings_nothing_is_claimed_and_of_better_ones_always(pool: Pool) -> None:
    same, better = (measured(pool, arm, 12) for arm in ("same", "better"))
    assert same["claims"] == 0
    assert same["interval"][1] == pytest.approx(1 - 0.025 ** (1 / 12), abs=1e-4)
    assert same["by_best_score"] >= 8  # the best of twelve is the first one once in twelve times
    assert better["claims"] == better["claims_of_longer"] == 12
    assert (same["trainings"], better["trainings"]) == (24, 32)
    page = table([same, better])
    assert "| known | accuracy | same | 0 of 12 | 0.0% to 26.5% | 0 |" in page
    assert "| known | accuracy | better | 12 of 12 | 73.5% to 100.0% | 12 |" in page


def test_a_search_draws_each_seed_once_and_its_default_is_a_plain_one(pool: Pool) -> None:
    for n in range(20):
        drawn = draw(pool, "better", random.Random(n))
        assert len({training.seed for training in drawn}) == len(drawn) == TRIALS
        assert drawn[0].times == 1
        assert sum(training.times == 2 for training in drawn) == TRIALS // 2
        assert {training.times for training in draw(pool, "same", random.Random(n))} == {1}


def test_only_what_passes_the_rungs_is_trained_on(pool: Pool) -> None:
    drawn = [_training(n, 0.95 - 0.05 * n, 1.0 + n) for n in range(TRIALS)]  # each worse than all before it
    found = replayed(pool, drawn)
    assert found["best"] == (0, 1)
    assert not found["claim"]
    assert found["whole"] == 2  # a third of twelve pass the first rung, and a third of these four, rounded up


def test_a_pool_is_made_once_and_grows(tmp_path: Path) -> None:
    task = {"id": "tiny", "train": _file_of_rows(tmp_path).name, "description_en": DESCRIPTION}
    made = fill(task, tmp_path, tmp_path, 9, (1, 1))
    assert [training.seed for training in made.plain] == [training.seed for training in made.longer] == [0]
    # Six steps make another model than three.
    first, second = made.plain[0].at[1 / 3], made.longer[0].at[1 / 3]
    assert first.loss != second.loss
    for judged in (first, second):
        assert judged.rows is not None
        assert judged.losses is not None
        assert judged.score == pytest.approx(judged.rows[:, 0].sum() / judged.rows[:, 1].sum())
        assert judged.loss == pytest.approx(judged.losses[:, 0].mean())
    before = (tmp_path / "tiny.npz").stat().st_mtime_ns
    again = fill(task, tmp_path, tmp_path, 9, (1, 1))
    assert (tmp_path / "tiny.npz").stat().st_mtime_ns == before
    assert again.plain[0].at[1.0].loss == made.plain[0].at[1.0].loss
    grown = fill(task, tmp_path, tmp_path, 9, (2, 1))
    assert grown.plain[0].at[1.0].loss == made.plain[0].at[1.0].loss
    assert grown.plain[1].at[1.0].loss != made.plain[0].at[1.0].loss
    with pytest.raises(SystemExit, match="9 steps, not 18"):
        fill(task, tmp_path, tmp_path, 18, (1, 0))
