"""Files of documents → documents, one after another, however large the file: `.jsonl`, `.jsonl.zst` and `.txt`.

A JSONL line is an object with `text` and, where it is known, `lang`. A text file is cut at line ends into documents of
about 100,000 characters. A file that is cut off, damaged or holds a line that is no document is an error that names it.

What this file does not do: other formats (see `readers`), cleaning, languages beyond Chinese, English and the rest.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import zstandard

from autogpt.data.token_shards import LANGUAGES
from autogpt.errors import DataError
from autogpt.tasks.language import language_of_text

__all__ = ["Document", "DocumentReader", "corpus_files"]

SUFFIXES = (".jsonl", ".jsonl.zst", ".txt")
MOST_CHARACTERS = 100_000
"""A longer text file is cut at line ends into documents of about this length."""
_READ_BYTES = 2**20
_ZSTD_WINDOW_BYTES = 2**27


@dataclass(frozen=True, slots=True)
class Document:
    """One document: its text, its language (one of `LANGUAGES`) and its length as UTF-8."""

    text: str
    language: str
    utf8_bytes: int


def corpus_files(sources: Sequence[Path], exclude: Iterable[Path] = ()) -> list[Path]:
    """The files of `sources` (files, or folders whose files with a known suffix count), in order; never one twice.

    Args:
        exclude: files that are left out wherever they are found, such as held-out documents.

    Raises:
        DataError: a source is not there, has another suffix, or nothing is left.
    """
    left_out = {path.resolve() for path in exclude}
    found: dict[Path, Path] = {}
    for source in sources:
        if source.is_dir():
            inside = sorted(path for path in source.iterdir() if path.is_file() and path.name.endswith(SUFFIXES))
        elif source.is_file() and source.name.endswith(SUFFIXES):
            inside = [source]
        else:
            what = f"corpus file {str(source)!r} cannot be used" if source.exists() else f"no corpus {str(source)!r}"
            raise DataError(what, expected=f"a folder or a file that ends in {', '.join(SUFFIXES)}")
        found.update({path.resolve(): path for path in inside if path.resolve() not in left_out})
    if not found:
        raise DataError(
            f"no documents in {', '.join(repr(str(source)) for source in sources)}",
            expected=f"files that end in {', '.join(SUFFIXES)}",
        )
    return list(found.values())


class DocumentReader:
    """Iterates over the documents of one file, however large. `read_bytes` tells how much of it has been read.

    Iterating raises DataError, which names the file, where it is cut off, damaged, or holds a line that is no document.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.read_bytes = path, 0

    def __iter__(self) -> Iterator[Document]:
        try:
            with self.path.open("rb") as file:
                lines = _lines(self._zstd(file) if self.path.suffix == ".zst" else self._plain(file))
                yield from self._texts(lines) if self.path.suffix == ".txt" else self._rows(lines)
        except (OSError, zstandard.ZstdError, EOFError, UnicodeError) as error:
            raise self._damaged(str(error)) from error

    def _damaged(self, found: str) -> DataError:
        return DataError(
            f"corpus shard {self.path.name} is damaged", found=found, todo="restore it, or go on with --skip-damaged"
        )

    def _plain(self, file: BinaryIO) -> Iterator[bytes]:
        while data := file.read(_READ_BYTES):
            self.read_bytes += len(data)
            yield data

    def _zstd(self, file: BinaryIO) -> Iterator[bytes]:
        """Decompressed pieces of all frames. A stream reader would take a file that is cut off for a whole one."""
        decompressor, frame = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES), None
        for read in self._plain(file):
            data = read
            while data:
                frame = frame or decompressor.decompressobj()
                yield frame.decompress(data)
                data, frame = (frame.unused_data, None) if frame.eof else (b"", frame)
        if frame is not None:
            raise EOFError("the file ends inside a zstd frame")

    def _rows(self, lines: Iterator[bytes]) -> Iterator[Document]:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
                text, language = row["text"], row.get("lang")
                size = len(text.encode("utf-8"))
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                reason = f"line {number} is no document ({type(error).__name__}: {error})"
                raise self._damaged(reason) from error
            yield Document(text, _language(language, text), size)

    @staticmethod
    def _texts(lines: Iterator[bytes]) -> Iterator[Document]:
        kept: list[str] = []
        length = 0
        for line in lines:
            kept.append(line.decode("utf-8"))
            length += len(kept[-1]) + 1
            if length >= MOST_CHARACTERS:
                yield _document("\n".join(kept))
                kept, length = [], 0
        if kept:
            yield _document("\n".join(kept))


def _document(text: str) -> Document:
    return Document(text, _language(None, text), len(text.encode("utf-8")))


def _language(given: object, text: str) -> str:
    language = given if isinstance(given, str) else language_of_text(text)
    return language if language in LANGUAGES else "other"


def _lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for piece in pieces:
        *whole, rest = (rest + piece).split(b"\n")
        yield from whole
    if rest:
        yield rest
