"""The start-up probe: it sets threads, chooses a number format and says why."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from autogpt.training import machine
from autogpt.training.machine import probe


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
    monkeypatch.setattr(machine, "_matmul_seconds", lambda dtype, _: 1.0 if dtype == torch.float32 else half_s)
    found = probe("auto", 1)
    assert found.precision == expected
    assert f"{1 / half_s:.1f} times" in found.reason
