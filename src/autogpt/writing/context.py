"""What a writer reads before it writes on: a reminder of the book, then the text so far, under a budget of tokens.

For a writer that continues text the reminder is itself text of the kind it knows (the premise, earlier sentences about
the persons of the scene, the heading), because it cannot be told anything. An instructed writer is told in words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from autogpt.writing.gates import Piece
from autogpt.writing.manuscript import join
from autogpt.writing.units import language_for_text, sentences
from autogpt.writing.writers import Writer

__all__ = ["Reminder", "continuation", "fitting_end", "instruction"]

REMINDER_SHARE = 0.35
"""Most of the context that may be reminder: a small model lives by the text directly before."""


@dataclass(frozen=True, slots=True)
class Reminder:
    """What a scene's writer is reminded of.

    Attributes:
        premise: of the book.
        heading: of the chapter, and of the scene in a script.
        known: ledger lines of the persons in the scene.
        earlier: retrieved passages.
        summary: what happens in the chapter; empty in a plan that the program made.
        goal: what happens in the scene; likewise.
        names: who must appear.
    """

    premise: str
    heading: str
    known: Sequence[str] = ()
    earlier: Sequence[str] = ()
    summary: str = ""
    goal: str = ""
    names: Sequence[str] = ()


def fitting_end(pieces: Sequence[Piece], budget: int, writer: Writer, style: tuple[str, str]) -> str:
    """The last pieces as running text of at most `budget` tokens; what is too long loses its beginning.

    Args:
        style: language and what separates paragraphs.
    """
    kept: list[Piece] = []
    text = ""
    for piece in reversed(pieces):
        longer = join([piece, *kept], *style)
        if writer.count_tokens(longer) > budget:
            break
        kept.insert(0, piece)
        text = longer
    return text


def continuation(
    reminder: Reminder,
    scene: Sequence[Piece],
    before: Sequence[Piece],
    writer: Writer,
    room: int,
    style: tuple[str, str],
) -> str:
    """A prompt that a model can continue, of at most `writer.context - room` tokens.

    Args:
        scene: pieces of the chapter so far, directly below its heading.
        before: pieces of the chapter before, which stand above the heading where there is room.
        room: tokens that shall be written.
        style: language and what separates paragraphs.
    """
    budget = writer.context - room - 4
    share = int(budget * REMINDER_SHARE)
    paragraph = style[1]
    first = _within(reminder.premise, share // 2, writer)
    left = share - writer.count_tokens(first)
    lines = [first] if first else []
    for extra in (*reminder.earlier, *reminder.known):
        cost = writer.count_tokens(extra) + 1
        if cost <= left and extra not in lines:
            lines.append(extra)
            left -= cost
    head = reminder.heading
    above = paragraph.join(lines)
    budget -= writer.count_tokens(above) + writer.count_tokens(head) + 2
    end = fitting_end(scene, budget, writer, style)
    parts = [above]
    if not scene and before and (tail := fitting_end(before, budget // 2, writer, style)):
        parts.append(tail)
    parts += [head, end]
    return paragraph.join(part for part in parts if part)


def _within(text: str, budget: int, writer: Writer) -> str:
    """The first sentences of `text` that fit; its first half and so on where none does."""
    kept = ""
    for sentence in sentences(text):
        longer = (kept + " " + sentence).strip() if kept.isascii() else kept + sentence
        if writer.count_tokens(longer) > budget:
            break
        kept = longer
    while not kept and text and writer.count_tokens(text) > budget:
        text = text[: len(text) // 2]
    return kept or text


_ZH = {
    "task": "你在写一部{form}。只写正文，不写标题、说明或提要。",
    "premise": "梗概：{}",
    "heading": "现在写：{}",
    "summary": "本章内容：{}",
    "goal": "这一场：{}",
    "names": "必须出场：{}",
    "known": "已知：\n{}",
    "earlier": "前文摘录：\n{}",
    "end": "接着下面的文字写下去，约 {n} 字：\n{text}",
    "begin": "从头写起，约 {n} 字。",
    "speech": "格式：每段台词先写人物名和冒号，再写台词，台词之间空一行。说话的只有：{}",
    "must": "第一句以“{}”开头。",
}
_EN = {
    "task": "You are writing a {form}. Write its text only: no headings, notes or summaries.",
    "premise": "Premise: {}",
    "heading": "Now: {}",
    "summary": "In this chapter: {}",
    "goal": "In this scene: {}",
    "names": "Must appear: {}",
    "known": "Known so far:\n{}",
    "earlier": "From earlier pages:\n{}",
    "end": "Go on from here, about {n} words:\n{text}",
    "begin": "Begin the scene, about {n} words.",
    "speech": "Each speech is a name and a colon, then what is said; a blank line between speeches. Speakers: {}",
    "must": "The first sentence begins with “{}”.",
}


def instruction(
    reminder: Reminder,
    scene: Sequence[Piece],
    writer: Writer,
    *,
    form: str,
    words: int,
    must: str,
    speakers: Sequence[str],
) -> str:
    """A prompt for an instructed writer: what the book is, what is known, how it ended so far, and what to write.

    Args:
        words: about how much shall be written.
        must: a name with which it begins; empty for none.
        speakers: who may speak in a script; empty for prose.
    """
    language = language_for_text(reminder.premise + reminder.heading)
    said = _ZH if language == "zh" else _EN
    comma = "、" if language == "zh" else ", "
    lines = [said["task"].format(form=form)]
    rest = writer.context - words * 3 - 200
    for key, value in (
        ("premise", reminder.premise),
        ("heading", reminder.heading),
        ("summary", reminder.summary),
        ("goal", reminder.goal),
        ("names", comma.join(reminder.names)),
        ("speech", comma.join(speakers)),
        ("known", "\n".join(reminder.known)),
        ("earlier", "\n".join(reminder.earlier)),
    ):
        line = said[key].format(value)
        if value and (cost := writer.count_tokens(line)) < rest * 0.7:
            lines.append(line)
            rest -= cost
    end = fitting_end(scene, max(200, rest // 2), writer, (language, "\n\n"))
    lines.append(said["end"].format(n=words, text=end) if end else said["begin"].format(n=words))
    if must:
        lines.append(said["must"].format(must))
    return "\n".join(lines)
