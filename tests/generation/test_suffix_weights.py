"""Fast weights in the last blocks: gradients against finite differences over a stale cache, the model untouched."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM
from transformers.cache_utils import DynamicCache

from autogpt.errors import ModelError
from autogpt.generation.fast_weights import FastRates, FastState, Seen, without_scores
from autogpt.generation.suffix_weights import SuffixWeights, suffix_blocks
from autogpt.models.gpt import GPT, GPTConfig

SMALL = {
    "vocab_size": 50,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}


def models() -> dict[str, torch.nn.Module]:
    torch.manual_seed(0)
    made = {
        "gpt": GPT(GPTConfig(**SMALL, late_key_heads=1, mlp="relu2")),
        "gpt2 shape": GPT(GPTConfig(**SMALL, norm="layer", bias=True, mlp="gelu", position="learned")),
        "llama": LlamaForCausalLM(LlamaConfig(**SMALL)),
        "qwen2": Qwen2ForCausalLM(Qwen2Config(**SMALL)),
    }
    for model in made.values():  # fresh ones write zeros to the residual stream
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
    return {name: model.eval() for name, model in made.items()}


MODELS = models()
IDS = torch.randint(0, 50, (2, 24), generator=torch.Generator().manual_seed(1))


def suffix(model: Any, share: float = 0.1) -> SuffixWeights:
    return SuffixWeights(model, share, context=64)


def random_state(weights: SuffixWeights, sessions: int, seed: int = 0) -> FastState:
    generator = torch.Generator().manual_seed(seed)
    state = weights.fresh(sessions)
    for tensor in state.tensors().values():
        tensor.normal_(std=0.1, generator=generator)
    return state


def look(weights: SuffixWeights, ids: torch.Tensor, state: FastState | None, cache: Any = None) -> Seen:
    """To be called while attached."""
    cache = weights.cache(64) if cache is None else cache
    weights.use(state)
    with weights.listening(cache):
        weights.model(input_ids=ids, past_key_values=cache, use_cache=True)
    assert weights.seen is not None
    return weights.seen


def test_the_last_quarter_and_two_at_least() -> None:
    assert [suffix_blocks(layers) for layers in (1, 2, 3, 4, 6, 8, 9, 12, 13, 32)] == [1, 1, 2, 2, 2, 2, 3, 3, 4, 8]


@pytest.mark.parametrize("name", MODELS)
def test_fresh_ones_change_nothing_and_reading_again_gives_the_scores_of_the_pass(name: str) -> None:
    model, weights = MODELS[name], suffix(MODELS[name])
    with torch.no_grad():
        plain = model(input_ids=IDS).logits
    state = random_state(weights, 2)
    with weights.attached():
        for none in (None, weights.fresh(2)):
            torch.testing.assert_close(look(weights, IDS, none).logits_STV, plain)
        moved = look(weights, IDS, state)
        assert moved.logits_STV is not None
        assert float((moved.logits_STV.detach() - plain).abs().max()) > 0.1
        torch.testing.assert_close(weights.scores(without_scores(moved), state), moved.logits_STV, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(weights.scores(moved, weights.fresh(2)), plain, rtol=1e-4, atol=1e-4)
        assert weights.seen is moved
    with torch.no_grad():
        torch.testing.assert_close(model(input_ids=IDS).logits, plain)


@pytest.mark.parametrize("name", ["gpt", "gpt2 shape"])
def test_a_step_follows_the_gradient_by_finite_differences(name: str) -> None:
    weights = suffix(copy.deepcopy(MODELS[name]).double())
    state, targets = random_state(weights, 2), IDS[:, 13:]
    counted = torch.rand(targets.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    generator = torch.Generator().manual_seed(3)
    with weights.attached():
        cache = weights.cache(64)
        look(weights, IDS[:, :12], random_state(weights, 2, seed=9), cache)  # read under other fast weights, now stale
        before = copy.deepcopy(cache)

        def total(moved: FastState) -> float:
            seen = look(weights, IDS[:, 12:-1], moved, copy.deepcopy(before))
            return float((weights.nats(moved, seen, targets) * counted).sum())

        def slope(part: str, direction: torch.Tensor) -> float:
            ends = []
            for sign in (1e-5, -1e-5):
                moved = state.rows([0, 1])
                moved.tensors()[part].add_(direction, alpha=sign)
                ends.append(total(moved))
            return (ends[0] - ends[1]) / 2e-5

        stepped = state.rows([0, 1])
        seen = look(weights, IDS[:, 12:-1], stepped, cache)
        weights.learn(stepped, seen, targets, counted, FastRates(step=1e-3, trust=10.0))
        for part, rate in (("head", 1.5), ("bias", 5.0)):
            gradient = (state.tensors()[part] - stepped.tensors()[part]) * (64 / rate / 1e-3)
            drawn = torch.randn(gradient.shape, generator=generator, dtype=torch.float64)
            assert float((gradient * drawn).sum()) == pytest.approx(slope(part, drawn), rel=1e-5)
        step = stepped.mlp - state.mlp
        rank = step.shape[-1] // 2
        for session in range(2):
            for columns in (slice(0, rank), slice(rank, None)):  # each block's step has the same size
                own = torch.zeros_like(step)
                own[session, :, columns] = step[session, :, columns]
                size = 1e-3 * 0.015 * float(counted[session].sum()) / 64
                assert float(step[session, :, columns].square().mean().sqrt()) == pytest.approx(size, rel=1e-9)
                steepest = slope("mlp", own / own.norm())
                drawn = torch.zeros_like(step)
                drawn[session, :, columns].normal_(generator=generator)
                expected = slope("mlp", drawn)
                assert steepest < 0
                assert steepest * float((own / own.norm() * drawn).sum()) == pytest.approx(expected, rel=1e-4)


def test_what_was_read_is_a_given_number_to_the_next_chunk() -> None:
    weights, state = suffix(MODELS["llama"]), random_state(suffix(MODELS["llama"]), 2)
    with weights.attached():
        cache = weights.cache(64)
        for begin in (0, 8, 16):  # a record that went back further would be gone at the second step
            seen = look(weights, IDS[:, begin : begin + 7], state, cache)
            weights.learn(state, seen, IDS[:, begin + 1 : begin + 8], torch.ones(2, 7), FastRates())
            assert isinstance(cache, DynamicCache)
            assert not any(layer.keys.requires_grad or layer.values.requires_grad for layer in cache.layers)


@pytest.mark.parametrize("name", ["gpt", "qwen2"])
def test_sessions_of_a_batch_learn_as_if_alone(name: str) -> None:
    weights = suffix(MODELS[name])
    both = random_state(weights, 2)
    alone, counted = both.rows([1]), torch.ones(2, 23)
    with weights.attached():
        for state, rows in ((both, slice(0, 2)), (alone, slice(1, 2))):
            weights.learn(state, look(weights, IDS[rows, :-1], state), IDS[rows, 1:], counted[rows], FastRates())
        before = look(weights, IDS, both).logits_STV
        both.put([0], random_state(weights, 1, seed=5))
        after = look(weights, IDS, both).logits_STV
    for one, other in zip(both.rows([1]).tensors().values(), alone.tensors().values(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)
    assert before is not None
    assert after is not None
    assert torch.equal(before[1], after[1])
    assert not torch.equal(before[0], after[0])


def test_the_model_is_as_it_was_whatever_happens() -> None:
    model = MODELS["llama"]
    weights = suffix(model)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    def fails(*args: Any) -> None:
        raise KeyboardInterrupt

    def interrupted() -> None:
        with weights.attached():
            state = random_state(weights, 2)
            look(weights, IDS, state)
            handle = weights.norm.register_forward_hook(fails)  # in the middle of what is recorded
            try:
                look(weights, IDS, state)
            finally:
                handle.remove()

    with torch.no_grad():
        with pytest.raises(KeyboardInterrupt):
            interrupted()
        assert not torch.is_grad_enabled()
    assert torch.is_grad_enabled()
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_what_each_block_adds_is_bounded() -> None:
    weights = suffix(MODELS["gpt"])
    state = weights.fresh()
    with weights.attached():
        for _ in range(50):
            seen = look(weights, IDS[:1, :-1], state)
            weights.learn(state, seen, IDS[:1, 1:], torch.ones(1, 23), FastRates(step=20.0, trust=0.1))
    for mlp, inner in zip(state.mlp.chunk(2, -1), seen.inner_STR.chunk(2, -1), strict=True):
        added = (inner @ mlp.mT).square().mean().sqrt()
        assert float(added) <= 0.1 * float(seen.stream_STD.square().mean().sqrt()) * 1.001


def test_all_blocks_together_stay_within_the_share() -> None:
    model = GPT(GPTConfig(**{**SMALL, "vocab_size": 1000, "hidden_size": 64, "intermediate_size": 200}))
    parameters = sum(parameter.numel() for parameter in model.parameters())
    for share in (0.02, 0.05, 0.1):
        weights = suffix(model, share)
        assert len({len(reads) for reads in weights.reads_RF}) == 1
        assert weights.numbers <= share * parameters
    assert not torch.equal(weights.reads_RF[0], weights.reads_RF[1])


def test_what_cannot_adapt_is_said() -> None:
    config = Qwen2Config(**SMALL, use_sliding_window=True, sliding_window=8, max_window_layers=2)
    with pytest.raises(ModelError, match="suffix mode"):
        suffix(Qwen2ForCausalLM(config))
