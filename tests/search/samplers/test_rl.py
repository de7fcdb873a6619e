from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import rankdata

from autogpt.search.samplers import rl
from autogpt.search.samplers.rl import RLSampler
from autogpt.search.space import Choice, Config, Dimension, Float, Int, Parameter, Space
from autogpt.search.trials import Direction, Report, Trial
from autogpt.testing import SamplerContract, conditional_space, quadratic_space


class TestRLSampler(SamplerContract):
    def make(self, space: Space, seed: int = 0, direction: Direction = "max") -> RLSampler:
        return RLSampler(space, seed, direction=direction)


def finished(number: int, config: Config, score: float) -> Trial:
    return Trial(number, config, "finished", (Report(1.0, score),))


def search(space: Space, score: Callable[[Config], float], trials: int, seed: int = 0) -> list[Trial]:
    history: list[Trial] = []
    for number in range(trials):
        config = RLSampler(space, seed, direction="max").ask(history)
        history.append(finished(number, config, score(config)))
    return history


def one(dimension: Dimension) -> Space:
    return Space([Parameter("p", dimension, dimension.sample(random.Random(0)))])


def policy_after(dimension: Dimension, values: Sequence[Any], scores: Sequence[float], bins: int = 10) -> list[float]:
    history = [finished(n, {"p": value}, score) for n, (value, score) in enumerate(zip(values, scores, strict=True))]
    return RLSampler(one(dimension), direction="max", bins=bins).policy(history)["p"]


# --- the formulae ----------------------------------------------------------------------------------------------------


def slow_softmax(logits: list[float]) -> list[float]:
    powers = [math.exp(logit) for logit in logits]
    return [power / sum(powers) for power in powers]


def slow_entropy(logits: list[float]) -> float:
    return -sum(p * math.log(p) for p in slow_softmax(logits))


def slow_gradient(function: Callable[[list[float]], float], logits: list[float], eps: float = 1e-5) -> list[float]:
    """By central differences."""
    moved = []
    for at in range(len(logits)):
        up, down = list(logits), list(logits)
        up[at] += eps
        down[at] -= eps
        moved.append((function(up) - function(down)) / (2 * eps))
    return moved


def slow_bound(logits: list[float]) -> list[float]:
    return [max(logit, max(logits) - 5.0) for logit in logits]


def slow_policy(actions: list[int | None], rewards: list[float], size: int) -> list[float]:
    """The docstring's learning rule for one unordered choice, with numeric gradients of log π and of the entropy."""
    chosen = [(action, reward) for action, reward in zip(actions, rewards, strict=True) if action is not None]
    baseline = sum(reward for _, reward in chosen) / len(chosen)
    logits, then = [0.0] * size, []
    for action, reward in chosen:
        then.append(slow_softmax(logits)[action])
        towards = slow_gradient(lambda x, a=action: math.log(slow_softmax(x)[a]), logits)
        spread = slow_gradient(slow_entropy, logits)
        logits = [x + 0.5 * (reward - baseline) * t + 0.03 * s for x, t, s in zip(logits, towards, spread, strict=True)]
    for _ in range(3):
        step = [0.03 * len(chosen) * s for s in slow_gradient(slow_entropy, logits)]
        for (action, reward), before in zip(chosen, then, strict=True):
            weight = min(1.0, slow_softmax(logits)[action] / before)
            towards = slow_gradient(lambda x, a=action: math.log(slow_softmax(x)[a]), logits)
            step = [s + 0.5 * weight * (reward - baseline) * t for s, t in zip(step, towards, strict=True)]
        logits = slow_bound([x + min(1.0, 32 / len(actions)) * s for x, s in zip(logits, step, strict=True)])
    return slow_softmax(logits)


@pytest.mark.parametrize(("trials", "clear"), [(2, 0.0), (9, 0.0), (50, 0.0), (50, 9.0)])
def test_the_policy_is_that_of_the_formulae_taken_step_by_step(trials: int, clear: float) -> None:
    """Two choices of different size, the second under a value of the first; scores by chance, or as `clear` as that."""
    rng = random.Random(trials)
    space = Space(
        [
            Parameter("block", Choice(tuple("abc")), "a"),
            Parameter("inner", Choice(tuple("vwxyz")), "v", when={"block": ("a", "b")}),
        ]
    )
    configs = [space.default, *(space.sample(rng) for _ in range(trials - 1))]
    scores = [rng.gauss(0, 1) + clear * (config.get("inner") == "w") for config in configs]
    learned = RLSampler(space, direction="max").policy(
        [finished(n, *pair) for n, pair in enumerate(zip(configs, scores, strict=True))]
    )
    rewards = [1 - 2 * (place - 1) / (trials - 1) for place in rankdata([-score for score in scores])]
    for name, letters in (("block", "abc"), ("inner", "vwxyz")):
        actions = [letters.index(config[name]) if name in config else None for config in configs]
        assert learned[name] == pytest.approx(slow_policy(actions, rewards, len(letters)), abs=1e-6)


def test_rewards_are_ranks_between_one_and_minus_one() -> None:
    scores = [3.0, -1.0, 3.0, 7.0, 2.0, -1.0, -1.0]
    rewards = rl._rewards([(1, -1_000_000, -score) for score in scores])
    assert rewards.tolist() == pytest.approx([1 - 2 * (rank - 1) / 6 for rank in rankdata([-s for s in scores])])
    assert rl._rewards([(1, 0, 0.5)] * 4).tolist() == [0.0] * 4
    assert rl._rewards([(1, 0, 0.5)]).tolist() == [0.0]
    assert rl._rewards([(1, 0, 1.0), (1, 0, 0.0)]).tolist() == [-1.0, 1.0]


def test_any_increasing_change_of_the_scores_leaves_the_policy_as_it_is() -> None:
    history = search(conditional_space(), lambda config: config["lr"], 20)
    stretched = [
        replace(trial, reports=tuple(replace(r, score=math.exp(500 * r.score) - 7) for r in trial.reports))
        for trial in history
    ]
    sampler = RLSampler(conditional_space(), direction="max")
    assert sampler.policy(history) == sampler.policy(stretched)


# --- actions ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dimension", "actions"),
    [
        (Choice(("a", "b", None)), 3),
        (Choice((True, 1, "1")), 3),
        (Choice((8, 2, 32)), 3),
        (Int(3, 7), 5),
        (Int(1, 10), 10),
        (Int(1, 11, log=True), 10),
        (Float(1e-5, 1e-2, log=True), 10),
        (Float(2.0, 2.0), 10),
    ],
    ids=str,
)
def test_every_dimension_has_actions_and_starts_uniform(dimension: Dimension, actions: int) -> None:
    sampler = RLSampler(one(dimension), direction="max")
    assert sampler.policy([]) == {"p": pytest.approx([1 / actions] * actions)}
    value = dimension.sample(random.Random(1))
    assert sampler.policy([finished(0, {"p": value}, 1.0)]) == {"p": pytest.approx([1 / actions] * actions)}


def test_draws_of_the_uniform_policy_are_uniform_in_the_parameters_own_scale() -> None:
    for dimension in (Float(1e-4, 1.0, log=True), Float(-1.0, 3.0), Int(1, 1000, log=True), Int(1, 100)):
        space = one(dimension)
        history = [finished(n, {"p": space.default["p"]}, 0.0) for n in range(5)]
        drawn = sorted(RLSampler(space, seed, direction="max").ask(history)["p"] for seed in range(400))
        independent = sorted(dimension.sample(random.Random(seed)) for seed in range(4000))
        for share in (0.1, 0.25, 0.5, 0.75, 0.9):  # standard error of a share of 400: at most 0.025
            below = sum(value <= drawn[int(400 * share)] for value in independent) / 4000
            assert below == pytest.approx(share, abs=0.08)


def test_what_holds_for_a_value_nearly_holds_for_its_neighbours() -> None:
    learned = policy_after(Choice((80, 10, 40, 20, 160)), [20, 160, 10, 80], [1.0, 0.0, 0.0, 0.0])
    assert max(learned) == learned[1]  # ascending: 10, 20, 40, …
    assert learned[2] > learned[3]
    learned = policy_after(Float(0.0, 1.0), [0.55, 0.05, 0.95, 0.25], [1.0, 0.0, 0.0, 0.0])
    assert learned.index(max(learned)) == 5
    assert learned[4] > 0.1
    assert learned[6] > 0.1
    apart = policy_after(Choice(tuple("abcde")), ["b", "e", "a", "d"], [1.0, 0.0, 0.0, 0.0])
    assert apart[2] < apart[1]
    assert max(apart) == apart[1]


# --- learning --------------------------------------------------------------------------------------------------------


def test_the_better_value_becomes_more_likely_and_never_certain() -> None:
    values = ["good", "bad", "worse"] * 10
    learned = policy_after(Choice(("good", "bad", "worse")), values, [-float(len(value)) for value in values])
    assert learned[1] > 0.8  # "bad" is the shortest word
    long = policy_after(Choice(("good", "bad", "worse")), values * 30, [-float(len(value)) for value in values * 30])
    assert long[1] > 0.8
    assert min(long) > 0.005


def test_equal_scores_teach_nothing() -> None:
    values = ["a", "b", "a", "c", "a"]
    assert policy_after(Choice(tuple("abc")), values, [1.0] * 5) == pytest.approx([1 / 3] * 3)


def test_a_parameter_is_judged_among_the_trials_that_have_it() -> None:
    """Every trial of the branch is worse than all others: its values differ in merit all the same."""
    space = Space(
        [
            Parameter("start", Choice(("scratch", "base")), "scratch"),
            Parameter("rank", Choice(("low", "high")), "low", when={"start": ("base",)}),
        ]
    )
    history = [finished(n, {"start": "scratch"}, 10.0) for n in range(12)]
    history += [
        finished(12 + n, {"start": "base", "rank": rank}, 0.0 if rank == "low" else 1.0)
        for n, rank in enumerate(["low", "high"] * 6)
    ]
    learned = RLSampler(space, direction="max").policy(history)
    assert learned["start"][0] > 0.8
    assert learned["rank"][1] > 0.8


def test_stopped_trials_rank_by_rung_before_score() -> None:
    space, history = quadratic_space(), []
    for number in range(20):
        x = -4.0 + 0.02 * number if number % 2 else 4.0 - 0.02 * number
        reports = (Report(1 / 9, 0.5),) if number % 2 else (Report(1 / 9, 0.6), Report(1.0, 0.1))
        history.append(Trial(number, {"x": x, "y": 0.0, "z": 0.0}, "stopped" if number % 2 else "finished", reports))
    learned = RLSampler(space, direction="max").policy(history)["x"]
    assert sum(learned[5:]) > 0.8


def test_trials_are_learned_from_in_the_order_in_which_they_ran() -> None:
    history = search(conditional_space(), lambda config: config["lr"], 20)
    sampler = RLSampler(conditional_space(), direction="max")
    assert sampler.policy(history[::-1]) == sampler.policy(history)
    renumbered = [replace(trial, number=19 - trial.number) for trial in history]
    assert sampler.policy(renumbered) != sampler.policy(history)


def test_what_was_tried_is_drawn_again() -> None:
    space = Space([Parameter("a", Choice(tuple("xy")), "x"), Parameter("b", Int(1, 2), 1)])
    tried = [{"a": "x", "b": 1}, {"a": "y", "b": 1}, {"a": "x", "b": 2}] * 2
    history = [finished(n, config, 0.0) for n, config in enumerate(tried)]
    proposals = [RLSampler(space, seed, direction="max").ask(history) for seed in range(20)]
    assert proposals.count({"a": "y", "b": 2}) >= 19  # (3/4)^21 to miss it; without drawing again 5 of 20


def test_trials_outside_the_space_teach_nothing() -> None:
    narrow = conditional_space().narrowed({"lr": [1e-4, 1e-3]})
    history = search(conditional_space(), lambda config: config["lr"], 20)
    inside = [trial for trial in history if narrow.contains(trial.config)]
    assert 0 < len(inside) < len(history)
    sampler = RLSampler(narrow, direction="max")
    assert sampler.policy(history) == sampler.policy(inside)


def test_proposals_gather_around_the_optimum() -> None:
    early: list[float] = []
    late: list[float] = []
    for seed in range(6):
        history = search(quadratic_space(), lambda c: -sum((c[name] - 1.0) ** 2 for name in "xyz"), 60, seed)
        losses = [-(trial.score or 0.0) for trial in history]
        early += losses[1:5]
        late += losses[45:]
    assert statistics.median(late) < 0.25 * statistics.median(early)


def test_exploration_does_not_end() -> None:
    """After ten times the trials of a real search each parameter still has several actions worth a draw."""
    history = search(quadratic_space(), lambda c: -sum((c[name] - 1.0) ** 2 for name in "xyz"), 200)
    for probabilities in RLSampler(quadratic_space(), direction="max").policy(history).values():
        assert math.exp(-sum(p * math.log(p) for p in np.maximum(probabilities, 1e-12))) > 2.0
