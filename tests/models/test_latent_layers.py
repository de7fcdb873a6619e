"""The parts that differ between components, against the same parts with their weights multiplied out."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from autogpt.models.gpt import Linear
from autogpt.models.latent_config import LatentGPTConfig
from autogpt.models.latent_layers import LatentLinear, LatentNorm

CONFIG = LatentGPTConfig(hidden_size=16, num_attention_heads=2, latents=3, latent_rank=2, latent_scale=0.5)


def _random(module: torch.nn.Module) -> None:
    torch.manual_seed(0)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.5)


@pytest.mark.parametrize("bias", [True, False])
def test_each_row_meets_the_matrix_of_its_component(bias: bool) -> None:
    linear = LatentLinear(Linear(16, 5, bias=bias), CONFIG)
    _random(linear)
    x, latent = torch.randn(4, 7, 16), torch.tensor([2, 0, 2, 1])
    y = linear(x, latent)
    for row, z in enumerate(latent.tolist()):
        weight = linear.merged(z)["weight"]
        torch.testing.assert_close(weight, linear.weight + 0.5 * linear.outer[z] @ linear.inner)
        torch.testing.assert_close(y[row], F.linear(x[row], weight, linear.bias), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["rms", "layer"])
def test_each_row_meets_the_gains_of_its_component(kind: str) -> None:
    norm = LatentNorm(LatentGPTConfig(hidden_size=16, num_attention_heads=2, latents=3, norm=kind))  # type: ignore[arg-type]
    _random(norm)
    x, latent = torch.randn(3, 4, 16), torch.tensor([1, 1, 0])
    y = norm(x, latent)
    for row, z in enumerate(latent.tolist()):
        merged = norm.merged(z)
        if kind == "rms":
            expected = F.rms_norm(x[row], (16,), merged["weight"], norm.eps)
        else:
            expected = F.layer_norm(x[row], (16,), merged["weight"], merged["bias"], norm.eps)
        torch.testing.assert_close(y[row], expected, atol=1e-5, rtol=1e-5)
