"""Which sentences of a passage are read."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autogpt.tasks.passages import nearest_sentences, passage_length, split_sentences

CITY = "成都位于四川盆地。它的面积是一万四千平方公里。人口超过两千万。市花是木芙蓉！地铁于2010年通车。"


def test_sentences_by_hand() -> None:
    assert split_sentences("他来了。“真的？”我问。\n没有人答") == ["他来了。", "“真的？”", "我问。", "没有人答"]
    assert split_sentences("Dr. No came in 1962. It cost $3.5 million! why? Yes.") == [
        "Dr.",
        "No came in 1962.",
        "It cost $3.5 million! why?",
        "Yes.",
    ]
    assert split_sentences(" \n ") == []


@pytest.mark.parametrize(
    ("question", "answer"),
    [("成都的市花是什么？", "木芙蓉"), ("地铁什么时候通车？", "2010年"), ("面积有多少平方公里", "一万四千")],
)
def test_the_answer_is_in_what_is_read(question: str, answer: str) -> None:
    assert answer in nearest_sentences(question, CITY, 16)


def test_sentences_keep_their_order_and_short_passages_stay() -> None:
    assert nearest_sentences("通车的地铁和盆地", CITY, 24) == "成都位于四川盆地。地铁于2010年通车。"
    assert nearest_sentences("x", CITY, len(CITY)) == CITY
    english = "The river is long. It rises in the Alps. Trade made the town rich."
    assert nearest_sentences("Where does the river rise?", english, 45) == "The river is long. It rises in the Alps."


@given(st.text(max_size=40), st.text(max_size=200), st.integers(0, 100))
def test_what_is_read_comes_from_the_passage(question: str, passage: str, most: int) -> None:
    read = nearest_sentences(question, passage, most)
    kept = [sentence for sentence in split_sentences(passage) if sentence in read]
    longest = max(map(len, split_sentences(passage)), default=0)
    assert read == passage or len(read) <= max(most + len(kept), longest)
    assert nearest_sentences(question, passage, most) == read


def test_the_length_is_the_shortest_that_holds_enough_answers() -> None:
    filler = "".join(f"这里说的是完全无关的第{i}件事情，谁也不会问到它。" for i in range(20))
    rows = [(f"第{n}号的颜色是什么", f"{filler}第{n}号的颜色是绿。{filler}", "绿") for n in ("甲", "乙")]
    assert passage_length(rows) == (96, 1.0)
    assert passage_length([("颜色", "绿色很好。", "绿")]) == (0, 1.0)  # nothing to gain
    assert passage_length([("颜色", filler, "绿")]) == (0, 0.0)  # answers are not spans
    assert passage_length([]) == (0, 0.0)


@pytest.mark.shared
@pytest.mark.parametrize(("file", "least"), [("zh_cmrc2018", 0.78), ("en_squad_newwiki", 0.88)])
def test_test_questions_find_their_answers_in_what_training_chose(shared: Path, file: str, least: float) -> None:
    def rows(part: str) -> list[tuple[str, str, str]]:
        lines = (shared / "qa" / f"{file}.{part}.jsonl").read_text(encoding="utf-8").splitlines()
        found = [json.loads(line) for line in lines]
        return [(row["question"], row["context"], row["answers"][0]) for row in random.Random(0).sample(found, 300)]

    length, _ = passage_length(rows("train"))
    assert 0 < length < 500
    test = rows("test")
    assert sum(a in nearest_sentences(q, p, length) for q, p, a in test) / len(test) >= least
