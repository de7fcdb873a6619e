"""The one training loop: a generator of events over a state that can be saved, restored and continued.

    state = start(model, settings)
    for event in train(state, batches, settings, until=1000):
        ...                                      # stop iterating at any time: the state is whole after every event

The caller owns the clock, the validation and the checkpoints: it looks at the state between two events, scores it (with
`averaged(state)`), saves it, cools it down by setting `state.schedule`, or drops it. What varies between tasks is the
objective and the batches, never the loop.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from autogpt.config import home
from autogpt.data.batching import Batch, Steps
from autogpt.errors import StoreError, TrainingError
from autogpt.events import Event
from autogpt.models.gpt_config import GPTConfig
from autogpt.models.sizing import flops_per_token
from autogpt.training import checkpoint
from autogpt.training.machine import keep_freed_memory, peak_memory_mb
from autogpt.training.objectives import backbone, weighted_token_loss
from autogpt.training.optim import Ema, Optimizer, OptimizerKind, Schedule, create_optimizer

__all__ = [
    "Objective",
    "TrainSettings",
    "TrainState",
    "averaged",
    "compile_steps",
    "load_state",
    "save_state",
    "start",
    "train",
]

_REMEMBERED = ("step", "exp_avg", "exp_avg_sq", "momentum_buffer")
"""What AdamW and Muon keep of a parameter."""

Objective = Callable[[Any, Batch], torch.Tensor]


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """How a model is trained.

    Attributes:
        learning_rate: peak rate.
        weight_decay: decay of the matrices.
        optimizer: see `create_optimizer`.
        warmup_steps: steps in which the rate rises.
        max_grad_norm: gradients are clipped to this norm.
        precision: fp32, or bf16 autocast.
        device: where the batches go.
        micro_tokens: most padded tokens of one forward pass; larger batches are accumulated.
        compile: `compile_steps` from the first step on.
        seed: of dropout.
        peak_flops: what the machine could do in a second (`Machine.flops_per_s`), for the share of it that is used.
    """

    learning_rate: float
    weight_decay: float = 0.1
    optimizer: OptimizerKind = "adamw"
    warmup_steps: int = 20
    max_grad_norm: float = 1.0
    precision: str = "fp32"
    device: str = "cpu"
    micro_tokens: int = 16384
    compile: bool = False
    seed: int = 0
    peak_flops: float | None = None


@dataclass(slots=True)
class TrainState:
    """Everything that training changes.

    Attributes:
        seconds: time inside the loop only.
        micro_tokens: most tokens of one forward pass since memory ran out; None while it has not.
        compiled: the blocks' forward passes as `compile_steps` made them; none where steps are not compiled.
        has_compiled: whether a step has gone through them.
    """

    model: Any
    optimizer: Optimizer
    ema: Ema
    schedule: Schedule
    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    micro_tokens: int | None = None
    compiled: list[Callable[..., Any]] = field(default_factory=list)
    has_compiled: bool = False

    @property
    def tokens_per_s(self) -> float:
        return self.tokens / self.seconds if self.seconds else 0.0


def start(model: Any, settings: TrainSettings) -> TrainState:
    """A fresh state at step 0. Seeds dropout, and has the process keep the memory that steps free."""
    keep_freed_memory()
    torch.manual_seed(settings.seed)
    optimizer = create_optimizer(model, settings.learning_rate, settings.weight_decay, settings.optimizer)
    state = TrainState(
        model, optimizer, Ema(model.parameters()), Schedule(settings.learning_rate, settings.warmup_steps)
    )
    if settings.compile:
        compile_steps(state)
    return state


def compile_steps(state: TrainState) -> None:
    """Run the blocks through `torch.compile` from the next step on; outside of steps they stay as they are.

    One shape is compiled, that of the next step; batches of another one take the plain way. What was compiled is kept
    in `$AUTOGPT_HOME/cache/inductor`.
    """
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(home() / "cache" / "inductor"))
    state.compiled = [torch.compile(block.forward, dynamic=False) for block in backbone(state.model).base_model.layers]


@contextmanager
def _compiled(state: TrainState) -> Iterator[None]:
    """The blocks' compiled passes in the place of the plain ones."""
    if not state.compiled:
        yield
        return
    blocks = backbone(state.model).base_model.layers
    for block, forward in zip(blocks, state.compiled, strict=True):
        block.forward = forward
    try:
        with torch.compiler.set_stance("eager_on_recompile" if state.has_compiled else "default"):
            yield
        state.has_compiled = True
    finally:
        for block in blocks:
            del block.forward


def _parts(batch: Batch, limit: int) -> Iterator[Batch]:
    """`batch` in slices of at most `limit` padded tokens (at least one row each)."""
    rows, length = batch.ids_BT.shape
    size = max(1, limit // length)
    if size >= rows:
        yield batch
        return
    for first in range(0, rows, size):
        yield batch.rows(first, first + size)


def _gradients(state: TrainState, batch: Batch, settings: TrainSettings, objective: Objective) -> float | None:
    """Add up the gradients of `batch` and return its mean loss; None when memory ran out, and smaller parts may do."""
    total, weight = 0.0, float(batch.weights_BT[:, 1:].sum())
    try:
        for part in _parts(batch, state.micro_tokens or settings.micro_tokens):
            bf16 = settings.precision == "bf16"
            with _compiled(state), torch.autocast(settings.device, torch.bfloat16, enabled=bf16):
                loss = objective(state.model, part)
            (loss / weight).backward()
            total += float(loss.detach())
        return total / weight
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            if not state.compiled or state.has_compiled:
                raise
            state.compiled = []  # a compiler that does not work is no reason to stop: the plain way always does
            state.optimizer.zero_grad()
            return _gradients(state, batch, settings, objective)
        if state.micro_tokens is not None:
            raise TrainingError(
                f"memory ran out at step {state.step}, also with half of a batch at a time",
                found=" ".join(str(error).split())[:200],
                todo="narrow search.space to smaller shapes or fewer tokens_per_step",
            ) from error
    state.optimizer.zero_grad()
    state.micro_tokens = max(1, min(settings.micro_tokens, batch.ids_BT.numel()) // 2)
    if settings.device == "cuda":
        torch.cuda.empty_cache()
    return None


def _is_out_of_memory(error: BaseException) -> bool:
    """Whether this is the allocator's error: PyTorch raises a plain RuntimeError for the CPU's."""
    told = str(error)
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        "DefaultCPUAllocator" in told or "not enough memory" in told
    )


def train(
    state: TrainState,
    batches: Steps,
    settings: TrainSettings,
    *,
    until: int | None = None,
    objective: Objective = weighted_token_loss,
) -> Iterator[Event]:
    """Train until step `until` or the end of the schedule, one `training.step` event a step.

    The batch of a step depends on the step alone and dropout on the saved random state, so a restored state continues
    bit for bit as if it had never stopped.

    When memory runs out, the step is done again in halves, and so are all that follow; a `training.out_of_memory` event
    says so.

    Raises:
        TrainingError: the loss is not finite, and the state not to be used again; or memory ran out a second time.
    """
    model, trained = state.model, [p for p in state.model.parameters() if p.requires_grad]
    wholly_trained = all(p.requires_grad for p in model.parameters())
    model.train()
    while (until is None or state.step < until) and (state.schedule.end is None or state.step < state.schedule.end):
        began = time.perf_counter()
        batch = batches.batch(state.step).to(settings.device)
        rate = state.schedule.rate(state.step)
        state.optimizer.set_rate(rate)
        loss_mean = _gradients(state, batch, settings, objective)
        if loss_mean is None:
            yield Event("training.out_of_memory", {"step": state.step, "micro_tokens": state.micro_tokens})
            continue
        if not loss_mean < 1e4:
            raise TrainingError(
                f"the loss is {loss_mean:.4g} at step {state.step}", todo="lower the learning rate (search.space.lr)"
            )
        norm = torch.nn.utils.clip_grad_norm_(trained, settings.max_grad_norm)
        state.optimizer.step()
        state.optimizer.zero_grad()
        state.ema.update(state.step)
        state.step += 1
        state.tokens += batch.tokens
        state.seconds += time.perf_counter() - began
        yield Event(
            "training.step",
            {
                "step": state.step,
                "steps": state.schedule.end,
                "loss": round(loss_mean, 5),
                "lr": rate,
                "grad_norm": round(float(norm), 4),
                "tokens_per_s": round(state.tokens_per_s),
                "mfu": _utilization(state, settings, batch.ids_BT.shape[1]) if wholly_trained else None,
                "memory_mb": peak_memory_mb(settings.device),
                "epoch": round(state.step / batches.steps_per_epoch, 3),
            },
        )
        model.train()


def _utilization(state: TrainState, settings: TrainSettings, length: int) -> float | None:
    """Model FLOPs utilization (Chowdhery et al. 2022) so far; None for a model that is no GPT of ours."""
    config = getattr(state.model, "config", None)
    if settings.peak_flops is None or not isinstance(config, GPTConfig):
        return None
    return round(flops_per_token(config, length) * state.tokens_per_s / settings.peak_flops, 4)


@contextmanager
def averaged(state: TrainState) -> Iterator[Any]:
    """The model in evaluation mode with the averaged weights; the trained weights come back at the end."""
    state.ema.swap()
    state.model.eval()
    try:
        yield state.model
    finally:
        state.ema.swap()
        state.model.train()


def _named_trained(model: Any) -> list[tuple[str, torch.nn.Parameter]]:
    return [(name, p) for name, p in model.named_parameters() if p.requires_grad]


def save_state(state: TrainState, folder: Path, extra: dict[str, Any] | None = None) -> Path:
    """Write `state` as a checkpoint; of an adapted base only the trained weights."""
    tensors: dict[str, torch.Tensor] = {"rng": torch.get_rng_state()}
    for (name, parameter), average in zip(_named_trained(state.model), state.ema.average, strict=True):
        tensors[f"weight.{name}"] = parameter
        tensors[f"average.{name}"] = average
        for key, value in state.optimizer.state_of(parameter).items():
            tensors[f"optimizer.{key}.{name}"] = value
    meta = {"tokens": state.tokens, "seconds": state.seconds, "schedule": asdict(state.schedule), **(extra or {})}
    return checkpoint.save(folder, state.step, tensors, meta)


def load_state(state: TrainState, folder: Path) -> checkpoint.Checkpoint | None:
    """Restore the newest valid checkpoint into a fresh `state` of the same model; None when there is none.

    Raises:
        StoreError: the checkpoint belongs to a model of another shape.
    """
    found = checkpoint.load_newest(folder)
    if found is None:
        return None
    for (name, parameter), average in zip(_named_trained(state.model), state.ema.average, strict=True):
        if f"weight.{name}" not in found.tensors or found.tensors[f"weight.{name}"].shape != parameter.shape:
            raise StoreError(f"checkpoint in {folder.name} is of another model", found=name, todo="start the run anew")
        parameter.data.copy_(found.tensors[f"weight.{name}"])
        average.copy_(found.tensors[f"average.{name}"])
        kept = {key: found.tensors.get(f"optimizer.{key}.{name}") for key in _REMEMBERED}
        # Beside the weights, where fused optimizers want them, and never the checkpoint's own memory.
        moments = {key: value.to(parameter.device, copy=True) for key, value in kept.items() if value is not None}
        state.optimizer.restore(parameter, moments)
    torch.set_rng_state(found.tensors["rng"])
    state.step, state.tokens = int(found.meta["step"]), int(found.meta["tokens"])
    state.seconds = float(found.meta["seconds"])
    state.schedule = Schedule(**found.meta["schedule"])
    return found
