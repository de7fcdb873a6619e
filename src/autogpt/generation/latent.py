"""How a latent-variable GPT writes and is scored: one z for a whole text, or the exact mixture of all of them.

What `Sampling.latent` names is done here and in the one decoding loop. A z is drawn for each row, or named, which is a
style, and the loop hands it to the model (`row_arguments`). "mixture" weighs all components anew at each token by what
they said of the tokens so far (`MixtureReading`), which samples from the exact p(y|x) token by token and needs M caches
of the suffix. For "best" every component writes, and `per_token` says which text the mixture finds most probable.

Scores are always those of the exact mixture, whatever is written with.

Shapes: B rows, T tokens, M components, V vocabulary, R = B * M rows of the suffix.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from autogpt.data.batching import Encoded
from autogpt.errors import ConfigError
from autogpt.generation.kv_cache import RoomyCache
from autogpt.generation.reading import Reader, Reading
from autogpt.generation.rows import grouped, left_padded, positions_of
from autogpt.generation.sampling import LatentChoice
from autogpt.models.latent import LatentGPT
from autogpt.training.objectives import backbone

__all__ = ["MixtureReading", "nats", "per_token", "require_components", "row_arguments", "scored_windows"]

_OF_LATENTS = 7
"""Keeps the numbers that latents are drawn with apart from those of other draws with the same seed and prompt."""

_ROOM_TOKENS = 256
"""Tokens to come that the cache has room for at first."""


def require_components(model: Any, latent: LatentChoice) -> LatentGPT:
    """The latent-variable model that `latent` is asked of.

    Raises:
        ConfigError: the model is none, or has fewer components.
    """
    inner = backbone(model)
    if not isinstance(inner, LatentGPT):
        raise ConfigError("this model has no components", found=f"latent {latent}", expected="no latent")
    count = inner.config.latents
    if isinstance(latent, int) and not 0 <= latent < count:
        raise ConfigError(
            "the model has no such component",
            found=f"latent {latent}",
            expected=f"0 to {count - 1}, since it has {count}, or best, or mixture",
        )
    return inner


@torch.inference_mode()
def row_arguments(
    model: Any,
    prompts: Sequence[Sequence[int]],
    seeds: Sequence[int],
    *,
    pad_id: int,
    latent: LatentChoice = None,
) -> dict[str, Tensor]:
    """What the decoding loop hands to the model's `forward` beside the tokens, for each row; nothing for other models.

    A row's z is drawn from p(z|prompt) and depends on its seed and prompt alone, not on its neighbours.

    Args:
        prompts: token ids of each row.
        seeds: one for each row.
        pad_id: stands where a row has no token; never seen.
        latent: the component of all rows; None to draw one for each. Nothing for "mixture" and "best", which name none.

    Raises:
        ConfigError: there is no such component.
    """
    inner = backbone(model)
    if latent is not None:
        inner = require_components(model, latent)
    if not isinstance(inner, LatentGPT) or isinstance(latent, str):
        return {}
    if latent is not None:
        return {"latent": torch.full((len(prompts),), latent, device=inner.device)}
    latent_B = torch.zeros(len(prompts), dtype=torch.long)
    for group in grouped([len(prompt) for prompt in prompts], copies=inner.config.latents):
        ids_BT, mask_BT = left_padded([prompts[i] for i in group], pad_id)
        logs_BM = inner.log_posterior(*(part.to(inner.device) for part in (ids_BT, mask_BT, positions_of(mask_BT))))
        reached_BM = logs_BM.double().softmax(-1).cumsum(-1).cpu().numpy()
        for i, reached in zip(group, reached_BM, strict=True):
            number = np.random.default_rng([_OF_LATENTS, seeds[i], *prompts[i]]).random()
            latent_B[i] = int((reached[:-1] <= number).sum())
    return {"latent": latent_B.to(inner.device)}


# --- the mixture ------------------------------------------------------------------------------------------------------


class _ForkedCache(RoomyCache):
    """A cache whose layers from `first` on have M rows, one for each component, where those below have one.

    Args:
        model: whose cache it is.
        room: tokens there is room for at first.
    """

    def __init__(self, model: LatentGPT, room: int) -> None:
        self._first, self._count = model.config.first_latent_layer, model.config.latents
        super().__init__(model.config.num_hidden_layers, room)

    def _allocate(self, layer: int, shape: tuple[int, int, int, int], like: Tensor) -> tuple[Tensor, Tensor]:
        return like.new_empty(shape), like.new_empty(shape)  # layers of two shapes do not fit in one tensor

    def _rows(self, layer: int, rows_B: Tensor) -> Tensor:
        if layer < self._first:
            return rows_B
        return (rows_B[:, None] * self._count + torch.arange(self._count, device=rows_B.device)).flatten()

    def reorder_cache(self, beam_idx: Tensor) -> None:
        for number, layer in enumerate(self.roomy):
            layer.reorder_cache(self._rows(number, beam_idx))

    def replace_last(self, index: Tensor, other: RoomyCache) -> None:
        for number, (layer, new) in enumerate(zip(self.roomy, other.roomy, strict=True)):
            if new.keys is not None and new.values is not None:
                layer.replace_last(self._rows(number, index), new.keys, new.values)


class MixtureReading(Reading):
    """A reading by all components at once, whose scores are the log-probabilities of the exact mixture.

    At each token log p = logsumexp over z of log w_z + log p_z, and then w_z is multiplied by p_z of the token that was
    read; the first w is p(z|prompt). The trunk is computed once for each row, the suffix M times. A row that is read
    again because the context was full keeps its w. Scores are log-probabilities, as in beam search, and not logits,
    which matters to `repetition_penalty` alone.

    Args:
        reader: its model is a LatentGPT.
        prompts: token ids of each row, at least one and at most the context.
        names: numbers of the rows.

    Raises:
        ConfigError: the model has no components.
    """

    def __init__(self, reader: Reader, prompts: Sequence[Sequence[int]], names: Sequence[int]) -> None:
        self._inner = require_components(reader.model, "mixture")
        self._weights_BM: Tensor | None = None
        super().__init__(reader, prompts, names, plain=True)

    def _pass(self, places: Sequence[int], arguments: Mapping[str, Tensor]) -> tuple[Tensor, Any]:
        ids_BT, mask_BT = self._reader.padded([self._held[place] for place in places])
        cache = _ForkedCache(self._inner, min(ids_BT.shape[1] + _ROOM_TOKENS, self._reader.context))
        with self._reader.forward():
            out = self._run(ids_BT, mask_BT, positions_of(mask_BT), cache)
        if self._weights_BM is None:
            self._weights_BM = self._first_weights(out, ids_BT, mask_BT)
        logs_BMV = self._said(out)
        if len(places) == len(self._held):
            self._logs_BMV = logs_BMV
        else:
            self._logs_BMV[list(places)] = logs_BMV
        return _mixed(self._weights_BM[list(places)], logs_BMV), cache

    def _run(self, ids_BT: Tensor, mask_BS: Tensor | None, positions_BT: Tensor, cache: RoomyCache) -> Any:
        options: dict[str, Any] = {"use_cache": True, "latent": self._inner.every(len(ids_BT))}
        return self._inner.model(ids_BT, mask_BS, positions_BT, cache, **options)

    @torch.inference_mode()
    def _first_weights(self, out: Any, ids_BT: Tensor, mask_BT: Tensor) -> Tensor:
        """log p(z|prompt), [B, M], as `LatentGPT.log_posterior`, from a pass that has been made."""
        model, trunk_BTD = self._inner, out.trunk_state.to(self._inner.dtype)
        if not model.config.models_prompt:
            return model.model.log_prior(trunk_BTD, mask_BT)
        first_BT = mask_BT & (mask_BT.cumsum(-1) == 1)
        logs_BM = model.logs(out.last_hidden_state.to(model.dtype), ids_BT, (mask_BT & ~first_BT).float())
        return torch.log_softmax(model.model.log_prior(trunk_BTD, first_BT) + logs_BM, -1)

    @torch.inference_mode()
    def _said(self, out: Any) -> Tensor:
        """What each component says of the next token of each row, [B, M, V]."""
        hidden_RD = out.last_hidden_state[:, -1].to(self._inner.lm_head.weight.dtype)
        return self._inner.lm_head(hidden_RD).float().log_softmax(-1).unflatten(0, (-1, self._inner.config.latents))

    @torch.inference_mode()
    def select(self, rows: Sequence[int]) -> None:
        """Go on with these rows, some of them perhaps several times."""
        assert self._weights_BM is not None
        self._weights_BM, self._logs_BMV = self._weights_BM[list(rows)], self._logs_BMV[list(rows)]
        super().select(rows)

    @torch.inference_mode()
    def read(self, tokens: Sequence[int], tokens_B: Tensor) -> None:
        """Read a token of each row, given on both sides of the device's border. `logits_BV` is what follows."""
        assert self._weights_BM is not None
        said_BM = self._logs_BMV.gather(2, tokens_B[:, None, None].expand(-1, self._logs_BMV.shape[1], 1))[..., 0]
        self._weights_BM = torch.log_softmax(self._weights_BM + said_BM, -1)
        super().read(tokens, tokens_B)

    def _read_on(self, tokens_B: Tensor) -> None:
        assert self._weights_BM is not None
        # A row that is about to be read again passes through here too, and has no position left.
        positions_B1 = self._lengths_B.clamp_max(self._reader.context - 1)[:, None]
        self._lengths_B += 1
        self._columns += 1
        self._longest += 1
        mask_BS = None if self._mask_BS is None else self._mask_BS[:, : self._columns]
        self._logs_BMV = self._said(self._run(tokens_B[:, None], mask_BS, positions_B1, self._cache))
        self.logits_BV = _mixed(self._weights_BM, self._logs_BMV)


@torch.inference_mode()
def _mixed(weights_BM: Tensor, logs_BMV: Tensor) -> Tensor:
    return torch.logsumexp(weights_BM[:, :, None] + logs_BMV, 1)


# --- scores -----------------------------------------------------------------------------------------------------------


def per_token(
    model: LatentGPT, texts: Sequence[tuple[Sequence[int], Sequence[int]]], *, context: int, pad_id: int
) -> list[float]:
    """log p(y|x) under the exact mixture divided by the tokens of y, for each (x, y) of token ids, both not empty."""
    rows = []
    for prompt, text in texts:
        ids = np.array([*prompt, *text], dtype=np.int32)
        answers = np.arange(len(ids)) >= len(prompt)
        rows.append(Encoded(ids, answers.astype(np.float32), "", 0, answers))
    found = nats(model, rows, context=context, pad_id=pad_id)
    return [-lost / len(text) for lost, (_, text) in zip(found, texts, strict=True)]


@torch.inference_mode()
def nats(model: LatentGPT, rows: Sequence[Encoded], *, context: int, pad_id: int) -> list[float]:
    """Exact -log p(y|x) in nats of each row, y its answer tokens: minus log sum_z p(z|x) p(y|z,x).

    A row longer than the context is read in windows that overlap by half, as `Engine.nats` reads it. Each component's
    log-likelihood is added up over the windows, so that what the first ones say of z counts in the later ones. The
    prior sees what stands before the first answer token, cut to the first window. Where prompts are modelled text
    (`LatentGPTConfig.models_prompt`) it sees the first token alone, and p(y|x) = p(x, y) / p(x).
    """
    if not model.config.models_prompt:
        return _marginals(model, rows, context, pad_id)
    prompted = {index: _first_answer(row) for index, row in enumerate(rows) if _first_answer(row) > 1}
    wholes = [_all_modelled(row) if index in prompted else row for index, row in enumerate(rows)]
    prompts = [
        replace(wholes[index], **{name: getattr(wholes[index], name)[:end] for name in ("ids", "weights", "answers")})
        for index, end in prompted.items()
    ]
    found = _marginals(model, [*wholes, *prompts], context, pad_id)
    for index, lost in zip(prompted, found[len(rows) :], strict=True):
        found[index] -= lost
    return found[: len(rows)]


def _first_answer(row: Encoded) -> int:
    """Tokens before the first of an answer; all of them where there is none."""
    return int(row.answers.argmax()) if row.answers.any() else len(row.ids)


def _all_modelled(row: Encoded) -> Encoded:
    """The row with its prompt, but for the first token, as part of the answer."""
    answers = row.answer_mask()
    answers[1 : _first_answer(row)] = True
    return replace(row, answers=answers)


def _marginals(model: LatentGPT, rows: Sequence[Encoded], context: int, pad_id: int) -> list[float]:
    """-log sum_z p(z|x) p(y|z,x) of each row, the prior's x what stands before the first answer token."""
    windows = [
        (index, first, scored) for index, row in enumerate(rows) for first, scored in scored_windows(row, context)
    ]
    joint = np.zeros((len(rows), model.config.latents))
    for group in grouped(
        [min(context, len(rows[i].ids) - first) for i, first, _ in windows], copies=model.config.latents
    ):
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


def scored_windows(row: Encoded, context: int) -> Iterator[tuple[int, int]]:
    """(first token, first scored token) of each window; they overlap by half, and every token but the first is scored
    once."""
    first = 0
    yield 0, 1
    while first + context < len(row.ids):
        scored = first + context
        first = scored - context // 2
        yield first, scored
