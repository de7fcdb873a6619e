"""Sentences that cover several tasks, cut into the parts that speak of one each."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autogpt.tasks.clauses import clauses

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "tasks.jsonl"

CASES: list[tuple[str, list[str]]] = [
    ("分类评论情感；识别银行问题的意图", ["分类评论情感", "识别银行问题的意图"]),
    ("classify mails; write replies", ["classify mails", "write replies"]),
    ("给评论分类。\n给留言写回复。", ["给评论分类", "给留言写回复"]),
    ("Sort mails by topic. Write a reply.", ["Sort mails by topic.", "Write a reply."]),
    ("Is the review good? Write a reply!", ["Is the review good?", "Write a reply!"]),
    ("判断评论是好是坏？给留言写回复！", ["判断评论是好是坏？", "给留言写回复！"]),
    ("给评论分类，并给留言写回复", ["给评论分类", "给留言写回复"]),
    ("判断评论情感以及识别意图", ["判断评论情感", "识别意图"]),
    ("判断情感，同时识别意图，然后再写摘要", ["判断情感", "识别意图", "写摘要"]),
    (
        "classify the category of a support mail, and write a reply",
        ["classify the category of a support mail", "write a reply"],
    ),
    (
        "classify mails, then summarize them, and translate into Chinese",
        ["classify mails", "summarize them", "translate into Chinese"],
    ),
    ("1. classify mails 2. write replies", ["classify mails", "write replies"]),
    ("两个任务：1、判断情感；2、识别意图。", ["判断情感", "识别意图"]),
    ("(1) sort mails (2) draft replies", ["sort mails", "draft replies"]),
    ("（1）判断情感（2）识别意图", ["判断情感", "识别意图"]),
    ("①判断情感 ②识别意图", ["判断情感", "识别意图"]),
    ("Support desk:\n- classify mails\n- write replies", ["Support desk:\n- classify mails", "write replies"]),
    # one task each, whatever its signs
    ("判断（好；坏。）评论", ["判断（好；坏。）评论"]),
    ("续写《一；二》", ["续写《一；二》"]),
    ('tell whether a mail is "urgent; now" or not', ['tell whether a mail is "urgent; now" or not']),
    ("Classify mails. Use macro F1.", ["Classify mails. Use macro F1."]),
    ("给评论分类；指标用宏平均F1", ["给评论分类；指标用宏平均F1"]),
    ("Extract people, places, and companies from tweets", ["Extract people, places, and companies from tweets"]),
    ("summarize the article, and keep it short", ["summarize the article, and keep it short"]),
    ("分到 10 个栏目，宏F1 达到 0.9", ["分到 10 个栏目，宏F1 达到 0.9"]),
    ("Sort into 2. classes", ["Sort into 2. classes"]),
    ("1. 2. classify", ["1. 2. classify"]),
    ("", []),
    ("；", ["；"]),
]


@pytest.mark.parametrize(("sentence", "parts"), CASES, ids=range(len(CASES)))
def test_the_parts_of_a_sentence(sentence: str, parts: list[str]) -> None:
    assert clauses(sentence) == parts


COUNTED: list[tuple[str, int, list[str]]] = [
    ("classify mails; write replies", 1, ["classify mails; write replies"]),
    ("classify mails and write replies", 2, ["classify mails", "write replies"]),
    ("判断外卖评价是好评还是差评，识别问题的意图", 2, ["判断外卖评价是好评还是差评", "识别问题的意图"]),
    ("判断情感、识别意图、写摘要", 3, ["判断情感", "识别意图", "写摘要"]),
    # the most cautious way that gives so many
    ("给评论分类，并翻译成英文；写回复", 2, ["给评论分类，并翻译成英文", "写回复"]),
    ("给评论分类，并翻译成英文；写回复", 3, ["给评论分类", "翻译成英文", "写回复"]),
    ("作者；写诗", 2, ["作者", "写诗"]),
    ("classify mails; write replies", 3, ["classify mails", "write replies"]),
]


@pytest.mark.parametrize(("sentence", "count", "parts"), COUNTED, ids=range(len(COUNTED)))
def test_as_many_parts_as_there_are_files(sentence: str, count: int, parts: list[str]) -> None:
    assert clauses(sentence, count) == parts


@given(sentence=st.text(alphabet="分类判断写回复sort mail,and ;；。.!?，并以及1.2()（）《》①②\n ", max_size=60))
@settings(deadline=None, derandomize=True, max_examples=300)
def test_parts_stand_in_the_sentence_in_its_order(sentence: str) -> None:
    for count in (None, 2, 3):
        place = 0
        for part in clauses(sentence, count):
            place = sentence.index(part, place) + len(part)


@pytest.mark.shared
def test_real_descriptions_are_one_part_each_and_two_when_joined() -> None:
    if not SHARED.is_file():
        pytest.skip(f"no {SHARED}")
    tasks = [json.loads(line) for line in SHARED.read_text(encoding="utf-8").splitlines()]
    for key, joint in (("description_zh", "；"), ("description_en", "; ")):
        sentences = [task[key].rstrip("。.") for task in tasks]
        assert all(clauses(sentence) == [sentence] for sentence in sentences)
        assert all(clauses(f"{one}{joint}{two}", 2) == [one, two] for one, two in pairwise(sentences))
