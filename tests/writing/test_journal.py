"""The journal: what it holds after a reopening, a torn line, damage, another book, a full disk."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from autogpt.errors import ConfigError, DataError, StoreError
from autogpt.writing.journal import JOURNAL, Journal, read_journal

HEADER = {"order": {"premise": "海", "chapters": 2}, "writer": "w"}


def filled(folder: Path, count: int = 4) -> Path:
    journal = Journal(folder, HEADER)
    for number in range(count):
        journal.add({"kind": "sentence", "text": f"第{number}句。"})
    journal.close()
    return folder / JOURNAL


def test_records_come_back_in_order(tmp_path: Path) -> None:
    filled(tmp_path)
    journal = Journal(tmp_path, HEADER)
    assert [record["text"] for record in journal.records] == [f"第{n}句。" for n in range(4)]
    assert not journal.dropped
    journal.add({"kind": "end"})
    journal.close()
    assert read_journal(tmp_path / JOURNAL)[0][-1] == {"kind": "end"}


def test_any_cut_keeps_every_whole_line(tmp_path: Path) -> None:
    path = filled(tmp_path)
    whole = path.read_bytes()
    ends = [i + 1 for i, byte in enumerate(whole) if byte == 10]
    for cut in range(ends[0], len(whole)):
        path.write_bytes(whole[:cut])
        journal = Journal(tmp_path, HEADER)
        journal.close()
        kept = sum(end <= cut for end in ends)
        assert len(journal.records) == kept - 1
        assert journal.dropped is (cut not in ends)
        assert path.read_bytes() == whole[: ends[kept - 1]]


@pytest.mark.parametrize("change", ["text", "removed", "swapped", "nonsense"])
def test_damage_before_the_end_is_an_error(tmp_path: Path, change: str) -> None:
    path = filled(tmp_path)
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    if change == "text":
        lines[2] = lines[2].replace("句", "语")
    elif change == "removed":
        del lines[2]
    elif change == "swapped":
        lines[2], lines[3] = lines[3], lines[2]
    else:
        lines[2] = "{\n"
    path.write_text("".join(lines), encoding="utf-8")
    with pytest.raises(DataError, match="damaged at line 3"):
        Journal(tmp_path, HEADER)


def test_another_book_is_refused_by_name(tmp_path: Path) -> None:
    filled(tmp_path)
    with pytest.raises(ConfigError, match=r"its order \(chapters\) differs; found 2; expected 3"):
        Journal(tmp_path, {**HEADER, "order": {"premise": "海", "chapters": 3}})
    with pytest.raises(ConfigError, match="its writer differs"):
        Journal(tmp_path, {**HEADER, "writer": "other"})


def test_one_process_at_a_time(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    first = Journal(tmp_path, HEADER)
    with pytest.raises(StoreError, match="being written by another process"):
        Journal(tmp_path, HEADER)
    first.close()
    Journal(tmp_path, HEADER).close()


def test_a_full_disk_keeps_what_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(tmp_path, HEADER)
    journal.add({"kind": "sentence", "text": "一。"})

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(StoreError, match=r"No space left.*free some space.*--resume goes on"):
            journal.add({"kind": "sentence", "text": "二。"})
    journal.close()
    again = Journal(tmp_path, HEADER)
    again.close()
    assert [record["text"] for record in again.records] == ["一。"]
    assert not again.dropped


def test_lines_are_plain_json(tmp_path: Path) -> None:
    path = filled(tmp_path)
    rows: list[dict[str, Any]] = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [row["n"] for row in rows] == [0, 1, 2, 3, 4]
    assert rows[0]["kind"] == "begin"
