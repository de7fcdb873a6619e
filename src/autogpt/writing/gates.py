"""What a sentence must pass before it is part of the book, and the small mends that spare a rewrite.

A refusal names its reason in a few constant words, so that rewrites can be counted by reason.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from autogpt.tasks.language import has_han
from autogpt.writing.dialogue import NO_SPEAKER, TWICE, names_twice, narrates, speech_fault
from autogpt.writing.names import looks_mistaken, mentions
from autogpt.writing.repeats import Repeats, loops
from autogpt.writing.units import ends_sentence, length, units

__all__ = ["REASONS", "SOFT", "Piece", "Standing", "cut_at_clause", "judge", "open_quote"]

REASONS = (
    "empty", "garbage", "stray bracket", "heading in the text", "unfinished", "loop", "said before", "repeats",
    "name like another", "promised name missing", "wrong script", "no speech", "begins like the last",
    "speaker names himself", NO_SPEAKER, TWICE,
)  # fmt: skip
SOFT = ("unfinished", "name like another", "begins like the last", TWICE)
"""Reasons that a last resort may mend or overlook; the others never pass."""

_GARBAGE = re.compile(
    "[\ufffd\u0000-\u0008\u000b-\u001f\u007f-\u009f\ue000-\uf8ff\u200b-\u200f\u2028-\u202e]|</?[a-zA-Z]|\\|{2}|_{3}|={3}|#{2}"
)
_BRACKETS = {"）": "（", ")": "(", "]": "[", "】": "【", "》": "《", "〉": "〈", "}": "{"}
_HEADING = re.compile(
    r"^\s*(?:第[一二三四五六七八九十百零〇\d]+[回章节幕场]|#|(?:CHAPTER|Chapter|ACT|SCENE|BOOK) [IVXLC\d]+)",
    re.MULTILINE,
)
_PAIRS = {"“": "”", "「": "」", "『": "』", '"': '"'}
_STUTTER = re.compile(r"([\u4e00-\u9fff])(?<![哈呵嘿嘻好罢是啊呜唉])\1\1")
_TWICE_IN_A_ROW = re.compile(
    r"(?i:\b(and|the|of|to|a|my|is|be),?\s+\1\b)|([我你他她的])\2|([\u4e00-\u9fff])(?!\3)([\u4e00-\u9fff])\3\4|([\u4e00-\u9fff]{2,4})、\5"
)
_LONGEST_QUOTE = 150
_LONGEST_SPEECH = 80
"""Units after which a speech of classical prose ends with its sentence; a small model goes on speaking for pages."""
_SHORT, _ALIKE, _LIST = 6, 3, 8


@dataclass(frozen=True, slots=True)
class Piece:
    """A sentence, or a speech with its cue.

    Attributes:
        text: as it stands in the book, without surrounding blanks.
        opens: whether a paragraph begins with it.
        closes: what is put behind the piece before: a quote that had been left open.
        cue: who speaks, in a script.
    """

    text: str
    opens: bool = False
    closes: str = ""
    cue: str = ""


@dataclass(frozen=True, slots=True)
class Standing:
    """What a sentence is judged against.

    Attributes:
        repeats: of the whole book so far.
        said: units of earlier sentences, joined by blanks.
        recent: the last sentences, whatever their length.
        scene: text of the scene so far, for its quotes.
        known: names that may stand in the text; a name that is almost one of them may not.
        language: zh or en.
        most_repeats: largest share of repeated 8-grams.
        classical: each speech must have its speaker, see `dialogue`.
    """

    repeats: Repeats
    said: frozenset[str] | set[str]
    recent: Sequence[str]
    scene: str
    known: frozenset[str]
    language: str
    most_repeats: float
    classical: bool = False


def open_quote(text: str) -> str:
    """The opening quote that `text` leaves open; empty when all are closed."""
    depth = ""
    for char in text:
        if depth:
            depth = "" if char == _PAIRS[depth] else depth
        elif char in _PAIRS:
            depth = char
    return depth


def judge(piece: Piece, standing: Standing) -> tuple[str, Piece]:
    """("", the piece as it may stand) when it passes, else (reason, the piece)."""
    piece = _tidied(piece, standing.language)
    reason = _form(piece, standing) or _content(piece, standing)
    if reason:
        return reason, piece
    piece = _quoted(piece, standing.scene)
    said = standing.scene + piece.closes + piece.text
    speaks = standing.classical and not piece.cue and open_quote(said) == "“"
    if speaks and length(said[said.rindex("“") :]) > _LONGEST_SPEECH:
        piece = replace(piece, text=piece.text + "”")
    return "", piece


def _tidied(piece: Piece, language: str) -> Piece:
    text = piece.text.strip()
    if piece.cue:
        text = re.sub(r"[ \t]*\n\s*", "\n" if language != "zh" else "", text)
    elif language == "zh":
        text = re.sub(r"(?<=[^\x00-\x7f])[ \t\n　]+(?=[^\x00-\x7f])", "", text)
    else:
        text = re.sub(r"\s+", " ", text)
    text = re.sub(r"([，、；：])\1+", r"\1", text)
    text = re.sub(r"[，、；：]+([。！？])", r"\1", text)
    text = re.sub(r"^[，、；：。！？,;:.!?）)\]】》]+\s*", "", text)
    return replace(piece, text=text)


def _form(piece: Piece, standing: Standing) -> str:
    text = piece.text
    if not length(text):
        return "empty"
    if _GARBAGE.search(text):
        return "garbage"
    if _stray_bracket(text):
        return "stray bracket"
    if _HEADING.search(text):
        return "heading in the text"
    if standing.language == "zh" and (not has_han(text) or text.endswith(".")):
        return "wrong script"
    if standing.language == "en" and has_han(text):
        return "wrong script"
    return "" if ends_sentence(text) else "unfinished"


def _stray_bracket(text: str) -> bool:
    waiting: list[str] = []
    for char in text:
        if char in _BRACKETS.values():
            waiting.append(char)
        elif char in _BRACKETS and (not waiting or waiting.pop() != _BRACKETS[char]):
            return True
    return bool(waiting)


def _content(piece: Piece, standing: Standing) -> str:
    row = units(piece.text)
    if (
        loops(row)
        or _STUTTER.search(piece.text)
        or _TWICE_IN_A_ROW.search(piece.text)
        or piece.text.count("、") > _LIST
    ):
        return "loop"
    said = " ".join(row)
    if said in standing.recent or (len(row) >= _SHORT and said in standing.said):
        return "said before"
    if piece.cue and mentions(piece.cue, piece.text):
        return "speaker names himself"
    if not piece.cue and standing.recent and row[:_ALIKE] == standing.recent[-1].split(" ")[:_ALIKE]:
        return "begins like the last"
    if _repeats(piece.text, len(row), standing):
        return "repeats"
    if looks_mistaken(piece.text, standing.known):
        return "name like another"
    if not standing.classical or piece.cue:
        return ""
    if names_twice(piece.text, standing.known):
        return "loop"
    inside = bool(open_quote(standing.scene)) and not piece.opens and not narrates(piece.text)
    return speech_fault(piece.text, standing.scene, inside=inside)


def _repeats(text: str, size: int, standing: Standing) -> bool:
    """Whether `text` says too much again: over its own tenth, or the book over its share.

    A book of 200 n-grams may not hold two repeats; so the share is asked for as though the book had a thousand.
    """
    count, added = standing.repeats.would_repeat(text)
    if count == 0:
        return False
    total = max(standing.repeats.total + added, 1000)
    before = standing.repeats.total - standing.repeats.distinct
    return (before + count) / total > 0.8 * standing.most_repeats or count > max(2, added // 4)


def _quoted(piece: Piece, scene: str) -> Piece:
    """The piece with its quotes in order: closers without an opener are dropped, what stays open too long is closed."""
    left = open_quote(scene)
    text, closes = piece.text, piece.closes
    if left:
        since = scene[scene.rindex(left) :]
        own = text.find(left)
        end = text.find(_PAIRS[left])
        reopens = left != '"' and own >= 0 and (end < 0 or own < end)
        if piece.opens or piece.cue or reopens or narrates(text) or length(since) > _LONGEST_QUOTE:
            closes, left = closes + _PAIRS[left], ""
    kept = []
    for char in text:
        if left:
            if char in _PAIRS and char != _PAIRS[left] and char == left:
                continue
            left = "" if char == _PAIRS[left] else left
        elif char in _PAIRS:
            left = char
        elif char in _PAIRS.values():
            continue
        kept.append(char)
    return replace(piece, text="".join(kept), closes=closes)


def cut_at_clause(text: str, language: str) -> str | None:
    """`text` up to its last comma, with a full stop instead; None where too little would be left."""
    marks, stop = ("，；、：", "。") if language == "zh" else (",;:", ".")
    at = max(text.rfind(mark) for mark in marks)
    if at < 0 or length(text[:at]) < _SHORT:
        return None
    return text[:at].rstrip() + stop
