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
back to M is left out.

Shapes: S sessions (a row of the batch each), T tokens, F width inside the feed-forward, D hidden width, V vocabulary, R
and C ranks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from autogpt.errors import ConfigError, ModelError
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
    """The fast weights of S sessions: mlp [S, D, R], head [S, V, C], bias [S, V], in float32."""

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
    """

    inner_STR: Tensor
    stream_STD: Tensor
    logits_STV: Tensor | None = None

    def row(self, index: int) -> Seen:
        """One session, as S = 1."""
        logits = None if self.logits_STV is None else self.logits_STV[index : index + 1]
        return Seen(self.inner_STR[index : index + 1], self.stream_STD[index : index + 1], logits)

    @staticmethod
    def joined(parts: Sequence[Seen]) -> Seen:
        """Tokens of the same sessions, one part after the other."""
        logits = [part.logits_STV for part in parts if part.logits_STV is not None]
        return Seen(
            torch.cat([part.inner_STR for part in parts], 1),
            torch.cat([part.stream_STD for part in parts], 1),
            torch.cat(logits, 1) if len(logits) == len(parts) else None,
        )


class FastWeights:
    """Fast weights for a model whose last block ends in `mlp.down_proj`, with `norm` and a linear head after it.

    Our GPT, Llama, Qwen2 and their like.

    Args:
        model: a causal language model; its weights are read and never written.
        share: most fast weights of a session, as a share of the model's parameters.

    Raises ModelError for another kind of model.
    """

    def __init__(self, model: Any, share: float = 0.01) -> None:
        inner = backbone(model).base_model
        layers = getattr(inner, "layers", None)
        down = getattr(getattr(layers[-1], "mlp", None), "down_proj", None) if layers else None
        norm, head = getattr(inner, "norm", None), backbone(model).get_output_embeddings()
        if not isinstance(down, torch.nn.Linear) or norm is None or not isinstance(head, torch.nn.Linear):
            raise ModelError(
                "this model cannot adapt",
                found=type(inner).__name__,
                expected="layers that end in mlp.down_proj, then norm",
            )
        self.model, self.down, self.norm, self.head = model, down, norm, head
        parameters = sum(parameter.numel() for parameter in model.parameters())
        mlp_rank, head_rank = ranks(parameters, head.weight.shape, down.in_features, share)
        device = head.weight.device
        self.reads_RF = _orthonormal(mlp_rank, down.in_features, seed=0).to(device)
        self.reads_CD = _orthonormal(head_rank, head.in_features, seed=1).to(device)
        self._state: FastState | None = None
        self.seen: Seen | None = None

    def fresh(self, sessions: int = 1) -> FastState:
        """Fast weights that change nothing."""
        size, width = self.head.weight.shape
        device = self.head.weight.device
        return FastState(
            torch.zeros(sessions, width, len(self.reads_RF), device=device),
            torch.zeros(sessions, size, len(self.reads_CD), device=device),
            torch.zeros(sessions, size, device=device),
        )

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
            for handle in (
                self.down.register_forward_hook(self._after_down),
                self.norm.register_forward_pre_hook(self._before_norm),
                self.head.register_forward_hook(self._after_head),
            ):
                stack.callback(handle.remove)
            try:
                yield self
            finally:
                self._state, self.seen = None, None

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
        self._inner_STR = unit(inner_SF.float()[:, None] @ self.reads_RF.T)
        self._stream_STD = stream_SD[:, None]
        state = self._state
        moved_STD = self._stream_STD if state is None else self._stream_STD + self._inner_STR @ state.mlp.mT
        n_STD = self.norm.forward(moved_STD)
        logits_STV = self._head_scores(n_STD, self.head.forward(n_STD))
        self.seen = Seen(self._inner_STR, self._stream_STD, logits_STV)
        return logits_STV[:, 0]

    def _after_down(self, module: Any, args: tuple[Tensor, ...], out_STD: Tensor) -> Tensor:
        self._inner_STR = unit(args[0].float() @ self.reads_RF.T)
        if self._state is None:
            self._delta_STD: Tensor | None = None
            return out_STD
        self._delta_STD = self._inner_STR @ self._state.mlp.mT
        return out_STD + self._delta_STD.to(out_STD.dtype)

    def _before_norm(self, module: Any, args: tuple[Tensor, ...]) -> None:
        self._stream_STD = args[0] if self._delta_STD is None else args[0] - self._delta_STD.to(args[0].dtype)

    def _after_head(self, module: Any, args: tuple[Tensor, ...], logits_STV: Tensor) -> Tensor:
        kept = args[0].shape[1]
        scores_STV = self._head_scores(args[0], logits_STV)
        self.seen = Seen(self._inner_STR[:, -kept:], self._stream_STD[:, -kept:].float(), scores_STV)
        return scores_STV

    def _head_scores(self, n_STD: Tensor, logits_STV: Tensor) -> Tensor:
        if self._state is None:
            return logits_STV
        heard_STC = unit(n_STD.float() @ self.reads_CD.T)
        return logits_STV + self._state.bias[:, None] + heard_STC @ self._state.head.mT

    def scores(self, seen: Seen, state: FastState) -> Tensor:
        """Logits [S, T, V] of tokens that were seen before, under other fast weights."""
        moved_STD = seen.stream_STD + seen.inner_STR @ state.mlp.mT
        n_STD = self.norm.forward(moved_STD.to(self.head.weight.dtype))
        before, self._state = self._state, state
        try:
            return self._head_scores(n_STD, self.head.forward(n_STD)).float()
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
        logits_STV = seen.logits_STV if seen.logits_STV is not None else self.scores(seen, state)
        error_STV = logits_STV.float().softmax(-1)
        error_STV.scatter_add_(-1, targets_ST[..., None], error_STV.new_full((*targets_ST.shape, 1), -1.0))
        error_STV *= weights_ST[..., None]
        moved_STD = seen.stream_STD.float() + seen.inner_STR @ state.mlp.mT
        with torch.enable_grad():
            leaf_STD = moved_STD.to(self.head.weight.dtype).detach().requires_grad_()
            n_STD = self.norm.forward(leaf_STD)
        back_STD = error_STV.to(self.head.weight.dtype) @ self.head.weight
        (stream_STD,) = torch.autograd.grad(n_STD, leaf_STD, back_STD)
        heard_STC = unit(n_STD.detach().float() @ self.reads_CD.T)
        units_S = weights_ST.sum(-1) / UNIT_TOKENS
        kept_S11 = (1 - rates.decay) ** units_S[:, None, None]
        gradient_SDR = stream_STD.float().mT @ seen.inner_STR
        size_S11 = gradient_SDR.square().mean((1, 2), keepdim=True).sqrt().clamp_min(1e-12)
        rate_S11 = rates.step * _MLP_RATE * units_S[:, None, None]
        state.mlp.mul_(kept_S11).sub_(rate_S11 * gradient_SDR / size_S11)
        state.head.mul_(kept_S11).sub_(rates.step * _HEAD_RATE / UNIT_TOKENS * (error_STV.mT @ heard_STC))
        state.bias.mul_(kept_S11[:, 0]).sub_(rates.step * _BIAS_RATE / UNIT_TOKENS * error_STV.sum(1))
        state.bias.clamp_(-_MOST_BIAS, _MOST_BIAS)
        self._hold_back(state, seen, rates.trust)

    def _hold_back(self, state: FastState, seen: Seen, trust: float) -> None:
        """Trust region: what the feed-forward's fast weights add stays small beside the residual stream."""
        added_S = (seen.inner_STR @ state.mlp.mT).square().mean((1, 2)).sqrt()
        most_S = trust * seen.stream_STD.float().square().mean((1, 2)).sqrt()
        state.mlp.mul_((most_S / added_S.clamp_min(1e-12)).clamp_max(1.0)[:, None, None])

    @torch.no_grad()
    def nats(self, state: FastState, seen: Seen, targets_ST: Tensor) -> Tensor:
        """Negative log-likelihood [S, T] of what followed, in nats."""
        logits_STV = seen.logits_STV if seen.logits_STV is not None else self.scores(seen, state)
        return F.cross_entropy(logits_STV.float().transpose(1, 2), targets_ST, reduction="none")


def without_scores(seen: Seen) -> Seen:
    """What is kept of tokens that shall be looked at again under other fast weights."""
    return replace(seen, logits_STV=None)


def ranks(parameters: int, head: Sequence[int], inner: int, share: float) -> tuple[int, int]:
    """(rank of the feed-forward's fast weights, of the head's) within `share` of so many parameters.

    The bias comes first, then both get half of what is left; each has at least one.
    """
    size, width = head
    left = max(0.0, share * parameters - size)
    head_rank = min(_MOST_HEAD_RANK, width, max(1, int(left / 2 / size)))
    mlp_rank = min(_MOST_MLP_RANK, inner, max(1, int((left - head_rank * size) / width)))
    return mlp_rank, head_rank


def unit(x: Tensor) -> Tensor:
    """Vectors of the last dimension, brought to mean square one."""
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-12)


def _orthonormal(rows: int, columns: int, seed: int) -> Tensor:
    """Random orthonormal rows, the same on every machine up to rounding."""
    drawn = torch.randn(columns, rows, generator=torch.Generator().manual_seed(seed))
    return torch.linalg.qr(drawn)[0].T.contiguous()
