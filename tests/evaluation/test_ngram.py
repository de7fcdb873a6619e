from __future__ import annotations

import math
import random
from collections import Counter, defaultdict

import numpy as np
import pytest

from autogpt.evaluation.ngram import END, Coded, NGram, code
from autogpt.types import Segment

TEXTS = [
    f"{who} {what} the {thing}." for who in ("Ann", "Bo", "她") for what in ("saw", "has") for thing in ("cat", "门")
]


def coded(texts: list[str]) -> list[Coded]:
    return [code([Segment("Q: ", False), Segment(text, True)]) for text in texts]


@pytest.mark.parametrize("order", [1, 2, 4, 7])
@pytest.mark.parametrize("context", [b"", b"Q: ", b"Q: Ann ", "Q: 她 saw the 门".encode(), b"never seen \xff\x00"])
def test_probabilities_sum_to_one(order: int, context: bytes) -> None:
    probabilities = NGram(coded(TEXTS), order=order).next_probabilities(context)
    assert probabilities.shape == (257,)
    assert probabilities.min() > 0
    assert probabilities.sum() == pytest.approx(1.0, abs=1e-9)


def chen_goodman_discounts(counts: list[int]) -> list[float]:
    """Equation 17 of Chen & Goodman 1999; a half where a needed count of counts is missing, kept within (0, count)."""
    n = Counter(counts)
    y = n[1] / (n[1] + 2 * n[2]) if n[1] and n[2] else 0.5
    found = [0.0]
    for c in (1, 2, 3):
        discount = c - (c + 1) * y * n[c + 1] / n[c] if n[c] and n[c + 1] else 0.5
        found.append(min(max(discount, 0.05), c - 0.05))
    return found


def naive_kneser_ney(rows: list[Coded], order: int) -> dict[tuple[int, ...], float]:
    """Interpolated modified Kneser-Ney by dictionaries: (context..., symbol) -> probability."""
    grams: list[Counter[tuple[int, ...]]] = [Counter() for _ in range(order)]
    for row in rows:
        symbols = [257] * (order - 1) + row.symbols.tolist()
        for i, is_answer in enumerate(row.is_answer.tolist()):
            if is_answer:
                grams[order - 1][tuple(symbols[i : i + order])] += 1
    for length in range(order - 1, 0, -1):
        for gram in grams[length]:
            grams[length - 1][gram[1:]] += 1
    table: dict[tuple[int, ...], float] = {}
    for length in range(order):
        discounts = chen_goodman_discounts(list(grams[length].values()))
        totals: dict[tuple[int, ...], int] = defaultdict(int)
        mass: dict[tuple[int, ...], float] = defaultdict(float)
        for gram, count in grams[length].items():
            totals[gram[:-1]] += count
            mass[gram[:-1]] += discounts[min(count, 3)]
        for context, total in totals.items():
            for symbol in range(257):
                gram = (*context, symbol)
                lower = table.get(gram[1:], 1 / 257) if length else 1 / 257
                own = grams[length][gram] - discounts[min(grams[length][gram], 3)] if grams[length][gram] else 0.0
                table[gram] = (own + mass[context] * lower) / total
    return table


def test_equals_a_dictionary_implementation() -> None:
    rng = random.Random(1)
    words = [
        "".join(rng.choices("abcdefgh", weights=[9, 7, 5, 4, 3, 2, 1, 1], k=rng.randrange(2, 6))) for _ in range(60)
    ]
    rows = coded([" ".join(rng.choices(words, weights=[1 / (i + 1) for i in range(60)], k=6)) for _ in range(12)])
    table = naive_kneser_ney(rows, 3)
    text = code([Segment("Q: ", False), Segment(f"{words[0]} hag {words[5]} 门!", True)])
    symbols = [257, 257, *text.symbols.tolist()]
    expected = 0.0
    for i, scored in enumerate(text.is_answer.tolist()):
        if scored:
            gram = tuple(symbols[i : i + 3])
            while gram not in table and len(gram) > 1:
                gram = gram[1:]
            expected -= math.log(table[gram])
    assert NGram(rows, order=3).nats([text])[0] == pytest.approx(expected, rel=1e-9)


def test_longer_contexts_beat_byte_frequencies_and_rows_add_up() -> None:
    train, held = coded(TEXTS[:9]), coded(TEXTS[9:])
    frequencies, long = (NGram(train, order=order).nats(held) for order in (1, 6))
    assert long.sum() < 0.6 * frequencies.sum()
    alone = [float(NGram(train, order=6).nats([row])[0]) for row in held]
    np.testing.assert_allclose(long, alone)


def test_only_answers_and_their_ends_are_scored() -> None:
    row = code([Segment("question? ", False), Segment("是", True), Segment("more ", False), Segment("no", True)])
    assert row.utf8_bytes == 3 + 2
    assert row.is_answer.sum() == 3 + 1 + 2 + 1
    assert (row.symbols[row.is_answer] == END).sum() == 2
    assert NGram([row], order=3).nats([code([Segment("prompt", False)])])[0] == 0.0
    assert len(NGram([row], order=2).nats([])) == 0


def test_no_training_text_is_an_error() -> None:
    with pytest.raises(ValueError, match="no training text"):
        NGram([code([Segment("prompt", False)])], order=2).nats(coded(["x"]))
