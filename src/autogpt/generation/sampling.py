"""How a text is to be written: every option of decoding in one record that refuses what contradicts itself."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, TypeAlias, get_args

import yaml

from autogpt.errors import ConfigError
from autogpt.registry import did_you_mean

__all__ = ["LatentChoice", "Sampling", "read_options"]

_OfAll: TypeAlias = Literal["best", "mixture"]
LatentChoice: TypeAlias = int | _OfAll | None
"""The component of a latent-variable model that writes, or what all of them write together."""

MOST_STOP_STRINGS, MOST_STOP_CHARACTERS = 64, 256
"""Text that may become a stop string is held back and compared at each token, so both are kept small."""

_LIMITS: dict[str, tuple[float, float]] = {
    "temperature": (0.0, 10.0),
    "top_p": (0.0, 1.0),
    "top_k": (0, 10**9),
    "repetition_penalty": (0.1, 10.0),
    "max_new_tokens": (1, 10**6),
    "seed": (0, 2**63 - 1),
    "min_p": (0.0, 1.0),
    "typical_p": (0.001, 1.0),
    "frequency_penalty": (-2.0, 2.0),
    "presence_penalty": (-2.0, 2.0),
    "no_repeat_ngram": (0, 1000),
    "dry_multiplier": (0.0, 100.0),
    "dry_base": (1.0, 10.0),
    "dry_allowed_length": (1, 1000),
    "beams": (1, 64),
    "length_penalty": (-10.0, 10.0),
    "contrastive_alpha": (0.0, 1.0),
    "min_new_tokens": (0, 10**6),
    "logprobs": (0, 100),
    "latent": (0, 63),
}
_WHOLE = {
    "top_k", "max_new_tokens", "seed", "no_repeat_ngram", "dry_allowed_length", "beams", "min_new_tokens", "logprobs",
    "latent",
}  # fmt: skip
_OPTIONAL = {"logprobs", "latent"}


@dataclass(frozen=True, slots=True)
class Sampling:
    """Decoding settings. Penalties and bans are described in `penalties`, the sets that are drawn from in `drawing`.

    What changes the model's scores is applied in this order, which is transformers' for all that it has: `logit_bias`,
    `repetition_penalty`, `frequency_penalty` and `presence_penalty`, DRY, `no_repeat_ngram`, `min_new_tokens`, the
    grammar, `temperature`, `top_k`, `top_p`, `min_p`, `typical_p`. Without a temperature the last five do nothing.

    Attributes:
        temperature: 0 takes the most probable token; 1 samples the model's own distribution.
        top_p: only the smallest set of tokens whose probabilities reach this sum is sampled (Holtzman et al. 2020).
        top_k: only this many most probable tokens are sampled; 0 is no limit. In contrastive search the candidates.
        repetition_penalty: scores of tokens written already are divided (positive) or multiplied (negative) by it
            (Keskar et al. 2019); 1 is off. Unlike transformers' default it leaves the prompt out of account, since an
            answer often has to repeat words of its question.
        max_new_tokens: most tokens of an answer; may be more than the context holds, see `decode`.
        seed: of the random choices. A row's draws depend on the seed and its own prompt alone.
        min_p: only tokens at least this many times as probable as the most probable one (Nguyen et al. 2024).
        typical_p: only the locally typical set of this probability (Meister et al. 2022); 1 is off.
        frequency_penalty: subtracted from a token's score for each time it was written (as OpenAI's API defines it).
        presence_penalty: subtracted once from the score of a token that was written at all (likewise).
        no_repeat_ngram: no sequence of so many tokens occurs twice in prompt and text (Paulus et al. 2018); 0 is off.
        dry_multiplier: strength of the DRY penalty on going on with a repetition (by p-e-w, 2024); 0 is off.
        dry_base: by how much that penalty grows with each repeated token.
        dry_allowed_length: tokens that may repeat without a penalty.
        beams: width of the beam search; 1 is none.
        length_penalty: a finished beam's score is divided by its length to this power, as transformers defines it.
        contrastive_alpha: weight of the degeneration penalty of contrastive search (Su et al. 2022); 0 is off.
        logit_bias: (token id, what is added to its score) pairs; minus infinity forbids. A mapping is taken as well.
        stop: texts that end the answer and are not part of it. One string is taken as well.
        min_new_tokens: the end token is forbidden until so many tokens are written; stop strings are not.
        logprobs: how many alternatives to report for each token, most probable first; None reports nothing.
        latent: the component of a latent-variable model that writes, from 0; None draws one for each text. "mixture"
            weighs all of them anew at each token: the exact distribution of the model. "best": every component writes,
            from the same seed, and the text with the highest log p(y|x) per token under the mixture is kept, the end
            token counted where the model wrote it; of equals, that of the first component.

    Raises:
        ConfigError: a value out of its range, or options that contradict one another.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    repetition_penalty: float = 1.0
    max_new_tokens: int = 256
    seed: int = 0
    min_p: float = 0.0
    typical_p: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    no_repeat_ngram: int = 0
    dry_multiplier: float = 0.0
    dry_base: float = 1.75
    dry_allowed_length: int = 2
    beams: int = 1
    length_penalty: float = 1.0
    contrastive_alpha: float = 0.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    stop: tuple[str, ...] = ()
    min_new_tokens: int = 0
    logprobs: int | None = None
    latent: LatentChoice = None

    def __post_init__(self) -> None:
        for name, (low, high) in _LIMITS.items():
            value = getattr(self, name)
            if (name in _OPTIONAL and value is None) or (name == "latent" and value in get_args(_OfAll)):
                continue
            kind = int if name in _WHOLE else int | float
            if isinstance(value, bool) or not isinstance(value, kind) or not low <= value <= high:
                number = "a whole number, " if name in _WHOLE else ""
                number = f"best, mixture, or {number}" if name == "latent" else number
                raise ConfigError(f"sampling option {name}", found=repr(value), expected=f"{number}{low} to {high}")
        object.__setattr__(self, "stop", _stop_strings(self.stop))
        object.__setattr__(self, "logit_bias", _biases(self.logit_bias))
        self._check_agreement()

    def _check_agreement(self) -> None:
        if self.beams > 1 and self.temperature > 0:
            found = f"beams {self.beams} with temperature {self.temperature}"
            raise ConfigError("beam search does not sample", found=found, expected="temperature 0 with beams")
        if self.beams > 1 and self.contrastive_alpha > 0:
            found = f"beams {self.beams} with contrastive_alpha {self.contrastive_alpha}"
            raise ConfigError("beam search and contrastive search exclude each other", found=found, expected="one")
        if self.contrastive_alpha > 0 and self.temperature > 0:
            found = f"contrastive_alpha {self.contrastive_alpha} with temperature {self.temperature}"
            raise ConfigError("contrastive search does not sample", found=found, expected="temperature 0 with it")
        if self.contrastive_alpha > 0 and not 2 <= self.top_k <= 64:
            todo = "set top_k, 4 to 8 is usual"
            raise ConfigError(
                "contrastive search chooses among top_k tokens",
                found=f"top_k {self.top_k}",
                expected="2 to 64",
                todo=todo,
            )
        if self.latent == "mixture" and (self.beams > 1 or self.contrastive_alpha > 0):
            searched = f"beams {self.beams}" if self.beams > 1 else f"contrastive_alpha {self.contrastive_alpha}"
            raise ConfigError(
                "beam search and contrastive search read with one component",
                found=f"latent mixture with {searched}",
                expected="a component, or best",
            )
        if self.length_penalty != 1.0 and self.beams == 1:
            found = f"length_penalty {self.length_penalty} with beams 1"
            raise ConfigError("length_penalty belongs to beam search", found=found, expected="2 beams or more")
        if self.min_new_tokens > self.max_new_tokens:
            found = f"min_new_tokens {self.min_new_tokens} with max_new_tokens {self.max_new_tokens}"
            raise ConfigError("the least length is above the most", found=found, expected="at most max_new_tokens")

    def with_options(self, options: Mapping[str, Any]) -> Sampling:
        """A copy with the given options set (None means not given). Raises ConfigError for an unknown one."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        for name, value in options.items():
            if name not in values:
                raise ConfigError(f"unknown sampling option {name!r}", todo=did_you_mean(name, list(values)))
            if value is not None:
                values[name] = value
        return Sampling(**values)


def _stop_strings(given: Any) -> tuple[str, ...]:
    texts = (given,) if isinstance(given, str) else given
    if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
        raise ConfigError("sampling option stop", found=repr(given)[:60], expected="a text, or a list of texts")
    if len(texts) > MOST_STOP_STRINGS:
        raise ConfigError("sampling option stop", found=f"{len(texts)} texts", expected=f"at most {MOST_STOP_STRINGS}")
    for text in texts:
        if not 1 <= len(text) <= MOST_STOP_CHARACTERS:
            found = "an empty text" if not text else f"{len(text)} characters"
            raise ConfigError("sampling option stop", found=found, expected=f"1 to {MOST_STOP_CHARACTERS} characters")
    return tuple(dict.fromkeys(texts))


def _biases(given: Any) -> tuple[tuple[int, float], ...]:
    pairs: Iterable[Any] = given.items() if isinstance(given, Mapping) else given
    try:
        biases = {int(token): float(bias) for token, bias in pairs}
    except (TypeError, ValueError) as error:
        raise ConfigError(
            "sampling option logit_bias", found=repr(given)[:60], expected="a mapping of token ids to numbers"
        ) from error
    for token, bias in biases.items():
        if token < 0 or math.isnan(bias) or bias == math.inf:
            raise ConfigError(
                "sampling option logit_bias", found=f"{token}: {bias}", expected="a token id and a number"
            )
    return tuple(sorted(biases.items()))


def read_options(assignments: Iterable[str]) -> dict[str, Any]:
    """`key=value` texts as options for `Sampling.with_options`; values are read as YAML, the last of a key counts.

    Raises:
        ConfigError: no `=`, no value, a value that is not YAML, or an unknown key (with the nearest known one).
    """
    known = [f.name for f in fields(Sampling)]
    options: dict[str, Any] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        name = name.strip()
        if not equals:
            raise ConfigError("a sampling option has no value", found=repr(assignment), expected="key=value")
        if name not in known:
            raise ConfigError(f"unknown sampling option {name!r}", todo=did_you_mean(name, known))
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"sampling option {name}", found=repr(text)[:60], expected="a YAML value") from error
        if value is None:
            raise ConfigError(f"sampling option {name}", found="no value", expected="key=value")
        options[name] = _number(value) if name in _LIMITS else value
    return options


def _number(value: Any) -> Any:
    """Numbers such as 1e-3, which YAML 1.1 takes for text."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value
