"""The book rebuilt from records equals the book that took them one by one, also when a scene is begun anew."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest

from autogpt.writing.gates import Piece
from autogpt.writing.ledger import Ledger
from autogpt.writing.manuscript import Manuscript, join
from autogpt.writing.plan import Chapter, Plan, Scene
from autogpt.writing.repeats import Repeats


def sentence(text: str, **fields: Any) -> dict[str, Any]:
    return {"kind": "sentence", "piece": asdict(Piece(text, **fields)), "seconds": 0.5, "tokens": 3}


PLAN = Plan("书", "zh", ("宝玉",), ("宝玉",), (Chapter("", "", (Scene(("宝玉",), 50),)),))
RECORDS = [
    {"kind": "plan", "plan": PLAN.to_dict()},
    {"kind": "title", "title": "甲"},
    {"kind": "place", "place": ""},
    sentence("却说天下大势分久必合。", opens=True),
    {"kind": "refused", "reason": "loop", "piece": asdict(Piece("好好"))},
    {"kind": "scene_anew", "reason": "promised name missing"},
    sentence("宝玉笑道：“走。", opens=True),
    sentence("快走。", closes="”"),
    {"kind": "scene", "ledger": Ledger().to_dict(), "short": ""},
    {"kind": "end"},
]


def test_a_rebuilt_book() -> None:
    book = Manuscript.rebuilt(RECORDS)
    assert book.text() == "宝玉笑道：“走。”快走。"
    assert book.written == 7
    assert book.rewrites == {"loop": 1, "promised name missing": 1}
    assert (book.seconds, book.tokens, book.finished) == (1.5, 9, True)
    fresh = Repeats()
    fresh.add("宝玉笑道：“走。")
    fresh.add("快走。")
    assert (book.repeats.total, book.repeats.distinct) == (fresh.total, fresh.distinct)
    assert book.passages.best("宝玉", 1)
    assert book.plan == PLAN


def test_answers_wait_for_their_turn() -> None:
    book = Manuscript.rebuilt(
        [*RECORDS[:3], {"kind": "answer", "pieces": [asdict(Piece("甲。")), asdict(Piece("乙。"))]}]
    )
    book.take({**sentence("甲。"), "waited": True})
    assert book.waiting == [Piece("乙。")]
    book.take({"kind": "refused", "reason": "loop", "piece": asdict(Piece("乙。"))})
    assert book.waiting == []


def test_records_of_another_version() -> None:
    with pytest.raises(KeyError):
        Manuscript.rebuilt([{"kind": "poem"}])


def test_join() -> None:
    assert join([Piece("A."), Piece("B."), Piece("C.", opens=True)], "en") == "A. B.\n\nC."
    assert join([Piece("Go.", cue="ANN"), Piece("No.", cue="BEN")], "en") == "ANN:\nGo.\n\nBEN:\nNo."
    assert join([Piece("“走。"), Piece("", closes="”")], "zh") == "“走。”"
