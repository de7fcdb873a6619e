"""`autogpt doctor`: what this machine and installation offer, what is missing and how to mend it. Imports no torch."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import typer

from autogpt.cli import common, show
from autogpt.errors import AutoGPTError

__all__ = ["Check", "checks", "doctor"]

GIB = 2**30
LOW_MEMORY_BYTES = 3 * GIB
LOW_DISK_BYTES = 3 * GIB
EXTRAS = {
    "pyarrow": ("parquet", "Parquet files"),
    "tensorboard": ("tensorboard", "TensorBoard files"),
    "openai": ("llm", "asking a language model"),
}
FAST_FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the examination. `warn` works but could be better; `broken` must be mended before `fit` can run."""

    name: str
    state: Literal["ok", "warn", "broken"]
    detail: str
    fix: str = ""


def doctor(
    as_json: common.JsonFlag = False,
    debug: common.DebugFlag = False,
    quiet: common.QuietFlag = False,
) -> None:
    """Examine the machine and the installation. Exit code 1 when something is broken; -q shows only what is not ok."""
    from autogpt.config import home

    found = list(checks(home()))
    broken = any(check.state == "broken" for check in found)
    if as_json:
        common.emit({"ok": not broken, "checks": [asdict(check) for check in found]})
    else:
        marks = {"ok": "ok", "warn": "warn", "broken": "BROKEN"}
        shown = [check for check in found if check.state != "ok" or not quiet]
        for line in show.fields(
            [(f"{marks[c.state]:<6}  {c.name}", f"{c.detail}{f' → {c.fix}' if c.fix else ''}") for c in shown],
            indent="",
        ):
            common.say(line)
    if broken:
        raise typer.Exit(1)


def checks(folder: Path) -> Iterator[Check]:
    """Every check in turn; `folder` is the AutoGPT home. None of them raises."""
    yield _python()
    yield Check("cores", "ok", f"{cores()} usable of {os.cpu_count()}")
    yield _memory()
    yield from _processor()
    yield from _packages()
    writable = _home(folder)
    yield writable
    yield _disk(folder)
    if writable.state == "ok":
        yield _database(folder)
    yield _network()
    yield _bases(folder)


def cores() -> int:
    """CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _python() -> Check:
    return Check("python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}")


def memory_bytes() -> int | None:
    """Memory this process may use: the machine's, or its control group's where that is less; None where unknown."""
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
    for limit in (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes")):
        if limit.is_file() and (text := limit.read_text(encoding="utf-8").strip()).isdigit():
            total = min(total, int(text))
    return total


def _memory() -> Check:
    found = memory_bytes()
    if found is None:
        return Check("memory", "ok", "cannot be measured on this system")
    if found < LOW_MEMORY_BYTES:
        return Check("memory", "warn", show.size(found), "use --base scratch, or a machine with 4 GiB or more")
    return Check("memory", "ok", show.size(found))


def _processor() -> Iterator[Check]:
    info = Path("/proc/cpuinfo")
    if not info.is_file():
        return
    lines = info.read_text(encoding="utf-8", errors="replace").splitlines()
    flags = next((line.partition(":")[2].split() for line in lines if line.startswith(("flags", "Features"))), [])
    has = [flag for flag in FAST_FLAGS if flag in flags]
    advice = "" if {"avx512_bf16", "amx_bf16"} & set(has) else "; bf16 is slow here, training probes and takes fp32"
    yield Check("processor", "ok", (", ".join(has) or "no vector extensions known to us") + advice)


def _packages() -> Iterator[Check]:
    for name in ("torch", "transformers"):
        version = _version(name)
        if version is None:
            yield Check(name, "broken", "not installed", f"pip install {name}")
        else:
            yield Check(name, "ok", version)
    for name, (extra, use) in EXTRAS.items():
        version = _version(name)
        if version is None:
            yield Check(name, "warn", f"not installed: no {use}", f"pip install 'autogpt-lm[{extra}]'")
        else:
            yield Check(name, "ok", version)


def _version(name: str) -> str | None:
    from importlib import metadata

    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _nearest(folder: Path) -> Path:
    """`folder`, or the nearest folder above it that exists."""
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())


def _home(folder: Path) -> Check:
    """Whether files can be made in the home; only looks, so that an examination leaves no folder behind."""
    place = _nearest(folder)
    try:
        with tempfile.NamedTemporaryFile(dir=place, prefix=".autogpt-doctor-"):
            pass
    except OSError as error:
        return Check("home", "broken", f"{folder}: {error.strerror}", "point AUTOGPT_HOME at a folder you can write to")
    return Check("home", "ok", str(folder) if folder.exists() else f"{folder} (made by the first fit)")


def _disk(folder: Path) -> Check:
    free = shutil.disk_usage(_nearest(folder)).free
    if free < LOW_DISK_BYTES:
        return Check("disk", "warn", f"{show.size(free)} free", "free some space or move AUTOGPT_HOME")
    return Check("disk", "ok", f"{show.size(free)} free")


def _database(folder: Path) -> Check:
    if not (folder / "autogpt.db").exists():
        return Check("database", "ok", "none yet (made by the first fit)")
    from autogpt.store.database import Store

    try:
        store = Store(folder)
        return Check("database", "ok", f"{len(store.models())} models, {len(store.runs())} runs")
    except AutoGPTError as error:
        return Check("database", "broken", str(error), "move autogpt.db away; run folders and models stay readable")


def _network() -> Check:
    from autogpt.config import offline

    return Check("network", "ok", "off by AUTOGPT_OFFLINE" if offline() else "allowed; used only to pull bases")


def _bases(folder: Path) -> Check:
    try:
        from autogpt.models.bases import available
    except ImportError as error:
        return Check("bases", "broken", str(error), "reinstall autogpt-lm")
    names = available(folder)
    if not names:
        return Check("bases", "warn", "none pulled: fit trains from scratch", "autogpt models pull smollm2-135m")
    return Check("bases", "ok", ", ".join(names))
