"""The parts of a description that speak of one task each, for a sentence that covers several tasks. Torch-free."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from autogpt.tasks.lexicon import cue_words
from autogpt.tasks.sentences import read_sentence

__all__ = ["clauses"]

_BRACKETS = re.compile(r"（[^（）]*）|\([^()]*\)|《[^《》]*》|“[^“”]*”|「[^「」]*」|\"[^\"]*\"")
_STRONG = re.compile(r"\s*(?:[；;。]|\r?\n)\s*(?:[-*•·]\s+)?")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[^\W\d_])|(?<=[！？])\s*(?=\w)")
_AND = re.compile(
    r"\s*[，,]\s*(?:并且?|and\b|then\b|also\b|plus\b|as well as\b)\s*"
    r"|\s*[，,]?\s*(?:以及|同时|然后再?|接着|另外|此外|还要|and then\b|and also\b|as well as\b)\s*",
    re.IGNORECASE,
)
_BARE = re.compile(r"\s*[，,、]\s*|\s+and\s+|\s*(?:并且?|和|再|也要?)\s*", re.IGNORECASE)
_NUMBER = re.compile(
    r"(?:[(（](\d{1,2})[)）]|(?:^|(?<=[\s，。；,;.:：、]))(\d{1,2})(?:[.．](?!\d)|[、)）])|([①-⑳]))\s*", re.MULTILINE
)
_JOINT_WORD = re.compile(r"^(?:(?:and|then|also)\b|并且?|以及|同时|然后再?)\s*", re.IGNORECASE)
_EDGES = " \t\r\n，,；;。、"
_LEAD = re.compile(
    r"(?:(?:please|then|also|to|and)\b|请|再|然后|并且?|也|要|还要?|能|可以|帮我|同时|以及|接着)\s*", re.IGNORECASE
)
_MORE_VERBS = frozenset(
    [
        "answer",
        "build",
        "call",
        "chat",
        "check",
        "choose",
        "continue",
        "decide",
        "determine",
        "find",
        "improve",
        "make",
        "pick",
        "rank",
        "reply",
        "solve",
        "train",
    ]
)
_MORE_VERBS_ZH = (
    "做",
    "训练",
    "给",
    "根据",
    "从",
    "续写",
    "解",
    "区分",
    "改写",
    "润色",
    "挑",
    "选",
    "找",
    "用",
    "内容审核",
    "摘要",
)


def clauses(description: str, count: int | None = None) -> list[str]:
    """The parts of `description` that speak of one task each, in its order; none of an empty one.

    Cuts are made at numbers of a list (`1. … 2. …`, `(1)…(2)…`, ①), at `；`, `;`, `。`, a new line and the end of an
    English sentence, and where `，并`, `以及`, `同时`, `然后再` or `, and` is followed by a verb that begins another
    task. Nothing is cut inside brackets, quotation marks or book titles, and a piece that speaks of no task ("use
    macro F1") stays with the one before it.

    Args:
        description: what the user wrote.
        count: how many parts are expected: the most cautious way of cutting that gives so many is taken, be it one
            that also cuts at plain commas; 1 cuts nothing.
    """
    whole = description.strip()
    if count == 1:
        return [whole]
    if not whole:
        return []
    numbered = _numbered(whole)
    masked = _BRACKETS.sub(lambda match: "＿" * len(match.group()), whole)
    strong = [match.span() for match in _STRONG.finditer(masked)]
    ends = [*strong, *(match.span() for match in _SENTENCE_END.finditer(masked))]
    joined = [*ends, *_before_tasks(whole, masked, ends, _AND)]
    usual = numbered or _merged(whole, joined)
    if count is None:
        return usual
    ways = [numbered, [_trimmed(whole[start:end]) for start, end in _spans(whole, strong)]]
    ways += [_merged(whole, cuts) for cuts in (strong, ends, joined)]
    for joint, sure in ((_AND, False), (_BARE, True), (_BARE, False)):
        ways.append(_merged(whole, [*joined, *_before_tasks(whole, masked, joined, joint, sure=sure)]))
    return next((pieces for pieces in ways if len(pieces) == count), usual)


def _numbered(text: str) -> list[str]:
    """The entries of a list that counts 1, 2, …; [] when there is none. What stands before it is its heading."""
    wanted, found = 1, []
    for match in _NUMBER.finditer(text):
        bracketed, plain, circled = match.groups()
        number = ord(circled) - ord("①") + 1 if circled else int(bracketed or plain)
        if number == wanted:
            found.append(match)
            wanted += 1
    if len(found) < 2:
        return []
    ends = [*(match.start() for match in found[1:]), len(text)]
    entries = [text[match.end() : end].strip(_EDGES) for match, end in zip(found, ends, strict=True)]
    return entries if all(re.search(r"\w", entry) for entry in entries) else []


def _spans(text: str, cuts: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Start and end of what lies between the cuts, pieces without a word left out."""
    start, spans = 0, []
    for left, right in [*sorted(cuts), (len(text), len(text))]:
        if left >= start and re.search(r"\w", text[start:left]):
            spans.append((start, left))
        start = max(start, right)
    return spans


def _trimmed(piece: str) -> str:
    return _JOINT_WORD.sub("", piece.strip(_EDGES))


def _merged(text: str, cuts: Sequence[tuple[int, int]]) -> list[str]:
    """The pieces, those that speak of no task joined to the one before, or after where there is none before."""
    spans: list[tuple[int, int]] = []
    for start, end in _spans(text, cuts):
        if spans and not (_speaks(text[start:end]) and _speaks(text[slice(*spans[-1])])):
            spans[-1] = (spans[-1][0], end)
        else:
            spans.append((start, end))
    return [_trimmed(text[start:end]) for start, end in spans] or [text]


def _speaks(piece: str) -> bool:
    return bool(read_sentence(piece).kinds) or _begins_with_verb(piece)


def _begins_with_verb(piece: str) -> bool:
    text = piece.strip(_EDGES)
    while (lead := _LEAD.match(text)) and lead.end():
        text = text[lead.end() :]
    first = re.match(r"[a-z]+", text.lower())
    if first:
        cues = cue_words("en")
        return first.group() in _MORE_VERBS or cues.get(first.group()) in ("out", "object")
    verbs = [word for word, cue in cue_words("zh").items() if cue in ("out", "object") and word not in ("是", "到")]
    return text.startswith((*verbs, *_MORE_VERBS_ZH))


def _before_tasks(
    text: str, masked: str, cuts: Sequence[tuple[int, int]], joint: re.Pattern[str], *, sure: bool = True
) -> Iterator[tuple[int, int]]:
    """The joints behind which another task begins: with a verb and, where `sure`, words that name a kind of task."""
    for start, end in _spans(text, cuts):
        for found in joint.finditer(masked, start, end):
            before, behind = text[start : found.start()], text[found.end() : end]
            known = not sure or read_sentence(behind).kinds
            if known and _speaks(before) and _begins_with_verb(behind):
                start = found.end()
                yield found.span()
