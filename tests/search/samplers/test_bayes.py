from __future__ import annotations

import json
import logging
import os
import subprocess
import sys

import pytest

from autogpt.search.samplers import Sampler
from autogpt.search.samplers.bayes import BayesSampler
from autogpt.search.samplers.random import RandomSampler
from autogpt.search.space import Float, Parameter, Space
from autogpt.search.trials import Direction, Report, Trial
from autogpt.testing import SamplerContract, conditional_space, quadratic_space


class TestBayesSampler(SamplerContract):
    def make(self, space: Space, seed: int = 0, direction: Direction = "max") -> BayesSampler:
        return BayesSampler(space, seed, direction=direction)


def finished(number: int, config: dict, score: float) -> Trial:
    return Trial(number, config, "finished", (Report(1.0, score),))


def best_of(sampler: Sampler, optimum: tuple[float, float, float], trials: int = 30) -> float:
    """Smallest squared distance to the optimum over a search."""
    sign = -1.0 if sampler.direction == "max" else 1.0
    history: list[Trial] = []
    losses: list[float] = []
    for number in range(trials):
        config = sampler.ask(history)
        loss = sum((config[name] - wanted) ** 2 for name, wanted in zip("xyz", optimum, strict=True))
        losses.append(loss)
        history.append(finished(number, config, sign * loss))
    return min(losses)


@pytest.mark.parametrize("direction", ["max", "min"])
def test_beats_random_on_a_quadratic(direction: Direction) -> None:
    space, optimum, seeds = quadratic_space(), (1.0, -2.0, 0.5), range(8)
    bayes = [best_of(BayesSampler(space, seed, direction=direction), optimum) for seed in seeds]
    uniform = [best_of(RandomSampler(space, seed, direction=direction), optimum) for seed in seeds]
    assert sum(b < r for b, r in zip(bayes, uniform, strict=True)) >= 6  # pairs share their startup draws
    assert sum(bayes) < 0.6 * sum(uniform)


def test_startup_draws_are_those_of_random_search() -> None:
    space = quadratic_space()
    history = [finished(0, space.default, 0.0)]
    for number in range(1, 5):
        config = BayesSampler(space, 3, direction="max").ask(history)
        assert config == RandomSampler(space, 3, direction="max").ask(history)
        history.append(finished(number, config, float(number)))
    assert BayesSampler(space, 3, direction="max").ask(history) != RandomSampler(space, 3, direction="max").ask(history)


def test_the_better_branch_of_a_condition_is_preferred() -> None:
    space = conditional_space()
    late: list[str] = []
    for seed in range(3):
        history: list[Trial] = []
        for number in range(40):
            config = BayesSampler(space, seed, direction="max").ask(history)
            score = (1.0 if config["start"] == "base" else 0.0) - abs(config["lr"] - 1e-3)
            history.append(finished(number, config, score))
        late += [trial.config["start"] for trial in history[20:]]
    assert late.count("base") >= 38  # of 60; 30 by chance


def test_failed_regions_are_left() -> None:
    space = quadratic_space()
    history: list[Trial] = []
    for number in range(30):
        config = BayesSampler(space, 0, direction="max").ask(history)
        bad = config["x"] > 0
        history.append(Trial(number, config, "failed", error="oom") if bad else finished(number, config, 0.0))
    assert sum(trial.state == "failed" for trial in history[15:]) <= 4


def test_stopped_trials_rank_by_rung_before_score() -> None:
    """A low rung's flattering score must not draw the search: compared by score alone it would win here."""
    space = quadratic_space()
    history = []
    for number in range(30):
        x = -4.0 + 0.02 * number if number % 2 else 4.0 - 0.02 * number
        config = {"x": x, "y": 0.0, "z": 0.0}
        if number % 2:  # near -4: stopped at once with a high score
            history.append(Trial(number, config, "stopped", (Report(1 / 9, 100.0),)))
        else:  # near 4: finished with a lower one
            history.append(Trial(number, config, "finished", (Report(1 / 9, 0.0), Report(1.0, 1.0))))
    proposed = [BayesSampler(space, seed, direction="max").ask(history)["x"] for seed in range(10)]
    assert sum(x > 0 for x in proposed) >= 9


def test_a_new_process_with_another_hash_seed_proposes_the_same() -> None:
    code = """
import json, sys
from autogpt.search.samplers.bayes import BayesSampler
from autogpt.search.trials import Trial
from autogpt.testing import conditional_space
history = [Trial.from_dict(row) for row in json.load(sys.stdin)]
print(json.dumps(BayesSampler(conditional_space(), 5, direction="max").ask(history)))
"""
    space = conditional_space()
    history: list[Trial] = []
    for number in range(12):
        config = BayesSampler(space, 5, direction="max").ask(history)
        history.append(finished(number, config, config["lr"]))
    rows = json.dumps([trial.to_dict() for trial in history])
    answers = [
        subprocess.run(
            [sys.executable, "-c", code],
            input=rows,
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "OMP_NUM_THREADS": "1"},
        )
        for hash_seed in ("1", "2")
    ]
    assert [json.loads(answer.stdout) for answer in answers] == [
        BayesSampler(space, 5, direction="max").ask(history)
    ] * 2
    assert [answer.stderr for answer in answers] == ["", ""]


def test_optuna_says_nothing_and_keeps_its_verbosity(capfd: pytest.CaptureFixture[str]) -> None:
    import optuna

    optuna.logging.set_verbosity(logging.INFO)
    space = quadratic_space()
    BayesSampler(space, direction="max").ask(
        [finished(n, {"x": n / 10, "y": 0.0, "z": 0.0}, float(n)) for n in range(8)]
    )
    assert optuna.logging.get_verbosity() == logging.INFO
    assert capfd.readouterr() == ("", "")


def test_a_range_of_the_last_digits_is_a_point() -> None:
    """Found by a random history: in the logarithmic scale both ends were one number, and Optuna proposed NaN."""
    narrow = Float(1e-06, 1.0000000000000002e-06, log=True)
    space = Space((*(Parameter(name, Float(-1.0, 1.0), 0.6888) for name in "abc"), Parameter("d", narrow, 1e-06)))
    sampler, history = BayesSampler(space, direction="max"), []
    for number in range(8):
        config = sampler.ask(history)
        assert space.validate(config) == config
        history.append(Trial(number, config, "finished", (Report(1.0, 0.0),)))
