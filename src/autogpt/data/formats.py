"""One parser per text format: text → rows that can be used, and the rows that cannot with their reasons. Torch-free.

Every parser yields `Parsed` in file order and changes no value: what looks like a number, a date or `NA` in a CSV stays
the string it was.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from autogpt.data.decoding import has_broken_bytes, quote
from autogpt.data.layouts import row_problem
from autogpt.errors import DataError

__all__ = ["Parsed", "lines_of", "looks_like_jsonl", "parse_csv", "parse_json", "parse_jsonl", "parse_text"]

DELIMITERS = (",", "\t", ";", "|")


@dataclass(frozen=True, slots=True)
class Parsed:
    """A row as it stands in the file.

    Attributes:
        number: 1-based place: the line for JSONL; the row for CSV and TSV, the header being row 1 as a spreadsheet
            counts; the element for a JSON array; the piece for plain text.
        row: its columns; empty when it cannot be used.
        reason: why it cannot be used, a constant phrase; empty when it can.
        detail: what was there.
    """

    number: int
    row: Mapping[str, Any]
    reason: str = ""
    detail: str = ""


class _BadJson(ValueError):
    """A value that is JSON to Python but ambiguous."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise _BadJson("duplicate key")
    return result


_DECODER = json.JSONDecoder(object_pairs_hook=_object)  # NaN and infinities pass here and are refused by row_problem


def lines_of(text: str) -> list[str]:
    """Lines of `text`, cut at CR, LF and CRLF only: U+2028 and the like may stand inside a JSON string."""
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def _checked(number: int, row: Any, shown: str) -> Parsed:
    if has_broken_bytes(shown):
        return Parsed(number, {}, "not UTF-8", quote(shown))
    if reason := row_problem(row):
        return Parsed(number, {}, reason, quote(shown))
    return Parsed(number, row)


def _parse_line(number: int, line: str) -> Parsed:
    if has_broken_bytes(line):
        return Parsed(number, {}, "not UTF-8", quote(line))
    try:
        return _checked(number, _DECODER.decode(line), line)
    except _BadJson as error:
        return Parsed(number, {}, str(error), quote(line))
    except RecursionError:
        return Parsed(number, {}, "nested too deeply", quote(line))
    except ValueError:  # JSONDecodeError, or an integer of more than 4300 digits
        if "\x00" in line:
            return Parsed(number, {}, "NUL character", quote(line))
        return Parsed(number, {}, "not JSON", quote(line))


def parse_jsonl(text: str) -> Iterator[Parsed]:
    """One JSON object a line; blank lines are passed over. Bytes that were not UTF-8 make a row `not UTF-8`."""
    for number, line in enumerate(lines_of(text), start=1):
        if line.strip():
            yield _parse_line(number, line)


def looks_like_jsonl(text: str) -> bool:
    """Whether the first three lines that are not blank are all JSON objects."""
    first = [line for line in lines_of(text[:100_000]) if line.strip()][:3]
    return bool(first) and all(not _parse_line(1, line).reason for line in first)


def parse_json(text: str, name: str) -> Iterator[Parsed]:
    """Rows of a JSON document: an array of objects, an object that holds one such array (`{"data": […]}`; SQuAD's
    nested paragraphs are laid out flat), or several objects one after another.

    Raises:
        DataError: the text is not JSON, or holds no list of rows.
    """
    documents = list(_documents(text, name))
    rows = documents if len(documents) > 1 else _rows_of(documents[0], name)
    for number, row in enumerate(rows, start=1):
        yield _checked(number, row, _shown(row))


def _shown(row: Any) -> str:
    return json.dumps(row)[:200] if isinstance(row, str | int | float | bool | None) else str(type(row).__name__)


def _documents(text: str, name: str) -> Iterator[Any]:
    position, skip = 0, re.compile(r"[\s,]*")
    text = text.removeprefix("\ufeff")
    while (position := skip.match(text, position).end()) < len(text):  # type: ignore[union-attr]
        try:
            document, position = _DECODER.raw_decode(text, position)
        except _BadJson as error:
            raise DataError(f"{name} cannot be read as JSON", found=str(error), expected="plain JSON values") from error
        except RecursionError as error:
            raise DataError(f"{name} cannot be read as JSON", found="values nested too deeply") from error
        except ValueError as error:
            at = getattr(error, "pos", position)
            line = text.count("\n", 0, at) + 1
            raise DataError(
                f"{name} line {line} is not JSON",
                found=quote(text[max(at - 20, 0) : at + 40]),
                expected="an array of objects",
            ) from error
        yield document


def _rows_of(document: Any, name: str) -> list[Any]:
    if isinstance(document, list):
        return document
    if not isinstance(document, Mapping):
        raise DataError(f"{name} holds no rows", found=type(document).__name__, expected="an array of objects")
    lists = {
        key: value
        for key, value in document.items()
        if isinstance(value, list) and value and isinstance(value[0], Mapping)
    }
    if "data" in lists:
        lists = {"data": lists["data"]}
    if len(lists) == 1 and not _is_conversation(next(iter(lists.values()))):
        rows = next(iter(lists.values()))
        return list(_squad(rows)) if all(isinstance(row, Mapping) and "paragraphs" in row for row in rows) else rows
    if lists and len(lists) > 1:
        raise DataError(f"{name} holds several lists", found=", ".join(lists), expected="one array of objects")
    if any(isinstance(value, list) for value in document.values()) and not lists:
        raise DataError(
            f"{name} holds columns, not rows", found=", ".join(document), expected="an array of objects, one a row"
        )
    return [document]


def _is_conversation(rows: list[Any]) -> bool:
    return "role" in rows[0] or "from" in rows[0]


def _squad(articles: list[Any]) -> Iterator[dict[str, Any]]:
    for article in articles:
        for paragraph in article["paragraphs"]:
            for question in paragraph.get("qas", ()):
                texts = [answer.get("text") for answer in question.get("answers", ())]
                yield {"context": paragraph.get("context"), "question": question.get("question"), "answers": texts}


def parse_csv(text: str, name: str, *, default: str) -> Iterator[Parsed]:
    """Rows of delimited text whose first row names the columns; every value stays a string.

    The delimiter is the one of `, ; tab |` that cuts the header and the next rows into the same number of columns;
    `default` wins a tie. Quotes follow RFC 4180; a tab-separated file whose quotes do not close is read with quotes as
    ordinary characters. Column names lose surrounding space; columns without name and content are left out.

    Raises:
        DataError: a quote that never closes, duplicate column names, or a first row that is data.
    """
    delimiter = _delimiter(text, default)
    try:
        records = list(_records(text, delimiter, name, csv.QUOTE_MINIMAL))
        if delimiter == "\t" and any(reason for _, _, reason in records):
            raise DataError(name)
    except DataError:
        if delimiter != "\t":
            raise
        records = list(_records(text, delimiter, name, csv.QUOTE_NONE))
    header = [column.strip() for column in records[0][1]]
    body = records[1:]
    _check_header(header, body, name)
    kept = [
        index
        for index, column in enumerate(header)
        if column or any(len(cells) > index and cells[index] for _, cells, _ in body)
    ]
    names = [header[index] or f"column_{index + 1}" for index in kept]
    for number, cells, reason in body:
        shown = delimiter.join(cells)
        if [cell.strip() for cell in cells] == header:
            yield Parsed(number, {}, "header repeated", quote(shown))
        elif reason or len(cells) != len(header):
            yield Parsed(number, {}, reason or "wrong number of columns", quote(shown))
        else:
            yield _checked(number, dict(zip(names, (cells[index] for index in kept), strict=True)), shown)


def _records(text: str, delimiter: str, name: str, quoting: int) -> Iterator[tuple[int, list[str], str]]:
    """(row number, cells, reason it is broken); the csv module's field limit is lifted while reading."""
    limit = csv.field_size_limit(2**31 - 1)
    try:
        source = io.StringIO(text, newline="")
        reader = csv.reader(source, delimiter=delimiter, strict=True, quoting=quoting)  # type: ignore[arg-type]
        number = 0
        while True:
            line = reader.line_num + 1
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                if "unexpected end" in str(error):
                    raise DataError(
                        f"{name} line {line}",
                        found="a quote that is opened and never closed",
                        expected='"…" around a value',
                        todo='write "" for a quote inside it',
                    ) from error
                number += 1
                yield number, [], "broken quotes"
                continue
            if cells:
                number += 1
                yield number, cells, ""
    finally:
        csv.field_size_limit(limit)


def _delimiter(text: str, default: str) -> str:
    best, best_score = default, (0.0, 0, False)
    for delimiter in DELIMITERS:
        widths: list[int] = []
        try:
            for _, cells, _ in _records(text[:200_000], delimiter, "", csv.QUOTE_MINIMAL):
                widths.append(len(cells))
                if len(widths) == 100:
                    break
        except DataError:
            pass  # a quote cut open by the limit, or one that the real reading will report
        if not widths or widths[0] < 2:
            continue
        score = (widths.count(widths[0]) / len(widths), widths[0], delimiter == default)
        best, best_score = max((best, best_score), (delimiter, score), key=lambda pair: pair[1])
    return best


def _check_header(header: list[str], body: list[tuple[int, list[str], str]], name: str) -> None:
    named = [column for column in header if column]
    if twice := [column for column, count in Counter(named).items() if count > 1]:
        raise DataError(
            f"{name} names columns twice", found=", ".join(twice), expected="one name a column", todo="rename"
        )
    if not any(_SENTENCE.search(column) for column in named):
        return
    rows = [cells for _, cells, _ in body if len(cells) == len(header) and [cell.strip() for cell in cells] != header]
    for index, column in enumerate(header):
        again = sum(cells[index].strip() == column for cells in rows)
        if column and again >= 2:
            raise DataError(
                f"{name} has no header",
                found=f"a sentence in the first row, and {quote(column)} again in {again} rows of column {index + 1}",
                expected="column names in the first row",
                todo="add a first row such as text,label",
            )


def parse_text(text: str) -> Iterator[Parsed]:
    """Plain text cut into rows `{"text": …}` at paragraph ends.

    Paragraphs are separated by blank lines, or are single lines where there are no blank ones. Consecutive paragraphs
    are put together until a row has 800 characters, and a row is closed early rather than grow beyond 1500; a paragraph
    longer than that is cut at sentence ends. Files of less than 80,000 characters are cut finer, in proportion, so that
    they still yield about 100 rows. Line ends become LF; nothing else within a row changes.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n").removeprefix("\ufeff").strip("\n")
    gap = re.compile(r"\n[ \t\u3000]*\n\s*")
    separator = gap if gap.search(text) else re.compile(r"\n")
    low = min(800, max(len(text) // 100, 1))
    high = max(low * 15 // 8, 300)
    start, end, rows = 0, 0, []
    for piece_start, piece_end in _pieces(text, separator, high):
        if end > start and (end - start >= low or piece_end - start > high):
            rows.append(text[start:end])
            start = piece_start
        end = piece_end
    rows.append(text[start:end])
    usable = (row.strip("\n") for row in rows)
    for number, row in enumerate((row for row in usable if row.strip()), start=1):
        yield _checked(number, {"text": row}, row)


_SENTENCE = re.compile(r"[，。！？；!?]|[a-z,] [a-z]+ [a-z]|.{60}", re.IGNORECASE)
"""What running text has and the name of a column hardly ever."""

_SENTENCE_END = re.compile(r"[。！？!?…][”’」』）)\"']*|\.[\"')”’]*\s|\n")


def _pieces(text: str, separator: re.Pattern[str], high: int) -> Iterator[tuple[int, int]]:
    """(start, end) of each paragraph; of each stretch of sentences when a paragraph is longer than `high`."""
    start = 0
    for match in [*separator.finditer(text), None]:
        end = match.start() if match else len(text)
        while end - start > high:
            ends = [found.end() for found in _SENTENCE_END.finditer(text, start, start + high)]
            cut = ends[-1] if ends else start + high
            yield start, cut
            start = cut
        if end > start:
            yield start, end
        start = match.end() if match else end
