"""Lengths and sentence ends, against examples counted by hand."""

from __future__ import annotations

import pytest

from autogpt.writing.units import ends_sentence, first_sentence, language_for_text, length, sentences, units


@pytest.mark.parametrize(
    ("text", "count"),
    [("宝玉笑道：“好。”", 5), ("Don't go, Mr. Smith!", 4), ("他说 hello world。", 4), ("", 0), ("……", 0), ("第3回", 3)],
)
def test_length(text: str, count: int) -> None:
    assert length(text) == count == len(units(text))


@pytest.mark.parametrize(
    ("text", "ends"),
    [
        ("他走了。", True),
        ("他道：“走。”", True),
        ("他道：“走", False),
        ("He left.", True),
        ('"Go!" ', True),
        ("He met Mr.", False),
        ("he left", False),
        ("", False),
    ],
)
def test_ends_sentence(text: str, ends: bool) -> None:
    assert ends_sentence(text) is ends


def test_the_end_of_a_sentence_is_known_only_when_something_follows() -> None:
    assert first_sentence("他道：“走。", whole=False) is None
    assert first_sentence("他道：“走。”", whole=False) is None
    assert first_sentence("他道：“走。”他", whole=False) == ("他道：“走。”", "他")
    assert first_sentence("Mr. Smith left. He", whole=False) == ("Mr. Smith left.", " He")
    assert first_sentence("。”他走了。好", whole=False) == ("。”他走了。", "好")


def test_sentences_joined_are_the_text() -> None:
    text = "却说宝玉。黛玉笑道：“你来了？”众人都笑"
    assert "".join(sentences(text)) == text
    assert len(sentences(text)) == 3


def test_language() -> None:
    assert (language_for_text("Alice 爱"), language_for_text("Alice")) == ("zh", "en")
