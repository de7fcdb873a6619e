"""Beam search against transformers' own, row by row."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch

from autogpt.errors import ConfigError
from autogpt.generation.beams import beam_search
from autogpt.generation.decode import Job
from autogpt.generation.engine import Engine
from autogpt.generation.grammar import Matchers, span_of
from autogpt.generation.sampling import Sampling

PROMPTS = [[1, 20, 21], [1, 30], [1, 40, 41, 42, 43], [1, 50], [1, 60, 61], [1, 70, 25]]


def theirs(engine: Engine, prompt: list[int], **options: Any) -> list[int]:
    ids = torch.tensor([prompt])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of generation settings that transformers would rather have in a file
        out = engine.model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            eos_token_id=engine.eos_id,
            pad_token_id=engine.pad_id,
            **options,
        )
    text = out[0, len(prompt) :].tolist()
    return text[: text.index(engine.eos_id)] if engine.eos_id in text else text


def ours(engine: Engine, sampling: Sampling, prompts: list[list[int]] = PROMPTS) -> list[list[int]]:
    return [list(beam.tokens) for beam in beam_search(engine._reader, engine.tokenizer, Job(prompts), sampling)]


def end_bias(engine: Engine, value: float = 3.0) -> tuple[dict[str, Any], dict[str, Any]]:
    """Our and transformers' option for an end token that is likely, so that texts end at different lengths."""
    return {"logit_bias": {engine.eos_id: value}}, {"sequence_bias": [[[engine.eos_id], value]]}


@pytest.mark.parametrize("length_penalty", [1.0, 0.0, 2.0, -1.0])
@pytest.mark.parametrize("beams", [2, 4])
@pytest.mark.parametrize("seed", [1, 2])
def test_texts_are_transformers(make_engine: Any, seed: int, beams: int, length_penalty: float) -> None:
    engine: Engine = make_engine(seed)
    own, other = end_bias(engine)
    sampling = Sampling(beams=beams, length_penalty=length_penalty, max_new_tokens=16, **own)
    options = {"num_beams": beams, "length_penalty": length_penalty, "max_new_tokens": 16, **other}
    found = ours(engine, sampling)
    assert len({len(text) for text in found}) > 1
    assert found == [theirs(engine, prompt, **options) for prompt in PROMPTS]
    assert ours(engine, sampling, PROMPTS[2:3]) == found[2:3]


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
def test_any_causal_model_is_searched(make_engine: Any, kind: str) -> None:
    engine: Engine = make_engine(3, kind=kind)
    own, other = end_bias(engine)
    found = ours(engine, Sampling(beams=3, max_new_tokens=10, **own))
    assert found == [theirs(engine, prompt, num_beams=3, max_new_tokens=10, **other) for prompt in PROMPTS]
    assert len({len(text) for text in found}) > 1


def test_penalties_are_applied_as_in_transformers(make_engine: Any) -> None:
    engine: Engine = make_engine(4)
    found = ours(engine, Sampling(beams=3, max_new_tokens=12, no_repeat_ngram=2, min_new_tokens=5))
    options = {"num_beams": 3, "max_new_tokens": 12, "no_repeat_ngram_size": 2, "min_new_tokens": 5}
    assert found == [theirs(engine, prompt, **options) for prompt in PROMPTS]


def test_one_row_of_many_beams_finds_at_least_what_greedy_finds(make_engine: Any) -> None:
    engine: Engine = make_engine(noise=0.1)
    sampling = Sampling(beams=8, length_penalty=0.0, max_new_tokens=6, min_new_tokens=6, logprobs=0)
    (best,) = beam_search(engine._reader, engine.tokenizer, Job(PROMPTS[:1]), sampling)
    (greedy,) = engine.completions(["x"], Sampling(max_new_tokens=6, logprobs=0))
    assert best.score == pytest.approx(sum(each.logprob for each in best.logprobs), abs=1e-3)
    assert [each.token for each in best.logprobs] == list(best.tokens)
    assert len(greedy.logprobs) == len(greedy.token_ids)


def test_a_grammar_and_stop_strings_hold_for_every_beam(make_engine: Any) -> None:
    engine: Engine = make_engine()
    passages = ["今天天气很好", "the cat sat on the mat"]
    grammars = [span_of(passage) for passage in passages]
    job = Job(PROMPTS[:2], grammars=Matchers.of(engine.tokenizer, grammars))
    for beam, passage in zip(
        beam_search(engine._reader, engine.tokenizer, job, Sampling(beams=4, max_new_tokens=30)), passages, strict=True
    ):
        assert engine.tokenizer.decode(beam.tokens) in passage
        assert beam.reason == "grammar"
    (first, _) = engine.completions(["a", "b"], Sampling(beams=3, max_new_tokens=12))
    middle = first.text[2:4]
    stopped = engine.completions(["a"], Sampling(beams=3, max_new_tokens=12, stop=(middle,)))[0]
    assert middle not in stopped.text


def test_no_follower(make_engine: Any, silent: Any) -> None:
    engine: Engine = make_engine()
    with pytest.raises(ConfigError, match="no follower"):
        beam_search(engine._reader, engine.tokenizer, Job(PROMPTS, follower=silent), Sampling(beams=2))
