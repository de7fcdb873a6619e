from __future__ import annotations

from autogpt.search.gpt_space import Bases, space_for
from autogpt.search.portfolio import PORTFOLIO, portfolio_of
from autogpt.search.space import Choice, Float, Int, Parameter, Space
from autogpt.tasks.spec import TaskKind, TaskSpec

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
