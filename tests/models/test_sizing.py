"""The arithmetic of sizes against real models: exact parameter counts, counted operations, saved bytes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from autogpt.data.batching import Batch
from autogpt.errors import ConfigError
from autogpt.models.gpt import GPT
from autogpt.models.latent import LatentGPT, LatentGPTConfig
from autogpt.models.sizing import (
    activation_bytes,
    flops_per_token,
    parameters,
    parameters_without_embeddings,
    shape_for,
    shape_of,
)
from autogpt.training.mixture import Mixture

FEATURES: list[dict[str, Any]] = [
    {},
    {"mlp": "relu2", "qk_norm": True},
    {"value_embeddings": True, "residual_scalars": True},
    {"position": "learned", "mlp": "gelu", "norm": "layer", "bias": True},
    {"position": "learned", "tie_word_embeddings": False},
    {"position": "sinusoidal", "num_heads": 2},
]


def small(**features: Any) -> Any:
    heads = features.pop("num_heads", None)
    shape = shape_for(128, depth=3, vocab_size=512, context=64, **features)
    if heads:
        shape.num_key_value_heads = heads
    return shape


@pytest.mark.parametrize("features", FEATURES)
def test_parameters_are_those_of_the_model(features: dict[str, Any]) -> None:
    config = small(**features)
    model = GPT(config)
    assert parameters(config) == sum(p.numel() for p in model.parameters())
    body = [p for name, p in model.named_parameters() if "embed" not in name and "lm_head" not in name]
    assert parameters_without_embeddings(config) == sum(p.numel() for p in body)


@pytest.mark.parametrize("features", FEATURES)
def test_flops_are_those_that_pytorch_counts(features: dict[str, Any]) -> None:
    config = small(**features)
    model, ids = GPT(config).train(), torch.randint(0, 512, (2, 64))
    with FlopCounterMode(display=False) as counter, torch.autocast("cpu", dtype=torch.bfloat16):
        model(ids, labels=ids).loss.backward()
    # Besides the products that we count, PyTorch counts the norms' sums over rows: less than a thousandth.
    assert counter.get_total_flops() == pytest.approx(flops_per_token(config, 64) * ids.numel(), rel=1e-3)


@pytest.mark.parametrize("features", FEATURES)
def test_activation_bytes_are_those_that_autograd_keeps(features: dict[str, Any]) -> None:
    config = small(**features)
    model, ids = GPT(config).train(), torch.randint(0, 512, (4, 64))
    weights = {parameter.data_ptr() for parameter in model.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        # The bf16 copies of the weights are counted with the weights.
        if storage.data_ptr() not in weights and not _is_weight_copy(tensor, config):
            kept[storage.data_ptr()] = storage  # held, so that no address is used twice
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out = model.model(ids).last_hidden_state
        found = sum(storage.nbytes() for storage in kept.values())
    assert out.requires_grad
    assert activation_bytes(config, ids.numel()) == pytest.approx(found, rel=0.1)


def _is_weight_copy(tensor: torch.Tensor, config: Any) -> bool:
    return tensor.ndim == 2 and 256 not in tensor.shape


# --- a latent-variable GPT -------------------------------------------------------------------------------------------

LATENT: list[dict[str, Any]] = [
    {},
    {"mlp": "relu2", "qk_norm": True, "latent_layers": 2, "latents": 8},
    {"value_embeddings": True, "residual_scalars": True, "tie_word_embeddings": False, "latent_rank": 8},
    {"position": "learned", "mlp": "gelu", "norm": "layer", "bias": True, "latents": 2},
    {"num_heads": 2, "latent_layers": 3},
]


def latent(**features: Any) -> LatentGPTConfig:
    own = {name: features.pop(name) for name in ("latents", "latent_rank", "latent_layers") if name in features}
    plain = small(**features).to_dict()
    del plain["model_type"]
    return LatentGPTConfig(**plain, **own)


@pytest.mark.parametrize("features", LATENT)
def test_parameters_of_a_latent_model_are_those_of_the_model(features: dict[str, Any]) -> None:
    config = latent(**features)
    model = LatentGPT(config)
    assert parameters(config) == sum(p.numel() for p in model.parameters())
    body = [p for name, p in model.named_parameters() if "embed" not in name and "lm_head" not in name]
    assert parameters_without_embeddings(config) == sum(p.numel() for p in body)


@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize("features", LATENT)
def test_flops_of_a_latent_model_are_those_of_its_objective(features: dict[str, Any], dropout: float) -> None:
    config = latent(**features, dropout=dropout)
    model, ids = LatentGPT(config).train(), torch.randint(0, 512, (4, 64))
    weights = torch.ones(4, 64)
    batch = Batch(ids, ids, weights, torch.ones_like(ids), 256, 252)
    with FlopCounterMode(display=False) as counter, torch.autocast("cpu", dtype=torch.bfloat16):
        Mixture(lambda: 0.1)(model, batch).backward()
    # PyTorch does not count the kernel that attends without gradients. The last token of a row reaches no head, a 64th.
    read = config.first_latent_layer + config.latents * (config.latent_layers or 0)
    found = counter.get_total_flops() + 4 * read * 64 * config.hidden_size * ids.numel()
    assert found == pytest.approx(flops_per_token(config, 64) * ids.numel(), rel=0.015)


@pytest.mark.parametrize("features", LATENT)
def test_activation_bytes_of_a_latent_model_are_those_that_autograd_keeps(features: dict[str, Any]) -> None:
    config = latent(**features)
    model, ids = LatentGPT(config).train(), torch.randint(0, 512, (4, 64))
    weights = {parameter.data_ptr() for parameter in model.parameters()}
    copies = {shape for p in model.parameters() if p.ndim == 2 for shape in (p.shape, p.shape[::-1])}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in weights and tensor.shape not in copies:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            model.model(ids, latent=torch.zeros(4, dtype=torch.long))
        found = sum(storage.nbytes() for storage in kept.values())
    assert activation_bytes(config, ids.numel()) == pytest.approx(found, rel=0.15)


def test_the_dial() -> None:
    wide = shape_for(512, vocab_size=8192, context=512)
    assert (wide.num_hidden_layers, wide.num_attention_heads, wide.num_key_value_heads, wide.head_dim) == (8, 8, 4, 64)
    assert wide.intermediate_size == 1376
    assert (wide.vocab_size, wide.max_position_embeddings) == (8192, 512)
    tiny = shape_for(32, vocab_size=300, context=64)
    assert (tiny.num_hidden_layers, tiny.num_attention_heads, tiny.head_dim) == (2, 1, 32)
    assert shape_for(200, vocab_size=300, context=64).hidden_size == 192
    assert shape_for(256, vocab_size=300, context=64, mlp="relu2").intermediate_size == 1024
    assert shape_for(256, depth=5, vocab_size=300, context=64, qk_norm=True, eos_token_id=7).eos_token_id == 7
    sizes = [parameters(shape_for(width, vocab_size=4096, context=256)) for width in range(32, 1024, 32)]
    assert sizes == sorted(sizes)
    assert all(
        shape_for(width, vocab_size=300, context=64).intermediate_size % 32 == 0 for width in range(32, 1024, 48)
    )


@pytest.mark.parametrize("shape", [{"width": 16}, {"width": 64, "depth": 0}])
def test_no_such_shape(shape: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="cannot have this shape"):
        shape_for(vocab_size=300, context=64, **shape)


# --- the shape of a configuration ------------------------------------------------------------------------------------

PLAIN = {"width": 128, "depth": 3, "block": "relu2", "late_keys": False, "dropout": 0.1}


@pytest.mark.parametrize(
    ("config", "shape"),
    [
        (PLAIN, {"mlp": "relu2", "dropout": 0.1}),
        ({**PLAIN, "block": "llama", "late_keys": True}, {"mlp": "swiglu", "late_keys": True, "dropout": 0.1}),
        ({**PLAIN, "width": 512, "depth": 6}, {"width": 512, "depth": 6, "mlp": "relu2", "dropout": 0.1}),
    ],
)
def test_what_a_configuration_does_not_name_is_that_of_the_dial(config: dict[str, Any], shape: dict[str, Any]) -> None:
    expected = shape_for(**{"width": 128, "depth": 3, "vocab_size": 300, "context": 160, **shape})
    found = shape_of({**config, "lr": 1e-3, "start": "scratch"}, vocab_size=300, context=160)
    assert found.to_dict() == expected.to_dict()


def test_short_contexts_leave_room_for_longer_questions() -> None:
    assert shape_of(PLAIN, vocab_size=300, context=64).max_position_embeddings == 128


@pytest.mark.parametrize(
    ("asked", "fields"),
    [
        ({"latents": 1}, {"model_type": "autogpt"}),
        ({"head_size": 64}, {"num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 64}),
        ({"width": 288, "head_size": 32}, {"hidden_size": 288, "num_attention_heads": 9}),
        ({"query_groups": 4}, {"num_attention_heads": 4, "num_key_value_heads": 1}),
        ({"width": 512, "query_groups": 1}, {"num_attention_heads": 8, "num_key_value_heads": 8}),
        ({"query_groups": 2, "late_keys": True}, {"num_key_value_heads": 2, "late_key_heads": 1}),
        ({"mlp_ratio": 2.6}, {"intermediate_size": 352}),
        ({"mlp_ratio": 1, "block": "llama"}, {"intermediate_size": 128, "mlp": "swiglu"}),
        ({"position": "learned", "qk_norm": True}, {"position": "learned", "qk_norm": True}),
        ({"position": "sinusoidal", "residual_scalars": True}, {"position": "sinusoidal", "residual_scalars": True}),
        ({"value_embeddings": True, "query_groups": 2}, {"value_embeddings": True, "kv_size": 64}),
        ({"tie_word_embeddings": False}, {"tie_word_embeddings": False}),
    ],
)
def test_what_it_names_is_what_the_model_has(asked: dict[str, Any], fields: dict[str, Any]) -> None:
    """Each can be built, computes, and has as many parameters as counted."""
    shape = shape_of({**PLAIN, **asked}, vocab_size=300, context=128)
    assert {name: getattr(shape, name) for name in fields} == fields
    model = GPT(shape)
    assert sum(p.numel() for p in model.parameters()) == parameters(shape)
    assert model(torch.randint(0, 300, (2, 16))).logits.isfinite().all()


@pytest.mark.parametrize("more", [{}, {"late_keys": True, "query_groups": 2}, {"block": "llama", "mlp_ratio": 2}])
def test_several_latents_make_the_same_shape_a_mixture(more: dict[str, Any]) -> None:
    plain = shape_of({**PLAIN, **more}, vocab_size=300, context=128)
    mixed = shape_of({**PLAIN, **more, "latents": 4}, vocab_size=300, context=128)
    assert isinstance(mixed, LatentGPTConfig)
    assert mixed.latents == 4
    assert mixed.plain().to_dict() == plain.to_dict()


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"width": 100}, "found width 100; expected a multiple of its head size 32"),
        ({"width": 192, "head_size": 128}, "found width 192; expected a multiple of its head size 128"),
        ({"query_groups": 8}, r"4 query heads \(width 128, head size 32\), 8 for each key-value head"),
        ({"width": 96, "query_groups": 2}, "3 query heads .* expected query_groups that divide them"),
        ({"position": "absolute"}, "no such position: 'absolute'"),
        ({"depth": 0}, "depth 0"),
    ],
)
def test_shapes_that_no_model_can_have(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"cannot have this shape.*{message}"):
        shape_of({**PLAIN, **asked}, vocab_size=300, context=128)
