"""What a model of several tasks minimises, beyond the weighted sum: objectives that weigh the tasks against each other.

The weighted sum of the tasks' losses is `weighted_token_loss` itself, over rows that `data.mixing.mixed` has weighted;
`narrowed_loss` is the same with less padding.
Here are the two alternatives that are known best: weights learnt from how uncertain each task is (`uncertainty_loss`),
and gradients that are kept from undoing each other (`Projected`). A well-tuned weighted sum does about as well as
either (Kurin et al. 2022, "In defense of the unitary scalarization for deep multi-task learning"), so neither is meant
as a default.

Both are for batches of rows that begin with the token of their task, as `data.mixing.of_task` makes them.

Shapes: B rows, T tokens, D hidden width, N rows of one task, K tasks (of the model, or in the batch).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from autogpt.data.batching import Batch
from autogpt.data.joint_batches import narrowed, of_rows
from autogpt.training.objectives import backbone, weighted_token_loss, wide

__all__ = ["Projected", "narrowed_loss", "projected_sum", "tasks_of", "uncertainty_loss"]

_Gradients = list[Tensor | None]


def tasks_of(model: Any, batch: Batch) -> Tensor:
    """The task of each row, [B], on the batch's device: how far its first token lies above the vocabulary.

    Raises:
        ValueError: a row begins with a token of the vocabulary.
    """
    tasks_B = batch.ids_BT[:, 0] - backbone(model).config.vocab_size
    if bool((tasks_B < 0).any()):
        raise ValueError("a row does not begin with the token of its task")
    return tasks_B


def narrowed_loss(model: Any, batch: Batch) -> Tensor:
    """`weighted_token_loss` of rows that may differ much in length, which go through the model in parts."""
    losses = [weighted_token_loss(model, part) for part in narrowed(batch)]
    return torch.stack(losses).sum()


def uncertainty_loss(model: Any, batch: Batch) -> Tensor:
    """Losses weighted by learnt uncertainties (Kendall, Gal & Cipolla 2018), summed over the weighted tokens.

    With s = `model.log_variances` the gradient, by the weights and by s, is that of

        sum over tokens of weight * (exp(-s_k) * nll + s_k / 2),    k the row's task.

    That is their loss of a classification, nll / sigma^2 + log(sigma), with s = log(sigma^2) in its place, which needs
    no bound: convex in s, and smallest at exp(-s_k) = 1 / (2 * mean nll of task k). So in the end a task counts by its
    weights over its mean loss. s is learnt at the rate of the other parameters: in a few dozen steps it hardly moves.

    The value is the summed, weighted nll in nats, as that of `weighted_token_loss`: what the loop prints stays a
    likelihood that can be compared. The sum above is none, and may be negative.

    Raises:
        TypeError: the model has no log-variances (`config.uncertainty`).
    """
    tasks_B, log_variances_K = tasks_of(model, batch), getattr(backbone(model), "log_variances", None)
    if log_variances_K is None:
        raise TypeError(f"uncertainties were asked of a {type(backbone(model)).__name__} without log_variances")
    value = loss = torch.zeros((), dtype=log_variances_K.dtype, device=batch.ids_BT.device)
    for task in tasks_B.unique().tolist():
        part = of_rows(batch, (tasks_B == task).nonzero()[:, 0])
        nll, s = weighted_token_loss(model, part), log_variances_K[task]
        value = value + nll.detach()
        loss = loss + torch.exp(-s) * nll + part.weights_BT[:, 1:].sum() * s / 2
    return _Told.apply(value, loss)


@dataclass(frozen=True, slots=True)
class Projected:
    """The weighted sum with projected conflicting gradients (PCGrad: Yu et al. 2020, "Gradient surgery").

    The gradient of each task in the batch is projected onto the normal plane of every other task's gradient, in random
    order, where the two point apart; the projections are added up. Between tasks that agree nothing changes, and with
    one task in the batch this is `weighted_token_loss`.

    Vectors are compared over the shared parameters. Left out, and given the plain sum, are those of one task only:
    tensors that a single task of the batch reaches, and tensors whose first dimension is the task, in which each task
    of the batch reaches its own entry alone (task embeddings, adapters of a task's own). Disjoint entries would add
    nothing to a dot product but would to the norm that it is divided by: conflicts would be taken back only in part,
    and each projection would pull on the entries of the other task.

    The tasks go through the model one after the other, in rows as wide as their longest, so that a step computes what
    a plain one does, and less padding. Going over the gradients takes the rest: with 6M parameters and 4096 tokens a
    step takes 4 % longer in fp32, and in bf16 11 % (2 tasks) to 28 % (4). One gradient for each task in the batch is
    held. Where the loop divides a batch, each part is projected by itself, which is a noisier version of the same.

    What it does not do: make use of compiled steps (the parts have shapes of their own); give the gradient where none
    is enabled, where it is `weighted_token_loss`.

    Attributes:
        step: the number of the step that is done. The order of a step depends on it and on the seed, so that a resumed
            run goes on the same.
        seed: of the order.
    """

    step: Callable[[], int]
    seed: int = 0

    def __call__(self, model: Any, batch: Batch) -> Tensor:
        """The summed, weighted loss in nats, whose gradient is the sum of the projected gradients.

        The gradient is complete when this returns; `backward` only hands it over, multiplied by what stands before it,
        and can do so once. Second derivatives are an error.
        """
        tasks_B = tasks_of(model, batch)
        present = tasks_B.unique().tolist()
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        if len(present) == 1 or not torch.is_grad_enabled():
            return weighted_token_loss(model, batch)
        value, gradients = torch.zeros((), device=batch.ids_BT.device), list[_Gradients]()
        for task in present:
            part = of_rows(batch, (tasks_B == task).nonzero()[:, 0])
            loss = weighted_token_loss(model, part)
            with torch.autocast(loss.device.type, enabled=False):  # as the loop, which goes back outside of it
                gradients.append(list(torch.autograd.grad(loss, trained, allow_unused=True)))
            value = value + loss.detach()
        summed = self._combined(gradients, present)
        reached = [(parameter, total) for parameter, total in zip(trained, summed, strict=True) if total is not None]
        parameters, totals = [parameter for parameter, _ in reached], [total for _, total in reached]
        return _Given.apply(value, totals, *parameters)

    def _combined(self, gradients: Sequence[_Gradients], present: Sequence[int]) -> _Gradients:
        """The sum of the projected gradients, by parameter; None where no task reaches it. Uses up `gradients`.

        Every projection is a combination of the tasks' gradients, and their dot products say which. So the vectors are
        gone over twice, whatever the number of projections.
        """
        shared = [_is_shared(of_tasks, present) for of_tasks in zip(*gradients, strict=True)]
        gram_KK = np.zeros((len(present), len(present)))
        for is_shared, of_tasks in zip(shared, zip(*gradients, strict=True), strict=True):
            if is_shared:
                gram_KK += _dots(of_tasks)
        factors_K = projected_sum(gram_KK, np.random.default_rng([self.seed, self.step()]))
        summed: _Gradients = []
        for place, is_shared in enumerate(shared):
            total: Tensor | None = None
            for of_task, factor in zip(gradients, factors_K.tolist(), strict=True):
                gradient, of_task[place] = of_task[place], None
                if gradient is not None:
                    factor = factor if is_shared else 1.0
                    total = gradient * factor if total is None else total.add_(gradient, alpha=factor)
            summed.append(total)
        return summed


def projected_sum(gram_KK: npt.NDArray[np.float64], rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """How often each gradient is in the sum of the projected ones, [K]: algorithm 1 of Yu et al. 2020.

    Args:
        gram_KK: dot products of the tasks' gradients; all that the algorithm needs to know of them.
        rng: draws, for each gradient in turn, the order of those that it is projected onto.
    """
    count = len(gram_KK)
    total_K = np.zeros(count)
    for own in range(count):
        mine_K = np.zeros(count)  # the projection so far, as a combination of the gradients
        mine_K[own] = 1.0
        for other in rng.permutation(count):
            along = float(mine_K @ gram_KK[:, other])
            if other != own and along < 0 and gram_KK[other, other] > 0:
                mine_K[other] -= along / gram_KK[other, other]
        total_K += mine_K
    return total_K


def _dots(of_tasks: Sequence[Tensor | None]) -> npt.NDArray[np.float64]:
    """Dot products of the gradients of one parameter, [K, K]."""
    flat = [(k, wide(gradient).reshape(-1)) for k, gradient in enumerate(of_tasks) if gradient is not None]
    pairs = list(itertools.combinations_with_replacement(flat, 2))
    found = torch.stack([torch.dot(first, second) for (_, first), (_, second) in pairs]).tolist()
    dots_KK = np.zeros((len(of_tasks), len(of_tasks)))
    for ((i, _), (j, _)), dot in zip(pairs, found, strict=True):
        dots_KK[i, j] = dots_KK[j, i] = dot
    return dots_KK


def _is_shared(of_tasks: Sequence[Tensor | None], present: Sequence[int]) -> bool:
    """Whether one parameter's gradients, one for each task that is present, are those of a shared parameter."""
    reached = [(task, gradient) for task, gradient in zip(present, of_tasks, strict=True) if gradient is not None]
    if len(reached) < 2:
        return False
    return not all(_is_own(gradient, task) for task, gradient in reached)


def _is_own(gradient: Tensor, task: int) -> bool:
    """Whether only the entry `task` of the first dimension is reached."""
    if gradient.ndim == 0 or len(gradient) <= task:
        return False
    neighbour = 1 if task == 0 else 0  # tells most tensors apart at once
    if len(gradient) > 1 and bool(gradient[neighbour].any()):
        return False
    return not bool(gradient[:task].any()) and not bool(gradient[task + 1 :].any())


class _Told(torch.autograd.Function):
    """`value`, with the gradient of `loss`: unlike a difference of the two exact to the last bit."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, loss: Tensor) -> Tensor:
        ctx.dtype = loss.dtype
        return value.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, Tensor]:
        return None, grads[0].to(ctx.dtype)


class _Given(torch.autograd.Function):
    """`value`, with a gradient that has been computed before."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, totals: list[Tensor], *parameters: Tensor) -> Tensor:
        ctx.totals = totals
        return value.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        totals, ctx.totals = ctx.totals, None
        if totals is None:
            raise RuntimeError("the gradient has been handed over already")
        return None, None, *(total.mul_(grads[0].to(total.dtype)) for total in totals)
