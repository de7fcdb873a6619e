"""Results of `bench_search.py` as Markdown: regret over the budget, ranks with their test, the time to reach others.

Seeds of one corpus are no independent corpora, so Friedman's test is shown twice: with each corpus and seed as a block,
which says something of these corpora alone, and with each corpus as one (means over its seeds). A method that draws
little at random makes the same search with many seeds; the column `distinct` says how many were not the same.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from search_statistics import Steps, compare, mean_at, time_to_reach

__all__ = ["results"]

CHECKPOINTS = (0.25, 0.5, 1.0)
REFERENCES = ("random", "bayes", "random + halving")
"""Methods at whose regret at the end of the budget others are asked when they reached it."""
REACHING = ("auto", "bayes + halving", "rl", "rl + halving", "genetic", "genetic + halving", "nsga2 + halving")

Searches = Mapping[str, Mapping[tuple[str, int], Mapping[str, Any]]]
"""Method → (corpus, seed) → the row of that search; the same corpora and seeds for all."""


def results(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The lines for each budget. Methods that lack a corpus or seed which others have are left out, and named."""
    lines = []
    for budget in sorted({row["budget"] for row in rows}):
        known: dict[str, dict[tuple[str, int], Mapping[str, Any]]] = {}
        for row in rows:
            if row["budget"] == budget:
                known.setdefault(row["method"], {})[row["corpus"], row["seed"]] = row
        places = {place for own in known.values() for place in own}
        whole = {name: own for name, own in known.items() if own.keys() == places}
        lines += [f"\n### A budget of {budget:g} trials of full length, {len(places)} searches a method"]
        if len(whole) < len(known):
            lines += [f"\nNot complete, and left out: {', '.join(known.keys() - whole.keys())}."]
        if len(whole) > 2:
            lines += regrets(whole)
        parts = {name: own for name, own in whole.items() if name.startswith("auto")}
        if len(parts) > 2:
            lines += ["\n`auto`, and what is left of it without each of its parts, ranked among themselves:"]
            lines += regrets(parts)
        lines += reaching(whole)
    return lines


def regrets(searches: Searches) -> list[str]:
    """Mean regret at shares of the budget and ranks of the regret at its end, with Friedman's test."""
    places = sorted(next(iter(searches.values())))
    corpora = sorted({corpus for corpus, _ in places})
    ends = {name: {place: own[place]["incumbent"][-1][1] for place in places} for name, own in searches.items()}
    found = compare({name: list(own.values()) for name, own in ends.items()})
    means = {
        name: [statistics.fmean(own[place] for place in places if place[0] == corpus) for corpus in corpora]
        for name, own in ends.items()
    }
    lines = ["\n| method | a quarter | half | all | anytime | rank | trials | distinct |", "| --- |" + " ---: |" * 7]
    for name, rank in found.ranks.items():
        steps = _steps(searches[name])
        shown = [mean_at(steps, share) for share in CHECKPOINTS]
        shown.append(statistics.fmean(mean_at(steps, 0.5 + 0.05 * step) for step in range(11)))
        values = " | ".join(f"{value:.3f}" for value in shown)
        trials = statistics.fmean(row["trials"] for row in searches[name].values())
        distinct = len({(place[0], str(row["incumbent"])) for place, row in searches[name].items()})
        lines.append(f"| {name} | {values} | {rank:.2f} | {trials:.0f} | {distinct} |")
    told = f"; {found.ahead_and_behind('auto')}" if "auto" in searches else ""
    lines.append(f"\nBlocks are corpus and seed. {found}{told}.")
    lines.append(f"Blocks are corpora. {compare(means)}.")
    return lines


def reaching(searches: Searches) -> list[str]:
    """When methods have what others have at the end of the budget."""
    levels = {name: mean_at(_steps(searches[name]), 1.0) for name in REFERENCES if name in searches}
    lines = [
        "\nShare of the budget at which the mean regret first is at or below what the method of that column has at"
    ]
    lines += ["the end; in brackets from when on it stays there, where that is later.\n"]
    lines += ["| method | " + " | ".join(f"{name} ({level:.3f})" for name, level in levels.items()) + " |"]
    lines += ["| --- |" + " ---: |" * len(levels)]
    for name in REACHING:
        if name in searches:
            moments = [time_to_reach(_steps(searches[name]), level) for level in levels.values()]
            told = [_told(first) + ("" if first == kept else f" ({_told(kept)})") for first, kept in moments]
            lines.append(f"| {name} | " + " | ".join(told) + " |")
    return lines


def _steps(own: Mapping[tuple[str, int], Mapping[str, Any]]) -> list[Steps]:
    return [row["incumbent"] for row in own.values()]


def _told(moment: float) -> str:
    return "never" if math.isinf(moment) else f"{moment:.2f}"
