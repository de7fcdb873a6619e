"""The start-up probe: it sets threads, chooses a number format and says why."""

from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch

from autogpt.training import machine
from autogpt.training.machine import keep_freed_memory, probe


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_an_asked_for_precision_is_obeyed() -> None:
    for precision in ("fp32", "bf16"):
        found = probe(precision, 1)
        assert found.precision == precision
        assert found.reason == "asked for"
        assert torch.get_num_threads() == 1
        assert found.flops_per_s > 1e8


@pytest.mark.parametrize(("half_s", "expected"), [(0.5, "bf16"), (0.9, "fp32"), (2.0, "fp32")])
def test_the_faster_format_wins_when_it_is_clearly_faster(
    monkeypatch: pytest.MonkeyPatch, half_s: float, expected: str
) -> None:
    monkeypatch.setattr(machine, "_matmul_seconds", lambda dtype, *_: 1.0 if dtype == torch.float32 else half_s)
    found = probe("auto", 1)
    assert found.precision == expected
    assert f"{1 / half_s:.1f} times" in found.reason


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the option belongs to glibc")
def test_freed_memory_is_kept_for_the_next_tensor() -> None:
    # In a process of its own: the setting cannot be undone. Eight blocks of 16 MB are 32,768 pages.
    script = (
        "import ctypes, resource\n"
        "from autogpt.training.machine import keep_freed_memory\n"
        "libc = ctypes.CDLL(None)\n"
        "libc.malloc.argtypes, libc.malloc.restype = [ctypes.c_size_t], ctypes.c_void_p\n"
        "libc.free.argtypes = [ctypes.c_void_p]\n"
        "def faults():\n"
        "    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "    blocks = [libc.malloc(2**24) for _ in range(8)]\n"
        "    for block in blocks:\n"
        "        ctypes.memset(block, 1, 2**24)\n"
        "    for block in blocks:\n"
        "        libc.free(block)\n"
        "    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before\n"
        "by_default = min(faults() for _ in range(4))\n"
        "keep_freed_memory()\n"
        "print(by_default, min(faults() for _ in range(4)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    by_default, kept = map(int, done.stdout.split())
    assert kept < by_default / 10


def test_other_c_libraries_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.platform, "libc_ver", lambda: ("", ""))
    monkeypatch.setattr(machine.ctypes, "CDLL", lambda _: pytest.fail("called"))
    keep_freed_memory()
