"""What is known about a pretrained base: bits per byte of held-out documents, and the card beside its weights.

`base.json` holds the facts, `README.md` the same for a person: it is written from the facts alone.
"""

from __future__ import annotations

import math
import platform
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from autogpt.data.batching import Encoded
from autogpt.data.token_shards_read import DocumentReader
from autogpt.data.tokenizers import encode_text
from autogpt.errors import DataError
from autogpt.generation.engine import Engine
from autogpt.training.machine import Machine

__all__ = ["HELD_OUT_DOCUMENTS", "HELD_OUT_TOKENS", "bits_per_byte", "card", "held_out_rows", "machine_name"]

HELD_OUT_DOCUMENTS, HELD_OUT_TOKENS = 150, 1000
"""How many documents of each language are scored, and how many tokens of each at most."""


def held_out_rows(path: Path, tokenizer: Any, languages: Sequence[str]) -> dict[str, list[Encoded]]:
    """language → documents to score: evenly spaced over the file, hence the same ones each time.

    Each is the start token and up to `HELD_OUT_TOKENS` tokens of text, all of which count; `utf8_bytes` is the length
    of just these tokens.

    Raises:
        DataError: the file is damaged, or a language has no document in it.
    """
    texts: dict[str, list[str]] = {language: [] for language in languages}
    for document in DocumentReader(path):
        if document.language in texts and document.text.strip():
            texts[document.language].append(document.text)
    if empty := [language for language, found in texts.items() if not found]:
        raise DataError(f"no held-out document in {path.name} is in the language {empty[0]!r}")
    return {
        language: [
            _row(tokenizer, found[index], f"{language}:{index}")
            for index in np.linspace(0, len(found) - 1, min(HELD_OUT_DOCUMENTS, len(found))).round().astype(int)
        ]
        for language, found in texts.items()
    }


def _row(tokenizer: Any, text: str, name: str) -> Encoded:
    ids = encode_text(tokenizer, text)[:HELD_OUT_TOKENS]
    # A token of a byte-level tokenizer is written with one letter a byte.
    size = sum(len(token) for token in tokenizer.convert_ids_to_tokens(ids))
    answers = np.array([False] + [True] * len(ids))
    return Encoded(
        ids=np.array([tokenizer.bos_token_id, *ids], dtype=np.int32),
        weights=answers.astype(np.float32),
        id=name,
        utf8_bytes=size,
        answers=answers,
    )


def bits_per_byte(engine: Engine, rows: Mapping[str, Sequence[Encoded]]) -> dict[str, float]:
    """language → bits that the model needs for a byte of its documents; bits and bytes are summed before dividing."""
    return {
        language: sum(engine.nats(found)) / math.log(2) / sum(row.utf8_bytes for row in found)
        for language, found in rows.items()
    }


def machine_name(machine: Machine) -> str:
    """Where a slice was trained: processor or GPU, threads, number format."""
    if machine.device == "cuda":
        return f"{torch.cuda.get_device_name()}, {machine.precision}"
    threads = f"{machine.threads} thread{'s' if machine.threads > 1 else ''}"
    return f"{_processor()}, {threads}, {machine.precision}"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines: Iterable[str] = ()
    if info.is_file():
        lines = info.read_text(encoding="utf-8", errors="replace").splitlines()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()


_LANGUAGE_NAMES = {"zh": "Chinese", "en": "English", "other": "other languages"}


def card(facts: Mapping[str, Any]) -> str:
    """The model card, Markdown with the header that model hubs read, from the facts of `base.json`."""
    lines = [*_introduction(facts), *_scores(facts), *_training(facts), *_data(facts)]
    return "\n".join(lines) + "\n"


def _introduction(facts: Mapping[str, Any]) -> list[str]:
    shape = facts["shape"]
    languages = " and ".join(_LANGUAGE_NAMES[language] for language in facts["languages"])
    return [
        "---",
        f"language: [{', '.join(facts['languages'])}]",
        f"license: {facts['licence'].lower()}",
        "library_name: transformers",
        "pipeline_tag: text-generation",
        "---",
        "",
        f"# {facts['name']}",
        "",
        f"A GPT for {languages}, pretrained from scratch by AutoGPT with the recipe `{facts['recipe_file']}`: a base "
        "to start a task's training from. It continues text; it follows no instructions.",
        "",
        "```python",
        "import autogpt  # makes transformers know the model's class",
        "from transformers import AutoModelForCausalLM, AutoTokenizer",
        "",
        'model = AutoModelForCausalLM.from_pretrained("FOLDER")',
        'tokenizer = AutoTokenizer.from_pretrained("FOLDER")',
        "```",
        "",
        "## Model",
        "",
        f"{facts['parameters']:,} parameters ({facts['parameters_without_embeddings']:,} without the embeddings): "
        f"{shape['depth']} layers, width {shape['width']}, context {shape['context']}, byte-level BPE of "
        f"{shape['vocabulary']:,} entries, tied head{', late keys' if shape['late_keys'] else ''}. Weights in "
        "bfloat16.",
        "",
    ]


def _scores(facts: Mapping[str, Any]) -> list[str]:
    rows = [
        [f"{kind} (these)" if kind == facts["weights"] else kind]
        + [f"{values[language]:.4f}" for language in facts["languages"]]
        for kind, values in facts["candidates"].items()
    ]
    return [
        "## Held-out documents",
        "",
        f"Bits per byte, less is better, on the first {facts['held_out']['tokens']:,} tokens of documents that were "
        "never trained on:",
        "",
        *_table(["weights", *facts["languages"]], rows),
        "",
        "Documents: " + ", ".join(f"{count} {code}" for code, count in facts["held_out"]["documents"].items()) + ".",
        "",
    ]


def _training(facts: Mapping[str, Any]) -> list[str]:
    rows = [
        [part["machine"], f"{part['steps']:,}", f"{part['tokens']:,}", f"{part['minutes']:.1f}"]
        for part in facts["slices"]
    ]
    return [
        "## Training",
        "",
        f"{facts['tokens_seen']:,} tokens seen ({facts['epochs']:.2f} epochs of the corpus) in {facts['steps']:,} "
        f"steps and {facts['minutes']:.1f} minutes: warm-up, constant rate {facts['recipe']['learning_rate']:g}, "
        f"linear cool-down over the last {facts['cooldown_steps']:,} steps.",
        "",
        *_table(["machine", "steps", "tokens", "minutes"], rows),
        "",
    ]


def _data(facts: Mapping[str, Any]) -> list[str]:
    rows = [
        [
            language,
            f"{counts['documents']:,}",
            f"{counts['tokens']:,}",
            f"{counts['utf8_bytes'] / 1e6:.1f}",
            f"{counts['characters'] / counts['tokens']:.2f}",
        ]
        for language, counts in facts["corpus"]["languages"].items()
    ]
    return [
        "## Data",
        "",
        *_table(["language", "documents", "tokens", "MB", "characters a token"], rows),
        "",
        *(f"- {source['what']}: {source['licence']}" for source in facts["sources"]),
        "",
        f"Licence of the weights: {facts['licence']}.",
    ]


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A Markdown table whose columns but the first hold numbers."""
    marks = ["---", *["---:"] * (len(header) - 1)]
    return [f"| {' | '.join(cells)} |" for cells in (header, marks, *rows)]
