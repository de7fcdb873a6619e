"""Writes a book: plan, chapters, scenes, sentence by sentence, each judged and written to the journal before the next.

A generator of events; `writing.done` is the last and holds the report. Closing the generator, killing the process or
filling the disk loses no accepted sentence: called again with the same folder it goes on and ends with the same text,
as far as the writer itself repeats its answers (a model on the same machine does, few endpoints do).
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from autogpt.errors import DataError
from autogpt.events import Event
from autogpt.store.artifacts import RunFolder, write_atomic, write_json
from autogpt.writing.drafting import Drafter, Place, seed_of
from autogpt.writing.formats import export
from autogpt.writing.forms import form_named
from autogpt.writing.gates import SOFT, Piece, Standing, cut_at_clause, judge, open_quote
from autogpt.writing.journal import Journal
from autogpt.writing.ledger import LEDGER_SCHEMA, Ledger
from autogpt.writing.manuscript import Manuscript
from autogpt.writing.names import mentions
from autogpt.writing.order import Order, WritingSettings
from autogpt.writing.plan import Plan, asked_plan, own_plan
from autogpt.writing.report import report_markdown, report_of
from autogpt.writing.units import length, units
from autogpt.writing.writers import Writer, is_instructed

__all__ = ["write_book"]

LEDGER = "ledger.json"
_CLOSERS = {"“": "”", "「": "」", "『": "』", '"': '"'}
_OVER = "下回分解。"
_HALF_SENTENCE = 12
"""Units by which a scene may be short: another sentence would make it longer than ordered by as much."""


def write_book(order: Order, writer: Writer, folder: Path, settings: WritingSettings) -> Iterator[Event]:
    """Writes what is ordered into `folder`, or goes on with it where its journal says that it is the same book.

    Yields events whose kinds begin with `writing.`: `resumed`, `planned`, `chapter`, `sentence` (with the words written
    so far), `refused`, `scene`, `note`, `done`.

    Raises ConfigError when the folder holds another book, DataError when its journal is damaged, StoreError when it
    cannot be written, EndpointError when an endpoint does not answer. What was written before stays.
    """
    RunFolder(folder).create()
    header = {"order": order.to_dict(), "writer": writer.identity, "settings": settings.model_dump(mode="json")}
    with closing(Journal(folder, header)) as journal:
        book = Manuscript.rebuilt(journal.records)
        if journal.records:
            yield Event("writing.resumed", {"written": book.written, "words": order.words, "dropped": journal.dropped})
        author = _Author(order, writer, folder, settings, journal, book)
        author.restore()
        yield from author.work()
        yield from author.finish()


class _Author:
    """One session at a book."""

    def __init__(
        self, order: Order, writer: Writer, folder: Path, settings: WritingSettings, journal: Journal, book: Manuscript
    ) -> None:
        self._order, self._writer, self._folder, self._settings = order, writer, folder, settings
        self._journal, self._book = journal, book
        self._form = form_named(order.form)
        self._since = time.monotonic()

    def restore(self) -> None:
        """Gives the writer back the state of the last finished scene. Raises DataError when its file is another."""
        if not self._book.state:
            return
        path = self._folder / str(self._book.state["file"])
        data = path.read_bytes() if path.exists() else b""
        if hashlib.sha256(data).hexdigest() != self._book.state["sha256"]:
            raise DataError(f"the writer's state {str(path)!r} is missing or damaged", todo="write into another folder")
        self._writer.restore(data)

    def _record(self, kind: str, **fields: Any) -> None:
        """Into the journal first, then into the book, with the seconds since the record before."""
        now = time.monotonic()
        record = {"kind": kind, **fields, "seconds": round(now - self._since, 3)}
        self._since = now
        self._journal.add(record)
        self._book.take(json.loads(json.dumps(record)))

    # ---- plan --------------------------------------------------------------------------------------------------------

    def _plan(self) -> Plan:
        seed, scene_words = self._settings.seed, self._settings.scene_words
        writer = self._writer
        if not is_instructed(writer):
            return own_plan(self._order, writer, seed, scene_words)
        failed = ""
        for attempt in range(3):
            try:
                return asked_plan(self._order, writer, seed_of(seed, "plan", attempt), scene_words)
            except ValueError as error:
                failed = str(error).splitlines()[0]
        plan = own_plan(self._order, writer, seed, scene_words)
        return replace(plan, said=f"the writer's own outline could not be used ({failed}); {plan.said}".rstrip("; "))

    def work(self) -> Iterator[Event]:
        """Everything up to the last chapter."""
        if not self._book.state:
            self._writer.remember(self._order.premise, own=False)
        if self._book.plan is None:
            self._record("plan", plan=self._plan().to_dict())
        plan = self._book.plan
        assert plan is not None
        planned = {"title": plan.title, "cast": list(plan.cast), "source": plan.source, "said": plan.said}
        yield Event("writing.planned", {**planned, "chapters": len(plan.chapters), "language": plan.language})
        drafter = Drafter(self._order, plan, self._book, self._writer, self._settings)
        target = 0
        for number, chapter in enumerate(plan.chapters):
            if len(self._book.chapters) <= number:
                self._record("title", title=drafter.title(number))
            title = self._book.chapters[number].title or ""
            yield Event("writing.chapter", {"number": number + 1, "heading": drafter.heading(number, title)})
            for index, scene in enumerate(chapter.scenes):
                target += scene.words
                written = self._book.chapters[number].scenes
                if len(written) > index and written[index].done:
                    continue
                if len(written) <= index:
                    self._record("place", place=drafter.place(Place(number, index)))
                yield from self._scene(drafter, Place(number, index), target)

    # ---- a scene -----------------------------------------------------------------------------------------------------

    def _scene(self, drafter: Drafter, at: Place, target: int) -> Iterator[Event]:
        short = ""
        while not short:
            scene, book = self._book.scene, self._book
            missing = self._missing(at)
            last_attempt = scene.attempt >= self._settings.scene_rewrites or self._form.by_speeches
            left = target - book.written
            enough = left <= _HALF_SENTENCE
            if enough and not missing:
                break
            if missing and not last_attempt and self._is_time_to_judge(at, left):
                self._record("scene_anew", reason="promised name missing")
                yield Event("writing.refused", {"reason": "promised name missing", "text": ", ".join(missing)})
                continue
            must = missing[0] if missing and last_attempt and (enough or self._is_due(at, left, missing)) else ""
            if len(book.refused) > self._settings.rewrites:  # before a draft: a kill may have come between the two
                short = self._last_resort(at, must)
                continue
            yield from self._sentence(drafter, at, must)
        yield from self._hand_over(drafter, at)
        yield from self._end_scene(at, short)

    def _hand_over(self, drafter: Drafter, at: Place) -> Iterator[Event]:
        """The last words of a chapter that is not the last, where the form has them and the writer finds fit ones."""
        plan, book = self._book.plan, self._book
        assert plan is not None
        ends = at.chapter + 1 < len(plan.chapters) and at.scene + 1 == len(plan.chapters[at.chapter].scenes)
        pieces = book.scene.pieces
        if not (plan.classical and ends and pieces and self._writer.holds_grammar) or pieces[-1].text.endswith(_OVER):
            return
        self._close_quote()
        for tries in range(self._settings.rewrites):
            reason, piece = judge(drafter.chapter_end(at, tries), self._standing())
            if not reason:
                self._record("sentence", piece=asdict(piece), waited=False)
                yield Event(
                    "writing.sentence", {"text": piece.text, "written": book.written, "words": self._order.words}
                )
                return

    def _close_quote(self) -> None:
        if left := open_quote(self._book.scene_text(self._book.scene)):
            self._record("sentence", piece=asdict(Piece("", closes=_CLOSERS[left])), waited=False)

    def _is_time_to_judge(self, at: Place, left: int) -> bool:
        """Whether a promised person who is missing now will likely stay away: after half a scene, or at its end for a
        writer who was told whom to bring."""
        planned = self._book.plan.chapters[at.chapter].scenes[at.scene].words if self._book.plan else 0
        return left <= (_HALF_SENTENCE if self._writer.instructed else planned // 2)

    def _is_due(self, at: Place, left: int, missing: list[str]) -> bool:
        """Whether the next of the promised persons is brought in now: they are spread over the scene, not lined up."""
        assert self._book.plan is not None
        scene = self._book.plan.chapters[at.chapter].scenes[at.scene]
        return 1 - left / scene.words >= 1 - len(missing) / len(scene.names)

    def _missing(self, at: Place) -> list[str]:
        assert self._book.plan is not None
        text = self._book.scene_text(self._book.scene)
        given_up = {name for chapter, scene, name in self._book.unmet if (chapter, scene) == (at.chapter, at.scene)}
        names = self._book.plan.chapters[at.chapter].scenes[at.scene].names
        return [name for name in names if name not in given_up and not mentions(name, text)]

    def _sentence(self, drafter: Drafter, at: Place, must: str) -> Iterator[Event]:
        """One candidate, accepted or refused."""
        book, tokens = self._book, 0
        candidate = book.waiting[0] if book.waiting else None
        waited = candidate is not None or self._writer.by_passages
        if candidate is None:
            drafted = drafter.draft(at, must, len(book.refused))
            tokens = sum(self._writer.count_tokens(piece.text) for piece in drafted)
            if waited:
                self._record("answer", pieces=[asdict(piece) for piece in drafted], tokens=tokens)
                tokens = 0
            candidate = drafted[0]
        reason, piece = judge(candidate, self._standing())
        if not reason and self._standing().classical and _OVER[:-1] in piece.text:
            reason = "heading in the text"  # the chapter is not over yet
        if not reason and self._form.by_speeches and drafter.speakers(at) and piece.cue not in self._cast():
            reason = "no speech"
        if not reason and must and not (mentions(must, piece.text) or piece.cue == must):
            reason = "promised name missing"
        if reason:
            self._record("refused", reason=reason, piece=asdict(piece), tokens=tokens)
            yield Event("writing.refused", {"reason": reason, "text": piece.text})
            return
        self._record("sentence", piece=asdict(piece), waited=waited, tokens=tokens)
        yield Event("writing.sentence", {"text": piece.text, "written": book.written, "words": self._order.words})

    def _cast(self) -> set[str]:
        assert self._book.plan is not None
        named = {name for c in self._book.plan.chapters for s in c.scenes for name in s.names}
        return {*self._book.plan.cast, *named, *(name.upper() for name in named)}

    def _standing(self, *, strict: bool = True) -> Standing:
        book = self._book
        assert book.plan is not None
        pieces = [piece for chapter in book.chapters for scene in chapter.scenes for piece in scene.pieces]
        return Standing(
            repeats=book.repeats,
            said=book.said,
            recent=[" ".join(units(piece.text)) for piece in pieces[-4:]] if strict else [],
            scene=book.scene_text(book.scene),
            known=frozenset((*book.plan.cast, *book.plan.known)) if strict else frozenset(),
            language=book.plan.language,
            most_repeats=self._settings.max_repeats,
            classical=book.plan.classical and strict,
        )

    def _last_resort(self, at: Place, must: str) -> str:
        """After too many refusals: the first refused sentence that can be mended, or the end of the scene.

        Returns why the scene ends short; empty when it goes on.
        """
        book = self._book
        for reason, piece in book.refused:
            if reason not in SOFT or (must and not mentions(must, piece.text)):
                continue
            text = cut_at_clause(piece.text, book.language) if reason == "unfinished" else piece.text
            if text is None:
                continue
            again, mended = judge(replace(piece, text=text), self._standing(strict=False))
            if not again and not (self._form.by_speeches and not mended.cue):
                self._record("sentence", piece=asdict(mended), waited=False)
                return ""
        if must:
            self._record("unmet", chapter=at.chapter, scene=at.scene, name=must)
            return ""
        return Counter(reason for reason, _ in book.refused).most_common(1)[0][0]

    def _end_scene(self, at: Place, short: str) -> Iterator[Event]:
        book = self._book
        self._close_quote()
        text = book.scene_text(book.scene)
        ledger = Ledger.from_dict(book.ledger.to_dict())
        noted = self._noted(ledger, text, at.chapter + 1)
        self._writer.remember(text)
        self._record("scene", ledger=ledger.to_dict(), state=self._kept_state(at), short=short)
        write_json(self._folder / LEDGER, ledger.to_dict())
        told = {"chapter": at.chapter + 1, "scene": at.scene + 1, "words": length(text), "short": short}
        yield Event("writing.scene", told)
        if noted:
            yield Event("writing.note", {"message": noted})

    def _noted(self, ledger: Ledger, text: str, chapter: int) -> str:
        """Fills the ledger from a scene; returns what went wrong when the writer's own account could not be used."""
        writer = self._writer
        if not text:
            return ""
        if not is_instructed(writer):
            ledger.read_scene(text, chapter)
            return ""
        question = (
            "从这一场中提取人物、地点、事实、悬念与伏笔，只回答 JSON："
            if self._book.language == "zh"
            else ("Extract persons, places, facts, threads and foreshadowing from this scene; answer with JSON only:")
        )
        seed = seed_of(self._settings.seed, "ledger", chapter, len(text))
        try:
            answer = writer.ask(f"{question}\n{text}", LEDGER_SCHEMA, min(1500, writer.context // 2), seed)
            ledger.take(json.loads(answer), text, chapter)
        except ValueError as error:
            ledger.read_scene(text, chapter)
            return f"the writer's notes on a scene could not be used ({str(error).splitlines()[0]}); rules were used"
        return ""

    def _kept_state(self, at: Place) -> dict[str, str]:
        """Writes the writer's state beside the journal, where it has one; the one before stays until the next scene."""
        state = self._writer.state()
        if not state:
            return {}
        name = f"state-{at.chapter + 1:03d}-{at.scene + 1:03d}.bin"
        write_atomic(self._folder / name, state)
        for old in self._folder.glob("state-*.bin"):
            if old.name not in (name, self._book.state.get("file")):
                old.unlink()
        return {"file": name, "sha256": hashlib.sha256(state).hexdigest()}

    # ---- the end -----------------------------------------------------------------------------------------------------

    def finish(self) -> Iterator[Event]:
        """The files and the report."""
        if not self._book.finished:
            self._record("end")
        report = report_of(self._order, self._book, self._writer.name)
        files = export(self._order, self._book, self._folder, self._settings.formats)
        write_json(self._folder / "report.json", report)
        write_atomic(self._folder / "report.md", report_markdown(report))
        yield Event("writing.done", {"report": report, "files": [str(path) for path in files]})
