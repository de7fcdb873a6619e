"""Which process holds a run, and whether it still lives."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import Any

__all__ = ["LEASE_S", "is_live", "process_exists", "this_process"]

LEASE_S = 60.0
"""A run whose holder has not been heard of for this long is free. Holders should beat several times as often."""


def this_process() -> dict[str, Any]:
    """`pid` and `host` of the caller, as they stand in the runs table."""
    return {"pid": os.getpid(), "host": socket.gethostname()}


def is_live(pid: int, host: str, heartbeat: float) -> bool:
    """Whether the holder of a run is at work: heard of within the lease and, on this machine, still a process.

    A process of another machine is taken at its last word. A heartbeat from the future means that a clock was set back,
    and counts as fresh.
    """
    if time.time() - heartbeat > LEASE_S:
        return False
    return host != socket.gethostname() or process_exists(pid)


def process_exists(pid: int) -> bool:
    """Whether a process of this machine exists and has not ended (a zombie has)."""
    if os.name == "nt":  # there, signal 0 would end the process: go by the heartbeat
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # somebody else's, but there
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return True  # no /proc on this system
    return status.rpartition(")")[2].split()[0] != "Z"
