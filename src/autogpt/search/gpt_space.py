"""What is searched for a task on this machine: where to start from, the shape of the GPT, and how it is trained."""

from __future__ import annotations

from collections.abc import Sequence

from autogpt.search.space import Choice, Float, Parameter, Space
from autogpt.tasks.spec import TaskKind, TaskSpec

__all__ = ["SCRATCH", "space_for"]

SCRATCH = "scratch"


def _default_width(characters: int) -> int:
    """More text feeds a wider model; the steps are where the smaller one stops winning in minutes on two cores."""
    return 128 if characters < 150_000 else 192 if characters < 600_000 else 256


def _default_vocabulary(characters: int) -> int:
    """About one entry for 100 characters: rarer tokens are seen too seldom to learn an embedding."""
    return 2048 if characters < 300_000 else 4096 if characters < 1_500_000 else 8192


def space_for(spec: TaskSpec, characters: int, bases: Sequence[str], *, scratch: bool = True) -> Space:
    """The space of configurations.

    Args:
        characters: size of the rendered training text.
        bases: pretrained starting points that fit the machine and the budget.
        scratch: whether training from scratch is allowed.
    """
    starts = ((SCRATCH,) if scratch else ()) + tuple(bases)
    own, tuned = {"start": (SCRATCH,)}, {"start": tuple(bases)}
    supervised = spec.kind is not TaskKind.GENERATION
    parameters = [
        Parameter("start", Choice(starts), starts[0], None, "from scratch, or a pretrained base"),
        Parameter("epochs", Choice((5, 10, 20, 40, 80)), 40, None, "passes over the data at the most"),
        Parameter("tokens_per_step", Choice((1024, 2048, 4096, 8192)), 2048, None, "padded tokens of one step"),
    ]
    if scratch:
        parameters += [
            Parameter("width", Choice((128, 192, 256, 384)), _default_width(characters), own, "hidden size"),
            Parameter("depth", Choice((3, 4, 6, 8)), 4, own, "number of blocks"),
            Parameter("block", Choice(("llama", "qk_norm_relu2")), "llama", own, "kind of block"),
            Parameter(
                "vocabulary", Choice((1024, 2048, 4096, 8192)), _default_vocabulary(characters), own, "BPE entries"
            ),
            Parameter("lr", Float(5e-4, 8e-3, log=True), 2e-3, own, "peak learning rate"),
            Parameter("weight_decay", Float(0.01, 1.0, log=True), 0.1, own, "decay of the matrices"),
            Parameter("dropout", Choice((0.0, 0.1, 0.2, 0.3)), 0.1, own, "share of activations dropped"),
        ]
        if supervised:
            parameters.append(
                Parameter("prompt_weight", Choice((0.0, 0.1, 0.3)), 0.1, own, "loss weight of the prompt's tokens")
            )
    if bases:
        lora = {**tuned, "method": ("lora",)}
        parameters += [
            Parameter("method", Choice(("full", "lora")), "full", tuned, "what of the base is trained"),
            Parameter("rank", Choice((8, 16, 32)), 16, lora, "rank of the LoRA matrices"),
            Parameter("lora_lr", Float(1e-4, 3e-3, log=True), 5e-4, lora, "peak learning rate of LoRA"),
            Parameter(
                "base_lr", Float(1e-5, 3e-4, log=True), 7e-5, {**tuned, "method": ("full",)}, "peak learning rate"
            ),
        ]
    return Space(tuple(parameters))
