from __future__ import annotations

import logging
import warnings
from typing import Any

import optuna
import pytest

from autogpt.search.samplers.optuna_study import (
    coded,
    direction_of,
    distribution,
    frozen,
    intermediate_values,
    is_point,
    proposed,
    quiet,
)
from autogpt.search.space import Choice, Dimension, Float, Int, Parameter, Space
from autogpt.search.trials import Report, Trial
from autogpt.testing import conditional_space


@pytest.mark.parametrize(
    ("dimension", "value", "expected"),
    [
        (Choice((1, True, "a", None)), True, 1),
        (Choice((1, True, "a", None)), None, 3),
        (Float(1e-4, 1e-2, log=True), 1e-3, 1e-3),
        (Int(2, 9), 4, 4),
        (Float(1e-06, 1.0000000000000002e-06, log=True), 1e-06, 0),
    ],
)
def test_a_coded_value_lies_in_the_distribution(dimension: Dimension, value: Any, expected: Any) -> None:
    found, of = coded(dimension, value), distribution(dimension)
    assert found == expected
    assert of._contains(of.to_internal_repr(found))


def test_ranges_keep_their_bounds_and_scale() -> None:
    found = distribution(Float(1e-4, 1e-2, log=True))
    assert (found.low, found.high, found.log) == (1e-4, 1e-2, True)
    assert is_point(Float(2.0, 2.0))
    assert not is_point(Int(2, 2))


def test_reports_become_steps_that_stay_apart() -> None:
    trial = Trial(0, {}, "finished", (Report(1 / 3, 0.5), Report(0.3334, 0.6), Report(1.0, 0.7)))
    assert intermediate_values(trial, ranked=False) == {333_333: 0.5, 333_400: 0.6, 1_000_000: 0.7}
    assert [direction_of("max"), direction_of("min")] == ["maximize", "minimize"]


def test_quiet_hides_optunas_own_notes_only() -> None:
    optuna.logging.set_verbosity(logging.INFO)
    with quiet():
        assert optuna.logging.get_verbosity() == logging.WARNING
        warnings.warn("experimental", optuna.exceptions.ExperimentalWarning, stacklevel=1)
        with pytest.raises(UserWarning, match="ours"):
            warnings.warn("ours", UserWarning, stacklevel=1)
    assert optuna.logging.get_verbosity() == logging.INFO


def test_a_trial_keeps_its_values_and_is_pruned_without_any() -> None:
    space = Space([Parameter("start", Choice(("a", "b")), "a"), Parameter("n", Int(1, 9), 2, {"start": ("a",)})])
    complete = frozen(space, {"start": "b", "n": 3}, values=[1.0, 2.0], attributes={"noted": 4})
    assert (complete.state, complete.values) == (optuna.trial.TrialState.COMPLETE, [1.0, 2.0])
    assert (complete.params, complete.system_attrs) == ({"start": 1, "n": 3}, {"noted": 4})
    pruned = frozen(space, {"start": "b"}, values=None, on_the_way={333_333: 0.5})
    assert (pruned.state, pruned.intermediate_values) == (optuna.trial.TrialState.PRUNED, {333_333: 0.5})
    assert pruned.params == {"start": 1}


def test_a_proposal_has_the_active_parameters_only() -> None:
    space, starts = conditional_space(), set()
    taught = [frozen(space, space.default, values=[1.0, 2.0])]
    for seed in range(12):
        config = proposed(space, optuna.samplers.RandomSampler(seed=seed), taught, ["minimize", "maximize"])
        assert space.validate(config) == config
        starts.add(config["start"])
    assert starts == {"scratch", "base"}
