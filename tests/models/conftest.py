"""Tiny models and a tokenizer for the tests of this folder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from autogpt.data.tokenizers import train_tokenizer
from autogpt.models.gpt import GPT
from autogpt.models.gpt_config import GPTConfig

TEXTS = ["The capital of France is Paris.", "你好，世界！今天天气很好。", "def f(x):\n    return 2 * x  # twice"] * 4


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer(TEXTS, 320)


@pytest.fixture
def make() -> Callable[..., GPT]:
    """A GPT of width 32 with every weight drawn at random: fresh ones start as the identity, which proves nothing."""

    def made(seed: int = 0, **fields: Any) -> GPT:
        shape: dict[str, Any] = {
            "vocab_size": 320,
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "intermediate_size": 64,
            "max_position_embeddings": 64,
        }
        torch.manual_seed(seed)
        model = GPT(GPTConfig(**{**shape, **fields}))
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim > 1:
                    parameter.normal_(std=0.2)
                else:
                    parameter.uniform_(0.5, 1.5)
        return model.eval()

    return made
