"""The record of decoding options: ranges, contradictions, and what is read from configurations and requests."""

from __future__ import annotations

from typing import Any

import pytest

from autogpt.errors import ConfigError
from autogpt.generation.sampling import Sampling, read_options


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": -1},
        {"temperature": float("nan")},
        {"temperature": "hot"},
        {"top_p": 1.5},
        {"top_k": 2.5},
        {"top_k": True},
        {"max_new_tokens": 0},
        {"frequency_penalty": 3},
        {"dry_base": 0.5},
        {"beams": 0},
        {"logprobs": -1},
        {"logit_bias": {"x": 1}},
        {"logit_bias": {-1: 1}},
        {"logit_bias": {3: float("nan")}},
        {"logit_bias": {3: float("inf")}},
        {"logit_bias": 3},
        {"latent": -1},
        {"latent": 64},
        {"latent": 1.5},
        {"latent": True},
        {"latent": "worst"},
        {"stop": ""},
        {"stop": ["a", ""]},
        {"stop": 3},
        {"stop": ["x"] * 65},
        {"stop": "x" * 257},
    ],
)
def test_values_out_of_range_are_refused_in_one_line(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        Sampling().with_options(options)
    assert "\n" not in str(caught.value)
    assert "found" in str(caught.value)
    assert "expected" in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {"beams": 4, "temperature": 0.5},
        {"beams": 4, "contrastive_alpha": 0.6, "top_k": 4},
        {"contrastive_alpha": 0.6, "top_k": 4, "temperature": 1.0},
        {"contrastive_alpha": 0.6},
        {"latent": "mixture", "beams": 4},
        {"latent": "mixture", "contrastive_alpha": 0.6, "top_k": 4},
        {"length_penalty": 2.0},
        {"min_new_tokens": 9, "max_new_tokens": 8},
    ],
)
def test_contradictions_are_refused_in_one_line(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"found .* expected "):
        Sampling(**options)


def test_an_unknown_option_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="temperature"):
        Sampling().with_options({"temprature": 1.0})


def test_none_is_not_given_and_nothing_else_changes() -> None:
    base = Sampling(temperature=0.5, stop=("a",), logprobs=2)
    assert base.with_options({"temperature": None, "top_k": 3}) == Sampling(
        temperature=0.5, stop=("a",), logprobs=2, top_k=3
    )


def test_stop_and_bias_are_taken_as_json_and_yaml_have_them() -> None:
    given = Sampling(stop="end", logit_bias={"7": -1, 3: 2.5})  # type: ignore[arg-type]
    assert given == Sampling(stop=("end",), logit_bias=((3, 2.5), (7, -1.0)))
    assert Sampling(stop=["a", "b", "a"]).stop == ("a", "b")  # type: ignore[arg-type]
    assert hash(given)  # a record that can be a key


@pytest.mark.parametrize(("text", "latent"), [("best", "best"), ("mixture", "mixture"), ("3", 3), ("0", 0)])
def test_components_are_named_on_the_command_line(text: str, latent: Any) -> None:
    assert Sampling().with_options(read_options([f"latent={text}"])).latent == latent
