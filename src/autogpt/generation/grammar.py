"""Writing that is held to a grammar: at each step only tokens that can still lead to a valid text may be chosen.

The matching is llguidance's (a Rust library that walks the grammar over the tokenizer's own bytes): of the three
well-kept ones it alone knows substrings of a given text, compiles in milliseconds, and needs nothing else installed.

Shapes: B sequences, V vocabulary.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch

from autogpt.errors import ModelError

__all__ = ["Grammar", "Matchers", "span_of"]

Grammar = str
"""In llguidance's Lark dialect."""

_TOKENIZERS: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()


def span_of(text: str) -> Grammar | None:
    """Any stretch of `text`, a character long at least; None when there is nothing to point at."""
    if not text:
        return None
    return f'start: SPAN\nSPAN: %regex {{"substring_chars": {json.dumps(text)}}} & /(?s:.+)/\n'


class Matchers:
    """A grammar for each of B sequences, or None where one writes freely, and how far each has come.

    Raises:
        ModelError: the tokenizer cannot be followed byte by byte, or a grammar cannot be read.
    """

    def __init__(self, tokenizer: Any, grammars: Sequence[Grammar | None]) -> None:
        from llguidance import LLMatcher

        wrapped = _wrapped(tokenizer)
        self._matchers = [None if grammar is None else LLMatcher(wrapped, grammar) for grammar in grammars]
        for matcher in self._matchers:
            if matcher is not None and (error := matcher.get_error()):
                raise ModelError("a grammar that answers should follow cannot be read", found=error.splitlines()[0])

    @classmethod
    def of(cls, tokenizer: Any, grammars: Sequence[Grammar | None]) -> Matchers | None:
        """Matchers for a batch; None when none of it has a grammar."""
        return None if all(grammar is None for grammar in grammars) else cls(tokenizer, grammars)

    def mask(self, logits_BV: torch.Tensor) -> torch.Tensor:
        """`logits_BV` with -inf for tokens that would leave the grammar; what a grammar does not know stays out."""
        size = logits_BV.shape[-1]
        allowed_BV = np.zeros((len(self._matchers), size), dtype=bool)
        for row, matcher in zip(allowed_BV, self._matchers, strict=True):
            if matcher is None:
                row[:] = True
                continue
            bits = np.unpackbits(np.frombuffer(matcher.compute_bitmask(), dtype=np.uint8), bitorder="little")[:size]
            row[: len(bits)] = bits
        return logits_BV.masked_fill(~torch.from_numpy(allowed_BV).to(logits_BV.device), float("-inf"))

    def follow(self, tokens: Sequence[int]) -> None:
        """Each sequence took this token; sequences that ended before stay where they are."""
        for matcher, token in zip(self._matchers, tokens, strict=True):
            if matcher is not None and not matcher.is_stopped():
                matcher.consume_token(token)

    def select(self, rows: Sequence[int]) -> None:
        """Go on with these sequences only."""
        self._matchers = [self._matchers[row] for row in rows]


def _wrapped(tokenizer: Any) -> Any:
    if tokenizer not in _TOKENIZERS:
        from llguidance.hf import from_tokenizer

        try:
            _TOKENIZERS[tokenizer] = from_tokenizer(tokenizer)
        except ValueError as error:
            raise ModelError("this tokenizer cannot follow a grammar", found=str(error)) from error
    return _TOKENIZERS[tokenizer]
