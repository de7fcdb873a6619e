"""Sessions of an adaptive model in files: what a text has taught is there again the next time.

A session is one safetensors file, written whole or not at all. It belongs to the model that it was made with, by the
hash of its weights, and holds words of the user (the guard's replay): keep it as you would keep the text.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from autogpt.errors import ConfigError, ModelError
from autogpt.generation.adaptive import Adaptation, Session
from autogpt.generation.fast_weights import FastState, Seen
from autogpt.registry import did_you_mean
from autogpt.store.artifacts import write_atomic

__all__ = ["SessionInfo", "Sessions", "weights_hash"]

_FORMAT = "autogpt-session-1"
_SUFFIX = ".safetensors"
_NAME = re.compile(r"\w[\w.-]{0,99}")


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """A session as a list shows it: its name, the tokens it has learnt from, and the size of its file."""

    name: str
    tokens: int
    bytes: int


def weights_hash(folder: Path) -> str:
    """SHA-256 of the weights in a model folder, in hex."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            while block := file.read(2**20):
                digest.update(block)
    return digest.hexdigest()


class Sessions:
    """The sessions of one model.

    Args:
        folder: where they are; made when the first one is saved.
        model_hash: of the weights they belong to, see `weights_hash`.
    """

    def __init__(self, folder: Path, model_hash: str) -> None:
        self.folder, self.model_hash = folder, model_hash

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise ConfigError("a session's name", found=repr(name), expected="letters, digits, - . or _, at most 100")
        return self.folder / f"{name}{_SUFFIX}"

    def names(self) -> list[str]:
        return sorted(path.name.removesuffix(_SUFFIX) for path in self.folder.glob(f"*{_SUFFIX}"))

    def list(self) -> list[SessionInfo]:
        """All sessions by name. Raises ModelError for a file that is damaged."""
        return [
            SessionInfo(name, int(self._told(name)["tokens"]), self._path(name).stat().st_size) for name in self.names()
        ]

    def remove(self, name: str) -> None:
        """Delete a session. Raises ModelError when there is none of that name."""
        self._require(name)
        self._path(name).unlink()

    def save(self, name: str, adaptation: Adaptation, session: Session) -> None:
        """Write the session, in place of one of that name."""
        guard = session.guard
        tensors = {f"state.{key}": tensor for key, tensor in session.state.tensors().items()}
        if guard.good is not None:
            tensors |= {f"good.{key}": tensor for key, tensor in guard.good.tensors().items()}
        if guard.replay is not None:
            seen, targets_ST = guard.replay
            tensors |= {"replay.inner": seen.inner_STR, "replay.stream": seen.stream_STD, "replay.targets": targets_ST}
            if seen.ids_ST is not None:
                tensors["replay.ids"] = seen.ids_ST
        told = {
            "tokens": session.tokens,
            "settings": adaptation.settings.to_dict(),
            "guard": {"slower": guard.slower, "taken_back": guard.taken_back, "recent": guard.recent},
        }
        metadata = {"format": _FORMAT, "model": self.model_hash, "session": json.dumps(told)}
        path = self._path(name)
        self.folder.mkdir(parents=True, exist_ok=True)
        held = {key: tensor.detach().cpu().clone().contiguous() for key, tensor in tensors.items()}
        write_atomic(path, save(held, metadata))

    def load(self, name: str, adaptation: Adaptation) -> Session:
        """The session of that name.

        Raises ModelError when there is none, when its file is damaged, or when it belongs to another model, another
        mode of adaptation or other settings.
        """
        self._require(name)
        told = self._told(name)
        session, device = adaptation.session(), adaptation.reader.device
        try:
            # Files of the time when there was one mode do not say it.
            if (mode := told["settings"].get("mode", "exact")) != (expected := adaptation.settings.mode):
                raise ModelError(f"session {name!r} adapts in another mode", found=mode, expected=expected)
            with safe_open(self._path(name), framework="pt") as file:
                tensors = {key: file.get_tensor(key).to(device) for key in file.keys()}  # noqa: SIM118 (no mapping)
            state = _state(tensors, "state")
            for key, fresh in session.state.tensors().items():
                if state.tensors()[key].shape != fresh.shape:
                    raise self._unfit(name, f"{key} of shape {list(state.tensors()[key].shape)}")
            session.state, session.tokens = state, int(told["tokens"])
            guard, kept = session.guard, told["guard"]
            guard.slower, guard.taken_back = float(kept["slower"]), int(kept["taken_back"])
            guard.recent = [int(token) for token in kept["recent"]]
            if "good.bias" in tensors:
                guard.good = _state(tensors, "good")
            if "replay.targets" in tensors:
                seen = Seen(tensors["replay.inner"], tensors["replay.stream"], ids_ST=tensors.get("replay.ids"))
                guard.replay = (seen, tensors["replay.targets"])
        except (AttributeError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise self._damaged(name, error) from error
        return session

    def _require(self, name: str) -> None:
        if not self._path(name).is_file():
            raise ModelError(f"no session {name!r}", todo=did_you_mean(name, self.names()))

    def _told(self, name: str) -> Mapping[str, Any]:
        try:
            with safe_open(self._path(name), framework="pt") as file:
                metadata = file.metadata() or {}
            if metadata.get("format") != _FORMAT:
                raise ValueError(f"format {metadata.get('format')!r}")
            told: dict[str, Any] = json.loads(metadata["session"])
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            raise self._damaged(name, error) from error
        if metadata["model"] != self.model_hash:
            raise self._unfit(name, f"weights {metadata['model'][:12]}")
        return told

    def _damaged(self, name: str, error: Exception) -> ModelError:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        return ModelError(f"session file {str(self._path(name))!r} is damaged", found=reason, todo="remove it")

    def _unfit(self, name: str, found: str) -> ModelError:
        return ModelError(
            f"session {name!r} belongs to another model",
            found=found,
            expected=f"weights {self.model_hash[:12]}",
            todo="give it a new name, or remove it",
        )


def _state(tensors: Mapping[str, torch.Tensor], prefix: str) -> FastState:
    return FastState(*(tensors[f"{prefix}.{key}"] for key in ("mlp", "head", "bias")))
