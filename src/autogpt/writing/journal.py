"""The journal of a book: every decision, one JSON object a line, synced before the next, so that a kill loses nothing.

Each line carries its number and a CRC-32 that continues that of the line before, so a line that was changed, removed
or moved shows. What stood half-written at the end when the process died is dropped when the journal is opened.
"""

from __future__ import annotations

import errno
import json
import os
import zlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from autogpt.errors import ConfigError, DataError, StoreError

__all__ = ["JOURNAL", "Journal", "read_journal"]

JOURNAL = "journal.jsonl"
VERSION = 2


def _line(number: int, record: Mapping[str, Any], before: int) -> tuple[bytes, int]:
    body = json.dumps({"n": number, **record}, ensure_ascii=False)
    crc = zlib.crc32(body.encode(), before)
    return f'{body[:-1]}, "crc": {crc}}}\n'.encode(), crc


def _read_line(raw: bytes, number: int, before: int) -> tuple[dict[str, Any], int] | None:
    """The record and its checksum; None when the line is not what was written there."""
    try:
        record = json.loads(raw)
    except ValueError:
        return None
    if not isinstance(record, dict) or record.pop("n", None) != number:
        return None
    crc = record.pop("crc", None)
    return (record, crc) if _line(number, record, before)[1] == crc else None


def read_journal(path: Path) -> tuple[list[dict[str, Any]], int, int]:
    """(records, bytes of the file that hold them, checksum of the last); a damaged last line is left out.

    Raises DataError for damage before the last line, StoreError when the file cannot be read.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise StoreError(f"{str(path)!r} cannot be read", found=error.strerror or str(error)) from error
    if lines[-1] == b"":
        lines.pop()
        ended = True
    else:
        ended = False
    records: list[dict[str, Any]] = []
    size = crc = 0
    for number, raw in enumerate(lines):
        last = number == len(lines) - 1
        read = None if last and not ended else _read_line(raw, number, crc)
        if read is None:
            if last:
                break
            raise DataError(
                f"the journal {str(path)!r} is damaged at line {number + 1}",
                expected="the line that was written there",
                todo="put the file back as it was, or write into another folder",
            )
        records.append(read[0])
        crc, size = read[1], size + len(raw) + 1
    return records, size, crc


class Journal:
    """An open journal.

    Attributes:
        path: the file.
        records: what it held when it was opened, without its first record.
        dropped: whether a damaged last line was left out.
    """

    def __init__(self, folder: Path, header: Mapping[str, Any]) -> None:
        """Opens or makes the journal of `folder`. `header` says whose it is: what is ordered, and the model.

        Raises ConfigError when the journal there is another book's or another model's, DataError when it is damaged,
        StoreError when it cannot be read or written or another process writes it.
        """
        self.path = folder / JOURNAL
        self.records: list[dict[str, Any]] = []
        self.dropped = False
        self._count = self._crc = 0
        first = json.loads(json.dumps({"kind": "begin", "version": VERSION, **header}))
        size = 0
        if self.path.exists():
            records, size, self._crc = read_journal(self.path)
            self.dropped = size < self.path.stat().st_size
            self._count = len(records)
            if records:
                _compare(first, records[0], self.path)
                self.records = records[1:]
        try:
            self._file = self.path.open("ab")
        except OSError as error:
            raise StoreError(f"{str(self.path)!r} cannot be written", found=error.strerror or str(error)) from error
        try:
            _lock(self._file.fileno(), self.path)
            self._file.truncate(size)
        except BaseException:
            self._file.close()
            raise
        self._size = size
        if self._count == 0:
            self.add(first)

    def add(self, record: Mapping[str, Any]) -> None:
        """Appends a record and syncs it.

        Raises StoreError when it cannot be written, such as on a full disk; the journal then ends with the record
        before.
        """
        line, crc = _line(self._count, record, self._crc)
        try:
            self._file.write(line)
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            self._take_back()
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            raise StoreError(
                f"{str(self.path)!r} cannot be written",
                found=error.strerror or str(error),
                todo=("free some space on that disk" if full else "check the folder")
                + "; what was written so far is kept, --resume goes on",
            ) from error
        self._count, self._crc, self._size = self._count + 1, crc, self._size + len(line)

    def _take_back(self) -> None:
        """Cuts off what a failed write left; what the buffer still holds must not follow when the file is closed."""
        handle = os.dup(self._file.fileno())
        with suppress(OSError):  # the very bytes that did not fit; they are cut off below
            self._file.close()
        try:
            os.ftruncate(handle, self._size)
        finally:
            os.close(handle)

    def close(self) -> None:
        if not self._file.closed:
            self._file.close()


def _compare(ours: Mapping[str, Any], theirs: Mapping[str, Any], path: Path) -> None:
    """Raises ConfigError naming the first thing in which the journal's book is another one."""
    for key in dict.fromkeys([*ours, *theirs]):
        if ours.get(key) != theirs.get(key):
            inner = _first_other(ours.get(key), theirs.get(key))
            raise ConfigError(
                f"{str(path.parent)!r} holds another book: its {key}{inner[0]} differs",
                found=repr(inner[2])[:80],
                expected=repr(inner[1])[:80],
                todo="choose another --out, or order the same again",
            )


def _first_other(ours: Any, theirs: Any) -> tuple[str, Any, Any]:
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        for key in dict.fromkeys([*ours, *theirs]):
            if ours.get(key) != theirs.get(key):
                return f" ({key})", ours.get(key), theirs.get(key)
    return "", ours, theirs


def _lock(handle: int, path: Path) -> None:
    """Holds the file until it is closed. Not done on Windows, whose standard library has no such lock."""
    try:
        import fcntl
    except ImportError:
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise StoreError(
            f"{str(path)!r} is being written by another process", todo="wait until it has ended"
        ) from error
