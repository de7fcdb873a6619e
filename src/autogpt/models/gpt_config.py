"""The shape of our GPT, as a `transformers` configuration."""

from __future__ import annotations

from typing import Any, Literal

from huggingface_hub.dataclasses import strict
from transformers.configuration_utils import PreTrainedConfig

__all__ = ["GATE_INPUTS", "GPTConfig"]

GATE_INPUTS = 32
"""Dimensions of the residual stream that open and close the gates of value embeddings."""


@strict
class GPTConfig(PreTrainedConfig):
    """The shape of a GPT.

    Attributes:
        hidden_size: width of the residual stream; a multiple of `num_attention_heads`.
        num_key_value_heads: None for as many as attention heads; otherwise a divisor of them.
        intermediate_size: width inside the feed-forward branch.
        max_position_embeddings: the context trained for; a hard limit for learned positions only.
        mlp: "swiglu", "relu2", or "gelu" (Hendrycks & Gimpel 2016, the tanh form), as GPT-2 has it.
        norm: "rms", or "layer" (Ba et al. 2016), as GPT-2 has it.
        bias: whether the products inside the blocks have biases, as GPT-2's have.
        position: "rope", "learned" or "sinusoidal" (Vaswani et al. 2017).
        qk_norm: RMSNorm on each head's queries and keys before rotation.
        late_key_heads: in so many key-value heads a token is found by the key of the token before it, so that one layer
            can copy what followed an earlier occurrence (smeared keys, Olsson et al. 2022; a whole head here, and
            nothing learnt).
        value_embeddings: in every second layer, the last among them, a token brings a learnt vector of its own to the
            values, behind a gate for each head (Zhou et al. 2024, "Value residual learning"; gated as in nanochat).
        residual_scalars: each layer reads a learnt mix of the residual stream and of the embeddings.
        dropout: on the embeddings and on both residual branches. Not on attention weights: on a CPU that would
            leave the fused attention kernel.
        initializer_range: standard deviation of fresh token embeddings and of a fresh untied head.
    """

    model_type = "autogpt"
    keys_to_ignore_at_inference = ("past_key_values",)

    vocab_size: int = 4096
    hidden_size: int = 256
    num_hidden_layers: int = 6
    num_attention_heads: int = 4
    num_key_value_heads: int | None = None
    intermediate_size: int = 704
    max_position_embeddings: int = 512
    mlp: Literal["swiglu", "relu2", "gelu"] = "swiglu"
    norm: Literal["rms", "layer"] = "rms"
    bias: bool = False
    position: Literal["rope", "learned", "sinusoidal"] = "rope"
    qk_norm: bool = False
    late_key_heads: int = 0
    value_embeddings: bool = False
    residual_scalars: bool = False
    tie_word_embeddings: bool = True
    dropout: float = 0.0
    rope_theta: float = 10000.0
    rms_norm_eps: float = 1e-6
    initializer_range: float = 0.02
    use_cache: bool = True
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None
    pad_token_id: int | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        if self.num_key_value_heads is None:
            self.num_key_value_heads = self.num_attention_heads
        super().__post_init__(**kwargs)

    def validate_architecture(self) -> None:
        """Called by `@strict` after construction; raises ValueError for a shape that cannot be built."""
        known = {
            "mlp": ("swiglu", "relu2", "gelu"),
            "position": ("rope", "learned", "sinusoidal"),
            "norm": ("rms", "layer"),
        }
        for name, values in known.items():
            if getattr(self, name) not in values:
                raise ValueError(f"no such {name}: {getattr(self, name)!r}, expected one of {', '.join(values)}")
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(f"hidden_size {self.hidden_size} is not a multiple of {self.num_attention_heads} heads")
        if self.num_attention_heads % (self.num_key_value_heads or self.num_attention_heads):
            raise ValueError(
                f"{self.num_attention_heads} heads cannot share {self.num_key_value_heads} key-value heads"
            )
        if self.position == "rope" and self.head_dim % 2:
            raise ValueError(f"rotary positions need an even head size, found {self.head_dim}")
        if self.position == "sinusoidal" and self.hidden_size % 2:
            raise ValueError(f"sinusoidal positions need an even hidden_size, found {self.hidden_size}")
        if not 0 <= self.late_key_heads <= (self.num_key_value_heads or self.num_attention_heads):
            raise ValueError(f"late_key_heads is {self.late_key_heads}, expected at most the number of key-value heads")
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"dropout is {self.dropout}, expected 0 to 1, 1 excluded")

    @property
    def head_dim(self) -> int:
        return self.hidden_size // self.num_attention_heads

    @property
    def kv_size(self) -> int:
        """Width of keys and of values, over all key-value heads."""
        return (self.num_key_value_heads or self.num_attention_heads) * self.head_dim

    def has_value_embedding(self, layer_idx: int) -> bool:
        return self.value_embeddings and (self.num_hidden_layers - 1 - layer_idx) % 2 == 0

    @property
    def is_llama_shaped(self) -> bool:
        """Whether `LlamaForCausalLM` computes the same from the same weights (dropout is training's; not counted)."""
        extras = (
            self.bias
            or self.norm != "rms"
            or self.qk_norm
            or self.late_key_heads
            or self.value_embeddings
            or self.residual_scalars
        )
        return self.mlp == "swiglu" and self.position == "rope" and not extras
