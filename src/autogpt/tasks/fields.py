"""Which columns a model reads, once the kind and the answer column are supposed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from autogpt.tasks.columns import Column
from autogpt.tasks.lexicon import Role
from autogpt.tasks.sentences import Mention
from autogpt.tasks.spec import TaskKind

__all__ = ["ANSWER_ROLES", "INPUT_ROLES", "input_columns"]

ANSWER_ROLES = (
    Role.LABEL,
    Role.TAGS,
    Role.ENTITIES,
    Role.SUMMARY,
    Role.TARGET,
    Role.REPLY,
    Role.ANSWER,
    Role.OUTPUT,
    Role.WORKING,
    Role.CHOSEN,
    Role.REJECTED,
)
"""Roles that only an answer has, so that such a column is no input unless the sentence says so."""

_READABLE = (Role.TEXT, Role.DOCUMENT, Role.MESSAGE, Role.INPUT, Role.CONTEXT, Role.QUESTION, Role.TITLE, Role.SOURCE)

INPUT_ROLES: Mapping[TaskKind, tuple[Role, ...]] = {
    TaskKind.CLASSIFICATION: _READABLE,
    TaskKind.MULTI_LABEL: _READABLE,
    TaskKind.EXTRACTION: (Role.TEXT, Role.DOCUMENT, Role.MESSAGE, Role.INPUT),
    TaskKind.QUESTION_ANSWERING: (Role.CONTEXT, Role.QUESTION, Role.OPTIONS),
    TaskKind.SUMMARIZATION: (Role.DOCUMENT, Role.TEXT, Role.SOURCE, Role.INPUT),
    TaskKind.TRANSLATION: (Role.SOURCE, Role.TEXT, Role.INPUT),
    TaskKind.DIALOGUE: (Role.MESSAGE, Role.QUESTION, Role.CONTEXT, Role.INPUT, Role.SYSTEM),
    TaskKind.INSTRUCTION: (Role.SYSTEM, Role.INSTRUCTION, Role.INPUT, Role.SOURCE, Role.TEXT, Role.QUESTION),
    TaskKind.GENERATION: (),
    TaskKind.PREFERENCE: (Role.INSTRUCTION, Role.QUESTION, Role.MESSAGE, Role.INPUT),
}
"""Roles of input columns by kind; questions follow contexts, instructions precede inputs."""

_READ = ("in", "object", "near")
"""Cues of a column that is read (see `cues` in lexicon.yaml)."""

_ORDERED = (TaskKind.QUESTION_ANSWERING, TaskKind.INSTRUCTION)
_ONE_INPUT = (TaskKind.SUMMARIZATION, TaskKind.TRANSLATION, TaskKind.EXTRACTION, TaskKind.PREFERENCE)


def _usable(column: Column, mention: Mention | None) -> bool:
    """Whether a column can be read as text at all: filled, not metadata, not itself an answer."""
    if mention is not None and mention.cue in _READ and column.filled:
        return column.shape in ("text", "strings", "turns")
    if column.shape not in ("text", "turns") or not column.filled or column.constant:
        return False
    answer = column.role(*ANSWER_ROLES) if column.shape == "text" else 0.0
    readable = column.role(*_READABLE, Role.INSTRUCTION, Role.SYSTEM, Role.OPTIONS)
    return not (column.role(Role.META) > readable or answer > readable)


def _text_like(column: Column) -> bool:
    """Whether its values read like running text, rather than like labels, numbers or codes."""
    return column.numeric_share < 0.5 and not (column.label_strength >= 1.5 and column.median_chars < 30)


def input_columns(
    kind: TaskKind, output: Column, columns: Sequence[Column], mentions: Mapping[str, Mention], layout: str = "table"
) -> tuple[Column, ...]:
    """Columns to read for answering `output`, in the order they are rendered; () when there is none.

    Columns that the sentence names as input come first in line; then those whose name has a role that the kind reads;
    then the longest text column. Instruction data of the Alpaca shape keep all their parts. Generation reads a column
    only if the sentence names it ("given a title").
    """
    others = [column for column in columns if column is not output]
    named = [
        column
        for column in others
        if (mention := mentions.get(column.name)) and mention.cue in _READ and _usable(column, mention)
    ]
    if kind is TaskKind.GENERATION:
        return tuple(column for column in named if mentions[column.name].cue == "in" and not column.constant)
    if layout == "alpaca" and kind is TaskKind.INSTRUCTION:
        parts = (Role.SYSTEM, Role.INSTRUCTION, Role.INPUT)
        whole = [column for column in others if column.role(*parts) == 1.0 and column.shape in ("text", "empty")]
        return tuple(sorted(whole, key=lambda column: _position(column, parts)))
    usable = [column for column in others if _usable(column, mentions.get(column.name))]
    roles = INPUT_ROLES[kind]
    by_role = [column for column in usable if column.role(*roles) >= 0.5 and (_text_like(column) or column in named)]
    narrowing = [column for column in named if _text_like(column)]
    if narrowing and kind not in (*_ORDERED, TaskKind.TRANSLATION, TaskKind.DIALOGUE):
        chosen = narrowing
    elif kind in (*_ORDERED, TaskKind.DIALOGUE):
        chosen = list(dict.fromkeys([*by_role, *named])) or _longest(usable)
    else:
        chosen = by_role or _longest(usable)
    chosen = chosen or _longest([item for item in others if item.shape == "text" and not item.role(Role.META)])
    if kind in _ONE_INPUT and len(chosen) > 1:
        chosen = [max(chosen, key=lambda column: (_rank(column, roles), column.median_chars))]
    if kind in _ORDERED:
        chosen = sorted(chosen, key=lambda column: _position(column, roles))
    else:
        chosen = [column for column in columns if column in chosen]
    return tuple(chosen)


def _longest(columns: Sequence[Column]) -> list[Column]:
    return [max(columns, key=lambda column: column.median_chars)] if columns else []


def _rank(column: Column, roles: Sequence[Role]) -> int:
    """Higher for earlier roles."""
    return len(roles) - _position(column, roles)


def _position(column: Column, roles: Sequence[Role]) -> int:
    sure = max((column.roles.get(role, 0.0) for role in roles), default=0.0)
    return next((place for place, role in enumerate(roles) if column.roles.get(role, 0.0) == sure > 0), len(roles))
