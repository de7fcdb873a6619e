"""What every test may count on: its own home, no network, one thread, and real data sets only where they are."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

# Before anything imports torch or transformers. One thread: tiny models are faster so, and results repeat.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("GOMP_SPINCOUNT", "20000")
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["AUTOGPT_OFFLINE"] = "1"

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared" / "data"

_home = tempfile.TemporaryDirectory(prefix="autogpt-tests-", ignore_cleanup_errors=True)
os.environ["AUTOGPT_HOME"] = _home.name


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests marked `shared` where the real data sets are not beside the checkout."""
    if SHARED.is_dir():
        return
    skip = pytest.mark.skip(reason="the real data sets are not beside this checkout")
    for item in items:
        if "shared" in item.keywords:
            item.add_marker(skip)


@pytest.fixture(autouse=True)
def no_own_bases(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bases that this checkout may hold stay out of the tests, which know the machine they run on."""
    monkeypatch.setattr("autogpt.models.bases.OWN_BASES", Path(_home.name) / "no-bases")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """PyTorch computes with one thread, whatever a test before had it choose: loading a model sets it to all cores.

    Beside other workers two threads wait for each other at every operation, up to ten times as long as one computes.
    """
    _compute_with_one_thread()
    yield
    _compute_with_one_thread()


def _compute_with_one_thread() -> None:
    torch = sys.modules.get("torch")  # a test without it shall not have to load it
    if torch is not None:
        torch.set_num_threads(1)


def pytest_unconfigure() -> None:
    _home.cleanup()


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of the real data sets; for tests marked `shared`."""
    return SHARED
