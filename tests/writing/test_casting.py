"""Turns of persons: every pair once, nobody forgotten, and neighbouring chapters that differ."""

from __future__ import annotations

from itertools import combinations, pairwise

import pytest

from autogpt.writing.casting import appearances, as_cues, cast_of, pairs, persons_of
from autogpt.writing.forms import FORMS

NOVEL, SCRIPT, ARTICLE = FORMS["novel"], FORMS["script"], FORMS["article"]


@pytest.mark.parametrize("size", [2, 3, 4, 5, 8])
def test_everybody_meets_everybody_once(size: int) -> None:
    cast = "ABCDEFGH"[:size]
    met = [pair for pair in pairs(cast) if len(pair) == 2]
    assert sorted(met) == list(combinations(cast, 2))
    assert met[0] == ("A", "B")


def test_neighbouring_chapters_bring_other_persons() -> None:
    found = appearances("ABCD", [2] * 6, NOVEL)
    assert [scenes[0] for scenes in found[:5]] == [("A", "B"), ("C", "D"), ("A", "D"), ("B", "C"), ("A", "C")]
    assert found[0][1] == ("B",)
    assert found[-1][-1] == ("A", "B", "C")


def test_scenes_of_a_script_have_two_or_three_speakers() -> None:
    found = [scene for act in appearances("ABCDE", [3] * 5, SCRIPT) for scene in act]
    assert {len(scene) for scene in found} == {2, 3}
    assert {name for scene in found for name in scene} == set("ABCDE")
    assert all(one != other for one, other in pairwise(found))


def test_nobody_and_one() -> None:
    assert appearances((), [1, 2], NOVEL) == [[()], [(), ()]]
    assert appearances("AB", [1], ARTICLE) == [[()]]
    assert appearances("A", [2], SCRIPT) == [[("A",), ("A",)]]


def test_a_cast_is_filled_up_by_persons_of_the_writer() -> None:
    named, met = persons_of("Romeo loves Juliet.", "ROMEO:\nSo.\n\nNURSE:\nNo.\n\nNURSE:\nO.\n\nROMEO:\nAy.")
    assert named == ["Romeo", "Juliet"]
    assert "NURSE" in met
    assert cast_of(named, met, NOVEL)[:3] == ("Romeo", "Juliet", "NURSE")
    assert cast_of(["A", "B", "C"], ["D", "E", "F"], NOVEL) == ("A", "B", "C")
    assert cast_of(["A", "B", "C"], ["D", "E", "F"], SCRIPT) == ("A", "B", "C", "D", "E")
    assert cast_of([], ["D", "E"], NOVEL) == ("D", "E")
    assert as_cues(["Romeo", "ROMEO"], SCRIPT, "en") == ("ROMEO",)
