"""The plan of a book: its chapters and scenes, who appears in which, and how long each is.

Two ways lead to it. A writer that takes instructions is asked for the outline in JSON. For one that only continues text
the program makes it from the premise and from what the writer, left to itself, writes: the persons that it knows, its
paragraphs, and whether it counts chapters in 回.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from autogpt.writing.casting import appearances, as_cues, cast_of, persons_of
from autogpt.writing.forms import Form, form_named
from autogpt.writing.names import persons
from autogpt.writing.order import Order
from autogpt.writing.titles import book_title
from autogpt.writing.units import language_for_text
from autogpt.writing.writers import InstructedWriter, Writer

__all__ = ["OUTLINE_SCHEMA", "Chapter", "Plan", "Scene", "asked_plan", "own_plan", "scene_lengths"]

_SAMPLES, _SAMPLE_TOKENS = 6, 240
_CLASSICAL = ("却说", "且说", "话说", "只见", "笑道", "便道", "下回", "因道", "忙道")


@dataclass(frozen=True, slots=True)
class Scene:
    """A scene: who is promised to appear, where it is, what happens (both may be empty), and its length in units."""

    names: tuple[str, ...]
    words: int
    place: str = ""
    goal: str = ""


@dataclass(frozen=True, slots=True)
class Chapter:
    """A chapter: its title and summary (empty where the writer finds the title when it comes to it) and its scenes."""

    title: str
    summary: str
    scenes: tuple[Scene, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """The plan.

    Attributes:
        title: of the book.
        language: zh or en.
        cast: who appears, the most important first.
        known: all names met while planning; they may stand in the text.
        classical: Chinese chapters are 回 with couplets as titles.
        paragraph: what separates paragraphs in the writer's own text.
        source: `asked` or `own`.
        said: what a user should know about how it was made.
    """

    title: str
    language: str
    cast: tuple[str, ...]
    known: tuple[str, ...]
    chapters: tuple[Chapter, ...]
    classical: bool = False
    paragraph: str = "\n"
    source: str = "own"
    said: str = ""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Plan:
        chapters = tuple(
            Chapter(c["title"], c["summary"], tuple(Scene(**{**s, "names": tuple(s["names"])}) for s in c["scenes"]))
            for c in values["chapters"]
        )
        return cls(**{**values, "cast": tuple(values["cast"]), "known": tuple(values["known"]), "chapters": chapters})


def scene_lengths(form: Form, order: Order, scene_words: int | None) -> list[list[int]]:
    """Units of each scene of each chapter; they add up to the words ordered."""
    found = []
    for chapter in range(order.chapters):
        words = order.words * (chapter + 1) // order.chapters - order.words * chapter // order.chapters
        count = max(1, min(30, round(words / (scene_words or form.scene_words))))
        found.append([words * (i + 1) // count - words * i // count for i in range(count)])
    return found


# ---- made by the program ---------------------------------------------------------------------------------------------


def own_plan(order: Order, writer: Writer, seed: int, scene_words: int | None) -> Plan:
    """The plan that the program makes for a writer that continues text.

    The cast is the persons of the premise, then those that the writer names most; without either nobody is promised.
    Who appears where is said in `casting`, how the title is found in `titles`.
    """
    samples = _samples(order, writer, seed)
    text = "\n".join(samples)
    language = language_for_text(order.premise or text)
    form = form_named(order.form)
    named, met = persons_of(order.premise, text)
    cast = as_cues(cast_of(named, met, form), form, language)
    lengths = scene_lengths(form, order, scene_words)
    present = appearances(cast, [len(row) for row in lengths], form)
    chapters = tuple(
        Chapter("", "", tuple(Scene(names, size) for names, size in zip(here, words, strict=True)))
        for here, words in zip(present, lengths, strict=True)
    )
    return Plan(
        title=book_title(order.premise, cast, text, writer, seed),
        language=language,
        cast=cast,
        known=tuple(dict.fromkeys([*cast, *persons(text)])),
        chapters=chapters,
        classical=language == "zh" and form.name == "novel" and sum(text.count(mark) for mark in _CLASSICAL) >= 3,
        paragraph="\n\n" if text.count("\n\n") > text.count("\n") // 4 and "\n\n" in text else "\n",
        said=_said(order.premise, named, cast, language),
    )


def _samples(order: Order, writer: Writer, seed: int) -> list[str]:
    """What the writer writes of itself, half of it after the premise."""
    room = min(_SAMPLE_TOKENS, writer.context // 2)
    prompts = [order.premise + "\n" if order.premise and i % 2 else "" for i in range(_SAMPLES)]
    return ["".join(writer.write(prompt, room, seed=seed + i)) for i, prompt in enumerate(prompts)]


def _said(premise: str, named: Sequence[str], cast: Sequence[str], language: str) -> str:
    """What the program put in the place of what the premise does not say; empty where it says enough."""
    if premise and (named or not cast):
        return ""
    names = ("、" if language == "zh" else ", ").join(cast)
    if language == "zh":
        lacking = "梗概中没有找到人名" if premise else "没有给出梗概"
        return f"{lacking}：{'人物取自模型自己写的文字（' + names + '）' if cast else '题材取自模型自己写的文字'}"
    lacking = "no person was found in the premise" if premise else "no premise was given"
    source = (
        f"the cast comes from what the model writes of itself ({names})" if cast else "the matter is the model's own"
    )
    return f"{lacking}: {source}"


# ---- asked for -------------------------------------------------------------------------------------------------------

_LINES = {"type": "array", "items": {"type": "string"}}
_SCENE = {
    "type": "object",
    "properties": {"names": _LINES, "place": {"type": "string"}, "goal": {"type": "string"}},
    "required": ["names", "place", "goal"],
    "additionalProperties": False,
}
_CHAPTER = {
    "type": "object",
    "properties": {
        "title": {"type": "string"},
        "summary": {"type": "string"},
        "scenes": {"type": "array", "items": _SCENE},
    },
    "required": ["title", "summary", "scenes"],
    "additionalProperties": False,
}
OUTLINE_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "title": {"type": "string"},
        "characters": _LINES,
        "chapters": {"type": "array", "items": _CHAPTER},
    },
    "required": ["title", "characters", "chapters"],
    "additionalProperties": False,
}
"""What an instructed writer is asked for before it writes."""

_BATCH = 12
"""Chapters that are asked for at a time: a longer answer is cut off by most endpoints."""


def asked_plan(order: Order, writer: InstructedWriter, seed: int, scene_words: int | None) -> Plan:
    """The plan that an instructed writer makes. Raises ValueError when its answer cannot be used."""
    language = language_for_text(order.premise)
    form = form_named(order.form)
    lengths = scene_lengths(form, order, scene_words)
    title, cast, chapters = "", (), ()  # type: tuple[str, tuple[str, ...], tuple[Chapter, ...]]
    for first in range(0, order.chapters, _BATCH):
        wanted = lengths[first : first + _BATCH]
        prompt = _question(order, language, first, wanted, chapters)
        answer = json.loads(writer.ask(prompt, OUTLINE_SCHEMA, min(4000, writer.context // 2), seed + first))
        read = _read(answer, wanted)
        title, cast, chapters = title or read.title, tuple(dict.fromkeys([*cast, *read.cast])), chapters + read.chapters
    chapters = tuple(
        replace(
            c,
            scenes=tuple(replace(s, names=as_cues(s.names if form.has_cast else (), form, language)) for s in c.scenes),
        )
        for c in chapters
    )
    cast = as_cues(cast, form, language)
    return Plan(title, language, cast, cast, chapters, paragraph="\n\n", source="asked")


def _question(
    order: Order, language: str, first: int, lengths: Sequence[Sequence[int]], before: Sequence[Chapter]
) -> str:
    counts = ", ".join(f"{first + i + 1}: {len(row)}" for i, row in enumerate(lengths))
    told = "\n".join(f"{i}. {chapter.title}: {chapter.summary}" for i, chapter in enumerate(before, 1))
    if language == "zh":
        return (
            f"请为下面的作品列出大纲，只回答一个 JSON 对象。\n体裁：{order.form}\n梗概：{order.premise}\n"
            + (f"前面的章节：\n{told}\n" if told else "")
            + f"现在列出第 {first + 1} 至 {first + len(lengths)} 章，每章的场景数为 {counts}。"
            "characters 为主要人物姓名；每个场景的 names 只写必定出场的人物。"
        )
    return (
        f"Outline this work; answer with one JSON object only.\nForm: {order.form}\nPremise: {order.premise}\n"
        + (f"Chapters before:\n{told}\n" if told else "")
        + f"Now outline chapters {first + 1} to {first + len(lengths)}; scenes in each: {counts}. "
        "`characters` are the names of the main persons; `names` of a scene are those who must appear in it."
    )


def _read(answer: Any, lengths: Sequence[Sequence[int]]) -> Plan:
    """What was answered as a plan, with as many chapters and scenes as ordered. Raises ValueError."""
    try:
        cast = tuple(dict.fromkeys(str(name).strip() for name in answer["characters"] if str(name).strip()))
        told = list(answer["chapters"])
        if len(told) < len(lengths):
            raise ValueError(f"{len(told)} chapters instead of {len(lengths)}")
        chapters = []
        for one, words in zip(told, lengths, strict=False):
            scenes = [one["scenes"][min(i, len(one["scenes"]) - 1)] for i in range(len(words))]
            chapters.append(
                Chapter(
                    str(one["title"]).strip(),
                    str(one["summary"]).strip(),
                    tuple(
                        Scene(
                            tuple(dict.fromkeys(str(n).strip() for n in s["names"] if str(n).strip()))[:4],
                            size,
                            str(s["place"]).strip(),
                            str(s["goal"]).strip(),
                        )
                        for s, size in zip(scenes, words, strict=True)
                    ),
                )
            )
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError(f"no outline: {type(error).__name__} {error}") from error
    return Plan(str(answer.get("title", "")).strip(), "", cast, cast, tuple(chapters))
