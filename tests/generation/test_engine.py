"""The engine against transformers' own generate, naive likelihoods and one-row-at-a-time runs."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from autogpt.data.batching import Encoded
from autogpt.data.tokenizers import encode_text, train_tokenizer
from autogpt.generation.engine import Engine
from autogpt.generation.sampling import Sampling
from autogpt.models.gpt import GPT
from autogpt.models.gpt_config import GPTConfig


def _row(ids: list[int], weights: list[float], name: str) -> Encoded:
    values = np.array(weights, dtype=np.float32)
    return Encoded(np.array(ids, dtype=np.int32), values, name, utf8_bytes=len(ids), answers=values > 0)


TEXTS = ["the cat sat on the mat", "今天天气很好，我们去公园", "a bird, a plane", "好的", "1 2 3 4 five 😀 six"]
PROMPTS = ["the cat", "今天天气", "a", "好的，😀 then", "1 2 3 4 five six the cat sat on"]


@pytest.fixture(scope="module", params=[0, 1], ids=["plain", "late keys"])
def engine(request: pytest.FixtureRequest) -> Engine:
    tokenizer = train_tokenizer(TEXTS * 3, 400)
    torch.manual_seed(1)
    config = GPTConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        late_key_heads=request.param,
        max_position_embeddings=96,
    )
    model = GPT(config).eval()
    with torch.no_grad():  # fresh weights copy their input; noise makes the texts differ
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return Engine(model, tokenizer)


def _reference(engine: Engine, prompt: str, count: int) -> str:
    ids = torch.tensor(engine.encode_prompts([prompt]))
    out = engine.model.generate(
        ids, max_new_tokens=count, do_sample=False, eos_token_id=engine.eos_id, pad_token_id=engine.pad_id
    )[0, ids.shape[1] :].tolist()
    return engine.tokenizer.decode(out, skip_special_tokens=True)


def test_greedy_batches_equal_transformers_row_by_row(engine: Engine) -> None:
    assert engine.complete(PROMPTS, Sampling(max_new_tokens=20)) == [_reference(engine, p, 20) for p in PROMPTS]


def test_order_and_number_are_kept_when_rows_end_at_different_times(engine: Engine) -> None:
    many = [f"{PROMPTS[i % 5]} {i}" for i in range(150)]
    together = engine.complete(many, Sampling(max_new_tokens=12))
    assert together == [engine.complete([p], Sampling(max_new_tokens=12))[0] for p in many]


@pytest.mark.parametrize("sampling", [Sampling(max_new_tokens=30), Sampling(1.2, 0.9, max_new_tokens=30, seed=4)])
def test_the_stream_joins_to_the_completion_and_never_splits_a_character(engine: Engine, sampling: Sampling) -> None:
    for prompt in PROMPTS:
        pieces = list(engine.stream(prompt, sampling))
        assert "".join(pieces) == engine.complete([prompt], sampling)[0]
        whole = engine.complete([prompt], sampling)[0]
        if "\N{REPLACEMENT CHARACTER}" not in whole:
            assert not any("\N{REPLACEMENT CHARACTER}" in piece for piece in pieces)


def test_a_seed_repeats_a_text_and_another_seed_gives_another(engine: Engine) -> None:
    one = engine.complete(["the cat"], Sampling(1.5, max_new_tokens=20, seed=1))
    assert one == engine.complete(["the cat"], Sampling(1.5, max_new_tokens=20, seed=1))
    assert one != engine.complete(["the cat"], Sampling(1.5, max_new_tokens=20, seed=2))


def test_nats_equal_a_naive_sum(engine: Engine) -> None:
    rows = []
    for i, text in enumerate(TEXTS):
        ids = [engine.bos_id, *encode_text(engine.tokenizer, text), engine.eos_id]
        weights = [0.0] * (1 + i % 3) + [1.0] * (len(ids) - 1 - i % 3)
        rows.append(_row(ids, weights, str(i)))
    expected = []
    for row in rows:
        with torch.no_grad():
            logs = engine.model(torch.tensor([row.ids.tolist()])).logits[0].log_softmax(-1)
        expected.append(-sum(float(logs[t - 1, row.ids[t]]) for t in range(1, len(row.ids)) if row.weights[t] > 0))
    assert engine.nats(rows) == pytest.approx(expected, rel=1e-4)


def test_long_rows_are_scored_whole_each_token_once(engine: Engine) -> None:
    ids = [engine.bos_id, *[10 + i % 50 for i in range(250)]]
    row = _row(ids, [0.0] + [1.0] * 250, "long")
    small = Engine(engine.model, engine.tokenizer, context=32)
    total, first = 0.0, 0
    scored = 1
    while scored < len(ids):  # the documented windows, one at a time
        window = ids[first : first + 32]
        with torch.no_grad():
            logs = engine.model(torch.tensor([window])).logits[0].log_softmax(-1)
        total -= sum(float(logs[t - 1, window[t]]) for t in range(max(1, scored - first), len(window)))
        scored = first + len(window)
        first = scored - 16
    assert small.nats([row])[0] == pytest.approx(total, rel=1e-4)


def test_choices_equal_scoring_each_answer_alone(engine: Engine) -> None:
    choices = ["the cat", "the mat", "今天", "好的"]
    found = engine.choice_probabilities(PROMPTS, choices)
    assert found.sum(-1).tolist() == pytest.approx([1.0] * len(PROMPTS), abs=1e-5)
    alone = [engine.choice_probabilities([p], choices)[0].tolist() for p in PROMPTS]
    for row, one in zip(found.tolist(), alone, strict=True):
        assert row == pytest.approx(one, abs=1e-5)


def test_a_long_prompt_keeps_its_beginning_and_its_end(engine: Engine) -> None:
    prompt = "今天 " + "the cat sat on the mat " * 50 + "好的"
    (ids,) = engine.encode_prompts([prompt], room=20)
    assert len(ids) <= engine.context - 20
    text = engine.tokenizer.decode(ids, skip_special_tokens=True)
    assert text.startswith("今天")
    assert text.endswith("好的")


def test_bits_are_not_negative(engine: Engine) -> None:
    row = _row([engine.bos_id, engine.eos_id], [0.0, 1.0], "e")
    assert engine.nats([row])[0] >= 0.0
    assert math.isfinite(engine.nats([row])[0])
