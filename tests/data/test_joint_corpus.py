"""Corpora of several tasks as one: one tokenizer for all, rows that say whose they are, and shares by the formula."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from autogpt.data.corpus import Corpus
from autogpt.data.joint_corpus import JointCorpus, Mixing
from autogpt.data.splits import Dataset, SealedSplit
from autogpt.data.tokenizers import train_tokenizer
from autogpt.tasks.spec import METRIC_DIRECTION, METRICS_OF_KIND, TaskKind, TaskSpec
from autogpt.types import Example

PLAIN = Mixing(temperature=1.0, balance=0.0)


def _corpus(kind: TaskKind, rows: list[tuple[str, str]], name: str, **fields: Any) -> Corpus:
    metric = METRICS_OF_KIND[kind][0]
    values = {"input_fields": ["question"], "output_field": "answer", **fields}
    spec = TaskSpec(description="", kind=kind, metric=metric, direction=METRIC_DIRECTION[metric], **values)
    examples = tuple(
        Example(f"{name}:{place}", {"question": asked} if spec.input_fields else {}, told)
        for place, (asked, told) in enumerate(rows)
    )
    held = Example("held", {"question": "zzz"} if spec.input_fields else {}, "qqq")
    return Corpus(spec, Dataset(examples, (held,), SealedSplit((held,)), (), {}))


@pytest.fixture(scope="module")
def sorting() -> Corpus:
    rows = [
        (f"my old {word} {place}", label) for place in range(20) for word, label in (("rose", "red"), ("leaf", "green"))
    ]
    return _corpus(TaskKind.CLASSIFICATION, rows, "sort", labels=["red", "green"])


@pytest.fixture(scope="module")
def answering() -> Corpus:
    rows = [(f"what is {place}", f"{place} is a number like {place + 1} and {place + 2}") for place in range(10)]
    return _corpus(TaskKind.QUESTION_ANSWERING, rows, "answer")


@pytest.fixture(scope="module")
def writing() -> Corpus:
    rows = [("", " ".join(f"word{(place * 7 + i) % 30}" for i in range(40))) for place in range(6)]
    return _corpus(TaskKind.GENERATION, rows, "write", input_fields=[], output_field="text", layout="text")


@pytest.fixture
def joint(sorting: Corpus, answering: Corpus, writing: Corpus) -> JointCorpus:
    return JointCorpus([sorting, answering, writing], [1.0, 1.0, 1.0])


def _task(row: Any, size: int) -> int:
    return int(row.ids[0]) - size


def test_it_is_its_parts_in_their_order(
    joint: JointCorpus, sorting: Corpus, answering: Corpus, writing: Corpus
) -> None:
    assert joint.parts == (sorting, answering, writing)
    assert joint.segments == [*sorting.segments, *answering.segments, *writing.segments]
    assert joint.characters == sorting.characters + answering.characters + writing.characters
    assert not joint.packed
    assert writing.packed


def test_one_tokenizer_is_trained_on_the_training_rows_of_all(joint: JointCorpus) -> None:
    found = joint.tokenizer(400)
    texts = [segment.text for row in joint.segments for segment in row]
    assert found.get_vocab() == train_tokenizer(texts, 400).get_vocab()
    assert joint.tokenizer(400) is found
    assert not [word for word in found.get_vocab() if "zz" in word or "qq" in word]  # those of the held rows


def test_nothing_is_cut_because_another_task_is_short(joint: JointCorpus) -> None:
    tokenizer = joint.tokenizer(400)
    own = [part.lengths(tokenizer) for part in joint.parts]
    assert joint.lengths(tokenizer) == (max(total for total, _ in own), max(answer for _, answer in own))


def test_rows_begin_with_their_task_and_are_otherwise_as_they_were(joint: JointCorpus) -> None:
    tokenizer = joint.tokenizer(400)
    size, bos = len(tokenizer) + 5, tokenizer.bos_token_id
    pool = joint.mixed(tokenizer, size, 96, 0.1, PLAIN)
    assert {_task(row, size) for row in pool} == {0, 1, 2}
    for task, part in enumerate(joint.parts[:2]):  # the third is cut into windows
        encoded = {row.id: row for row in part.encoded(tokenizer, 96, 0.1)}
        own = {row.id: row for row in pool if _task(row, size) == task}
        assert own.keys() == encoded.keys()
        for name, row in own.items():
            assert encoded[name].ids[0] == bos
            assert row.ids[1:].tolist() == encoded[name].ids[1:].tolist()
            assert row.weights.tolist() == pytest.approx(encoded[name].weights.tolist())
            assert row.answers.tolist() == encoded[name].answers.tolist()


def test_long_texts_are_cut_into_windows_that_predict_each_token_once(joint: JointCorpus, writing: Corpus) -> None:
    tokenizer = joint.tokenizer(400)
    size, context = len(tokenizer), 32
    pool = [row for row in joint.mixed(tokenizer, size, context, 0.0, PLAIN) if _task(row, size) == 2]
    assert max(len(row.ids) for row in pool) <= context
    predicted: Counter[str] = Counter()
    for row in pool:
        predicted[row.id] += int((row.weights[1:] > 0).sum())
    for whole in writing.encoded(tokenizer, context, 0.0):
        assert predicted[whole.id] == int((whole.weights[1:] > 0).sum())
        assert len(whole.ids) > context


def test_temperature_gives_shares_of_rows_and_balance_shares_of_the_loss(sorting: Corpus, answering: Corpus) -> None:
    """40 rows beside 10: a share of 10^(1/t) to 40^(1/t); the factors of tokens by hand."""
    joint = JointCorpus([sorting, answering], [1.0, 3.0])
    tokenizer = joint.tokenizer(400)
    size = len(tokenizer)

    def counts(temperature: float) -> list[int]:
        found = Counter(_task(row, size) for row in joint.mixed(tokenizer, size, 96, 0.0, Mixing(temperature, 0.0)))
        return [found[0], found[1]]

    assert counts(1.0) == [40, 10]
    assert counts(2.0) == [40, 20]
    assert counts(100.0) == [40, round(40 / 4**0.01)]

    pool = joint.mixed(tokenizer, size, 96, 0.0, Mixing(1.0, 1.0))
    sums = [[float(row.weights[1:].sum()) for row in pool if _task(row, size) == task] for task in (0, 1)]
    assert np.mean(sums[1]) == pytest.approx(3 * np.mean(sums[0]), rel=1e-5)
    unweighted = [int((row.weights[1:] > 0).sum()) for row in pool]
    assert np.mean(sums[0]) == pytest.approx(np.mean(unweighted), rel=1e-5)


def test_what_was_mixed_is_kept_for_other_trials(joint: JointCorpus) -> None:
    tokenizer = joint.tokenizer(400)
    first = joint.mixed(tokenizer, 400, 64, 0.1, Mixing(2.0, 0.5, 1))
    assert joint.mixed(tokenizer, 400, 64, 0.1, Mixing(2.0, 0.5, 1)) is first
    others = [
        joint.mixed(tokenizer, 400, 48, 0.1, Mixing(2.0, 0.5, 1)),
        joint.mixed(tokenizer, 401, 64, 0.1, Mixing(2.0, 0.5, 1)),
        joint.mixed(tokenizer, 400, 64, 0.0, Mixing(2.0, 0.5, 1)),
        joint.mixed(tokenizer, 400, 64, 0.1, Mixing(4.0, 0.5, 1)),
        joint.mixed(tokenizer, 400, 64, 0.1, Mixing(2.0, 0.5, 2)),
        joint.mixed(tokenizer, 400, 64, 0.1, Mixing(2.0, 0.5, 1, (1.0, 2.0, 1.0))),
        joint.mixed(joint.tokenizer(350), 400, 64, 0.1, Mixing(2.0, 0.5, 1)),
    ]
    assert all(other is not first for other in others)


def test_only_the_last_pools_are_kept(joint: JointCorpus) -> None:
    tokenizer = joint.tokenizer(400)

    def pool(weight: float) -> list[Any]:
        return joint.mixed(tokenizer, 400, 64, 0.1, Mixing(factors=(1.0, weight, 1.0)))

    first, second = pool(1.0), pool(2.0)
    assert [pool(weight) for weight in (3.0, 4.0)]
    assert pool(1.0) is first
    pool(5.0)  # the fifth: that of weight 2 was asked for longest ago
    assert pool(1.0) is first
    again = pool(2.0)
    assert again is not second
    assert [row.id for row in again] == [row.id for row in second]
    assert all(one.weights.tolist() == two.weights.tolist() for one, two in zip(again, second, strict=True))


def _means(pool: list[Any], size: int) -> list[float]:
    """Mean over a task's rows of the sum of their weights, by task."""
    sums = [[float(row.weights[1:].sum()) for row in pool if _task(row, size) == task] for task in (0, 1)]
    return [float(np.mean(of_task)) for of_task in sums]


def test_factors_multiply_the_weights_that_are_given(sorting: Corpus, answering: Corpus) -> None:
    joint = JointCorpus([sorting, answering], [1.0, 3.0], ["sort", "answer"])
    tokenizer = joint.tokenizer(400)
    size = len(tokenizer)

    def means(*factors: float) -> list[float]:
        return _means(joint.mixed(tokenizer, size, 96, 0.0, Mixing(1.0, 1.0, factors=factors)), size)

    plain, halved, both = means(), means(1.0, 0.5), means(2.0, 1.0)
    assert joint.names == ("sort", "answer")
    assert plain[1] == pytest.approx(3 * plain[0])
    assert halved == pytest.approx([plain[0], plain[1] / 2])
    assert both == pytest.approx([2 * mean for mean in halved])  # only ratios matter: a step divides by the sum
    assert means(1.0, 1.0) == plain
    with pytest.raises(ValueError, match="shorter"):
        means(1.0)
