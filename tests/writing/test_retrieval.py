"""BM25, against the formula written out for a collection of three."""

from __future__ import annotations

import math

import pytest

from autogpt.writing.retrieval import Passages, terms


def test_scores_are_those_of_the_formula() -> None:
    passages = Passages()
    for text in ("the sea is cold", "the sea the sea", "a hill"):
        passages.add(text)
    mean = (4 + 4 + 2) / 3

    def score(often: int, size: int, holding: int) -> float:
        idf = math.log(1 + (3 - holding + 0.5) / (holding + 0.5))
        return idf * often * 2.5 / (often + 1.5 * (0.25 + 0.75 * size / mean))

    assert passages.scores("sea hill") == pytest.approx([score(1, 4, 2), score(2, 4, 2), score(1, 2, 1)])


def test_best_passages() -> None:
    passages = Passages()
    for text in ("宝玉去了大观园。", "黛玉在潇湘馆。", "凤姐发怒。", ""):
        passages.add(text)
    assert len(passages) == 3
    assert passages.best("黛玉的潇湘馆", 2) == ["黛玉在潇湘馆。"]
    assert passages.best("黛玉", 2, without=["黛玉在潇湘馆。"]) == []
    assert Passages().best("x", 1) == []


def test_terms() -> None:
    assert terms("The Sea") == ["the", "sea"]
    assert terms("大观园") == ["大观", "观园"]
    assert terms("海") == ["海"]
