"""One token a row through our GPT with as few calls as possible: for small models calls are what a token costs.

The same numbers as `GPT.forward` but for rounding. Rotations are looked up, the heads that share a key head are rows of
one attention, and no mask is built where none is needed. A batch that is written to for long works with copies of the
weights: products that read the same input are one, and laid out so that 8 to 64 rows take half the time on a CPU.

What it does not do: gradients, autocast, models with adapters or hooks, subclasses of `GPT`; `GPT.forward` does.

Shapes: B rows, S tokens held, D hidden width, H heads, G key-value heads, R heads of each, K head size, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autogpt.generation.kv_cache import RoomyCache
from autogpt.models.gpt import GPT, sinusoids
from autogpt.models.sight import one_token_late

__all__ = ["GPTStep", "Place", "Tail"]

_Unary = Callable[[Tensor], Tensor]
_STEPS_BEFORE_COPY, _LEAST_ROWS_TO_TURN, _MOST_WEIGHTS = 16, 4, 2**26
"""When copies pay: making them takes as long as a few steps, and they take memory once more."""

_KNOWN = {"Attention", "Block", "GPT", "GPTModel", "Linear", "PlainMLP", "RMSNorm", "Rotary", "SwiGLU"}
_KNOWN_OF_TORCH = {nn.Embedding, nn.Identity, nn.LayerNorm, nn.ModuleDict, nn.ModuleList}


@dataclass(frozen=True, slots=True)
class Place:
    """Where the tokens of a step stand.

    Attributes:
        positions_B: position of each token; all are the first one's where `mask_BS` is None.
        position: of the first row, as a number.
        mask_BS: 0 where a row sees a column of the cache, minus infinity where not; None when all see all.
        previous_BS: the column before each one in its row (its own for the first); None with `mask_BS`.
    """

    positions_B: Tensor
    position: int
    mask_BS: Tensor | None = None
    previous_BS: Tensor | None = None


class Tail(Protocol):
    """What turns the end of the last layer into scores."""

    def __call__(self, inner_BF: Tensor, stream_BD: Tensor, /) -> Tensor:
        """Scores [B, V] from what the last feed-forward's last product reads, and the residual stream after it."""


class GPTStep:
    """A step of a GPT.

    Args:
        model: see `fits`.
        context: most positions.
        tail: makes the scores, in place of norm and head.

    The weights must not change while this is used, so that copies of them stay true.
    """

    def __init__(self, model: GPT, context: int, tail: Tail | None = None) -> None:
        config, trunk = model.config, model.model
        self._weight, self._tail = model.lm_head.weight, tail
        self._may_copy = self._weight.device.type == "cpu" and model.num_parameters() <= _MOST_WEIGHTS
        self._steps = 0
        # Looking things up in modules and configurations at each step would take as long as a layer.
        self._position, self._waves = config.position, (config.hidden_size, config.initializer_range)
        self._tokens = trunk.embed_tokens.weight
        self._positions = trunk.embed_positions.weight if config.position == "learned" else None
        self._scales = (trunk.stream_scale, trunk.input_scale) if config.residual_scalars else None
        self._layers = [_Layer(block) for block in trunk.layers]
        self._owns: list[Tensor | None] = [
            trunk.value_embeds[str(index)].weight if config.has_value_embedding(index) else None
            for index in range(len(self._layers))
        ]
        self._head = _Product(trunk.norm, model.lm_head)
        if config.position == "rope":
            positions_C = torch.arange(context, device=self._weight.device)
            cos, sin = (part[0].to(self.dtype) for part in trunk.rotary(positions_C[None]))
            self._cos_C1K, self._sin_C1K = torch.cat((cos, cos), -1), torch.cat((-sin, sin), -1)

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights, and so of the mask."""
        return self._weight.dtype

    @staticmethod
    def fits(model: Any, hooked: Collection[Any] = ()) -> bool:
        """Whether `model` is a GPT as this project builds it, with nothing added but hooks on modules of `hooked`."""
        if type(model) is not GPT or model.training:
            return False
        for module in model.modules():
            kind = type(module)
            known = kind in _KNOWN_OF_TORCH or (kind.__module__ == GPT.__module__ and kind.__name__ in _KNOWN)
            listens = module._forward_hooks or module._forward_pre_hooks
            if not known or (listens and not any(module is one for one in hooked)):
                return False
        return True

    def __call__(self, tokens_B: Tensor, place: Place, cache: RoomyCache) -> Tensor:
        """Scores of what follows each token [B, V]; the tokens are in the cache then."""
        self._steps += 1
        if self._may_copy and self._steps > _STEPS_BEFORE_COPY:
            self._copy(turned=len(tokens_B) >= _LEAST_ROWS_TO_TURN)
        x_BD = F.embedding(tokens_B, self._tokens)
        turn = None
        if self._position == "rope":
            turn = self._turn(place)
        elif self._positions is not None:
            x_BD = x_BD + F.embedding(place.positions_B, self._positions)
        else:
            size, scale = self._waves
            x_BD = x_BD + (sinusoids(place.positions_B[:, None], size)[:, 0] * scale).to(x_BD.dtype)
        mask = None if place.mask_BS is None else place.mask_BS[:, None, None]
        embedded_BD = x_BD
        slots, views = cache.next_column()
        for index, (layer, own) in enumerate(zip(self._layers, self._owns, strict=True)):
            if self._scales is not None:
                x_BD = self._scales[0][index] * x_BD + self._scales[1][index] * embedded_BD
            own_BE = None if own is None else F.embedding(tokens_B, own)
            keys, values = 2 * index, 2 * index + 1
            column = (slots[keys], slots[values], views[keys], views[values])
            x_BD, inner_BF = layer(x_BD, own_BE, turn, (mask, place.previous_BS), column)
        return self._head(x_BD) if self._tail is None else self._tail(inner_BF, x_BD)

    def _copy(self, *, turned: bool) -> None:
        self._may_copy = False
        for product in (self._head, *(product for layer in self._layers for product in layer.products)):
            product.copy(turned=turned)

    def _turn(self, place: Place) -> tuple[Tensor, Tensor]:
        if place.mask_BS is None:
            here = slice(place.position, place.position + 1)
            return self._cos_C1K[here], self._sin_C1K[here]
        return self._cos_C1K[place.positions_B], self._sin_C1K[place.positions_B]


class _Product:
    """Linear layers that read the same input, side by side: with the model's weights or, later, with one copy of them.

    Args:
        norm: through which the input goes before, if any.
        layers: all with a bias, or all without.
    """

    def __init__(self, norm: Any, *layers: Any) -> None:
        self._across = [layer.weight.t() for layer in layers]
        self._biases = [layer.bias for layer in layers]
        self._norm = _norm(norm)
        # The gain of an RMSNorm is a factor of each input, and so of each row of the weights' copy.
        self._gain = norm.weight if norm is not None and not isinstance(norm, nn.LayerNorm) else None
        self._scaled = _scaled(norm) if self._gain is not None else self._norm

    def __call__(self, x_BD: Tensor) -> Tensor:
        y_BD = self._norm(x_BD)
        parts = [
            torch.mm(y_BD, across) if bias is None else torch.addmm(bias, y_BD, across)
            for across, bias in zip(self._across, self._biases, strict=True)
        ]
        return parts[0] if len(parts) == 1 else torch.cat(parts, -1)

    def added_to(self, stream_BD: Tensor, x_BD: Tensor) -> Tensor:
        """The residual stream with the product added; for a single layer."""
        sum_BD = torch.addmm(stream_BD, x_BD, self._across[0])
        return sum_BD if self._biases[0] is None else sum_BD + self._biases[0]

    def copy(self, *, turned: bool) -> None:
        """From now on use a copy of the weights, [in, out] in memory too where it is to be `turned`."""
        joined = torch.cat([across.t() for across in self._across])
        if self._gain is not None:
            joined *= self._gain
        self._across = [joined.t().contiguous() if turned else joined.t()]
        self._biases = [None if self._biases[0] is None else torch.cat(self._biases)]
        self._norm = self._scaled


class _Layer:
    def __init__(self, block: Any) -> None:
        attention, mlp = block.self_attn, block.mlp
        self._norm_q, self._norm_k = _norm(attention.q_norm), _norm(attention.k_norm)
        self._norm_in = _norm(block.input_layernorm)
        self._normed = not isinstance(attention.q_norm, nn.Identity)
        self._groups = attention.k_proj.out_features // attention.head_dim
        self._heads = attention.q_proj.out_features // attention.head_dim
        self._late_heads = attention.late_heads
        self._value_gate: Any = getattr(attention, "value_gate", None)
        self._gated, self._squared = hasattr(mlp, "gate_proj"), getattr(mlp, "squared", False)
        inner = (mlp.gate_proj, mlp.up_proj) if self._gated else (mlp.up_proj,)
        self.products = (
            _Product(block.input_layernorm, attention.q_proj, attention.k_proj, attention.v_proj),
            _Product(None, attention.o_proj),
            _Product(block.post_attention_layernorm, *inner),
            _Product(None, mlp.down_proj),
        )

    def __call__(
        self,
        x_BD: Tensor,
        own_BE: Tensor | None,
        turn: tuple[Tensor, Tensor] | None,
        seen: tuple[Tensor | None, Tensor | None],
        column: tuple[Tensor, Tensor, Tensor, Tensor],
    ) -> tuple[Tensor, Tensor]:
        """The residual stream after this layer, and what its last product reads.

        Args:
            own_BE: value embeddings of the tokens, key-value heads side by side.
            seen: mask and previous columns, as in `Place`.
            column: where the token's keys and values go, and all keys and values with them; see `next_column`.
        """
        rows, heads, groups = len(x_BD), self._heads, self._groups
        qkv, out, inner, down = self.products
        all_BHK = qkv(x_BD).view(rows, heads + 2 * groups, -1)
        found_BHK, v_BGK = all_BHK.narrow(1, 0, heads + groups), all_BHK.narrow(1, heads + groups, groups)
        if self._normed:
            q_BHK, k_BGK = found_BHK.split((heads, groups), 1)
            found_BHK = torch.cat((self._norm_q(q_BHK), self._norm_k(k_BGK)), 1)
        if own_BE is not None:
            gate = self._value_gate
            gate_BG = 2 * torch.sigmoid(F.linear(self._norm_in(x_BD)[:, : gate.in_features], gate.weight))
            v_BGK = v_BGK + gate_BG[..., None] * own_BE.view(v_BGK.shape)
        if turn is not None:
            found_BHK = _turned(found_BHK, *turn)
        key_BG1K, value_BG1K, k_BGSK, v_BGSK = column
        key_BG1K.copy_(found_BHK.narrow(1, heads, groups).unsqueeze(2))
        value_BG1K.copy_(v_BGK.unsqueeze(2))
        if late := self._late_heads:
            k_BGSK = torch.cat((one_token_late(k_BGSK[:, :late], seen[1]), k_BGSK[:, late:]), 1)
        # The heads of a group stand where the tokens of a longer call would.
        q_BGRK = found_BHK.narrow(1, 0, heads).view(rows, groups, heads // groups, -1)
        y_BGRK = F.scaled_dot_product_attention(q_BGRK, k_BGSK, v_BGSK, attn_mask=seen[0])
        x_BD = out.added_to(x_BD, y_BGRK.reshape(rows, -1))
        inner_BF = self._between(inner(x_BD))
        return down.added_to(x_BD, inner_BF), inner_BF

    def _between(self, inner_BF: Tensor) -> Tensor:
        if self._gated:
            gate_BF, up_BF = inner_BF.chunk(2, -1)
            return F.silu(gate_BF) * up_BF
        return F.relu(inner_BF).square() if self._squared else F.gelu(inner_BF, approximate="tanh")


def _turned(x_BHK: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions; the sines of the first half have the opposite sign."""
    return (x_BHK * cos).addcmul_(x_BHK.roll(x_BHK.shape[-1] // 2, -1), sin)


def _norm(module: Any) -> _Unary:
    """A norm as a function; none at all where there is no norm."""
    if module is None or isinstance(module, nn.Identity):
        return lambda x: x
    weight = module.weight
    if isinstance(module, nn.LayerNorm):
        return lambda x: F.layer_norm(x, weight.shape, weight, module.bias, module.eps)
    scaled = _scaled(module)
    return lambda x: scaled(x) * weight


def _scaled(module: Any) -> _Unary:
    """An RMSNorm without its gain."""
    weight, size, eps = module.weight, len(module.weight), module.eps
    if weight.dtype != torch.float32:
        return lambda x: F.rms_norm(x, weight.shape, None, eps)
    zero, least = torch.zeros((), device=weight.device), torch.tensor(math.sqrt(eps * size), device=weight.device)

    def scaled(x: Tensor) -> Tensor:
        # Three calls where `F.rms_norm` makes nine: x * sqrt(size) / sqrt(|x|^2 + size * eps).
        length = torch.hypot(torch.linalg.vector_norm(x, 2, -1, True), least)
        return torch.addcdiv(zero, x, length, value=math.sqrt(size))

    return scaled
