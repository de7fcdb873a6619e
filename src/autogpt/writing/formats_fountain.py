"""A script as Fountain 1.1 (fountain.io/syntax), the plain-text form that screenwriting programs read.

Scene headings are places with the numbers of act and scene behind them (`EXT. A STREET #1.2#`); a place that is not
known to be indoors or outdoors is forced with a dot. Cues that are not in capitals (Chinese has none) are forced with
@; acts are sections; text between speeches is action, forced with ! where it could be read as something else.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from autogpt.writing.grammars import INDOORS, OUTDOORS

if TYPE_CHECKING:
    from autogpt.writing.formats import Document, Scene

__all__ = ["fountain"]

_EMPHASIS = re.compile(r"([*_])")
_TAKEN = re.compile(r"[.!@#>~=]|(?:int|ext|est|int\./ext|int/ext|i/e)[. ]|[^a-z]*$", re.IGNORECASE)


def _plain(text: str) -> str:
    """`text` without what Fountain would read as emphasis, a note or a comment."""
    return _EMPHASIS.sub(r"\\\1", text).replace("[[", "[ [").replace("/*", "/ *")


def _cue(name: str) -> str:
    plain = _plain(" ".join(name.split()))
    is_capital = plain.isascii() and plain == plain.upper() and any(char.isalpha() for char in plain)
    return plain if is_capital and not _TAKEN.match(plain[:1]) else f"@{plain}"


def _action(text: str) -> str:
    return "\n".join(f"!{line}" if _TAKEN.match(line) or line == line.upper() else line for line in text.split("\n"))


def _slug(scene: Scene, number: str) -> str:
    """The heading of a scene. One without a place keeps the words of its heading."""
    place = _plain(scene.place).rstrip(".")
    if not place:
        return f".{_plain(scene.heading).rstrip('.')} #{number}#"
    said = place.rpartition(". ")[2].lower()
    last = said.rpartition(" ")[2]
    if said.startswith("before ") or last in OUTDOORS:
        return f"EXT. {place.upper()} #{number}#"
    return f"{'INT. ' if last in INDOORS else '.'}{place.upper()} #{number}#"


def fountain(document: Document) -> str:
    """The script. Speeches keep their lines; blank lines within one are left out, for they would end it."""
    blocks = [f"Title: {_plain(document.title)}"]
    for act, part in enumerate(document.parts, 1):
        if part.heading:
            blocks.append(f"# {_plain(part.heading)}")
        for number, scene in enumerate(part.scenes, 1):
            if scene.heading:
                blocks.append(_slug(scene, f"{act}.{number}"))
            for cue, text in scene.blocks:
                lines = "\n".join(line.strip() for line in _plain(text).split("\n") if line.strip())
                blocks.append(f"{_cue(cue)}\n{lines}" if cue else _action(lines))
    return "\n\n".join(blocks) + "\n"
