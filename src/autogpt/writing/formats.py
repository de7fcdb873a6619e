"""The finished book as files: Markdown and plain text here, EPUB, DOCX and Fountain in the modules beside this one."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from autogpt.store.artifacts import write_atomic
from autogpt.writing.forms import form_named, heading, scene_heading
from autogpt.writing.gates import Piece
from autogpt.writing.manuscript import Manuscript, join
from autogpt.writing.order import Order

__all__ = ["Document", "Part", "Scene", "document_of", "export", "markdown", "plain_text"]


@dataclass(frozen=True, slots=True)
class Scene:
    """A scene ready to be set.

    Attributes:
        heading: of a script's scene; empty in prose.
        blocks: (cue, text) of each speech, or ("", text) of each paragraph or stage direction.
        place: where it plays; Fountain's headings are of places.
    """

    heading: str
    blocks: tuple[tuple[str, str], ...]
    place: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    """A chapter, act or section."""

    heading: str
    scenes: tuple[Scene, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """A book ready to be set. `by_speeches`: a script."""

    title: str
    language: str
    parts: tuple[Part, ...]
    by_speeches: bool = False


def _blocks(pieces: Sequence[Piece], language: str) -> tuple[tuple[str, str], ...]:
    found: list[tuple[str, str]] = []
    for piece in pieces:
        if piece.closes and found:
            found[-1] = (found[-1][0], found[-1][1] + piece.closes)
        if not piece.text:
            continue
        if piece.cue or piece.opens or not found:
            found.append((piece.cue, piece.text))
        else:
            last = found[-1]
            found[-1] = (last[0], join([Piece(last[1]), Piece(piece.text)], language))
    return tuple(found)


def _staged(blocks: tuple[tuple[str, str], ...], language: str) -> tuple[tuple[str, str], ...]:
    """The speeches of a scene between who enters, in the order in which they speak, and that they leave."""
    cues = list(dict.fromkeys(cue for cue, _ in blocks if cue))
    if not cues:
        return blocks
    if language == "zh":
        enter, leave = "、".join(cues) + "上。", f"{cues[0]}下。" if len(cues) == 1 else "众人下。"
    else:
        enter = f"Enter {', '.join(cues[:-1])} and {cues[-1]}." if len(cues) > 1 else f"Enter {cues[0]}."
        leave = "Exeunt." if len(cues) > 1 else "Exit."
    return (("", enter), *blocks, ("", leave))


def document_of(order: Order, book: Manuscript) -> Document:
    """The book as far as it is written. Raises ValueError where not even the plan is made."""
    plan = book.plan
    if plan is None:
        raise ValueError("a book without a plan cannot be set")
    form = form_named(order.form)
    parts = []
    for number, chapter in enumerate(book.chapters, 1):
        scenes = tuple(
            Scene(
                scene_heading(plan.language, i, scene.place or "") if form.by_speeches else "",
                _staged(_blocks(scene.pieces, plan.language), plan.language)
                if form.by_speeches
                else _blocks(scene.pieces, plan.language),
                scene.place or "",
            )
            for i, scene in enumerate(chapter.scenes, 1)
        )
        head = heading(form, plan.language, number, chapter.title or "", classical=plan.classical)
        parts.append(Part(head, scenes))
    return Document(plan.title, plan.language, tuple(parts), form.by_speeches)


_MARKED = re.compile(r"([\\`*_<\[])")
_MARKED_START = re.compile(r"^(\s*)([#>+=~-]|\d+[.)](?=\s))", re.MULTILINE)


def _escaped(text: str) -> str:
    return _MARKED_START.sub(lambda found: f"{found[1]}\\{found[2]}" if not found[2][0].isdigit() else (
        f"{found[1]}{found[2][:-1]}\\{found[2][-1]}"
    ), _MARKED.sub(r"\\\1", text))  # fmt: skip


def markdown(document: Document) -> str:
    """CommonMark: the title and the headings, a blank line between paragraphs, cues in bold."""
    lines = [f"# {_escaped(document.title)}"]
    for part in document.parts:
        if part.heading:
            lines.append(f"## {_escaped(part.heading)}")
        for scene in part.scenes:
            if scene.heading:
                lines.append(f"### {_escaped(scene.heading)}")
            for cue, text in scene.blocks:
                said = _escaped(text).replace("\n", "  \n")
                lines.append(f"**{_escaped(cue)}**  \n{said}" if cue else said)
    return "\n\n".join(lines) + "\n"


def plain_text(document: Document) -> str:
    """Plain text; Chinese paragraphs are indented by two characters, as is usual."""
    indent = "　　" if document.language == "zh" and not document.by_speeches else ""
    mark = "：" if document.language == "zh" else ":\n"
    lines = [document.title]
    for part in document.parts:
        if part.heading:
            lines.append(part.heading)
        for scene in part.scenes:
            if scene.heading:
                lines.append(scene.heading)
            lines += [f"{cue}{mark}{text}" if cue else indent + text for cue, text in scene.blocks]
    return "\n\n".join(lines) + "\n"


def export(order: Order, book: Manuscript, folder: Path, formats: Sequence[str]) -> list[Path]:
    """Writes `book.<format>` for each of `formats`, and returns the files. Fountain is left out for what is no script.

    Raises StoreError when one cannot be written.
    """
    from autogpt.writing.formats_docx import docx
    from autogpt.writing.formats_epub import epub
    from autogpt.writing.formats_fountain import fountain

    makers: dict[str, Callable[[Document], str | bytes]] = {
        "md": markdown, "txt": plain_text, "epub": epub, "docx": docx, "fountain": fountain,
    }  # fmt: skip
    document = document_of(order, book)
    files = []
    for name in formats:
        if name == "fountain" and not document.by_speeches:
            continue
        path = folder / f"book.{name}"
        write_atomic(path, makers[name](document))
        files.append(path)
    return files
