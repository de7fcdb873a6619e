"""LoRA: what it trains, that it starts as nothing, and that merging changes no answer."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from autogpt.errors import ModelError
from autogpt.models.adapters import add_lora, is_adapted, merge, trainable_parameters
from autogpt.models.gpt import GPT

Make = Callable[..., GPT]
IDS = torch.arange(12)[None]


def trained(model: GPT) -> GPT:
    """Adapters with an effect: one of their two matrices starts at zero."""
    adapted = add_lora(model, rank=4, alpha=8)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    return adapted


def test_it_starts_as_the_model_it_was(make: Make) -> None:
    before = make()(IDS).logits
    torch.testing.assert_close(add_lora(make(), rank=4, alpha=8)(IDS).logits, before)


def test_it_trains_two_matrices_beside_each_linear_layer(make: Make) -> None:
    model = make()
    assert trainable_parameters(model) == sum(p.numel() for p in model.parameters())
    adapted = add_lora(model, rank=4, alpha=8)
    sizes = [(32, 32), (32, 16), (32, 16), (32, 32), (32, 64), (32, 64), (64, 32)]  # q, k, v, o, gate, up, down
    assert trainable_parameters(adapted) == 2 * sum(4 * (size_in + size_out) for size_in, size_out in sizes)
    assert is_adapted(adapted)
    adapted(IDS, labels=IDS).loss.backward()
    with_gradient = {name for name, parameter in adapted.named_parameters() if parameter.grad is not None}
    assert with_gradient
    assert all("lora_" in name for name in with_gradient)


def test_adapters_on_bf16_weights_are_float32(make: Make) -> None:
    adapted = add_lora(make().bfloat16(), rank=2, alpha=2)
    assert {p.dtype for p in adapted.parameters() if p.requires_grad} == {torch.float32}


def test_merging_gives_a_plain_model_and_leaves_the_adapted_one(make: Make) -> None:
    adapted = trained(make()).eval()
    before = adapted(IDS).logits
    plain = merge(adapted)
    assert isinstance(plain, GPT)
    assert not is_adapted(plain)
    torch.testing.assert_close(plain(IDS).logits, before, atol=1e-4, rtol=1e-4)
    assert torch.equal(adapted(IDS).logits, before)
    assert is_adapted(adapted)
    assert not torch.allclose(before, make()(IDS).logits, atol=1e-2)


def test_a_model_without_adapters_comes_back_itself(make: Make) -> None:
    model = make()
    assert merge(model) is model


def test_layers_to_adapt_may_be_named(make: Make) -> None:
    adapted = add_lora(make(), rank=4, alpha=8, targets=("q_proj", "v_proj"))
    names = {name.split(".")[-4] for name, p in adapted.named_parameters() if p.requires_grad}
    assert names == {"q_proj", "v_proj"}


def test_names_that_the_architecture_does_not_have(make: Make) -> None:
    with pytest.raises(
        ModelError, match="no linear layer called 'query' in GPT; known: down_proj, gate_proj"
    ) as caught:
        add_lora(make(), rank=4, alpha=8, targets=("q_proj", "query"))
    assert "\n" not in str(caught.value)
    with pytest.raises(ModelError, match="did you mean 'q_proj'"):
        add_lora(make(), rank=4, alpha=8, targets=("q_pro",))
    bare = make()
    bare.model.layers = torch.nn.ModuleList()
    with pytest.raises(ModelError, match="nothing to adapt"):
        add_lora(bare, rank=4, alpha=8)
