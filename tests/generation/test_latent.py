"""How a latent-variable GPT writes and is scored, against its components run one by one without a cache."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from autogpt.data.batching import Encoded
from autogpt.errors import ConfigError
from autogpt.generation.completion import Completion
from autogpt.generation.engine import Engine
from autogpt.generation.grammar import regex
from autogpt.generation.latent import nats, row_arguments
from autogpt.generation.sampling import Sampling
from autogpt.models.gpt import GPT
from autogpt.models.gpt_config import GPTConfig
from autogpt.models.latent import LatentGPT, LatentGPTConfig


def _model(**fields: Any) -> LatentGPT:
    shape = {"vocab_size": 40, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2}
    torch.manual_seed(0)
    model = LatentGPT(
        LatentGPTConfig(
            **{**shape, "intermediate_size": 48, "latents": 3, "latent_rank": 2, "latent_scale": 1.0, **fields}
        )
    )
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.25)
    return model.eval()


def _prompts(lengths: list[int]) -> list[list[int]]:
    rng = np.random.default_rng(0)
    return [rng.integers(2, 40, length).tolist() for length in lengths]


@pytest.fixture
def make_engine(tokenizer: Any) -> Callable[..., Engine]:
    def made(context: int | None = None, **fields: Any) -> Engine:
        model = _model(vocab_size=len(tokenizer), max_position_embeddings=96, **fields)
        with torch.no_grad():  # rows that end at different steps leave the batch
            model.lm_head.weight[tokenizer.eos_token_id] *= 3
        return Engine(model, tokenizer, context=context)

    return made


TEXTS = ["the cat", "今天天气", "a", "1 2 3 4 five six", "好的 a bird, a plane"]


def _naive(engine: Engine, prompt: list[int], most: int) -> list[int]:
    """Greedy tokens of the mixture: at each step every component reads the documented window anew."""
    components, written, window = [engine.model.component(z) for z in range(3)], list[int](), list(prompt)
    weights = engine.model.log_posterior(torch.tensor([prompt]))[0].exp()
    while len(written) < most:
        ids = torch.tensor([window])
        each = torch.stack([torch.softmax(one(ids).logits[0, -1], -1) for one in components]).detach()
        token = int((weights[:, None] * each).sum(0).argmax())
        if token == engine.eos_id:
            break
        written.append(token)
        window.append(token)
        if len(window) > engine.context:
            window = window[:4] + window[-(engine.context // 2) :]
        weights = weights * each[:, token]
        weights = weights / weights.sum()
    return written


@pytest.mark.parametrize("fields", [{}, {"models_prompt": True}, {"latent_layers": 3, "late_key_heads": 1}])
@pytest.mark.parametrize("context", [None, 24])
def test_the_mixture_writes_what_components_weighed_anew_would(
    make_engine: Any, fields: dict[str, Any], context: int | None
) -> None:
    """Also past the context, in batches whose rows end and run out of room at different steps."""
    engine: Engine = make_engine(context, **fields)
    found = engine.completions(TEXTS, Sampling(latent="mixture", max_new_tokens=50))
    prompts = engine.encode_prompts(TEXTS, min(50, engine.context // 2))
    assert [list(each.token_ids) for each in found] == [_naive(engine, prompt, 50) for prompt in prompts]
    assert len({len(each.token_ids) for each in found}) > 2
    assert {each.latent for each in found} == {None}


def test_drawn_tokens_of_the_mixture_have_their_exact_probability(make_engine: Any) -> None:
    engine: Engine = make_engine()
    sampling = Sampling(1.0, latent="mixture", max_new_tokens=9, min_new_tokens=9, logprobs=0, seed=3)
    for prompt, text in zip(engine.encode_prompts(TEXTS), engine.completions(TEXTS, sampling), strict=True):
        ids = torch.tensor([[*prompt, *text.token_ids]])
        is_prompt = torch.arange(ids.shape[1])[None] < len(prompt)
        prior, logs = engine.model.joint(ids, is_prompt, (~is_prompt).float())
        exact = float(torch.logsumexp(prior + logs, -1).detach())
        assert sum(each.logprob for each in text.logprobs) == pytest.approx(exact, abs=1e-3)


def test_the_one_loop_serves_the_mixture_with_all_it_can_do(make_engine: Any) -> None:
    engine: Engine = make_engine()
    drawn = Sampling(1.3, latent="mixture", max_new_tokens=30, repetition_penalty=1.3, no_repeat_ngram=2, seed=5)
    texts = engine.completions(TEXTS, drawn)
    for prompt, text in zip(TEXTS, texts, strict=True):
        assert "".join(engine.stream(prompt, drawn)) == text.text
        pairs = list(itertools.pairwise(text.token_ids))
        assert len(pairs) == len(set(pairs))
    stop = texts[0].text[3:5]
    assert engine.complete(TEXTS[:1], drawn.with_options({"stop": stop})) == [texts[0].text.partition(stop)[0]]
    held = engine.completions(TEXTS, drawn.with_options({"no_repeat_ngram": 0}), [regex("(a|b)c{3}")] * 5)
    assert {each.text for each in held} <= {"accc", "bccc"}
    assert {each.finish_reason for each in held} == {"grammar"}


# --- the best of all components ---------------------------------------------------------------------------------------


def _naive_worth(engine: Engine, prompt: list[int], text: Completion) -> float:
    """log p(y|x) a token, each component a plain GPT that reads everything at once."""
    ended = [engine.eos_id] if text.finish_reason == "stop" else []
    ids, logs = torch.tensor([[*prompt, *text.token_ids, *ended]]), torch.zeros(3)
    for z in range(3):
        every = torch.log_softmax(engine.model.component(z)(ids).logits[0].detach(), -1)
        logs[z] = sum(every[t - 1, ids[0, t]] for t in range(len(prompt), ids.shape[1]))
    prior = engine.model.log_posterior(torch.tensor([prompt]))[0]
    return float(torch.logsumexp(prior + logs, 0)) / (ids.shape[1] - len(prompt))


@pytest.mark.parametrize("fields", [{}, {"models_prompt": True}])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_the_best_is_what_the_mixture_finds_most_probable(
    make_engine: Any, fields: dict[str, Any], temperature: float
) -> None:
    engine: Engine = make_engine(**fields)
    sampling = Sampling(temperature, max_new_tokens=25)
    each = [engine.completions(TEXTS, sampling.with_options({"latent": z})) for z in range(3)]
    found = engine.completions(TEXTS, sampling.with_options({"latent": "best"}))
    for place, prompt in enumerate(engine.encode_prompts(TEXTS)):
        best = max((one[place] for one in each), key=lambda text: _naive_worth(engine, prompt, text))
        assert found[place] == best
    assert len({text.latent for text in found}) > 1
    assert list(engine.stream(TEXTS[0], sampling.with_options({"latent": "best"}))) == [found[0].text]


def test_of_equal_texts_the_first_components_is_kept_and_a_stop_string_is_no_end_token(make_engine: Any) -> None:
    engine: Engine = make_engine()
    with torch.no_grad():
        for name, parameter in engine.model.named_parameters():
            if name.endswith((".outer", ".film")):
                parameter.zero_()
    (whole,) = engine.completions(TEXTS[:1], Sampling(latent="best", max_new_tokens=20))
    assert whole.latent == 0
    cut = Sampling(latent="best", max_new_tokens=20, stop=(whole.text[2:4],))
    (text,) = engine.completions(TEXTS[:1], cut)
    assert engine._with_end(text, cut) == text.token_ids
    assert text.text == whole.text.partition(whole.text[2:4])[0]


def test_a_component_that_is_not_there_is_refused_in_one_line(make_engine: Any, silent: Any) -> None:
    engine: Engine = make_engine()
    with pytest.raises(ConfigError, match=r"no such component; found latent 3; expected 0 to 2, since it has 3"):
        engine.complete(TEXTS, Sampling(latent=3))
    for latent in ("best", "mixture"):
        with pytest.raises(ConfigError, match="no follower"):
            engine.completions(TEXTS, Sampling(latent=latent), follower=silent)
    plain = Engine(engine.model.component(0), engine.tokenizer)
    for choice in (0, "best", "mixture"):
        with pytest.raises(ConfigError, match="this model has no components"):
            plain.complete(TEXTS, Sampling(latent=choice))


# --- drawing z --------------------------------------------------------------------------------------------------------


def test_rows_are_drawn_from_what_their_prompt_says_whoever_stands_beside_them() -> None:
    model = _model(models_prompt=True)
    prompts = _prompts([5, 9])
    seeds = list(range(400))
    drawn = [row_arguments(model, [prompt] * 400, seeds, pad_id=0)["latent"] for prompt in prompts]
    for prompt, latents in zip(prompts, drawn, strict=True):
        shares = torch.bincount(latents, minlength=3) / 400
        torch.testing.assert_close(shares, model.log_posterior(torch.tensor([prompt]))[0].exp(), atol=0.08, rtol=0)
    mixed = row_arguments(model, prompts * 20, [seed for seed in range(20) for _ in prompts], pad_id=0)["latent"]
    assert torch.equal(mixed.view(20, 2), torch.stack([latents[:20] for latents in drawn], 1))


def test_a_latent_may_be_named_and_other_models_have_none() -> None:
    model = _model()
    prompts = _prompts([3, 4])
    assert row_arguments(model, prompts, [0, 0], pad_id=0, latent=2)["latent"].tolist() == [2, 2]
    with pytest.raises(ConfigError, match="no such component"):
        row_arguments(model, prompts, [0, 0], pad_id=0, latent=3)
    plain = GPT(GPTConfig(vocab_size=40, hidden_size=32, num_hidden_layers=1))
    assert row_arguments(plain, prompts, [0, 0], pad_id=0) == {}


# --- scores ----------------------------------------------------------------------------------------------------------


def _row(length: int, first_answer: int, seed: int) -> Encoded:
    ids = np.random.default_rng(seed).integers(2, 40, length).astype(np.int32)
    answers = np.arange(length) >= first_answer
    return Encoded(ids, answers.astype(np.float32), "r", 0, answers)


def _naive_nats(model: LatentGPT, row: Encoded, context: int) -> float:
    """Each component scores each token once, with what stands at least half a context before it."""
    ids, logs = row.ids.tolist(), np.zeros(3)
    for z in range(3):
        component = model.component(z)
        scored, first = 1, 0
        while scored < len(ids):
            part = torch.tensor([ids[first : first + context]])
            every = torch.log_softmax(component(part).logits[0].detach(), -1)
            for t in range(scored, min(first + context, len(ids))):
                if row.answers[t]:
                    logs[z] += float(every[t - first - 1, ids[t]])
            scored = first + context
            first = scored - context // 2
    prompt = ids[: min(context, max(1, int(row.answers.argmax())))]
    return -float(np.logaddexp.reduce(model.log_posterior(torch.tensor([prompt]))[0].numpy() + logs))


def test_scores_are_the_exact_marginal_also_of_documents_longer_than_the_context() -> None:
    model = _model()
    rows = [_row(40, 1, 0), _row(9, 4, 1), _row(16, 5, 2), _row(17, 1, 3), _row(33, 20, 4), _row(70, 2, 5)]
    found = nats(model, rows, context=16, pad_id=0)
    assert found == pytest.approx([_naive_nats(model, row, 16) for row in rows], abs=2e-3)
    assert found == pytest.approx([nats(model, [row], context=16, pad_id=0)[0] for row in rows], abs=1e-3)


def test_a_prompt_that_is_modelled_text_tells_which_component_it_is_from() -> None:
    model = _model(models_prompt=True)
    rows = [_row(40, 12, 0), _row(9, 4, 1), _row(16, 15, 2), _row(33, 30, 3), _row(20, 1, 4)]
    found = nats(model, rows, context=64, pad_id=0)
    assert found == pytest.approx([_naive_nats(model, row, 64) for row in rows], abs=2e-3)
    long = [_row(70, first, 5) for first in (1, 30, 50)]  # p(x, y) = p(x) p(y|x), whatever the windows
    whole, *parts = nats(model, [long[0], *long[1:]], context=16, pad_id=0)
    heads = [_row(70, 1, 5) for _ in parts]
    cut = [replace(row, ids=row.ids[:n], answers=row.answers[:n]) for row, n in zip(heads, (30, 50), strict=True)]
    before = nats(model, cut, context=16, pad_id=0)
    assert [a + b for a, b in zip(before, parts, strict=True)] == pytest.approx([whole] * 2, abs=2e-3)


def test_later_windows_know_what_earlier_ones_say_of_the_latent() -> None:
    """One z explains all windows: the nats are between those of the best component and these with its prior added."""
    model = _model()
    row = _row(64, 1, 8)
    one = nats(model, [row], context=16, pad_id=0)[0]
    each_z = [_of_component(model, row, z) for z in range(3)]
    rarest = float(model.log_posterior(torch.tensor([[int(row.ids[0])]])).min())
    assert min(each_z) <= one <= min(each_z) - rarest


def _of_component(model: LatentGPT, row: Encoded, latent: int) -> float:
    alone = _model()
    alone.load_state_dict(model.state_dict())
    with torch.no_grad():
        alone.model.prior.weight.zero_()
        alone.model.prior.bias.copy_(torch.where(torch.arange(3) == latent, 0.0, -1e4))
    return nats(alone, [row], context=16, pad_id=0)[0]
