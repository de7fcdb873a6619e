"""Measures of free texts: whether names come back, how alike neighbouring segments are, and how much is said again.

What each measure is, and what it does not see, says `bench_coherence`.
"""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from autogpt.evaluation.similarity import TextFeatures
from autogpt.tasks.language import has_han
from autogpt.writing.names import given_name, persons, speakers
from autogpt.writing.repeats import distinct_n, longest_repeat, rep_n
from autogpt.writing.units import units

SEGMENT, FITTED_SEGMENTS = 500, 400
LEAST_NAMED, LEAST_SAID = 10, 3


def chosen(passages: Sequence[str], count: int) -> list[int]:
    """Places of `count` passages, evenly spread; every one where there are fewer."""
    count = min(count, len(passages))
    return [int(place) for place in np.arange(count) * len(passages) / count]


class Names:
    """The names of a training text, found in other texts from left to right, the longest first.

    Args:
        text: where the names are learnt from; fewer mentions than `least` are none.
    """

    def __init__(self, text: str, least: int = LEAST_NAMED) -> None:
        self.han = has_han(text)
        found = set(persons(text, least=least))
        if self.han:
            said = Counter(speakers(text))
            found = {name for name in found if max(said[name], said[given_name(name)]) >= LEAST_SAID}
            self.same = {name: given_name(name) if given_name(name) in found else name for name in found}
        else:
            cues, small = Counter(re.findall(r"^(.+):$", text, re.MULTILINE)), set(re.findall(r"\b[a-z]+\b", text))
            found = {name for name in found if cues[name] >= LEAST_SAID or name.casefold() not in small}
            self.same = {name.casefold(): name.casefold() for name in found}
        self.longest = max((len(self.pieces(name)) for name in found), default=0)

    def pieces(self, text: str) -> list[str]:
        return list(text) if self.han else re.findall(r"[A-Za-z]+(?:['’](?!s\b)[A-Za-z]+)*", text)

    def of(self, text: str) -> set[str]:
        """Which of the names stand in `text`; an English one with a capital."""
        pieces, found, at = self.pieces(text), set(), 0
        while at < len(pieces):
            step = 1
            for size in range(self.longest, 0, -1):
                key = "".join(pieces[at : at + size]) if self.han else " ".join(pieces[at : at + size]).casefold()
                if key in self.same and (self.han or pieces[at][0].isupper()):
                    found.add(self.same[key])
                    step = size
                    break
            at += step
        return found


def quarters(text: str) -> list[str]:
    """Four pieces of nearly equal length that joined are the text."""
    ends = [len(text) * part // 4 for part in range(5)]
    return [text[a:b] for a, b in itertools.pairwise(ends)]


def share(names: set[str], later: set[str]) -> float:
    """Of `names` those in `later`; not a number where there are none."""
    return len(names & later) / len(names) if names else math.nan


def names_of(rows: Sequence[Mapping[str, Any]], names: Names) -> list[dict[str, float]]:
    """The three measures of names for texts of one arm and seed."""
    parts = [[names.of(part) for part in quarters(row["text"])] for row in rows]
    introduced = [names.of(row["lead"]) | part[0] for row, part in zip(rows, parts, strict=True)]
    later = [part[1] | part[2] | part[3] for part in parts]
    found = []
    for i, row in enumerate(rows):
        others = [share(introduced[i], other) for j, other in enumerate(later) if j != i]
        new = parts[i][3] - introduced[i] - parts[i][1] - parts[i][2]
        found.append(
            {
                "names_back": share(introduced[i], later[i]),
                "names_by_chance": float(np.mean(others)) if others else math.nan,
                "new_names": 1000 * len(new) / max(1, len(quarters(row["text"])[3])),
            }
        )
    return found


def segments(text: str) -> list[str]:
    """Pieces of 500 characters; a shorter rest is left out."""
    return [text[at : at + SEGMENT] for at in range(0, len(text) - SEGMENT + 1, SEGMENT)]


def cosines_of(rows: Sequence[Mapping[str, Any]], train: Sequence[str]) -> list[dict[str, float]]:
    """The four measures of similarity for texts of one arm and seed; not a number where a text has one segment."""
    cut = [segments(row["text"]) for row in rows]
    flat = [row["lead"] for row in rows] + [segment for one in cut for segment in one]
    features = TextFeatures.fit(train, flat, chinese=has_han(train[0]))
    if features.cut_chars is not None:
        raise SystemExit("texts are too long to be compared whole")
    starts = np.cumsum([len(rows), *map(len, cut)])
    own = [features.rows[a:b] for a, b in itertools.pairwise(starts)]
    found = []
    for i, mine in enumerate(own):
        other = own[(i + 1) % len(own)]
        both = min(mine.shape[0] - 1, other.shape[0] - 1)
        to_lead = np.asarray((mine @ features.rows[i].T).todense()).ravel()
        found.append(
            {
                "adjacent": _mean_cosine(mine[:-1], mine[1:]),
                "adjacent_by_chance": _mean_cosine(mine[:both], other[1 : both + 1]) if len(own) > 1 else math.nan,
                "first": float(to_lead[0]) if len(to_lead) else math.nan,
                "last": float(to_lead[-1]) if len(to_lead) else math.nan,
            }
        )
    return found


def _mean_cosine(left: Any, right: Any) -> float:
    """Of rows of length 1, pair by pair."""
    return float(left.multiply(right).sum() / left.shape[0]) if left.shape[0] > 0 else math.nan


def repeats_of(text: str) -> dict[str, float]:
    row = units(text)
    found: dict[str, float] = {"rep4": rep_n(row, 4), "longest": len(longest_repeat(list(text)))}
    return found | {f"distinct{n}": distinct_n(row, n) for n in (1, 2, 3)}


def measured(rows: Sequence[Mapping[str, Any]], train: Sequence[str]) -> dict[tuple[str, int, int], dict[str, float]]:
    """(arm, seed, beginning) → measures of that text."""
    names = Names("\n".join(train))
    cut = [segment for passage in ["\n".join(train)] for segment in segments(passage)]
    fitted = [cut[place] for place in chosen(cut, FITTED_SEGMENTS)] or list(train)
    together = defaultdict[tuple[str, int], list[Mapping[str, Any]]](list)
    for row in rows:
        together[row["arm"], row["seed"]].append(row)
    found = {}
    for (arm, seed), group in together.items():
        group.sort(key=lambda row: int(row["prompt"]))
        for row, named, near in zip(group, names_of(group, names), cosines_of(group, fitted), strict=True):
            own = {
                "names_beyond": named["names_back"] - named["names_by_chance"],
                "adjacent_beyond": near["adjacent"] - near["adjacent_by_chance"],
            }
            nats = {"nats": float(np.mean(row["nats"])), "nats_last": row["nats"][-1]}
            found[arm, seed, row["prompt"]] = {**named, **near, **own, **repeats_of(row["text"]), **nats}
    return found
