from __future__ import annotations

import os
import socket
import subprocess
import sys
import time

import pytest

from autogpt.store.leases import LEASE_S, is_live, process_exists, this_process


def test_this_process_is_live() -> None:
    assert this_process() == {"pid": os.getpid(), "host": socket.gethostname()}
    assert is_live(**this_process(), heartbeat=time.time())


def test_a_silent_process_is_not_live() -> None:
    assert not is_live(**this_process(), heartbeat=time.time() - LEASE_S - 1)


def test_a_clock_that_was_set_back_frees_nothing() -> None:
    assert is_live(**this_process(), heartbeat=time.time() + 3600)


def test_a_dead_process_is_not_live_even_as_a_zombie() -> None:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    assert process_exists(process.pid)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # dead, not yet collected
    if os.path.exists("/proc/self/stat"):
        assert not process_exists(process.pid)
    process.wait()
    assert not process_exists(process.pid)
    assert not is_live(process.pid, socket.gethostname(), time.time())


def test_a_process_of_another_machine_is_taken_at_its_last_word() -> None:
    assert is_live(2**22 + 1, "elsewhere", time.time())
    assert not is_live(2**22 + 1, "elsewhere", time.time() - LEASE_S - 1)


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_a_process_of_another_user_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(pid: int, signal: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", forbidden)
    assert process_exists(os.getpid())
