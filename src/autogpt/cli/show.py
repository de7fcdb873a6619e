"""How numbers and records look to a person: durations, scores with intervals, the understood task, small tables."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from autogpt.cli.text import Text

if TYPE_CHECKING:
    from rich.table import Table

__all__ = [
    "clock",
    "configuration",
    "counts",
    "fields",
    "interval",
    "number",
    "one_line",
    "p_value",
    "size",
    "table",
    "task",
    "understood",
    "when",
]


def clock(seconds: float) -> str:
    """`0:07`, `12:34` or `1:02:03`."""
    whole = max(0, round(seconds))
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours}:{minutes:02d}:{left:02d}" if hours else f"{minutes}:{left:02d}"


def when(seconds: float) -> str:
    """Local date and time of seconds since the epoch: `2026-11-23 14:05`."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def number(value: object) -> str:
    """A number short enough for a table: four significant digits, no trailing zeros; other values as text."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "–" if value is None else str(value)
    if isinstance(value, int):
        return str(value)
    return f"{value:.4g}"


def interval(ci95: Sequence[float | None] | None) -> str:
    """`[0.81, 0.87]`, or nothing when there is no interval."""
    if not ci95 or any(bound is None for bound in ci95):
        return ""
    return f"[{number(ci95[0])}, {number(ci95[1])}]"


def p_value(p: float | None) -> str:
    """`p < 0.001` or `p = 0.04`; nothing when it was not measured."""
    if p is None:
        return ""
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


def size(n_bytes: float) -> str:
    """Bytes in the largest unit that leaves a number of at least 1 (binary units)."""
    for unit in ("B", "KiB", "MiB"):
        if n_bytes < 1024:
            return f"{n_bytes:.0f} {unit}" if unit == "B" else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1024
    return f"{n_bytes:.1f} GiB"


def one_line(value: object, width: int = 60) -> str:
    """`value` as one line of at most `width` characters."""
    text = " ".join(str(value).split())
    return text if len(text) <= width else text[: width - 1] + "…"


def configuration(config: Mapping[str, Any]) -> str:
    """A trial's configuration on one line: `lr=0.001 width=256`."""
    return " ".join(f"{name}={number(value)}" for name, value in config.items())


def counts(found: Mapping[str, Any]) -> str:
    """`train 900, valid 100, test 200`."""
    return ", ".join(f"{name} {count}" for name, count in found.items())


def fields(rows: Iterable[tuple[str, str]], indent: str = "  ") -> list[str]:
    """Lines `name  value` with the values aligned; Chinese names count double."""
    from unicodedata import east_asian_width

    kept = [(name, value) for name, value in rows if value]
    widths = [sum(2 if east_asian_width(letter) in "WF" else 1 for letter in name) for name, _ in kept]
    room = max(widths, default=0) + 2
    return [f"{indent}{name}{' ' * (room - width)}{value}" for (name, value), width in zip(kept, widths, strict=True)]


def task(spec: Mapping[str, Any], text: Text) -> list[tuple[str, str]]:
    """Name and value of what matters in a TaskSpec: kind, fields, labels, languages, metric, contradictions."""
    labels = [str(label) for label in spec.get("labels") or ()]
    shown = ", ".join(one_line(label, 30) for label in labels[:12])
    if len(labels) > 12:
        shown += " " + text("more", n=len(labels))
    languages = [text.name("lang", str(spec[key])) for key in ("input_language", "output_language") if spec.get(key)]
    direction = text("lower" if spec.get("direction") == "min" else "higher")
    kind = str(spec.get("kind", ""))
    return [
        (text("task"), text.name("kind", kind)),
        (text("reads"), ", ".join(spec.get("input_fields") or ()) or text("whole_text")),
        (text("answers"), str(spec.get("output_field", ""))),
        (text("entity_types" if kind == "extraction" else "labels"), shown),
        (text("language"), " → ".join(dict.fromkeys(languages))),
        (text("metric"), f"{spec.get('metric', '')} ({direction})"),
        *((text("but"), str(found)) for found in spec.get("contradictions") or ()),
    ]


def understood(spec: Mapping[str, Any], text: Text) -> list[str]:
    """What the user is shown before anything is spent, and how to change it."""
    return [f"{text('understood')}  ({text('change')})", *fields(task(spec, text))]


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """A table without lines; numbers to the right where a whole column is numeric."""
    from rich.table import Table
    from rich.text import Text as RichText

    listed = [list(row) for row in rows]
    made = Table(box=None, pad_edge=False, show_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for index, name in enumerate(header):
        numeric = bool(listed) and all(isinstance(row[index], int | float | None) for row in listed)
        made.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for row in listed:
        made.add_row(*(RichText(number(cell)) for cell in row))
    return made
