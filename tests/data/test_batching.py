"""Encoding and batching: every token once, weights on answers only, the same batch for the same step."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from autogpt.data.batching import Batches, BatchPlan, Encoded, encode, encode_all
from autogpt.data.tokenizers import encode_text, train_tokenizer
from autogpt.errors import DataError, ModelError
from autogpt.types import Segment

PAD = 2


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer([], 300)  # bytes: one token a byte


def segments(*parts: str) -> list[Segment]:
    """Parts that begin with `=` are answers."""
    return [Segment(part.removeprefix("="), part.startswith("=")) for part in parts]


def shown(tokenizer: PreTrainedTokenizerFast, row: Encoded) -> str:
    return tokenizer.decode(row.ids)


def test_layout_of_a_row(tokenizer: PreTrainedTokenizerFast) -> None:
    row = encode(tokenizer, segments("ab", "cd", "=你", "e", "=f"), max_tokens=99, id="x:1")
    assert shown(tokenizer, row) == "<|bos|>abcd你<|eos|>ef<|eos|>"
    assert row.weights.tolist() == [0] + [0] * 4 + [1] * 4 + [0] + [1] * 2
    assert (row.utf8_bytes, row.id) == (4, "x:1")
    assert row.answer_mask().tolist() == [bool(weight) for weight in row.weights]
    row.answer_mask()[:] = False
    assert row.answers.any()


def test_prompt_weight_leaves_the_start_token_alone(tokenizer: PreTrainedTokenizerFast) -> None:
    row = encode(tokenizer, segments("ab", "=c"), max_tokens=99, prompt_weight=0.25)
    assert row.weights.tolist() == [0, 0.25, 0.25, 1, 1]
    assert row.answers.tolist() == [False, False, False, True, True]


def test_prompt_alone(tokenizer: PreTrainedTokenizerFast) -> None:
    row = encode(tokenizer, segments("=hello", "how are you"), max_tokens=99)
    assert shown(tokenizer, row) == "<|bos|>hello<|eos|>how are you"
    assert encode(tokenizer, [], max_tokens=9).ids.tolist() == [0]
    row = encode(tokenizer, segments("abcdefghij"), max_tokens=5)
    assert shown(tokenizer, row) == "<|bos|>abij"


def test_control_tokens_in_text_are_text(tokenizer: PreTrainedTokenizerFast) -> None:
    row = encode(tokenizer, segments("a<|eos|>", "=<|bos|>"), max_tokens=99)
    assert Counter(row.ids.tolist())[1] == 1
    assert Counter(row.ids.tolist())[0] == 1


def test_long_prompts_lose_their_middle(tokenizer: PreTrainedTokenizerFast) -> None:
    row = encode(tokenizer, segments("0123456789", "=yes"), max_tokens=11, prompt_weight=0.5)
    assert shown(tokenizer, row) == "<|bos|>012789yes<|eos|>"
    assert row.weights.tolist() == [0, 0.5, 0.5, 0.5, 0, 0.5, 0.5, 1, 1, 1, 1]  # the seam is not predicted
    assert row.utf8_bytes == 3


def test_long_answers_are_cut_last_and_end_open(tokenizer: PreTrainedTokenizerFast) -> None:
    row = encode(tokenizer, segments("0123456789", "=answered at length"), max_tokens=13)
    assert shown(tokenizer, row) == "<|bos|>089answered "
    assert row.utf8_bytes == 9
    row = encode(tokenizer, segments("", "=" + "中" * 9), max_tokens=12)
    assert (len(row.ids), row.utf8_bytes) == (12, 9)  # eleven bytes are kept: three characters and a piece


@settings(max_examples=100, deadline=None)
@given(parts=st.lists(st.tuples(st.text("ab", max_size=30), st.booleans()), max_size=6), limit=st.integers(2, 40))
def test_never_longer_than_the_limit(
    parts: list[tuple[str, bool]], limit: int, tokenizer: PreTrainedTokenizerFast
) -> None:
    row = encode(tokenizer, [Segment(text, answer) for text, answer in parts], max_tokens=limit)
    whole = encode(tokenizer, [Segment(text, answer) for text, answer in parts], max_tokens=10_000)
    assert len(row.ids) == min(limit, len(whole.ids)) == len(row.weights) == len(row.answers)
    assert row.weights[0] == 0
    if parts and parts[-1][1]:
        assert row.answers[-1]


def test_many_rows_at_once(tokenizer: PreTrainedTokenizerFast) -> None:
    rows = [segments("a", "=b"), segments("=cc"), segments("d")]
    together = encode_all(tokenizer, rows, max_tokens=9, ids=["x", "y", "z"])
    for row, name, made in zip(rows, "xyz", together, strict=True):
        alone = encode(tokenizer, row, max_tokens=9, id=name)
        assert (made.ids.tolist(), made.weights.tolist(), made.id) == (alone.ids.tolist(), alone.weights.tolist(), name)


def test_tokenizers_without_start_or_end() -> None:
    backend = train_tokenizer([], 300).backend_tokenizer
    bare = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|eos|>")
    bare.bos_token = None
    assert encode(bare, segments("=a"), max_tokens=9).ids.tolist() == [*encode_text(bare, "a"), 1]
    bare.eos_token = None
    with pytest.raises(ModelError, match="no end token"):
        encode(bare, segments("=a"), max_tokens=9)


def row_of(name: int, length: int, answer: int) -> Encoded:
    """A row whose tokens all tell its name, so that batches show where they come from."""
    ids = np.full(length, name, dtype=np.int32)
    weights = np.zeros(length, dtype=np.float32)
    weights[length - answer :] = 1
    weights[0] = 0
    return Encoded(ids, weights, str(name), answer, weights > 0)


def padded_rows(count: int = 200) -> list[Encoded]:
    rng = np.random.default_rng(0)
    return [row_of(100 + n, int(rng.integers(4, 120)), 3) for n in range(count)]


def names_of(batches: Batches, step: int) -> list[int]:
    return batches.batch(step).ids_BT[:, 0].tolist()


def test_padded_epochs_cover_every_row_once() -> None:
    plan = BatchPlan(tokens_per_step=512, context=128, packed=False, seed=3)
    batches = Batches(padded_rows(), plan, PAD)
    orders = []
    for epoch in range(3):
        first = epoch * batches.steps_per_epoch
        seen = [name for step in range(first, first + len(batches)) for name in names_of(batches, step)]
        assert sorted(seen) == list(range(100, 300))
        orders.append(seen)
    assert orders[0] != orders[1] != orders[2]


def test_padded_batches() -> None:
    rows = {int(row.id): row for row in padded_rows()}
    batches = Batches(list(rows.values()), BatchPlan(512, 128, False, 3), PAD)
    sizes = []
    for step in range(len(batches)):
        batch = batches.batch(step)
        height, width = batch.ids_BT.shape
        assert height * width <= 512
        assert width % 16 == 0
        sizes.append(height * width)
        assert batch.ids_BT.dtype == batch.labels_BT.dtype == torch.int64
        for place, name in enumerate(batch.ids_BT[:, 0].tolist()):
            row = rows[name]
            length = len(row.ids)
            assert width - length < 128
            assert batch.ids_BT[place].tolist() == [name] * length + [PAD] * (width - length)
            assert batch.attention_mask_BT[place].tolist() == [1] * length + [0] * (width - length)
            assert batch.weights_BT[place].tolist() == row.weights.tolist() + [0] * (width - length)
            assert batch.labels_BT[place].tolist() == [-100] * (length - 3) + [name] * 3 + [-100] * (width - length)
        assert batch.tokens == sum(len(rows[name].ids) for name in batch.ids_BT[:, 0].tolist())
        assert batch.answer_tokens == 3 * height
    assert np.mean(sizes) > 400
    padded = sum(sizes)
    assert sum(len(row.ids) for row in rows.values()) / padded > 0.85


@pytest.mark.parametrize("packed", [False, True])
def test_steps_are_reached_at_random_and_again(packed: bool) -> None:
    plan = BatchPlan(256, 64, packed, 7)
    one, two = Batches(padded_rows(60), plan, PAD), Batches(padded_rows(60), plan, PAD)
    order = list(range(2 * len(one) + 3))
    straight = {step: one.batch(step) for step in order}
    for step in reversed(order):
        again = two.batch(step)
        assert torch.equal(again.ids_BT, straight[step].ids_BT)
        assert torch.equal(again.weights_BT, straight[step].weights_BT)
    other = Batches(padded_rows(60), BatchPlan(256, 64, packed, 8), PAD)
    assert not all(
        a.shape == b.shape and torch.equal(a, b)
        for a, b in ((other.batch(step).ids_BT, straight[step].ids_BT) for step in order)
    )
    with pytest.raises(ValueError, match="step is -1"):
        one.batch(-1)


def test_packed_rows_predict_every_token_once(tokenizer: PreTrainedTokenizerFast) -> None:
    texts = [f"{n:03}" * (n % 17 + 1) for n in range(50)]
    rows = [encode(tokenizer, [Segment(text, is_answer=True)], max_tokens=2**30) for text in texts]
    batches = Batches(rows, BatchPlan(tokens_per_step=192, context=48, packed=True, seed=1), PAD)
    for epoch in range(2):
        predicted: Counter[int] = Counter()
        steps = [batches.batch(epoch * len(batches) + step) for step in range(len(batches))]
        for batch in steps:
            assert batch.ids_BT.shape[1] == 48
            assert batch.ids_BT.shape[0] <= 4
            assert not batch.weights_BT[:, 0].any()
            predicted.update(batch.ids_BT[batch.weights_BT > 0].tolist())
            assert torch.equal(batch.labels_BT != -100, batch.weights_BT > 0)
        expected = Counter(int(token) for row in rows for token in row.ids[1:])
        assert predicted == expected  # all but the start tokens, each once
        joined = "".join(tokenizer.decode(row) for batch in steps for row in batch.ids_BT)
        assert "<|bos|>048048" in joined


def test_packed_corpus_smaller_than_one_row(tokenizer: PreTrainedTokenizerFast) -> None:
    row = encode(tokenizer, segments("=tiny"), max_tokens=99)
    batch = Batches([row], BatchPlan(1024, 512, True, 0), PAD).batch(5)
    assert batch.ids_BT.shape == (1, 16)
    assert (batch.tokens, batch.answer_tokens) == (6, 5)


def test_rows_longer_than_a_step_come_alone() -> None:
    batches = Batches([row_of(5, 300, 2), row_of(6, 40, 2), row_of(7, 40, 2)], BatchPlan(96, 300, False, 0), PAD)
    assert sorted(names_of(batches, step) for step in range(2)) in ([[5], [6, 7]], [[5], [7, 6]])
    batch = next(batches.batch(step) for step in range(2) if names_of(batches, step) == [5])
    assert batch.ids_BT.shape == (1, 300)  # not beyond the context


def test_slices_and_devices() -> None:
    batch = Batches(padded_rows(20), BatchPlan(4096, 128, False, 0), PAD).batch(0)
    part = batch.rows(1, 3)
    assert torch.equal(part.ids_BT, batch.ids_BT[1:3])
    assert part.answer_tokens == 6
    assert torch.equal(batch.to("cpu").labels_BT, batch.labels_BT)


def test_rows_that_teach_nothing() -> None:
    silent = row_of(5, 10, 0)
    assert Batches([silent, row_of(6, 10, 2)], BatchPlan(64, 64, False, 0), PAD).skipped == 1
    with pytest.raises(DataError, match="no row has a token to learn from"):
        Batches([silent], BatchPlan(64, 64, False, 0), PAD)
