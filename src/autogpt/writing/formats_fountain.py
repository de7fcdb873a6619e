"""A script as Fountain 1.1 (fountain.io/syntax), the plain-text form that screenwriting programs read.

Scene headings are forced with a dot, since places need not begin with INT.; cues that are not in capitals (Chinese has
none) are forced with @; acts are sections; text between speeches is action, forced with ! where it could be read as
something else.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from autogpt.writing.formats import Document

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


def fountain(document: Document) -> str:
    """The script. Speeches keep their lines; blank lines within one are left out, for they would end it."""
    blocks = [f"Title: {_plain(document.title)}"]
    for part in document.parts:
        if part.heading:
            blocks.append(f"# {_plain(part.heading)}")
        for scene in part.scenes:
            if scene.heading:
                blocks.append(f".{_plain(scene.heading)}")
            for cue, text in scene.blocks:
                lines = "\n".join(line.strip() for line in _plain(text).split("\n") if line.strip())
                blocks.append(f"{_cue(cue)}\n{lines}" if cue else _action(lines))
    return "\n\n".join(blocks) + "\n"
