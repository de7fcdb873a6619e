"""Names and keys that the store derives from words and content. No database needed."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Mapping
from typing import Any

__all__ = ["slug", "task_key"]

ESSENTIALS = ("kind", "input_fields", "output_field", "labels", "metric")


def task_key(spec: Mapping[str, Any], fingerprint: str) -> str:
    """16 hex digits that are equal for the same task on the same data, however it was described.

    Args:
        spec: `TaskSpec.model_dump(mode="json")`; kind, input and output fields, labels (in any order) and metric count.
            Of several tasks, `tasks`: name → that.
        fingerprint: of the data's content.
    """
    tasks: Mapping[str, Mapping[str, Any]] | None = spec.get("tasks")
    essentials: Any = _essentials(spec)
    if tasks is not None:
        essentials = {name: _essentials(task) for name, task in tasks.items()}
        if weights := spec.get("weights"):
            essentials = [essentials, weights]
    text = json.dumps([essentials, fingerprint], sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(unicodedata.normalize("NFC", text).encode()).hexdigest()[:16]


def _essentials(spec: Mapping[str, Any]) -> dict[str, Any]:
    found = {name: spec.get(name) for name in ESSENTIALS}
    return {**found, "labels": sorted(found["labels"] or [])}


def slug(text: str, limit: int = 40) -> str:
    """`text` as a name for files and commands: lower-case letters and digits of any script joined by `-`.

    `model` when no letter or digit is in it. `limit` is in characters: 40 are at most 160 bytes, less than file systems
    allow.
    """
    folded = unicodedata.normalize("NFKC", text).lower()
    words = "".join(character if character.isalnum() else " " for character in folded).split()
    return "-".join(words)[:limit].strip("-") or "model"
