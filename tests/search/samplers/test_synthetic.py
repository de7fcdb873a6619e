"""The learning samplers against random search on functions whose optimum is known, over a fixed list of seeds."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from scipy.stats import wilcoxon

from autogpt.registry import SAMPLERS
from autogpt.search.space import Choice, Config, Float, Int, Parameter, Space
from autogpt.search.trials import Direction, Report, Trial

SEEDS = range(20)
TRIALS = 60


def space() -> Space:
    """A branch for each of two starts, numbers in both scales, ordered and unordered choices."""
    scratch, base = {"start": ("scratch",)}, {"start": ("base",)}
    return Space(
        [
            Parameter("start", Choice(("scratch", "base")), "scratch"),
            Parameter("width", Choice((64, 96, 128, 192, 256)), 128, scratch),
            Parameter("depth", Int(2, 12), 4, scratch),
            Parameter("block", Choice(("llama", "relu2", "moe", "gpt2")), "llama", scratch),
            Parameter("rank", Int(4, 64, log=True), 16, base),
            Parameter("lr", Float(1e-5, 1e-2, log=True), 1e-3),
            Parameter("dropout", Float(0.0, 0.5), 0.1),
            Parameter("tokens", Choice((512, 1024, 2048, 4096)), 1024),
        ]
    )


def places(config: Mapping[str, Any]) -> dict[str, float]:
    """Ordered parameters between 0 and 1, by hand rather than by the samplers' own scales."""
    ends = {"width": (64, 256), "rank": (4, 64), "lr": (1e-5, 1e-2), "tokens": (512, 4096)}
    logs = {
        name: math.log(config[name] / low) / math.log(high / low)
        for name, (low, high) in ends.items()
        if name in config
    }
    plain = {"dropout": config["dropout"] / 0.5, **({"depth": (config["depth"] - 2) / 10} if "depth" in config else {})}
    return {**logs, **plain}


def optimum(seed: int) -> tuple[Config, dict[str, float]]:
    """The better start and block, and the best place of each ordered parameter, different for each seed."""
    rng = random.Random(f"optimum {seed}")
    best = {"start": rng.choice(("scratch", "base")), "block": rng.choice(("llama", "relu2", "moe", "gpt2"))}
    return best, {name: rng.random() for name in ("width", "depth", "rank", "lr", "dropout", "tokens")}


def separable(config: Config, seed: int) -> float:
    """A sum over parameters, at least 0."""
    names, best = optimum(seed)
    wrong = sum(config[name] != wanted for name, wanted in names.items() if name in config)
    return 0.3 * wrong + sum((place - best[name]) ** 2 for name, place in places(config).items())


def interacting(config: Config, seed: int) -> float:
    """The best learning rate moves with dropout, tokens and size, in narrow valleys; a worse block costs depth."""
    names, best = optimum(seed)
    at = {name: place - best[name] for name, place in places(config).items()}
    size = at.get("width", at.get("rank", 0.0))
    valley = (at["lr"] + 0.7 * size) ** 2 + (at["lr"] - 0.7 * at["tokens"]) ** 2 + (at["dropout"] + at["lr"]) ** 2
    depth = at.get("depth", 0.0) + (0.5 if config.get("block", names["block"]) != names["block"] else 0.0)
    return valley + depth**2 + 0.1 * size**2 + 0.3 * (config["start"] != names["start"])


def best_loss(name: str, loss: Callable[[Config, int], float], seed: int, direction: Direction) -> float:
    sign = -1.0 if direction == "max" else 1.0
    sampler = SAMPLERS.get(name)(space(), seed, direction=direction)
    history: list[Trial] = []
    for number in range(TRIALS):
        config = sampler.ask(history)
        history.append(Trial(number, config, "finished", (Report(1.0, sign * loss(config, seed)),)))
    return min(sign * (trial.score or 0.0) for trial in history)


@pytest.fixture(scope="module")
def random_losses() -> dict[str, list[float]]:
    functions = (separable, interacting)
    return {loss.__name__: [best_loss("random", loss, seed, "min") for seed in SEEDS] for loss in functions}


@pytest.mark.parametrize(("loss", "direction"), [(separable, "min"), (interacting, "max")])
@pytest.mark.parametrize("name", ["genetic", "rl"])
def test_beats_random_search(
    name: str, loss: Callable[[Config, int], float], direction: Direction, random_losses: dict[str, list[float]]
) -> None:
    """Paired by seed: both start with the same five trials. Wilcoxon's signed ranks, one-sided."""
    ours = [best_loss(name, loss, seed, direction) for seed in SEEDS]
    theirs = random_losses[loss.__name__]
    assert wilcoxon(ours, theirs, alternative="less").pvalue < 0.01
    assert sum(ours) < 0.8 * sum(theirs)
