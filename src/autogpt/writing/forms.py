"""The forms that can be written, and how each is headed: chapters or 回, acts and scenes, sections, an ad."""

from __future__ import annotations

from dataclasses import dataclass

from autogpt.errors import ConfigError
from autogpt.registry import did_you_mean

__all__ = ["FORMS", "Form", "chinese_number", "form_named", "heading", "roman", "scene_heading"]


@dataclass(frozen=True, slots=True)
class Form:
    """What distinguishes a form for the program.

    Attributes:
        name: as on the command line.
        chapters, words: what is written where nothing is said.
        scene_words: about how long a scene is, in words or Chinese characters.
        by_speeches: the text is cues and speeches.
        has_cast: who appears where is planned and kept.
    """

    name: str
    chapters: int
    words: int
    scene_words: int
    by_speeches: bool = False
    has_cast: bool = True


FORMS = {
    form.name: form
    for form in (
        Form("novel", 12, 20_000, 600),
        Form("script", 5, 8_000, 400, by_speeches=True),
        Form("article", 5, 2_000, 400, has_cast=False),
        Form("ad", 1, 200, 200, has_cast=False),
    )
}


def form_named(name: str) -> Form:
    """The form. Raises ConfigError with the nearest name for one that is not there."""
    if name not in FORMS:
        raise ConfigError("--form", found=repr(name), todo=did_you_mean(name, list(FORMS)))
    return FORMS[name]


_DIGITS, _STEPS = "零一二三四五六七八九", ((1000, "千"), (100, "百"), (10, "十"))


def chinese_number(number: int) -> str:
    """1..9999 as in a chapter's heading: 十二, 一百零五. Raises ValueError outside."""
    if not 1 <= number <= 9999:
        raise ValueError(f"{number} is not within 1 to 9999")
    said, gap, rest = "", False, number
    for step, name in _STEPS:
        digit, rest = divmod(rest, step)
        if digit:
            said += ("零" if gap else "") + _DIGITS[digit] + name
            gap = False
        else:
            gap = bool(said)
    said += ("零" if gap and rest else "") + (_DIGITS[rest] if rest else "")
    return said.removeprefix("一") if said.startswith("一十") else said


def roman(number: int) -> str:
    """1..3999 in Roman numerals. Raises ValueError outside."""
    if not 1 <= number <= 3999:
        raise ValueError(f"{number} is not within 1 to 3999")
    steps = (1000, "M"), (900, "CM"), (500, "D"), (400, "CD"), (100, "C"), (90, "XC"), (50, "L"), (40, "XL"), (10, "X")
    said = ""
    for step, name in (*steps, (9, "IX"), (5, "V"), (4, "IV"), (1, "I")):
        count, number = divmod(number, step)
        said += name * count
    return said


def heading(form: Form, language: str, number: int, title: str, *, classical: bool = False) -> str:
    """The heading of chapter `number`, counted from 1; `classical` counts Chinese chapters in 回 instead of 章."""
    zh = language == "zh"
    if form.name == "novel":
        mark = f"第{chinese_number(number)}{'回' if classical else '章'}" if zh else f"Chapter {number}"
        return mark + (("　" if zh else ": ") + title if title else "")
    if form.name == "script":
        mark = f"第{chinese_number(number)}幕" if zh else f"ACT {roman(number)}"
        return mark + (("　" if zh else ". ") + title if title else "")
    if form.name == "article":
        return (f"{chinese_number(number)}、" if zh else f"{number}. ") + title
    return title


def scene_heading(language: str, number: int, place: str) -> str:
    """The heading of a script's scene, counted from 1 within its act."""
    if language == "zh":
        return f"第{chinese_number(number)}场" + (f"　{place}" if place else "")
    return f"SCENE {roman(number)}." + (f" {place}." if place else "")
