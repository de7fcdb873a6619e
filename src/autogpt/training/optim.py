"""Optimizer, schedule and the running average of the weights."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch

__all__ = ["Ema", "Optimizer", "OptimizerKind", "Schedule", "adamw", "create_optimizer"]

OptimizerKind: TypeAlias = Literal["adamw", "muon"]


@dataclass(frozen=True, slots=True)
class Schedule:
    """Warm-up, stable, decay: the learning rate rises, stays, and falls linearly to zero once a cool-down is set.

    Without a cool-down the run is open-ended, so that a trial can be paused, judged and continued without a restart
    (Hägele et al. 2024, "Scaling laws and compute-optimal training beyond fixed training durations").
    """

    peak: float
    warmup_steps: int
    cooldown_start: int | None = None
    cooldown_steps: int = 0

    def rate(self, step: int) -> float:
        """Learning rate of 0-based `step`."""
        rate = self.peak * min(1.0, (step + 1) / max(1, self.warmup_steps))
        if self.cooldown_start is not None and step >= self.cooldown_start:
            rate *= max(0.0, 1.0 - (step - self.cooldown_start + 1) / max(1, self.cooldown_steps))
        return rate

    @property
    def end(self) -> int | None:
        """Step count after which the learning rate is zero; None while no cool-down is set."""
        return None if self.cooldown_start is None else self.cooldown_start + self.cooldown_steps


class Optimizer:
    """One or more of PyTorch's optimizers, each with its own parameters, stepped together."""

    def __init__(self, parts: Sequence[torch.optim.Optimizer]) -> None:
        self._parts = tuple(parts)

    def set_rate(self, rate: float) -> None:
        """The learning rate of the coming step."""
        for part in self._parts:
            for group in part.param_groups:
                group["lr"] = rate

    def step(self) -> None:
        for part in self._parts:
            part.step()

    def zero_grad(self) -> None:
        for part in self._parts:
            part.zero_grad(set_to_none=True)

    def state_of(self, parameter: torch.nn.Parameter) -> dict[str, torch.Tensor]:
        """What is remembered of `parameter`: moments, step count; empty before the first step."""
        return dict(self._of(parameter).state.get(parameter, {}))

    def restore(self, parameter: torch.nn.Parameter, state: Mapping[str, torch.Tensor]) -> None:
        self._of(parameter).state[parameter] = dict(state)

    def _of(self, parameter: torch.nn.Parameter) -> torch.optim.Optimizer:
        held = (part for part in self._parts for group in part.param_groups for p in group["params"] if p is parameter)
        return next(held)


def create_optimizer(
    model: torch.nn.Module, learning_rate: float, weight_decay: float = 0.0, kind: OptimizerKind = "adamw"
) -> Optimizer:
    """The optimizer of the trainable parameters; matrices decay, gains and biases do not.

    Args:
        kind: `adamw`; or `muon` (Jordan et al. 2024) for the matrices of the blocks and AdamW for everything else.
            Muon's updates are scaled to AdamW's size (Liu et al. 2025), so that one rate and one decay serve both.
    """
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    inner = {name for name, p in trained if kind == "muon" and p.ndim == 2 and ".layers." in f".{name}"}
    parts: list[torch.optim.Optimizer] = [
        adamw([p for name, p in trained if name not in inner], learning_rate, weight_decay)
    ]
    if inner:
        matrices = [p for name, p in trained if name in inner]
        parts.append(
            torch.optim.Muon(matrices, lr=learning_rate, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")
        )
    return Optimizer(parts)


def adamw(
    parameters: Iterable[torch.nn.Parameter], learning_rate: float, weight_decay: float = 0.0
) -> torch.optim.AdamW:
    """AdamW over those of `parameters` that are trained; matrices decay, gains and biases do not."""
    trained = [p for p in parameters if p.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]], lr=learning_rate, betas=(0.9, 0.95), eps=1e-8, fused=True
    )


class Ema:
    """Running average of the trained weights over roughly the last tenth of the steps.

    At a constant learning rate the average scores like a cooled-down model, which makes trials comparable at any step
    (see `Schedule`). The decay follows the step count: early averages must forget the random start.
    """

    def __init__(self, parameters: Iterable[torch.nn.Parameter], window: float = 0.1) -> None:
        self._parameters = [p for p in parameters if p.requires_grad]
        self.average = [p.detach().clone() for p in self._parameters]
        self._window = window
        self._every = 4

    def update(self, step: int) -> None:
        """Take in the weights after 0-based `step`; only each fourth step is averaged, to save memory traffic."""
        if step % self._every:
            return
        span = max(1.0, self._window * (step + 1) / self._every)
        weight = 1.0 - math.exp(-1.0 / span) if span > 1 else 1.0
        # No fused call here: torch._foreach_lerp_ is a private name.
        for average, parameter in zip(self.average, self._parameters, strict=True):
            average.lerp_(parameter.detach(), weight)

    def swap(self) -> None:
        """Exchange the weights and their average; call again to undo."""
        for average, parameter in zip(self.average, self._parameters, strict=True):
            kept = parameter.detach().clone()
            parameter.data.copy_(average)
            average.copy_(kept)
