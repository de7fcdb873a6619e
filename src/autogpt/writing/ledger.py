"""What the book has said so far: characters, places, facts, open threads and omens, kept as JSON a person can read.

Filled after each scene, by rules or from what an instructed writer says in JSON. The rules are modest: a fact is a
sentence in which somebody is or has something, a thread is a question or a promise, an omen a sentence with a dream or
a sign in it. A thread is closed when a later scene takes up most of its words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from autogpt.tasks.language import has_han
from autogpt.writing.names import mentions, persons, places
from autogpt.writing.retrieval import terms
from autogpt.writing.units import length, sentences

__all__ = ["LEDGER_SCHEMA", "Character", "Ledger", "Thread"]

MOST_FACTS, MOST_THREADS, MOST_OMENS = 40, 24, 16
_LONGEST = 60
"""Longest sentence that is kept, in units: longer ones say more than one thing."""

_BEING = ("是", "乃", "有了", "已经", "生得", " is ", " was ", " has ", " had ", " became ")
_PROMISING = (
    "明日", "改日", "将来", "一定", "必定", "答应", "约定", "秘密", " will ", " shall ", " must ", " promise", " secret"
)  # fmt: skip
_OMENS = ("梦", "谶", "预兆", "不祥", "应了", "dream", "omen", "prophe", "foretold", "presag")

LEDGER_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "characters": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"name": {"type": "string"}, "note": {"type": "string"}},
                "required": ["name", "note"],
                "additionalProperties": False,
            },
        },
        **{
            name: {"type": "array", "items": {"type": "string"}}
            for name in ("places", "facts", "threads_opened", "threads_closed", "foreshadowing")
        },
    },
    "required": ["characters", "places", "facts", "threads_opened", "threads_closed", "foreshadowing"],
    "additionalProperties": False,
}
"""What an instructed writer is asked for after each scene."""


@dataclass(slots=True)
class Character:
    """A person: how often named, in which chapters (from 1), and the last things said of them."""

    mentions: int = 0
    chapters: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Thread:
    """Something that was left open: its words, the chapter that opened it, and the one that closed it (0: open)."""

    text: str
    opened: int
    closed: int = 0


@dataclass(slots=True)
class Ledger:
    """See the module."""

    characters: dict[str, Character] = field(default_factory=dict)
    places: dict[str, int] = field(default_factory=dict)
    facts: list[str] = field(default_factory=list)
    threads: list[Thread] = field(default_factory=list)
    foreshadowing: list[str] = field(default_factory=list)

    def expect(self, names: Iterable[str]) -> None:
        """Persons who shall appear are known from the start."""
        for name in names:
            self.characters.setdefault(name, Character())

    def read_scene(self, text: str, chapter: int) -> None:
        """Takes in a scene by the rules."""
        found = sentences(text)
        self._close_threads(text, chapter)
        self._count(text, chapter)
        for name, count in places(text).items():
            if name not in self.characters:
                self.places[name] = self.places.get(name, 0) + count
        for sentence in found:
            named = [name for name in self.characters if mentions(name, sentence)]
            if not named or length(sentence) > _LONGEST:
                continue
            padded = f" {sentence} ".lower()
            if any(cue in padded for cue in _OMENS):
                self.foreshadowing.append(sentence)
            elif sentence.rstrip("”’\"'」』")[-1:] in ("？", "?") or any(cue in padded for cue in _PROMISING):
                self.threads.append(Thread(sentence, chapter))
            elif any(cue in padded for cue in _BEING):
                self.facts.append(sentence)
                for name in named:
                    self.characters[name].notes = [*self.characters[name].notes, sentence][-3:]
        self._trim()

    def take(self, said: Mapping[str, Any], text: str, chapter: int) -> None:
        """Takes in what a writer said of a scene as `LEDGER_SCHEMA` has it; only persons that the scene names count.

        Raises ValueError when `said` is not of that form.
        """
        try:
            noted = {str(item["name"]): str(item["note"]) for item in said["characters"]}
            lists = {key: [str(item) for item in said[key]] for key in LEDGER_SCHEMA["required"][1:]}
        except (KeyError, TypeError) as error:
            raise ValueError(f"no ledger: {error}") from error
        self.expect(name for name in noted if name and name in text)
        self._count(text, chapter)
        for name, note in noted.items():
            if note and name in self.characters:
                self.characters[name].notes = [*self.characters[name].notes, note][-3:]
        for place in lists["places"]:
            self.places[place] = self.places.get(place, 0) + max(1, text.count(place))
        self.facts += lists["facts"]
        self.foreshadowing += lists["foreshadowing"]
        for closed in lists["threads_closed"]:
            self._close_threads(closed, chapter, share=0.5)
        self.threads += [Thread(opened, chapter) for opened in lists["threads_opened"]]
        self._trim()

    def _count(self, text: str, chapter: int) -> None:
        found: Counter[str] = Counter()
        for name, count in persons(text, least=2).items():
            # somebody who is named in full elsewhere is the same person: 宝玉 and 贾宝玉
            whole = next((known for known in self.characters if name != known and mentions(known, name)), name)
            found[whole] += count
        self.expect(found)
        for name, character in self.characters.items():
            count = max(found[name], text.count(name), int(mentions(name, text)))
            if count:
                character.mentions += count
                if chapter not in character.chapters:
                    character.chapters.append(chapter)

    def _close_threads(self, text: str, chapter: int, share: float = 0.7) -> None:
        there = set(terms(text))
        for thread in self.threads:
            words = set(terms(thread.text))
            if not thread.closed and words and len(words & there) >= share * len(words):
                thread.closed = chapter

    def _trim(self) -> None:
        self.facts = list(dict.fromkeys(self.facts))[-MOST_FACTS:]
        self.foreshadowing = list(dict.fromkeys(self.foreshadowing))[-MOST_OMENS:]
        closed = [thread for thread in self.threads if thread.closed]
        still = [thread for thread in self.threads if not thread.closed]
        self.threads = closed[-MOST_THREADS:] + still[-MOST_THREADS:]

    def lines(self, names: Sequence[str], most: int = 8) -> list[str]:
        """What is known of these persons, a line each, then what is open about them; at most `most` lines."""
        said = []
        for name in names:
            notes = self.characters[name].notes if name in self.characters else []
            if notes:
                said.append(f"{name}{'：' if has_han(name) else ': '}{notes[-1]}")
        said += [t.text for t in self.threads if not t.closed and any(mentions(name, t.text) for name in names)][-2:]
        return said[:most]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON, from which `from_dict` makes an equal ledger."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Ledger:
        return cls(
            {name: Character(**one) for name, one in values["characters"].items()},
            dict(values["places"]),
            list(values["facts"]),
            [Thread(**one) for one in values["threads"]],
            list(values["foreshadowing"]),
        )
