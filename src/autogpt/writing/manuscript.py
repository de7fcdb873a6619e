"""The book as it stands, rebuilt from its journal: chapters, scenes, sentences, and what was refused on the way.

Everything that decides what is written next is in here and comes from journal records alone, so a book that goes on
after a kill goes on as if nothing had happened.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from autogpt.writing.gates import Piece
from autogpt.writing.ledger import Ledger
from autogpt.writing.plan import Plan
from autogpt.writing.repeats import Repeats
from autogpt.writing.retrieval import Passages
from autogpt.writing.units import length, units

__all__ = ["Manuscript", "SceneText", "join"]

_PASSAGE_UNITS = 90


def join(pieces: Iterable[Piece], language: str, paragraph: str = "\n\n") -> str:
    """The pieces as running text; speeches as cue, line break, speech."""
    text = ""
    for piece in pieces:
        text += piece.closes
        if piece.cue:
            mark = "：" if language == "zh" else ":\n"
            text += ("\n\n" if text else "") + piece.cue + mark + piece.text
        elif not text:
            text = piece.text
        elif piece.opens:
            text += paragraph + piece.text
        else:
            text += ("" if language == "zh" or not piece.text else " ") + piece.text
    return text


@dataclass(slots=True)
class SceneText:
    """A scene as written. `attempt` counts how often it was begun anew; `done` once nothing will follow."""

    place: str | None = None
    pieces: list[Piece] = field(default_factory=list)
    attempt: int = 0
    done: bool = False
    short: str = ""


@dataclass(slots=True)
class ChapterText:
    """A chapter as written; `title` is None before it is found."""

    title: str | None = None
    scenes: list[SceneText] = field(default_factory=list)


class Manuscript:
    """See the module.

    Attributes:
        plan: None before it is made.
        chapters: as far as begun.
        ledger: after the last finished scene.
        repeats, passages: over all sentences; `passages` over finished scenes only.
        rewrites: refusals by reason.
        refused: (reason, piece) of those since the last accepted sentence.
        waiting: sentences of an answer that were not yet judged.
        unmet: (chapter, scene, name) of promises that could not be kept.
        seconds, tokens: spent on writing, over all sessions.
        state: file name and checksum of the writer's state after the last finished scene; empty without one.
        finished: whether the last record was written.
    """

    def __init__(self) -> None:
        self.plan: Plan | None = None
        self.chapters: list[ChapterText] = []
        self.ledger = Ledger()
        self.repeats, self.passages = Repeats(), Passages()
        self.said: set[str] = set()
        self.rewrites: Counter[str] = Counter()
        self.refused: list[tuple[str, Piece]] = []
        self.waiting: list[Piece] = []
        self.unmet: list[tuple[int, int, str]] = []
        self.seconds, self.tokens, self.written = 0.0, 0, 0
        self.state: dict[str, Any] = {}
        self.finished = False

    @classmethod
    def rebuilt(cls, records: Iterable[Mapping[str, Any]]) -> Manuscript:
        """The book after these records."""
        book = cls()
        for record in records:
            book.take(record)
        return book

    # ---- records -----------------------------------------------------------------------------------------------------

    def take(self, record: Mapping[str, Any]) -> None:
        """Folds one record in. A kind that is not known is a KeyError: the journal is of another version."""
        {
            "plan": self._take_plan,
            "title": self._take_title,
            "place": self._take_place,
            "answer": self._take_answer,
            "sentence": self._take_sentence,
            "refused": self._take_refused,
            "scene_anew": self._take_anew,
            "unmet": self._take_unmet,
            "scene": self._take_scene,
            "end": self._take_end,
        }[record["kind"]](record)
        self.seconds += record.get("seconds", 0.0)
        self.tokens += record.get("tokens", 0)

    def _take_plan(self, record: Mapping[str, Any]) -> None:
        self.plan = Plan.from_dict(record["plan"])
        self.ledger.expect(self.plan.cast)

    def _take_title(self, record: Mapping[str, Any]) -> None:
        self.chapters.append(ChapterText(record["title"]))

    def _take_place(self, record: Mapping[str, Any]) -> None:
        self.chapters[-1].scenes.append(SceneText(record["place"]))

    def _take_answer(self, record: Mapping[str, Any]) -> None:
        self.waiting = [Piece(**one) for one in record["pieces"]]

    def _take_sentence(self, record: Mapping[str, Any]) -> None:
        piece = Piece(**record["piece"])
        if record.get("waited"):
            self.waiting = self.waiting[1:]
        self.scene.pieces.append(piece)
        self._count(piece)
        self.refused = []

    def _count(self, piece: Piece) -> None:
        self.repeats.add(piece.text)
        self.said.add(" ".join(units(piece.text)))
        self.written += length(piece.text)

    def _take_refused(self, record: Mapping[str, Any]) -> None:
        self.rewrites[record["reason"]] += 1
        self.refused.append((record["reason"], Piece(**record["piece"])))
        self.waiting = []

    def _take_anew(self, record: Mapping[str, Any]) -> None:
        self.rewrites[record["reason"]] += 1
        self.scene.pieces, self.scene.attempt = [], self.scene.attempt + 1
        self.refused, self.waiting = [], []
        self.repeats, self.said, self.written = Repeats(), set(), 0
        for chapter in self.chapters:
            for scene in chapter.scenes:
                for piece in scene.pieces:
                    self._count(piece)

    def _take_unmet(self, record: Mapping[str, Any]) -> None:
        self.unmet.append((record["chapter"], record["scene"], record["name"]))
        self.refused = []

    def _take_scene(self, record: Mapping[str, Any]) -> None:
        self.scene.done, self.scene.short = True, record.get("short", "")
        self.ledger = Ledger.from_dict(record["ledger"])
        self.state = dict(record.get("state") or {})
        self.refused, self.waiting = [], []
        held = ""
        for piece in self.scene.pieces:
            held += ("" if self.language == "zh" else " ") + piece.text
            if length(held) >= _PASSAGE_UNITS:
                self.passages.add(held.strip())
                held = ""
        self.passages.add(held.strip())

    def _take_end(self, record: Mapping[str, Any]) -> None:
        self.finished = True

    # ---- what stands -------------------------------------------------------------------------------------------------

    @property
    def language(self) -> str:
        return self.plan.language if self.plan else "en"

    @property
    def scene(self) -> SceneText:
        """The last scene begun."""
        return self.chapters[-1].scenes[-1]

    def scene_text(self, scene: SceneText) -> str:
        """The scene as running text, paragraphs as the writer itself separates them."""
        return join(scene.pieces, self.language, self.plan.paragraph if self.plan else "\n\n")

    def text(self) -> str:
        """The whole text without headings, for figures."""
        return "\n".join(self.scene_text(scene) for chapter in self.chapters for scene in chapter.scenes)
