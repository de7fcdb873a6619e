"""Annotated spans, in the shapes that annotation tools write → `Entity` tuples checked against the text. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from autogpt.data.conversations import BadRow
from autogpt.tasks.values import label_of, parsed
from autogpt.types import Entity

__all__ = ["entities_in"]

_TYPE_KEYS = ("type", "label", "entity_type", "entity_group", "entity", "tag")
_TEXT_KEYS = ("text", "word", "value", "span", "mention", "entity")
_Raw = tuple[str, str | None, int | None, int | None]


def entities_in(value: Any, text: str) -> tuple[Entity, ...]:
    """Entities of one row, in order of their place, each once.

    Accepted: a list of `{type, text, start, end}` (also under the names `label`, `word`, …), offsets or text missing; a
    list of `[start, end, type]`; a mapping type → list of texts; a mapping type → text → spans. A string is read as
    JSON. Entities without offsets are searched from left to right, the same text twice at two places. An end that is
    inclusive is made exclusive when that fits the text.

    Raises:
        BadRow: another shape, or a span that does not stand in the text.
    """
    value = parsed(value)
    found: list[Entity] = []
    searched: dict[tuple[str, str], int] = {}
    for kind, span, start, end in _raw(value):
        if start is None or end is None:
            entity = _located(kind, span or "", text, searched)
        else:
            entity = _checked(kind, span, start, end, text)
        found.append(entity)
    return tuple(sorted(dict.fromkeys(found), key=lambda entity: (entity.start, entity.end, entity.type)))


def _raw(value: Any) -> Iterator[_Raw]:
    if isinstance(value, Mapping):
        yield from _raw_mapping(value)
        return
    if not isinstance(value, list | tuple):
        raise BadRow("entities cannot be read", repr(value)[:60])
    for item in value:
        if isinstance(item, Mapping):
            yield _raw_object(item)
        elif isinstance(item, list | tuple) and len(item) == 3 and _is_offset(item[0]) and _is_offset(item[1]):
            yield _kind(item[2]), None, item[0], item[1]
        else:
            raise BadRow("entities cannot be read", repr(item)[:60])


def _raw_object(item: Mapping[str, Any]) -> _Raw:
    type_key = next((key for key in _TYPE_KEYS if key in item), "")
    span = next((item[key] for key in _TEXT_KEYS if key in item and key != type_key), None)
    start, end = item.get("start", item.get("start_offset")), item.get("end", item.get("end_offset"))
    offsets = (start, end) if _is_offset(start) and _is_offset(end) else (None, None)
    if not isinstance(span, str) and offsets[0] is None:
        raise BadRow("entities cannot be read", repr(dict(item))[:60])
    return _kind(item.get(type_key)), span if isinstance(span, str) else None, *offsets


def _raw_mapping(value: Mapping[str, Any]) -> Iterator[_Raw]:
    for kind, items in value.items():
        if isinstance(items, Mapping):
            for span, places in items.items():
                for place in places:
                    if not (isinstance(place, Sequence) and len(place) == 2 and all(map(_is_offset, place))):
                        raise BadRow("entities cannot be read", repr(place)[:60])
                    yield _kind(kind), span, place[0], place[1]
        else:
            for span in [items] if isinstance(items, str) else items or ():
                if not isinstance(span, str):
                    raise BadRow("entities cannot be read", repr(span)[:60])
                yield _kind(kind), span, None, None


def _kind(value: Any) -> str:
    kind = label_of(value)
    if not kind:
        raise BadRow("entity without a type", repr(value)[:60])
    return kind


def _is_offset(value: Any) -> bool:
    return type(value) is int and value >= 0


def _checked(kind: str, span: str | None, start: int, end: int, text: str) -> Entity:
    if span is None:
        span = text[start:end]
    if span and text[start:end] == span:
        return Entity(kind, span, start, end)
    if span and text[start : end + 1] == span:
        return Entity(kind, span, start, end + 1)
    raise BadRow("entity outside text", f"{span!r} at {start}:{end}"[:60])


def _located(kind: str, span: str, text: str, searched: dict[tuple[str, str], int]) -> Entity:
    start = text.find(span, searched.get((kind, span), 0))
    if start < 0:
        start = text.find(span)
    if start < 0 or not span:
        raise BadRow("entity outside text", repr(span)[:60])
    searched[kind, span] = start + len(span)
    return Entity(kind, span, start, start + len(span))
