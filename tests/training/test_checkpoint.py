"""Checkpoints: whole or absent, checked when read, the previous one when the newest is broken."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest
import torch

from autogpt.errors import StoreError
from autogpt.training import checkpoint


def _tensors(value: float) -> dict[str, torch.Tensor]:
    return {"weight.a": torch.full((3, 4), value), "rng": torch.get_rng_state()}


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    tensors = _tensors(1.5)
    checkpoint.save(tmp_path, 7, tensors, {"tokens": 12})
    found = checkpoint.load_newest(tmp_path)
    assert found is not None
    assert found.meta["step"] == 7
    assert found.meta["tokens"] == 12
    for name, tensor in tensors.items():
        assert torch.equal(found.tensors[name], tensor)


def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    for step in range(5):
        checkpoint.save(tmp_path, step, _tensors(step), {}, keep=2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000003", "step-00000004"]


@pytest.mark.parametrize("damage", ["flip", "truncate", "no meta", "empty meta"])
def test_a_broken_newest_gives_the_one_before_and_says_so(tmp_path: Path, damage: str) -> None:
    checkpoint.save(tmp_path, 1, _tensors(1.0), {})
    newest = checkpoint.save(tmp_path, 2, _tensors(2.0), {})
    file = newest / "state.safetensors"
    data = bytearray(file.read_bytes())
    if damage == "flip":
        data[-3] ^= 1
        file.write_bytes(bytes(data))
    elif damage == "truncate":
        file.write_bytes(bytes(data[:-5]))
    elif damage == "no meta":
        (newest / "meta.json").unlink()
    else:
        (newest / "meta.json").write_text("", encoding="utf-8")
    found = checkpoint.load_newest(tmp_path)
    assert found is not None
    assert found.meta["step"] == 1
    assert len(found.passed_over) == 1
    assert "step-00000002" in found.passed_over[0]


def test_nothing_there_is_none(tmp_path: Path) -> None:
    assert checkpoint.load_newest(tmp_path / "absent") is None


def test_a_full_disk_keeps_the_old_one_and_leaves_no_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint.save(tmp_path, 1, _tensors(1.0), {})

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(StoreError, match="No space left"):
        checkpoint.save(tmp_path, 2, _tensors(2.0), {})
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000001"]
