from __future__ import annotations

import random

import optuna

from autogpt.search.pareto import TradeOff, pareto_front, trade_offs
from autogpt.search.trials import Report, Trial


def test_a_hand_example() -> None:
    best, small, fast = TradeOff(0, 0.9, 100, 5.0), TradeOff(1, 0.8, 10, 4.0), TradeOff(2, 0.7, 20, 1.0)
    worse, same = TradeOff(3, 0.8, 11, 4.0), TradeOff(4, 0.9, 100, 5.0)
    assert pareto_front([fast, worse, small, best], "max") == [best, small, fast]
    assert pareto_front([best, same], "max") == [best, same]
    assert pareto_front([fast, worse, small, best], "min") == [fast, small]
    assert pareto_front([], "max") == []


def test_equals_the_front_of_optuna() -> None:
    rng = random.Random(0)
    known = [TradeOff(n, round(rng.random(), 1), rng.randrange(5), float(rng.randrange(5))) for n in range(40)]
    study = optuna.create_study(directions=["maximize", "minimize", "minimize"])
    for one in known:
        study.add_trial(optuna.trial.create_trial(values=[one.score, one.parameters, one.row_ms]))
    assert {one.number for one in pareto_front(known, "max")} == {trial.number for trial in study.best_trials}


def test_only_trials_that_came_furthest_are_compared() -> None:
    info = {"parameters": 10, "row_ms": 1.5}
    trials = [
        Trial(0, {}, "finished", (Report(1 / 3, 0.1, info=info), Report(1.0, 0.5, info=info))),
        Trial(1, {}, "stopped", (Report(1 / 3, 0.9, info=info),)),
        Trial(2, {}, "finished", (Report(1.0, 0.6),)),
        Trial(3, {}, "failed", (Report(1.0, 0.9, info=info),)),
    ]
    assert trade_offs(trials) == [TradeOff(0, 0.5, 10, 1.5)]
