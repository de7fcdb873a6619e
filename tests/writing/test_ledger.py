"""The ledger after scenes whose contents are known."""

from __future__ import annotations

import json

import pytest

from autogpt.writing.ledger import Ledger

ZH = (
    "宝玉笑道：“妹妹来了。”黛玉笑道：“你明日可还来么？”宝玉是贾政之子。宝玉昨夜做了一个梦，甚是不祥。二人到潇湘馆坐下。"
)
SAID = {
    "characters": [{"name": "Ann", "note": "a sailor"}, {"name": "Ghost", "note": "not there"}],
    "places": ["Hull"],
    "facts": ["Ann owns a boat."],
    "threads_opened": ["Who took the map?"],
    "threads_closed": [],
    "foreshadowing": [],
}


def test_rules_fill_every_part() -> None:
    ledger = Ledger()
    ledger.expect(["宝玉", "黛玉"])
    ledger.read_scene(ZH, 1)
    assert ledger.characters["宝玉"].mentions == 3
    assert ledger.characters["宝玉"].chapters == [1]
    assert ledger.places == {"潇湘馆": 1}
    assert ledger.facts == ["宝玉是贾政之子。"]
    assert ledger.foreshadowing == ["宝玉昨夜做了一个梦，甚是不祥。"]
    assert [thread.text for thread in ledger.threads] == ["黛玉笑道：“你明日可还来么？”"]
    assert ledger.lines(["宝玉", "黛玉"]) == ["宝玉：宝玉是贾政之子。", "黛玉笑道：“你明日可还来么？”"]


def test_a_thread_closes_when_it_is_taken_up() -> None:
    ledger = Ledger()
    ledger.expect(["黛玉"])
    ledger.read_scene("黛玉问：“那幅画在何处？”", 1)
    ledger.read_scene("后来下了雨。", 2)
    assert [thread.closed for thread in ledger.threads] == [0]
    ledger.read_scene("黛玉又问那幅画在何处，众人方知。", 3)
    assert [thread.closed for thread in ledger.threads] == [3]


def test_what_a_writer_says_counts_only_where_the_scene_has_it() -> None:
    ledger = Ledger()
    ledger.take(SAID, "Ann left Hull.", 2)
    assert set(ledger.characters) == {"Ann"}
    assert ledger.characters["Ann"].notes == ["a sailor"]
    assert ledger.facts == ["Ann owns a boat."]
    ledger.take({**SAID, "threads_opened": [], "threads_closed": ["who took the map"]}, "Ann.", 3)
    assert [thread.closed for thread in ledger.threads] == [3]
    with pytest.raises(ValueError, match="no ledger"):
        ledger.take({"characters": []}, "", 1)


def test_json_and_back() -> None:
    ledger = Ledger()
    ledger.expect(["宝玉"])
    ledger.read_scene(ZH, 1)
    assert Ledger.from_dict(json.loads(json.dumps(ledger.to_dict()))) == ledger


def test_a_given_name_is_the_same_person() -> None:
    ledger = Ledger()
    ledger.expect(["贾宝玉"])
    ledger.read_scene("宝玉笑道：“走。”宝玉道：“坐。”次日宝玉又去了。", 1)
    assert set(ledger.characters) == {"贾宝玉"}
    assert ledger.characters["贾宝玉"].mentions == 3


def test_it_stays_short() -> None:
    ledger = Ledger()
    ledger.expect(["Ann"])
    for number in range(200):
        ledger.read_scene(f"Ann was in room {number}. Will Ann see door {number}?", number)
    assert len(ledger.facts) == 40
    assert len(ledger.threads) <= 48
