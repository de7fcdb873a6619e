"""Answers that follow a grammar, against a naive scan over the whole vocabulary, and end to end in the engine."""

from __future__ import annotations

import pytest
import torch

from autogpt.data.tokenizers import train_tokenizer
from autogpt.errors import ModelError
from autogpt.generation.engine import Engine
from autogpt.generation.grammar import Matchers, span_of
from autogpt.generation.sampling import Sampling
from autogpt.models.gpt import GPT
from autogpt.models.gpt_config import GPTConfig

PASSAGE = '1963年，他"出任"\\主教。\nHe moved to Paris in 1990 — 巴黎😀'
TOKENIZER = train_tokenizer([PASSAGE, "他在巴黎出任主教", "He moved"] * 4, 320)


def _engine(seed: int = 0) -> Engine:
    torch.manual_seed(seed)
    shape = GPTConfig(vocab_size=len(TOKENIZER), hidden_size=32, num_hidden_layers=1, intermediate_size=64)
    model = GPT(shape)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return Engine(model, TOKENIZER)


@pytest.mark.parametrize("start", ["", "1963", "出任", "巴", "in 1990", "😀"])
def test_a_token_is_allowed_exactly_when_the_passage_goes_on_so(start: str) -> None:
    matchers = Matchers(TOKENIZER, [span_of(PASSAGE)])
    written = TOKENIZER.encode(start, add_special_tokens=False)
    for token in written:
        matchers.follow([token])
    allowed = matchers.mask(torch.zeros(1, len(TOKENIZER)))[0] == 0
    for token in range(len(TOKENIZER)):
        if token == TOKENIZER.eos_token_id:
            assert bool(allowed[token]) == bool(start)
            continue
        text = TOKENIZER.decode([*written, token])
        if token in TOKENIZER.all_special_ids:
            assert not allowed[token]
        elif "\N{REPLACEMENT CHARACTER}" not in text:
            assert bool(allowed[token]) == (text in PASSAGE), text


@pytest.mark.parametrize("seed", range(4))
def test_whatever_a_model_writes_is_a_span(seed: int) -> None:
    engine = _engine(seed)
    passages = [PASSAGE, "a", "好", "He moved to Paris in 1990", PASSAGE[:5], PASSAGE[5:]]
    prompts = [f"问题{i}" for i in range(len(passages))]
    sampling = Sampling(temperature=1.0, seed=seed, max_new_tokens=12, repetition_penalty=1.2)
    answers = engine.complete(prompts, sampling, [span_of(passage) for passage in passages])
    for answer, passage in zip(answers, passages, strict=True):
        assert answer.rstrip("\N{REPLACEMENT CHARACTER}")  # the token limit may cut a character
        assert answer.rstrip("\N{REPLACEMENT CHARACTER}") in passage
    for prompt, passage in zip(prompts, passages, strict=True):
        streamed = "".join(engine.stream(prompt, Sampling(max_new_tokens=12), span_of(passage)))
        assert [streamed] == engine.complete([prompt], Sampling(max_new_tokens=12), [span_of(passage)])


def test_rows_without_a_grammar_write_what_they_would_write_alone() -> None:
    engine, sampling = _engine(), Sampling(max_new_tokens=8)
    held, free = engine.complete(["a", "a"], sampling, [span_of("巴黎"), None])
    assert held in "巴黎"
    assert free == engine.complete(["a"], sampling)[0]
    assert engine.complete(["a"], sampling, [span_of("")])[0] == free


def test_a_grammar_that_cannot_be_read() -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        Matchers(TOKENIZER, ["start: )"])
