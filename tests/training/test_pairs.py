"""Pairs stay together, hold what was rendered, and only the compared answers count."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from autogpt.data.batching import BatchPlan, Encoded
from autogpt.data.tokenizers import train_tokenizer
from autogpt.errors import DataError
from autogpt.tasks.spec import TaskSpec
from autogpt.training.pairs import Pair, PairBatches, last_answer, mismatched_pairs, preference_pairs
from autogpt.types import Example, Message

SPEC = TaskSpec(
    description="d",
    kind="preference",
    layout="preference",
    input_fields=["prompt"],
    output_field="chosen",
    metric="preference_accuracy",
    direction="max",
)
ROWS = [
    Example(f"r:{i}", {"prompt": f"say {i}"}, "good " * (1 + i % 4) + str(i), rejected="bad " * (1 + i % 7) + str(i))
    for i in range(23)
]
TOKENIZER = train_tokenizer(["good bad say user assistant " * 5] + [f"{i}" for i in range(23)], 300)


def _pairs(context: int = 200, prompt_weight: float = 0.0) -> list[Pair]:
    return preference_pairs(SPEC, ROWS, TOKENIZER, context=context, prompt_weight=prompt_weight)


def _batches(tokens: int = 300, pairs: list[Pair] | None = None) -> PairBatches:
    pairs = _pairs() if pairs is None else pairs
    reference_N2 = torch.arange(2.0 * len(pairs)).view(-1, 2)
    return PairBatches(pairs, reference_N2, BatchPlan(tokens, 200, packed=False, seed=1), TOKENIZER.pad_token_id)


def _texts(row: torch.Tensor, mask: torch.Tensor) -> str:
    return TOKENIZER.decode(row[mask.bool()].tolist(), skip_special_tokens=True).strip()


def test_each_epoch_has_each_pair_once_and_whole() -> None:
    batches = _batches()
    assert len(batches) > 2
    for epoch in range(2):
        seen: Counter[tuple[str, str]] = Counter()
        for place in range(len(batches)):
            batch = batches.batch(epoch * len(batches) + place)
            assert batch.ids_BT.numel() <= 300
            ids, answers = (part.view(len(batch.good_B), 2, -1) for part in (batch.ids_BT, batch.answers_BT))
            for pair, mask, reference in zip(ids, answers, batch.reference_B2, strict=True):
                chosen, rejected = _texts(pair[0], mask[0]), _texts(pair[1], mask[1])
                seen[chosen, rejected] += 1
                number = int(chosen.split()[-1])
                assert reference.tolist() == [2.0 * number, 2.0 * number + 1]
        assert seen == Counter({(str(e.target), str(e.rejected)): 1 for e in ROWS})


def test_slices_keep_pairs_whole_and_the_weights_count_them() -> None:
    batch = _batches(tokens=600).batch(0)
    assert len(batch.good_B) > 3
    parts = [batch.rows(0, 1), batch.rows(1, len(batch.good_B)).to("cpu")]
    for name in ("ids_BT", "answers_BT", "reference_B2", "good_B", "weights_BT"):
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(batch, name))
    assert sum(part.tokens for part in parts) == batch.tokens
    assert sum(part.answer_tokens for part in parts) == batch.answer_tokens
    assert float(batch.weights_BT[:, 1:].sum()) == pytest.approx(len(batch.good_B), abs=1e-4)
    half = batch.ids_BT.shape[1] // 2
    assert float(batch.weights_BT[:, half:].sum()) == 0.0


def test_prompt_tokens_take_their_share_of_the_likelihood_term_and_none_of_the_comparison() -> None:
    batch = _batches(pairs=_pairs(prompt_weight=0.5)).batch(0)
    answers, weights = batch.answers_BT[0], batch.weights_BT[0]
    half = len(weights) // 2
    in_answer, in_prompt = weights[:half][answers[:half]], weights[:half][~answers[:half] & (weights[:half] > 0)]
    assert len(in_prompt) > 2
    assert torch.allclose(in_prompt, 0.5 * in_answer[0] * torch.ones(len(in_prompt)))
    assert float(weights.sum()) == pytest.approx(1.0)


def test_of_a_conversation_the_last_answer_alone_is_compared() -> None:
    turns = (Message("user", "say good"), Message("assistant", "good good"), Message("user", "say bad"))
    example = Example("c", {"prompt": ""}, "bad 1", messages=turns, rejected="bad 2")
    (pair,) = preference_pairs(SPEC, [example], TOKENIZER, context=200)
    assert _texts(torch.from_numpy(pair.first.ids), torch.from_numpy(last_answer(pair.first))) == "bad 1"
    assert pair.first.answer_mask().sum() > last_answer(pair.first).sum()


def test_kto_reads_each_prompt_with_the_answer_after_it() -> None:
    judged = [(example, i % 3 == 0) for i, example in enumerate(ROWS)]
    pairs = mismatched_pairs(SPEC, judged, TOKENIZER, context=200)
    for i, pair in enumerate(pairs):
        assert pair.good == (i % 3 == 0)
        first, second = (
            TOKENIZER.decode(row.ids.tolist(), skip_special_tokens=True) for row in (pair.first, pair.second)
        )
        assert f"say {i}" in first
        assert f"say {i}" in second
        assert first.endswith(str(ROWS[i].target))
        assert second.endswith(str(ROWS[(i + 1) % len(ROWS)].target))


def test_pairs_without_an_answer_are_passed_over_and_none_at_all_is_said() -> None:
    ids, answers = np.arange(5, dtype=np.int32), np.array([0, 0, 0, 1, 1], dtype=bool)
    whole = Encoded(ids, answers.astype(np.float32), "a", 2, answers)
    empty = Encoded(ids, np.zeros(5, dtype=np.float32), "b", 0, np.zeros(5, dtype=bool))
    batches = _batches(pairs=[Pair(whole, empty), Pair(whole, whole), Pair(empty, whole)])
    assert batches.skipped == 2
    assert batches.batch(0).reference_B2.tolist() == [[2.0, 3.0]]
    with pytest.raises(DataError, match="two answers to compare"):
        _batches(pairs=[Pair(whole, empty)])
    with pytest.raises(DataError, match="found 0 pairs"):
        _batches(pairs=preference_pairs(SPEC, [Example("x", {"prompt": "a"}, "b")], TOKENIZER, context=50))
