"""Names in Chinese and English sentences whose persons a reader knows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from autogpt.writing.names import given_name, looks_mistaken, mentions, persons, places, speakers

ZH = (
    "宝玉笑道：“妹妹来了。”黛玉听了，忙道：“来了。”宝玉又说：“坐。”众人都笑了。林黛玉、贾宝玉在大观园坐下，又到潇湘馆。"
)
EN = 'Alice saw the Hatter. "Why?" said Alice. The Hatter went to London. Nobody saw Alice or the Hatter in London.'


def test_who_speaks_is_a_person() -> None:
    found = persons(ZH)
    assert {"宝玉", "黛玉"} <= set(found)
    assert found["宝玉"] == 3
    assert "众人" not in found
    assert set(persons(EN)) == {"Alice", "Hatter"}
    assert persons(EN)["Alice"] == 3


def test_names_of_a_premise_are_found_though_nothing_comes_back() -> None:
    premise = "贾宝玉与林黛玉在大观园中相遇，薛宝钗、王熙凤各怀心事。"
    assert set(persons(premise)) == {"贾宝玉", "林黛玉", "薛宝钗", "王熙凤"}
    assert set(persons("Romeo, a young man of Verona, loves Juliet, and Tybalt hates him.")) == {
        "Romeo",
        "Juliet",
        "Tybalt",
    }
    assert not persons("一座城市在雨中醒来。")
    assert not persons("Detectives hunt a killer in the rain.")


def test_cues_of_a_script_are_persons() -> None:
    assert set(persons("ROMEO:\nSpeak.\n\nFirst Citizen:\nWe go. I'll go.\n\nROMEO:\nGo.")) == {
        "ROMEO",
        "First Citizen",
    }


def test_places() -> None:
    assert set(places(ZH)) == {"大观园", "潇湘馆"}
    assert set(places(EN)) == {"London"}


def test_mentions_by_given_name_or_in_capitals() -> None:
    assert mentions("林黛玉", "黛玉笑了")
    assert not mentions("林黛玉", "林中有玉")
    assert mentions("Tom Baker", "BAKER:\nYes.")
    assert not mentions("Ann", "Anna left")


def test_who_speaks_and_what_a_person_is_called() -> None:
    assert speakers(ZH) == ["宝玉", "黛玉", "宝玉"]
    assert [given_name(name) for name in ("林黛玉", "宝玉", "欧阳", "Alice")] == ["黛玉", "宝玉", "欧阳", "Alice"]


@pytest.mark.parametrize(
    ("text", "found"),
    [("贾宝珠，笑了。", "贾宝珠"), ("贾宝玉笑了。", ""), ("Then Alica left.", "Alica"), ("Then Alice left.", "")],
)
def test_a_name_almost_like_a_known_one(text: str, found: str) -> None:
    assert looks_mistaken(text, frozenset({"贾宝玉", "Alice"})) == found


@pytest.mark.shared
def test_main_persons_of_a_real_novel(shared: Path) -> None:
    path = shared / "generation" / "zh_novel_hongloumeng.train.jsonl"
    rows = [json.loads(line)["text"] for line in path.read_text(encoding="utf-8").splitlines()[:100]]
    best = [name for name, _ in persons("\n".join(rows)).most_common(8)]
    assert {"宝玉", "黛玉", "凤姐", "贾母"} <= set(best)
