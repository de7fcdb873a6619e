"""Rows of any layout → `Example`s of the task. Torch-free.

Text is taken as it stands; only labels lose the white space around them. A row that cannot be used is dropped with one
of these reasons: empty input, no answer, several labels, empty turn, unknown role, not a list of turns, turn is not
text, no question before the answer, entities cannot be read, entity without a type, entity outside text, prompts
differ, chosen equals rejected.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeAlias

from autogpt.data.conversations import BadRow, as_prompt, compact_json, conversation, is_blank, turn_column, turns
from autogpt.data.entities import entities_in
from autogpt.data.layouts import TURN_COLUMNS
from autogpt.data.readers import Table
from autogpt.errors import DataError
from autogpt.registry import did_you_mean
from autogpt.tasks.spec import TaskKind, TaskSpec
from autogpt.tasks.values import SEPARATORS, label_of, labels_of, parsed, separator_of
from autogpt.types import Drop, Example, Message, Target

__all__ = ["to_examples"]

_Row: TypeAlias = Mapping[str, Any]
_NO_ANSWER = BadRow("no answer")


def to_examples(spec: TaskSpec, table: Table, *, need_target: bool) -> tuple[list[Example], list[Drop]]:
    """Examples of `table`'s rows in file order, and the rows that cannot be used.

    Args:
        spec: the task; its fields name the columns. Other columns are ignored, except `references` (further acceptable
            answers), `tools` and `system` (put before a conversation).
        table: what a reader returned. Its own drops are not repeated here.
        need_target: True for training and scoring: a row without a usable answer is dropped. False for prediction:
            every row is kept in order, with its answer if it has one.

    Raises:
        DataError: a column is missing; or, for prediction, a row cannot be used.
    """
    _check_columns(spec, table, need_target=need_target)
    if not need_target and table.drops:
        first = table.drops[0]
        raise DataError(
            f"{first.id}: {first.reason}", found=first.detail, todo="mend or remove the row: every row is answered"
        )
    build = _builder(spec, table)
    examples, drops = [], []
    for row_id, row in zip(table.ids, table.rows, strict=True):
        try:
            example = build(row, need_target)
        except BadRow as bad:
            if not need_target:
                raise DataError(f"{row_id}: {bad.reason}", found=bad.detail, todo="mend or remove the row") from bad
            drops.append(Drop(row_id, bad.reason, bad.detail))
        else:
            examples.append(replace(example, id=row_id))
    return examples, drops


def _is_conversational(spec: TaskSpec) -> bool:
    """Whether the answer is the last assistant turn of a turn column, rather than a column of its own."""
    whole = spec.output_field in (*TURN_COLUMNS, *spec.input_fields, "assistant", "content")
    return spec.layout in ("messages", "sharegpt") and whole


def _builder(spec: TaskSpec, table: Table) -> Callable[[_Row, bool], Example]:
    if _is_conversational(spec):
        return lambda row, need_target: _from_conversation(spec, row, need_target)
    if spec.kind is TaskKind.PREFERENCE:
        return lambda row, need_target: _from_preference(spec, row, need_target)
    separator = ""
    if spec.kind is TaskKind.MULTI_LABEL:
        cells = [row[spec.output_field] for row in table.rows if isinstance(row.get(spec.output_field), str)]
        separator = separator_of(cells)
    return lambda row, need_target: _from_fields(spec, row, need_target, separator)


def _check_columns(spec: TaskSpec, table: Table, *, need_target: bool) -> None:
    if _is_conversational(spec):
        if not any(column in table.columns for column in TURN_COLUMNS):
            raise _missing(table, "messages")
        return
    needed = [field for field in spec.input_fields if not (spec.layout == "alpaca" and field == "input")]
    if spec.kind is TaskKind.PREFERENCE:
        needed = [field for field in needed if field not in ("chosen", "rejected")]
        needed += ["chosen", "rejected"] if need_target else []
    elif need_target:
        needed.append(spec.output_field)
    for field in needed:
        if field not in table.columns:
            raise _missing(table, field)


def _missing(table: Table, column: str) -> DataError:
    columns = list(table.columns)
    return DataError(
        f"{table.source.name} has no column {column!r}",
        found=f"columns {', '.join(columns)}" if columns else "no columns",
        todo=did_you_mean(column, columns) if columns else "",
    )


# --- rows with one column per field -----------------------------------------------------------------------------------


def _from_fields(spec: TaskSpec, row: _Row, need_target: bool, separator: str) -> Example:
    values = {field: _input_text(row.get(field)) for field in spec.input_fields}
    _check_input(spec, values)
    references: tuple[str, ...] = ()
    target: Target | None = None
    try:
        target, references = _answer(spec, row, values, separator)
    except BadRow:
        if need_target:
            raise
    messages: tuple[Message, ...] = ()
    if spec.kind is TaskKind.DIALOGUE:
        messages = _as_dialogue(spec, row, target if isinstance(target, str) else None)
    return Example("", values, target, references, messages)


def _input_text(value: Any) -> str:
    """A cell of an input column as text: turns with their roles, a list of strings as lines, structures as JSON."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, list | tuple) and value:
        if all(isinstance(item, str) for item in value):
            return "\n".join(value)
        if isinstance(value[0], Mapping) and {"role", "from"} & set(value[0]):
            return as_prompt(turns(value))
    return label_of(value) or compact_json(value)


def _check_input(spec: TaskSpec, values: Mapping[str, str]) -> None:
    if spec.kind is TaskKind.GENERATION:
        return  # a title may be missing: the text itself is what is learnt
    blank = [field for field, text in values.items() if is_blank(text)]
    if spec.kind is TaskKind.QUESTION_ANSWERING:
        broken = bool(blank)
    elif spec.kind is TaskKind.INSTRUCTION:
        broken = len(blank) == len(values) or ("instruction" in blank)
    else:
        broken = len(blank) == len(values)
    if broken:
        raise BadRow("empty input", ", ".join(blank))


def _answer(spec: TaskSpec, row: _Row, values: Mapping[str, str], separator: str) -> tuple[Target, tuple[str, ...]]:
    """The target of a row and all acceptable answers. Raises BadRow when there is none."""
    value = row.get(spec.output_field)
    if value is None:
        raise _NO_ANSWER
    if spec.kind is TaskKind.CLASSIFICATION:
        label = _single_label(value)
        return label, (label,)
    if spec.kind is TaskKind.MULTI_LABEL:
        labels = _labels(value, separator, spec.labels)
        return labels, labels
    if spec.kind is TaskKind.EXTRACTION:
        if isinstance(value, str) and is_blank(value):
            raise _NO_ANSWER
        entities = entities_in(value, next(iter(values.values()), ""))
        return entities, tuple(entity.text for entity in entities)
    answers = _texts(value, lists=spec.kind is not TaskKind.GENERATION)
    if not answers:
        raise _NO_ANSWER
    if "references" not in (spec.output_field, *spec.input_fields):
        answers += _texts(row.get("references"), lists=True)
    return answers[0], tuple(dict.fromkeys(answers))


def _single_label(value: Any) -> str:
    value = parsed(value)
    if isinstance(value, list | tuple):
        if len(value) > 1:
            raise BadRow("several labels", compact_json(value)[:60])
        value = value[0] if value else None
    label = label_of(value)
    if label is None or is_blank(label):
        raise _NO_ANSWER
    return label


def _labels(value: Any, separator: str, known: list[str]) -> tuple[str, ...]:
    if isinstance(value, str) and is_blank(value):
        raise _NO_ANSWER
    if isinstance(value, str) and not separator:
        # Few rows do not show the separator; the labels of the task do.
        separator = next(
            (sign for sign in SEPARATORS if {part.strip() for part in value.split(sign)} <= set(known)), ""
        )
    labels = labels_of(value, separator)
    if labels is None:
        raise BadRow("no answer", repr(value)[:60])
    return labels


def _texts(value: Any, *, lists: bool) -> tuple[str, ...]:
    """Every answer in a cell: a text; or, with `lists`, a list of texts, SQuAD's `{"text": […]}`, or either as JSON."""
    if lists and isinstance(value, str) and isinstance(parsed(value), list | Mapping):
        nested = parsed(value)
        if (isinstance(nested, Mapping) and "text" in nested) or (
            isinstance(nested, list) and nested and all(isinstance(item, str) for item in nested)
        ):
            value = nested
    if value is None:
        return ()
    if isinstance(value, str):
        return () if is_blank(value) else (value,)
    if isinstance(value, Mapping) and "text" in value:
        return _texts(value["text"], lists=lists)
    if isinstance(value, list | tuple):
        return tuple(dict.fromkeys(text for item in value for text in _texts(item, lists=False)))
    return (label_of(value) or compact_json(value),)


def _as_dialogue(spec: TaskSpec, row: _Row, answer: str | None) -> tuple[Message, ...]:
    """Columns of a dialogue task as turns: a column of turns as it is, `system` as system, the rest as a user turn."""
    messages: list[Message] = []
    said: list[str] = []
    for field in spec.input_fields:
        value = row.get(field)
        if isinstance(value, list) and value and isinstance(value[0], Mapping):
            messages.extend(turns(value))
        elif not is_blank(text := _input_text(value)):
            if field == "system":
                messages.insert(0, Message("system", text))
            else:
                said.append(text)
    if said:
        messages.append(Message("user", "\n".join(said)))
    if answer is not None:
        messages.append(Message("assistant", answer))
    return tuple(messages)


# --- conversations ----------------------------------------------------------------------------------------------------


def _from_conversation(spec: TaskSpec, row: _Row, need_target: bool) -> Example:
    column = turn_column(row)
    if not column:
        raise BadRow("not a list of turns")
    messages = conversation(row, column)
    last = max((place for place, message in enumerate(messages) if message.role == "assistant"), default=-1)
    if need_target:
        if last < 0:
            raise _NO_ANSWER
        messages = messages[: last + 1]  # what follows the last answer teaches nothing
    answered = bool(messages) and messages[-1].role == "assistant"
    before = messages[:last] if answered else messages
    if not any(message.role in ("user", "tool") for message in before):
        raise BadRow("no question before the answer")
    target = messages[-1].content if answered else None
    references = (target,) if target is not None else ()
    if spec.kind is TaskKind.DIALOGUE:
        return Example("", {}, target, references, messages)
    field = next((name for name in spec.input_fields if name not in TURN_COLUMNS), "instruction")
    return Example("", {field: as_prompt(before)}, target, references)


# --- preference pairs -------------------------------------------------------------------------------------------------


def _from_preference(spec: TaskSpec, row: _Row, need_target: bool) -> Example:
    fields = [field for field in spec.input_fields if field not in ("chosen", "rejected")]
    values = {field: _input_text(row.get(field)) for field in fields}
    chosen, rejected = row.get("chosen"), row.get("rejected")
    if isinstance(chosen, list) and isinstance(rejected, list) and chosen and rejected:
        good, bad = turns(chosen), turns(rejected)
        if good[:-1] != bad[:-1]:
            raise BadRow("prompts differ")
        chosen, rejected = good[-1].content, bad[-1].content
        if not fields and len(good) > 1:
            values = {"prompt": as_prompt(good[:-1])}
    if not values or all(map(is_blank, values.values())):
        raise BadRow("empty input", ", ".join(values))
    answers, refused = _texts(chosen, lists=False), _texts(rejected, lists=False)
    if not (answers and refused):
        if need_target:
            raise _NO_ANSWER
        return Example("", values)
    if need_target and answers[0].strip() == refused[0].strip():
        raise BadRow("chosen equals rejected", answers[0][:60])
    return Example("", values, answers[0], answers[:1], rejected=refused[0])
