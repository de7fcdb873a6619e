"""The GPT: one decoder-only transformer, top to bottom, as a `transformers` model.

Features, each a field of `GPTConfig`: rotary, learned or sinusoidal positions; RMSNorm before every branch; optional
norms on queries and keys (Henry et al. 2020); key heads one token late, for copying (Olsson et al. 2022); grouped-query
attention (Ainslie et al. 2023); SwiGLU (Shazeer 2020), ReLU² (So et al. 2021) or GELU feed-forward; value embeddings
(Zhou et al. 2024) and residual scalars; tied or untied head; dropout; LayerNorm and biases (GPT-2). Parameter
names and numerics are those of `LlamaForCausalLM`, so a model whose features are Llama's (`GPTConfig.is_llama_shaped`)
needs no conversion.

Shape suffixes: B batch, T tokens of this call, S tokens seen so far (cache included), D hidden size, H heads,
G key-value heads, K head size, V vocabulary.

For training: rows are padded on the right or packed, and a causal model never looks to the right, so
`attention_mask=None` is exact and fastest (labels of padding are -100). Without a cache, `position_ids` that restart at
0 keep packed rows apart. The loss in chunks: `model.model(ids).last_hidden_state`, then `model.lm_head`.

What this file does not do: attention weights as output, attention kernels other than PyTorch's scaled dot product
(with a hand-written gradient where that one is slow, see `fused`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import initialization as init
from transformers.cache_utils import Cache, DynamicCache
from transformers.generation.utils import GenerationMixin
from transformers.masking_utils import create_causal_mask
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast
from transformers.modeling_utils import PreTrainedModel
from transformers.utils.generic import can_return_tuple

from autogpt.errors import ModelError
from autogpt.models import fused
from autogpt.models.gpt_config import GATE_INPUTS, GPTConfig
from autogpt.models.sight import Sight, one_token_late, previous_tokens

__all__ = ["GPT", "GPTConfig", "GPTModel"]


class RMSNorm(nn.Module):
    """x / rms(x) * weight (Zhang & Sennrich 2019), computed in float32; under autocast returned in its dtype."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return fused.rms_norm(x, self.weight, self.eps)


class Rotary(nn.Module):
    """Cosines and sines of rotary positions (Su et al. 2021), halves rotated against each other as Llama does."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.config = config
        self.inv_freq = nn.Buffer(self.frequencies(), persistent=False)

    def frequencies(self) -> Tensor:
        """The angle per position of each pair of dimensions, [K/2]."""
        exponents = torch.arange(0, self.config.head_dim, 2, dtype=torch.float32) / self.config.head_dim
        return 1.0 / self.config.rope_theta**exponents

    @torch.no_grad()
    def forward(self, position_ids_BT: Tensor) -> tuple[Tensor, Tensor]:
        """cos and sin, each [B, T, 1, K/2] in float32."""
        angles = position_ids_BT[..., None, None].float() * self.inv_freq.float()
        return angles.cos(), angles.sin()


def _norm(config: GPTConfig) -> nn.Module:
    if config.norm == "layer":
        return nn.LayerNorm(config.hidden_size, config.rms_norm_eps)
    return RMSNorm(config.hidden_size, config.rms_norm_eps)


class Linear(nn.Linear):
    """A product. `std` is that of its fresh weights: None for 1/sqrt(fan-in), as keeps the scale."""

    def __init__(self, size_in: int, size_out: int, std: float | None = None, bias: bool = False) -> None:
        super().__init__(size_in, size_out, bias=bias)
        self.std = 1 / math.sqrt(size_in) if std is None else std


class Attention(nn.Module):
    """Causal self-attention with grouped key-value heads."""

    def __init__(self, config: GPTConfig, layer_idx: int) -> None:
        super().__init__()
        self.layer_idx = layer_idx
        self.head_dim = config.head_dim
        self.late_heads = config.late_key_heads
        self.grouped = config.num_key_value_heads != config.num_attention_heads
        kv_size = config.kv_size
        self.q_proj = Linear(config.hidden_size, config.hidden_size, bias=config.bias)
        self.k_proj = Linear(config.hidden_size, kv_size, bias=config.bias)
        self.v_proj = Linear(config.hidden_size, kv_size, bias=config.bias)
        self.o_proj = Linear(config.hidden_size, config.hidden_size, std=0.0, bias=config.bias)
        self.q_norm = RMSNorm(config.head_dim, config.rms_norm_eps) if config.qk_norm else nn.Identity()
        self.k_norm = RMSNorm(config.head_dim, config.rms_norm_eps) if config.qk_norm else nn.Identity()
        if config.has_value_embedding(layer_idx):
            self.value_gate = Linear(min(GATE_INPUTS, config.hidden_size), kv_size // config.head_dim, std=0.0)

    def forward(
        self, x_BTD: Tensor, sight: Sight, own_BTGK: Tensor | None = None, cache: Cache | None = None
    ) -> Tensor:
        """`own_BTGK`: value embeddings of the tokens."""
        B, T, _ = x_BTD.shape
        mask, rotation = sight.mask, sight.rotation
        heads = (B, T, -1, self.head_dim)
        q_BTHK, k_BTGK = self.q_norm(self.q_proj(x_BTD).view(heads)), self.k_norm(self.k_proj(x_BTD).view(heads))
        v_BTGK = self.v_proj(x_BTD).view(heads)
        if own_BTGK is not None:
            gate_BTG = 2 * torch.sigmoid(self.value_gate(x_BTD[..., : self.value_gate.in_features]))
            v_BTGK = v_BTGK + gate_BTG[..., None] * own_BTGK.to(v_BTGK.dtype)
        if rotation is not None:
            cos, sin = (part.to(q_BTHK.dtype) for part in rotation)
            q_BTHK, k_BTGK = fused.rotate(q_BTHK, cos, sin), fused.rotate(k_BTGK, cos, sin)
        q_BHTK, k_BGSK, v_BGSK = q_BTHK.transpose(1, 2), k_BTGK.transpose(1, 2), v_BTGK.transpose(1, 2)
        if cache is not None:
            k_BGSK, v_BGSK = cache.update(k_BGSK, v_BGSK, self.layer_idx)
        if self.late_heads:
            late_BGSK, timely_BGSK = k_BGSK[:, : self.late_heads], k_BGSK[:, self.late_heads :]
            k_BGSK = torch.cat((one_token_late(late_BGSK, sight.previous_BS), timely_BGSK), 1)
        if mask is None and T > 1:
            # Plainly causal, so nothing was cached before; a preallocated cache may be longer than what it holds.
            y_BHTK = fused.causal_attention(q_BHTK, k_BGSK[:, :, :T], v_BGSK[:, :, :T])
        else:
            mask = mask.to(q_BHTK.dtype) if mask is not None and mask.dtype != torch.bool else mask
            y_BHTK = F.scaled_dot_product_attention(q_BHTK, k_BGSK, v_BGSK, attn_mask=mask, enable_gqa=self.grouped)
        return self.o_proj(y_BHTK.transpose(1, 2).reshape(B, T, -1))


class SwiGLU(nn.Module):
    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.gate_proj = Linear(config.hidden_size, config.intermediate_size, bias=config.bias)
        self.up_proj = Linear(config.hidden_size, config.intermediate_size, bias=config.bias)
        self.down_proj = Linear(config.intermediate_size, config.hidden_size, std=0.0, bias=config.bias)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x_BTD)) * self.up_proj(x_BTD))


class PlainMLP(nn.Module):
    """Two products with ReLU² or GELU between them."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.up_proj = Linear(config.hidden_size, config.intermediate_size, bias=config.bias)
        self.down_proj = Linear(config.intermediate_size, config.hidden_size, std=0.0, bias=config.bias)
        self.squared = config.mlp == "relu2"

    def forward(self, x_BTD: Tensor) -> Tensor:
        inner_BTF = self.up_proj(x_BTD)
        return self.down_proj(F.relu(inner_BTF).square() if self.squared else F.gelu(inner_BTF, approximate="tanh"))


class Block(GradientCheckpointingLayer):
    """One layer: attention and feed-forward, each behind a norm and added to the residual stream."""

    def __init__(self, config: GPTConfig, layer_idx: int) -> None:
        super().__init__()
        self.self_attn = Attention(config, layer_idx)
        self.mlp = SwiGLU(config) if config.mlp == "swiglu" else PlainMLP(config)
        self.input_layernorm, self.post_attention_layernorm = _norm(config), _norm(config)
        self.dropout = config.dropout

    def forward(
        self, x_BTD: Tensor, sight: Sight, own_BTGK: Tensor | None = None, past_key_values: Cache | None = None
    ) -> Tensor:
        y_BTD = self.self_attn(self.input_layernorm(x_BTD), sight, own_BTGK, past_key_values)
        x_BTD = x_BTD + self._drop(y_BTD)
        return x_BTD + self._drop(self.mlp(self.post_attention_layernorm(x_BTD)))

    def _drop(self, y_BTD: Tensor) -> Tensor:
        return fused.dropout(y_BTD, self.dropout) if self.dropout and self.training else y_BTD


def sinusoids(position_ids_BT: Tensor, size: int) -> Tensor:
    """Sinusoidal positions [B, T, size] (Vaswani et al. 2017): sines in the first half, cosines in the second."""
    exponents = torch.arange(0, size, 2, dtype=torch.float32, device=position_ids_BT.device) / size
    angles = position_ids_BT[..., None].float() / 10000.0**exponents
    return torch.cat((angles.sin(), angles.cos()), dim=-1)


class GPTPreTrainedModel(PreTrainedModel):
    """What both classes below share: the configuration, and the one place where fresh weights are drawn."""

    config: GPTConfig
    config_class = GPTConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _no_split_modules = ["Block"]  # noqa: RUF012 (the type that transformers reads)
    _skip_keys_device_placement = ["past_key_values"]  # noqa: RUF012
    _supports_sdpa = True
    _can_compile_fullgraph = True

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Fresh weights: normal with variance 1/fan-in; zero for the two products that write to the residual stream.

        So every block starts as the identity, whatever the depth (Zhang et al. 2019). Called by `transformers` for each
        module that holds weights itself; its `init` skips those that a checkpoint brings.
        """
        if isinstance(module, nn.Embedding):
            init.normal_(module.weight, std=self.config.initializer_range)
        elif isinstance(module, RMSNorm | nn.LayerNorm):
            init.ones_(module.weight)
            if isinstance(module, nn.LayerNorm):
                init.zeros_(module.bias)
        elif isinstance(module, Rotary):
            init.copy_(module.inv_freq, module.frequencies())
        elif isinstance(module, Linear):
            init.normal_(module.weight, std=module.std)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, GPTModel) and self.config.residual_scalars:
            init.ones_(module.stream_scale)
            init.zeros_(module.input_scale)


_IGNORED = {"cache_position", "num_items_in_batch", "output_attentions", "token_type_ids"}


class GPTModel(GPTPreTrainedModel):
    """Token ids to final hidden states."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        if config.position == "learned":
            self.embed_positions = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        if config.position == "rope":
            self.rotary = Rotary(config)
        if config.value_embeddings:
            layers = filter(config.has_value_embedding, range(config.num_hidden_layers))
            self.value_embeds = nn.ModuleDict(
                {str(layer): nn.Embedding(config.vocab_size, config.kv_size) for layer in layers}
            )
        if config.residual_scalars:
            self.stream_scale = nn.Parameter(torch.ones(config.num_hidden_layers))
            self.input_scale = nn.Parameter(torch.zeros(config.num_hidden_layers))
        self.layers = nn.ModuleList(Block(config, index) for index in range(config.num_hidden_layers))
        self.norm = _norm(config)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        output_hidden_states: bool | None = None,
        **ignored: Any,
    ) -> BaseModelOutputWithPast:
        """Final hidden states [B, T, D], normalised, ready for the head.

        Args:
            input_ids: [B, T]; or `inputs_embeds` [B, T, D] instead.
            attention_mask: None; [B, S] with 0 at padding; or [B, 1, T, S], True or 0.0 where attention is allowed,
                False or a large negative number where not (this one replaces the causal mask).
            position_ids: [B, T]; counted from the cache's length when absent.
            past_key_values: a cache of earlier tokens; created when `use_cache` is set and there is none.
            use_cache: None means `config.use_cache`, except in training.
            output_hidden_states: also return the embedding and every layer's output (the last one normalised).
            ignored: what `transformers` hands to every model and a GPT has no use for; anything else is a TypeError.
        """
        if unknown := ignored.keys() - _IGNORED:
            raise TypeError(f"GPT.forward has no argument {sorted(unknown)[0]!r}")
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("give either input_ids or inputs_embeds")
        x_BTD = self.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
        if use_cache is None:
            use_cache = self.config.use_cache and not self.training
        if use_cache and past_key_values is None:
            past_key_values = DynamicCache(config=self.config)
        seen = past_key_values.get_seq_length() if past_key_values is not None else 0
        mask = create_causal_mask(
            config=self.config,
            inputs_embeds=x_BTD,
            attention_mask=attention_mask,
            past_key_values=past_key_values,
            position_ids=position_ids,
        )
        assert mask is None or isinstance(mask, Tensor)  # a BlockMask belongs to a kernel that this file does not use
        previous_BS = previous_tokens(attention_mask, position_ids, seen) if self.config.late_key_heads else None
        if position_ids is None:
            position_ids = (torch.arange(x_BTD.shape[1], device=x_BTD.device) + seen)[None]
        x_BTD, rotation = self._with_positions(x_BTD, position_ids)
        sight, values = Sight(mask, rotation, previous_BS), self._value_embeddings(input_ids)
        if self.config.dropout and self.training:
            x_BTD = fused.dropout(x_BTD, self.config.dropout)
        states: list[Tensor] | None = [] if output_hidden_states else None
        x_BTD = self._through_layers(x_BTD, sight, values, past_key_values, states)
        return BaseModelOutputWithPast(
            last_hidden_state=x_BTD,
            past_key_values=past_key_values if use_cache else None,
            hidden_states=(*states, x_BTD) if states is not None else None,
        )

    def _through_layers(
        self,
        x_BTD: Tensor,
        sight: Sight,
        values: Mapping[int, Tensor],
        past_key_values: Cache | None,
        states: list[Tensor] | None,
    ) -> Tensor:
        """The normalised output of the last layer; `states` takes in the input of each one."""
        embedded_BTD = x_BTD
        for layer, block in enumerate(self.layers):
            if states is not None:
                states.append(x_BTD)
            if self.config.residual_scalars:
                x_BTD = self.stream_scale[layer] * x_BTD + self.input_scale[layer] * embedded_BTD
            x_BTD = block(x_BTD, sight, values.get(layer), past_key_values=past_key_values)
        return self.norm(x_BTD)

    def _value_embeddings(self, input_ids: Tensor | None) -> dict[int, Tensor]:
        """Layer → value embeddings of the tokens [B, T, G, K], for the layers that have them."""
        if not self.config.value_embeddings:
            return {}
        if input_ids is None:
            raise ValueError("value embeddings need input_ids")
        heads = (*input_ids.shape, -1, self.config.head_dim)
        return {int(layer): table(input_ids).view(heads) for layer, table in self.value_embeds.items()}

    def _with_positions(self, x_BTD: Tensor, position_ids: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor] | None]:
        """Positions go into the residual stream (learned, sinusoidal) or into every attention (rotary)."""
        if self.config.position == "rope":
            return x_BTD, self.rotary(position_ids)
        if self.config.position == "learned":
            if (length := x_BTD.shape[1]) > (most := self.config.max_position_embeddings):
                raise ModelError(
                    "a sequence is longer than the model", found=f"{length} tokens", expected=f"at most {most}"
                )
            return x_BTD + self.embed_positions(position_ids), None
        # Brought down to the size of fresh token embeddings, which unit sinusoids would drown.
        waves_BTD = sinusoids(position_ids, self.config.hidden_size) * self.config.initializer_range
        return x_BTD + waves_BTD.to(x_BTD.dtype), None


class GPT(GPTPreTrainedModel, GenerationMixin):
    """A GPTModel with a head that predicts the next token; `generate` comes from `transformers`."""

    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}  # noqa: RUF012
    _trunk_class: type[GPTModel] = GPTModel

    def __init__(self, config: GPTConfig) -> None:
        super().__init__(config)
        self.model = self._trunk_class(config)
        self.lm_head = Linear(config.hidden_size, config.vocab_size, std=config.initializer_range)
        self.loss_type = "ForCausalLM"
        self.post_init()

    @can_return_tuple  # type: ignore[untyped-decorator]
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Logits [B, T, V] of the token after each position; see `GPTModel.forward` for the other arguments.

        Args:
            labels: [B, T] ids, unshifted, -100 where no prediction counts; gives `loss`, mean cross-entropy in nats.
            logits_to_keep: compute only the last so many positions (0: all), or the positions of an index tensor.
        """
        outputs = self.model(input_ids, attention_mask, position_ids, past_key_values, use_cache=use_cache, **kwargs)
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits_BTV, loss = self.lm_head(outputs.last_hidden_state[:, kept]), None
        if labels is not None:
            loss = self.loss_function(logits=logits_BTV, labels=labels, vocab_size=self.config.vocab_size, **kwargs)
        cache, states = outputs.past_key_values, outputs.hidden_states
        return CausalLMOutputWithPast(loss=loss, logits=logits_BTV, past_key_values=cache, hidden_states=states)
