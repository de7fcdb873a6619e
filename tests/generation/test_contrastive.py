"""Contrastive search against a naive version: no cache, no batch, one candidate at a time."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from autogpt.generation.decode import Decoding, Job
from autogpt.generation.engine import Engine
from autogpt.generation.grammar import Matchers, span_of
from autogpt.generation.sampling import Sampling

PROMPTS = [[1, 20, 21], [1, 30], [1, 40, 41, 42, 43], [1, 50]]


def naive(engine: Engine, prompt: list[int], sampling: Sampling) -> list[int]:
    row = list(prompt)
    text: list[int] = []

    def run(ids: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        with torch.no_grad():
            out = engine.model(torch.tensor([ids]), use_cache=False, output_hidden_states=True)
        return out.logits[0, -1].softmax(-1), F.normalize(out.hidden_states[-1][0], dim=-1)

    for _ in range(sampling.max_new_tokens):
        probabilities, _ = run(row)
        worth = {}
        for token in probabilities.topk(sampling.top_k).indices.tolist():
            _, states = run([*row, token])
            alike = max(float(states[-1] @ before) for before in states[:-1])
            alpha = sampling.contrastive_alpha
            worth[token] = (1 - alpha) * float(probabilities[token]) - alpha * alike
        token = max(worth, key=lambda each: worth[each])
        if token == engine.eos_id:
            break
        row.append(token)
        text.append(token)
    return text


def written(engine: Engine, prompts: list[list[int]], sampling: Sampling, **job: Any) -> list[list[int]]:
    rows: list[list[int]] = [[] for _ in prompts]
    for step in Decoding(engine._reader, engine.tokenizer, Job(prompts, **job), sampling):
        for each in step:
            rows[each.row].append(each.token)
    return rows


@pytest.mark.parametrize("fields", [{}, {"late_key_heads": 1}, {"kind": "llama"}])
@pytest.mark.parametrize("alpha", [0.2, 0.6, 0.95])
def test_texts_equal_the_naive_search(make_engine: Any, fields: dict[str, Any], alpha: float) -> None:
    engine: Engine = make_engine(**fields)
    sampling = Sampling(contrastive_alpha=alpha, top_k=4, max_new_tokens=14)
    assert written(engine, PROMPTS, sampling) == [naive(engine, prompt, sampling) for prompt in PROMPTS]


def test_it_differs_from_greedy_and_rows_may_leave(make_engine: Any) -> None:
    engine: Engine = make_engine()
    sampling = Sampling(contrastive_alpha=0.7, top_k=5, max_new_tokens=20, min_new_tokens=20)
    alone = [written(engine, [prompt], sampling)[0] for prompt in PROMPTS]
    assert alone != written(engine, PROMPTS, Sampling(max_new_tokens=20, min_new_tokens=20))
    decoding = Decoding(engine._reader, engine.tokenizer, Job(PROMPTS), sampling)
    rows: list[list[int]] = [[] for _ in PROMPTS]
    for number, step in enumerate(decoding):
        for each in step:
            rows[each.row].append(each.token)
        if number == 5:
            decoding.close(0)
            decoding.close(2)
    assert rows == [alone[0][:6], alone[1], alone[2][:6], alone[3]]


def test_it_goes_on_past_the_context_and_keeps_to_a_grammar(make_engine: Any) -> None:
    engine: Engine = make_engine(context=16)
    sampling = Sampling(contrastive_alpha=0.6, top_k=4, max_new_tokens=50, min_new_tokens=50)
    assert [len(row) for row in written(engine, PROMPTS, sampling)] == [50] * 4
    passage = "今天天气很好"
    matchers = Matchers.of(engine.tokenizer, [span_of(passage)] * 2)
    sampling = Sampling(contrastive_alpha=0.6, top_k=4, max_new_tokens=30)
    for row in written(engine, PROMPTS[:2], sampling, grammars=matchers):
        assert engine.tokenizer.decode(row) in passage
