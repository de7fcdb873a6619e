"""Orders and settings that cannot be, each with one clear line."""

from __future__ import annotations

import pytest

from autogpt.errors import ConfigError
from autogpt.writing.order import Order, read_settings


@pytest.mark.parametrize(
    ("form", "chapters", "words", "message"),
    [
        ("novel", 0, 1000, "--chapters; found 0; expected 1 to 999"),
        ("novel", 10000, 10**6, "--chapters; found 10000"),
        ("novel", 10, 499, "--words is too few for so many chapters; found 499 for 10; expected at least 500"),
        ("novel", 1, 10**8, "--words; found 100000000"),
        ("scirpt", 1, 100, "did you mean 'script'"),
    ],
)
def test_orders_that_cannot_be(form: str, chapters: int, words: int, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        Order("", form, chapters, words)
    assert message in str(error.value)


def test_an_order_survives_json() -> None:
    order = Order("a sea", "novel", 10, 500)
    assert Order.from_dict(order.to_dict()) == order


def test_settings() -> None:
    read = read_settings(["temperature=0.5", "formats=md,epub", "scene_words=100"])
    assert (read.temperature, read.formats, read.scene_words, read.seed) == (0.5, ("md", "epub"), 100, 0)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("temprature=1", "did you mean 'temperature'"),
        ("temperature=9", "option 'temperature'; found 9"),
        ("formats=pdf", "option 'formats'"),
        ("seed=x", "option 'seed'"),
        ("seed", "--set cannot be read"),
    ],
)
def test_settings_that_cannot_be(given: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace("(", r"\(")):
        read_settings([given])
