"""Speech in classical prose: sentences as the novels have them, and the faults a small model makes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from autogpt.writing.dialogue import NO_SPEAKER, TWICE, names_twice, narrates, speech_fault
from autogpt.writing.gates import open_quote
from autogpt.writing.units import sentences


@pytest.mark.parametrize(
    ("scene", "text", "fault"),
    [
        ("", "宝玉笑道：“你来了？”", ""),
        ("", "宝玉听了，便说道，“你来了？”", ""),
        ("", "那“通灵”二字，谁不知道。", ""),
        ("", "“你来了？”", NO_SPEAKER),
        ("", "你嫂子也收着了。", NO_SPEAKER),
        ("宝玉道：“你来。", "你嫂子也收着了。", ""),
        ("", "宝玉笑道：“这都像那个金”字。", NO_SPEAKER),
        ("他去了。", "你那么人说的，“这早气不出来，又伤心情。”", NO_SPEAKER),
        ("", "忙命人拿笑：“你来了？”", NO_SPEAKER),
        ("", "众人进来问：王夫人那里去了。", NO_SPEAKER),
        ("宝玉道：“你来。", "快坐。”", ""),
        ("宝玉道：“你来。", "他说：我不去。”", ""),
        ("宝玉道：“你来。", "你那么人说的，“又伤心情。”", NO_SPEAKER),
        ("宝玉道：“你来。", "黛玉道：“我不去。”", ""),
        ("宝玉道：“你来。”", "宝玉又笑道：“我不去。”", TWICE),
        ("宝玉道：“你来。”", "黛玉笑道：“我不去。”", ""),
        ("宝玉道：“你来。”黛玉不语。", "宝玉又道：“我不去。”", ""),
    ],
)
def test_faults(scene: str, text: str, fault: str) -> None:
    assert speech_fault(text, scene, inside=bool(open_quote(scene))) == fault


def test_narration() -> None:
    assert narrates("说着，便走了。")
    assert not narrates("宝玉走了。")


def test_somebody_named_twice_in_a_clause() -> None:
    known = {"贾宝玉", "袭人"}
    assert names_twice("宝玉先往宝玉处来。", known)
    assert not names_twice("宝玉来了，宝玉笑了。", known)
    assert not names_twice("袭人道：“袭人去了袭人处。”", known)
    assert not names_twice("Ann saw Ann.", {"Ann"})


@pytest.mark.shared
def test_a_real_novel_passes_for_the_most_part(shared: Path) -> None:
    """Of the novel's own sentences few are refused: the rules describe its manner."""
    path = shared / "generation" / "zh_novel_hongloumeng.train.jsonl"
    refused = total = 0
    for line in path.read_text(encoding="utf-8").splitlines()[200:320]:
        scene = ""
        for sentence in sentences(json.loads(line)["text"]):
            total += 1
            refused += bool(speech_fault(sentence, scene, inside=bool(open_quote(scene))))
            scene += sentence
    assert total > 1000
    assert refused < 0.06 * total
