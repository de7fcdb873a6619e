"""The loop against a naive one that runs the whole text through the model for every token."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from autogpt.errors import ConfigError, ModelError
from autogpt.generation.decode import Decoding, Job
from autogpt.generation.drawing import Draws, truncated
from autogpt.generation.engine import Engine
from autogpt.generation.sampling import Sampling

PROMPTS = [[1, 20, 21], [1, 30], [1, 40, 41, 42, 43], [1, 50], [1, 60, 61]]


def written(engine: Engine, prompts: list[list[int]], sampling: Sampling) -> list[list[int]]:
    rows: list[list[int]] = [[] for _ in prompts]
    for step in Decoding(engine._reader, engine.tokenizer, Job(prompts), sampling):
        for each in step:
            rows[each.row].append(each.token)
    return rows


def naive(engine: Engine, prompt: list[int], sampling: Sampling) -> list[int]:
    """No cache, no batch; the documented window, and the documented draw from the cumulated distribution."""
    draws, window, text = Draws([prompt], [sampling.seed]), list(prompt), list[int]()
    while len(text) < sampling.max_new_tokens:
        with torch.no_grad():
            logits = engine.model(torch.tensor([window]), use_cache=False).logits[:, -1]
        if sampling.temperature == 0:
            token = int(logits.argmax())
        else:
            share = truncated(logits, sampling).double().softmax(-1)[0].numpy()
            uniform = draws.next(torch.device("cpu")).item()
            token = int(np.searchsorted(share.cumsum(), uniform * share.sum(), side="right"))
        if token == engine.eos_id:
            return text
        text.append(token)
        window.append(token)
        if len(window) > engine.context:
            window = window[:4] + window[-(engine.context // 2) :]
    return text


SAMPLINGS = [Sampling(max_new_tokens=60), Sampling(temperature=1.3, top_p=0.9, seed=5, max_new_tokens=60)]


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=["greedy", "drawn"])
@pytest.mark.parametrize("fields", [{}, {"late_key_heads": 1}, {"kind": "llama"}, {"kind": "qwen2"}])
def test_every_row_equals_the_naive_loop(make_engine: Any, fields: dict[str, Any], sampling: Sampling) -> None:
    """Past a context of 32, in batches whose rows end at different times."""
    engine: Engine = make_engine(context=32, **fields)
    assert written(engine, PROMPTS, sampling) == [naive(engine, prompt, sampling) for prompt in PROMPTS]


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=["greedy", "drawn"])
def test_a_row_is_the_same_alone_and_in_any_batch(make_engine: Any, sampling: Sampling) -> None:
    engine: Engine = make_engine(seed=2, context=32)
    alone = [written(engine, [prompt], sampling)[0] for prompt in PROMPTS]
    assert written(engine, PROMPTS, sampling) == alone
    assert written(engine, PROMPTS[::-1], sampling) == alone[::-1]
    assert written(engine, PROMPTS[1:3] * 3, sampling) == alone[1:3] * 3


def test_seeds_of_their_own_give_rows_of_their_own(make_engine: Any) -> None:
    engine: Engine = make_engine()
    sampling = Sampling(temperature=1.5, max_new_tokens=12, seed=99)
    decoding = Decoding(engine._reader, engine.tokenizer, Job([PROMPTS[0]] * 3, seeds=[1, 2, 1]), sampling)
    rows: list[list[int]] = [[], [], []]
    for step in decoding:
        for each in step:
            rows[each.row].append(each.token)
    assert rows[0] == rows[2] != rows[1]
    assert rows[0] == written(engine, [PROMPTS[0]], sampling.with_options({"seed": 1}))[0]


def test_twenty_times_the_context_is_written(make_engine: Any) -> None:
    engine: Engine = make_engine(context=16)
    sampling = Sampling(max_new_tokens=320, min_new_tokens=320)
    assert [len(row) for row in written(engine, PROMPTS[:2], sampling)] == [320, 320]


def test_rows_that_are_closed_write_nothing_more_and_others_go_on(make_engine: Any) -> None:
    engine: Engine = make_engine()
    sampling = Sampling(max_new_tokens=20, min_new_tokens=20)
    decoding = Decoding(engine._reader, engine.tokenizer, Job(PROMPTS), sampling)
    rows: list[list[int]] = [[] for _ in PROMPTS]
    for number, step in enumerate(decoding):
        for each in step:
            rows[each.row].append(each.token)
        if number < 4:
            decoding.close(number)
    assert [len(row) for row in rows] == [1, 2, 3, 4, 20]
    assert rows[4] == written(engine, [PROMPTS[4]], sampling)[0]
    assert decoding.reasons == {0: "stop", 1: "stop", 2: "stop", 3: "stop", 4: "length"}


def test_no_token_allowed_is_a_clear_error(make_engine: Any) -> None:
    engine: Engine = make_engine()
    everything = {token: float("-inf") for token in range(len(engine.tokenizer))}
    with pytest.raises(ModelError, match="no token can be written; found every token forbidden"):
        written(engine, PROMPTS, Sampling(logit_bias=everything))  # type: ignore[arg-type]
    few = {token: float("-inf") for token in range(3, len(engine.tokenizer))}
    with pytest.raises(ModelError, match="no_repeat_ngram"):
        written(engine, [[1]], Sampling(no_repeat_ngram=1, min_new_tokens=9, logit_bias=few))  # type: ignore[arg-type]


def test_contrastive_search_has_no_follower(make_engine: Any, silent: Any) -> None:
    engine: Engine = make_engine()
    sampling = Sampling(contrastive_alpha=0.6, top_k=4)

    with pytest.raises(ConfigError, match="no follower"):
        Decoding(engine._reader, engine.tokenizer, Job(PROMPTS, follower=silent), sampling)
