"""Raw JSON values → what they mean: text, labels, entities, turns. The one home of these readings.

Nothing is coerced in silence: a number becomes its own digits, a boolean `true` or `false`, and a value that is none of
the accepted shapes gives None, so that the caller can say what was wrong with the row.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

__all__ = [
    "SEPARATORS",
    "is_numeric",
    "label_of",
    "labels_of",
    "parsed",
    "separator_of",
    "spans_of",
    "text_of",
    "turns_of",
]

SEPARATORS = ("|", ";", "；", "、", ",", "，")
"""What may stand between several labels in one cell, the safest first."""

_TYPE_KEYS = ("type", "label", "entity", "entity_group", "tag")
_TEXT_KEYS = ("text", "word", "value", "span", "mention")
_ROLE_KEYS = (("role", "content"), ("from", "value"), ("speaker", "text"))


def parsed(value: Any) -> Any:
    """`value`, or what its JSON holds when it is a string that looks like a list or an object (CSV cells)."""
    if isinstance(value, str) and value[:1] in ("[", "{") and value[-1:] in ("]", "}"):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def label_of(value: Any) -> str | None:
    """One label as text: strings stripped, numbers as written, booleans as `true`/`false`; None for anything else."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, str):
        return value.strip() or None
    return None


def labels_of(value: Any, separator: str = "") -> tuple[str, ...] | None:
    """Several labels: a list of labels (or its JSON), or a cell with `separator` between them.

    An empty list or cell is the empty set. None when the value is neither.
    """
    value = parsed(value)
    if isinstance(value, (list, tuple)):
        labels = [label_of(item) for item in value]
        if any(label is None for label in labels):
            return None
        return tuple(dict.fromkeys(label for label in labels if label))
    if value is None:
        return None
    if isinstance(value, str) and separator:
        return tuple(dict.fromkeys(part.strip() for part in value.split(separator) if part.strip()))
    label = label_of(value)
    return () if label is None else (label,)


def separator_of(cells: list[str]) -> str:
    """The sign that stands between labels in these cells, or "" when there is none.

    It is the first of `SEPARATORS` that occurs in at least a tenth of them and splits them into short parts that
    come back: labels repeat, pieces of running text do not.
    """
    filled = [cell for cell in cells if cell.strip()]
    for sign in SEPARATORS:
        if sum(sign in cell for cell in filled) * 10 < max(len(filled), 1):
            continue
        parts = [part.strip() for cell in filled for part in cell.split(sign) if part.strip()]
        if parts and max(map(len, parts)) <= 40 and len(set(parts)) * 2 <= len(parts):
            return sign
    return ""


def _first(item: Mapping[str, Any], keys: tuple[str, ...]) -> Any:
    return next((item[key] for key in keys if key in item), None)


def spans_of(value: Any) -> tuple[tuple[str, str], ...] | None:
    """`(type, text)` of annotated spans (or their JSON), for statistics; None when the value is something else.

    Known shapes: a list of `{type, text, start, end}` under the names that tools use, where either the text or the
    offsets may be missing; a list of `[start, end, type]`; an object type → list of texts. Whether a span stands in the
    row's text is not looked at.
    """
    value = parsed(value)
    if isinstance(value, Mapping):
        listed = [(kind, item) for kind, items in value.items() if isinstance(items, (list, Mapping)) for item in items]
        fits = len(value) and all(isinstance(items, (list, Mapping)) for items in value.values())
        return tuple((str(kind), str(item)) for kind, item in listed) if fits else None
    if not isinstance(value, (list, tuple)):
        return None
    spans = [_span(item) for item in value]
    return tuple(span for span in spans if span) if all(spans) else None


def _span(item: Any) -> tuple[str, str] | None:
    if isinstance(item, (list, tuple)) and len(item) == 3 and type(item[0]) is int and type(item[1]) is int:
        return str(item[2]), " " * (item[1] - item[0])
    if not isinstance(item, Mapping):
        return None
    kind, text = label_of(_first(item, _TYPE_KEYS)), _first(item, _TEXT_KEYS)
    start, end = item.get("start"), item.get("end")
    if text is None and type(start) is int and type(end) is int:
        text = " " * (end - start)
    return (kind, text) if kind and isinstance(text, str) else None


def turns_of(value: Any) -> tuple[tuple[str, str], ...] | None:
    """`(role, text)` of a list of turns in the messages or ShareGPT shape; None when it is something else.

    Roles come back as written; content that is not text (tool calls, parts) as compact JSON.
    """
    value = parsed(value)
    if not isinstance(value, (list, tuple)) or not value:
        return None
    turns = []
    for item in value:
        keys = isinstance(item, Mapping) and next((keys for keys in _ROLE_KEYS if keys[0] in item), None)
        if not keys:
            return None
        turns.append((str(item[keys[0]]), text_of(item.get(keys[1]))))
    return tuple(turns)


def text_of(value: Any) -> str:
    """Any value as text: turns as their contents, a list of strings as its first, other structures as compact JSON."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, (bool, int, float)):
        return label_of(value) or ""
    if isinstance(value, (list, tuple)) and value and isinstance(value[0], str):
        return value[0]
    if turns := turns_of(value):
        return "\n".join(content for _, content in turns)
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


_NUMBER = re.compile(r"[-+]?[$¥￥€£]?\d[\d,]*(\.\d+)?(/\d+)?\s?%?")


def is_numeric(text: str) -> bool:
    """Whether `text` is nothing but a number, a fraction, a percentage or an amount of money."""
    return _NUMBER.fullmatch(text.strip()) is not None
