"""Checkpoints that survive a crash: written whole or not at all, checked when read, never a pickle.

A checkpoint is a folder `step-00001234` with `state.safetensors` (weights, average, optimizer, random state) and
`meta.json` (step, tokens, schedule, SHA-256 of the tensors). It is written to a temporary folder beside it, flushed to
disk and renamed. Reading takes the newest valid one and says which broken ones it passed over.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from autogpt.errors import StoreError
from autogpt.store.artifacts import sync

__all__ = ["Checkpoint", "load_newest", "save"]

_TENSORS, _META = "state.safetensors", "meta.json"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint as read: tensors by name, plain meta data, and what was passed over on the way to it."""

    tensors: Mapping[str, torch.Tensor]
    meta: Mapping[str, Any]
    passed_over: tuple[str, ...] = ()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def save(
    folder: Path, step: int, tensors: Mapping[str, torch.Tensor], meta: Mapping[str, Any], *, keep: int = 2
) -> Path:
    """Write a checkpoint atomically and delete all but the newest `keep`.

    Returns the new folder. Raises StoreError when the disk is full or not writable; older checkpoints stay intact.
    """
    final = folder / f"step-{step:08d}"
    temporary = folder / f".writing-{os.getpid()}-{final.name}"
    try:
        temporary.mkdir(parents=True)
        # Tied weights share storage; safetensors wants each tensor on its own.
        save_file({name: t.detach().contiguous().clone() for name, t in tensors.items()}, temporary / _TENSORS)
        record = {**meta, "step": step, "sha256": _digest(temporary / _TENSORS)}
        (temporary / _META).write_text(json.dumps(record), encoding="utf-8")
        for path in (temporary / _TENSORS, temporary / _META, temporary):
            sync(path)
        if final.exists():
            shutil.rmtree(final)
        temporary.rename(final)
        sync(folder)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise StoreError(
            "a checkpoint could not be written", found=str(error), todo="free disk space and resume the run"
        ) from error
    for old in sorted(folder.glob("step-*"))[:-keep]:
        shutil.rmtree(old)
    return final


def load_newest(folder: Path) -> Checkpoint | None:
    """The newest checkpoint whose checksum holds, or None when there is none."""
    passed_over: list[str] = []
    for path in sorted(folder.glob("step-*"), reverse=True):
        try:
            meta = json.loads((path / _META).read_text(encoding="utf-8"))
            if _digest(path / _TENSORS) != meta["sha256"]:
                raise ValueError("checksum does not match")
            return Checkpoint(load_file(path / _TENSORS), meta, tuple(passed_over))
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            passed_over.append(f"{path.name}: {error}")
    return None
