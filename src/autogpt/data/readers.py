"""Files → `Table`: rows of raw values with the place each came from, and each row left out with its reason. Torch-free.

Readers are strict: no value changes its type or its text on the way in, and what cannot be used is counted, not guessed
at. A reader takes a path and returns a Table; further formats enter through the registry `READERS`.
"""

from __future__ import annotations

import hashlib
import math
import os
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

from autogpt.data.decoding import decode, load_bytes
from autogpt.data.formats import Parsed, looks_like_jsonl, parse_csv, parse_json, parse_jsonl, parse_text
from autogpt.data.layouts import columns_of, recognise, row_problem
from autogpt.errors import DataError
from autogpt.registry import READERS
from autogpt.tasks.understand import Sample
from autogpt.types import Drop

__all__ = [
    "Table",
    "fingerprint",
    "read",
    "read_csv",
    "read_json",
    "read_jsonl",
    "read_parquet",
    "read_tsv",
    "read_txt",
    "sample",
]

_FORMAT_OF_SUFFIX = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".jsonlines": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".txt": "txt",
    ".text": "txt",
    ".md": "txt",
    ".parquet": "parquet",
    ".pq": "parquet",
}


@dataclass(frozen=True, slots=True)
class Table:
    """The rows of a file or a folder.

    Attributes:
        rows: column → raw value, in file order; only rows that can be used.
        ids: `name:row` of each row, 1-based: the line of a JSONL file; the row of a CSV or TSV as a spreadsheet counts,
            the header being row 1; the element of a JSON array; the row of a Parquet file; the piece of a text. For a
            folder, the name is the path within it.
        columns: every column of any row, in order of first appearance.
        layout: one of `TaskSpec.layout`'s values.
        format: `jsonl`, `json`, `csv`, `tsv`, `txt`, `parquet`; `mixed` for a folder with several.
        encoding: `utf-8`, `utf-8-sig`, `utf-16`, `utf-32`, `gb18030`, `binary` (Parquet) or `mixed`.
        drops: rows that cannot be used.
        source: the path that was read.
    """

    rows: tuple[Mapping[str, Any], ...]
    ids: tuple[str, ...]
    columns: tuple[str, ...]
    layout: str
    format: str
    encoding: str
    drops: tuple[Drop, ...]
    source: Path


def read(path: Path) -> Table:
    """The rows of a file, or of all files of a readable format in a folder and below, by name.

    The format is the extension's; a file with another extension, or none, is told by its content.

    Raises:
        DataError: no such file, nothing in it, not a data file, or most of its rows cannot be used.
    """
    path = Path(path)
    if os.path.isdir(path):  # Path.is_dir raises for names that are too long
        return _read_folder(path)
    format_name = (
        _FORMAT_OF_SUFFIX.get(path.suffix.lower()) or _registered(path) or _format_by_content(load_bytes(path))
    )
    table = READERS.get(format_name)(path)
    if not isinstance(table, Table):
        raise TypeError(f"reader {format_name!r} returned {type(table).__name__}, not a Table")
    return table


def read_jsonl(path: Path) -> Table:
    """One JSON object a line. A file that is one JSON document after all is read as JSON."""
    text, encoding = _text(path)
    parsed = list(parse_jsonl(text))
    try:
        return _table(path, parsed, format_name="jsonl", encoding=encoding)
    except DataError:
        if not any(row.reason == "not JSON" for row in parsed[:3]) or text.lstrip()[:1] not in ("[", "{"):
            raise
        try:
            return _table(path, parse_json(text, path.name), format_name="json", encoding=encoding)
        except DataError:
            pass  # it is no JSON document either: the line-by-line message says more
        raise


def read_json(path: Path) -> Table:
    """A JSON array of objects, `{"data": [...]}`, or JSON lines under the wrong extension."""
    text, encoding = _text(path)
    if looks_like_jsonl(text) and "\n" in text.strip():
        return _table(path, parse_jsonl(text), format_name="jsonl", encoding=encoding)
    return _table(path, parse_json(text, path.name), format_name="json", encoding=encoding)


def read_csv(path: Path) -> Table:
    """Comma-separated values, or semicolons, tabs or bars when the header says so. Every value stays a string."""
    text, encoding = _text(path)
    return _table(path, parse_csv(text, path.name, default=","), format_name="csv", encoding=encoding)


def read_tsv(path: Path) -> Table:
    """Tab-separated values. Every value stays a string."""
    text, encoding = _text(path)
    return _table(path, parse_csv(text, path.name, default="\t"), format_name="tsv", encoding=encoding)


def read_txt(path: Path) -> Table:
    """Plain text, cut at paragraph ends into rows of one column `text` (the rule: `formats.parse_text`)."""
    text, encoding = _text(path, allow_html=True)
    if looks_like_jsonl(text):
        return _table(path, parse_jsonl(text), format_name="jsonl", encoding=encoding)
    return _table(path, parse_text(text), format_name="txt", encoding=encoding)


def read_parquet(path: Path) -> Table:
    """An Apache Parquet file. Needs the extra `parquet`.

    Dates and times become ISO 8601 text, decimals their digits, NaN null; binary columns (images, audio) and the index
    that pandas writes are left out.
    """
    load_bytes(path)
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import read_table
    except ImportError as error:
        raise DataError(
            f"{path.name} is a Parquet file", expected="the package pyarrow", todo="pip install 'autogpt-lm[parquet]'"
        ) from error
    try:
        arrow = read_table(path)
    except (ArrowException, OSError) as error:
        raise DataError(f"{path.name} is not a Parquet file", found=str(error).partition("\n")[0]) from error
    hidden = [
        field.name for field in arrow.schema if "binary" in str(field.type) or field.name.startswith("__index_level_")
    ]
    rows = ({key: _plain(value) for key, value in row.items()} for row in arrow.drop_columns(hidden).to_pylist())
    parsed = [Parsed(n, row, row_problem(row), "") for n, row in enumerate(rows, start=1)]
    return _table(path, parsed, format_name="parquet", encoding="binary")


def sample(table: Table, size: int = 1000, seed: int = 0) -> Sample:
    """What `tasks.understand` is given: at most `size` rows drawn by the seed, in file order."""
    picked = range(len(table.rows))
    if len(table.rows) > size:
        picked = sorted(random.Random(seed).sample(picked, size))  # type: ignore[assignment]
    return Sample(
        columns=table.columns,
        rows=tuple(table.rows[index] for index in picked),
        layout=table.layout,
        source=table.source.name,
        total_rows=len(table.rows),
    )


def fingerprint(paths: Sequence[Path]) -> str:
    """16 hex digits of the SHA-256 of the contents, in the order given; names and places of files do not count."""
    total = hashlib.sha256()
    for path in paths:
        for file in _files_in(Path(path)) if Path(path).is_dir() else [Path(path)]:
            total.update(hashlib.sha256(load_bytes(file)).digest())
    return total.hexdigest()[:16]


def _text(path: Path, *, allow_html: bool = False) -> tuple[str, str]:
    decoded = decode(load_bytes(path), path.name, allow_html=allow_html)
    return decoded.text.removeprefix("\ufeff"), decoded.encoding


def _table(path: Path, parsed: Iterable[Parsed], *, format_name: str, encoding: str) -> Table:
    parsed = list(parsed)
    _refuse_mostly_bad(path.name, parsed)
    good = [row for row in parsed if not row.reason]
    columns = columns_of(row.row for row in good)
    rows = tuple(row.row for row in good)
    return Table(
        rows=rows,
        ids=tuple(f"{path.name}:{row.number}" for row in good),
        columns=columns,
        layout=recognise(rows, columns),
        format=format_name,
        encoding=encoding,
        drops=tuple(Drop(f"{path.name}:{row.number}", row.reason, row.detail) for row in parsed if row.reason),
        source=path,
    )


_EXPECTED = {"wrong number of columns": "as many values as the header has columns", "not UTF-8": "UTF-8 text"}


def _refuse_mostly_bad(name: str, parsed: Sequence[Parsed]) -> None:
    if not parsed:
        raise DataError(f"{name} holds no rows", expected="at least one row of data")
    bad = [row for row in parsed if row.reason]
    if len(bad) * 2 > len(parsed) or (len(parsed) >= 3 and all(row.reason for row in parsed[:3])):
        first = bad[0]
        raise DataError(
            f"{name} row {first.number}: {first.reason}",
            found=first.detail or first.reason,
            expected=_EXPECTED.get(first.reason, "one object with named columns a row"),
            todo=f"{len(bad)} of {len(parsed)} rows cannot be used; check the file's format",
        )


def _registered(path: Path) -> str:
    """The format that a third party registered under the file's extension, or "" ."""
    name = path.suffix.lower().removeprefix(".")
    return name if name in READERS else ""


def _format_by_content(data: bytes) -> str:
    if data.startswith(b"PAR1"):
        return "parquet"
    text = decode(data, "the file").text
    if looks_like_jsonl(text):
        return "jsonl"
    if text.lstrip()[:1] in ("[", "{"):
        return "json"
    header = text.lstrip("\ufeff").partition("\n")[0]
    if "\t" in header:
        return "tsv"
    return "csv" if "," in header and len(header) < 200 and " " not in header else "txt"


def _files_in(folder: Path) -> list[Path]:
    """Readable files in the folder and below, by path; hidden ones and notes such as README.md are passed over."""
    found = (file for file in sorted(folder.rglob("*")) if file.is_file())
    return [
        file
        for file in found
        if (file.suffix.lower() in _FORMAT_OF_SUFFIX or _registered(file))
        and file.suffix.lower() != ".md"
        and not any(part.startswith((".", "__")) for part in file.relative_to(folder).parts)
    ]


def _read_folder(folder: Path) -> Table:
    files = _files_in(folder)
    if not files:
        raise DataError(
            f"no data file in folder {str(folder)!r}",
            expected=f"files ending in {', '.join(sorted(_FORMAT_OF_SUFFIX))}",
        )
    tables = [_renamed(read(file), file.relative_to(folder).as_posix()) for file in files]
    rows = tuple(row for table in tables for row in table.rows)
    columns = columns_of(rows)
    formats, encodings = {table.format for table in tables}, {table.encoding for table in tables}
    return Table(
        rows=rows,
        ids=tuple(row_id for table in tables for row_id in table.ids),
        columns=columns,
        layout=recognise(rows, columns),
        format=formats.pop() if len(formats) == 1 else "mixed",
        encoding=encodings.pop() if len(encodings) == 1 else "mixed",
        drops=tuple(drop for table in tables for drop in table.drops),
        source=folder,
    )


def _renamed(table: Table, name: str) -> Table:
    def rename(row_id: str) -> str:
        return f"{name}:{row_id.rpartition(':')[2]}"

    drops = tuple(replace(drop, id=rename(drop.id)) for drop in table.drops)
    return replace(table, ids=tuple(map(rename, table.ids)), drops=drops)


def _plain(value: Any) -> Any:
    """A Parquet value as JSON would hold it."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, float) and math.isnan(value):
        return None  # Arrow writes missing numbers of pandas frames this way
    return value
