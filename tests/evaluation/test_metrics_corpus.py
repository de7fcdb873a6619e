from __future__ import annotations

import math

import numpy as np
import pytest
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from autogpt.evaluation.metrics import Array, Unmeasured, get_metric
from autogpt.tasks.spec import TaskSpec
from autogpt.types import Example, Prediction

ENGLISH = [
    ("The cat sat on the mat.", ("The cat is on the mat.", "There is a cat on the mat.")),
    ("It's 3.5 km to the U.S. border, isn't it?", ("It is 3.5 km to the U.S. border, is it not?",)),
    ("Hello!", ("Good morning, everyone.", "Hello all!")),
    ("I do not know what you are talking about at all", ("I don't know what you're talking about.",)),
    ("", ("Nothing was said.",)),
]
CHINESE = [
    ("今天天气很好。", ("今天的天气非常好。", "今天天气不错。")),
    ("我在2019年买了iPhone手机", ("我2019年买了一部iPhone手机。",)),
    ("你好", ("您好！",)),
    ("我不知道你在说什么", ("我不知道你在说什么。",)),
]
NOTHING_IN_COMMON = [("xyz", ("abc def ghi jkl",)), ("q", ("w e r t y",))]
ONE_WORD = [("cat", ("cat",)), ("dog", ("cow",))]


def task(language: str) -> TaskSpec:
    return TaskSpec(
        description="translate",
        kind="translation",
        input_fields=["source"],
        output_field="target",
        output_language=language,
        metric="chrf",
        direction="max",
    )


def examples_of(corpus: list[tuple[str, tuple[str, ...]]]) -> tuple[list[Example], list[Prediction]]:
    examples = [Example(str(i), {"source": "x"}, refs[0], references=refs) for i, (_, refs) in enumerate(corpus)]
    return examples, [Prediction(answer, answer) for answer, _ in corpus]


def public_score(scorer: BLEU | CHRF, corpus: list[tuple[str, tuple[str, ...]]]) -> float:
    most = max(len(refs) for _, refs in corpus)
    streams = [[refs[i] if i < len(refs) else None for _, refs in corpus] for i in range(most)]
    return float(scorer.corpus_score([answer for answer, _ in corpus], streams).score)


@pytest.mark.parametrize(
    ("corpus", "language", "tokenizer"),
    [
        (ENGLISH, "en", "13a"),
        (CHINESE, "zh", "zh"),
        (NOTHING_IN_COMMON, "en", "13a"),
        (ONE_WORD, "en", "13a"),
        (ENGLISH + CHINESE, "mixed", "zh"),
        (ENGLISH * 3, "other", "13a"),
    ],
)
def test_bleu_and_chrf_equal_sacrebleu(
    corpus: list[tuple[str, tuple[str, ...]]], language: str, tokenizer: str
) -> None:
    examples, predictions = examples_of(corpus)
    for name, scorer in (("bleu", BLEU(tokenize=tokenizer)), ("chrf", CHRF())):
        measure = get_metric(name)
        rows = measure.rows(predictions, examples, task(language))
        assert float(measure.value(rows.sum(0))) == pytest.approx(public_score(scorer, corpus), abs=1e-9)


@pytest.mark.parametrize("name", ["bleu", "chrf"])
def test_resampled_scores_equal_sacrebleu_on_the_resampled_corpus(name: str) -> None:
    examples, predictions = examples_of(ENGLISH)
    measure = get_metric(name)
    rows = measure.rows(predictions, examples, task("en"))
    drawn = np.random.default_rng(0).integers(0, len(ENGLISH), size=(40, len(ENGLISH)))
    sums: Array = np.stack([rows[picked].sum(0) for picked in drawn])
    scorer = BLEU(tokenize="13a") if name == "bleu" else CHRF()
    expected = [public_score(scorer, [ENGLISH[i] for i in picked]) for picked in drawn]
    np.testing.assert_allclose(measure.value(sums), expected, atol=1e-9)


def test_bits_per_byte_divides_sums() -> None:
    predictions = [Prediction("", nats=10 * math.log(2), utf8_bytes=5), Prediction("", nats=0.0, utf8_bytes=15)]
    measure = get_metric("bits_per_byte")
    examples = [Example("1", {}, "a"), Example("2", {}, "b")]
    assert float(measure.value(measure.rows(predictions, examples, task("en")).sum(0))) == pytest.approx(0.5)
    assert not measure.higher_is_better
    with pytest.raises(Unmeasured):
        measure.rows([predictions[0], Prediction("text")], examples, task("en"))
