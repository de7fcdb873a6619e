"""The latent-variable GPT: one of M ways to go on is chosen for a whole answer, p(y|x) = sum_z p(z|x) p(y|z,x).

A trunk is shared and computed once. Each of the last layers (the suffix) is a layer of a GPT that for each z has a
low-rank part of its own in the products q, v, up and down (one inner matrix for all z, one outer matrix for each; as in
LoRA, Hu et al. 2021) and gains of its own on its norms (FiLM, Perez et al. 2018), as has the last norm. All of this can
be multiplied out, so that `component(z)` is a plain GPT. The prior p(z|x) is a linear map of the trunk's states,
averaged over the prompt; no gradient flows from it into the trunk. A mixture of translation models with such a latent:
Shen et al. 2019; with low-rank components: Letzelter et al. 2025 ("Multiple choice learning of low-rank adapters").

    model = LatentGPT(LatentGPTConfig(latents=4))
    model(ids, latent=torch.tensor([2]))       # the logits of component 2
    model.generate(ids)                        # z is drawn for each row of the batch, then the text
    log_prior, logs = model.joint(ids, prompt, scored)

Without `latent`, `forward` draws one z for each row from the global random generator, also where the tokens themselves
are chosen greedily. It is drawn when the cache is empty and kept in the cache as one layer more (`_KeptLatent`), so
that whatever selects, repeats or reorders rows of the cache does so with z. A latent that is given is not kept: it is
given with every call.

Shape suffixes as in `gpt`, and M components, R rows of the suffix: as many as latents are given, which is a multiple of
B. Each row of the trunk is then followed by all its latents in turn: `latent` 0, 1, 2, 0, 1, 2 reads two rows with
three components each.

What this file does not do: a latent that changes within a text; forward hooks on the attention and feed-forward modules
of the suffix, whose `forward` is called directly. Training is in `training.mixture`, likelihoods of long documents are
in `generation.latent`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.cache_utils import Cache, DynamicLayer
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast
from transformers.utils.generic import can_return_tuple

from autogpt.errors import ModelError
from autogpt.models import fused
from autogpt.models.gpt import GPT, GPTModel, Linear
from autogpt.models.latent_config import LatentGPTConfig
from autogpt.models.latent_layers import LatentBlock, LatentLinear, LatentNorm, LatentSight, init_latent
from autogpt.models.sight import Sight

__all__ = ["LatentGPT", "LatentGPTConfig", "LatentGPTModel"]


@dataclass
class LatentOutput(BaseModelOutputWithPast):
    """What a `LatentGPTModel` returns.

    Attributes:
        trunk_state: [B, T, D] what the trunk says of the tokens.
    """

    trunk_state: Tensor | None = None


class _Pass:
    """One pass through a `LatentGPTModel`, on which `GPTModel.forward` runs: it knows the latents of the rows.

    Attributes:
        trunk_BTD: what the trunk says, once it has been computed. Without latents nothing more is.
    """

    def __init__(self, model: LatentGPTModel, latent_R: Tensor | None) -> None:
        self._model, self._latent_R = model, latent_R
        self.trunk_BTD: Tensor | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def _through_layers(
        self,
        x_BTD: Tensor,
        sight: Sight,
        values: Mapping[int, Tensor],
        past_key_values: Cache | None,
        states: list[Tensor] | None,
    ) -> Tensor:
        """The normalised output of the last layer, [R, T, D]; `states` takes in the input of each one."""
        model, embedded_BTD = self._model, x_BTD
        for layer, block in enumerate(model.layers):
            if layer == model.config.first_latent_layer:
                self.trunk_BTD = x_BTD
                if self._latent_R is None:
                    return x_BTD
                times, rest = divmod(len(self._latent_R), len(x_BTD))
                if rest or not times:
                    found = f"{len(self._latent_R)} latents for {len(x_BTD)} rows"
                    raise ModelError("the latents do not fit the rows", found=found, expected="a multiple of the rows")
                x_BTD, embedded_BTD = (part.repeat_interleave(times, 0) for part in (x_BTD, embedded_BTD))
                sight = _repeated(sight, times, self._latent_R)
                values = {index: own.repeat_interleave(times, 0) for index, own in values.items()}
            if states is not None:
                states.append(x_BTD)
            if model.config.residual_scalars:
                x_BTD = model.stream_scale[layer] * x_BTD + model.input_scale[layer] * embedded_BTD
            x_BTD = block(x_BTD, sight, values.get(layer), past_key_values=past_key_values)
        normalised_RTD: Tensor = model.norm(x_BTD, self._latent_R)
        return normalised_RTD


def _repeated(sight: Sight, times: int, latent_R: Tensor) -> LatentSight:
    """`sight` with each row `times` times; what all rows have in common stays one row."""

    def rows(part: Tensor) -> Tensor:
        return part if part.shape[0] == 1 else part.repeat_interleave(times, 0)

    rotation = None if sight.rotation is None else (rows(sight.rotation[0]), rows(sight.rotation[1]))
    mask, previous_BS = (None if part is None else rows(part) for part in (sight.mask, sight.previous_BS))
    return LatentSight(mask, rotation, previous_BS, latent_R)


class LatentGPTModel(GPTModel):
    """Token ids and latents to final hidden states, and the prior of the latents."""

    config: LatentGPTConfig
    config_class = LatentGPTConfig

    def __init__(self, config: LatentGPTConfig) -> None:
        super().__init__(config)
        for layer in range(config.first_latent_layer, config.num_hidden_layers):
            self.layers[layer] = LatentBlock(config, layer)
        self.norm = LatentNorm(config)
        self.prior = Linear(config.hidden_size, config.latents, std=0.0, bias=True)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        init_latent(module)

    def forward(self, *args: Any, latent: Tensor | None = None, **kwargs: Any) -> LatentOutput:
        """Final hidden states [R, T, D], normalised, and the trunk's [B, T, D]; see `GPTModel.forward`.

        Args:
            latent: [R] component of each row, R a multiple of B.

        Raises:
            ModelError: there is no such component, no latent is given, or their number does not fit the rows.
        """
        if latent is None:
            raise ModelError("a latent-variable model has no hidden states of its own", expected="a latent of each row")
        return self._run(_Pass(self, self._checked(latent)), *args, **kwargs)

    def trunk(self, *args: Any, **kwargs: Any) -> Tensor:
        """What the trunk says of the tokens, [B, T, D]; arguments are those of `GPTModel.forward`."""
        state_BTD = self._run(_Pass(self, None), *args, **{**kwargs, "use_cache": False}).trunk_state
        assert state_BTD is not None
        return state_BTD

    def _run(self, one: Any, *args: Any, **kwargs: Any) -> LatentOutput:
        out = GPTModel.forward(one, *args, **kwargs)
        return LatentOutput(out.last_hidden_state, out.past_key_values, out.hidden_states, trunk_state=one.trunk_BTD)

    def _checked(self, latent_R: Tensor) -> Tensor:
        if latent_R.dim() != 1 or bool(((latent_R < 0) | (latent_R >= self.config.latents)).any()):
            raise ModelError(
                "the model has no such component",
                found=f"latent {latent_R.tolist()}",
                expected=f"a latent for each row, from 0 to {self.config.latents - 1}",
            )
        return latent_R

    def log_prior(self, trunk_BTD: Tensor, prompt_BT: Tensor) -> Tensor:
        """log p(z|x), [B, M] in float32 at least; uniform in a fresh model.

        Args:
            trunk_BTD: what the trunk says; no gradient flows into it.
            prompt_BT: which tokens are the prompt; at least one in each row.
        """
        share_BT = prompt_BT.to(trunk_BTD.dtype) / prompt_BT.sum(-1, keepdim=True)
        mean_BD = torch.bmm(share_BT[:, None], trunk_BTD.detach())[:, 0]
        logits_BM = self.prior(F.rms_norm(mean_BD, mean_BD.shape[-1:]))
        return torch.log_softmax(logits_BM.to(torch.promote_types(logits_BM.dtype, torch.float32)), -1)


class _KeptLatent(DynamicLayer):
    """The latents of the rows as one more layer of a cache, [B, 1, 1, 1]; cutting tokens off the cache leaves them."""

    def crop(self, tokens_to_remove: int) -> None:
        return None


class LatentGPT(GPT):
    """A LatentGPTModel with a head that predicts the next token; `generate` comes from `transformers`."""

    config: LatentGPTConfig
    config_class = LatentGPTConfig
    model: LatentGPTModel
    _trunk_class = LatentGPTModel

    @can_return_tuple  # type: ignore[untyped-decorator]
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        use_cache: bool | None = None,
        latent: Tensor | None = None,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Logits [R, T, V] of the token after each position; see `GPT.forward` for the other arguments.

        Args:
            latent: [R] component of each row, R a multiple of B. None for what the cache keeps, or a fresh draw from
                `log_posterior` of these tokens when the cache is empty.

        Raises:
            ModelError: there is no such component; or none is given and there is no cache to keep a draw in.
        """
        drawn = None
        if latent is None:
            latent = _kept(past_key_values)
        if latent is None:
            cached = use_cache if use_cache is not None else self.config.use_cache and not self.training
            seen = past_key_values.get_seq_length() if past_key_values is not None else 0
            if input_ids is None or not cached or seen:
                raise ModelError(
                    "a latent-variable model was given no latent, and cannot draw one here",
                    expected="input_ids and an empty cache, in which the draw is kept",
                    todo="give `latent`; train with training.mixture",
                )
            latent = drawn = self.draw(self.log_posterior(input_ids, attention_mask, position_ids))
        options: dict[str, Any] = {"use_cache": use_cache, "latent": latent, "return_dict": True, **kwargs}
        out = GPT.forward(self, input_ids, attention_mask, position_ids, past_key_values, **options)
        if drawn is not None and out.past_key_values is not None:
            layer = _KeptLatent()
            layer.update(drawn[:, None, None, None], drawn[:, None, None, None])
            out.past_key_values.layers.append(layer)
        return out

    @staticmethod
    def draw(log_probabilities_BM: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """One component for each row, [B], drawn from the global random generator where none is given."""
        return torch.multinomial(log_probabilities_BM.exp(), 1, generator=generator)[:, 0]

    @torch.no_grad()
    def log_posterior(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, position_ids: Tensor | None = None
    ) -> Tensor:
        """log p(z|prompt), [B, M], when all these tokens are the prompt.

        The learnt prior; where the prompt is modelled text itself (`LatentGPTConfig.models_prompt`), the prior given
        its first token times what each component says of the others, normalised.

        Args:
            input_ids: [B, T].
            attention_mask: [B, T], 0 at padding; None where there is none.
            position_ids: [B, T]; needed where rows are padded on the left.
        """
        real_BT = torch.ones_like(input_ids) if attention_mask is None else attention_mask.long()
        if real_BT.dim() != 2:
            raise ModelError("no latent can be drawn from a tree of tokens", todo="give `latent`")
        where = {"attention_mask": attention_mask, "position_ids": position_ids}
        if not self.config.models_prompt:
            return self.model.log_prior(self.model.trunk(input_ids, **where), real_BT)
        first_BT = real_BT * (real_BT.cumsum(-1) == 1)
        prior_BM, logs_BM = self.joint(input_ids, first_BT, (real_BT - first_BT).float(), **where)
        return torch.log_softmax(prior_BM + logs_BM, -1)

    def joint(
        self, input_ids: Tensor, prompt_BT: Tensor, weights_BT: Tensor, **where: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """(log p(z|x), log p(y|z,x)), both [B, M]; their sum's `logsumexp` over M is log p(y|x).

        Args:
            input_ids: [B, T] tokens of x and y.
            prompt_BT: which of them the prior looks at: x, or its part that stands before y.
            weights_BT: weight of the log-probability of each token: 1 in y, 0 elsewhere. The first column is not used.
            where: `attention_mask` and `position_ids`, as for `GPTModel.forward`.
        """
        out = self.model(input_ids, use_cache=False, latent=self.every(len(input_ids)), **where)
        return self.model.log_prior(out.trunk_state, prompt_BT), self.logs(out.last_hidden_state, input_ids, weights_BT)

    def every(self, rows: int) -> Tensor:
        """The latents [rows * M] that read each row with every component."""
        return torch.arange(self.config.latents, device=self.device).repeat(rows)

    def logs(self, hidden_RTD: Tensor, ids_BT: Tensor, weights_BT: Tensor) -> Tensor:
        """Weighted sum of the log-probabilities of the tokens of each row under each component, [B, M].

        The logits are computed in chunks, and those of unweighted tokens not at all.

        Args:
            hidden_RTD: final hidden states of `every` component.
        """
        rows, M = len(ids_BT), self.config.latents
        weights_BT, targets_BT = weights_BT[:, 1:], ids_BT[:, 1:]
        chosen_BT = weights_BT != 0
        hidden_NMD = hidden_RTD.view(rows, M, *hidden_RTD.shape[1:]).transpose(1, 2)[:, :-1][chosen_BT]
        targets_N = targets_BT[chosen_BT]
        parts = [
            _log_probabilities(self.lm_head(hidden), targets[:, None].expand(-1, M))
            for hidden, targets in _chunks(hidden_NMD, targets_N, self.config.vocab_size * M)
        ]
        wide = torch.promote_types(hidden_RTD.dtype, torch.float32)
        logs_NM = torch.cat([torch.zeros(0, M, dtype=wide, device=ids_BT.device), *parts])
        logs_NM = logs_NM * weights_BT[chosen_BT][:, None].to(logs_NM.dtype)
        owners_N = chosen_BT.nonzero()[:, 0]
        return torch.zeros(rows, M, dtype=logs_NM.dtype, device=ids_BT.device).index_add(0, owners_N, logs_NM)

    @torch.no_grad()
    def component(self, latent: int) -> GPT:
        """Component `latent` as a plain GPT with weights of its own, which computes the same.

        Raises:
            ModelError: there is no such component.
        """
        self.model._checked(torch.tensor([latent]))
        with torch.random.fork_rng(devices=[]):
            gpt = GPT(self.config.plain())
        plain: nn.Module = gpt
        plain.to(device=self.device, dtype=self.dtype)
        weights = self.state_dict()
        for name, module in self.named_modules():
            if isinstance(module, LatentLinear | LatentNorm):
                weights.update({f"{name}.{key}": value for key, value in module.merged(latent).items()})
        gpt.load_state_dict({key: weights[key] for key in gpt.state_dict()})
        return gpt.train(self.training)


def _kept(cache: Cache | None) -> Tensor | None:
    """The latents that a cache keeps, [B]."""
    last = cache.layers[-1] if cache is not None and cache.layers else None
    return last.keys[:, 0, 0, 0] if isinstance(last, _KeptLatent) and last.keys is not None else None


def _chunks(hidden_NMD: Tensor, targets_N: Tensor, logits: int) -> Iterator[tuple[Tensor, Tensor]]:
    rows = fused.loss_rows(logits)
    return zip(hidden_NMD.split(rows), targets_N.split(rows), strict=True)


def _log_probabilities(logits_NMV: Tensor, targets_NM: Tensor) -> Tensor:
    """Of each target, [N, M], in float32 at least."""
    wide = torch.promote_types(logits_NMV.dtype, torch.float32)
    return -F.cross_entropy(logits_NMV.to(wide).flatten(0, 1), targets_NM.flatten(), reduction="none").view_as(
        targets_NM
    )
