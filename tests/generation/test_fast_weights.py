"""Fast weights: their gradients against finite differences, the model untouched, sessions apart."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from autogpt.errors import ConfigError, ModelError
from autogpt.generation.fast_weights import FastRates, FastState, FastWeights, Seen, ranks, unit
from autogpt.models.gpt import GPT, GPTConfig
from autogpt.models.latent import LatentGPT, LatentGPTConfig

SMALL = {
    "vocab_size": 50,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
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
IDS = torch.randint(0, 50, (2, 12), generator=torch.Generator().manual_seed(1))


def random_state(weights: FastWeights, sessions: int, seed: int = 0) -> FastState:
    generator = torch.Generator().manual_seed(seed)
    state = weights.fresh(sessions)
    for tensor in state.tensors().values():
        tensor.normal_(std=0.1, generator=generator)
    return state


def look(weights: FastWeights, ids: torch.Tensor, state: FastState | None) -> Seen:
    with weights.attached(), torch.no_grad():
        weights.use(state)
        weights.model(input_ids=ids, use_cache=False)
        assert weights.seen is not None
        return weights.seen


@pytest.mark.parametrize("name", MODELS)
def test_fresh_ones_change_nothing_and_others_go_through_model_and_replay_alike(name: str) -> None:
    model, weights = MODELS[name], FastWeights(MODELS[name], share=0.1)
    with torch.no_grad():
        plain = model(input_ids=IDS).logits
    for state in (None, weights.fresh(2)):
        torch.testing.assert_close(look(weights, IDS, state).logits_STV, plain)
    state = random_state(weights, 2)
    moved = look(weights, IDS, state)
    assert moved.logits_STV is not None
    assert float((moved.logits_STV - plain).abs().max()) > 0.1
    # What was seen by the plain model gives the same scores under these fast weights: no hidden state depends on them.
    with torch.no_grad():
        torch.testing.assert_close(weights.scores(look(weights, IDS, None), state), moved.logits_STV)
        torch.testing.assert_close(model(input_ids=IDS).logits, plain)


@pytest.mark.parametrize("name", ["gpt", "gpt2 shape"])
def test_the_short_way_for_one_token_gives_the_same(name: str) -> None:
    weights = FastWeights(MODELS[name], share=0.1)
    state, inner, streams = random_state(weights, 2), list[torch.Tensor](), list[torch.Tensor]()
    handles = [
        weights.down.register_forward_pre_hook(lambda module, args: inner.append(args[0][:, -1])),
        weights.norm.register_forward_pre_hook(lambda module, args: streams.append(args[0][:, -1])),
    ]
    with torch.no_grad():
        MODELS[name](input_ids=IDS, use_cache=False)
    for handle in handles:
        handle.remove()
    expected = look(weights, IDS, state)
    assert expected.logits_STV is not None
    weights.use(state)
    with torch.no_grad():
        torch.testing.assert_close(weights.tail(inner[0], streams[0]), expected.logits_STV[:, -1])
    weights.use(None)


@pytest.mark.parametrize("name", ["gpt", "gpt2 shape", "llama"])
def test_a_step_follows_the_gradient(name: str) -> None:
    weights = FastWeights(MODELS[name], share=0.1)
    state = random_state(weights, 2)
    state.head.zero_()  # what it would pass back to the feed-forward's is left out
    seen, targets = look(weights, IDS[:, :-1], state), IDS[:, 1:]
    counted = torch.rand(targets.shape, generator=torch.Generator().manual_seed(2))
    leaves = FastState(*(tensor.clone().requires_grad_() for tensor in state.tensors().values()))
    heard = unit(weights.norm(seen.stream_STD + seen.inner_STR @ leaves.mlp.mT) @ weights.reads_CD.T).detach()
    logits = weights.head(weights.norm(seen.stream_STD + seen.inner_STR @ leaves.mlp.mT))
    logits = logits + leaves.bias[:, None] + heard @ leaves.head.mT
    loss = (F.cross_entropy(logits.transpose(1, 2), targets, reduction="none") * counted).sum()
    gradients = torch.autograd.grad(loss, list(leaves.tensors().values()))
    before = [tensor.clone() for tensor in state.tensors().values()]
    weights.learn(state, seen, targets, counted, FastRates(step=0.01, trust=10.0))
    moved = [new - old for new, old in zip(state.tensors().values(), before, strict=True)]
    for step, gradient in zip(moved, gradients, strict=True):
        for session in range(2):  # the same direction, and in the sums' case the same length too
            assert float(F.cosine_similarity(step[session].flatten(), -gradient[session].flatten(), dim=0)) > 0.9999
    torch.testing.assert_close(moved[1], -0.01 * 1.5 / 64 * gradients[1], rtol=1e-3, atol=1e-7)
    torch.testing.assert_close(moved[2], -0.01 * 5.0 / 64 * gradients[2], rtol=1e-3, atol=1e-7)
    units = counted.sum(-1) / 64
    torch.testing.assert_close(moved[0].square().mean((1, 2)).sqrt(), 0.01 * 0.015 * units, rtol=1e-3, atol=1e-8)


def test_the_gradient_of_the_bias_by_finite_differences() -> None:
    weights = FastWeights(MODELS["gpt"], share=0.1)
    state = random_state(weights, 1)
    seen, targets = look(weights, IDS[:1, :-1], state), IDS[:1, 1:]
    token, eps = int(targets[0, 0]), 1e-2
    ends = []
    for sign in (1, -1):
        moved = FastState(state.mlp, state.head, state.bias.clone())
        moved.bias[0, token] += sign * eps
        ends.append(float(weights.nats(moved, Seen(seen.inner_STR, seen.stream_STD), targets).sum()))
    stepped = state.rows([0])
    weights.learn(stepped, seen, targets, torch.ones_like(targets, dtype=torch.float32), FastRates(trust=10.0))
    found = float((state.bias - stepped.bias)[0, token]) / (5.0 / 64)
    assert found == pytest.approx((ends[0] - ends[1]) / (2 * eps), rel=2e-3)


def test_sessions_of_a_batch_learn_as_if_alone() -> None:
    weights = FastWeights(MODELS["gpt"], share=0.1)
    both = random_state(weights, 2)
    alone = both.rows([1])
    counted = torch.ones(2, 11)
    weights.learn(both, look(weights, IDS[:, :-1], both), IDS[:, 1:], counted, FastRates(decay=0.1))
    weights.learn(alone, look(weights, IDS[1:, :-1], alone), IDS[1:, 1:], counted[:1], FastRates(decay=0.1))
    for one, other in zip(both.rows([1]).tensors().values(), alone.tensors().values(), strict=True):
        torch.testing.assert_close(one, other)


def test_another_session_changes_no_score() -> None:
    weights = FastWeights(MODELS["gpt"], share=0.1)
    state = random_state(weights, 2)
    before = look(weights, IDS, state).logits_STV
    state.put([0], random_state(weights, 1, seed=5))
    after = look(weights, IDS, state).logits_STV
    assert before is not None
    assert after is not None
    assert torch.equal(before[1], after[1])
    assert not torch.equal(before[0], after[0])


def test_the_model_is_as_it_was_whatever_happens() -> None:
    model = MODELS["llama"]
    weights = FastWeights(model)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    def fails() -> None:
        with weights.attached():
            weights.use(random_state(weights, 2))
            model(input_ids=IDS)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fails()
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_what_is_added_is_bounded() -> None:
    weights = FastWeights(MODELS["gpt"], share=0.1)
    state = weights.fresh()
    for _ in range(200):
        seen = look(weights, IDS[:1, :-1], state)
        weights.learn(state, seen, IDS[:1, 1:], torch.ones(1, 11), FastRates(step=20.0, trust=0.1))
    added = (seen.inner_STR @ state.mlp.mT).square().mean().sqrt()
    assert float(added) <= 0.1 * float(seen.stream_STD.square().mean().sqrt()) * 1.001
    assert float(state.bias.abs().max()) <= 8.0


def test_decay_forgets() -> None:
    weights = FastWeights(MODELS["gpt"], share=0.1)
    state = random_state(weights, 1)
    was = state.bias.clone()
    seen = look(weights, IDS[:1, :-1], state)
    weights.learn(state, seen, IDS[:1, 1:], torch.full((1, 11), 64 / 11), FastRates(step=0.0, decay=0.25))
    torch.testing.assert_close(state.bias, 0.75 * was)


def test_ranks_stay_within_their_share() -> None:
    for parameters, head, inner in (
        (17_000_000, (16384, 384), 1024),
        (2_000_000, (4096, 192), 768),
        (1000, (50, 8), 8),
    ):
        mlp, top = ranks(parameters, head, inner, 0.01)
        assert min(mlp, top) >= 1
        if parameters > 10_000:
            assert head[0] + top * head[0] + mlp * head[1] <= 0.01 * parameters
    assert ranks(17_000_000, (16384, 384), 1024, 0.01) == (96, 4)


def test_what_cannot_adapt_is_said() -> None:
    with pytest.raises(ModelError, match="cannot adapt"):
        FastWeights(GPT2LMHeadModel(GPT2Config(vocab_size=50, n_embd=8, n_layer=1, n_head=1, n_positions=16)))
    with pytest.raises(ConfigError, match="adaptation step"):
        FastRates(step=-1.0)


def test_a_model_in_half_precision_writes_and_learns() -> None:
    weights = FastWeights(copy.deepcopy(MODELS["gpt"]).to(torch.bfloat16), share=0.1)
    weights.use(random_state(weights, 2))
    with torch.no_grad():
        logits = weights.tail(torch.randn(2, 48).bfloat16(), torch.randn(2, 32).bfloat16())
    assert logits.shape == (2, 50)
    assert bool(logits.isfinite().all())
    assert weights.seen is not None
    state = weights.fresh(2)
    weights.learn(state, weights.seen, torch.tensor([[3], [4]]), torch.ones(2, 1), FastRates())
    assert bool(state.bias.any())


def test_a_model_with_components_does_not_adapt() -> None:
    with pytest.raises(ModelError, match="without components"):
        FastWeights(LatentGPT(LatentGPTConfig(**SMALL, latents=2)))
