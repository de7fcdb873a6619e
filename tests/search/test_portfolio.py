from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from autogpt.search.gpt_space import Bases, space_for
from autogpt.search.portfolio import PORTFOLIO, fitted, portfolio_of
from autogpt.search.space import Choice, Float, Int, Parameter, Space
from autogpt.tasks.spec import TaskKind, TaskSpec
from autogpt.testing import conditional_space

SPACE = Space(
    [
        Parameter("lr", Float(1e-4, 1e-2, log=True), 1e-3),
        Parameter("depth", Int(2, 6), 4),
        Parameter("width", Choice((128, 192, 256)), 192),
        Parameter("block", Choice(("relu2", "llama")), "relu2"),
    ]
)


TEXT = TaskSpec(
    description="d",
    kind=TaskKind.GENERATION,
    input_fields=[],
    output_field="text",
    metric="bits_per_byte",
    direction="min",
)


def text(characters: int = 400_000) -> Space:
    return space_for(TEXT, characters)


def test_values_become_the_nearest_that_the_space_allows() -> None:
    known = ({"lr": 0.1, "depth": 9, "width": 96, "block": "llama", "unheard": 1}, {"width": 230, "block": "gelu"})
    assert portfolio_of(SPACE, known) == [
        {"lr": 1e-2, "depth": 6, "width": 128, "block": "llama"},
        {"lr": 1e-3, "depth": 4, "width": 256, "block": "relu2"},
    ]


def test_neither_the_default_nor_a_second_of_the_same() -> None:
    known = ({"depth": 4}, {"depth": 5}, {"depth": 5, "width": 200}, {})
    assert portfolio_of(SPACE, known) == [{**SPACE.default, "depth": 5}]


def test_ours_fits_the_spaces_of_real_tasks() -> None:
    for characters in (50_000, 400_000, 5_000_000):
        space = text(characters)
        found = portfolio_of(space)
        assert len(found) >= len(PORTFOLIO) // 2
        assert all(space.contains(config) for config in found)
    narrow = text().narrowed({"width": 128, "lr": [1e-3, 2e-3], "tokens_per_step": 1024})
    assert {config["width"] for config in portfolio_of(narrow)} <= {128}


def test_it_says_nothing_of_a_base() -> None:
    assert portfolio_of(space_for(TEXT, 400_000, Bases(("b",), "b"))) == []


def test_what_is_known_of_a_base_is_taken_where_it_fits() -> None:
    space = space_for(TEXT, 400_000, Bases(("b",), "b"))
    lora = {"start": "b", "epochs": 20, "tokens_per_step": 2048, "method": "lora", "rank": 8, "lora_lr": 1e-3}
    scratch = text().default
    assert portfolio_of(space, (lora, scratch, {"lr": 1e-3, "epochs": 10}, {"epochs": 10})) == [
        lora,
        scratch,
        {**space.default, "epochs": 10},
    ]


def test_members_stay_as_they_are_and_nonsense_becomes_the_default() -> None:
    assert fitted(SPACE, {"lr": 1.23456e-3, "depth": 5.0}) == {**SPACE.default, "lr": 1.23456e-3, "depth": 5}
    for nonsense in (None, True, "much", float("nan"), float("inf"), -float("inf")):
        assert fitted(SPACE, dict.fromkeys(SPACE.names, nonsense)) == SPACE.default


@given(st.integers(0, 10_000))
def test_a_member_of_the_space_fits_as_it_is(seed: int) -> None:
    config = conditional_space().sample(random.Random(seed))
    assert fitted(conditional_space(), config) == config
