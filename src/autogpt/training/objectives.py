"""What is minimised, as functions that the one loop calls: (model, batch) → summed, weighted loss.

Shapes: B rows, T tokens, D hidden width, N chosen tokens, V vocabulary.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import torch
import torch.nn.functional as F

from autogpt.data.batching import Batch
from autogpt.models import fused

__all__ = ["backbone", "tensors_of", "token_losses", "weighted_loss_of", "weighted_token_loss", "wide"]


def backbone(model: Any) -> Any:
    """The causal model itself when `model` is wrapped by an adapter library."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def tensors_of(batch: Batch) -> dict[str, Any]:
    """The tensors of a batch by name, also of a batch that holds more than `Batch` does."""
    held = {field.name: getattr(batch, field.name) for field in fields(batch)}
    return {name: value for name, value in held.items() if isinstance(value, torch.Tensor)}


def wide(logits: torch.Tensor) -> torch.Tensor:
    """Logits in fp32 at least; double precision stays as it is."""
    return logits if logits.dtype == torch.float64 else logits.float()


def token_losses(model: Any, hidden_ND: torch.Tensor, targets_N: torch.Tensor) -> torch.Tensor:
    """Cross-entropy in nats of each target, at least fp32, computed in chunks: the logits are never held whole."""
    head = backbone(model).get_output_embeddings()
    chunk = fused.loss_rows(head.weight.shape[0])
    losses = [
        F.cross_entropy(wide(head(hidden)), targets, reduction="none")
        for hidden, targets in zip(hidden_ND.split(chunk), targets_N.split(chunk), strict=True)
    ]
    return torch.cat(losses) if losses else hidden_ND.new_zeros(0)


def weighted_token_loss(model: Any, batch: Batch) -> torch.Tensor:
    """Weighted sum of the negative log-likelihoods in nats; the loop divides by the sum of the weights.

    The hidden states of unweighted tokens never reach the output head: for short answers after long prompts this saves
    most of the softmax. Batches are padded on the right, so a causal model needs no padding mask.
    """
    hidden_BTD = backbone(model).base_model(input_ids=batch.ids_BT, use_cache=False).last_hidden_state
    return weighted_loss_of(model, hidden_BTD, batch)


def weighted_loss_of(model: Any, hidden_BTD: torch.Tensor, batch: Batch) -> torch.Tensor:
    """`weighted_token_loss` from the model's final hidden states, however they were computed."""
    weights_BT = batch.weights_BT[:, 1:]
    chosen_BT = weights_BT > 0
    hidden_ND, targets_N = hidden_BTD[:, :-1][chosen_BT], batch.ids_BT[:, 1:][chosen_BT]
    head = backbone(model).get_output_embeddings()
    if isinstance(head, torch.nn.Linear) and getattr(head, "bias", None) is None:
        return fused.cross_entropy(hidden_ND, head.weight, targets_N, weights_BT[chosen_BT])
    return (token_losses(model, hidden_ND, targets_N) * weights_BT[chosen_BT]).sum()
