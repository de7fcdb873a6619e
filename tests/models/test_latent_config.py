"""The shape of a latent-variable GPT: its defaults, what cannot be, and the plain shape inside it."""

from __future__ import annotations

from typing import Any

import pytest
from huggingface_hub.errors import StrictDataclassError

from autogpt.models.gpt_config import GPTConfig
from autogpt.models.latent_config import LatentGPTConfig


@pytest.mark.parametrize(("layers", "suffix"), [(1, 1), (4, 1), (5, 2), (8, 2), (9, 3)])
def test_a_quarter_of_the_layers_rounded_up_differs(layers: int, suffix: int) -> None:
    config = LatentGPTConfig(num_hidden_layers=layers)
    assert (config.latent_layers, config.first_latent_layer) == (suffix, layers - suffix)


@pytest.mark.parametrize(
    "fields", [{"latents": 0}, {"latent_rank": 0}, {"latent_scale": 0.0}, {"latent_layers": 0}, {"latent_layers": 7}]
)
def test_what_cannot_be_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(StrictDataclassError, match=r"latents|latent_rank|latent_scale|latent_layers"):
        LatentGPTConfig(num_hidden_layers=6, **fields)


def test_the_plain_shape_is_that_of_a_gpt() -> None:
    shape = {"hidden_size": 64, "num_attention_heads": 2, "mlp": "relu2", "dropout": 0.1, "eos_token_id": 3}
    latent = LatentGPTConfig(**shape, latents=2)
    assert type(latent.plain()) is GPTConfig
    assert latent.plain().to_dict() == GPTConfig(**shape).to_dict()


def test_only_a_component_may_be_a_llama() -> None:
    config = LatentGPTConfig()
    assert not config.is_llama_shaped
    assert config.plain().is_llama_shaped
