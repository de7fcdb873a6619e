"""What passes and what does not, sentence by sentence."""

from __future__ import annotations

from typing import Any

import pytest

from autogpt.writing.gates import REASONS, Piece, Standing, cut_at_clause, judge, open_quote
from autogpt.writing.repeats import Repeats


def standing(scene: str = "", **changed: Any) -> Standing:
    repeats = Repeats()
    repeats.add(scene)
    values: dict[str, Any] = {
        "repeats": repeats, "said": set(), "recent": [], "scene": scene, "known": frozenset({"贾宝玉", "Alice"}),
        "language": "zh", "most_repeats": 0.01,
    }  # fmt: skip
    return Standing(**{**values, **changed})


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("宝玉去了。", ""),
        ("。……", "empty"),
        ("宝玉\ufffd去了。", "garbage"),
        ("宝玉<b>去了。", "garbage"),
        ("宝玉（去了。", "stray bracket"),
        ("宝玉去了）。", "stray bracket"),
        ("（宝玉）去了。", ""),
        ("第三回 宝玉去了。", "heading in the text"),
        ("宝玉去", "unfinished"),
        ("宝玉去了宝玉去了宝玉去了。", "loop"),
        ("他怎么了呢呢呢。", "loop"),
        ("他哈哈哈地笑了。", ""),
        ("He left.", "wrong script"),
        ("贾宝珠，去了。", "name like another"),
    ],
)
def test_reasons(text: str, reason: str) -> None:
    found, _ = judge(Piece(text), standing())
    assert found == reason
    assert found in ("", *REASONS)


def test_english() -> None:
    assert judge(Piece("Then  Alice\nleft."), standing(language="en")) == ("", Piece("Then Alice left."))
    assert judge(Piece("CHAPTER IV. Alice left."), standing(language="en"))[0] == "heading in the text"
    assert judge(Piece("宝玉去了。"), standing(language="en"))[0] == "wrong script"


def test_what_was_said_is_not_said_again() -> None:
    said = {"宝 玉 去 了 园 中"}
    assert judge(Piece("宝玉去了园中。"), standing(said=said))[0] == "said before"
    assert judge(Piece("好。"), standing(recent=["好"]))[0] == "said before"
    assert judge(Piece("好。"), standing(said={"好"}))[0] == ""


def test_repeated_grams() -> None:
    scene = "却说宝玉在园中走了半日不见一人。"
    assert judge(Piece("那日宝玉在园中走了半日不见一人便回。"), standing(scene))[0] == "repeats"
    assert judge(Piece("那日宝玉在园中走了一回。"), standing(scene))[0] == ""


@pytest.mark.parametrize(
    ("scene", "piece", "expected"),
    [
        ("", Piece("他道：“走。”"), Piece("他道：“走。”")),
        ("", Piece("他去了。”"), Piece("他去了。")),
        ("他道：“走。", Piece("快走。”"), Piece("快走。”")),
        ("他道：“走。", Piece("黛玉道：“去哪？”"), Piece("黛玉道：“去哪？”", closes="”")),
        ("他道：“走。", Piece("次日又来。", opens=True), Piece("次日又来。", opens=True, closes="”")),
        ('He said, "Go.', Piece('Now." He left.'), Piece('Now." He left.')),
    ],
)
def test_quotes_are_put_in_order(scene: str, piece: Piece, expected: Piece) -> None:
    language = "en" if scene.isascii() and scene else "zh"
    reason, mended = judge(piece, standing(scene, language=language))
    assert (reason, mended) == ("", expected)
    assert not open_quote(scene + mended.closes + mended.text) or piece.text[-1] != "”"


def test_a_quote_that_stays_open_too_long_is_closed() -> None:
    scene = "他道：“" + "".join(chr(0x4E00 + i) for i in range(200)) + "。"
    assert judge(Piece("次日又来。"), standing(scene))[1] == Piece("次日又来。", closes="”")


def test_open_quote() -> None:
    assert [open_quote(text) for text in ("“a”", "“a", "「a「b」", '"a" "b', "")] == ["", "“", "", '"', ""]


def test_cutting_at_a_clause() -> None:
    assert cut_at_clause("宝玉听了这话，便往园中", "zh") == "宝玉听了这话。"
    assert cut_at_clause("宝玉，便往园中", "zh") is None
    assert cut_at_clause("He went down to the old sea, and then", "en") == "He went down to the old sea."
