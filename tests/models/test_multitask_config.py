"""The shape of a multi-task GPT: its defaults, what cannot be, the plain shape inside it, and what it costs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from huggingface_hub.errors import StrictDataclassError

from autogpt.errors import ModelError
from autogpt.models.gpt import GPT
from autogpt.models.gpt_config import GPTConfig
from autogpt.models.latent import LatentGPT, LatentGPTConfig
from autogpt.models.multitask import MultitaskGPT
from autogpt.models.multitask_config import MultitaskGPTConfig
from autogpt.models.sizing import flops_per_token, parameters, parameters_without_embeddings


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"tasks": 0}, "tasks is 0"),
        ({"adapter_rank": 0}, "adapter_rank is 0"),
        ({"adapter_scale": 0.0}, "adapter_scale is 0.0"),
        ({"sharing": "own", "adapters": 3}, "adapters is 3, expected 2 with sharing 'own'"),
        ({"adapters": 2}, "adapters is 2, expected 0 with sharing 'shared'"),
        ({"sharing": "attention", "adapters": 0}, "adapters is 0, expected 1 or more"),
    ],
)
def test_what_cannot_be_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(StrictDataclassError, match=message):
        MultitaskGPTConfig(**fields)


def test_models_that_cannot_be_made_are_refused(make: Callable[..., GPT]) -> None:
    with pytest.raises(ModelError, match=r"needs a start token.*found bos_token_id None"):
        MultitaskGPT(MultitaskGPTConfig())
    with pytest.raises(ModelError, match=r"needs a start token.*found bos_token_id 400; expected 0 to 319"):
        MultitaskGPT.from_gpt(make(bos_token_id=400), tasks=2)
    latent = LatentGPT(LatentGPTConfig(vocab_size=8, hidden_size=8, num_hidden_layers=1, bos_token_id=0))
    with pytest.raises(ModelError, match="starts from a plain GPT; found LatentGPT"):
        MultitaskGPT.from_gpt(latent, tasks=2)


def test_the_plain_shape_is_that_of_a_gpt() -> None:
    shape = {"hidden_size": 64, "num_attention_heads": 2, "dropout": 0.1, "bos_token_id": 3}
    config = MultitaskGPTConfig(**shape, tasks=4, sharing="own", uncertainty=True)
    assert (config.adapters, MultitaskGPTConfig(tasks=4).adapters) == (4, 0)
    assert type(config.plain()) is GPTConfig
    assert config.plain().to_dict() == GPTConfig(**shape).to_dict()
    assert not config.is_llama_shaped
    assert config.plain().is_llama_shaped


@pytest.mark.parametrize(
    "sharing", [{}, {"sharing": "own"}, {"sharing": "attention"}, {"sharing": "attention", "adapters": 5}]
)
@pytest.mark.parametrize("fields", [{}, {"uncertainty": True, "position": "learned", "mlp": "relu2", "bias": True}])
def test_sizes_are_those_of_the_model(fields: dict[str, Any], sharing: dict[str, Any]) -> None:
    shape = {"vocab_size": 320, "hidden_size": 32, "num_attention_heads": 4, "num_key_value_heads": 2}
    config = MultitaskGPTConfig(**shape, num_hidden_layers=3, tasks=3, bos_token_id=2, **fields, **sharing)
    model, plain = MultitaskGPT(config), config.plain()
    assert parameters(config) == sum(p.numel() for p in model.parameters())
    body = [p for name, p in model.named_parameters() if "embed" not in name and "lm_head" not in name]
    assert parameters_without_embeddings(config) == sum(p.numel() for p in body)
    thin = sum(p[0].numel() for name, p in model.named_parameters() if name.endswith(".outer"))
    thin += sum(p.numel() for name, p in model.named_parameters() if name.endswith(".inner"))
    assert flops_per_token(config, 64) - flops_per_token(plain, 64) == 6 * thin
