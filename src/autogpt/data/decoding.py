"""Bytes of a file → text, or one clear line that says what the file really is. Torch-free.

Nothing is guessed silently: an encoding is used only when every byte fits it (or, for UTF-8, when the few lines that do
not fit can be left out and counted).
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from pathlib import Path

from autogpt.errors import DataError
from autogpt.registry import did_you_mean

__all__ = ["Decoded", "decode", "has_broken_bytes", "load_bytes", "quote"]

_MAGIC: tuple[tuple[bytes, str, str], ...] = (
    (b"\x1f\x8b", "a gzip archive", "unpack it first: gunzip FILE"),
    (b"PK\x03\x04", "a zip archive or an Excel workbook", "unpack it, or save the sheet as CSV"),
    (b"\xd0\xcf\x11\xe0", "an old Office document", "save the sheet as CSV"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it first"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive", "unpack it first"),
    (b"\xfd7zXZ", "an xz archive", "unpack it first"),
    (b"BZh", "a bzip2 archive", "unpack it first"),
    (b"%PDF-", "a PDF document", "convert it to plain text first"),
    (b"version https://git-lfs", "a git-lfs pointer, not the data", "fetch the data: git lfs pull"),
)
_BOMS: tuple[tuple[bytes, str], ...] = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
_HTML = re.compile(rb"\s*(<!doctype\s+html|<html[\s>])", re.IGNORECASE)
_SURROGATE_ESCAPED = re.compile(r"[\udc80-\udcff]")


@dataclass(frozen=True, slots=True)
class Decoded:
    """The text of a file and how it was decoded.

    Attributes:
        text: with bytes that do not fit (UTF-8 only) as lone surrogates; their lines are to be dropped.
        encoding: `utf-8`, `utf-8-sig`, `utf-16`, `utf-32` or `gb18030`.
    """

    text: str
    encoding: str


def quote(text: str, limit: int = 60) -> str:
    """The start of `text` in quotes, for messages; always printable, on one line."""
    shown = text if len(text) <= limit else text[:limit] + "…"
    return repr(shown.encode("utf-8", "backslashreplace").decode("utf-8"))


def load_bytes(path: Path) -> bytes:
    """The content of a regular file. Raises DataError when it is missing, not a file, not readable or empty."""
    try:
        there = path.exists()
    except OSError as error:  # a name that no file system takes, such as a whole sentence
        raise DataError(f"no file {quote(str(path))}", found=error.strerror or str(error), expected="a path") from error
    if re.match(r"^[A-Za-z][A-Za-z0-9+.-]+:/", str(path)) and not there:
        raise DataError(
            f"{str(path)!r} is an address", expected="a file or folder on this machine", todo="download it first"
        )
    if not there:
        raise DataError(f"no file {str(path)!r}", todo=_near_siblings(path))
    if not path.is_file():
        raise DataError(f"{str(path)!r} is not a regular file", expected="a data file or a folder of data files")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{str(path)!r} cannot be read", found=error.strerror or str(error), todo="check its permissions"
        ) from error
    if not data.strip(b"\xef\xbb\xbf \t\r\n"):
        raise DataError(f"{path.name} is empty", found=f"{len(data)} bytes", expected="at least one row of data")
    return data


def decode(data: bytes, name: str, *, allow_html: bool = False) -> Decoded:
    """Text of `data`: UTF-8 with or without BOM, UTF-16 or UTF-32 with BOM, or GB18030, decided by what is valid.

    GB18030 accepts almost any pair of high bytes, so it is taken only when at least half of the non-ASCII characters
    are the everyday ones of GB 2312; Latin-1 text does not pass for Chinese that way. A file of which most lines are
    valid UTF-8 is UTF-8, and its broken bytes come back as lone surrogates. Line ends are left as they are.

    Raises:
        DataError: `name` is an archive, an office document, a web page, a git-lfs pointer, binary data, or text in an
            encoding that is none of these.
    """
    for magic, what, todo in _MAGIC:
        if data.startswith(magic):
            raise DataError(f"{name} is not text", found=what, todo=todo)
    if not allow_html and _HTML.match(data.removeprefix(b"\xef\xbb\xbf")[:400]):
        raise DataError(
            f"{name} is a web page", found=quote(data[:60].decode("latin-1")), todo="download the data itself"
        )
    for bom, encoding in _BOMS:
        if data.startswith(bom):
            return _decode_marked(data, encoding, name)
    head = data[:65536]
    if head.count(0) > len(head) * 0.05:
        what = (
            "UTF-16 without a byte-order mark"
            if max(head[::2].count(0), head[1::2].count(0)) * 4 > len(head)
            else "NUL bytes"
        )
        raise DataError(
            f"{name} is not text", found=f"binary data ({what})", expected="UTF-8 text", todo="save it as UTF-8"
        )
    return _decode_unmarked(data, name)


def _decode_marked(data: bytes, encoding: str, name: str) -> Decoded:
    try:
        return Decoded(data.decode(encoding), encoding)
    except UnicodeDecodeError as error:
        if encoding == "utf-8-sig":
            decoded = _decode_unmarked(data[3:], name)
            return Decoded(decoded.text, "utf-8-sig" if decoded.encoding == "utf-8" else decoded.encoding)
        raise DataError(
            f"{name} begins as {encoding.upper()} but is not",
            found=f"a broken character at byte {error.start}",
            todo="save it as UTF-8",
        ) from error


def _decode_unmarked(data: bytes, name: str) -> Decoded:
    try:
        return Decoded(data.decode("utf-8"), "utf-8")
    except UnicodeDecodeError as error:
        start = error.start
    lines = [line for line in data.split(b"\n") if not line.isascii()]
    broken = sum(not _is_valid(line, "utf-8") for line in lines)
    if broken * 2 < len(lines) or _only_cut_at_end(data, start):
        return Decoded(data.decode("utf-8", "surrogateescape"), "utf-8")
    try:
        text = data.decode("gb18030")
    except UnicodeDecodeError:
        text = ""
    if text and _looks_chinese(text):
        return Decoded(text, "gb18030")
    row = data.count(b"\n", 0, start) + 1
    raise DataError(
        f"{name} line {row} cannot be decoded",
        found=f"byte 0x{data[start]:02X}, which is neither UTF-8 nor GB18030 text",
        expected="UTF-8",
        todo="save the file as UTF-8",
    )


def has_broken_bytes(text: str) -> bool:
    """Whether `text`, decoded by `decode`, holds bytes that were not valid UTF-8."""
    return _SURROGATE_ESCAPED.search(text) is not None


def _only_cut_at_end(data: bytes, start: int) -> bool:
    # A file whose copy was cut short may end in the middle of a character.
    return start >= len(data) - 3 and len(data) > 3


def _is_valid(data: bytes, encoding: str) -> bool:
    try:
        data.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def _looks_chinese(text: str) -> bool:
    foreign = [char for char in text[:200_000] if ord(char) > 127]
    common = "".join(foreign).encode("gb2312", "ignore")
    return len(common) >= len(foreign)  # two bytes a character: at least half are in GB 2312


def _near_siblings(path: Path) -> str:
    try:
        names = sorted(entry.name for entry in path.parent.iterdir())
    except OSError:
        return f"there is no folder {str(path.parent)!r} either; check the path"
    if not names:
        return "its folder is empty; check the path"
    return did_you_mean(path.name, difflib.get_close_matches(path.name, names, n=1, cutoff=0.5) or names[:8])
