"""LoRA (Hu et al. 2021) through `peft`: small trainable matrices beside every linear layer of a frozen model.

`peft` is imported inside the functions, because importing it takes about ten seconds of CPU.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from typing import Any

from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from autogpt.errors import ModelError
from autogpt.registry import did_you_mean

__all__ = ["add_lora", "is_adapted", "merge", "trainable_parameters"]

_LINEAR = (nn.Linear, Conv1D)


def add_lora(
    model: PreTrainedModel, *, rank: int, alpha: float, dropout: float = 0.0, targets: Sequence[str] = ()
) -> PreTrainedModel:
    """The model with adapters on all its linear layers but the head; everything else is frozen, in place.

    Args:
        model: a causal language model. Its weights may be bf16; the adapters are float32 all the same.
        rank: inner size of the adapters.
        alpha: the adapters' output is scaled by `alpha / rank`.
        dropout: on the adapters' input.
        targets: last names of the linear layers to adapt, such as q_proj; none for all.

    Raises:
        ModelError: no linear layer has such a name, or there is none at all.
    """
    from peft import LoraConfig, get_peft_model

    _check_targets(model, targets)
    chosen = list(targets) or "all-linear"
    options: dict[str, Any] = {"r": rank, "lora_alpha": alpha, "lora_dropout": dropout}
    with warnings.catch_warnings():
        # peft reads attributes that transformers has renamed; nothing that a caller could do about it.
        warnings.filterwarnings("ignore", message=".*gradient_checkpointing", category=FutureWarning)
        adapted: Any = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", target_modules=chosen, **options))
    return adapted


def _check_targets(model: PreTrainedModel, targets: Sequence[str]) -> None:
    head = model.get_output_embeddings()
    linear = (name for name, module in model.named_modules() if isinstance(module, _LINEAR) and module is not head)
    names = sorted({name.rpartition(".")[2] for name in linear})
    if not names:
        raise ModelError("LoRA has nothing to adapt", found=f"no linear layer in {type(model).__name__}")
    for target in targets:
        if target not in names:
            raise ModelError(
                f"LoRA finds no linear layer called {target!r} in {type(model).__name__}",
                todo=did_you_mean(target, names),
            )


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
