"""Names → objects, imported on first use. Built-ins and third parties enter through the same door.

A registry maps a name to `"package.module:attribute"`. Nothing is imported until a name is asked for; an unknown name
raises with the nearest known one. Other distributions add entries through the entry-point group `autogpt.<registry>`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from importlib import import_module, metadata
from typing import Any

from autogpt.errors import ConfigError

__all__ = ["METRICS", "READERS", "SAMPLERS", "Registry", "did_you_mean"]


def did_you_mean(name: str, known: list[str]) -> str:
    """`did you mean 'x'?`, or the list of what is known when nothing is near."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(known))}"


class Registry:
    """A table of lazily imported objects.

    Args:
        kind: singular noun for messages, such as "sampler".
        entries: name → "module:attribute".
    """

    def __init__(self, kind: str, entries: dict[str, str]) -> None:
        self.kind = kind
        self._entries = dict(entries)
        self._scanned = False

    def register(self, name: str, target: str) -> None:
        """Add `name`; raises ConfigError when it is taken."""
        if name in self._entries:
            raise ConfigError(f"{self.kind} {name!r} is registered already", todo="choose another name")
        self._entries[name] = target

    def _scan(self) -> None:
        if not self._scanned:
            self._scanned = True
            for point in metadata.entry_points(group=f"autogpt.{self.kind}s"):
                self.register(point.name, point.value)

    def __iter__(self) -> Iterator[str]:
        self._scan()
        return iter(sorted(self._entries))

    def get(self, name: str) -> Any:
        """The registered object. Raises ConfigError with the nearest name when there is none."""
        self._scan()
        if name not in self._entries:
            raise ConfigError(
                f"unknown {self.kind} {name!r}",
                todo=did_you_mean(name, list(self._entries)),
            )
        module, _, attribute = self._entries[name].partition(":")
        return getattr(import_module(module), attribute)


SAMPLERS = Registry(
    "sampler",
    {
        "auto": "autogpt.search.samplers.auto:AutoSampler",
        "random": "autogpt.search.samplers.random:RandomSampler",
        "bayes": "autogpt.search.samplers.bayes:BayesSampler",
        "gp": "autogpt.search.samplers.gp:GPSampler",
        "genetic": "autogpt.search.samplers.genetic:GeneticSampler",
        "rl": "autogpt.search.samplers.rl:RLSampler",
        "nsga2": "autogpt.search.samplers.nsga2:NSGA2Sampler",
        "llm": "autogpt.search.samplers.llm:LLMSampler",
    },
)
READERS = Registry(
    "reader",
    {
        "jsonl": "autogpt.data.readers:read_jsonl",
        "json": "autogpt.data.readers:read_json",
        "csv": "autogpt.data.readers:read_csv",
        "tsv": "autogpt.data.readers:read_tsv",
        "txt": "autogpt.data.readers:read_txt",
        "parquet": "autogpt.data.readers:read_parquet",
    },
)
METRICS = Registry(
    "metric",
    {
        "accuracy": "autogpt.evaluation.metrics_labels:Accuracy",
        "macro_f1": "autogpt.evaluation.metrics_labels:MacroF1",
        "micro_f1": "autogpt.evaluation.metrics_labels:MicroF1",
        "entity_f1": "autogpt.evaluation.metrics_labels:EntityF1",
        "exact_match": "autogpt.evaluation.metrics_text:ExactMatch",
        "token_f1": "autogpt.evaluation.metrics_text:TokenF1",
        "rouge1": "autogpt.evaluation.metrics_text:Rouge1",
        "rouge2": "autogpt.evaluation.metrics_text:Rouge2",
        "rougeL": "autogpt.evaluation.metrics_text:RougeL",
        "bleu": "autogpt.evaluation.metrics_corpus:Bleu",
        "chrf": "autogpt.evaluation.metrics_corpus:Chrf",
        "bits_per_byte": "autogpt.evaluation.metrics_corpus:BitsPerByte",
        "preference_accuracy": "autogpt.evaluation.metrics_labels:PreferenceAccuracy",
    },
)
