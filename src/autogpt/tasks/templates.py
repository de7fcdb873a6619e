"""An example → the text that a model reads and writes. One function for training, evaluation and serving.

Plain text only: no control tokens of any model; the batching adds begin and end tokens. The words stand in
`templates.yaml`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

from autogpt.errors import ConfigError
from autogpt.tasks.answers import encode_answer
from autogpt.tasks.lexicon import Role, load_yaml, roles_of
from autogpt.tasks.passages import nearest_sentences
from autogpt.tasks.spec import TaskKind, TaskSpec
from autogpt.types import Entity, Example, Message, Segment

__all__ = ["fill", "passage_read", "render", "template_language", "truncate_input"]

_VARIABLE = re.compile(r"\{(\w+)\}")
_BY_TURNS = (TaskKind.DIALOGUE, TaskKind.PREFERENCE)
_KEPT = (Role.QUESTION, Role.OPTIONS, Role.INSTRUCTION, Role.SYSTEM, Role.TITLE)
"""Roles of short fields that are cut only when nothing else is left to cut."""


@cache
def _templates() -> Mapping[str, Any]:
    loaded: Mapping[str, Any] = load_yaml("templates.yaml")
    return loaded


def template_language(spec: TaskSpec) -> str:
    """`zh` or `en`: that of the input; mixed input goes with the answers."""
    if spec.input_language == "mixed":
        return "zh" if spec.output_language == "zh" else "en"
    return "zh" if spec.input_language == "zh" else "en"


def fill(template: str, values: Mapping[str, str]) -> str:
    """`template` with each `{name}` replaced once; what the values hold is not read again.

    Raises:
        ConfigError: the template reads a name that is not there, or a value is not read by it.
    """
    wanted = _VARIABLE.findall(template)
    if missing := [name for name in wanted if name not in values]:
        raise ConfigError(f"template {template!r} reads {missing[0]!r}", found=f"only {', '.join(values) or 'nothing'}")
    if unused := [name for name in values if name not in wanted]:
        raise ConfigError(f"template {template!r} does not read {unused[0]!r}", todo="add {" + unused[0] + "} to it")
    return _VARIABLE.sub(lambda match: values[match.group(1)], template)


def render(spec: TaskSpec, example: Example, *, answer: bool) -> tuple[Segment, ...]:
    """The segments of an example; those with `is_answer` are learnt and scored.

    With `answer=True` the text starts with the text of `answer=False`; the prompt always ends at a clean boundary. Of a
    conversation, each assistant turn is an answer; without the answer, the assistant turns at its end are left out,
    while the earlier ones stay answers, so that the same end tokens follow them as in training. Plain continuation
    has an empty prompt.

    Raises:
        ConfigError: the example has other input fields than the task, or no answer where one is wanted.
    """
    if spec.kind in _BY_TURNS:
        return _render_turns(spec, example, answer=answer)
    prompt = _prompt(spec, example)
    if not answer:
        return (Segment(prompt, False),)
    if example.target is None:
        raise _no_answer(example)
    segments = (Segment(prompt, False), Segment(encode_answer(spec, example.target), True))
    return segments if prompt else segments[1:]


def _no_answer(example: Example) -> ConfigError:
    return ConfigError(f"row {example.id or '?'} has no answer to render", expected="an example with its answer")


def _check_fields(spec: TaskSpec, example: Example) -> None:
    if missing := [field for field in spec.input_fields if field not in example.input]:
        raise ConfigError(
            f"row {example.id or '?'} has no field {missing[0]!r}, which the task reads",
            found=f"fields {', '.join(example.input) or '(none)'}",
        )
    if unused := [field for field in example.input if field not in spec.input_fields]:
        raise ConfigError(
            f"row {example.id or '?'} has a field {unused[0]!r} that the task does not read",
            expected=f"fields {', '.join(spec.input_fields) or '(none)'}",
        )


def _prompt(spec: TaskSpec, example: Example) -> str:
    _check_fields(spec, example)
    texts = _read(spec, example)
    language = template_language(spec)
    template = _templates()["kinds"][spec.kind.value][language]
    fields = _in_order(spec)
    if len(fields) == 1 and template["one"]:
        return fill(template["one"], {"input": texts[fields[0]]}) + str(template["answer"])
    line = _templates()["line"][language]
    lines = [
        fill(line, {"head": _head(field, language), "value": texts[field]}) for field in fields if texts[field].strip()
    ]
    return "".join(lines) + str(template["answer"])


def _passage_field(spec: TaskSpec, example: Example) -> str:
    """The longest input field that is not named like a question."""
    return min(spec.input_fields, key=lambda field: (_main_role(field) in _KEPT, -len(example.input[field])))


def _read(spec: TaskSpec, example: Example) -> Mapping[str, str]:
    """The input fields as the model reads them: all of each, but for a long passage that a question is asked about."""
    if not spec.passage_chars or len(spec.input_fields) < 2:
        return example.input
    passage = _passage_field(spec, example)
    question = "\n".join(example.input[field] for field in spec.input_fields if field != passage)
    return {**example.input, passage: nearest_sentences(question, example.input[passage], spec.passage_chars)}


def passage_read(spec: TaskSpec, example: Example) -> str:
    """What the model reads of the passage that a question is about; with a single input field, that."""
    _check_fields(spec, example)
    return _read(spec, example)[_passage_field(spec, example)]


def _in_order(spec: TaskSpec) -> list[str]:
    """Input fields as they are rendered: as the task lists them, but a question behind what it asks about."""
    if spec.kind is not TaskKind.QUESTION_ANSWERING:
        return list(spec.input_fields)
    return sorted(spec.input_fields, key=lambda field: _main_role(field) in (Role.QUESTION, Role.OPTIONS))


def _main_role(field: str) -> Role | None:
    roles = roles_of(field)
    known = [role for role in roles if role.value in _templates()["heads"]["en"]]
    order = list(_templates()["heads"]["en"])
    own = field.strip().lower()
    return min(known, key=lambda role: (role.value != own, -roles[role], order.index(role.value)), default=None)


@cache
def _head(field: str, language: str) -> str:
    """What stands before a field: the word for a column whose whole name is known, else the name itself."""
    role = _main_role(field)
    if role is None or roles_of(field)[role] < 1.0:
        return field
    says_it_all = role in (Role.CONTEXT, *_KEPT[:4]) or field.strip().lower() == role.value
    return str(_templates()["heads"][language][role.value]) if says_it_all else field


# --- conversations ----------------------------------------------------------------------------------------------------


def _turns(spec: TaskSpec, example: Example) -> tuple[Message, ...]:
    """The conversation without the answers at its end; rows without turns become one user turn."""
    if example.messages:
        messages = list(example.messages)
        while messages and messages[-1].role == "assistant":
            messages.pop()
        return tuple(messages)
    _check_fields(spec, example)
    texts = {field: text for field, text in example.input.items() if text.strip()}
    system = [Message("system", text) for field, text in texts.items() if _main_role(field) is Role.SYSTEM]
    said = "\n".join(text for field, text in texts.items() if _main_role(field) is not Role.SYSTEM)
    return (*system, Message("user", said))


def _answers(spec: TaskSpec, example: Example) -> list[str]:
    """What the assistant says at the end: the trailing assistant turns, or the target."""
    trailing: list[str] = []
    if spec.kind is TaskKind.DIALOGUE:
        for message in reversed(example.messages):
            if message.role != "assistant":
                break
            trailing.insert(0, message.content)
    if trailing:
        return trailing
    return [] if example.target is None else [encode_answer(spec, example.target)]


def _render_turns(spec: TaskSpec, example: Example, *, answer: bool) -> tuple[Segment, ...]:
    language = template_language(spec)
    words, line = _templates()["roles"][language], _templates()["line"][language]
    head = str(line).split("{value}")[0]
    mouth = fill(head, {"head": words["assistant"]})
    messages = _turns(spec, example)
    answers = _answers(spec, example) if answer else []
    if answer and not answers:
        # A conversation that ends with the user teaches what was answered before that.
        last = max((place for place, turn in enumerate(messages) if turn.role == "assistant"), default=-1)
        if spec.kind is not TaskKind.DIALOGUE or last < 0:
            raise _no_answer(example)
        answers, messages = [messages[last].content], messages[:last]
    segments: list[Segment] = []
    pending = ""
    for message in messages:
        if message.role == "assistant":
            segments += [Segment(pending + mouth, False), Segment(message.content, True)]
            pending = "\n"
        else:
            word = words.get(message.role, message.role)
            pending += fill(line, {"head": word, "value": message.content})
    for text in answers:
        segments += [Segment(pending + mouth, False), Segment(text, True)]
        pending = "\n"
    if not answer:
        segments.append(Segment(pending + mouth, False))
    return tuple(segments)


# --- length -----------------------------------------------------------------------------------------------------------


def truncate_input(spec: TaskSpec, example: Example, max_chars: int) -> Example:
    """`example` with at most `max_chars` characters to read; itself when it fits.

    The longest field is cut and keeps its head; questions, instructions and titles stay whole as long as anything else
    can be cut. A conversation loses its oldest turns, but neither the system text nor the last question. Entities that
    begin or end behind the cut leave the target: a model must not learn to name what it cannot see. Score predictions
    against the example as it was before the cut.
    """
    if spec.kind is TaskKind.DIALOGUE and example.messages:
        return replace(example, messages=_shorter_conversation(example.messages, max_chars))
    excess = sum(map(len, example.input.values())) - max_chars
    if excess <= 0:
        return example
    texts = dict(example.input)
    for field in sorted(texts, key=lambda name: (_main_role(name) in _KEPT and len(texts) > 1, -len(texts[name]))):
        cut = min(max(excess, 0), len(texts[field]))
        texts[field] = texts[field][: len(texts[field]) - cut]
        excess -= cut
    target = example.target
    if spec.kind is TaskKind.EXTRACTION and isinstance(target, tuple) and spec.input_fields:
        length = len(texts[spec.input_fields[0]])
        target = tuple(item for item in target if isinstance(item, Entity) and item.end <= length)
    return replace(example, input=texts, target=target)


def _shorter_conversation(messages: Sequence[Message], max_chars: int) -> tuple[Message, ...]:
    end = len(messages)
    while end and messages[end - 1].role == "assistant":
        end -= 1
    asked, answers = list(messages[:end]), tuple(messages[end:])
    system = [message for message in asked if message.role == "system"]
    spoken = [message for message in asked if message.role != "system"]
    while len(spoken) > 1 and _chars([*system, *spoken]) > max_chars:
        spoken.pop(0)
        while len(spoken) > 1 and spoken[0].role != "user":
            spoken.pop(0)  # an answer without its question helps nobody
    kept = [*system, *spoken]
    excess = _chars(kept) - max_chars
    for place in sorted(range(len(kept)), key=lambda index: -len(kept[index].content)):
        if excess > 0:
            text = kept[place].content
            cut = min(excess, len(text))
            kept[place] = Message(kept[place].role, text[: len(text) - cut])
            excess -= cut
    return (*kept, *answers)


def _chars(messages: Sequence[Message]) -> int:
    return sum(len(message.content) for message in messages)
