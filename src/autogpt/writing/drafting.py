"""Asking the writer: for the next sentences, for a title, for the place of a scene. Nothing is judged or kept here.

Each question has its own seed, made from what is asked for, so that the same question asked again after a kill has the
same answer.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from autogpt.writing import grammars
from autogpt.writing.context import Reminder, continuation, instruction
from autogpt.writing.forms import form_named, heading, scene_heading
from autogpt.writing.gates import Piece, open_quote
from autogpt.writing.manuscript import Manuscript
from autogpt.writing.names import given_name, places_of
from autogpt.writing.order import Order, WritingSettings
from autogpt.writing.plan import Plan
from autogpt.writing.units import ends_sentence, first_sentence, length, units
from autogpt.writing.writers import Writer

__all__ = ["Drafter", "Place", "seed_of", "split_answer"]

_OPENERS = {0: "话说", 1: "却说"}
_NEAR_SCENES = 4
"""Scenes among which no two play at one place."""

_PATIENT_TRIES = 3
"""Refusals after which the reminder is left out: it may be what the model repeats."""

_SPEECH = re.compile(r"^\s*[*_]*([^\s:：*_][^:：\n*_]{0,40}?)[*_]*\s*[:：]\s*[*_]*\s*(.*)$", re.DOTALL)


def seed_of(*parts: object) -> int:
    """0..2³¹-1 from a hash of `parts`: the same for the same, and else unrelated."""
    digest = hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") >> 1


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the book: chapter and scene, both from 0."""

    chapter: int
    scene: int


def split_answer(text: str, *, by_speeches: bool, language: str) -> list[Piece]:
    """The sentences (or speeches) of an answer; the last may be unfinished. Lines marked as headings are left out."""
    if by_speeches:
        return [_speech(block, language) for block in re.split(r"\n\s*\n", text.strip()) if block.strip()]
    pieces = []
    kept = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith(("#", "---", "***")))
    for block in re.split(r"\n+", kept.strip()):
        rest, opens = block, True
        while (cut := first_sentence(rest, whole=True)) is not None:
            pieces.append(Piece(cut[0].strip(), opens))
            rest, opens = cut[1], False
        if rest.strip():
            pieces.append(Piece(rest.strip(), opens))
    return pieces


def _speech(block: str, language: str) -> Piece:
    found = _SPEECH.match(block)
    if not found:
        return Piece(block.strip())
    said = found[2].strip()
    finished = ""
    rest = said
    while (cut := first_sentence(rest, whole=True)) is not None:
        finished, rest = finished + cut[0], cut[1]
    cue = found[1].strip()
    return Piece(finished.strip() or said, True, "", cue if language == "zh" else cue.upper())


class Drafter:
    """Asks `writer` for the parts of `book`."""

    def __init__(self, order: Order, plan: Plan, book: Manuscript, writer: Writer, settings: WritingSettings) -> None:
        self._order, self._plan, self._book, self._writer, self._settings = order, plan, book, writer, settings
        self._form = form_named(order.form)
        self._style = (plan.language, plan.paragraph)
        self._shown: tuple[tuple[int, int], list[str]] | None = None

    # ---- headings ----------------------------------------------------------------------------------------------------

    def heading(self, chapter: int, title: str) -> str:
        """The heading of a chapter, from 0."""
        return heading(self._form, self._plan.language, chapter + 1, title, classical=self._plan.classical)

    def title(self, chapter: int) -> str:
        """The title of a chapter, from 0: the plan's, or one made by the writer under a grammar; empty for an act."""
        planned = self._plan.chapters[chapter]
        if planned.title or self._form.by_speeches:
            return planned.title
        present = list(dict.fromkeys(name for scene in planned.scenes for name in scene.names if len(name) <= 4))
        turn = chapter % max(1, len(present))  # not every title begins with the same person
        names = [*present[turn:], *present[:turn]][:2]
        rule = grammars.title(self._plan.language, names, couplet=self._plan.classical)
        before = [text.title or "" for text in self._book.chapters]
        found = ""
        for attempt in range(self._settings.rewrites):
            seed = seed_of(self._settings.seed, "title", chapter, attempt)
            found = self._line(self.heading(chapter, "…").partition("…")[0], rule, seed)
            if found and not _dull(found, before):
                break
        return found

    def place(self, at: Place) -> str:
        """Where a scene of a script plays."""
        planned = self._plan.chapters[at.chapter].scenes[at.scene]
        if planned.place or not self._form.by_speeches:
            return planned.place
        head = scene_heading(self._plan.language, at.scene + 1, "…").partition("…")[0]
        town = next(iter(places_of(self._order.premise)), "") if self._plan.language == "en" else ""
        rule = grammars.place(self._plan.language, town)
        before = [scene.place or "" for chapter in self._book.chapters for scene in chapter.scenes][-_NEAR_SCENES:]
        found = ""
        for attempt in range(self._settings.rewrites):
            found = self._line(head, rule, seed_of(self._settings.seed, "place", at.chapter, at.scene, attempt))
            if found and not any(_where(found) == _where(other) for other in before):
                break
        return found

    def chapter_end(self, at: Place, tries: int) -> Piece:
        """The words that hand a chapter of a classical Chinese novel over to the next; they may be unfit."""
        seed = seed_of(self._settings.seed, "end", at.chapter, tries)
        prompt = self._prompt(at, 40, 0)
        return Piece("".join(self._writer.write(prompt, 40, grammar=grammars.chapter_end(), seed=seed)).strip())

    def _line(self, head: str, rule: str, seed: int) -> str:
        if not self._writer.holds_grammar:
            return ""
        room = 40
        recent = [piece for chapter in self._book.chapters for scene in chapter.scenes for piece in scene.pieces][-12:]
        reminder = Reminder(self._order.premise, head)
        prompt = continuation(reminder, [], recent, self._writer, room, self._style)
        return " ".join("".join(self._writer.write(prompt, room, grammar=rule, seed=seed)).split(" ")).strip()

    # ---- text --------------------------------------------------------------------------------------------------------

    def speakers(self, at: Place) -> list[str]:
        """Who may speak next in a script: those of the scene without the last one who spoke, if anybody is left."""
        names = list(self._plan.chapters[at.chapter].scenes[at.scene].names)
        pieces = self._book.scene.pieces
        last = pieces[-1].cue if pieces else ""
        return [name for name in names if name != last] or names

    def draft(self, at: Place, must: str, tries: int) -> list[Piece]:
        """Candidates for the next sentences, at least one; they may be empty, unfinished or unfit.

        Args:
            must: a name with which the first begins; empty for none.
            tries: how many drafts were refused since the last sentence.
        """
        scene = self._book.scene
        seed = seed_of(self._settings.seed, at.chapter, at.scene, scene.attempt, len(scene.pieces), tries)
        if self._writer.by_passages:
            return self._passage(at, must, seed)
        if self._form.by_speeches:
            return [self._next_speech(at, must, seed, tries)]
        return [self._next_sentence(at, must, seed, tries)]

    def _passage(self, at: Place, must: str, seed: int) -> list[Piece]:
        left = self._plan.chapters[at.chapter].scenes[at.scene].words - length(self._book.scene_text(self._book.scene))
        words = max(40, min(left, self._settings.passage_tokens // 2))
        speakers = self.speakers(at) if self._form.by_speeches else ()
        prompt = instruction(
            self.reminder(at), self._chapter_pieces(), self._writer,
            form=self._order.form, words=words, must=must, speakers=speakers,
        )  # fmt: skip
        text = "".join(self._writer.write(prompt, self._settings.passage_tokens, seed=seed))
        pieces = split_answer(text, by_speeches=self._form.by_speeches, language=self._plan.language)
        # what the limit of tokens cut off is no sentence that was refused
        return pieces[:-1] if len(pieces) > 1 and not ends_sentence(pieces[-1].text) else pieces or [Piece("")]

    def _next_speech(self, at: Place, must: str, seed: int, tries: int) -> Piece:
        speakers = [must] if must else self.speakers(at)
        if not speakers:
            return self._next_sentence(at, "", seed, tries)
        room = min(self._settings.sentence_tokens, self._writer.context // 2)
        prompt = self._prompt(at, room, tries) + "\n\n"
        rule = grammars.speech(speakers, self._plan.language)
        text = "".join(self._writer.write(prompt, room, stop=("\n\n",), grammar=rule, seed=seed))
        return _speech(text, self._plan.language)

    def _next_sentence(self, at: Place, must: str, seed: int, tries: int) -> Piece:
        room = min(self._settings.sentence_tokens, self._writer.context // 2)
        pieces = self._book.scene.pieces
        opens = not pieces or self._paragraph_is_long()
        prompt = self._prompt(at, room, tries) + (self._plan.paragraph if opens else "")
        opener = ""
        if self._plan.classical and not pieces and at.scene == 0:
            opener = _OPENERS[min(at.chapter, 1)]
        rule = grammars.named(self._called(must), self._plan.language) if must and self._writer.holds_grammar else None
        said = opener
        for piece in self._writer.write(prompt + opener, room, grammar=rule, seed=seed):
            said += piece
            if rule is None and (cut := first_sentence(said, whole=False)) is not None:
                said = cut[0]
                break
        opens = opens or (bool(pieces) and "\n" in said[: len(said) - len(said.lstrip())])
        return Piece(said.strip(), opens)

    def _called(self, name: str) -> str:
        """The name as the writer uses it: without the surname where it was met so."""
        given = given_name(name)
        return given if given in self._plan.known else name

    def _paragraph_is_long(self) -> bool:
        pieces = self._book.scene.pieces
        size = 0
        for piece in reversed(pieces):
            size += length(piece.text)
            if piece.opens:
                break
        return size >= self._settings.paragraph_words and not open_quote(self._book.scene_text(self._book.scene))

    def _chapter_pieces(self) -> list[Piece]:
        return [piece for scene in self._book.chapters[-1].scenes for piece in scene.pieces]

    def _prompt(self, at: Place, room: int, tries: int) -> str:
        reminder = self.reminder(at) if tries < _PATIENT_TRIES else Reminder("", "")
        earlier = self._book.chapters[-2].scenes if len(self._book.chapters) > 1 else []
        before = [piece for scene in earlier for piece in scene.pieces][-12:]
        return continuation(reminder, self._chapter_pieces(), before, self._writer, room, self._style)

    def reminder(self, at: Place) -> Reminder:
        """What the writer is reminded of while it writes this scene."""
        chapter = self._plan.chapters[at.chapter]
        scene = chapter.scenes[at.scene]
        head = self.heading(at.chapter, self._book.chapters[at.chapter].title or "")
        if self._form.by_speeches:
            head += "\n" + scene_heading(self._plan.language, at.scene + 1, self._book.scene.place or "")
        key = (at.chapter, at.scene)
        if self._shown is None or self._shown[0] != key:  # they change with finished scenes only
            query = " ".join([self._order.premise, head, chapter.summary, scene.goal, *scene.names])
            self._shown = (key, self._book.passages.best(query, self._settings.retrieved))
        known = self._book.ledger.lines(scene.names)
        if not self._writer.instructed:
            known = []  # a line of notes is no text that a novel's model knows; what it says stands in `earlier`
        shown = self._shown[1]
        return Reminder(self._order.premise, head, known, shown, chapter.summary, scene.goal, scene.names)


def _where(place: str) -> str:
    """A scene's place without the town before it."""
    return place.rpartition(". ")[2]


def _dull(title: str, before: Sequence[str]) -> bool:
    """Whether a title says a pair of units twice, or is too like an earlier one."""
    row = units(title)
    pairs = list(pairwise(row))
    if len(set(pairs)) < len(pairs) or any(a == b for a, b in pairs):
        return True
    return any(len(set(row) & set(units(other))) > 0.7 * len(set(row)) for other in before if other)
