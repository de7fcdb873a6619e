"""Token ids → text, a token at a time, in whole characters, up to a stop string.

The text of n tokens takes time linear in n. For byte-level tokenizers (ours, GPT-2's, Llama 3's, Qwen's) the pieces
joined are exactly what the tokenizer decodes from all the tokens at once, invalid UTF-8 included. For others each token
is decoded beside the few before it, and the same holds unless bytes that are no UTF-8 stand in the text.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterable
from functools import cache
from typing import Any, Protocol
from weakref import WeakKeyDictionary

__all__ = ["TextStream", "decoded"]

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_MOST_PENDING_TOKENS = 8
"""A character has at most 4 bytes; what is still broken after so many tokens will stay so."""


class _Decoder(Protocol):
    def push(self, token: int) -> str: ...
    def flush(self) -> str: ...


class TextStream:
    """The text of one answer as it grows.

    Args:
        tokenizer: a fast tokenizer of transformers.
        stop: texts that end the answer. The first one to be complete counts, wherever tokens begin and end; of two
            that are complete at the same character, the longer one.

    Attributes:
        stopped: whether a stop string is complete; nothing more is given out then.
    """

    def __init__(self, tokenizer: Any, stop: tuple[str, ...] = ()) -> None:
        self.stopped = False
        self._decoder = _decoder(tokenizer)
        self._stop = stop
        self._longest = max(map(len, stop), default=0)
        self._held = ""

    def push(self, token: int) -> str:
        """The text that is sure after one more token: whole characters that no stop string can take back."""
        if self.stopped:
            return ""
        piece = self._decoder.push(token)
        return self._released(piece) if self._stop else piece

    def close(self) -> str:
        """What was held back and is text after all, since nothing follows. Bytes of half a character become U+FFFD."""
        if self.stopped:
            return ""
        rest = self._decoder.flush()
        if self._stop:
            rest = self._released(rest) + ("" if self.stopped else self._held)
        self._held = ""
        return rest

    def _released(self, piece: str) -> str:
        if not piece:
            return ""
        text = self._held + piece
        found = [(at + len(stop), at) for stop in self._stop if (at := text.find(stop)) >= 0]
        if found:
            self.stopped, self._held = True, ""
            return text[: min(found)[1]]
        keep = 0
        for size in range(min(self._longest - 1, len(text)), 0, -1):
            tail = text[-size:]
            if any(stop.startswith(tail) for stop in self._stop):
                keep = size
                break
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]


def decoded(tokenizer: Any, tokens: Iterable[int], stop: tuple[str, ...] = ()) -> str:
    """The text of all the tokens, up to a stop string: exactly what a `TextStream` gives out piece by piece."""
    stream = TextStream(tokenizer, stop)
    pieces = [stream.push(token) for token in tokens]
    return "".join(pieces) + stream.close()


@cache
def _byte_of_character() -> dict[str, int]:
    """The characters that byte-level tokenizers write bytes with (Radford et al. 2019)."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(256 + place): byte for place, byte in enumerate(others)}


_BYTES_OF: WeakKeyDictionary[Any, dict[int, bytes] | None] = WeakKeyDictionary()
"""Bytes of each token that was met, for byte-level tokenizers; None for other ones."""


def _decoder(tokenizer: Any) -> _Decoder:
    if tokenizer not in _BYTES_OF:
        backend = getattr(tokenizer, "backend_tokenizer", None)
        state = json.loads(backend.decoder.__getstate__()) if backend is not None and backend.decoder else {}
        plain = state.get("type") == "ByteLevel"
        _BYTES_OF[tokenizer] = dict.fromkeys(tokenizer.all_special_ids, b"") if plain else None
    known = _BYTES_OF[tokenizer]
    return _WindowDecoder(tokenizer) if known is None else _ByteDecoder(tokenizer, known)


class _ByteDecoder:
    """Tokens whose bytes are known, through an incremental UTF-8 decoder."""

    def __init__(self, tokenizer: Any, known: dict[int, bytes]) -> None:
        self._tokenizer, self._known = tokenizer, known
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token: int) -> str:
        written = self._known.get(token)
        if written is None:
            name, table = self._tokenizer.convert_ids_to_tokens(token) or "", _byte_of_character()
            # Added tokens are kept as plain text, which may have characters that stand for no byte.
            is_bytes = all(character in table for character in name)
            written = bytes(table[character] for character in name) if is_bytes else name.encode("utf-8")
            self._known[token] = written
        return self._utf8.decode(written)

    def flush(self) -> str:
        return self._utf8.decode(b"", final=True)


class _WindowDecoder:
    """Tokens of any tokenizer: each is decoded beside the character before it, and what that adds is its text."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer, self._special = tokenizer, frozenset(tokenizer.all_special_ids)
        self._before: list[int] = []
        self._pending: list[int] = []

    def _added(self) -> str:
        options = {"skip_special_tokens": True, "clean_up_tokenization_spaces": False}
        before = self._tokenizer.decode(self._before, **options)
        return str(self._tokenizer.decode([*self._before, *self._pending], **options))[len(before) :]

    def push(self, token: int) -> str:
        if token in self._special:
            return ""
        self._pending.append(token)
        text = self._added()
        if text.endswith(_REPLACEMENT) and len(self._pending) < _MOST_PENDING_TOKENS:
            return ""
        return self._taken(text)

    def flush(self) -> str:
        return self._taken(self._added()) if self._pending else ""

    def _taken(self, text: str) -> str:
        self._before, self._pending = self._pending, []
        return text
