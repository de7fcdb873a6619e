from __future__ import annotations

import json
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


def _wide() -> Space:
    """One parameter of each kind that allows more than it searches, and optional ones with and without a condition."""
    own = {"start": ("scratch",)}
    return Space(
        [
            Parameter("start", Choice(("scratch", "base")), "scratch"),
            Parameter("steps", Choice((512, 1024)), 1024, allowed=Int(64, 4096)),
            Parameter("width", Choice((128, 192)), 128, own, "hidden size", Int(32, 1024)),
            Parameter("lr", Float(1e-3, 1e-2, log=True), 2e-3, own, allowed=Float(0.0, 1.0)),
            Parameter("top", Int(1, 4), 2, {"start": ("base",)}, allowed=Int(0, 8)),
        ],
        [
            Parameter("context", Choice((128, 256)), 256),
            Parameter("norm", Choice(("rms", "layer")), "rms", own, "kind of norm"),
            Parameter("bias", Choice((False, True)), False, {"norm": ("layer",)}),
        ],
    )


@pytest.mark.parametrize(
    ("wish", "dimension", "default"),
    [
        ({"width": 512}, Choice((512,)), 512),
        ({"width": [512, 64]}, Choice((512, 64)), 512),
        ({"width": [64, 128]}, Choice((64, 128)), 128),
        ({"lr": 0}, Choice((0.0,)), 0.0),
        ({"lr": [1e-4, 1e-1]}, Float(1e-4, 1e-1, log=True), 2e-3),
        ({"lr": [0, 1e-3]}, Float(0.0, 1e-3), 1e-3),  # nothing is logarithmic from zero on
        ({"start": "base", "top": [0, 8]}, Int(0, 8), 2),
    ],
)
def test_a_wish_may_leave_what_is_searched(wish: dict, dimension: object, default: object) -> None:
    space, name = _wide().narrowed(wish), list(wish)[-1]
    assert space[name].dimension == dimension
    assert space.default[name] == default
    for seed in range(20):
        assert space.contains(space.sample(random.Random(seed)))


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        ({"width": 2048}, "search parameter 'width'; found 2048; expected 32 to 1024"),
        ({"width": [128, 2048]}, "found 2048; expected 32 to 1024"),
        ({"width": []}, "found an empty list; expected 32 to 1024"),
        ({"lr": -1}, "expected 0 to 1"),
        ({"nrom": "rms"}, "unknown search parameter 'nrom'; did you mean 'norm'?"),
        ({"norm": "batch"}, "expected rms, layer"),
        ({"start": "base", "norm": "rms"}, "search.space.norm has no effect; expected start = scratch"),
        ({"bias": True}, "search.space.bias has no effect; expected norm = layer"),
        ({"norm": "rms", "bias": True}, "search.space.bias has no effect; expected norm = layer"),
    ],
)
def test_wishes_beyond_what_is_allowed(wish: dict, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        _wide().narrowed(wish)
    assert message in str(caught.value)


def test_what_was_narrowed_cannot_be_widened_again() -> None:
    with pytest.raises(ConfigError, match="expected 512"):
        _wide().narrowed({"width": 512}).narrowed({"width": 64})


def test_nobody_sees_an_optional_parameter_that_was_not_asked_for() -> None:
    plain, wide = Space(_wide().parameters), _wide()
    assert wide.names == plain.names == ("start", "steps", "width", "lr", "top")
    assert wide.default == plain.default
    assert [wide.sample(random.Random(seed)) for seed in range(20)] == [
        plain.sample(random.Random(seed)) for seed in range(20)
    ]
    assert wide.narrowed({}) == plain
    with pytest.raises(ConfigError, match="unknown search parameter 'norm'"):
        wide.validate({**wide.default, "norm": "rms"})


def test_an_optional_parameter_stands_where_its_condition_does() -> None:
    space = _wide().narrowed({"bias": [False, True], "norm": ["rms", "layer"], "context": 64 * 2})
    assert space.names == ("start", "steps", "context", "width", "lr", "norm", "bias", "top")
    assert space.optional == ()
    assert space.default == {"start": "scratch", "steps": 1024, "context": 128, "width": 128, "lr": 2e-3, "norm": "rms"}
    seen = [space.sample(random.Random(seed)) for seed in range(60)]
    assert {config.get("norm") for config in seen} == {None, "rms", "layer"}
    for config in seen:
        assert ("norm" in config) == (config["start"] == "scratch")
        assert ("bias" in config) == (config.get("norm") == "layer")
        assert space.contains(config)


def test_the_table_shows_what_may_be_asked_for() -> None:
    rows = {row[0]: row for row in _wide().table()}
    assert rows["width"] == ("width", "128, 192 (allowed: 32 to 1024)", "128", "start = scratch", "hidden size")
    assert rows["context"] == ("context", "128, 256", "", "when asked for", "")
    assert rows["norm"] == ("norm", "rms, layer", "", "when asked for, start = scratch", "kind of norm")


def test_impossible_spaces_are_mistakes_of_the_programmer() -> None:
    lr = Parameter("lr", Float(0.0, 1.0), 0.5)
    for build in (
        lambda: Space([lr, lr]),
        lambda: Space([Parameter("lr", Float(0.0, 1.0), 0.5, when={"start": ("a",)})]),
        lambda: Parameter("lr", Float(0.0, 1.0), 2.0),
        lambda: Parameter("lr", Float(0.0, 1.0), 0.5, allowed=Float(0.1, 2.0)),
        lambda: Space([lr], [lr]),
        lambda: Space([], [Parameter("lr", Float(0.0, 1.0), 0.5, when={"start": ("a",)})]),
        lambda: Space(
            [Parameter("lr", Float(0.0, 1.0), 0.5, when={"start": ("a",)})], [Parameter("start", Choice("a"), "a")]
        ),
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
