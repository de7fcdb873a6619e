"""Splitting answers, seeds, and what is asked of the writer."""

from __future__ import annotations

from autogpt.writing.drafting import seed_of, split_answer
from autogpt.writing.gates import Piece


def test_seeds_are_the_same_for_the_same_and_spread() -> None:
    assert seed_of(1, "a") == seed_of(1, "a")
    found = {seed_of(0, chapter, sentence) for chapter in range(20) for sentence in range(50)}
    assert len(found) == 1000
    assert all(0 <= seed < 2**31 for seed in found)


def test_prose_is_split_into_sentences_and_paragraphs() -> None:
    text = "# Title\nHe left. She stayed.\n\nThen it rained. And"
    assert split_answer(text, by_speeches=False, language="en") == [
        Piece("He left.", opens=True),
        Piece("She stayed."),
        Piece("Then it rained.", opens=True),
        Piece("And"),
    ]


def test_scripts_are_split_into_speeches() -> None:
    text = "**Ann:** Go now. Go and\n\nBen:\nI will.\n\nThey leave."
    assert split_answer(text, by_speeches=True, language="en") == [
        Piece("Go now.", True, "", "ANN"),
        Piece("I will.", True, "", "BEN"),
        Piece("They leave."),
    ]
    assert split_answer("宝玉：去罢。", by_speeches=True, language="zh") == [Piece("去罢。", True, "", "宝玉")]
