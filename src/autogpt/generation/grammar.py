"""Writing that is held to a grammar: at each step only tokens that can still lead to a valid text may be chosen.

The matching is llguidance's (a Rust library that walks the grammar over the tokenizer's own bytes): of the three
well-kept ones it alone knows substrings of a given text, compiles in milliseconds, and needs nothing else installed.

Shapes: B sequences, V vocabulary.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch

from autogpt.errors import ModelError

__all__ = ["Grammar", "Matchers", "json_schema", "lark", "one_of", "regex", "span_of"]

Grammar = str
"""In llguidance's Lark dialect, or in its JSON form, which the functions below return."""

MOST_CHARACTERS = 100_000
"""Of a grammar, schema or expression; compiling the worst of them takes under half a second."""

MOST_PROPERTIES = 2000
"""Of all objects of a schema: the time to compile grows with their square."""

MOST_CHOICE_CHARACTERS = 1_000_000
"""Of all choices together; compiling is linear in them."""

_TOKENIZERS: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()


def span_of(text: str) -> Grammar | None:
    """Any stretch of `text`, a character long at least; None when there is nothing to point at."""
    if not text:
        return None
    return f'start: SPAN\nSPAN: %regex {{"substring_chars": {json.dumps(text)}}} & /(?s:.+)/\n'


def json_schema(schema: Mapping[str, Any] | str) -> Grammar:
    """JSON that is valid under a schema (draft 2020-12 as far as llguidance has it), spaced as `json.dumps` does it.

    Args:
        schema: the schema, or its JSON text. References to other documents are not followed.

    Raises:
        ModelError: no JSON, too large, or something in it is not supported.
    """
    from llguidance import LLMatcher

    try:
        text = schema if isinstance(schema, str) else json.dumps(schema, allow_nan=False)
        properties = _properties(json.loads(text))
    except RecursionError as error:
        raise ModelError(
            "a JSON schema cannot be read", found="endless nesting", expected="a flatter schema"
        ) from error
    except (TypeError, ValueError) as error:
        raise ModelError("a JSON schema cannot be read", found=str(error), expected="a JSON object") from error
    _require_size("a JSON schema", len(text), MOST_CHARACTERS)
    if properties > MOST_PROPERTIES:
        raise ModelError(
            "a JSON schema is too large", found=f"{properties} properties", expected=f"at most {MOST_PROPERTIES}"
        )
    form: Any = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
    try:
        return _checked("a JSON schema", LLMatcher.grammar_from_json_schema(text, overrides=form))
    except ValueError as error:
        raise ModelError("a JSON schema cannot be read", found=_first_line(str(error))) from error


def _properties(schema: Any) -> int:
    """Properties of all objects in a schema, of all those that are nested in it too."""
    found, waiting = 0, [schema]
    while waiting:
        here = waiting.pop()
        if isinstance(here, dict):
            named = here.get("properties")
            found += len(named) if isinstance(named, dict) else 0
            waiting += here.values()
        elif isinstance(here, list):
            waiting += here
    return found


def regex(pattern: str) -> Grammar:
    """Text that a regular expression matches from its first character to its last (Rust's dialect: no look-around).

    Matching takes time linear in the text, whatever the expression. Raises ModelError for one that cannot be read.
    """
    from llguidance import LLMatcher

    _require_size("a regular expression", len(pattern), MOST_CHARACTERS)
    return _checked("a regular expression", LLMatcher.grammar_from_regex(pattern))


def lark(text: str) -> Grammar:
    """Text of a context-free grammar in llguidance's Lark dialect. Raises ModelError for one that cannot be read."""
    _require_size("a grammar", len(text), MOST_CHARACTERS)
    return _checked("a grammar", text)


def one_of(choices: Iterable[str]) -> Grammar:
    """Exactly one of some texts. Raises ModelError for no choice, or for too many."""
    texts = list(dict.fromkeys(choices))
    if not texts:
        raise ModelError("nothing to choose from", found="no text", expected="one at least")
    _require_size("a list of choices", sum(map(len, texts)), MOST_CHOICE_CHARACTERS)
    written = [json.dumps(text) for text in texts if text]
    if not written:
        return _checked("a list of choices", 'start: ""')
    start = "start: CHOICE" if len(written) == len(texts) else "start: CHOICE?"
    return _checked("a list of choices", f"{start}\nCHOICE: {' | '.join(written)}")


def _require_size(what: str, size: int, most: int) -> None:
    if size > most:
        raise ModelError(f"{what} is too large", found=f"{size} characters", expected=f"at most {most}")


def _checked(what: str, grammar: Grammar) -> Grammar:
    from llguidance import LLMatcher

    if error := LLMatcher.validate_grammar(grammar):
        raise ModelError(f"{what} cannot be read", found=_first_line(error))
    return grammar


def _first_line(error: str) -> str:
    lines = error.strip().splitlines()
    return lines[0][:200] if lines else "no reason given"


class Matchers:
    """A grammar for each of B sequences, or None where one writes freely, and how far each has come.

    Raises:
        ModelError: the tokenizer cannot be followed byte by byte, or a grammar cannot be read.
    """

    def __init__(self, tokenizer: Any, grammars: Sequence[Grammar | None]) -> None:
        from llguidance import LLMatcher

        wrapped = _wrapped(tokenizer)
        compiled: dict[Grammar, Any] = {}
        for grammar in grammars:
            if grammar is not None and grammar not in compiled:
                compiled[grammar] = LLMatcher(wrapped, grammar, log_level=0)
                if error := compiled[grammar].get_error():
                    raise ModelError("a grammar that answers should follow cannot be read", found=_first_line(error))
        self._matchers = [None if grammar is None else compiled[grammar].deep_copy() for grammar in grammars]

    @classmethod
    def of(cls, tokenizer: Any, grammars: Sequence[Grammar | None]) -> Matchers | None:
        """Matchers for a batch; None when none of it has a grammar."""
        return None if all(grammar is None for grammar in grammars) else cls(tokenizer, grammars)

    def mask(self, logits_BV: torch.Tensor) -> torch.Tensor:
        """`logits_BV` with -inf for tokens that would leave the grammar; what a grammar does not know stays out.

        Raises:
            ModelError: a grammar allows nothing at all here, or has become too complex to follow.
        """
        size = logits_BV.shape[-1]
        allowed_BV = np.zeros((len(self._matchers), size), dtype=bool)
        for row, matcher in zip(allowed_BV, self._matchers, strict=True):
            if matcher is None:
                row[:] = True
                continue
            packed = matcher.compute_bitmask()
            if matcher.is_error():
                raise ModelError(
                    "nothing can be written under the grammar",
                    found=_first_line(matcher.get_error()),
                    todo="check that the grammar has an end, or simplify it",
                )
            bits = np.unpackbits(np.frombuffer(packed, dtype=np.uint8), bitorder="little")[:size]
            row[: len(bits)] = bits
        return logits_BV.masked_fill(~torch.from_numpy(allowed_BV).to(logits_BV.device), float("-inf"))

    def follow(self, tokens: Sequence[int]) -> None:
        """Each sequence took this token; sequences that ended before stay where they are."""
        for matcher, token in zip(self._matchers, tokens, strict=True):
            if matcher is not None and not matcher.is_stopped():
                matcher.consume_token(token)

    def select(self, rows: Sequence[int]) -> None:
        """Go on with these sequences, some of them perhaps several times."""
        kept = [self._matchers[row] for row in rows]
        self._matchers = [
            matcher.deep_copy() if matcher is not None and rows[place] in rows[:place] else matcher
            for place, matcher in enumerate(kept)
        ]

    def holds(self, place: int) -> bool:
        """Whether the sequence has a grammar."""
        return self._matchers[place] is not None

    def let_go(self, place: int) -> None:
        """The sequence has ended; what is said of it from now on does not matter."""
        self._matchers[place] = None


def _wrapped(tokenizer: Any) -> Any:
    if tokenizer not in _TOKENIZERS:
        from llguidance.hf import from_tokenizer

        try:
            _TOKENIZERS[tokenizer] = from_tokenizer(tokenizer)
        except ValueError as error:
            raise ModelError("this tokenizer cannot follow a grammar", found=str(error)) from error
    return _TOKENIZERS[tokenizer]
