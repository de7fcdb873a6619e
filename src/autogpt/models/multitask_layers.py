"""Layers of a GPT that differ between tasks: shared weights, and low-rank adapters that are mixed for each task.

Shape suffixes as in `multitask`: R rows, each with a task of its own; T tokens, D hidden size, O outputs of a product,
K tasks, M adapters, r their rank, S = M * r, L layers, N = R * T.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import initialization as init
from transformers.cache_utils import Cache

from autogpt.models.gpt import Block, Linear
from autogpt.models.latent_layers import RowLinear, Seen, init_latent
from autogpt.models.multitask_config import MultitaskGPTConfig
from autogpt.models.sight import Sight

__all__ = ["AdapterMix", "TaskBlock", "TaskLinear", "TaskSight", "init_adapters"]

NOISE = 0.02
"""On fresh keys, relative to them: adapters that no task calls its own would otherwise stay equal for ever."""


class AdapterMix(nn.Module):
    """How much each task takes of each adapter.

    With "own" all of its own. With "attention" softmax(query . keys / sqrt(M)); in a fresh model task k takes two
    thirds of adapter k (modulo M), and the others share the rest. Queries and keys are M long, because longer ones
    could say no other weights.

    Attributes:
        queries: [K, M] of the tasks.
        keys: [L, M, M] of the adapters of each block.
    """

    queries: nn.Parameter | None
    keys: nn.Parameter | None

    def __init__(self, config: MultitaskGPTConfig) -> None:
        super().__init__()
        self.tasks, self.layers, self.adapters = config.tasks, config.num_hidden_layers, config.adapters or 0
        mixes, M = config.sharing == "attention", self.adapters
        self.register_parameter("queries", nn.Parameter(torch.empty(self.tasks, M)) if mixes else None)
        self.register_parameter("keys", nn.Parameter(torch.empty(self.layers, M, M)) if mixes else None)

    def forward(self, layer: int, tasks_R: Tensor) -> Tensor:
        """How much each row takes of each adapter of a layer, [R, M]; rows add up to 1."""
        if self.queries is None or self.keys is None:
            return F.one_hot(tasks_R, self.adapters)
        return torch.softmax(self.queries[tasks_R] @ self.keys[layer].T / math.sqrt(self.adapters), -1)

    def fresh(self) -> tuple[Tensor, Tensor]:
        """Queries and keys to start with."""
        M = self.adapters
        gap = math.log(2 * (M - 1)) if M > 1 else 0.0
        size = math.sqrt(gap * math.sqrt(M))
        keys_LMM = torch.eye(M) + NOISE * torch.randn(self.layers, M, M)
        return torch.eye(M)[torch.arange(self.tasks) % M] * size, keys_LMM * size


class TaskLinear(RowLinear):
    """A product whose matrix is `weight + scale * (sum over m of mix[m] * outer[m]) @ inner`."""

    def __init__(self, plain: Linear, config: MultitaskGPTConfig) -> None:
        super().__init__(plain, config.adapters or 0, config.adapter_rank, config.adapter_scale)

    # Called by the blocks alone, which know the tasks.
    def forward(self, x_RTD: Tensor, mix_RM: Tensor) -> Tensor:  # type: ignore[override]
        """`mix_RM` has one row where all rows of the batch are of one task, whose matrix is multiplied out then."""
        if len(mix_RM) == 1:
            return F.linear(x_RTD, self.merged(mix_RM), self.bias)
        own_RTr = F.linear(x_RTD, self.inner)
        # One product with all adapters side by side, each with its share of the input: one for each row is slower.
        mix_R1M1 = (self.scale * mix_RM)[:, None, :, None].to(own_RTr.dtype)
        shares_NS = (own_RTr[:, :, None] * mix_R1M1).flatten(2).flatten(0, 1)
        shared_RTO = F.linear(x_RTD, self.weight, self.bias)
        across_SO = self.outer.transpose(1, 2).flatten(0, 1)
        return torch.addmm(shared_RTO.flatten(0, 1), shares_NS, across_SO.to(own_RTr.dtype)).view_as(shared_RTO)

    def merged(self, mix_1M: Tensor) -> Tensor:
        """The weight [O, D] of a plain `Linear` that computes the same for one task."""
        return self.weight + self.scale * (self._mixed(mix_1M)[0] @ self.inner)

    def _mixed(self, mix_RM: Tensor) -> Tensor:
        """The outer matrix of each row, [R, O, r]."""
        return (mix_RM.to(self.outer.dtype) @ self.outer.flatten(1)).view(-1, *self.outer.shape[1:])


@dataclass(frozen=True, slots=True)
class TaskSight(Sight):
    """`Sight` of rows with a task each.

    Attributes:
        tasks_R: the task of each row; a single one where it is that of all.
        mix: says what the tasks take of the adapters.
    """

    tasks_R: Tensor
    mix: AdapterMix


class TaskBlock(Block):
    """A layer with adapters where `LatentBlock` has its components: on q, v, up and down.

    On all products training would be slower, by as much again as these cost.
    """

    def __init__(self, config: MultitaskGPTConfig, layer_idx: int) -> None:
        super().__init__(config, layer_idx)
        for part, names in ((self.self_attn, ("q_proj", "v_proj")), (self.mlp, ("up_proj", "down_proj"))):
            for name in names:
                setattr(part, name, TaskLinear(getattr(part, name), config))

    def forward(
        self, x_BTD: Tensor, sight: Sight, own_BTGK: Tensor | None = None, past_key_values: Cache | None = None
    ) -> Tensor:
        assert isinstance(sight, TaskSight)
        # Asked for here, not once for all layers, so that activations can be recomputed layer by layer.
        mix_RM = sight.mix(self.self_attn.layer_idx, sight.tasks_R)
        y_BTD = Seen(self.self_attn, mix_RM)(self.input_layernorm(x_BTD), sight, own_BTGK, past_key_values)
        x_BTD = x_BTD + self._drop(y_BTD)
        return x_BTD + self._drop(Seen(self.mlp, mix_RM)(self.post_attention_layernorm(x_BTD)))


@torch.no_grad()
def init_adapters(module: nn.Module) -> None:
    """Fresh adapters: all zero, so that tasks begin equal, and mixed as `AdapterMix` says."""
    init_latent(module)
    if isinstance(module, AdapterMix) and module.queries is not None and module.keys is not None:
        queries_KM, keys_LMM = module.fresh()
        init.copy_(module.queries, queries_KM)
        init.copy_(module.keys, keys_LMM)
