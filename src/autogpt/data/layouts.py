"""Which of the common row shapes a table has, and what makes a single row unusable. Torch-free."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = ["TURN_COLUMNS", "columns_of", "recognise", "row_problem"]

TURN_COLUMNS = ("messages", "conversations", "conversation", "dialogue", "dialog", "turns", "对话", "会话")
"""Columns that hold the turns of a conversation in the messages and ShareGPT shapes."""

_UNUSABLE_TEXT = re.compile("[\x00\ud800-\udfff]")


def columns_of(rows: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Every key of any row, in order of first appearance."""
    return tuple(dict.fromkeys(key for row in rows for key in row))


def row_problem(row: Any) -> str:
    """Why a parsed row cannot be used, as a constant phrase; empty when it can."""
    if not isinstance(row, Mapping):
        return "not an object"
    if not row:
        return "empty row"
    waiting: list[Any] = [*row, *row.values()]
    while waiting:  # a stack, since rows may be nested deeper than Python recurses
        value = waiting.pop()
        if isinstance(value, str):
            if found := _UNUSABLE_TEXT.search(value):
                return "NUL character" if found.group() == "\x00" else "lone surrogate"
        elif isinstance(value, float):
            if not math.isfinite(value):
                return "number not finite"
        elif isinstance(value, Mapping):
            waiting.extend(value)
            waiting.extend(value.values())
        elif isinstance(value, list | tuple):
            waiting.extend(value)
    return ""


def recognise(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """The layout of `rows`, one of `TaskSpec.layout`'s values, judged by the columns and the first 1000 rows.

    messages: turns with `role` and `content`; sharegpt: turns with `from` and `value`; preference: `chosen` and
    `rejected`; alpaca: `instruction` and `output`; prompt_completion: `prompt` and `completion`; text: one column of
    text; table: anything else.
    """
    names, head = set(columns), rows[:1000]
    for column in TURN_COLUMNS:
        if column in names and (style := _turn_style(head, column)):
            return style
    if {"chosen", "rejected"} <= names:
        return "preference"
    if {"instruction", "output"} <= names:
        return "alpaca"
    if {"prompt", "completion"} <= names:
        return "prompt_completion"
    if len(names) == 1 and all(isinstance(value, str) for row in head for value in row.values()):
        return "text"
    return "table"


def _turn_style(rows: Sequence[Mapping[str, Any]], column: str) -> str:
    """`sharegpt` or `messages` by the keys of the turns, empty when most rows hold no turns there."""
    votes = {"sharegpt": 0, "messages": 0}
    for row in rows:
        turns = row.get(column)
        if isinstance(turns, list) and turns and isinstance(turns[0], Mapping):
            if "role" in turns[0] or {"speaker", "text"} <= set(turns[0]):
                votes["messages"] += 1
            elif "from" in turns[0]:
                votes["sharegpt"] += 1
    style = max(votes, key=lambda name: votes[name])
    return style if votes[style] * 2 > len(rows) else ""
