"""LoRA (Hu et al. 2021) through `peft`: small trainable matrices beside every linear layer of a frozen model.

`peft` is imported inside the functions, because importing it takes about ten seconds of CPU.
"""

from __future__ import annotations

import copy
import warnings
from typing import Any

from torch import nn
from transformers import PreTrainedModel

__all__ = ["add_lora", "is_adapted", "merge", "trainable_parameters"]


def add_lora(model: PreTrainedModel, *, rank: int, alpha: float, dropout: float = 0.0) -> PreTrainedModel:
    """The model with adapters on all its linear layers but the head; everything else is frozen, in place.

    Args:
        model: a causal language model. Its weights may be bf16; the adapters are float32 all the same.
        rank: inner size of the adapters.
        alpha: the adapters' output is scaled by `alpha / rank`.
        dropout: on the adapters' input.
    """
    from peft import LoraConfig, get_peft_model

    options: dict[str, Any] = {"r": rank, "lora_alpha": alpha, "lora_dropout": dropout}
    with warnings.catch_warnings():
        # peft reads attributes that transformers has renamed; nothing that a caller could do about it.
        warnings.filterwarnings("ignore", message=".*gradient_checkpointing", category=FutureWarning)
        adapted: Any = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear", **options))
    return adapted


def is_adapted(model: nn.Module) -> bool:
    """Whether `add_lora` made this model."""
    return callable(getattr(model, "merge_and_unload", None))


def merge(model: PreTrainedModel) -> PreTrainedModel:
    """A plain model with the adapters added into the weights. The given one is left as it is, ready to train on.

    Takes the memory of a second copy of the weights. A model without adapters comes back itself.
    """
    adapted: Any = model
    return copy.deepcopy(adapted).merge_and_unload() if is_adapted(model) else model


def trainable_parameters(model: nn.Module) -> int:
    """How many numbers the optimizer changes; shared ones count once."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
