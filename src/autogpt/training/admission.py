"""Which configurations may be tried: those that a model can have, and those below the ceilings that the user set.

What a configuration needs is predicted, as in `cost`: nothing is built or loaded. How fast a model answers is not
predicted but measured, when a trial is scored.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from autogpt.config import SearchConfig, TrainingConfig, format_bytes
from autogpt.data.batching import encode_all
from autogpt.data.corpus import Texts
from autogpt.errors import ConfigError
from autogpt.models.sizing import parameters
from autogpt.search.dimensions import Choice, ends
from autogpt.search.space import Config, Parameter, Space
from autogpt.training.candidate import context_of, shape_in
from autogpt.training.cost import Work, over_ceiling, peak_bytes
from autogpt.training.loop import TrainSettings
from autogpt.training.starts import Start, sample_of, scored_share

__all__ = ["Admission", "Ceilings", "without_impossible"]

_BOUND = ("width", "head_size", "query_groups", "context")
"""Parameters whose values do not go with each other, or not with a base."""
_TOLD = ("start", "method", "width", "depth", "vocabulary", "tokens_per_step", "context")
"""What names a configuration in a message about its size."""
_MARGIN = 1.02
"""A ceiling that is told to be enough is rounded up by this, since sizes are printed in three digits."""


@dataclass(frozen=True, slots=True)
class Ceilings:
    """The most that a model may take; None for any number.

    Attributes:
        parameters: of the model.
        memory: bytes that training takes, all workers together, what the libraries themselves occupy not included.
        workers: trials at a time, which share the memory.
    """

    parameters: int | None = None
    memory: int | None = None
    workers: int = 1

    @classmethod
    def of(cls, options: SearchConfig) -> Ceilings:
        """Those of a search."""
        return cls(options.max_parameters, options.max_memory, options.workers)

    @property
    def any(self) -> bool:
        """Whether there is one."""
        return self.parameters is not None or self.memory is not None

    @property
    def memory_of_trial(self) -> int | None:
        """Bytes that the training of one trial may take."""
        return None if self.memory is None else self.memory // self.workers


@dataclass(frozen=True, slots=True)
class Admission:
    """Says of a configuration whether it may be tried.

    Attributes:
        corpus: what is trained on.
        bases: name → pretrained start.
        options: of the training loop.
        precision: of training from scratch.
        ceilings: what the user allows.
    """

    corpus: Texts
    bases: Mapping[str, Start]
    options: TrainingConfig
    precision: str
    ceilings: Ceilings
    _scored: dict[int, float] = field(default_factory=dict, repr=False)

    def refusal(self, config: Mapping[str, Any]) -> str:
        """Why `config` is above a ceiling, with the numbers; empty when it is not.

        Empty too for a shape that no model can have: such a trial fails with that as its reason.
        """
        try:
            return " and ".join(reason for _, reason in self._needs(config) if reason)
        except ConfigError:
            return ""

    def require_any(self, space: Space) -> None:
        """Raises ConfigError when every configuration of `space` is above a ceiling, with what the smallest needs."""
        if not self.ceilings.any or self._excess(space.default) <= 1:
            return
        smallest, excess = self._smallest(space)
        if excess <= 1:
            return
        told = ", ".join(f"{name} {smallest[name]}" for name in _TOLD if name in smallest)
        enough = " and ".join(self._enough(smallest))
        raise ConfigError(
            "no configuration of the search stays below its ceilings",
            found=f"the smallest ({told}): {self.refusal(smallest)}",
            todo=f"give at least {enough}, or ask for less in search.space",
        )

    def _needs(self, config: Mapping[str, Any]) -> list[tuple[float, str]]:
        """Of each ceiling: what of it `config` needs (1 is all of it), and why that is too much, empty if it is not."""
        found = []
        base, most = self.bases.get(config["start"]), self.ceilings
        if most.parameters is not None:
            vocabulary = config.get("vocabulary", 1)
            context = config.get("context", self.options.context)
            size = parameters(shape_in(config, base, vocab_size=vocabulary, context=context))
            reason = f"a model of {size:,} parameters, search.max_parameters allows {most.parameters:,}"
            found.append((size / most.parameters, reason if size > most.parameters else ""))
        if most.memory_of_trial is not None:
            needed = self.memory(config)
            found.append((needed / max(1, most.memory_of_trial), over_ceiling(needed, most.memory_of_trial)))
        return found

    def memory(self, config: Mapping[str, Any]) -> int:
        """Predicted peak bytes of training `config` (`peak_bytes`).

        Raises ConfigError for a shape that no model can have.
        """
        base, corpus = self.bases.get(config["start"]), self.corpus
        tokenizer = corpus.tokenizer(config["vocabulary"]) if base is None else base.tokenizer
        limit = self.options.context if base is None else min(self.options.context, base.positions)
        context, width = context_of(config, corpus.lengths(tokenizer)[0], limit, corpus.packed)
        shape = shape_in(config, base, vocab_size=len(tokenizer), context=context)
        # Larger batches are read in parts, and a row is never cut into two.
        tokens = max(width, min(config["tokens_per_step"], TrainSettings(0.0).micro_tokens))
        if base is not None:
            work = base.work(config["method"], tokens, width, config.get("top", 0), config.get("rank", 0))
            return peak_bytes(work, precision=base.limits.rates.precision, kept_tokens=base.tokens)
        scored = 1.0 if config.get("prompt_weight") else self._scored_share(config["vocabulary"], tokenizer)
        return peak_bytes(Work(shape, tokens, width, scored), precision=self.precision)

    def _scored_share(self, vocabulary: int, tokenizer: Any) -> float:
        if vocabulary not in self._scored:
            rows = encode_all(tokenizer, sample_of(self.corpus), max_tokens=2**30)
            self._scored[vocabulary] = scored_share(self.corpus, rows)
        return self._scored[vocabulary]

    def _excess(self, config: Mapping[str, Any]) -> float:
        """The largest share of a ceiling that `config` needs; infinite for a shape that no model can have."""
        try:
            return max(need for need, _ in self._needs(config))
        except ConfigError:
            return math.inf

    def _enough(self, config: Mapping[str, Any]) -> Iterator[str]:
        """The options that would let `config` pass."""
        needs = [need for need, _ in self._needs(config)]
        if self.ceilings.parameters is not None and (need := needs.pop(0)) > 1:
            yield f"search.max_parameters={round(need * self.ceilings.parameters)}"
        if self.ceilings.memory is not None and (need := needs.pop(0)) > 1:
            size = format_bytes(math.ceil(_MARGIN * need * self.ceilings.memory)).replace(" ", "")
            yield f"search.max_memory={size}"

    def _smallest(self, space: Space) -> tuple[Config, float]:
        """The configuration that needs least, and the share of its ceiling that it needs.

        Numbers are at their least: nothing that is counted grows when one of them falls. Values without an order are
        tried one parameter after the other.
        """
        best, least = space.default, math.inf
        for start in ends(space["start"].dimension):
            for config in _combinations(space, {"start": start}, least=True):
                excess = self._excess(config)
                for parameter in space.parameters:
                    if parameter.name not in config or not _is_swept(parameter):
                        continue
                    for value in ends(parameter.dimension):
                        other = _completed(space, {**config, parameter.name: value}, least=True)
                        if (found := self._excess(other)) < excess:
                            config, excess = other, found
                if excess < least:
                    best, least = config, excess
        return best, least


def without_impossible(space: Space, wishes: Mapping[str, Any], bases: Mapping[str, Start]) -> Space:
    """`space` without the widths that go with none of the head sizes and query groups, unless the user named them.

    Args:
        wishes: what the user asked for (`Space.narrowed`).
        bases: name → pretrained start.

    Raises:
        ConfigError: no configuration of `space` can be built; the first reason.
    """
    works: list[Config] = []
    reasons: list[ConfigError] = []
    for start in ends(space["start"].dimension):
        for config in _combinations(space, {"start": start}):
            try:
                shape_in(config, bases.get(start), vocab_size=config.get("vocabulary", 1), context=1)
                works.append(config)
            except ConfigError as error:
                reasons.append(error)
    if not works:
        raise reasons[0]
    widths = {config["width"] for config in works if "width" in config}
    if not widths or "width" in wishes:
        return space
    every = ends(space["width"].dimension)
    kept = [width for width in every if width in widths]
    return space if len(kept) == len(every) else space.narrowed({"width": kept})


def _combinations(space: Space, fixed: Mapping[str, Any], *, least: bool = False) -> Iterator[Config]:
    """Configurations with `fixed` values and with each combination of those that do not all go with each other."""
    bound = [name for name in _BOUND if name in space.names and space[name].is_active(fixed)]
    for values in itertools.product(*(ends(space[name].dimension) for name in bound)):
        yield _completed(space, {**fixed, **dict(zip(bound, values, strict=True))}, least=least)


def _completed(space: Space, fixed: Mapping[str, Any], *, least: bool) -> Config:
    """The configuration with `fixed` values; the others are their defaults, or where they are numbers the least."""
    config: Config = {}
    for parameter in space.parameters:
        if parameter.is_active(config):
            value = min(ends(parameter.dimension)) if least and not _is_swept(parameter) else parameter.default
            config[parameter.name] = fixed.get(parameter.name, value)
    return config


def _is_swept(parameter: Parameter) -> bool:
    """Whether no value is known to need least: there is no order, or (`top`) nothing trained is a head of its own."""
    return isinstance(parameter.dimension, Choice) and (not parameter.dimension.is_ordered or parameter.name == "top")
