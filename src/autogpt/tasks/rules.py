"""The rules that read a description, from `rules.yaml`: compiled once, on first use."""

from __future__ import annotations

import re
from functools import cache

from autogpt.tasks.lexicon import load_yaml
from autogpt.tasks.spec import TaskKind

__all__ = ["kind_rules", "metric_rules"]


@cache
def kind_rules() -> tuple[tuple[TaskKind, float, re.Pattern[str]], ...]:
    """Kind, weight in log-odds, and pattern over the normalised sentence."""
    rules = load_yaml("rules.yaml")
    parts: dict[str, str] = rules["parts"]
    return tuple(
        (TaskKind(kind), float(weight), re.compile(_with_parts(pattern, parts), re.ASCII))
        for kind, entries in rules["kinds"].items()
        for weight, pattern in entries
    )


@cache
def metric_rules() -> tuple[tuple[str, re.Pattern[str]], ...]:
    """Metric and pattern, in the order they are tried."""
    # ASCII: between a Chinese character and a Latin letter there is a word boundary ("按BLEU评价").
    return tuple((name, re.compile(pattern, re.ASCII)) for name, pattern in load_yaml("rules.yaml")["metrics"].items())


def _with_parts(pattern: str, parts: dict[str, str]) -> str:
    return re.sub(r"<(\w+)>", lambda match: parts[match.group(1)], pattern)
