"""Grammars for the places where form is not left to a small model: titles, cues, and a sentence that names somebody.

In llguidance's Lark dialect, as `generation.grammar` reads it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["INDOORS", "OUTDOORS", "chapter_end", "json_document", "named", "place", "speech", "title"]

_HAN = r"[\u4e00-\u9fff]"
_TITLE_HAN = r"[\u4e00-\u9fff&&[^的了么吗呢吧着过们个说道一你我他她您这那是就]]"
"""Titles of classical chapters have no particles, and no pronouns."""
_PLAIN_ZH = r"[\u4e00-\u9fff，、；]"
INDOORS = ("chamber", "hall", "tavern", "castle", "palace", "house", "court", "church", "prison")
OUTDOORS = ("garden", "street", "forest", "camp", "field", "harbour", "churchyard", "heath")
"""English places of a scene; where one is decides whether its heading says INT. or EXT."""
_LEADS = "听了|听说|见了|见|便|忙|因|又|也|只得|方|一面|却|正|自|走来|进来|出来|点头"
"""What follows a person's name in Chinese narrative."""
_WORD = r"[A-Z][a-z]{2,9}"
_JOINED = rf"( (of|and|the|in|to|with)){{0,2}} {_WORD}"


def title(language: str, names: Sequence[str] = (), *, couplet: bool = False) -> str:
    """A title: 4 to 9 Han characters or 2 to 5 capitalised words.

    `couplet`: two lines of equal length (seven or eight characters), as chapters of classical Chinese novels have; with
    names each line begins with one of them.
    """
    if language != "zh":
        return f"start: TITLE\nTITLE: /{_WORD}({_JOINED}){{1,2}}/\n"
    if not couplet:
        return f"start: TITLE\nTITLE: /{_TITLE_HAN}{{4,9}}/\n"
    if len(names) < 2:
        lines = (f"/{_TITLE_HAN}{{{n}}}　{_TITLE_HAN}{{{n}}}/" for n in (7, 8))
    else:
        first, second = names[0], names[1]
        lines = (
            f'"{first}" /{_TITLE_HAN}{{{n - len(first)}}}　/ "{second}" /{_TITLE_HAN}{{{n - len(second)}}}/'
            for n in (7, 8)
            if n - len(first) >= 3 and n - len(second) >= 3
        )
    return "start: " + " | ".join(lines) + "\n"


def place(language: str, town: str = "") -> str:
    """The place of a scene: 2 to 6 Han characters that end like a place, or a few words (`A hall in the castle`).

    English: `town` may stand before it, as in `Verona. A street`.
    """
    if language == "zh":
        return f"start: PLACE\nPLACE: /{_HAN}{{1,4}}(府|园|院|楼|亭|寺|城|山|村|街|馆|阁|房|堂|门外|路上)/\n"
    lead = f"({json.dumps(town + '. ')})? " if town else ""
    house, indoors, outdoors = f"({_any(INDOORS[3:])})", _any(INDOORS), _any(OUTDOORS)
    return (
        f"start: {lead}PLACE\n"
        f"PLACE: /A (room|hall) in the {house}|Before the {house}|The ({indoors}|{outdoors})|A ({outdoors})/\n"
    )


def _any(words: Sequence[str]) -> str:
    return "|".join(words)


def chapter_end() -> str:
    """The words with which a chapter of a classical Chinese novel hands over to the next: `要知端的，且听下回分解。`"""
    return f"start: END\nEND: /(不知|未知|要知|欲知|毕竟){_HAN}{{2,6}}，(且听)?下回分解。/\n"


def speech(speakers: Sequence[str], language: str) -> str:
    """One speech: a cue of one of `speakers`, then what is said, closed by a blank line (Chinese: by a line break).

    Its length is left to the writer, because a text that is made to end ends in the middle of a word. One terminal for
    all of it: llguidance reads terminals greedily, and a line break could go on or end the speech.
    """
    cue = "|".join(re.sub(r"([^\w\s])", r"\\\1", name) for name in speakers)
    if language == "zh":
        said = rf"：{_HAN}[\u4e00-\u9fff，、；：。！？…“”‘’]+\n"
    else:
        line = r"[A-Za-z'][A-Za-z ',;.!?\-]+"
        said = rf":\n{line}(\n{line})*\n\n"
    return f"start: SPEECH\nSPEECH: /({cue}){said}/\n"


def named(name: str, language: str) -> str:
    """One sentence that begins with `name`; in Chinese it goes on as one about a person does, or is a short speech."""
    start = json.dumps(name, ensure_ascii=False)
    if language == "zh":
        told = f"({_LEADS}){_PLAIN_ZH}{{4,50}}。"
        said = f"(笑道|道|问道|忙道|便道)：“{_PLAIN_ZH}{{4,40}}[。！？]”"
        return f"start: {start} REST\nREST: /{told}|{said}/\n"
    return f"start: {start} REST\nREST: / [a-z][a-z ',;]{{12,160}}\\./\n"


def json_document(schema: Mapping[str, Any]) -> str:
    """A JSON document that follows a JSON schema."""
    strict = {**schema, "x-guidance": {"whitespace_flexible": False}}  # a small model may write blanks for ever
    return f"start: %json {json.dumps(strict, ensure_ascii=False)}\n"
