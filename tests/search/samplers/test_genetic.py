from __future__ import annotations

import math
import random
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autogpt.search.samplers import genetic
from autogpt.search.samplers.genetic import GeneticSampler, crossed, from_unit, mutated, standings, to_unit
from autogpt.search.space import Choice, Float, Int, Parameter, Space
from autogpt.search.trials import Direction, Report, Study, Trial
from autogpt.testing import SamplerContract, conditional_space, quadratic_space


class TestGeneticSampler(SamplerContract):
    def make(self, space: Space, seed: int = 0, direction: Direction = "max") -> GeneticSampler:
        return GeneticSampler(space, seed, direction=direction)


def finished(number: int, config: dict[str, Any], score: float) -> Trial:
    return Trial(number, config, "finished", (Report(1 / 9, score / 2), Report(1.0, score)))


def stopped(number: int, *reports: tuple[float, float]) -> Trial:
    return Trial(number, {}, "stopped", tuple(Report(share, score) for share, score in reports))


# --- standings -------------------------------------------------------------------------------------------------------


def test_standings_by_hand() -> None:
    trials = [
        Trial(0, {}, "failed", (Report(1.0, 99.0),)),
        stopped(1, (1 / 9, 0.2)),
        finished(2, {}, 0.5),
        stopped(3, (1 / 9, 0.1), (1 / 3, 0.3)),
        Trial(4, {}, "finished", (Report(0.4, 0.6),)),  # ended by its own decision: as good as run through
        stopped(5, (1 / 9, 0.2)),
        Trial(6, {}, "failed"),
        stopped(7, (1 / 9, 0.25)),
    ]
    ranked = standings(trials, "max")
    order = sorted(range(len(trials)), key=lambda at: (ranked[at], at))
    assert order == [4, 2, 3, 7, 1, 5, 0, 6]
    assert ranked[0] == ranked[6]
    assert ranked[1] == ranked[5]
    ranked = standings(trials, "min")  # 1, 5 and 3 were ahead of 2 where they ended, and are still
    assert sorted(range(len(trials)), key=lambda at: (ranked[at], at)) == [1, 5, 3, 2, 4, 7, 0, 6]


def test_a_trial_that_was_cut_off_leads_only_where_the_study_prefers_it() -> None:
    leader = Trial(0, {}, "finished", (Report(1 / 3, 0.4), Report(1.0, 0.5)))
    ahead, flattered = stopped(1, (1 / 3, 0.6)), stopped(1, (1 / 3, 0.45))
    assert standings([leader, ahead], "max")[1] < standings([leader, ahead], "max")[0]
    assert standings([leader, flattered], "max")[0] < standings([leader, flattered], "max")[1]


@given(
    st.lists(st.tuples(st.sampled_from(("finished", "stopped", "failed")), st.lists(st.integers(-3, 3), max_size=3)))
)
def test_the_first_of_the_standings_is_the_best_of_the_study(rows: list[tuple[Any, list[int]]]) -> None:
    trials = [
        Trial(number, {}, state, tuple(map(Report, (1 / 9, 1 / 3, 1.0), map(float, scores))))
        for number, (state, scores) in enumerate(rows)
    ]
    for direction in ("max", "min"):
        ranked = standings(trials, direction)
        best = Study(tuple(trials), direction).best
        if best is not None:
            assert min(trials, key=lambda trial: (ranked[trial.number], trial.number)) is best
        for one in trials:
            for other in trials:
                if one.score is not None and other.score is None:
                    assert ranked[one.number] < ranked[other.number]


# --- scales ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "dimension",
    [Float(-3.0, 5.0), Float(1e-5, 1e-1, log=True), Float(2.0, 2.0), Int(3, 9), Int(1, 512, log=True), Int(4, 4)],
    ids=str,
)
def test_unit_scale_and_back(dimension: Float | Int) -> None:
    for seed in range(50):
        value = dimension.sample(random.Random(seed))
        unit = to_unit(dimension, value)
        assert 0.0 <= unit <= 1.0
        assert from_unit(dimension, unit) == pytest.approx(value, rel=1e-3)
        if isinstance(dimension, Int):
            assert from_unit(dimension, unit) == value
    assert (from_unit(dimension, 0.0), from_unit(dimension, 1.0)) == (dimension.low, dimension.high)


def test_the_middle_of_a_scale() -> None:
    assert from_unit(Float(1e-4, 1e-2, log=True), 0.5) == 1e-3
    assert from_unit(Float(0.0, 10.0), 0.25) == 2.5
    assert to_unit(Int(1, 4), 1) == 0.125  # the first of four equal parts, in its middle
    assert Choice((8, 2.5, 1)).is_ordered
    assert not Choice((1, True)).is_ordered
    assert not Choice((1, None)).is_ordered


# --- mutation and crossover ------------------------------------------------------------------------------------------


def one(dimension: Float | Int | Choice) -> Space:
    return Space([Parameter("p", dimension, dimension.sample(random.Random(0)))])


def mutants(dimension: Float | Int | Choice, value: Any, *, step: float = 0.1, draws: int = 400) -> list[Any]:
    space, rng = one(dimension), random.Random(0)
    return [mutated(space, {"p": value}, step, rng)["p"] for _ in range(draws)]


def test_numbers_move_by_gaussian_steps_in_their_own_scale() -> None:
    moved = [math.log10(value) + 3 for value in mutants(Float(1e-5, 1e-1, log=True), 1e-3, draws=2000)]
    assert abs(sum(moved) / 2000) < 0.03  # standard error 0.009
    assert abs(math.sqrt(sum(m * m for m in moved) / 2000) - 0.4) < 0.03  # a tenth of four decades
    moved = mutants(Float(-5.0, 5.0), 1.0, draws=2000)
    assert abs(sum(moved) / 2000 - 1.0) < 0.07
    assert abs(math.sqrt(sum((m - 1.0) ** 2 for m in moved) / 2000) - 1.0) < 0.07


def test_steps_are_reflected_at_the_bounds() -> None:
    moved = mutants(Float(0.0, 1.0), 0.02, step=0.25)
    assert sum(value in (0.0, 1.0) for value in moved) == 0  # clipping would put nearly half of them on the bound
    assert sum(value < 0.25 for value in moved) / 400 == pytest.approx(0.68, abs=0.08)
    assert all(0.0 <= value <= 1.0 for value in mutants(Float(0.0, 1.0), 0.5, step=20.0))


def test_whole_numbers_always_change_and_reach_both_neighbours() -> None:
    assert set(mutants(Int(1, 1000), 500, step=1e-6)) == {499, 501}
    assert set(mutants(Int(1, 2), 1, step=0.01)) == {2}
    assert 4 not in mutants(Int(4, 512, log=True), 4)


def test_ordered_choices_move_to_a_neighbour_in_value() -> None:
    shuffled = Choice((40, 10, 80, 20))
    assert set(mutants(shuffled, 20)) == {10, 40}
    assert set(mutants(shuffled, 80)) == {40}


def test_unordered_choices_move_to_any_other_value() -> None:
    counts = Counter(mutants(Choice((None, "a", True, 1)), True, draws=600))
    assert {repr(value) for value in counts} == {"None", "'a'", "1"}
    assert all(150 < count < 250 for count in counts.values())  # 200 expected, deviation 12


def test_a_mutant_differs_in_little_and_in_something() -> None:
    space, rng = Space([Parameter(f"p{n}", Choice("abcd"), "a") for n in range(10)]), random.Random(0)
    changed = [sum(value != "a" for value in mutated(space, space.default, 0.1, rng).values()) for _ in range(500)]
    assert min(changed) == 1
    assert sum(changed) / 500 == pytest.approx(1.9, abs=0.15)  # one for sure, each of nine others with 1/10


def test_parameters_that_become_active_get_their_default_or_a_draw() -> None:
    space, rng = conditional_space(), random.Random(0)
    config = {"start": "scratch", "width": 64, "lr": 1e-3, "tied": True}
    arrivals = [child["method"] for _ in range(2000) if (child := mutated(space, config, 0.1, rng))["start"] == "base"]
    assert len(arrivals) > 500
    assert arrivals.count("full") / len(arrivals) == pytest.approx(0.75, abs=0.05)  # half by default, a quarter drawn


@given(st.integers(0, 10_000))
def test_children_have_the_values_of_their_parents(seed: int) -> None:
    space, rng = conditional_space(), random.Random(seed)
    parents = [space.sample(rng), space.sample(rng)]
    child = crossed(space, parents, rng)
    assert space.validate(child) == child
    for name, value in child.items():
        offered = [parent[name] for parent in parents if name in parent]
        assert value in offered or not offered
    assert crossed(space, parents[:1], rng) == parents[0]


def test_crossover_takes_from_both_alike() -> None:
    space, rng = quadratic_space(), random.Random(0)
    low, high = (dict.fromkeys("xyz", value) for value in (-1.0, 1.0))
    children = Counter(tuple(crossed(space, [low, high], rng).values()) for _ in range(800))
    assert len(children) == 8
    assert all(60 < count < 140 for count in children.values())  # 100 expected, deviation 9


def test_steps_shrink() -> None:
    steps = [genetic.step_after(children) for children in range(200)]
    assert steps == sorted(steps, reverse=True)
    assert steps[0] == 0.25
    assert steps[20] == pytest.approx(0.15)
    assert steps[-1] == pytest.approx(0.05, abs=1e-3)


# --- the sampler -----------------------------------------------------------------------------------------------------


def history_of(length: int) -> list[Trial]:
    rng = random.Random(5)
    return [finished(n, quadratic_space().sample(rng), rng.gauss(0, 1)) for n in range(length)]


def test_only_the_newest_trials_are_alive() -> None:
    """What the dead had scored changes nothing; what the oldest of the living has scored does."""
    history = history_of(30)

    def proposals(changed: int) -> list[Any]:
        trials = [replace(t, reports=(Report(1.0, 99.0),)) if t.number == changed else t for t in history]
        return [
            GeneticSampler(quadratic_space(), seed, direction="max", population=12).ask(trials) for seed in range(9)
        ]

    as_it_was = proposals(-1)
    assert all(proposals(dead) == as_it_was for dead in (0, 10, 17))
    assert proposals(18) != as_it_was


def test_the_best_of_the_population_wins_as_often_as_a_tournament_lets_it() -> None:
    sampler, rng = GeneticSampler(quadratic_space(), direction="max", tournament=3), random.Random(0)
    wins = Counter(sampler._winner([(1, 0, float(place)) for place in range(10)], rng) for _ in range(4000))
    for place in range(10):  # all three are at least this far back, less all three further back
        expected = ((10 - place) ** 3 - (9 - place) ** 3) / 10**3
        assert wins[place] / 4000 == pytest.approx(expected, abs=0.03)


def test_of_equals_the_youngest_is_the_parent() -> None:
    sampler, rng = GeneticSampler(quadratic_space(), direction="max", tournament=200), random.Random(0)
    assert sampler._winner([(1, 0, 0.0)] * 5, rng) == 4


def test_a_child_that_was_tried_is_bred_again() -> None:
    space = Space([Parameter("a", Choice(tuple("xy")), "x"), Parameter("b", Int(1, 2), 1)])
    tried = [{"a": "x", "b": 1}, {"a": "y", "b": 1}, {"a": "x", "b": 2}] * 2
    history = [finished(n, config, 0.0) for n, config in enumerate(tried)]
    proposals = [GeneticSampler(space, seed, direction="max").ask(history) for seed in range(20)]
    assert proposals.count({"a": "y", "b": 2}) >= 19


def test_proposals_gather_around_the_optimum() -> None:
    space = quadratic_space()
    for seed in range(3):
        history: list[Trial] = []
        for number in range(60):
            config = GeneticSampler(space, seed, direction="min").ask(history)
            history.append(finished(number, config, sum((config[name] - 1.0) ** 2 for name in "xyz")))
        losses = [trial.score or 0.0 for trial in history]
        assert sum(losses[45:]) / 15 < 0.25 * sum(losses[1:5]) / 4
        assert min(losses) < 0.5


def test_after_failures_alone_it_draws_at_random() -> None:
    space = quadratic_space()
    history = [Trial(number, space.sample(random.Random(number)), "failed", error="oom") for number in range(10)]
    drawn = [GeneticSampler(space, seed, direction="max").ask(history)["x"] for seed in range(200)]
    assert all(sum(low <= x < low + 2.5 for x in drawn) > 25 for low in (-5, -2.5, 0, 2.5))  # 50 expected


def test_stopped_trials_rank_by_rung_before_score() -> None:
    """A low rung's flattering score must not draw the search: by score alone its trials would be the parents."""
    space, history = quadratic_space(), []
    for number in range(20):
        x = -4.0 + 0.02 * number if number % 2 else 4.0 - 0.02 * number
        reports = (Report(1 / 9, 0.5),) if number % 2 else (Report(1 / 9, 0.6), Report(1.0, 0.1))
        history.append(Trial(number, {"x": x, "y": 0.0, "z": 0.0}, "stopped" if number % 2 else "finished", reports))
    proposed = [GeneticSampler(space, seed, direction="max").ask(history)["x"] for seed in range(20)]
    assert sum(x > 0 for x in proposed) >= 18
