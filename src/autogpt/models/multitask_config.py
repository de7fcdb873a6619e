"""The shape of a multi-task GPT: that of a GPT, how many tasks it does, and what they do not share."""

from __future__ import annotations

from typing import Any, Literal

from huggingface_hub.dataclasses import strict

from autogpt.models.gpt_config import GPTConfig

__all__ = ["MultitaskGPTConfig"]


@strict
class MultitaskGPTConfig(GPTConfig):
    """The shape of a `MultitaskGPT`.

    Attributes:
        tasks: how many, K.
        sharing: "shared": tasks differ in the embedding of their first token alone. "own": each has a low-rank adapter
            of its own beside every product of the blocks, too. "attention": the adapters of a block are mixed for each
            task, with learnt weights.
        adapter_rank: rank of an adapter.
        adapter_scale: factor on the adapters (LoRA's alpha over its rank). Adam moves all weights at one rate, so it
            sets how fast tasks part. From scratch more learns slower (benchmarks/results/multitask.md).
        adapters: how many, M; None for one a task (0 where all is shared).
        uncertainty: whether the model has a learnt log-variance of each task's loss (Kendall et al. 2018), which an
            objective may weight the tasks with; `forward` does not use it.
    """

    model_type = "autogpt_multitask"

    tasks: int = 2
    sharing: Literal["shared", "own", "attention"] = "shared"
    adapter_rank: int = 8
    adapter_scale: float = 0.25
    adapters: int | None = None
    uncertainty: bool = False

    def __post_init__(self, **kwargs: Any) -> None:
        if self.adapters is None:
            self.adapters = 0 if self.sharing == "shared" else self.tasks
        super().__post_init__(**kwargs)

    def validate_architecture(self) -> None:
        """Called by `@strict` after construction; raises ValueError for a shape that cannot be built."""
        super().validate_architecture()
        if self.sharing not in (known := ("shared", "own", "attention")):
            raise ValueError(f"no such sharing: {self.sharing!r}, expected one of {', '.join(known)}")
        for name in ("tasks", "adapter_rank"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected 1 or more")
        if not self.adapter_scale > 0:
            raise ValueError(f"adapter_scale is {self.adapter_scale}, expected more than 0")
        fixed = {"shared": 0, "own": self.tasks}.get(self.sharing)
        if fixed is not None and self.adapters != fixed:
            raise ValueError(f"adapters is {self.adapters}, expected {fixed} with sharing {self.sharing!r}")
        if self.sharing == "attention" and (self.adapters or 0) < 1:
            raise ValueError(f"adapters is {self.adapters}, expected 1 or more")

    @property
    def is_llama_shaped(self) -> bool:
        """False: no other architecture has task tokens. `plain` may be Llama's."""
        return False

    def plain(self) -> GPTConfig:
        """The shape of one task's model."""
        own = {
            "model_type",
            "architectures",
            "tasks",
            "sharing",
            "adapter_rank",
            "adapter_scale",
            "adapters",
            "uncertainty",
        }
        return GPTConfig(**{name: value for name, value in self.to_dict().items() if name not in own})
