"""What a configuration costs before it is started: seconds and peak bytes of a training step, and whether both fit.

A step's time is taken to be a sum of three: operations of matrix products, bytes of what lies between them
(element-wise work, which also stands for the loss of small products), and trained parameters (gradient clipping,
optimizer, running average). What each costs on this machine comes from timing steps of three small shapes. Steps of
other shapes, timed at the same moment, came within an eighth; what else the machine does later is not foreseen.

What this file does not do: disk, several devices, the compilation of `torch.compile`.
"""

from __future__ import annotations

import itertools
import os
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import torch

from autogpt.config import format_bytes
from autogpt.data.batching import Batch
from autogpt.events import Event
from autogpt.models.fused import loss_rows
from autogpt.models.gpt import GPT
from autogpt.models.gpt_config import GPTConfig
from autogpt.models.latent_config import LatentGPTConfig
from autogpt.models.sizing import activation_bytes, flops_per_token, head_flops, parameters, shape_for
from autogpt.training.loop import TrainSettings, start, train
from autogpt.training.machine import Machine

__all__ = [
    "Limits",
    "Method",
    "Rates",
    "Work",
    "free_bytes",
    "over_ceiling",
    "peak_bytes",
    "probe_rates",
    "seconds_per_step",
    "verdict",
]

Method: TypeAlias = Literal["full", "last_k", "lora"]

_PROBES = ((128, 3, 2048, 1024), (384, 3, 2048, 1024), (256, 1, 32768, 256))
"""Width, depth, vocabulary and tokens of the timed steps: so different that the three costs can be told apart, the last
with more parameters than a processor's cache holds."""
_SHARE_OF_FREE = 0.85
"""Of the free memory; allocators and libraries need the rest."""
_FP32_ACTIVATIONS = 1.8
"""Activations in float32 are this many times those of bf16 autocast, which keeps some in float32 too."""


_CAST_BYTES = 6
"""Of a frozen weight: read in float32 and written in bf16 by autocast at each step (trained ones: see the rate)."""


@dataclass(frozen=True, slots=True)
class Work:
    """What one training step does.

    Attributes:
        shape: of the model.
        tokens: padded tokens of a step.
        context: tokens of a row.
        scored: share of the tokens whose prediction is learnt; only they reach the head.
        method: what is trained: everything; the last `top` blocks (none: the head alone) above a trunk whose hidden
            states are kept; or adapters of `rank` in all linear layers.
    """

    shape: GPTConfig
    tokens: int
    context: int
    scored: float = 1.0
    method: Method = "full"
    top: int = 0
    rank: int = 0

    @property
    def trained(self) -> int:
        """Parameters that the optimizer changes."""
        if self.method == "full":
            return parameters(self.shape)
        blocks, head = (
            self._block_weights * self.shape.num_hidden_layers,
            self.shape.vocab_size * self.shape.hidden_size,
        )
        if self.method == "last_k":
            top = blocks * self.top // self.shape.num_hidden_layers
            return top + (0 if self._keeps_head else head)
        d, inner, kv = self.shape.hidden_size, self.shape.intermediate_size, self.shape.kv_size
        ends = 2 * (d + d) + 2 * (d + kv) + (3 if self.shape.mlp == "swiglu" else 2) * (d + inner)
        return self.shape.num_hidden_layers * self.rank * ends

    @property
    def _keeps_head(self) -> bool:
        """Whether the last blocks are trained below a head that stays as it is; a probe is given one of its own."""
        return self.shape.tie_word_embeddings and self.top > 0

    @property
    def _block_weights(self) -> int:
        one, two = (replace_shape(self.shape, num_hidden_layers=layers) for layers in (1, 2))
        return parameters(two) - parameters(one)

    @property
    def frozen(self) -> int:
        """Weights of the blocks that are kept for the backward pass and not trained.

        Not those of a trunk: without a backward pass their copies are made in the same few pages again and again.
        """
        return self.shape.num_hidden_layers * self._block_weights if self.method == "lora" else 0

    def flops(self, *, first_epoch: bool = False) -> float:
        """Operations of matrix products; `first_epoch` adds those of a trunk whose hidden states are not kept yet."""
        head = float(head_flops(self.shape))
        blocks = flops_per_token(self.shape, self.context) - head
        head *= self.scored
        frozen_head = head * (4 / 6 if self.method == "lora" or self._keeps_head else 1)
        if self.method == "full":
            return self.tokens * (blocks + head)
        if self.method == "lora":  # frozen weights have no gradient of their own; attention costs what it did
            attention = 12.0 * self.shape.num_hidden_layers * self.context * self.shape.hidden_size
            frozen = (blocks - attention) * 4 / 6
            return self.tokens * (frozen + attention + 6.0 * self.trained + frozen_head)
        upper = self.top / self.shape.num_hidden_layers
        trunk = blocks * (1 - upper) / 3 if first_epoch else 0.0
        return self.tokens * (blocks * upper + trunk + frozen_head)

    def traffic(self, *, first_epoch: bool = False) -> float:
        """Bytes between the products: activations of the blocks and the logits of scored tokens."""
        layers = self.shape.num_hidden_layers
        whole = float(activation_bytes(replace_shape(self.shape, max_position_embeddings=self.context), self.tokens))
        share = self.top / layers if self.method == "last_k" else 1.0
        if first_epoch and self.method == "last_k":
            share += (1 - share) / 3
        if self.method == "lora":  # each layer's output is added up from two, and the inputs are kept twice
            share *= 1.3
        logits = self.tokens * self.scored * self.shape.vocab_size * 10.0
        if isinstance(self.shape, LatentGPTConfig):  # responsibilities are read by all components, without a gradient
            last, M = self.shape.latent_layers or 0, self.shape.latents
            whole, logits = whole * (1 + (layers - last + M * last) / layers / 3), logits * (1 + M / 3)
        return whole * share + logits


def replace_shape(shape: GPTConfig, **fields: int) -> GPTConfig:
    """`shape` with other values in some of its fields."""
    return type(shape)(**{**shape.to_dict(), **fields})


@dataclass(frozen=True, slots=True)
class Rates:
    """What this machine takes for each of the three: seconds an operation, a byte between, a trained parameter."""

    flop_s: float
    byte_s: float
    parameter_s: float
    precision: str = "fp32"


def seconds_per_step(work: Work, rates: Rates, *, first_epoch: bool = False) -> float:
    """Predicted seconds of a step."""
    traffic = work.traffic(first_epoch=first_epoch)
    if rates.precision == "bf16":
        traffic += _CAST_BYTES * work.frozen
    return (
        rates.flop_s * work.flops(first_epoch=first_epoch) + rates.byte_s * traffic + rates.parameter_s * work.trained
    )


def peak_bytes(work: Work, *, precision: str = "bf16", kept_tokens: int = 0) -> int:
    """Predicted peak bytes of training, what the libraries themselves occupy not included.

    Either in a step (float32 weights; of the trained ones a gradient, two moments and the running average; under
    autocast a copy in bf16; activations, and logits and probabilities of a chunk) or while a checkpoint is written,
    which takes a copy of what is trained with its moments and average.

    Not counted: the second answers of preference pairs, and the moment that Muon does without.

    Args:
        kept_tokens: tokens of all rows, whose hidden states are kept in bf16 (method last_k).
    """
    half = precision == "bf16"
    weights = 4 * parameters(work.shape)
    used = work.trained if work.method == "last_k" else parameters(work.shape)
    share = work.top / work.shape.num_hidden_layers if work.method == "last_k" else 1.0
    shape = replace_shape(work.shape, max_position_embeddings=work.context)
    activations = activation_bytes(shape, work.tokens) * share * (1.0 if half else _FP32_ACTIVATIONS)
    scored = min(work.tokens * work.scored, loss_rows(work.shape.vocab_size))
    logits = scored * work.shape.vocab_size * 2 * (2 if half else 4)
    step = work.trained * 16 + (2 * used if half else 0) + activations + logits
    kept = kept_tokens * work.shape.hidden_size * 2 if work.method == "last_k" else 0
    return int(weights + kept + max(step, work.trained * (12 + 16)))


def free_bytes(device: str = "cpu") -> int | None:
    """Bytes that may still be taken: free memory, or less where a container has a limit. None where nothing tells."""
    if device == "cuda":
        return int(torch.cuda.mem_get_info()[0])
    found = []
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        found += [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    except (OSError, ValueError, IndexError):
        try:
            found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
        except (AttributeError, OSError, ValueError):
            return None
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()
        taken = Path("/sys/fs/cgroup/memory.current").read_text(encoding="ascii").strip()
        found += [int(limit) - int(taken)] if limit.isdigit() else []
    except (OSError, ValueError):
        pass
    return min(found) if found else None


@dataclass(frozen=True, slots=True)
class Limits:
    """What a configuration may take.

    Attributes:
        rates: of the machine; not looked at where `seconds` is None.
        seconds: of the run; None for as long as it takes.
        bytes: of memory that are free; None where it is not known.
        epochs: least passes over the data in those seconds.
        ceiling: bytes that the user lets training take (`search.max_memory`); None for any number.
    """

    rates: Rates
    seconds: float | None = None
    bytes: int | None = None
    epochs: float = 4.0
    ceiling: int | None = None


def over_ceiling(needed: int, ceiling: int | None) -> str:
    """Why training that takes `needed` bytes is above the user's ceiling, with both numbers; empty when it is not."""
    if ceiling is None or needed <= ceiling:
        return ""
    allowed = f"search.max_memory allows a trial {format_bytes(ceiling)}"
    return f"training takes about {format_bytes(needed)} of memory, {allowed}"


def verdict(work: Work, limits: Limits, *, steps: int) -> tuple[bool, str]:
    """Whether `work` fits memory and time, and why, in words.

    Args:
        steps: of one epoch.
    """
    needed = peak_bytes(work, precision=limits.rates.precision, kept_tokens=steps * work.tokens)
    if above := over_ceiling(needed, limits.ceiling):
        return False, above
    gib = f"{needed / 2**30:.1f} GiB"
    if limits.bytes is not None and needed > _SHARE_OF_FREE * limits.bytes:
        return False, f"training takes about {gib} of memory, {limits.bytes / 2**30:.1f} GiB are free"
    first_s = steps * seconds_per_step(work, limits.rates, first_epoch=True)
    later_s = steps * seconds_per_step(work, limits.rates)
    if limits.seconds is None:
        return True, gib
    told = f"an epoch takes about {later_s:.0f} s"
    if work.method == "last_k":
        told = f"the first epoch takes about {first_s:.0f} s and each later one {later_s:.0f} s"
    if first_s + (limits.epochs - 1) * later_s > limits.seconds:
        return False, f"{told}: fewer than {limits.epochs:g} passes over the data in {limits.seconds:.0f} s"
    return True, f"{told}, {gib}"


def probe_rates(machine: Machine) -> Rates:
    """The costs of this machine, from a few training steps of each of three small shapes (one to three seconds)."""
    works = [Work(shape_for(w, depth=d, vocab_size=v, context=128), tokens, 128) for w, d, v, tokens in _PROBES]
    return fit_rates(list(zip(works, timed_steps(works, machine), strict=True)), machine.precision)


def fit_rates(measured: Sequence[tuple[Work, float]], precision: str) -> Rates:
    """The rates, none below zero, with the least relative error over the measured steps (work, seconds)."""
    rows = np.array([[work.flops(), work.traffic(), work.trained] for work, _ in measured], dtype=np.float64)
    scaled = rows / np.array([seconds for _, seconds in measured])[:, None]
    best, error = np.zeros(3), np.inf
    for count in (1, 2, 3):
        for columns in itertools.combinations(range(3), count):
            found = np.linalg.lstsq(scaled[:, columns], np.ones(len(scaled)), rcond=None)[0]
            left = float(np.linalg.norm(scaled[:, columns] @ found - 1))
            if (found >= 0).all() and left < error - 1e-9:
                best, error = np.zeros(3), left
                best[list(columns)] = found
    return Rates(float(best[0]), float(best[1]), float(best[2]), precision)


class _SameBatch:
    """One batch at every step, all of whose tokens are predicted."""

    steps_per_epoch = 1

    def __init__(self, vocabulary: int, tokens: int, context: int) -> None:
        ids_BT = torch.randint(0, vocabulary, (max(1, tokens // context), context))
        weights_BT = torch.ones(ids_BT.shape)
        weights_BT[:, 0] = 0.0
        size = ids_BT.numel()
        self._batch = Batch(ids_BT, ids_BT, weights_BT, torch.ones_like(ids_BT), size, size - len(ids_BT))

    def batch(self, step: int) -> Batch:
        return self._batch


def timed_steps(works: Sequence[Work], machine: Machine, rounds: int = 4) -> list[float]:
    """Median seconds of a full training step of each of `works`, all of whose tokens are predicted.

    Taken in turns, so that what else the machine does hits all of them alike; the first round, which allocates, does
    not count.
    """
    runs: list[Iterator[Event]] = []
    times: list[list[float]] = [[] for _ in works]
    with torch.random.fork_rng():
        for work in works:
            model: torch.nn.Module = GPT(work.shape)
            model = model.to(torch.device(machine.device))
            settings = TrainSettings(learning_rate=1e-3, precision=machine.precision, device=machine.device)
            batches = _SameBatch(work.shape.vocab_size, work.tokens, work.context)
            runs.append(train(start(model, settings), batches, settings))
        for _ in range(rounds + 1):
            for run, taken in zip(runs, times, strict=True):
                began = time.perf_counter()
                next(run)
                taken.append(time.perf_counter() - began)
    return [statistics.median(taken[1:]) for taken in times]
