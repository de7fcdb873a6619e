"""Which pretrained bases are worth a trial here: those that can see enough of the data in the time there is."""

from __future__ import annotations

from collections.abc import MutableMapping
from pathlib import Path

from autogpt.config import home
from autogpt.data.corpus import Corpus
from autogpt.models.bases import available, describe, resolve
from autogpt.search.gpt_space import SCRATCH
from autogpt.training.machine import Machine

__all__ = ["choose_bases"]

_SHARE_OF_PEAK = 0.35
"""Fine-tuning reaches about this share of the matrix product rate that `probe` measures."""

_LEAST_EPOCHS = 4.0
"""Passes over the data that must fit the time: a trial has about a tenth of it, and must see much of the data."""
_LANGUAGE_TOKENS_PER_CHARACTER = {"zh": 0.9, "en": 0.4}
"""Above this a tokenizer spells a language out byte by byte: the base has hardly seen it."""


def choose_bases(
    option: str, corpus: Corpus, machine: Machine, seconds: float, reasons: MutableMapping[str, str]
) -> dict[str, Path]:
    """Name → folder of the bases to search over; the reason for each decision goes into `reasons`.

    Args:
        option: auto, scratch, or the one base to use whatever it costs.
        seconds: left for search and training together.
    """
    if option == SCRATCH:
        reasons["base"] = "from scratch: asked for"
        return {}
    if option != "auto":
        reasons["base"] = f"{option}: asked for"
        return {option: resolve(option, home())}
    chosen: dict[str, Path] = {}
    names = available(home())
    for name in names:
        folder = resolve(name, home())
        verdict = _verdict(folder, corpus, machine, seconds)
        reasons[f"base {name}"] = verdict[1]
        if verdict[0]:
            chosen[name] = folder
    if not names:
        reasons["base"] = "from scratch: no base is pulled (autogpt models pull smollm2-135m)"
    return chosen


def _verdict(folder: Path, corpus: Corpus, machine: Machine, seconds: float) -> tuple[bool, str]:
    tokenizer = corpus.base_tokenizer(folder)
    sample = ["".join(segment.text for segment in row) for row in corpus.segments[:200]]
    characters = max(1, sum(map(len, sample)))
    fertility = sum(len(ids) for ids in tokenizer(sample, add_special_tokens=False)["input_ids"]) / characters
    language = corpus.spec.output_language
    limit = _LANGUAGE_TOKENS_PER_CHARACTER.get(language, 0.9)
    if fertility > limit:
        return False, f"left out: {fertility:.2f} tokens a character of this data (limit {limit}), not its language"
    parameters = float(describe(folder)["parameters"])
    epoch_s = 6 * parameters * fertility * corpus.characters / (_SHARE_OF_PEAK * machine.flops_per_s)
    if seconds < _LEAST_EPOCHS * epoch_s:
        return False, f"left out: one epoch takes about {epoch_s:.0f} s, too long for trials in {seconds:.0f} s"
    return True, f"searched: one epoch takes about {epoch_s:.0f} s of {seconds:.0f} s"
