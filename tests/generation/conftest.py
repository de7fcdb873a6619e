"""A tokenizer and tiny models whose weights are all drawn at random: fresh ones copy their input."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from autogpt.data.tokenizers import train_tokenizer
from autogpt.generation.engine import Engine
from autogpt.models.gpt import GPT
from autogpt.models.gpt_config import GPTConfig

TEXTS = ["the cat sat on the mat", "今天天气很好，我们去公园", "a bird, a plane", "好的", "1 2 3 4 five 😀 six"]
SHAPE: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 96,
}


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer(TEXTS * 3, 400)


@pytest.fixture(scope="session")
def make_engine(tokenizer: PreTrainedTokenizerFast) -> Callable[..., Engine]:
    """An engine of a GPT, or of `kind` "llama" or "qwen2"; further fields are the configuration's."""

    def made(
        seed: int = 1, *, kind: str = "gpt", noise: float = 0.2, context: int | None = None, **fields: Any
    ) -> Engine:
        torch.manual_seed(seed)
        shape = {**SHAPE, "vocab_size": len(tokenizer), **fields}
        model: Any
        match kind:
            case "gpt":
                model = GPT(GPTConfig(**shape))
            case "llama":
                model = LlamaForCausalLM(LlamaConfig(**shape))
            case _:
                model = Qwen2ForCausalLM(Qwen2Config(**shape))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter) * noise)
        return Engine(model, tokenizer, context=context)

    return made


class Silent:
    """A follower that does nothing."""

    tail, hooked = None, ()

    def about_to_read(self, rows: list[int]) -> None: ...
    def has_read(self, rows: list[int], tokens_B: torch.Tensor | None) -> None: ...


@pytest.fixture
def silent() -> Silent:
    return Silent()
