"""Titles: what a premise offers, and that the writer chooses among it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from autogpt.writing.titles import book_title, nouns, title_choices

MATTER = "I love the crown. He took the crown of Rome, and my sword, thy sword is here, the other, the other. A day."


def test_nouns_stand_behind_an_article_twice() -> None:
    assert nouns(MATTER) == ["crown", "sword"]


def test_choices() -> None:
    assert title_choices("贾宝玉与林黛玉在大观园中相遇。", ["贾宝玉", "林黛玉"], "", "zh")[::5] == [
        "大观园记",
        "宝玉记",
        "黛玉记",
    ]
    assert title_choices("Romeo lives in Verona.", ["ROMEO"], MATTER, "en") == [
        "The Crown of Verona",
        "The Sword of Verona",
    ]
    assert title_choices("Romeo lives.", ["ROMEO"], MATTER, "en") == ["The Crown of Romeo", "The Sword of Romeo"]


@pytest.mark.parametrize(
    ("premise", "cast", "title"),
    [
        ("写一部《山中》的故事。", ["林黛玉"], "山中"),
        ("介绍北京的胡同。", [], "介绍北京的胡同"),
        ("", [], "Untitled"),
        ("", ["ANN"], "The Book of Ann"),
    ],
)
def test_titles_without_a_choice(premise: str, cast: list[str], title: str, make_writer: Callable[..., Any]) -> None:
    assert book_title(premise, cast, "", make_writer(), 0) == title


def test_a_writer_without_grammar_is_not_asked(make_writer: Callable[..., Any]) -> None:
    writer = make_writer()
    found = {book_title("林黛玉住在大观园。", ["林黛玉"], "", writer, seed) for seed in range(10)}
    assert len(found) == 10
    assert writer.prompts == []


def test_the_writer_chooses(make_writer: Callable[..., Any]) -> None:
    writer = make_writer()
    writer.holds_grammar = True
    asked: list[str] = []

    def write(prompt: str, room: int, *, grammar: str, seed: int) -> list[str]:
        asked.append(grammar)
        return ["大观", "园梦"] if len(asked) > 1 else ["大观"]

    writer.write = write
    assert book_title("林黛玉住在大观园。", ["林黛玉"], "", writer, 0) == "大观园梦"
    assert '"大观园梦"' in asked[0]
    assert len(asked) == 2, "half a title is asked for again"
