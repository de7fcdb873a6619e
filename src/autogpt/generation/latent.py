"""How a latent-variable GPT writes and is scored: one z for a whole text, or the exact mixture of all of them.

Three ways to write: draw z for each row and let the one decoding loop hand it to the model (`row_arguments`); name z
yourself, which is a style; or weigh all components anew at each token by what they said of the tokens so far
(`write_mixture`), which samples from the exact p(y|x) token by token and needs M caches of the suffix.

Scores are always those of the exact mixture, whatever is written with.

Shapes: B rows, T tokens, M components, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

from autogpt.data.batching import Encoded
from autogpt.models.latent import LatentGPT
from autogpt.training.objectives import backbone

__all__ = ["nats", "row_arguments", "write_mixture"]

_PASS_TOKENS = 16384
"""Padded tokens of one forward pass, those of every component counted."""

_OF_LATENTS = 7
"""Keeps the numbers that latents are drawn with apart from those of other draws with the same seed and prompt."""


@torch.inference_mode()
def row_arguments(
    model: Any, prompts: Sequence[Sequence[int]], seeds: Sequence[int], *, pad_id: int, latent: int | None = None
) -> dict[str, Tensor]:
    """What the decoding loop hands to the model's `forward` beside the tokens, for each row; nothing for other models.

    A row's z is drawn from p(z|prompt) and depends on its seed and prompt alone, not on its neighbours.

    Args:
        prompts: token ids of each row.
        seeds: one for each row.
        pad_id: stands where a row has no token; never seen.
        latent: the component of all rows; None to draw one for each.

    Raises:
        ModelError: there is no such component (when the model is run).
    """
    inner = backbone(model)
    if not isinstance(inner, LatentGPT):
        return {}
    if latent is not None:
        return {"latent": torch.full((len(prompts),), latent, device=inner.device)}
    latent_B = torch.zeros(len(prompts), dtype=torch.long)
    for group in _groups([len(prompt) for prompt in prompts], inner.config.latents):
        ids_BT, mask_BT = _padded([prompts[i] for i in group], pad_id)
        logs_BM = inner.log_posterior(*(part.to(inner.device) for part in (ids_BT, mask_BT, _positions(mask_BT))))
        reached_BM = logs_BM.double().softmax(-1).cumsum(-1).cpu().numpy()
        for i, reached in zip(group, reached_BM, strict=True):
            number = np.random.default_rng([_OF_LATENTS, seeds[i], *prompts[i]]).random()
            latent_B[i] = int((reached[:-1] <= number).sum())
    return {"latent": latent_B.to(inner.device)}


def _padded(rows: Sequence[Sequence[int]], pad_id: int) -> tuple[Tensor, Tensor]:
    """Ids padded on the left and their bool mask, both [B, T]."""
    length = max(map(len, rows))
    ids_BT = torch.full((len(rows), length), pad_id, dtype=torch.long)
    mask_BT = torch.zeros(len(rows), length, dtype=torch.bool)
    for place, row in enumerate(rows):
        ids_BT[place, length - len(row) :], mask_BT[place, length - len(row) :] = torch.tensor(row), True
    return ids_BT, mask_BT


def _positions(mask_BT: Tensor) -> Tensor:
    return (mask_BT.long().cumsum(-1) - 1).clamp_min(0)


# --- the mixture ------------------------------------------------------------------------------------------------------


@torch.inference_mode()
def write_mixture(
    model: LatentGPT,
    ids_BT: Tensor,
    mask_BT: Tensor,
    choose: Callable[[Tensor], Tensor],
    *,
    max_new_tokens: int,
    eos_id: int,
) -> list[list[int]]:
    """The continuation of each prompt under the exact mixture, the end token not included.

    At each token p = sum_j w_j p_j, and then w_j is multiplied by p_j of the token that was chosen. The trunk is
    computed once for each row, the suffix M times; finished rows leave the batch.

    Args:
        ids_BT: the prompts, padded on the left.
        mask_BT: bool, False at padding.
        choose: token ids [rows] from log-probabilities [rows, V]; rows that have ended are not among them.
    """
    every, device = model.config.latents, ids_BT.device
    written: list[list[int]] = [[] for _ in range(len(ids_BT))]
    rows, positions_BT = torch.arange(len(ids_BT), device=device), _positions(mask_BT)
    cache = DynamicCache(config=model.config)
    out = _passed(model, ids_BT, mask_BT, positions_BT, cache)
    weights_BM = _first_weights(model, out, ids_BT, mask_BT)
    for step in range(max_new_tokens):
        logits = model.lm_head(out.last_hidden_state[:, -1]).view(len(rows), every, -1)
        logs_BMV = torch.log_softmax(logits.to(torch.promote_types(logits.dtype, torch.float32)), -1)
        token_B = choose(torch.logsumexp(weights_BM[:, :, None] + logs_BMV, 1))
        weights_BM = weights_BM + logs_BMV.gather(2, token_B[:, None, None].expand(-1, every, 1))[..., 0]
        weights_BM = torch.log_softmax(weights_BM, -1)
        alive = (token_B != eos_id).nonzero()[:, 0]
        for row, token in zip(rows[alive].tolist(), token_B[alive].tolist(), strict=True):
            written[row].append(token)
        if not len(alive) or step + 1 == max_new_tokens:
            break
        if len(alive) < len(rows):
            _select(cache, alive, model)
            rows, token_B, weights_BM = rows[alive], token_B[alive], weights_BM[alive]
            mask_BT, positions_BT = mask_BT[alive], positions_BT[alive]
        mask_BT = torch.cat((mask_BT, torch.ones_like(mask_BT[:, :1])), 1)
        positions_BT = positions_BT[:, -1:] + 1
        out = _passed(model, token_B[:, None], mask_BT, positions_BT, cache)
    return written


def _passed(model: LatentGPT, ids_BT: Tensor, mask_BT: Tensor, positions_BT: Tensor, cache: Cache) -> Any:
    """One pass of all components over the tokens; the cache holds B rows of the trunk and B * M of the suffix."""
    options: dict[str, Any] = {"use_cache": True, "latent": model.every(len(ids_BT))}
    return model.model(ids_BT, mask_BT, positions_BT, cache, **options)


def _first_weights(model: LatentGPT, out: Any, ids_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """log p(z|prompt), [B, M], as `LatentGPT.log_posterior`, from a pass that has been made."""
    if not model.config.models_prompt:
        return model.model.log_prior(out.trunk_state, mask_BT)
    first_BT = mask_BT & (mask_BT.cumsum(-1) == 1)
    logs_BM = model.logs(out.last_hidden_state, ids_BT, (mask_BT & ~first_BT).float())
    return torch.log_softmax(model.model.log_prior(out.trunk_state, first_BT) + logs_BM, -1)


def _select(cache: Cache, rows: Tensor, model: LatentGPT) -> None:
    """Keep only `rows` of the batch in the cache."""
    every = torch.arange(model.config.latents, device=rows.device)
    of_suffix = (rows[:, None] * model.config.latents + every).flatten()
    for index, layer in enumerate(cache.layers):
        assert isinstance(layer, DynamicLayer)
        layer.batch_select_indices(rows if index < model.config.first_latent_layer else of_suffix)


# --- scores -----------------------------------------------------------------------------------------------------------


@torch.inference_mode()
def nats(model: LatentGPT, rows: Sequence[Encoded], *, context: int, pad_id: int) -> list[float]:
    """Exact -log p(y|x) in nats of each row, y its answer tokens: minus log sum_z p(z|x) p(y|z,x).

    A row longer than the context is read in windows that overlap by half, as `Engine.nats` reads it. Each component's
    log-likelihood is added up over the windows, so that what the first ones say of z counts in the later ones. The
    prior sees what stands before the first answer token, cut to the first window.
    """
    windows = [(index, first, scored) for index, row in enumerate(rows) for first, scored in _windows(row, context)]
    joint = np.zeros((len(rows), model.config.latents))
    for group in _groups([min(context, len(rows[i].ids) - first) for i, first, _ in windows], model.config.latents):
        longest = max(min(context, len(rows[windows[g][0]].ids) - windows[g][1]) for g in group)
        ids_BT = torch.full((len(group), longest), pad_id, dtype=torch.long)
        scored_BT, prompt_BT = torch.zeros(2, len(group), longest, dtype=torch.bool)
        for place, g in enumerate(group):
            index, first, scored = windows[g]
            part, answer = rows[index].ids[first : first + context], rows[index].answer_mask()[first : first + context]
            ids_BT[place, : len(part)] = torch.as_tensor(part.astype(np.int64))
            prompt_BT[place, : max(1, int(answer.argmax()) if answer.any() else len(part))] = True
            answer[: scored - first] = False
            scored_BT[place, : len(part)] = torch.as_tensor(answer)
        moved = (part.to(model.device) for part in (ids_BT, prompt_BT, scored_BT.float()))
        prior_BM, logs_BM = model.joint(*moved)
        for place, g in enumerate(group):
            index, first, _ = windows[g]
            joint[index] += logs_BM[place].double().cpu().numpy()
            if first == 0:
                joint[index] += prior_BM[place].double().cpu().numpy()
    return [float(-np.logaddexp.reduce(row)) for row in joint]


def _windows(row: Encoded, context: int) -> Iterator[tuple[int, int]]:
    """(first token, first scored token) of each window; every token but the first is scored once."""
    first = 0
    yield 0, 1
    while first + context < len(row.ids):
        scored = first + context
        first = scored - context // 2
        yield first, scored


def _groups(lengths: Sequence[int], components: int) -> Iterator[list[int]]:
    """Indices in batches of similar length."""
    group: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        if group and lengths[index] * (len(group) + 1) * components > _PASS_TOKENS:
            yield group
            group = []
        group.append(index)
    if group:
        yield group
