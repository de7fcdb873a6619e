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
        ("我我不去了。", "loop"),
        ("如今如今他去了。", "loop"),
        ("李纹、李纹都来了。", "loop"),
        ("宝玉慢慢的去了。", ""),
        ("He left.", "wrong script"),
        ("宝玉去了he left.", "wrong script"),
        ("贾宝珠，去了。", "name like another"),
    ],
)
def test_reasons(text: str, reason: str) -> None:
    found, _ = judge(Piece(text), standing())
    assert found == reason
    assert found in ("", *REASONS)


def test_english() -> None:
    assert judge(Piece("Then  Alice\nleft."), standing(language="en")) == ("", Piece("Then Alice left."))
    assert judge(Piece("He came, and, and then he left."), standing(language="en"))[0] == "loop"
    assert judge(Piece("I am so glad of that.", cue="ANN"), standing(language="en"))[0] == ""
    assert judge(Piece("I tell thee, Ann.", cue="ANN"), standing(language="en"))[0] == "speaker names himself"
    assert judge(Piece("CHAPTER IV. Alice left."), standing(language="en"))[0] == "heading in the text"
    assert judge(Piece("宝玉去了。"), standing(language="en"))[0] == "wrong script"


def test_what_was_said_is_not_said_again() -> None:
    said = {"宝 玉 去 了 园 中"}
    assert judge(Piece("宝玉去了园中。"), standing(said=said))[0] == "said before"
    assert judge(Piece("好。"), standing(recent=["好"]))[0] == "said before"
    assert judge(Piece("好。"), standing(said={"好"}))[0] == ""


def test_two_sentences_do_not_begin_alike() -> None:
    recent = ["宝 玉 听 了 便 去 了"]
    assert judge(Piece("宝玉听了，笑道：“好。”"), standing(recent=recent))[0] == "begins like the last"
    assert judge(Piece("黛玉听了，笑道：“好。”"), standing(recent=recent))[0] == ""


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


def test_classical_prose_has_speakers() -> None:
    speech = Piece("“你来了？快请坐下说话。”")
    assert judge(speech, standing(classical=True))[0] == "speech without a speaker"
    assert judge(speech, standing())[0] == ""
    assert judge(Piece(speech.text, cue="宝玉"), standing(classical=True))[0] == ""


def test_narration_ends_a_quote_that_was_left_open() -> None:
    reason, piece = judge(Piece("说着，便往园中去了。"), standing("他道：“走。", classical=True))
    assert (reason, piece.closes) == ("", "”")


def test_a_speech_of_classical_prose_ends_in_time() -> None:
    scene = "他道：“" + "".join(chr(0x4E00 + i) for i in range(90)) + "。"
    assert judge(Piece("我去了。"), standing(scene, classical=True))[1].text == "我去了。”"
    assert judge(Piece("我去了。"), standing("他道：“走。", classical=True))[1].text == "我去了。"


def test_marks_in_a_row_are_one() -> None:
    assert judge(Piece("宝玉答应着，。"), standing())[1].text == "宝玉答应着。"
