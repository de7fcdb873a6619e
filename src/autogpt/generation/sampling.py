"""How the next token is chosen from the model's logits.

Shapes: B sequences, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import torch

from autogpt.errors import ConfigError
from autogpt.registry import did_you_mean

__all__ = ["Sampling", "choose"]


@dataclass(frozen=True, slots=True)
class Sampling:
    """Decoding settings.

    Attributes:
        temperature: 0 takes the most probable token; 1 samples the model's own distribution.
        top_p: only the smallest set of tokens whose probabilities reach this sum is sampled (Holtzman et al. 2020).
        top_k: only this many most probable tokens are sampled; 0 is no limit.
        repetition_penalty: logits of tokens seen already are divided (positive) or multiplied (negative) by it
            (Keskar et al. 2019); 1 is off.
        max_new_tokens: most tokens of an answer.
        seed: of the random choices; the same seed gives the same text on the same machine.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    repetition_penalty: float = 1.0
    max_new_tokens: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        limits = {
            "temperature": (0.0, 10.0),
            "top_p": (0.0, 1.0),
            "top_k": (0, 10**9),
            "repetition_penalty": (0.1, 10.0),
            "max_new_tokens": (1, 10**6),
            "seed": (0, 2**63 - 1),
        }
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ConfigError(f"sampling option {name}", found=repr(value), expected=f"{low} to {high}")

    def with_options(self, options: dict[str, Any]) -> Sampling:
        """A copy with the given options set (None means not given). Raises ConfigError for an unknown one."""
        known = [f.name for f in fields(self)]
        values = {name: getattr(self, name) for name in known}
        for name, value in options.items():
            if name not in values:
                raise ConfigError(f"unknown sampling option {name!r}", todo=did_you_mean(name, known))
            if value is not None:
                values[name] = value
        return Sampling(**values)


def choose(
    logits_BV: torch.Tensor, seen_BV: torch.Tensor | None, sampling: Sampling, generator: torch.Generator
) -> torch.Tensor:
    """The next token of each sequence, [B].

    Args:
        logits_BV: raw logits.
        seen_BV: bool, the tokens that the repetition penalty applies to; None when it is off.
    """
    logits_BV = logits_BV.float()
    if seen_BV is not None and sampling.repetition_penalty != 1.0:
        penalised = torch.where(
            logits_BV > 0, logits_BV / sampling.repetition_penalty, logits_BV * sampling.repetition_penalty
        )
        logits_BV = torch.where(seen_BV, penalised, logits_BV)
    if sampling.temperature == 0.0:
        return logits_BV.argmax(-1)
    logits_BV = logits_BV / sampling.temperature
    if 0 < sampling.top_k < logits_BV.shape[-1]:
        floor = logits_BV.topk(sampling.top_k, dim=-1).values[:, -1:]
        logits_BV = logits_BV.masked_fill(logits_BV < floor, float("-inf"))
    probabilities_BV = logits_BV.softmax(-1)
    if sampling.top_p < 1.0:
        ranked, order = probabilities_BV.sort(dim=-1, descending=True)
        # A token stays while the mass before it is below top_p, so the most probable one always stays.
        ranked = ranked.masked_fill(ranked.cumsum(-1) - ranked >= sampling.top_p, 0.0)
        ranked[:, 0] = ranked[:, 0].clamp_min(1e-9)
        probabilities_BV = torch.zeros_like(probabilities_BV).scatter_(-1, order, ranked)
    return torch.multinomial(probabilities_BV, 1, generator=generator).squeeze(-1)
