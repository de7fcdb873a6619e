from __future__ import annotations

import random

import pytest
from nltk.tokenize import NLTKWordTokenizer

from autogpt.evaluation.text_units import (
    cmrc_segments,
    lcs_length,
    longest_shared_run,
    rouge_tokens,
    squad_normalize,
    style_of,
)


def naive_lcs(left: str, right: str) -> int:
    table = [[0] * (len(right) + 1) for _ in range(len(left) + 1)]
    for i, a in enumerate(left):
        for j, b in enumerate(right):
            table[i + 1][j + 1] = table[i][j] + 1 if a == b else max(table[i][j + 1], table[i + 1][j])
    return table[-1][-1]


def naive_run(left: str, right: str) -> int:
    return max(
        (
            end - start
            for start in range(len(left))
            for end in range(start + 1, len(left) + 1)
            if left[start:end] in right
        ),
        default=0,
    )


def test_common_subsequence_and_run_equal_the_naive_ones() -> None:
    rng = random.Random(0)
    for _ in range(200):
        left = "".join(rng.choices("abcd", k=rng.randrange(14)))
        right = "".join(rng.choices("abcd", k=rng.randrange(14)))
        assert lcs_length(left, right) == naive_lcs(left, right)
        assert longest_shared_run(left, right) == naive_run(left, right)


@pytest.mark.parametrize(
    "text",
    [
        "hello, world",
        "it isn't john's (new) car",
        "3,500 km and 2.5 kg, or 7%",
        'she said "yes" & left...',
        "they've paid $5; we'll see!",
        "u.s. army",
        "a.b@c.de",
        "end.",
        "the dogs' house",
    ],
)
def test_latin_words_equal_treebank_words(text: str) -> None:
    marks = {"``": '"', "''": '"'}  # Treebank writes quotes anew
    expected = [marks.get(word, word) for word in NLTKWordTokenizer().tokenize(text)]
    assert cmrc_segments(text) == expected


def test_mixed_segments_by_hand() -> None:
    assert cmrc_segments("《DNA》双螺旋：1953年，Watson & Crick") == [
        "dna",
        "双",
        "螺",
        "旋",
        "1953",
        "年",
        "watson",
        "&",
        "crick",
    ]


def test_styles_and_rouge_units() -> None:
    assert style_of("zh", ["BERT"]) == "chinese"
    assert style_of("en", ["plain", "中文"]) == "chinese"
    assert style_of("en", ["café"]) == "english"
    assert style_of("other", ["café"]) == "other"
    assert rouge_tokens("用GPT-4写2篇，", "chinese") == ["用", "gpt", "4", "写", "2", "篇"]
    assert rouge_tokens("Café au lait", "other") == ["café", "au", "lait"]


def test_squad_normal_form() -> None:
    assert squad_normalize("  The  U.S.A., an  ally; a  THEory ") == "usa ally theory"
