"""Learning a mixture: the objective of a latent-variable GPT, in which the components share out the rows.

For each row every component says how likely the answer is, s_j = log p(y|z_j, x), with dropout off. From that follow
the responsibilities r = softmax((s + log p(z|x)) / tau), without gradient. What is minimised is

    - sum_j q_j s_j - sum_j r_j log p(z_j|x) + balance * KL(mean of r || uniform)

where `soft` takes q = r, so that at tau = 1 the gradient is that of the exact log p(y|x) (Dempster et al. 1977; the
form of Shen et al. 2019); `sampled` draws one component of each row from r, which is the same gradient on average and
trains one suffix instead of M (stochastic EM, Celeux & Diebolt 1985), and leaves the balance out; and `hard` gives the
most responsible component 1 - eps and the others eps between them (relaxed winner-takes-all, Rupprecht et al. 2017).
All begin with responsibilities from a clustering of the answers, without which the components would stay equal, and are
then annealed: the gaps between the s_j grow with the length of the answer and would make every choice final at once.

`sampled` is the default: on mixtures of Markov chains it comes as near to the oracle as `soft` and nearer than `hard`
(benchmarks/bench_latent.py), and a step takes two thirds of theirs.

Shapes: B rows, T tokens, M components, R = B * M rows of the suffix, D hidden width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F

from autogpt.data.batching import Batch
from autogpt.models import fused
from autogpt.models.latent import LatentGPT
from autogpt.training.mixture_batches import LatentBatch
from autogpt.training.objectives import backbone

__all__ = ["Mixture", "MixtureKind", "log_marginal", "responsibilities"]

MixtureKind = Literal["soft", "hard", "sampled"]

_CLUSTERED = 0.2
"""Share of the steps in which the components learn the clusters that they were given. With 0.05 they part less."""
_ANNEALED = 0.4
"""Share of the steps after which responsibilities are no longer tempered and balanced."""
_HOTTEST = 4.0
_BALANCE = 0.01
_LEAST_SHARE = 1e-6
"""A component with a smaller share is not taught by a row: the head is spared, and numbers that slow a CPU down."""


def responsibilities(logs_BM: torch.Tensor, log_prior_BM: torch.Tensor, temperature: float = 1.0) -> torch.Tensor:
    """p(z|x, y), [B, M]: softmax of the tempered joint log-probabilities."""
    return torch.softmax((logs_BM + log_prior_BM) / temperature, -1)


@dataclass(frozen=True, slots=True)
class Mixture:
    """The objective over the batches of `LatentBatches`.

    Attributes:
        progress: share of the steps that are done, 0 to 1: it anneals.
        kind: `sampled`, `soft` or `hard`.
        eps: what `hard` gives to all components but the winner.
        balance: weight of the divergence of the mean responsibilities from equal ones, at the start.
    """

    progress: Callable[[], float]
    kind: MixtureKind = "sampled"
    eps: float = 0.05
    balance: float = _BALANCE

    def __call__(self, model: Any, batch: Batch) -> torch.Tensor:
        """Negative log marginal likelihood of the batch in nats, summed; its gradient is that of the objective.

        The value is exact and without dropout. Each token of an answer counts with its weight; where prompt tokens have
        one, their loss under the responsible components is added. The loop divides by the sum of the weights. Where
        there is dropout, or one component is drawn, responsibilities take a forward pass of their own.
        """
        latent, share = _latent_model(model), self.progress()
        answers_BT = _answers(batch)
        prompt_BT, own_BT = _prompt(answers_BT), batch.weights_BT * answers_BT
        of_prompt_BT = batch.weights_BT * ~answers_BT
        every_R, dropping = latent.every(len(batch.ids_BT)), latent.training and bool(latent.config.dropout)
        twice = dropping or self.kind == "sampled"
        with _evaluating(latent, dropping), torch.set_grad_enabled(torch.is_grad_enabled() and not twice):
            out = latent.model(batch.ids_BT, use_cache=False, latent=every_R)
        log_prior_BM = latent.model.log_prior(out.trunk_state, prompt_BT)
        with torch.no_grad():
            logs_BM = latent.logs(out.last_hidden_state, batch.ids_BT, own_BT)
            given_BM, taught_BM = self.shares(logs_BM, log_prior_BM, _clusters(batch), share)
            exact = -torch.logsumexp(logs_BM + log_prior_BM, -1).sum()
            if bool(of_prompt_BT[:, 1:].any()):
                exact = exact - (given_BM * latent.logs(out.last_hidden_state, batch.ids_BT, of_prompt_BT)).sum()
        shared_BM = given_BM
        if self.kind == "sampled":
            every_R = taught_BM.argmax(-1)
            taught_BM = shared_BM = torch.ones_like(taught_BM[:, :1])
        if twice:
            out = latent.model(batch.ids_BT, use_cache=False, latent=every_R)
        weights_BMT = taught_BM[:, :, None] * own_BT[:, None] + shared_BM[:, :, None] * of_prompt_BT[:, None]
        loss = _weighted_loss(latent, out.last_hidden_state, batch.ids_BT, weights_BMT)
        loss = loss - (given_BM * log_prior_BM).sum()
        return loss + (exact - loss).detach()

    def shares(
        self, logs_BM: torch.Tensor, log_prior_BM: torch.Tensor, cluster_B: torch.Tensor | None, share: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(responsibilities; how much each component is taught by each row, the balance counted in), both [B, M].

        Args:
            logs_BM: log p(y|z,x).
            log_prior_BM: log p(z|x).
            cluster_B: component that each row is given to at first, -1 or None for none.
            share: of the steps that are done.
        """
        heat = max(0.0, 1 - share / _ANNEALED)
        temperature = 1 + (_HOTTEST - 1) * heat
        r_BM = responsibilities(logs_BM, log_prior_BM, temperature)
        clustered = cluster_B is not None and share < _CLUSTERED and bool((cluster_B >= 0).all())
        if clustered and cluster_B is not None:
            r_BM = F.one_hot(cluster_B, r_BM.shape[1]).to(r_BM.dtype)
        if self.kind == "sampled":
            return r_BM, F.one_hot(torch.multinomial(r_BM, 1)[:, 0], r_BM.shape[1]).to(r_BM.dtype)
        taught_BM = r_BM if self.kind == "soft" and not clustered else self._relaxed(r_BM)
        taught_BM = torch.where(taught_BM < _LEAST_SHARE, 0.0, taught_BM)
        if self.balance and heat:
            slope_BM = _balance_slope(logs_BM, log_prior_BM, temperature)
            taught_BM = taught_BM - self.balance * heat * len(r_BM) * slope_BM
        return r_BM, taught_BM

    def _relaxed(self, r_BM: torch.Tensor) -> torch.Tensor:
        """The winner's share 1 - eps, and eps between the others by their responsibilities."""
        if r_BM.shape[1] == 1:
            return r_BM
        winner_BM = F.one_hot(r_BM.argmax(-1), r_BM.shape[1]).to(r_BM.dtype)
        others_BM = (r_BM + 1e-6) * (1 - winner_BM)
        return (1 - self.eps) * winner_BM + self.eps * others_BM / others_BM.sum(-1, keepdim=True)


def log_marginal(model: Any, batch: Batch) -> torch.Tensor:
    """log p(y|x) of each row in nats, [B], exactly: log sum_z p(z|x) p(y|z,x).

    Of a `LatentBatch` y is the answer; of any other batch, all weighted tokens, by their weights. Dropout is as the
    model's mode says; gradients flow where they are enabled.
    """
    answers_BT = _answers(batch)
    prior_BM, logs_BM = _latent_model(model).joint(batch.ids_BT, _prompt(answers_BT), batch.weights_BT * answers_BT)
    return torch.logsumexp(prior_BM + logs_BM, -1)


def _latent_model(model: Any) -> LatentGPT:
    latent = backbone(model)
    if not isinstance(latent, LatentGPT):
        raise TypeError(f"a mixture was given a {type(latent).__name__}, expected a LatentGPT")
    return latent


def _answers(batch: Batch) -> torch.Tensor:
    return batch.answers_BT if isinstance(batch, LatentBatch) else batch.weights_BT > 0


def _clusters(batch: Batch) -> torch.Tensor | None:
    return batch.cluster_B if isinstance(batch, LatentBatch) else None


def _prompt(answers_BT: torch.Tensor) -> torch.Tensor:
    """What stands before the first token of y; where nothing does, that token itself, which is then not predicted."""
    prompt_BT = answers_BT.cumsum(-1) == 0
    prompt_BT[:, 0] = True
    return prompt_BT


@contextmanager
def _evaluating(model: LatentGPT, needed: bool) -> Iterator[None]:
    """Dropout off for a while, where it is on."""
    if not needed:
        yield
        return
    model.eval()
    try:
        yield
    finally:
        model.train()


def _balance_slope(logs_BM: torch.Tensor, log_prior_BM: torch.Tensor, temperature: float) -> torch.Tensor:
    """Derivative of KL(mean of the responsibilities || uniform) by each log-probability, [B, M]."""
    with torch.enable_grad():
        free_BM = logs_BM.detach().requires_grad_()
        mean_M = responsibilities(free_BM, log_prior_BM, temperature).mean(0)
        divergence = (mean_M * (mean_M.clamp_min(1e-12) * len(mean_M)).log()).sum()
        (slope_BM,) = torch.autograd.grad(divergence, free_BM)
    return slope_BM


def _weighted_loss(
    model: LatentGPT, hidden_RTD: torch.Tensor, ids_BT: torch.Tensor, weights_BMT: torch.Tensor
) -> torch.Tensor:
    """Sum of the negative log-likelihoods of the tokens under each component, weighted."""
    weights_RT = weights_BMT.flatten(0, 1)[:, 1:]
    targets_RT = ids_BT.repeat_interleave(weights_BMT.shape[1], 0)[:, 1:]
    chosen_RT = weights_RT != 0
    hidden_ND, targets_N = hidden_RTD[:, :-1][chosen_RT], targets_RT[chosen_RT]
    return fused.cross_entropy(hidden_ND, model.lm_head.weight, targets_N, weights_RT[chosen_RT])
