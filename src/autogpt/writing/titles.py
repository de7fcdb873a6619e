"""A title for a book that the program plans: a short noun phrase, chosen by the writer among what its matter offers.

Chinese: a place or a person, and what such books call themselves (大观园记, 宝玉缘). English: nouns that the writer
uses with an article, with a name (The Crown of Verona). A small model that invents a title freely invents words too.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence

from autogpt.writing.names import given_name, places, places_of
from autogpt.writing.units import length
from autogpt.writing.writers import Writer

__all__ = ["book_title", "nouns", "title_choices"]

_ENDINGS = "记缘录梦传"
_MOST_NOUNS, _MOST_HEADS = 6, 4
_NOUN = re.compile(
    r"\b(?:the|a|my|thy|his|her|our|this) ([a-z]{4,9})"
    r"(?=[,.;:!?\n]| (?:of|and|is|in|to|that|with|hath|shall|for|on|as|doth|was|were)\b)"
)
_NO_NOUNS_TEXT = """
    other same rest best more most which that this what such them they part thing matter self very former latter
    first last next little great whole good like lord
"""
_NO_NOUNS = frozenset(_NO_NOUNS_TEXT.split())
_TRIES = 20


def nouns(text: str) -> list[str]:
    """English words of `text` that stand as nouns at least twice, the most frequent first."""
    counts = Counter(found for found in _NOUN.findall(text) if found not in _NO_NOUNS)
    ranked = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return [word for word, count in ranked if count >= 2][:_MOST_NOUNS]


def title_choices(premise: str, cast: Sequence[str], matter: str, language: str) -> list[str]:
    """The titles to choose from; empty where neither premise, cast nor `matter` (the writer's own text) offers any."""
    if language == "zh":
        found = [place for place, _ in places(premise).most_common(_MOST_HEADS)]
        heads = [*found, *(given_name(name) for name in cast[:2])]
        return [head + ending for head in dict.fromkeys(heads) for ending in _ENDINGS]
    names = [place.title() for place in places_of(premise)][:_MOST_HEADS]
    names = names or [name.title() for name in cast[:1]]
    words = [word.capitalize() for word in nouns(matter + "\n" + premise + "\n" + premise)]
    return [f"The {word} of {name}" for name in dict.fromkeys(names) for word in words if word != name]


def book_title(premise: str, cast: Sequence[str], matter: str, writer: Writer, seed: int) -> str:
    """The title of a book of the premise.

    One that the premise puts in quotation marks is taken; a book without persons is called by the first words of its
    premise. Else the writer chooses among `title_choices`; one that holds no grammar is not asked, the seed chooses.
    """
    quoted = re.search(r"[《「“\"]([^》」”\"]{2,30})[》」”\"]", premise)
    if quoted:
        return quoted.group(1)
    language = "en" if (premise or matter).isascii() else "zh"
    choices = title_choices(premise, cast, matter, language)
    if cast and choices:
        return _chosen(choices, premise, language, writer, seed)
    clause = re.split(r"[，。；：！？,;:.!?\n]", premise.strip(), maxsplit=1)[0].strip()
    if clause and length(clause) <= (14 if language == "zh" else 9):
        return clause
    return "无题" if language == "zh" else f"The Book of {cast[0].title()}" if cast else "Untitled"


def _chosen(choices: Sequence[str], premise: str, language: str, writer: Writer, seed: int) -> str:
    if not writer.holds_grammar:
        return choices[seed % len(choices)]
    rule = "start: " + " | ".join(json.dumps(choice, ensure_ascii=False) for choice in choices) + "\n"
    prompt = f"{premise}\n《" if language == "zh" else f"{premise}\n"
    for attempt in range(_TRIES):
        title = "".join(writer.write(prompt, 40, grammar=rule, seed=seed + attempt)).strip()
        if title in choices:  # not so where the model had no room left
            return title
    return choices[seed % len(choices)]
