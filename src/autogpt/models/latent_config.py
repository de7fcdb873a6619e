"""The shape of a latent-variable GPT: that of a GPT, and how many components share how much of it."""

from __future__ import annotations

from typing import Any

from huggingface_hub.dataclasses import strict

from autogpt.models.gpt_config import GPTConfig

__all__ = ["LatentGPTConfig"]


@strict
class LatentGPTConfig(GPTConfig):
    """The shape of a `LatentGPT`.

    Attributes:
        latents: values of the latent z, each of which is one component of the mixture.
        latent_rank: rank of a component's own part of each matrix that has one.
        latent_scale: factor on a component's own parts (LoRA's alpha over its rank). Adam moves all weights at one
            rate, so it sets how fast components part: with 8 they share the rows out better than with 1, and the exact
            likelihood is higher at equal steps.
        latent_layers: last layers that differ between components; None for a quarter of all, rounded up.
        models_prompt: whether a prompt is the beginning of the text that is modelled, as in plain continuation, and not
            a condition on it. The probability of z given a prompt is then the exact posterior, and without it the
            learnt prior.
    """

    model_type = "autogpt_latent"

    latents: int = 4
    latent_rank: int = 4
    latent_scale: float = 8.0
    latent_layers: int | None = None
    models_prompt: bool = False

    def __post_init__(self, **kwargs: Any) -> None:
        if self.latent_layers is None:
            self.latent_layers = -(-self.num_hidden_layers // 4)
        super().__post_init__(**kwargs)

    def validate_architecture(self) -> None:
        """Called by `@strict` after construction; raises ValueError for a shape that cannot be built."""
        super().validate_architecture()
        for name in ("latents", "latent_rank"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected 1 or more")
        if not self.latent_scale > 0:
            raise ValueError(f"latent_scale is {self.latent_scale}, expected more than 0")
        if not 1 <= (self.latent_layers or 0) <= self.num_hidden_layers:
            raise ValueError(f"latent_layers is {self.latent_layers}, expected 1 to {self.num_hidden_layers}")

    @property
    def first_latent_layer(self) -> int:
        """Index of the first layer that differs between components; the layers below it are the trunk."""
        return self.num_hidden_layers - (self.latent_layers or 0)

    @property
    def is_llama_shaped(self) -> bool:
        """False: no other architecture has latents. `plain` may be Llama's."""
        return False

    def plain(self) -> GPTConfig:
        """The shape of one component."""
        own = {
            "model_type",
            "architectures",
            "latents",
            "latent_rank",
            "latent_scale",
            "latent_layers",
            "models_prompt",
        }
        return GPTConfig(**{name: value for name, value in self.to_dict().items() if name not in own})
