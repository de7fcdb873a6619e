"""Turns of the messages and ShareGPT shapes → `Message`s. Torch-free."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping, Sequence
from typing import Any

from autogpt.data.layouts import TURN_COLUMNS
from autogpt.tasks.values import parsed
from autogpt.types import Message

__all__ = ["BadRow", "as_prompt", "compact_json", "conversation", "is_blank", "turn_column", "turns"]

_ROLES = {
    "user": "user",
    "human": "user",
    "customer": "user",
    "用户": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "chatgpt": "assistant",
    "助手": "assistant",
    "function_call": "assistant",
    "tool_call": "assistant",
    "system": "system",
    "developer": "system",
    "系统": "system",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
    "function_response": "tool",
    "tool_response": "tool",
    "ipython": "tool",
}
_INVISIBLE = dict.fromkeys([0x200B, 0x200C, 0x200D, 0x200E, 0x200F, 0x2060, 0xFEFF])


class BadRow(Exception):
    """A row that cannot be used; the text is a constant phrase, `detail` says what was there."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason, self.detail = reason, detail


def is_blank(text: str) -> bool:
    """Whether nothing can be seen in `text`: white space and zero-width characters only."""
    return not text.translate(_INVISIBLE).strip()


def compact_json(value: Any) -> str:
    """`value` as JSON without spaces, non-ASCII characters as they are."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def turn_column(row: Mapping[str, Any]) -> str:
    """The column that holds the turns, or "" when there is none."""
    return next((column for column in TURN_COLUMNS if isinstance(parsed(row.get(column)), list)), "")


def conversation(row: Mapping[str, Any], column: str) -> tuple[Message, ...]:
    """The turns of `row[column]`, the row's `system` text and `tools` before them as system messages.

    Raises:
        BadRow: no list of turns, a role that is not known, or a turn without content.
    """
    result = list(turns(row[column]))
    tools = parsed(row.get("tools"))
    if tools and not (isinstance(tools, str) and is_blank(tools)):
        result.insert(0, Message("system", tools if isinstance(tools, str) else compact_json(tools)))
    system = row.get("system")
    if isinstance(system, str) and not is_blank(system):
        result.insert(0, Message("system", system))
    return tuple(result)


def turns(value: Any) -> tuple[Message, ...]:
    """Messages of a list of turns, each `{"role", "content"}` or `{"from", "value"}`.

    A null content with a tool call becomes the call as compact JSON, `{"name":…,"arguments":…}`, one a line.

    Raises:
        BadRow: not a list of turns, an unknown role, or an empty turn.
    """
    value = parsed(value)
    if not isinstance(value, list | tuple) or not value:
        raise BadRow("not a list of turns", repr(value)[:60])
    return tuple(_turn(item) for item in value)


def _turn(item: Any) -> Message:
    if not isinstance(item, Mapping):
        raise BadRow("not a list of turns", repr(item)[:60])
    name = item.get("role", item.get("from", item.get("speaker")))
    role = _ROLES.get(name.strip().lower()) if isinstance(name, str) else None
    if role is None:
        raise BadRow("unknown role", repr(name)[:60])
    content = item.get("content", item.get("value", item.get("text")))
    text = _content(content)
    calls = item.get("tool_calls") or item.get("tool_call") or item.get("function_call")
    if calls:
        written = "\n".join(_call(call) for call in (calls if isinstance(calls, list) else [calls]))
        text = f"{text}\n{written}" if not is_blank(text) else written
    if is_blank(text):
        raise BadRow("empty turn", role)
    return Message(role, text)


def _content(content: Any) -> str:
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list) and all(isinstance(part, Mapping) and part.get("type") == "text" for part in content):
        return "".join(str(part.get("text", "")) for part in content)
    if isinstance(content, list) and any(isinstance(part, Mapping) and "type" in part for part in content):
        raise BadRow("turn is not text", compact_json(content)[:60])
    return compact_json(content)


def _call(call: Any) -> str:
    """A tool call, however it is written, as `{"name":…,"arguments":…}`."""
    if isinstance(call, str):
        call = _structure(call)
    if not isinstance(call, Mapping):
        return str(call)
    inner = call.get("function", call)
    inner = inner if isinstance(inner, Mapping) else call
    arguments = inner.get("arguments", inner.get("parameters", {}))
    if isinstance(arguments, str):
        arguments = _structure(arguments)
    return compact_json({"name": inner.get("name", ""), "arguments": arguments})


def _structure(text: str) -> Any:
    """What `text` holds as JSON or as a Python literal (tools write both); `text` itself when it is neither."""
    try:
        return json.loads(text)
    except ValueError:
        pass
    try:
        value = ast.literal_eval(text)
        json.dumps(value)
        return value
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return text


def as_prompt(messages: Sequence[Message]) -> str:
    """Turns as one text: their contents with a blank line between while nobody but system and user speaks, each behind
    its role otherwise."""
    if all(message.role in ("system", "user") for message in messages):
        return "\n\n".join(message.content for message in messages)
    return "\n".join(f"{message.role}: {message.content}" for message in messages)
