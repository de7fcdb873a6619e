"""Search by reinforcement learning: a policy over configurations, moved towards what scored well (REINFORCE).

The policy is factored, one categorical distribution for each parameter, as in TuNAS (Bender et al. 2020, "Can weight
sharing outperform random architecture search?"); numbers are cut into bins of equal width in their own scale. It is
trained anew from the whole history at each ask, so nothing is kept between asks. With logits θ_p of parameter p,
π_p = softmax(θ_p), n trials and the actions a_ip of trial i:

- reward: r_i = 1 − 2 · place_i / (n − 1), place 0 for the best, equal trials share the mean of their places. Ranks, so
  that neither the metric's unit nor an outlier matters (fitness shaping, Wierstra et al. 2014, "Natural evolution
  strategies").
- baseline: b_p, the mean reward of the trials in which p is active. It takes variance away and, but for the trial's own
  share in the mean, leaves the direction of the expected gradient as it is (Williams 1992, "Simple statistical
  gradient-following algorithms for connectionist reinforcement learning").
- gradient of one trial: (r_i − b_p) ∇ log π_p(a_ip), which for a softmax is (r_i − b_p)(onehot(a_ip) − π_p).
- entropy bonus: ∇H_p = −π_p (log π_p + H_p) (Williams & Peng 1991, "Function optimization using connectionist
  reinforcement learning algorithms"): without it the first lucky trial would end the search.
- one pass: θ_p ← θ_p + α (r_i − b_p)(onehot(a_ip) − π_p) + β ∇H_p, trial by trial in the order in which they ran: what
  an online learner would have done, had it known the rewards of today. μ_ip = π_p(a_ip) is kept on the way.
- experience replay (Lin 1992) of all trials at once, a few times: the same sums, each trial's gradient weighted by
  min(1, π_p(a_ip) / μ_ip), the truncated importance weight of Wang et al. 2017, "Sample efficient actor-critic with
  experience replay", and the whole step scaled by min(1, 32 / n), so that a long history does not make it a leap.
- bound: after each step logits more than 5 below the best of their parameter are lifted to there. Trials that other
  samplers or the start proposed would otherwise drive an action's probability to zero, from where nothing returns.

Where values have neighbours, onehot(a) is spread over them by a Gaussian, and π_p(a) is the mean under it: what holds
for a value nearly holds for the next one. A factored policy cannot represent that the best value of one parameter
depends on another; it settles on one good combination instead.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from autogpt.search.samplers import rng_for
from autogpt.search.samplers.genetic import Standing, from_unit, members, standings, to_unit
from autogpt.search.space import Choice, Config, Dimension, Int, Space
from autogpt.search.trials import Direction, Trial, same_config

__all__ = ["RLSampler"]

# N trials, P parameters of the space, A actions of the parameter that has most of them
Array: TypeAlias = NDArray[np.float64]

RATE = 0.5
"""α: how far one trial moves a logit."""

ENTROPY = 0.03
"""β, the weight of the entropy bonus."""

REPLAYS = 3
"""Steps on the whole history after the pass in order."""

REPLAY_TRIALS = 32
"""A replay step weighs no more than so many trials."""

SPREAD = 0.7
"""Standard deviation of the Gaussian over neighbouring actions, in actions."""

SPAN = 5.0
"""How far a logit may be below the best of its parameter: the best action is drawn at most 148 times as often."""

TINY = 1e-12
"""Keeps logarithms and ratios of probabilities finite."""

TRIES = 20
"""Draws from the policy for one proposal before a repetition is given up on and a random draw is taken."""


class RLSampler:
    """REINFORCE on a factored policy: the default, then `startup` random draws, then draws from the policy.

    Args:
        space: what may be proposed.
        seed: of all draws; the policy itself follows from the history alone.
        direction: whether scores shall be large or small.
        startup: random draws after the default, the same ones that `RandomSampler` makes.
        bins: equal parts of a numeric parameter's range, at least 1; within a bin values are drawn evenly. A whole
            number with no more values than this has an action for each.

    Trials compare by `genetic.standings`: the further one came, the more its score counts, and failed ones are last.
    One outside the space teaches nothing. A draw that turns out to have been tried already is made anew.
    """

    def __init__(self, space: Space, seed: int = 0, *, direction: Direction, startup: int = 4, bins: int = 10) -> None:
        self.space, self.seed, self.direction, self.startup = space, seed, direction, startup
        self._heads = {parameter.name: _Head.of(parameter.dimension, bins) for parameter in space.parameters}

    def ask(self, history: Sequence[Trial]) -> Config:
        """The next configuration."""
        if not history:
            return self.space.default
        rng = rng_for(self.seed, len(history))
        if len(history) <= self.startup:
            return self.space.sample(rng)
        policy = self.policy(history)
        for _ in range(TRIES):
            config = self._draw(policy, rng)
            if not any(same_config(config, trial.config) for trial in history):
                return config
        return self.space.sample(rng)

    def policy(self, history: Sequence[Trial]) -> dict[str, list[float]]:
        """Probabilities of the actions of each parameter; uniform while no two trials of the space compare.

        Actions are the values of a choice (ascending when all are numbers), each of a few whole numbers, or bins from
        the low to the high end.
        """
        known = members(self.space, history)
        logits_PA = np.full((len(self._heads), max((head.size for head in self._heads.values()), default=1)), -np.inf)
        for row, head in enumerate(self._heads.values()):
            logits_PA[row, : head.size] = 0.0
        if known:
            actions_NPA = self._actions(known, logits_PA.shape[1])
            logits_PA = _learned(logits_PA, actions_NPA, _rewards(standings(known, self.direction)))
        probabilities_PA = _softmax(logits_PA)
        return {
            name: probabilities_PA[row, : head.size].tolist() for row, (name, head) in enumerate(self._heads.items())
        }

    def _actions(self, trials: Sequence[Trial], most: int) -> Array:
        """What each trial chose as weights that sum to 1, spread over neighbours where there are some.

        All zero for a parameter that the trial did not have.
        """
        heads = self._heads.items()
        places_NP = np.array([[_place(head, trial.config, name) for name, head in heads] for trial in trials])
        distances_NPA = np.arange(most) - places_NP[:, :, None]
        near_NPA = np.where(
            np.array([head.has_neighbours for head in self._heads.values()])[:, None],
            np.exp(-0.5 * (distances_NPA / SPREAD) ** 2),
            distances_NPA == 0.0,
        )
        exists_PA = np.arange(most) < np.array([head.size for head in self._heads.values()])[:, None]
        near_NPA = np.where(exists_PA & ~np.isnan(distances_NPA), near_NPA, 0.0)
        actions_NPA: Array = near_NPA / np.maximum(near_NPA.sum(axis=2, keepdims=True), TINY)
        return actions_NPA

    def _draw(self, policy: dict[str, list[float]], rng: Random) -> Config:
        config: Config = {}
        for parameter in self.space.parameters:
            if parameter.is_active(config):
                config[parameter.name] = self._heads[parameter.name].draw(policy[parameter.name], rng)
        return config


@dataclass(frozen=True, slots=True)
class _Head:
    """The actions of one parameter: its values where they are few, else bins of its range.

    Attributes:
        dimension: of the parameter; a choice, with numbers in ascending order, where each value is an action.
        size: number of actions.
        has_neighbours: whether actions next to each other stand for values next to each other.
    """

    dimension: Dimension
    size: int
    has_neighbours: bool

    @classmethod
    def of(cls, dimension: Dimension, bins: int) -> _Head:
        if isinstance(dimension, Choice):
            ordered = dimension.is_ordered
            choice = Choice(tuple(sorted(dimension.values))) if ordered else dimension
            return cls(choice, len(choice.values), ordered)
        if isinstance(dimension, Int) and dimension.high - dimension.low < bins:
            choice = Choice(tuple(range(dimension.low, dimension.high + 1)))
            return cls(choice, len(choice.values), True)
        return cls(dimension, bins, True)

    def place(self, value: Any) -> float:
        """Where `value`, a member, lies on the line of actions, whose centres are the whole numbers from 0."""
        if not isinstance(self.dimension, Choice):
            return to_unit(self.dimension, value) * self.size - 0.5
        place = self.dimension.index(value)
        if place is None:
            raise ValueError(f"{value!r} is not one of {self.dimension}")
        return place

    def draw(self, probabilities: Sequence[float], rng: Random) -> Any:
        """A value of an action that was drawn from `probabilities`."""
        action = rng.choices(range(self.size), weights=probabilities)[0]
        if isinstance(self.dimension, Choice):
            return self.dimension.values[action]
        return from_unit(self.dimension, (action + rng.random()) / self.size)


def _place(head: _Head, config: Mapping[str, Any], name: str) -> float:
    """The place of the parameter's value; not a number where the configuration does not have the parameter."""
    return head.place(config[name]) if name in config else math.nan


def _rewards(ranking: Sequence[Standing]) -> Array:
    """1 for the best to −1 for the worst, evenly spaced; equal standings share their mean, so all equal gives 0."""
    places: dict[Standing, list[int]] = {}
    for place, standing in enumerate(sorted(ranking)):
        places.setdefault(standing, []).append(place)
    shared_N = np.array([sum(places[standing]) / len(places[standing]) for standing in ranking])
    return 1.0 - 2.0 * shared_N / (len(ranking) - 1) if len(ranking) > 1 else np.zeros(len(ranking))


def _learned(logits_PA: Array, actions_NPA: Array, rewards_N: Array) -> Array:
    """The logits after one pass over the trials in order and `REPLAYS` steps on all of them (see the module)."""
    active_NP = actions_NPA.sum(axis=2)
    trials_P = active_NP.sum(axis=0)
    baseline_P = rewards_N @ active_NP / np.maximum(trials_P, 1.0)
    advantages_NP = (rewards_N[:, None] - baseline_P) * active_NP
    then_NP = np.empty_like(active_NP)
    for at, (action_PA, advantage_P, active_P) in enumerate(zip(actions_NPA, advantages_NP, active_NP, strict=True)):
        policy_PA = _softmax(logits_PA)
        then_NP[at] = (policy_PA * action_PA).sum(axis=1)
        logits_PA = logits_PA + RATE * advantage_P[:, None] * (action_PA - policy_PA)
        logits_PA = _bounded(logits_PA + ENTROPY * active_P[:, None] * _entropy_gradient(policy_PA))
    scale = min(1.0, REPLAY_TRIALS / len(rewards_N))
    for _ in range(REPLAYS):
        policy_PA = _softmax(logits_PA)
        now_NP = np.einsum("npa,pa->np", actions_NPA, policy_PA)
        weights_NP = np.minimum(1.0, now_NP / np.maximum(then_NP, TINY)) * advantages_NP
        step_PA = np.einsum("np,npa->pa", weights_NP, actions_NPA) - weights_NP.sum(axis=0)[:, None] * policy_PA
        entropy_PA = trials_P[:, None] * _entropy_gradient(policy_PA)
        logits_PA = _bounded(logits_PA + scale * (RATE * step_PA + ENTROPY * entropy_PA))
    return logits_PA


def _bounded(logits_PA: Array) -> Array:
    """The logits, none more than `SPAN` below the best of its row; −∞ stays, it is no action."""
    least_P1 = logits_PA.max(axis=1, keepdims=True) - SPAN
    return np.where(np.isneginf(logits_PA), logits_PA, np.maximum(logits_PA, least_P1))


def _softmax(logits_PA: Array) -> Array:
    """Probabilities in each row; an action at −∞, which the parameter does not have, gets 0."""
    powers_PA: Array = np.exp(logits_PA - logits_PA.max(axis=1, keepdims=True))
    policy_PA: Array = powers_PA / powers_PA.sum(axis=1, keepdims=True)
    return policy_PA


def _entropy_gradient(policy_PA: Array) -> Array:
    """Gradient of each row's entropy by its logits: −π (log π + H)."""
    logs_PA: Array = np.log(np.maximum(policy_PA, TINY))
    entropy_P1: Array = -(policy_PA * logs_PA).sum(axis=1, keepdims=True)
    return -policy_PA * (logs_PA + entropy_P1)
