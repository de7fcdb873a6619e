"""Layers of a GPT that differ between the components of a mixture: shared weights, and a small part for each latent.

Shape suffixes as in `latent`: R rows, each with a latent of its own; T tokens, D hidden size, K rank.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import initialization as init
from transformers.cache_utils import Cache

from autogpt.models import fused
from autogpt.models.gpt import Block, Linear
from autogpt.models.latent_config import LatentGPTConfig
from autogpt.models.sight import Sight

__all__ = ["LatentBlock", "LatentLinear", "LatentNorm", "LatentSight", "RowLinear", "Seen", "init_latent"]


class RowLinear(Linear):
    """A product whose matrix is `weight + scale * outer @ inner`, with an outer matrix for each row of a batch.

    All start as `weight`.

    Args:
        plain: its shape and bias.
        count: outer matrices there are.
        rank: columns of each.
        scale: factor on what is added to `weight`.
    """

    def __init__(self, plain: Linear, count: int, rank: int, scale: float) -> None:
        super().__init__(plain.in_features, plain.out_features, plain.std, bias=plain.bias is not None)
        self.scale = scale
        self.inner = nn.Parameter(torch.empty(rank, plain.in_features))
        self.outer = nn.Parameter(torch.empty(count, plain.out_features, rank))

    def of_rows(self, x_RTD: Tensor, outer_RDK: Tensor) -> Tensor:
        """The product of each row with its outer matrix."""
        own_RTK = F.linear(x_RTD, self.inner)
        shared_RTD = F.linear(x_RTD, self.weight, self.bias)
        return torch.baddbmm(shared_RTD, own_RTK, outer_RDK.mT.to(own_RTK.dtype), alpha=self.scale)


class LatentLinear(RowLinear):
    """A product whose matrix is `weight + scale * outer[z] @ inner`; all components start as `weight`."""

    def __init__(self, plain: Linear, config: LatentGPTConfig) -> None:
        super().__init__(plain, config.latents, config.latent_rank, config.latent_scale)

    # Called by the suffix alone, which knows the latents.
    def forward(self, x_RTD: Tensor, latent_R: Tensor) -> Tensor:  # type: ignore[override]
        # Not `outer[latent_R]`, whose gradient adds rows of one latent in any order on more than one thread.
        return self.of_rows(x_RTD, self.outer.index_select(0, latent_R))

    def merged(self, latent: int) -> dict[str, Tensor]:
        """The weights of a plain `Linear` that computes the same for one z."""
        return {"weight": self.weight + self.scale * self.outer[latent] @ self.inner}


class LatentNorm(nn.Module):
    """RMSNorm or LayerNorm whose output is multiplied by `1 + scale * film[z]`; components start as the plain norm."""

    bias: nn.Parameter | None

    def __init__(self, config: LatentGPTConfig) -> None:
        super().__init__()
        self.eps, self.scale = config.rms_norm_eps, config.latent_scale
        self.weight = nn.Parameter(torch.ones(config.hidden_size))
        self.register_parameter(
            "bias", nn.Parameter(torch.zeros(config.hidden_size)) if config.norm == "layer" else None
        )
        self.film = nn.Parameter(torch.zeros(config.latents, config.hidden_size))

    def forward(self, x_RTD: Tensor, latent_R: Tensor) -> Tensor:
        if self.bias is None:
            y_RTD = fused.rms_norm(x_RTD, self.weight, self.eps)
        else:
            y_RTD = F.layer_norm(x_RTD, self.weight.shape, self.weight, self.bias, self.eps)
        return y_RTD * (1 + self.scale * self.film.index_select(0, latent_R))[:, None].to(y_RTD.dtype)

    def merged(self, latent: int) -> dict[str, Tensor]:
        """The weights of a plain norm that computes the same for one z."""
        gain = 1 + self.scale * self.film[latent]
        return {"weight": self.weight * gain, **({} if self.bias is None else {"bias": self.bias * gain})}


class Seen:
    """Attention or feed-forward as the rows of one call see it: the products that differ between rows know of them.

    The plain module's own `forward` runs on this view, so that there is one implementation of it, and nothing about a
    call is left behind in the modules.

    Args:
        module: attention or feed-forward.
        rows: second argument of each `RowLinear` in it, such as the latents.
    """

    def __init__(self, module: nn.Module, rows: Tensor) -> None:
        self._module, self._rows = module, rows

    def __getattr__(self, name: str) -> Any:
        part = getattr(self._module, name)
        return (lambda x_RTD: part(x_RTD, self._rows)) if isinstance(part, RowLinear) else part

    def __call__(self, *args: Any) -> Tensor:
        forward: Any = type(self._module).forward
        result: Tensor = forward(self, *args)
        return result


@dataclass(frozen=True, slots=True)
class LatentSight(Sight):
    """`Sight` of rows with a latent each."""

    latent_R: Tensor


class LatentBlock(Block):
    """A layer of the suffix."""

    def __init__(self, config: LatentGPTConfig, layer_idx: int) -> None:
        super().__init__(config, layer_idx)
        self.input_layernorm, self.post_attention_layernorm = LatentNorm(config), LatentNorm(config)
        for part, names in ((self.self_attn, ("q_proj", "v_proj")), (self.mlp, ("up_proj", "down_proj"))):
            for name in names:
                setattr(part, name, LatentLinear(getattr(part, name), config))

    def forward(
        self, x_BTD: Tensor, sight: Sight, own_BTGK: Tensor | None = None, past_key_values: Cache | None = None
    ) -> Tensor:
        assert isinstance(sight, LatentSight)
        latent_R = sight.latent_R
        normalised_BTD = self.input_layernorm(x_BTD, latent_R)
        x_BTD = x_BTD + self._drop(Seen(self.self_attn, latent_R)(normalised_BTD, sight, own_BTGK, past_key_values))
        return x_BTD + self._drop(Seen(self.mlp, latent_R)(self.post_attention_layernorm(x_BTD, latent_R)))


def init_latent(module: nn.Module) -> None:
    """Fresh parts of the components: all components equal, and not stuck there once they are trained on other rows."""
    if isinstance(module, RowLinear):
        init.normal_(module.inner, std=module.in_features**-0.5)
        init.zeros_(module.outer)
    elif isinstance(module, LatentNorm):
        init.ones_(module.weight)
        init.zeros_(module.film)
        if module.bias is not None:
            init.zeros_(module.bias)
