"""Several tasks from one sentence and several files: which there are, and which part speaks of which. Torch-free.

A description that covers several tasks is cut into parts, and each part is tried on each file: what `understand` finds
(its votes and its contradictions) and what the part names of the file (a label, the number of classes, the language,
the file's own name) decide who goes with whom. A part that the data contradict loses. Opens no data files.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from pathlib import Path
from typing import Any

from autogpt.errors import BadInput, ConfigError, DataError
from autogpt.registry import did_you_mean
from autogpt.store.keys import slug
from autogpt.tasks.clauses import clauses
from autogpt.tasks.columns import profile
from autogpt.tasks.lexicon import function_words
from autogpt.tasks.sentences import Reading, mentions_of, read_sentence
from autogpt.tasks.spec import Evidence, TaskKind, TaskSpec
from autogpt.tasks.task_file import (
    TaskSource,
    addressed,
    addressed_text,
    check_source,
    is_task_file,
    read_task_file,
    sentence_of,
    weight_of,
)
from autogpt.tasks.understand import Sample, understand
from autogpt.tasks.votes import RULED_OUT, Vote

__all__ = ["TaskSource", "clauses", "is_task_file", "sources", "understand_all"]

_MOST_TASKS = 32
_MOST_PERMUTED = 6
"""Tasks up to which every way to hand out the parts is tried; 720 ways at most. Beyond, the order given counts."""

_ROWS_READ, _OFTEN = 300, 0.03
"""Rows in which words of a part are looked for, and the share of them that must hold a word."""
_TODO_COLUMNS = "write the columns of each task to a file of its own, and hold out the same rows as --test of both"
_NO_NAMES = frozenset(["and", "data", "dev", "file", "model", "rows", "set", "task", "test", "the", "train", "valid"])
"""Words in file names that say nothing of the task."""


def sources(
    description: str, data: Sequence[Path], tests: Sequence[Path], corrections: Mapping[str, Any]
) -> tuple[TaskSource, ...]:
    """One entry per task, in the order given; a single one is an ordinary run.

    Args:
        description: the sentence; with a tasks file it stands in for those that the file leaves out, and may be empty.
        data: data files or folders, one per task, or a single tasks file.
        tests: none, or one per task in the same order; with a tasks file one per task for which it names none.
        corrections: name of a task → what `--set tasks.NAME.KEY=VALUE` says: fields of `TaskSpec`, `weight` or
            `description`. They win over the tasks file.

    Raises:
        DataError: a file is missing or named twice, a tasks file is mixed with data or leads to another, or the number
            of test files does not fit.
        ConfigError: a tasks file that is no YAML, has unknown keys, two tasks of one name, a name that is not a slug,
            no task or too many; a correction of a task that does not exist.
        TaskError: an unknown field among the corrections, or a task without a description.

    A single data file is taken as it is: reading and understanding it says what is wrong with it.
    """
    if not data:
        raise DataError("no data are given", expected="a file for each task", todo="name them with --data")
    if any(map(is_task_file, data)):
        if len(data) > 1:
            raise DataError(
                "a tasks file comes alone",
                found=", ".join(path.name for path in data),
                expected="one --data with the tasks file, or one --data per data file",
            )
        found = read_task_file(Path(data[0]), description, tests)
    else:
        found = _from_data(description, data, tests)
    if len(found) > _MOST_TASKS:
        raise ConfigError("too many tasks for one model", found=str(len(found)), expected=f"at most {_MOST_TASKS}")
    found = _corrected(found, corrections)
    if len(found) == 1 and not is_task_file(data[0]):
        return found  # the ordinary run says itself what is wrong with it
    for source in found:
        check_source(source)
    _refuse_twice(found)
    return found


def _from_data(description: str, data: Sequence[Path], tests: Sequence[Path]) -> tuple[TaskSource, ...]:
    if tests and len(tests) != len(data):
        raise DataError(
            f"{len(tests)} test file{'s' * (len(tests) != 1)} for {len(data)} data file{'s' * (len(data) != 1)}",
            expected="no --test, or one for each --data in the same order",
            todo="in a tasks file, some tasks may have a test file and others none",
        )
    judged: list[Path | None] = [Path(test) for test in tests] or [None] * len(data)
    pairs = zip(_names(data), data, judged, strict=True)
    return tuple(TaskSource(name, description.strip(), Path(path), test) for name, path, test in pairs)


def _names(data: Sequence[Path]) -> list[str]:
    """A slug for each file: its stem, with the folder before it or a number behind it where stems are alike."""
    whole = [Path(os.path.abspath(path)) for path in data]
    stems = [slug(path.name.lstrip(".").split(".")[0]) for path in whole]
    longer = [slug(f"{path.parent.name} {stem}") for path, stem in zip(whole, stems, strict=True)]
    names: list[str] = []
    for stem, long in zip(stems, longer, strict=True):
        alike = [name for name, of in zip(longer, stems, strict=True) if of == stem]
        wanted = long if len(alike) > 1 and len(set(alike)) == len(alike) else stem
        name, number = wanted, 2
        while name in names:
            name, number = f"{wanted[:36].rstrip('-')}-{number}", number + 1
        names.append(name)
    return names


def _corrected(found: tuple[TaskSource, ...], corrections: Mapping[str, Any]) -> tuple[TaskSource, ...]:
    names = [source.name for source in found]
    for name, values in corrections.items():
        if name not in names:
            raise ConfigError(f"--set tasks.{name}: there is no task {name!r}", todo=did_you_mean(str(name), names))
        if not isinstance(values, Mapping):
            raise ConfigError(f"--set tasks.{name}", found=repr(values), expected=f"tasks.{name}.KEY=VALUE")
    result = []
    for source in found:
        values = dict(corrections.get(source.name, {}))
        weight = weight_of(values.pop("weight", source.weight), f"--set tasks.{source.name}.weight")
        sentence = sentence_of(values.pop("description", None), f"--set tasks.{source.name}.description")
        overrides = {**source.overrides, **values}
        changed = replace(source, description=sentence or source.description, overrides=overrides, weight=weight)
        result.append(changed)
    return tuple(result)


def _refuse_twice(found: Sequence[TaskSource]) -> None:
    """A file in two places would let one task train on what another is judged by."""
    users: dict[str, str] = {}
    for source in found:
        for path, use in ((source.data, "data"), (source.test, "test")):
            if path is None:
                continue
            here = f"{use} of task {source.name!r}"
            before = users.setdefault(os.path.realpath(path), here)
            if before is not here:
                alike = before.startswith(use)
                raise DataError(
                    f"{str(path)!r} is named twice",
                    found=f"{before} and {here}",
                    expected="a file of its own for each",
                    todo=_TODO_COLUMNS
                    if alike
                    else "name another test file, or none: then some of the data are sealed",
                )


@dataclass(frozen=True, slots=True)
class _Fit:
    """How a part of the sentence suits a file: the task it gives, and what speaks for the two belonging together.

    Attributes:
        spec: None when the part cannot be understood with the file.
        votes: what the part names of the file.
        topic: words of the part that stand in its rows; a weak vote.
        weight: log-odds of the task that `understand` chose.
        objections: contradictions between part and file.
    """

    spec: TaskSpec | None
    votes: tuple[Vote, ...] = ()
    topic: tuple[Vote, ...] = ()
    weight: float = 0.0
    objections: tuple[str, ...] = ("it cannot be understood with this file",)

    @property
    def score(self) -> float:
        named = sum(vote.weight for vote in (*self.votes, *self.topic))
        return self.weight + named + RULED_OUT * len(self.objections)


def understand_all(tasks: Sequence[TaskSource], samples: Mapping[str, Sample]) -> tuple[TaskSpec, ...]:
    """The task of each source, in order, each with its own part of the sentence as `description`.

    Sources that share one sentence share it out: with as many parts as files, the assignment with the greatest total of
    evidence and least contradiction wins (all ways up to six files, beyond that the order given), ties go to the order
    given. With another number of parts each file is understood under the whole sentence, but for a part that speaks of
    it alone. A sentence of its own, and a single task, is understood as `understand` does. The entry for `description`
    in the evidence says which part was taken, and why.

    Args:
        tasks: from `sources`.
        samples: rows of each, by the source's name.

    Raises:
        BadInput: as `understand` does, with the task's name.
    """
    if len(tasks) == 1:
        return (understand(tasks[0].description, samples[tasks[0].name], tasks[0].overrides),)
    together: dict[str, list[TaskSource]] = {}
    for task in tasks:
        together.setdefault(task.description, []).append(task)
    specs: dict[str, TaskSpec] = {}
    for description, group in together.items():
        specs |= _shared_out(description, group, samples) if len(group) > 1 else {}
    for task in tasks:
        if task.name not in specs:
            specs[task.name] = _understood(task, task.description, samples[task.name])
    return tuple(_addressed(specs[task.name], task.name) for task in tasks)


def _understood(task: TaskSource, description: str, sample: Sample) -> TaskSpec:
    try:
        return understand(description, sample, task.overrides)
    except BadInput as error:
        raise addressed(error, task.name) from error


def _addressed(spec: TaskSpec, name: str) -> TaskSpec:
    evidence = [entry.model_copy(update={"reason": addressed_text(entry.reason, name)}) for entry in spec.evidence]
    notes = [addressed_text(note, name) for note in spec.contradictions]
    return spec.model_copy(update={"evidence": evidence, "contradictions": notes})


def _shared_out(description: str, group: Sequence[TaskSource], samples: Mapping[str, Sample]) -> dict[str, TaskSpec]:
    """Specs by name, of those tasks of the group that have a part of the sentence to themselves."""
    parts = clauses(description, len(group))
    if len(parts) < 2:
        return {}
    if len(parts) != len(group):
        return _taken(parts, [[_fit(part, task, samples[task.name]) for task in group] for part in parts], group)
    if len(group) > _MOST_PERMUTED:
        reason = "in the order given"
        return {
            task.name: _said(_understood(task, part, samples[task.name]), index, len(parts), reason)
            for index, (part, task) in enumerate(zip(parts, group, strict=True))
        }
    fits = [[_fit(part, task, samples[task.name]) for task in group] for part in parts]
    ways = list(permutations(range(len(parts))))  # ways[w][t]: the part that task t takes; the order given comes first
    scores = [sum(fits[part][place].score for place, part in enumerate(way)) for way in ways]
    best = max(range(len(ways)), key=lambda index: round(scores[index], 6))
    specs = {}
    for place, part in enumerate(ways[best]):
        fit, task = fits[part][place], group[place]
        if fit.spec is not None:  # else it is understood under the whole sentence, as where there are no parts
            specs[task.name] = _said(fit.spec, part, len(parts), _why(fit, fits[part], place))
    return specs


def _why(fit: _Fit, others: Sequence[_Fit], place: int) -> str:
    """What speaks for this file and not as much for the others."""
    rivals = [other for index, other in enumerate(others) if index != place]
    elsewhere = {vote.reason for rival in rivals for vote in rival.votes}
    if reasons := [vote.reason for vote in fit.votes if vote.reason not in elsewhere]:
        return "; ".join(reasons)
    if objections := [rival.objections[0] for rival in rivals if rival.objections and not fit.objections]:
        return f"other data contradict it: {objections[0]}"
    if fit.topic and fit.topic[0].weight > max((vote.weight for rival in rivals for vote in rival.topic), default=0.0):
        return fit.topic[0].reason
    ahead = fit.score - max(rival.score for rival in rivals)
    return (
        f"it fits these data better, by {ahead:.1f}" if ahead > 0.05 else "in the order given; the data do not decide"
    )


def _taken(parts: Sequence[str], fits: Sequence[Sequence[_Fit]], group: Sequence[TaskSource]) -> dict[str, TaskSpec]:
    """For each file the one part that belongs to it and to no other file, where there is such a part."""
    owners = [_owner(row) for row in fits]
    specs = {}
    for place, task in enumerate(group):
        own = [part for part, owner in enumerate(owners) if owner == place]
        if len(own) == 1 and (spec := fits[own[0]][place].spec) is not None:
            specs[task.name] = _said(spec, own[0], len(parts), _why(fits[own[0]][place], fits[own[0]], place))
    return specs


def _owner(row: Sequence[_Fit]) -> int | None:
    """The only file that a part does not contradict, or else the only one of which it names something."""
    for belongs in (
        [index for index, fit in enumerate(row) if not fit.objections],
        [index for index, fit in enumerate(row) if fit.votes and not fit.objections],
    ):
        if len(belongs) == 1:
            return belongs[0]
    return None


def _said(spec: TaskSpec, part: int, parts: int, reason: str) -> TaskSpec:
    entry = Evidence(
        field="description",
        value=spec.description,
        source="sentence",
        reason=f"part {part + 1} of the {parts} that the sentence has: {reason}",
    )
    evidence = [entry if found.field == "description" else found for found in spec.evidence]
    return spec.model_copy(update={"evidence": evidence})


def _fit(part: str, task: TaskSource, sample: Sample) -> _Fit:
    try:
        spec = understand(part, sample, task.overrides)
    except BadInput:
        return _Fit(None)  # counts as contradicted; what is wrong with the file itself comes up with the whole sentence
    reading = read_sentence(part)
    chosen = [entry for entry in spec.evidence if entry.field in ("kind", "output_field")]
    found = [entry.weight for entry in chosen if entry.source in ("data", "sentence")]
    votes, topic = tuple(_named(reading, task, spec, sample)), tuple(_topic(reading.text, sample))
    return _Fit(spec, votes, topic, sum(found), tuple(spec.contradictions))


def _named(reading: Reading, task: TaskSource, spec: TaskSpec, sample: Sample) -> Iterator[Vote]:
    """What a part names of a file: its answer column, labels, how many there are, its language, its name."""
    if named := mentions_of(reading, [*spec.input_fields, spec.output_field]):
        words = list(dict.fromkeys(mention.word for mention in named.values()))
        read = len(named.keys() - {spec.output_field})  # `understand` weighs the answer column already
        yield Vote(0.5 * read, f"it speaks of {_quoted(words)}, as the columns do")
    labels = spec.labels if spec.is_label_task or spec.kind is TaskKind.EXTRACTION else []
    if named := mentions_of(reading, labels):
        words = list(dict.fromkeys(mention.word for mention in named.values()))
        yield Vote(2.0 + 0.5 * (len(named) > 1), f"it speaks of {_quoted(words)}, as the labels do")
    if reading.classes and spec.is_label_task:
        held = len(profile((spec.output_field,), sample.rows)[0].counts)
        if held == reading.classes:
            yield Vote(2.0, f"it speaks of {held} classes, as many as there are")
    if reading.languages == {spec.input_language} and spec.kind is not TaskKind.TRANSLATION:
        yield Vote(1.5, f"it speaks of {spec.input_language} text, which this is")
    tokens = [token for token in re.findall(r"[^\W\d_]+", task.name) if token not in _NO_NAMES]
    if named := mentions_of(reading, tokens):
        words = sorted({mention.word for mention in named.values()})
        yield Vote(1.5, f"it speaks of {_quoted(words)}, as the name {task.name!r} does")


def _quoted(words: Sequence[str]) -> str:
    return ", ".join(map(repr, words[:3]))


def _topic(text: str, sample: Sample) -> Iterator[Vote]:
    """A vote for content words of a part (English words, pairs of Chinese characters) that stand in some rows."""
    words = {word for word in re.findall(r"[a-z]{4,}", text) if word not in function_words("english")}
    words |= {run[at : at + 2] for run in re.findall("[\u4e00-\u9fff]{2,}", text) for at in range(len(run) - 1)}
    rows = [" ".join(map(str, row.values())).lower() for row in sample.rows[:_ROWS_READ]]
    counts = {word: sum(word in row for row in rows) for word in words}
    often = sorted((-count, word) for word, count in counts.items() if count >= _OFTEN * len(rows))
    if often:
        yield Vote(min(0.3 * len(often), 0.9), f"its words {_quoted([word for _, word in often])} stand in the rows")
