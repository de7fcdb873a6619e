from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
import pytest

from autogpt.errors import BadInput
from autogpt.search.importance import (
    FEWEST_TRIALS,
    common_rung,
    export,
    importance,
    observed_space,
    places,
    rung_score,
)
from autogpt.search.space import Choice, Config, Float, Int, Parameter, Space
from autogpt.search.trials import Direction, Report, Trial
from autogpt.testing import conditional_space, quadratic_space


def finished(number: int, config: Config, score: float) -> Trial:
    return Trial(number, config, "finished", (Report(1.0, score),), 2.0)


def searched(space: Space, score: Callable[[Config], float], trials: int, seed: int = 0) -> list[Trial]:
    """Finished trials of a random search."""
    rng = random.Random(seed)
    configs = [space.sample(rng) for _ in range(trials)]
    return [finished(number, config, score(config)) for number, config in enumerate(configs)]


# --- comparing -------------------------------------------------------------------------------------------------------


def raced() -> list[Trial]:
    """Three reached 1/3, two of them the end; one flattering score at 1/9; one failed."""
    return [
        Trial(0, {"x": 0.0}, "finished", (Report(1 / 9, 0.1), Report(1 / 3, 0.5), Report(1.0, 0.9))),
        Trial(1, {"x": 0.1}, "stopped", (Report(1 / 9, 0.2), Report(1 / 3, 0.4))),
        Trial(2, {"x": 0.2}, "stopped", (Report(1 / 9, 0.99),)),
        Trial(3, {"x": 0.3}, "failed", (Report(1 / 9, 1.0), Report(1 / 3, 1.0), Report(1.0, 1.0)), error="oom"),
        Trial(4, {"x": 0.4}, "finished", (Report(1 / 9, 0.1), Report(1 / 3, 0.6), Report(1.0, 0.8))),
        Trial(5, {"x": 0.5}, "stopped", (Report(1 / 9, 0.0),)),
    ]


def test_the_common_rung_is_the_highest_that_half_reached() -> None:
    assert common_rung(raced()) == 1 / 3  # 3 of 5 scored trials; the end only 2
    assert common_rung([trial for trial in raced() if trial.number != 5]) == 1.0
    assert common_rung([]) is None
    assert common_rung([Trial(0, {}, "failed", error="oom")]) is None
    early = Trial(0, {}, "finished", (Report(0.2, 0.5),))  # ended by its own decision: its score holds to the end
    assert common_rung([early, finished(1, {}, 0.4)]) == 1.0


@pytest.mark.parametrize(
    ("direction", "expected"),
    [("max", {4: 0, 0: 1, 1: 2, 2: 3, 5: 3}), ("min", {1: 0, 0: 1, 4: 2, 2: 3, 5: 3})],
)
def test_places_at_the_common_rung(direction: Direction, expected: dict[int, int]) -> None:
    assert places(raced(), direction) == expected


def test_scores_that_are_no_numbers_do_not_count() -> None:
    bad = finished(9, {"x": 0.0}, math.nan)
    assert rung_score(bad, 1.0) is None
    assert places([*raced(), bad], "max") == places(raced(), "max")


# --- importance ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("direction", ["max", "min"])
def test_the_parameter_that_rules_the_score_comes_first(direction: Direction) -> None:
    space, sign = quadratic_space(), 1.0 if direction == "min" else -1.0
    trials = searched(space, lambda config: sign * ((config["x"] - 1) ** 2 + 0.01 * config["y"] ** 2), 40)
    found = importance(space, trials, direction)
    assert list(found) == sorted(found, key=lambda name: -found[name])
    assert set(found) == {"x", "y", "z"}
    assert next(iter(found)) == "x"
    assert found["x"] > 0.7
    assert sum(found.values()) == pytest.approx(1.0)
    assert importance(observed_space(trials), trials, direction)["x"] > 0.7


def test_continuous_parameters_get_what_optuna_says() -> None:
    """Without ties, only the order counts, so Optuna's own study of the scores has the same shares."""
    space = quadratic_space()
    trials = searched(space, lambda config: (config["x"] - 1) ** 2 + 0.3 * config["y"], 24, seed=2)
    study = optuna.create_study(direction="minimize")
    ranges = {name: optuna.distributions.FloatDistribution(-5.0, 5.0) for name in "xyz"}
    for trial in trials:
        study.add_trial(
            optuna.trial.create_trial(value=trial.score, params=dict(trial.config), distributions=dict(ranges))
        )
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=6 / 24)
    truth = optuna.importance.get_param_importances(study, evaluator=evaluator)
    assert importance(space, trials, "min") == pytest.approx(truth)


def test_a_choice_counts_as_much_as_a_number() -> None:
    space = Space(
        [Parameter("kind", Choice(("a", "b", "c")), "a")]
        + [Parameter(name, Float(0.0, 1.0), 0.5) for name in ("p", "q", "r", "s")]
    )
    effect = {"a": 0.0, "b": 0.3, "c": 1.0}
    first = [
        next(iter(importance(space, searched(space, lambda config: effect[config["kind"]], 25, seed), "max")))
        for seed in range(10)
    ]
    assert first.count("kind") >= 9


def test_parameters_of_one_branch() -> None:
    space = conditional_space()

    def by_rank(config: Config) -> float:
        """Large ranks are best; without LoRA, nothing else matters much."""
        return -abs(config["rank"] - 64) / 60 if "rank" in config else -0.6 - config["lr"]

    trials = searched(space, by_rank, 60, seed=1)
    for of in (space, observed_space(trials)):
        found = importance(of, trials, "max")
        assert set(found) == {"start", "method", "rank", "width", "lr", "tied"}
        assert found["rank"] > found["lr"] + found["tied"] + found["width"]


def test_where_one_branch_is_good_as_a_whole_the_choice_of_it_matters() -> None:
    """All trials without LoRA are equal, so there are fewer good ones than a quarter."""
    trials = searched(conditional_space(), lambda config: float(config.get("rank", 0)), 60, seed=1)
    found = importance(conditional_space(), trials, "max")
    assert {"start", "method"} == set(list(found)[:2])
    assert found["start"] + found["method"] > 0.8


def test_an_early_stop_speaks_against_a_value() -> None:
    """Survivors all have a small x: among them it would look as if x did not matter."""
    rng = random.Random(0)
    trials = []
    for number in range(30):
        config = {"x": rng.uniform(-5, 5), "y": rng.uniform(-5, 5), "z": 0.0}
        if config["x"] > 0:
            trials.append(Trial(number, config, "stopped", (Report(1 / 9, 5.0),)))
        else:
            trials.append(Trial(number, config, "finished", (Report(1 / 9, 6.0), Report(1.0, 1 + 0.01 * rng.random()))))
    found = importance(quadratic_space(), trials, "max")
    assert list(found) == ["x", "y"]  # z had one value
    assert found["x"] > 0.6


def test_nothing_is_said_where_nothing_can_be() -> None:
    space = quadratic_space()

    def by_x(config: Config) -> float:
        return float(config["x"])

    assert importance(space, [], "max") == {}
    assert importance(space, searched(space, by_x, 1), "max") == {}
    assert importance(space, searched(space, by_x, FEWEST_TRIALS - 1), "max") == {}
    assert importance(space, searched(space, by_x, FEWEST_TRIALS), "max") != {}
    assert importance(space, searched(space, lambda config: 0.5, 20), "max") == {}  # constant scores
    lucky = [
        finished(number, trial.config, float(number == 3)) for number, trial in enumerate(searched(space, by_x, 20))
    ]
    assert importance(space, lucky, "max") == {}  # one trial above nineteen equal ones
    failed = [Trial(number, space.sample(random.Random(number)), "failed", error="oom") for number in range(20)]
    assert importance(space, failed, "max") == {}
    same = [finished(number, {"x": 1.0, "y": 2.0, "z": 3.0}, float(number)) for number in range(20)]
    assert importance(space, same, "max") == {}


def test_trials_outside_the_space_are_left_out() -> None:
    space = quadratic_space()
    trials = searched(space, lambda config: float(config["x"]), 20)
    strange = [finished(20, {"x": 99.0, "y": 0.0, "z": 0.0}, 1e9), finished(21, {"other": 1}, 1e9)]
    assert importance(space, [*trials, *strange], "max") == importance(space, trials, "max")


# --- a space from trials ---------------------------------------------------------------------------------------------


def test_a_space_from_what_was_tried() -> None:
    columns: dict[str, list[Any]] = {
        "lr": [0.001, 0.002, 0.0004, 0.004],
        "share": [0.0, 0.25, 0.7, 1.0],
        "width": [256, 128, 256, 192],
        "steps": [10, 700, 350, 20],
        "start": ["scratch", "base", "scratch", "base"],
        "tied": [True, False, True, True],
        "fixed": [0.1, 0.1, 0.1, 0.1],
        "many": [3, 1, 4, 5],
    }
    rows = [{name: values[i] for name, values in columns.items()} for i in range(4)]
    rows += [{"many": number} for number in (9, 2, 6)]
    found = {
        p.name: p.dimension for p in observed_space([finished(i, row, 0.0) for i, row in enumerate(rows)]).parameters
    }
    assert found == {
        "lr": Float(0.0004, 0.004, log=True),
        "share": Float(0.0, 1.0),
        "width": Choice((128, 192, 256)),
        "steps": Choice((10, 20, 350, 700)),
        "start": Choice(("scratch", "base")),
        "tied": Choice((False, True)),
        "fixed": Choice((0.1,)),
        "many": Int(1, 9, log=True),
    }


# --- export ----------------------------------------------------------------------------------------------------------


def journal(file: Path) -> Any:
    return optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(file)))


def mixed() -> list[Trial]:
    return [
        Trial(
            0, {"start": "base", "lr": 1e-3, "odd": True}, "finished", (Report(1 / 3, 0.5, 4.0), Report(1.0, 0.7)), 9.5
        ),
        Trial(
            1, {"start": "scratch", "lr": 2e-4, "odd": 1}, "stopped", (Report(1 / 3, 0.2),), 3.0, reason="place 3 of 3"
        ),
        Trial(2, {"start": "scratch", "lr": 5e-3, "width": 64, "odd": 1}, "failed", (), 1.25, error="out of memory"),
        Trial(3, {"start": "base", "lr": 1e-3, "odd": 2}, "running", (Report(1 / 3, 0.3),), 2.0),
    ]


@pytest.mark.parametrize("suffix", [".log", ".db"])
def test_optuna_reads_the_search_back(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"search{suffix}"
    export(observed_space(mixed()), mixed(), "max", file, "news", began=1_000_000.0)
    assert [path.name for path in tmp_path.iterdir()] == [file.name]  # no lock, nothing half-written
    storage = f"sqlite:///{file}" if suffix == ".db" else journal(file)
    study = optuna.load_study(study_name="news", storage=storage)
    assert study.direction == optuna.study.StudyDirection.MAXIMIZE
    states = optuna.trial.TrialState
    assert [t.state for t in study.trials] == [states.COMPLETE, states.PRUNED, states.FAIL, states.RUNNING]
    assert [t.value for t in study.trials] == [0.7, 0.2, None, None]
    assert study.trials[0].intermediate_values == {333_333: 0.5, 1_000_000: 0.7}
    assert [t.duration.total_seconds() for t in study.trials[:3] if t.duration] == [9.5, 3.0, 1.25]
    assert [t.datetime_start for t in study.trials[:2]] == [
        datetime.fromtimestamp(1_000_000.0),
        datetime.fromtimestamp(1_000_009.5),
    ]
    assert study.trials[1].user_attrs == {"reason": "place 3 of 3"}
    assert study.trials[2].user_attrs == {"error": "out of memory"}
    assert study.trials[2].params == {"start": "scratch", "lr": 5e-3, "width": 64, "odd": "1"}
    assert [json.loads(t.params["odd"]) for t in study.trials] == [True, 1, 1, 2]  # Optuna takes True for 1
    assert study.best_trial.number == 0
    if suffix == ".db":
        study._storage._backend.engine.dispose()


def test_an_export_overwrites_nothing_and_checks_first(tmp_path: Path) -> None:
    space, file = observed_space(mixed()), tmp_path / "search.log"
    file.write_text("mine", encoding="utf-8")
    with pytest.raises(BadInput, match="there already"):
        export(space, mixed(), "max", file, "news")
    assert file.read_text(encoding="utf-8") == "mine"
    with pytest.raises(BadInput, match="no such folder"):
        export(space, mixed(), "max", tmp_path / "none" / "search.log", "news")
    with pytest.raises(BadInput, match="trial 0 lies outside"):
        export(quadratic_space(), mixed(), "max", tmp_path / "new.log", "news")
    assert [path.name for path in tmp_path.iterdir()] == ["search.log"]


def test_points_and_trials_without_parameters_are_exported(tmp_path: Path) -> None:
    narrow = Float(1e-06, 1.0000000000000002e-06, log=True)
    space = Space([Parameter("lr", narrow, 1e-06)])
    file = tmp_path / "search.log"
    export(space, [finished(0, {"lr": 1e-06}, 0.5), finished(1, {}, math.nan)], "min", file, "narrow")
    study = optuna.load_study(study_name="narrow", storage=journal(file))
    assert study.trials[0].params == {"lr": 1e-06}
    assert study.trials[1].state == optuna.trial.TrialState.FAIL
