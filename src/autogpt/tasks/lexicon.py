"""What column names and words mean, in Chinese and English: the look-ups in `lexicon.yaml`.

A role is what a column is for. The words serve twice: names of columns in the data, and words for columns in the
sentence ("write the reply" names a column called `response`).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

import yaml

__all__ = [
    "Role",
    "cue_words",
    "function_words",
    "language_named",
    "language_words",
    "load_yaml",
    "name_tokens",
    "roles_of",
    "words_for",
]


class Role(StrEnum):
    """What a column is for, judging by its name."""

    TEXT = "text"
    DOCUMENT = "document"
    TITLE = "title"
    CONTEXT = "context"
    QUESTION = "question"
    OPTIONS = "options"
    ANSWER = "answer"
    WORKING = "working"
    SUMMARY = "summary"
    SOURCE = "source"
    TARGET = "target"
    LABEL = "label"
    WEAK_LABEL = "weak_label"
    TAGS = "tags"
    ENTITIES = "entities"
    MESSAGE = "message"
    REPLY = "reply"
    INSTRUCTION = "instruction"
    INPUT = "input"
    OUTPUT = "output"
    SYSTEM = "system"
    TURNS = "turns"
    CHOSEN = "chosen"
    REJECTED = "rejected"
    META = "meta"


def load_yaml(name: str) -> Any:
    """One of the YAML files beside this module, by the fast loader where there is one."""
    text = Path(__file__).with_name(name).read_text(encoding="utf-8")
    return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


@cache
def _lexicon() -> Mapping[str, Any]:
    loaded: Mapping[str, Any] = load_yaml("lexicon.yaml")
    return loaded


@cache
def _roles() -> Mapping[str, frozenset[Role]]:
    """Name → what a column of that name may be for."""
    result: dict[str, frozenset[Role]] = {}
    for role, names in _lexicon()["roles"].items():
        for name in names.split():
            result[name] = result.get(name, frozenset()) | {Role(role)}
    return result


@cache
def _synonyms() -> tuple[frozenset[str], ...]:
    return tuple(frozenset(word.replace("_", " ") for word in group.split()) for group in _lexicon()["synonyms"])


@cache
def language_words() -> Mapping[str, str]:
    """Name of a language → `zh`, `en` or `other`."""
    return {word: code for code, words in _lexicon()["languages"].items() for word in words.split()}


@cache
def cue_words(language: str) -> Mapping[str, str]:
    """Word → what it makes of the noun behind it: `in`, `out` or `object` (of judging, translating, ...)."""
    return {word: cue for cue, words in _lexicon()["cues"][language].items() for word in words.split()}


@cache
def function_words(group: str) -> frozenset[str]:
    """Function words of `english`, or of the `others` in Latin script."""
    return frozenset(_lexicon()["function_words"][group].split())


_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_HAN_RUN = re.compile(r"[㐀-鿿]")


def name_tokens(name: str) -> list[str]:
    """A column name cut at separators and humps, lower case: `customerMessage` → `customer`, `message`."""
    spaced = _CAMEL.sub(" ", unicodedata.normalize("NFKC", name).strip())
    return [token for token in re.split(r"[^0-9a-z㐀-鿿]+", spaced.lower()) if token]


def _known(word: str) -> frozenset[Role]:
    singular = word[:-1] if word.endswith("s") and len(word) > 3 else word
    return _roles().get(word) or _roles().get(singular, frozenset())


def roles_of(name: str) -> dict[Role, float]:
    """Roles of a column by its name, each with how sure the name is of it: 1 for the whole name, less for a part.

    `customer_message` is a message for its last word; `新闻类别` is a label for its ending. Unknown names give {}.
    """
    tokens = name_tokens(name)
    whole = "_".join(tokens)
    if roles := _known(whole):
        return dict.fromkeys(roles, 1.0)
    if not tokens:
        return {}
    if _HAN_RUN.search(whole):
        known = [word for word in _roles() if len(word) > 1 and _HAN_RUN.search(word) and word in whole]
        ends = [word for word in known if whole.endswith(word)]
        if known:
            return dict.fromkeys(_roles()[max(ends or known, key=len)], 0.9 if ends else 0.5)
        return {}
    for token, sureness in ((tokens[-1], 0.8), (tokens[0], 0.5)):
        if roles := _known(token):
            return dict.fromkeys(roles, sureness)
    return {}


def language_named(name: str) -> str | None:
    """The language a column is named after (`en`, `chinese`, `英文`, `text_zh`), or None."""
    tokens = name_tokens(name)
    for token in ("_".join(tokens), *tokens[-1:], *tokens[:1]):
        if token in language_words():
            return language_words()[token]
    return None


def words_for(name: str) -> frozenset[str]:
    """Words by which a sentence may mean this column: its own name and synonyms of it or of its last word."""
    tokens = name_tokens(name)
    words = {" ".join(tokens), name.strip().lower()}
    for token in (" ".join(tokens), *tokens[-1:]):
        for group in _synonyms():
            if token in group or (_HAN_RUN.search(token) and any(word in token for word in group if len(word) > 1)):
                words |= group
        if len(token) > 2:
            words.add(token)
    return frozenset(word for word in words if len(word) > 2 or (len(word) == 2 and _HAN_RUN.search(word)))
