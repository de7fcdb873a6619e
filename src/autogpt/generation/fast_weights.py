"""Fast weights: a few numbers behind a model's last attention that learn from a text while it is read or written.

Dynamic evaluation (Krause et al. 2018) takes gradient steps on all weights. Here the steps are on three small tensors
of a session's own, and the model's weights are never touched:

    mlp    low-rank, added to the last feed-forward's product     x + M a      a = unit(A h)
    head   low-rank, added to the output head                     l + H c      c = unit(C n)
    bias   one number for each token of the vocabulary            l + b

h is what the last feed-forward's down product reads, n the final normalised state; A and C are fixed random projections
with orthonormal rows, and `unit` brings a vector to mean square one, so that rates mean the same in every model. No
cached key or value depends on any of them: the cache stays exact, and reading a text again with other rates costs the
last few products only. The gradients are written out; a step is

    M -= rate_M * g_M / rms(g_M)        H -= rate_H * g_H        b -= rate_b * g_b

with gradients summed over the tokens of a chunk, in units of 64 tokens. What the head's own fast weights would pass
back to M is left out. `suffix_weights` has M in several blocks, and takes the gradients from autograd.

Shapes: S sessions (a row of the batch each), T tokens, F width inside the feed-forward, D hidden width, V vocabulary, R
and C ranks; where several blocks have fast weights, theirs stand side by side in R.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from autogpt.errors import ConfigError, ModelError
from autogpt.generation.kv_cache import roomy_cache
from autogpt.models.latent import LatentGPT
from autogpt.training.objectives import backbone

__all__ = ["FastRates", "FastState", "FastWeights", "Seen"]

UNIT_TOKENS = 64
"""Rates are for so many tokens."""
_MLP_RATE, _HEAD_RATE, _BIAS_RATE = 0.015, 1.5, 5.0
"""On a 17M base these gained most over three shifted texts, and lost nothing on six of its own kind
(benchmarks/results/adaptive.md)."""
_MOST_MLP_RANK, _MOST_HEAD_RANK = 96, 8
_MOST_BIAS = 8.0
"""Nats by which one token may become more or less probable."""


@dataclass(frozen=True, slots=True)
class FastRates:
    """How fast a session learns.

    Attributes:
        step: multiplies every rate; 0 reads without learning.
        decay: share of the fast weights that is forgotten in `UNIT_TOKENS` tokens.
        trust: the feed-forward's fast weights may add this share of the residual stream's size at the most.
    """

    step: float = 1.0
    decay: float = 0.0
    trust: float = 0.5

    def __post_init__(self) -> None:
        for name, most in (("step", 100.0), ("decay", 1.0), ("trust", 10.0)):
            if not 0 <= getattr(self, name) <= most:
                raise ConfigError(f"adaptation {name}", found=repr(getattr(self, name)), expected=f"0 to {most:g}")


@dataclass(frozen=True, slots=True)
class FastState:
    """The fast weights of S sessions: mlp [S, D, R], head [S, V, C], bias [S, V], in float32 or wider."""

    mlp: Tensor
    head: Tensor
    bias: Tensor

    def tensors(self) -> dict[str, Tensor]:
        return {"mlp": self.mlp, "head": self.head, "bias": self.bias}

    def rows(self, index: Sequence[int]) -> FastState:
        """A copy of these sessions."""
        chosen = torch.tensor(list(index), device=self.bias.device)
        return FastState(*(tensor[chosen] for tensor in self.tensors().values()))

    def put(self, index: Sequence[int], other: FastState) -> None:
        """Take over `other`'s sessions in the places `index`, in place."""
        chosen = torch.tensor(list(index), device=self.bias.device)
        for mine, new in zip(self.tensors().values(), other.tensors().values(), strict=True):
            mine[chosen] = new


@dataclass(frozen=True, slots=True)
class Seen:
    """What the last layers saw of S x T tokens: all that learning from what followed them needs.

    Attributes:
        inner_STR: `a` of each token, the feed-forward's projected input.
        stream_STD: the residual stream before the final norm, without fast weights.
        logits_STV: scores of what follows, with fast weights; None where they are computed again.
        ids_ST: the tokens themselves, where all of the above depends on fast weights.
        leaves: fast weights to which autograd has recorded the way back from the scores.
    """

    inner_STR: Tensor
    stream_STD: Tensor
    logits_STV: Tensor | None = None
    ids_ST: Tensor | None = None
    leaves: FastState | None = None

    def row(self, index: int) -> Seen:
        """One session, as S = 1."""
        logits = None if self.logits_STV is None else self.logits_STV[index : index + 1]
        return Seen(self.inner_STR[index : index + 1], self.stream_STD[index : index + 1], logits)

    @staticmethod
    def joined(parts: Sequence[Seen]) -> Seen:
        """Tokens of the same sessions, one part after the other."""
        logits = [part.logits_STV for part in parts if part.logits_STV is not None]
        ids = [part.ids_ST for part in parts if part.ids_ST is not None]
        return Seen(
            torch.cat([part.inner_STR for part in parts], 1),
            torch.cat([part.stream_STD for part in parts], 1),
            torch.cat(logits, 1) if len(logits) == len(parts) else None,
            torch.cat(ids, 1) if len(ids) == len(parts) else None,
        )


class FastWeights:
    """Fast weights for models whose blocks end in `mlp.down_proj`, with `norm` and a linear head: GPT, Llama, Qwen2, …

    Args:
        model: a causal language model; its weights are read and never written.
        share: most fast weights of a session, as a share of the model's parameters.
        blocks: how many of the last blocks have some.

    Raises ModelError for another kind of model.
    """

    def __init__(self, model: Any, share: float = 0.01, blocks: int = 1) -> None:
        inner = backbone(model).base_model
        layers = list(getattr(inner, "layers", None) or [])[-blocks:]
        downs: list[Any] = [getattr(getattr(layer, "mlp", None), "down_proj", None) for layer in layers]
        norm, head = getattr(inner, "norm", None), backbone(model).get_output_embeddings()
        linear = bool(downs) and all(isinstance(module, torch.nn.Linear) for module in (*downs, head))
        if not linear or norm is None or isinstance(backbone(model), LatentGPT):
            fits = "layers that end in mlp.down_proj, then norm, without components"
            raise ModelError("this model cannot adapt", found=type(inner).__name__, expected=fits)
        self.model, self.downs, self.down, self.norm, self.head = model, downs, downs[-1], norm, head
        self.dtype = torch.promote_types(head.weight.dtype, torch.float32)
        parameters = sum(parameter.numel() for parameter in model.parameters())
        mlp_rank, head_rank = ranks(parameters, head.weight.shape, self.down.in_features, share, len(downs))
        seeds = [*range(len(downs), 1, -1), 0]  # the last block's as where it is alone
        drawn = [_orthonormal(mlp_rank, down.in_features, seed) for down, seed in zip(downs, seeds, strict=True)]
        self.reads_RF = [reads_RF.to(head.weight.device, self.dtype) for reads_RF in drawn]
        self.reads_CD = _orthonormal(head_rank, head.in_features, seed=1).to(head.weight.device, self.dtype)
        self._inner: list[Tensor] = [torch.empty(0)] * len(downs)
        self._state: FastState | None = None
        self.seen: Seen | None = None

    def fresh(self, sessions: int = 1) -> FastState:
        """Fast weights that change nothing."""
        size, width = self.head.weight.shape
        mlp_rank, head_rank = sum(map(len, self.reads_RF)), len(self.reads_CD)
        zeros = partial(torch.zeros, device=self.head.weight.device, dtype=self.dtype)
        return FastState(zeros(sessions, width, mlp_rank), zeros(sessions, size, head_rank), zeros(sessions, size))

    @property
    def numbers(self) -> int:
        """Fast weights of a session."""
        return sum(tensor.numel() for tensor in self.fresh().tensors().values())

    # Below, `norm.forward` and `head.forward` instead of calls: the hooks belong to the model's own passes.

    # ---- forward -----------------------------------------------------------------------------------------------------

    @contextmanager
    def attached(self) -> Iterator[FastWeights]:
        """While it lasts, the model's forward passes have the fast weights of `use`, and leave what they saw in `seen`.

        The model is as it was afterwards, whatever happens: its weights were never written, and the hooks are gone.
        """
        with ExitStack() as stack:
            for handle in self._hooks():  # made one by one: those before one that fails are removed
                stack.callback(handle.remove)
            try:
                yield self
            finally:
                self._state, self.seen = None, None

    def _hooks(self) -> Iterator[Any]:
        for number, down in enumerate(self.downs):
            yield down.register_forward_hook(partial(self._after_down, number))
        yield self.norm.register_forward_pre_hook(self._before_norm)
        yield self.head.register_forward_hook(self._after_head)

    @contextmanager
    def listening(self, cache: Any) -> Iterator[None]:
        """For a pass over `cache` that may be learnt from."""
        with torch.no_grad():
            yield

    def cache(self, room: int) -> Any:
        """An empty cache for such passes; None leaves it to the model."""
        return roomy_cache(self.model.config, room)

    def use(self, state: FastState | None) -> None:
        """Rows of the forward passes that follow have these sessions' fast weights; None: the model's own scores."""
        self._state = state

    @property
    def hooked(self) -> tuple[Any, ...]:
        """The modules that `attached` listens to."""
        return self.down, self.norm, self.head

    def tail(self, inner_SF: Tensor, stream_SD: Tensor) -> Tensor:
        """Scores [S, V] from what the last down product reads, and from the residual stream after it: the same as the
        hooks do, for one token a row, without the modules."""
        inner_STR = unit(inner_SF.to(self.dtype)[:, None] @ self.reads_RF[-1].T)
        self._stream_STD = stream_SD[:, None]
        state = self._state
        moved_STD = self._stream_STD if state is None else self._stream_STD + inner_STR @ state.mlp.mT
        n_STD = self.norm.forward(moved_STD.to(self.head.weight.dtype))
        logits_STV = self._head_scores(n_STD, self.head.forward(n_STD))
        self.seen = Seen(inner_STR, self._stream_STD, logits_STV)
        return logits_STV[:, 0]

    def _after_down(self, number: int, module: Any, args: tuple[Tensor, ...], out_STD: Tensor) -> Tensor:
        self._inner[number] = unit(args[0].to(self.dtype) @ self.reads_RF[number].T)
        if self._state is None:
            self._delta_STD: Tensor | None = None
            return out_STD
        self._delta_STD = self._inner[number] @ self._blocks(self._state.mlp)[number].mT
        return out_STD + self._delta_STD.to(out_STD.dtype)

    def _blocks(self, tensor: Tensor) -> tuple[Tensor, ...]:
        """Views of what stands side by side in R."""
        return tensor.chunk(len(self.downs), -1)

    def _before_norm(self, module: Any, args: tuple[Tensor, ...]) -> None:
        self._stream_STD = args[0] if self._delta_STD is None else args[0] - self._delta_STD.to(args[0].dtype)

    def _after_head(self, module: Any, args: tuple[Tensor, ...], logits_STV: Tensor) -> Tensor:
        kept = args[0].shape[1]
        scores_STV = self._head_scores(args[0], logits_STV)
        inner_STR = self._inner[0] if len(self._inner) == 1 else torch.cat(self._inner, -1)
        self.seen = Seen(inner_STR[:, -kept:], self._stream_STD[:, -kept:].to(self.dtype), scores_STV)
        return scores_STV

    def _head_scores(self, n_STD: Tensor, logits_STV: Tensor) -> Tensor:
        if self._state is None:
            return logits_STV
        heard_STC = unit(n_STD.to(self.dtype) @ self.reads_CD.T)
        return logits_STV + self._state.bias[:, None] + heard_STC @ self._state.head.mT

    def scores(self, seen: Seen, state: FastState) -> Tensor:
        """Logits [S, T, V] of tokens that were seen before, under other fast weights."""
        moved_STD = seen.stream_STD + seen.inner_STR @ state.mlp.mT
        n_STD = self.norm.forward(moved_STD.to(self.head.weight.dtype))
        before, self._state = self._state, state
        try:
            return self._head_scores(n_STD, self.head.forward(n_STD)).to(self.dtype)
        finally:
            self._state = before

    # ---- learning ----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def learn(self, state: FastState, seen: Seen, targets_ST: Tensor, weights_ST: Tensor, rates: FastRates) -> None:
        """One step of each session on what it saw, in place.

        Args:
            state: the fast weights under which `seen.logits_STV` were computed; computed here when there are none.
            targets_ST: the token that followed each one seen.
            weights_ST: how much each counts; 0 for tokens nothing is to be learnt from.
        """
        gradient_SDR, head_SVC, bias_SV = self._gradients(state, seen, targets_ST, weights_ST)
        units_S = weights_ST.sum(-1) / UNIT_TOKENS
        kept_S11 = (1 - rates.decay) ** units_S[:, None, None]
        rate_S11 = rates.step * _MLP_RATE * units_S[:, None, None]
        for mlp_SDR, part_SDR in zip(self._blocks(state.mlp), self._blocks(gradient_SDR), strict=True):
            size_S11 = part_SDR.square().mean((1, 2), keepdim=True).sqrt().clamp_min(1e-12)
            mlp_SDR.mul_(kept_S11).sub_(rate_S11 * part_SDR / size_S11)
        state.head.mul_(kept_S11).sub_(rates.step * _HEAD_RATE / UNIT_TOKENS * head_SVC)
        state.bias.mul_(kept_S11[:, 0]).sub_(rates.step * _BIAS_RATE / UNIT_TOKENS * bias_SV)
        state.bias.clamp_(-_MOST_BIAS, _MOST_BIAS)
        self._hold_back(state, seen, rates.trust)

    def _gradients(self, state: FastState, seen: Seen, targets_ST: Tensor, weights_ST: Tensor) -> tuple[Tensor, ...]:
        """Of the weighted sum of nats, in the order of `FastState`."""
        logits_STV = seen.logits_STV if seen.logits_STV is not None else self.scores(seen, state)
        error_STV = logits_STV.to(self.dtype).softmax(-1)
        error_STV.scatter_add_(-1, targets_ST[..., None], error_STV.new_full((*targets_ST.shape, 1), -1.0))
        error_STV *= weights_ST[..., None]
        moved_STD = seen.stream_STD.to(self.dtype) + seen.inner_STR @ state.mlp.mT
        with torch.enable_grad():
            leaf_STD = moved_STD.to(self.head.weight.dtype).detach().requires_grad_()
            n_STD = self.norm.forward(leaf_STD)
        back_STD = error_STV.to(self.head.weight.dtype) @ self.head.weight
        (stream_STD,) = torch.autograd.grad(n_STD, leaf_STD, back_STD)
        heard_STC = unit(n_STD.detach().to(self.dtype) @ self.reads_CD.T)
        return stream_STD.to(self.dtype).mT @ seen.inner_STR, error_STV.mT @ heard_STC, error_STV.sum(1)

    def _hold_back(self, state: FastState, seen: Seen, trust: float) -> None:
        """Trust region: what each block's fast weights add stays small beside the residual stream at the end."""
        most_S = trust * seen.stream_STD.to(self.dtype).square().mean((1, 2)).sqrt()
        for mlp_SDR, inner_STR in zip(self._blocks(state.mlp), self._blocks(seen.inner_STR), strict=True):
            added_S = (inner_STR @ mlp_SDR.mT).square().mean((1, 2)).sqrt()
            mlp_SDR.mul_((most_S / added_S.clamp_min(1e-12)).clamp_max(1.0)[:, None, None])

    @torch.no_grad()
    def nats(self, state: FastState, seen: Seen, targets_ST: Tensor) -> Tensor:
        """Negative log-likelihood [S, T] of what followed, in nats."""
        logits_STV = seen.logits_STV if seen.logits_STV is not None else self.scores(seen, state)
        return F.cross_entropy(logits_STV.to(self.dtype).transpose(1, 2), targets_ST, reduction="none")


def without_scores(seen: Seen) -> Seen:
    """What is kept of tokens that shall be looked at again under other fast weights."""
    if seen.ids_ST is None:
        return replace(seen, logits_STV=None)
    return Seen(seen.inner_STR[..., :0], seen.stream_STD[..., :0], ids_ST=seen.ids_ST)


def ranks(parameters: int, head: Sequence[int], inner: int, share: float, blocks: int = 1) -> tuple[int, int]:
    """(rank of each feed-forward's fast weights, of the head's) within `share` of so many parameters.

    The bias comes first, then both get half of what is left; each has at least one.
    """
    size, width = head
    left = max(0.0, share * parameters - size)
    head_rank = min(_MOST_HEAD_RANK, width, max(1, int(left / 2 / size)))
    mlp_rank = min(_MOST_MLP_RANK, inner, max(1, int((left - head_rank * size) / width / blocks)))
    return mlp_rank, head_rank


def unit(x: Tensor) -> Tensor:
    """Vectors of the last dimension, brought to mean square one."""
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-12)


def _orthonormal(rows: int, columns: int, seed: int) -> Tensor:
    """Random orthonormal rows, the same on every machine up to rounding."""
    drawn = torch.randn(columns, rows, generator=torch.Generator().manual_seed(seed))
    return torch.linalg.qr(drawn)[0].T.contiguous()
