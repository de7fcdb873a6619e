from __future__ import annotations

import json
import math
import random

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from autogpt.errors import ConfigError
from autogpt.search.space import Choice, Float, Int, Parameter, Space
from autogpt.testing import conditional_space


def test_the_default_holds_active_parameters_only() -> None:
    assert conditional_space().default == {"start": "scratch", "width": 128, "lr": 1e-3, "tied": True}


def test_a_child_of_an_inactive_parent_is_inactive() -> None:
    space = conditional_space()
    everything = {"start": "scratch", "width": 64, "method": "lora", "rank": 8, "lr": 1e-3, "tied": False}
    assert space.active(everything) == {"start": "scratch", "width": 64, "lr": 1e-3, "tied": False}
    assert "rank" in space.active({**everything, "start": "base"})


@given(st.integers(0, 10_000))
def test_every_sample_is_a_member(seed: int) -> None:
    space = conditional_space()
    config = space.sample(random.Random(seed))
    assert space.validate(config) == config
    assert json.loads(json.dumps(config)) == config


def test_log_dimensions_spread_over_orders_of_magnitude() -> None:
    rng = random.Random(0)
    dimension = Float(1e-5, 1e-1, log=True)
    drawn = [dimension.sample(rng) for _ in range(1000)]
    share = sum(value < 1e-3 for value in drawn) / 1000
    assert abs(share - 0.5) < 0.06  # half of the exponents
    whole = [Int(1, 64, log=True).sample(rng) for _ in range(1000)]
    assert set(whole) <= set(range(1, 65))
    assert abs(sum(value <= 8 for value in whole) / 1000 - math.log(8.5 / 0.5) / math.log(64.5 / 0.5)) < 0.06


def test_proposed_floats_have_four_digits_and_exact_bounds() -> None:
    assert Float(0.0, 1.0).nearest(0.123456789) == 0.1235
    assert Float(0.123456, 1.0).nearest(0.0) == 0.123456
    assert Float(0.0, 0.987654).nearest(0.99) == 0.987654


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"start": "scratch", "widht": 64, "lr": 1e-3, "tied": True}, "did you mean 'width'?"),
        ({"start": "scratch", "lr": 1e-3, "tied": True}, "'width' is missing"),
        ({"start": "scratch", "width": 1024, "lr": 1e-3, "tied": True}, "expected 32 to 512 (log)"),
        ({"start": "scratch", "width": 64.5, "lr": 1e-3, "tied": True}, "found 64.5"),
        ({"start": "scratch", "width": True, "lr": 1e-3, "tied": True}, "found True"),
        ({"start": "scratch", "width": 64, "lr": float("nan"), "tied": True}, "found nan"),
        ({"start": "scratch", "width": 64, "lr": 1e-3, "tied": 1}, "expected True, False"),
        ({"start": "scratch", "width": 64, "rank": 8, "lr": 1e-3, "tied": True}, "expected method = lora"),
    ],
)
def test_wrong_configurations_are_refused(config: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=r".") as caught:
        conditional_space().validate(config)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not conditional_space().contains(config)


def test_narrowing_as_a_user_writes_it() -> None:
    wishes = yaml.safe_load("{start: base, lr: [1e-4, 1e-3], rank: [8, 16, 32], tied: false, method: [lora]}")
    assert wishes["lr"] == ["1e-4", "1e-3"]  # YAML 1.1 reads these as text
    space = conditional_space().narrowed(wishes)
    assert space.names == ("start", "method", "rank", "lr", "tied")
    assert space["lr"].dimension == Float(1e-4, 1e-3, log=True)
    assert space["rank"].dimension == Choice((8, 16, 32))
    assert space.default == {"start": "base", "method": "lora", "rank": 16, "lr": 1e-3, "tied": False}
    for seed in range(20):
        config = space.sample(random.Random(seed))
        assert conditional_space().contains(config)
        assert 1e-4 <= config["lr"] <= 1e-3
        assert config["rank"] in (8, 16, 32)


def test_a_default_outside_the_new_range_moves_to_its_nearest_end() -> None:
    assert conditional_space().narrowed({"lr": [1e-5, 1e-4]}).default["lr"] == 1e-4
    assert conditional_space().narrowed({"width": [256, 512]}).default["width"] == 256
    assert conditional_space().narrowed({"width": 64}).default["width"] == 64


def test_narrowing_changes_nothing_in_the_original() -> None:
    space = conditional_space()
    space.narrowed({"start": "base"})
    assert space == conditional_space()
    assert space.narrowed({}) == space


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        ({"learning_rate": 1e-3}, "unknown search parameter 'learning_rate'"),
        ({"widths": 64}, "did you mean 'width'?"),
        ({"lr": 1.0}, "expected 1e-05 to 0.01 (log)"),
        ({"lr": [1e-3, 1.0]}, "found 1.0"),
        ({"lr": [1e-3, 1e-4]}, "low before high"),
        ({"lr": "fast"}, "found 'fast'"),
        ({"lr": []}, "an empty list"),
        ({"start": "bose"}, "expected scratch, base"),
        ({"start": "base", "width": 64}, "search.space.width has no effect; expected start = scratch"),
        ({3: 4}, "unknown search parameter '3'"),
    ],
)
def test_wishes_that_cannot_be_granted(wish: dict, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        conditional_space().narrowed(wish)
    assert message in str(caught.value)


def test_the_table_names_every_parameter_and_its_condition() -> None:
    space = Space(
        [
            Parameter("start", Choice(("scratch", "base")), "base", explanation="where the weights come from"),
            Parameter("width", Int(32, 512, log=True), 128, {"start": ("scratch",)}),
        ]
    )
    assert space.table() == (
        ("start", "scratch, base", "base", "", "where the weights come from"),
        ("width", "32 to 512 (log)", "128", "start = scratch", ""),
    )


def test_impossible_spaces_are_mistakes_of_the_programmer() -> None:
    lr = Parameter("lr", Float(0.0, 1.0), 0.5)
    for build in (
        lambda: Space([lr, lr]),
        lambda: Space([Parameter("lr", Float(0.0, 1.0), 0.5, when={"start": ("a",)})]),
        lambda: Parameter("lr", Float(0.0, 1.0), 2.0),
        lambda: Float(1.0, 0.0),
        lambda: Float(0.0, 1.0, log=True),
        lambda: Int(0, 4, log=True),
        lambda: Choice(()),
        lambda: Choice(("a", "a")),
        lambda: Choice((("a", "b"),)),
    ):
        with pytest.raises(ValueError, match=r"."):
            build()


def test_none_and_booleans_are_values_of_their_own() -> None:
    space = Space([Parameter("cap", Choice((None, 1, True, "1")), None)])
    assert space.default == {"cap": None}
    assert [space["cap"].dimension.index(value) for value in (None, 1, True, 1.0, False)] == [0, 1, 2, 1, None]
    assert space.narrowed({"cap": True}).default["cap"] is True
