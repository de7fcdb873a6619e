"""Answers ↔ the text that a model writes. Compact text rather than JSON: small models get brackets wrong.

- classification: the label itself.
- multi_label: labels with a joiner between, in the order of the task's labels.
- extraction: one entity a line, `TYPE: text`, in the order of the text.
- every other kind: the text itself.

The empty set is a marker of its own (`-`), so that "nothing found" is something a model can say.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

from autogpt.errors import TaskError
from autogpt.tasks.spec import TaskKind, TaskSpec
from autogpt.types import Entity, Example, Target

__all__ = ["decode_answer", "encode_answer"]


def encode_answer(spec: TaskSpec, target: Target) -> str:
    """`target` as the text that the model shall write.

    Raises:
        TaskError: the target is of another type than the task's kind has.
    """
    if spec.kind is TaskKind.EXTRACTION:
        return _encode_entities(spec, target)
    if spec.kind is TaskKind.MULTI_LABEL:
        return _encode_labels(spec, target)
    if not isinstance(target, str):
        raise _wrong_type(spec, target)
    return target


def decode_answer(spec: TaskSpec, text: str, example: Example) -> Target:
    """What the model meant by `text`; never raises, whatever it wrote.

    Classification: the label it wrote; else the label that is the same but for case, width and space; else the label
    with the longest common prefix (half of it at least); else the nearest by spelling; else the task's first label, the
    most frequent one. Label tasks are normally decided by the labels' probabilities, so that this is only a fallback.
    Extraction: lines that name a known type and a span of the first input field; spans are located from left to right,
    others are dropped. Text: stripped.
    """
    if spec.kind is TaskKind.CLASSIFICATION:
        return _nearest_label(text.strip(), spec.labels, default=True) or ""
    if spec.kind is TaskKind.MULTI_LABEL:
        return _decode_labels(spec, text)
    if spec.kind is TaskKind.EXTRACTION:
        return _decode_entities(spec, text, example)
    return text.strip()


def _wrong_type(spec: TaskSpec, target: Target) -> TaskError:
    return TaskError(f"an answer that is not one of a {spec.kind.value} task", found=repr(target)[:60])


@lru_cache(maxsize=64)
def _marker(taken: tuple[str, ...]) -> str:
    """The sign for the empty set: `-`, or a longer one when a label looks like it."""
    sign = "-"
    while sign in taken:
        sign += "-"
    return sign


def _folded(text: str) -> str:
    return re.sub(r"[\s_]+", " ", unicodedata.normalize("NFKC", text)).strip().casefold()


# --- labels -----------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=64)
def _joiner(labels: tuple[str, ...], chinese: bool) -> str:
    """What stands between labels: `、` or `, `; a new line when a label holds that sign."""
    sign = "、" if chinese else ", "
    return "\n" if any(mark in label for label in labels for mark in (sign.strip(), "\n")) else sign


def _encode_labels(spec: TaskSpec, target: Target) -> str:
    if isinstance(target, str):
        raise _wrong_type(spec, target)
    labels = [item for item in target if isinstance(item, str)]
    if len(labels) != len(target):
        raise _wrong_type(spec, target)
    if not labels:
        return _marker(tuple(spec.labels))
    place = {label: number for number, label in enumerate(spec.labels)}
    ordered = sorted(dict.fromkeys(labels), key=lambda label: place.get(label, len(place)))
    joiner = _joiner(tuple(spec.labels), spec.output_language == "zh")
    return joiner.join(map(_escaped, ordered) if joiner == "\n" else ordered)


def _decode_labels(spec: TaskSpec, text: str) -> tuple[str, ...]:
    joiner = _joiner(tuple(spec.labels), spec.output_language == "zh")
    text = text.strip()
    if not text or text == _marker(tuple(spec.labels)):
        return ()
    if joiner == "\n":
        parts = [_unescaped(part) for part in text.split("\n")]
    else:
        parts = re.split("[、,，;；\n]" if _plain(spec) else rf"{joiner.strip()}|\n", text)
    found = (_nearest_label(part.strip(), spec.labels, default=False) for part in parts if part.strip())
    chosen = {label for label in found if label is not None}
    return tuple(label for label in spec.labels if label in chosen)


def _plain(spec: TaskSpec) -> bool:
    """Whether no label holds any of the signs that may stand between labels."""
    return not any(sign in label for label in spec.labels for sign in "、,，;；\n")


def _nearest_label(text: str, labels: Sequence[str], *, default: bool) -> str | None:
    """The label meant by `text` (see `decode_answer`); None when nothing is near and there is no default."""
    if text in labels:
        return text
    folded = {_folded(label): label for label in reversed(labels)}
    wanted = _folded(text)
    if wanted in folded:
        return folded[wanted]
    if wanted:
        near = [key for key in folded if key and (wanted.startswith(key) or key.startswith(wanted))]
        near = [key for key in near if 2 * min(len(key), len(wanted)) >= len(key)]
        if near:
            return folded[max(near, key=lambda key: (min(len(key), len(wanted)), -len(key)))]
        if close := difflib.get_close_matches(wanted[:200], folded, n=1, cutoff=0.7):
            return folded[close[0]]
    return labels[0] if default and labels else None


# --- entities ---------------------------------------------------------------------------------------------------------


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _unescaped(text: str) -> str:
    return re.sub(r"\\([\\n])", lambda match: "\n" if match.group(1) == "n" else "\\", text)


def _encode_entities(spec: TaskSpec, target: Target) -> str:
    if isinstance(target, str) or any(isinstance(item, str) for item in target):
        raise _wrong_type(spec, target)
    entities = [item for item in target if isinstance(item, Entity)]
    entities.sort(key=lambda entity: (entity.start, entity.end, entity.type))
    lines = [f"{entity.type}: {_escaped(entity.text)}" for entity in entities]
    return "\n".join(lines) or _marker(tuple(spec.labels))


def _typed(line: str, types: Sequence[str]) -> tuple[str, str] | None:
    """(type, span) of a line; the longest known type that it begins with. None when there is none."""
    known = [name for name in types if line.startswith(f"{name}: ")]
    if known:
        name = max(known, key=len)
        return name, line[len(name) + 2 :]
    match = re.match(r"\s*[-*•]?\s*(.+?)\s*[:：]\s*(.*?)\s*$", line)
    if match is None:
        return None
    name = match.group(1)
    if not types:
        return name, match.group(2)
    folded = {_folded(item): item for item in types}
    return (folded[_folded(name)], match.group(2)) if _folded(name) in folded else None


def _decode_entities(spec: TaskSpec, text: str, example: Example) -> tuple[Entity, ...]:
    source = example.input.get(spec.input_fields[0], "") if spec.input_fields else ""
    found: list[Entity] = []
    before, start = 0, 0  # end and start of the entity before
    for line in text.split("\n"):
        typed = _typed(line, spec.labels)
        if typed is None:
            continue
        entity = _located(typed, source, (before, start, 0), found)
        if entity is not None:
            found.append(entity)
            before, start = entity.end, entity.start
    return tuple(sorted(found, key=lambda entity: (entity.start, entity.end, entity.type)))


def _located(typed: tuple[str, str], source: str, origins: Sequence[int], taken: Sequence[Entity]) -> Entity | None:
    """The first free place of a span: behind the entity before, else inside it (nested), else anywhere."""
    kind, raw = typed
    for span in dict.fromkeys((_unescaped(raw), _unescaped(raw).strip(), raw.strip())):
        if not span.strip():
            continue
        for origin in origins:
            place = source.find(span, origin)
            while place >= 0:
                entity = Entity(kind, span, place, place + len(span))
                if entity not in taken:
                    return entity
                place = source.find(span, place + 1)
    return None
