"""Tuning of the rates: against readings of its own, and with too little text or time."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from autogpt.data.batching import Encoded, encode_all
from autogpt.generation.adaptive import AdaptationSettings
from autogpt.generation.adaptive_tuning import FEWEST_TOKENS, Tuned, read_rows, tune
from autogpt.generation.engine import Engine
from autogpt.generation.fast_weights import FastRates
from autogpt.types import Segment

MakeEngine = Callable[..., Engine]


def rows(engine: Engine, texts: list[str]) -> list[Encoded]:
    told = [[Segment("say ", is_answer=False), Segment(text, is_answer=True)] for text in texts]
    return encode_all(engine.tokenizer, told, max_tokens=2**30)


def test_without_learning_the_rows_have_the_models_own_nats(make_engine: MakeEngine) -> None:
    engine = make_engine()
    given = rows(engine, ["the cat sat on the mat", "今天天气很好", "a bird"])
    still = read_rows(engine, given, AdaptationSettings(FastRates(step=0.0)))
    assert still == pytest.approx(engine.nats(given), rel=1e-4)


def test_the_rates_are_the_best_of_those_tried(make_engine: MakeEngine) -> None:
    engine = make_engine()
    given = rows(engine, ["the cat sat on the mat, a bird on a plane " * 6] * 4)
    found = tune(engine, given)
    told = {
        step: sum(read_rows(engine, given, AdaptationSettings(FastRates(step, found.settings.rates.decay))))
        for step in (found.settings.rates.step / 2, found.settings.rates.step, found.settings.rates.step * 2)
    }
    assert min(told, key=lambda step: told[step]) == found.settings.rates.step
    plain = sum(engine.nats(given))
    assert 0 < found.gain < 1
    assert told[found.settings.rates.step] < plain
    assert f"{found.tokens} validation tokens" in found.why


def test_too_little_text_or_time_leaves_the_defaults(make_engine: MakeEngine) -> None:
    engine = make_engine()
    assert tune(engine, rows(engine, ["a bird"])) == Tuned(AdaptationSettings())
    assert tune(engine, []) == Tuned(AdaptationSettings())
    long = rows(engine, ["the cat sat on the mat " * FEWEST_TOKENS])
    assert tune(engine, long, seconds=0.0) == Tuned(AdaptationSettings())
    assert "too little" in tune(engine, long, seconds=0.0).why
