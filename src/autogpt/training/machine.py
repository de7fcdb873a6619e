"""What this machine does best: threads and number format, chosen by a short measurement and never by a flag alone."""

from __future__ import annotations

import ctypes
import functools
import math
import os
import platform
import shutil
import time
from dataclasses import dataclass
from typing import Literal

import torch

__all__ = ["Machine", "compiling_pays", "keep_freed_memory", "peak_memory_mb", "probe"]

Precision = Literal["fp32", "bf16"]
_PROBE_TDF = (4096, 384, 1536)
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
"""The options' numbers in glibc's malloc.h. Larger blocks than 32 MB cannot be kept, -1 is the largest threshold."""
_COMPILE_FROM_S = 300.0
_PROBE_FLOPS = 2.0 * math.prod(_PROBE_TDF)


@dataclass(frozen=True, slots=True)
class Machine:
    """Where and how a run computes.

    Attributes:
        flops_per_s: floating-point operations a second of a matrix product in the chosen precision, as measured.
        reason: why the precision is what it is.
    """

    device: str
    threads: int
    precision: Precision
    flops_per_s: float
    reason: str


@functools.cache
def _matmul_seconds(dtype: torch.dtype, device: str, threads: int) -> float:
    """Median seconds of a product of the shape that small GPTs spend their time in (4096 tokens, 384 → 1536).

    `threads` tells apart what is kept; they are set before.
    """
    tokens, width, inner = _PROBE_TDF
    a_TD = torch.randn(tokens, width, device=device).to(dtype)
    w_DF = torch.randn(width, inner, device=device).to(dtype)
    times = []
    for _ in range(7):
        start = time.perf_counter()
        a_TD @ w_DF
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return sorted(times[2:])[2]


def probe(precision: str = "auto", threads: int | str = "auto") -> Machine:
    """Set the thread count and decide fp32 or bf16 by timing both (about 0.1 s).

    bf16 means autocast: weights, norms, softmax and the loss stay in fp32. What was timed is kept for the process.

    Args:
        precision: fp32 or bf16 where that is decided already.
        threads: how many; auto is `OMP_NUM_THREADS`, or all cores that this process may use.
    """
    count = _threads() if threads == "auto" else int(threads)
    torch.set_num_threads(count)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    types = {"fp32": torch.float32, "bf16": torch.bfloat16}
    seconds = {name: _matmul_seconds(kind, device, count) for name, kind in types.items()}
    gain = seconds["fp32"] / seconds["bf16"]
    # Autocast pays for casting weights and activations, so a small gain in the products alone would be lost again.
    chosen: Precision = "bf16" if precision == "bf16" or (precision == "auto" and gain > 1.3) else "fp32"
    reason = f"bf16 products are {gain:.1f} times as fast as fp32 here" if precision == "auto" else "asked for"
    return Machine(device, count, chosen, _PROBE_FLOPS / seconds[chosen], reason)


def _threads() -> int:
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdecimal() and int(asked) > 0:
        return int(asked)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def keep_freed_memory() -> None:
    """Have the C library keep the memory that tensors give back, for the tensors that follow (glibc only).

    By default it returns what lies free at the end of its heap, and blocks that are as large as the largest so far, to
    the system, which zeroes their pages anew for the next step: 80,000 page faults in a step of a 14M model, a tenth of
    its time (`benchmarks/results/training.md`). Blocks above 32 MB still go back; the rest of the heap does not shrink.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    for option, value in ((_M_MMAP_THRESHOLD, 32 * 2**20), (_M_TRIM_THRESHOLD, -1), (_M_TOP_PAD, 64 * 2**20)):
        libc.mallopt(option, value)


def peak_memory_mb(device: str) -> int | None:
    """The most memory in MiB that this process (or, on a GPU, its tensors) has held; None where nothing tells."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated() // 2**20
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 2**20 if platform.system() == "Darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // unit


def compiling_pays(device: str, seconds: float) -> bool:
    """Whether `torch.compile` gains more than it costs in `seconds` of steps of one shape.

    On a GPU, where it brings its own compiler: yes. On a CPU it needs a C++ compiler and 5 to 20 s, and makes a step of
    a 14M model a sixth shorter (`benchmarks/results/training.md`).
    """
    return device == "cuda" or (seconds >= _COMPILE_FROM_S and any(map(shutil.which, ("g++", "clang++", "c++"))))
