"""Prompts: what is in them, in which order, and that they keep to their budget."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from autogpt.writing.context import Reminder, continuation, fitting_end, instruction
from autogpt.writing.gates import Piece

STYLE = ("zh", "\n")
PIECES = [Piece("".join(chr(0x4E00 + 40 * n + i) for i in range(30)) + "。", opens=n % 5 == 0) for n in range(40)]


@pytest.mark.parametrize("room", [20, 160, 300])
@pytest.mark.parametrize("count", [0, 3, 40])
def test_a_continuation_keeps_to_its_budget(make_writer: Callable[..., Any], room: int, count: int) -> None:
    writer = make_writer()
    reminder = Reminder("宝玉在园中。" * 40, "第二回　甲乙", earlier=["黛玉在潇湘馆。", "长" * 500])
    prompt = continuation(reminder, PIECES[:count], PIECES, writer, room, STYLE)
    assert writer.count_tokens(prompt) <= writer.context - room
    assert "第二回　甲乙" in prompt
    assert "长长" not in prompt
    if count:
        assert prompt.endswith(PIECES[count - 1].text)


def test_order_of_a_continuation(make_writer: Callable[..., Any]) -> None:
    reminder = Reminder("宝玉在园中。", "第二回　甲乙", earlier=["黛玉在潇湘馆。"])
    prompt = continuation(reminder, [Piece("次日。")], [], make_writer(), 20, STYLE)
    assert prompt == "宝玉在园中。\n黛玉在潇湘馆。\n第二回　甲乙\n次日。"
    first = continuation(reminder, [], [Piece("且听下回。")], make_writer(), 20, STYLE)
    assert first.endswith("且听下回。\n第二回　甲乙")


def test_the_end_that_fits(make_writer: Callable[..., Any]) -> None:
    found = fitting_end(PIECES, 100, make_writer(), STYLE)
    assert "".join(piece.text for piece in PIECES).endswith(found.replace("\n", ""))
    assert 60 < len(found) <= 100
    assert fitting_end(PIECES, 5, make_writer(), STYLE) == ""


def test_an_instruction_says_what_matters(make_writer: Callable[..., Any]) -> None:
    writer = make_writer()
    writer.context = 4000
    reminder = Reminder(
        "A sea story.", "Chapter 1", ["Ann: a sailor"], ["The sea rose."], "They leave.", "Ann sails.", ["Ann"]
    )
    said = instruction(
        reminder, [Piece("He left.")], writer, form="script", words=100, must="Ann", speakers=["ANN", "BEN"]
    )
    for part in ("A sea story.", "Chapter 1", "Ann: a sailor", "The sea rose.", "They leave.", "Ann sails.", "ANN, BEN",
                 "begins with “Ann”", "about 100 words:\nHe left."):  # fmt: skip
        assert part in said
    begun = instruction(Reminder("海上。", "第一章"), [], writer, form="novel", words=100, must="", speakers=[])
    assert "从头写起" in begun
