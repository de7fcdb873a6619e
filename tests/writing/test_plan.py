"""Plans: made by the program, read from an answer, and refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from autogpt.writing.forms import FORMS
from autogpt.writing.order import Order
from autogpt.writing.plan import Plan, asked_plan, own_plan, scene_lengths


class Answering:
    """An instructed writer that gives one answer to every question."""

    def __init__(self, answer: Any, context: int = 4000) -> None:
        self.answer, self.context, self.asked = answer, context, []  # type: ignore[var-annotated]

    def ask(self, prompt: str, schema: Any, max_tokens: int, seed: int) -> str:
        self.asked.append(prompt)
        return self.answer if isinstance(self.answer, str) else json.dumps(self.answer)


def chapter(*names: str) -> dict[str, Any]:
    return {"title": "T", "summary": "S", "scenes": [{"names": list(names), "place": "Hull", "goal": "g"}]}


@pytest.mark.parametrize(("chapters", "words"), [(1, 50), (3, 1000), (12, 20000), (7, 9999)])
@pytest.mark.parametrize("form", list(FORMS))
def test_scene_lengths_add_up(form: str, chapters: int, words: int) -> None:
    lengths = scene_lengths(FORMS[form], Order("", form, chapters, words), None)
    assert len(lengths) == chapters
    assert sum(map(sum, lengths)) == words
    assert all(row for row in lengths)


def test_the_cast_comes_from_the_premise(make_writer: Callable[..., Any]) -> None:
    order = Order("林黛玉与贾宝玉、薛宝钗住在园中。", "novel", 4, 4000)
    plan = own_plan(order, make_writer(names=("王熙凤",)), 0, None)
    assert plan.cast == ("林黛玉", "贾宝玉", "薛宝钗")
    assert plan.language == "zh"
    assert not plan.said
    assert [c.scenes[0].names for c in plan.chapters[:2]] == [("林黛玉", "贾宝玉"), ("贾宝玉", "薛宝钗")]
    assert plan.title in ("黛玉记", "黛玉缘", "黛玉录", "黛玉梦", "黛玉传") or plan.title.startswith("宝玉")
    assert {name for c in plan.chapters for s in c.scenes for name in s.names} == set(plan.cast)
    assert Plan.from_dict(json.loads(json.dumps(plan.to_dict()))) == plan


def test_without_a_premise_the_cast_is_what_the_model_writes_of(make_writer: Callable[..., Any]) -> None:
    plan = own_plan(Order("", "novel", 2, 400), make_writer(), 0, None)
    assert set(plan.cast) == {"林黛玉", "贾宝玉", "薛宝钗"}
    assert "没有给出梗概" in plan.said or "no premise" in plan.said


def test_the_same_seed_gives_the_same_plan(make_writer: Callable[..., Any]) -> None:
    order = Order("", "novel", 2, 400)
    assert own_plan(order, make_writer(), 3, None) == own_plan(order, make_writer(), 3, None)


def test_forms_without_a_cast_promise_nobody(make_writer: Callable[..., Any]) -> None:
    plan = own_plan(Order("介绍北京的胡同。", "article", 2, 400), make_writer(), 0, None)
    assert all(not scene.names for c in plan.chapters for scene in c.scenes)


def test_an_answered_plan() -> None:
    writer = Answering(
        {"title": "Sea", "characters": ["Ann", "Ben", "Ann"], "chapters": [chapter("Ann"), chapter("Ben")]}
    )
    plan = asked_plan(Order("A sea.", "novel", 2, 2400), writer, 0, None)  # type: ignore[arg-type]
    assert (plan.title, plan.cast, plan.source) == ("Sea", ("Ann", "Ben"), "asked")
    assert [len(c.scenes) for c in plan.chapters] == [2, 2]
    assert sum(scene.words for c in plan.chapters for scene in c.scenes) == 2400
    script = asked_plan(Order("A sea.", "script", 2, 800), writer, 0, None)  # type: ignore[arg-type]
    assert script.chapters[0].scenes[0].names == ("ANN",)


def test_many_chapters_are_asked_for_in_turns() -> None:
    writer = Answering({"title": "Sea", "characters": ["Ann"], "chapters": [chapter("Ann")] * 12})
    plan = asked_plan(Order("A sea.", "novel", 30, 3000), writer, 0, None)  # type: ignore[arg-type]
    assert (len(plan.chapters), len(writer.asked)) == (30, 3)
    assert "13 to 24" in writer.asked[1]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("no JSON", "Expecting value"),
        ("[]", "no outline"),
        ({"title": "x"}, "no outline"),
        ({"title": "x", "characters": [], "chapters": [chapter("A")]}, "1 chapters instead of 2"),
    ],
)
def test_answers_that_are_no_plan(answer: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        asked_plan(Order("A sea.", "novel", 2, 2400), Answering(answer), 0, None)  # type: ignore[arg-type]
