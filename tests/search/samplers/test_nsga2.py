"""Trade-offs: the front that is found, and which trials can dominate which; the rest is in `test_contract`."""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Mapping, Sequence

import pytest

from autogpt.search.samplers import Sampler
from autogpt.search.samplers.nsga2 import NSGA2Sampler, objectives
from autogpt.search.samplers.random import RandomSampler
from autogpt.search.space import Choice, Config, Float, Parameter, Space
from autogpt.search.trials import Direction, Report, State, Trial
from autogpt.testing import SamplerContract, conditional_space, quadratic_space


class TestNSGA2Sampler(SamplerContract):
    def make(self, space: Space, seed: int = 0, direction: Direction = "max") -> NSGA2Sampler:
        return NSGA2Sampler(space, seed, direction=direction)


class TestNSGA2SamplerWithCosts(SamplerContract):
    """The same with reports that say what a model costs, so that there are three objectives."""

    def make(self, space: Space, seed: int = 0, direction: Direction = "max") -> NSGA2Sampler:
        return NSGA2Sampler(space, seed, direction=direction)

    def run(self, space: Space, score: Callable[[Config], float], trials: int, seed: int = 0) -> list[Trial]:
        history: list[Trial] = []
        for number in range(trials):
            config = self.make(space, seed).ask(history)
            info = {"parameters": 100 + 7 * number % 11, "row_ms": 1.0 + number % 3}
            history.append(Trial(number, config, "finished", (Report(1.0, score(config), info=info),)))
        return history


def trial(number: int, state: State, share: float, score: float, costs: tuple[float, float] | None) -> Trial:
    info = {} if costs is None else {"parameters": costs[0], "row_ms": costs[1]}
    return Trial(number, {}, state, (Report(share, score, info=info),))


def dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    return tuple(one) != tuple(other) and all(a <= b for a, b in zip(one, other, strict=True))


def test_the_objectives_by_hand() -> None:
    trials = [
        trial(0, "finished", 1.0, 0.5, (100, 2.0)),
        trial(1, "stopped", 1 / 3, 0.9, (10, 1.0)),
        trial(2, "finished", 1.0, 0.7, (200, 3.0)),
        trial(3, "failed", 1.0, 0.9, (1, 1.0)),
        trial(4, "stopped", 1 / 9, 0.95, (10, 1.0)),
        trial(5, "stopped", 0.3333333, 0.2, (300, 1.0)),
        trial(6, "finished", 1.0, 0.5, (90, 2.5)),
        trial(7, "finished", 1.0, 0.8, None),
        trial(8, "finished", 1.0, float("nan"), (1, 1.0)),
        Trial(9, {}, "running"),
    ]
    expected = {
        "max": {
            0: (1, 100, 2.0),
            1: (3, 10, 1.0),
            2: (0, 200, 3.0),
            4: (5, 10, 1.0),
            5: (4, 300, 1.0),
            6: (1, 90, 2.5),
        },
        "min": {
            0: (0, 100, 2.0),
            1: (4, 10, 1.0),
            2: (2, 200, 3.0),
            4: (5, 10, 1.0),
            5: (3, 300, 1.0),
            6: (0, 90, 2.5),
        },
    }
    assert {one.number: values for one, values in objectives(trials, "max")} == expected["max"]
    assert {one.number: values for one, values in objectives(trials, "min")} == expected["min"]
    assert objectives([trials[3], trials[9]], "max") == []


def test_without_sizes_and_times_the_place_is_all() -> None:
    trials = [trial(number, "finished", 1.0, score, None) for number, score in enumerate((0.2, 0.9, 0.4))]
    assert [values for _, values in objectives(trials, "max")] == [(2.0,), (0.0,), (1.0,)]


@pytest.mark.parametrize("direction", ["max", "min"])
def test_a_stopped_trial_never_dominates_one_that_came_further(direction: Direction) -> None:
    rng = random.Random(1)
    shares = (1 / 9, 1 / 3, 1.0)
    trials = []
    for number in range(60):
        share = rng.choice(shares)
        costs = (float(rng.randint(1, 3)), float(rng.randint(1, 3)))
        trials.append(trial(number, "finished" if share == 1.0 else "stopped", share, rng.choice((0.0, 1.0)), costs))
    known = objectives(trials, direction)
    assert len(known) == 60
    found = 0
    for one, values in known:
        for other, theirs in known:
            if dominates(values, theirs):
                assert one.share >= other.share
                found += one.share > other.share
    assert found, "one that came further may dominate"


OPTIMA = ("a", "b", "c", "d")


def trade_off_space() -> Space:
    return Space([Parameter(name, Float(0.0, 1.0), 0.5) for name in ("size", *OPTIMA)])


def costs(config: Mapping[str, float], seed: int) -> tuple[float, float]:
    """Loss and size: a larger model is better, any model is better the nearer the rest is to its optimum."""
    rng = random.Random(f"optimum {seed}")
    off = sum(abs(config[name] - 0.1 - 0.8 * rng.random()) for name in OPTIMA)
    return (1.0 - config["size"]) ** 2 + off / 2, config["size"]


def found_by(sampler: Sampler, seed: int, trials: int = 48) -> list[tuple[float, float]]:
    history: list[Trial] = []
    for number in range(trials):
        config = sampler.ask(history)
        loss, size = costs(config, seed)
        info = {"parameters": round(1e6 * size), "row_ms": 1.0 + size}
        history.append(Trial(number, config, "finished", (Report(1.0, loss, info=info),)))
    return [costs(one.config, seed) for one in history]


def hypervolume(points: Sequence[tuple[float, float]], reference: tuple[float, float]) -> float:
    """Area that the points dominate up to the reference, both coordinates being costs."""
    area, lowest = 0.0, reference[0]
    for size, loss in sorted((size, loss) for loss, size in points):
        if loss < lowest and size < reference[1]:
            area += (reference[1] - size) * (lowest - loss)
            lowest = loss
    return area


def test_the_hypervolume_by_hand() -> None:
    assert hypervolume([(1.0, 3.0), (2.0, 2.0), (3.0, 2.5), (5.0, 1.0)], (4.0, 4.0)) == (4 - 2) * 2 + (4 - 3) * 1


def test_the_front_dominates_more_than_that_of_random_draws() -> None:
    reference, seeds = (1.5, 1.0), range(12)
    evolved = [hypervolume(found_by(NSGA2Sampler(trade_off_space(), s, direction="min"), s), reference) for s in seeds]
    drawn = [hypervolume(found_by(RandomSampler(trade_off_space(), s, direction="min"), s), reference) for s in seeds]
    assert statistics.median(evolved) > 1.05 * statistics.median(drawn)
    assert sum(ours > theirs for ours, theirs in zip(evolved, drawn, strict=True)) >= 9


def test_with_one_objective_it_comes_nearer_to_the_optimum_than_random_draws() -> None:
    def best(sampler: Sampler) -> float:
        history: list[Trial] = []
        for number in range(40):
            config = sampler.ask(history)
            score = -sum((value - 1.0) ** 2 for value in config.values())
            history.append(Trial(number, config, "finished", (Report(1.0, score),)))
        return min(-(one.score or 0.0) for one in history)

    evolved = [best(NSGA2Sampler(quadratic_space(), seed, direction="max")) for seed in range(8)]
    drawn = [best(RandomSampler(quadratic_space(), seed, direction="max")) for seed in range(8)]
    assert statistics.median(evolved) < 0.6 * statistics.median(drawn)


@pytest.mark.parametrize(("good", "least"), [(range(8), 4.0), (range(8, 16), 4.0), (range(8, 11), 2.0)])
def test_children_inherit_from_the_best_of_all_trials(good: range, least: float) -> None:
    """The good ones have one value everywhere, whether they came first, last or a moment ago."""
    space = Space([Parameter(name, Choice(tuple("pqrstu")), "p") for name in "abcdef"])
    rng, history = random.Random(0), []
    for number in range(max(good.stop, 11)):
        config = dict.fromkeys("abcdef", "t") if number in good else {name: rng.choice("pqrsu") for name in "abcdef"}
        score, size = (1.0, 100.0) if number in good else (0.0, 200.0)
        report = Report(1.0, score, info={"parameters": size, "row_ms": size})
        history.append(Trial(number, config, "finished", (report,)))
    children = [NSGA2Sampler(space, seed, direction="max").ask(history) for seed in range(20)]
    inherited = [list(child.values()).count("t") for child in children]
    assert statistics.fmean(inherited) > least  # of six; one by chance
    assert not any(child == history[good.start].config for child in children), "it was tried"


def test_what_only_some_configurations_have_is_inherited_too() -> None:
    letters, scratch = Choice(tuple("pqrstu")), {"start": ("scratch",)}
    space = Space(
        [
            Parameter("start", Choice(("scratch", "base")), "scratch"),
            Parameter("width", letters, "p", when=scratch),
            Parameter("depth", letters, "p", when=scratch),
            Parameter("rank", letters, "p", when={"start": ("base",)}),
        ]
    )
    good, bad = {"start": "scratch", "width": "t", "depth": "t"}, {"start": "base", "rank": "q"}
    history = [Trial(n, bad if n % 2 else good, "finished", (Report(1.0, -float(n % 2)),)) for n in range(16)]
    children = [NSGA2Sampler(space, seed, direction="max").ask(history) for seed in range(60)]
    scratches = [child for child in children if child["start"] == "scratch"]
    inheriting = [child for child in scratches if "t" in (child["width"], child["depth"])]
    assert len(scratches) > 30
    assert len(inheriting) > 0.6 * len(scratches)  # a third by chance


def test_children_are_bred_when_enough_trials_have_a_score() -> None:
    space, history = conditional_space(), []
    for number in range(12):
        config = NSGA2Sampler(space, 3, direction="max").ask(history)
        assert config == RandomSampler(space, 3, direction="max").ask(history)
        if number % 3:
            history.append(Trial(number, config, "failed", error="no"))
        else:
            history.append(Trial(number, config, "finished", (Report(1.0, float(number)),)))
