"""Who is in a book and who appears where: the persons of the premise, those the writer knows, and a turn for each pair.

Pairs meet as in a round-robin tournament (the circle method), so that neighbouring chapters bring other persons and
everybody has met everybody before a pair comes back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import cycle

from autogpt.writing.forms import Form
from autogpt.writing.names import mentions, persons

__all__ = ["MOST_CAST", "appearances", "as_cues", "cast_of", "pairs", "persons_of"]

MOST_CAST = 8
_LEAST_SPEAKERS = 5
"""A play of two or three speakers is a list of answers; the writer's own persons fill it up to so many."""
_AT_THE_END = 3


def persons_of(premise: str, text: str) -> tuple[list[str], list[str]]:
    """(persons of the premise in its order, persons of the writer's text by frequency)."""
    mine = persons(premise)
    named = sorted(mine, key=lambda name: (premise.find(name), name))
    theirs = persons(text)
    met = [name for name, count in sorted(theirs.items(), key=lambda pair: (-pair[1], pair[0])) if count >= 2]
    if not met:
        met = sorted(theirs, key=lambda name: text.find(name))[:3]
    # somebody whom the premise names by surname and the text without is the same person
    others = [name for name in met if not any(mentions(known, name) or name in known for known in named)]
    return named, others


def as_cues(names: Iterable[str], form: Form, language: str) -> tuple[str, ...]:
    """The names as cues stand in a script: English ones in capitals."""
    return tuple(dict.fromkeys(n.upper() if form.by_speeches and language == "en" else n for n in names))


def cast_of(named: Sequence[str], met: Sequence[str], form: Form) -> tuple[str, ...]:
    """The persons of the premise; where they are few, those that the writer names most as well."""
    if not form.has_cast:
        return tuple(named)[:MOST_CAST]
    if not named:
        return tuple(met)[:MOST_CAST]
    least = _LEAST_SPEAKERS if form.by_speeches else 4 if len(named) < 3 else 0
    return tuple(dict.fromkeys([*named, *met]))[: min(max(len(named), least), MOST_CAST)]


def pairs(cast: Sequence[str]) -> list[tuple[str, ...]]:
    """Everybody with everybody once, n (n - 1) / 2 pairs; with an odd cast one person is alone in each round."""
    seats: list[str | None] = [*cast] + ([None] if len(cast) % 2 else [])
    ring = seats[0::2] + seats[1::2][::-1]  # so that the first two of the cast meet first
    found = []
    for _ in range(len(ring) - 1):
        half = len(ring) // 2
        for one, other in zip(ring[:half], reversed(ring[half:]), strict=True):
            found.append(tuple(name for name in cast if name in (one, other)))
        ring = [ring[0], ring[-1], *ring[1:-1]]
    return found


def appearances(cast: Sequence[str], scenes: Sequence[int], form: Form) -> list[list[tuple[str, ...]]]:
    """Who is promised in each scene of each chapter.

    A chapter of prose belongs to a pair: both in its first scene, one of them in each later one; the last scene of the
    book brings the first three of the cast together. A scene of a script has a pair that speaks, and every other scene
    a third person.

    Args:
        scenes: how many each chapter has.
    """
    if not cast or not form.has_cast:
        return [[()] * count for count in scenes]
    if len(cast) == 1:
        return [[tuple(cast)] * count for count in scenes]
    turns = cycle(pair for pair in pairs(cast) if len(pair) == 2)
    if form.by_speeches:
        return [list(_speaking(cast, turns, count, chapter)) for chapter, count in enumerate(scenes)]
    found = []
    for count in scenes:
        pair = next(turns)
        found.append([pair, *((pair[scene % 2],) for scene in range(1, count))])
    if len(found) > 1:
        found[-1][-1] = tuple(cast[:_AT_THE_END])
    return found


def _speaking(
    cast: Sequence[str], turns: Iterator[tuple[str, ...]], count: int, chapter: int
) -> Iterator[tuple[str, ...]]:
    for scene in range(count):
        pair = next(turns)
        others = [name for name in cast if name not in pair]
        third = others[(chapter + scene) % len(others) :][:1] if others and (chapter + scene) % 2 else []
        yield (*pair, *third)
