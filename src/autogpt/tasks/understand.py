"""One sentence and a sample of the data → the task. Deterministic; no model, no network, no file is opened.

Every possible task (a kind with its answer column) gets votes in log-odds from the data (`votes`) and from the sentence
(`sentences`); the two are added (log-linear pooling) and the best one wins. What the data rule out carries a vote that
no sentence can outweigh, so the data win a contradiction, and the reason is kept in `TaskSpec.contradictions`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autogpt.errors import TaskError
from autogpt.tasks.columns import Column, profile
from autogpt.tasks.details import fill_in
from autogpt.tasks.overrides import Overrides, read_overrides
from autogpt.tasks.sentences import Mention, Reading, mentions_of, read_sentence
from autogpt.tasks.spec import Evidence, TaskKind, TaskSpec
from autogpt.tasks.votes import RULED_OUT, Hypothesis, Vote, hypotheses
from autogpt.types import Entity, Target

__all__ = ["Sample", "understand", "with_labels"]

_EXAMPLES = (
    "say what to do with what, such as 'Sort customer messages into categories' or '把英语句子翻译成中文', "
    "or name the task with --set task.kind=classification"
)
_FEWEST_HAN, _FEWEST_WORDS = 3, 2
"""Characters or words that a description without any known word must have to be taken for one."""
_DECIDES = 2.0
"""Log-odds by which the data's best kind must lead when the sentence says nothing."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Rows to understand a task from.

    Attributes:
        columns: names in the order of the file.
        rows: up to some 1000 rows, values as the file holds them.
        layout: shape of the rows as the reader recognised it, one of `TaskSpec.layout`.
        source: file name, for messages.
        total_rows: rows of the whole file; 0 when the sample is all there is.
    """

    columns: tuple[str, ...]
    rows: tuple[Mapping[str, Any], ...]
    layout: str
    source: str = ""
    total_rows: int = 0

    @property
    def is_whole(self) -> bool:
        return self.total_rows <= len(self.rows)


def understand(description: str, sample: Sample, overrides: Mapping[str, Any] | None = None) -> TaskSpec:
    """The task that the sentence describes and the sample shows.

    Args:
        description: one sentence, Chinese or English.
        sample: rows of the training file.
        overrides: fields of `TaskSpec` that the user fixes (`kind`, `metric`, `input_fields`, `output_field`, `labels`,
            ...). A fixed kind or column restricts the search; everything else is worked out for it.

    Raises:
        TaskError: the description is empty, or names nothing while the data do not decide; the sample has no rows; an
            override names an unknown key, column, kind, metric or label.
    """
    description = description.strip()
    if not description:
        raise TaskError("the description is empty", expected="one sentence that names the task", todo=_EXAMPLES)
    if not sample.rows or not sample.columns:
        raise TaskError(f"{sample.source or 'the data'} has no rows to understand the task from", todo="check --data")
    columns = profile(sample.columns, sample.rows)
    fixed = read_overrides(overrides or {}, columns)
    reading = read_sentence(description)
    mentions = mentions_of(reading, sample.columns)
    if fixed.kind is None and fixed.output_field is None and _names_nothing(reading, mentions):
        raise TaskError("the description names nothing", found=repr(description[:60]), todo=_EXAMPLES)
    candidates = _candidates(columns, sample, fixed, mentions)
    ranked = sorted(((_pooled(item, reading, mentions), item) for item in candidates), key=lambda pair: -pair[0])
    best = ranked[0][1]
    evidence = _decide(ranked, reading, mentions, sample, fixed)
    contradictions = _contradictions(best, candidates, reading, fixed)
    return fill_in(
        description=description,
        best=best,
        sample_layout=sample.layout,
        is_whole=sample.is_whole,
        reading=reading,
        fixed=fixed,
        findings=(evidence, contradictions),
    )


def _names_nothing(reading: Reading, mentions: Mapping[str, Mention]) -> bool:
    """Whether a sentence holds no word that the rules or the columns know and is too short to be a description.

    A longer one in words that nobody foresaw is left to the data, which may decide alone.
    """
    known = reading.kinds or mentions or reading.metric or reading.languages or reading.classes
    han = len(re.findall("[\u4e00-\u9fff]", reading.text))
    words = len(re.findall(r"[^\W\d_]{2,}", re.sub("[\u4e00-\u9fff]", " ", reading.text)))
    return not known and han < _FEWEST_HAN and words < _FEWEST_WORDS


def _candidates(
    columns: Sequence[Column], sample: Sample, fixed: Overrides, mentions: Mapping[str, Mention]
) -> list[Hypothesis]:
    """What is possible under the overrides. Raises TaskError when nothing is."""
    readable = [column for column in columns if fixed.output_field is None or column.name != fixed.output_field]
    found = hypotheses(columns, sample.layout, mentions)
    if fixed.input_fields is not None:
        chosen = tuple(column for name in fixed.input_fields for column in columns if column.name == name)
        found = [
            Hypothesis(item.kind, chosen, item.output, item.votes) for item in found if item.output not in chosen
        ] + [item for item in found if item.inputs == chosen and item.output in chosen]
    if fixed.output_field is not None:
        found = [item for item in found if item.output.name == fixed.output_field]
    if fixed.kind is not None:
        found = [item for item in found if item.kind is fixed.kind]
    if not found:
        wanted = f"task {fixed.kind.value!r}" if fixed.kind else "the task"
        raise TaskError(
            f"{wanted} needs a column to read and a column with the answer",
            found=f"columns {', '.join(column.name for column in readable)} in {sample.source or 'the data'}",
            todo="name them with --set task.input_fields=[...] and --set task.output_field=...",
        )
    return found


def _pooled(item: Hypothesis, reading: Reading, mentions: Mapping[str, Mention]) -> float:
    return item.weight + sum(vote.weight for vote in sentence_votes(item, reading, mentions))


def sentence_votes(item: Hypothesis, reading: Reading, mentions: Mapping[str, Mention]) -> list[Vote]:
    """What the sentence says about one hypothesis: its kind, its answer column, its direction."""
    votes = []
    if weight := reading.kinds.get(item.kind):
        votes.append(Vote(weight, f"the sentence says {', '.join(map(repr, reading.words[item.kind]))}"))
    mention = mentions.get(item.output.name)
    if mention and item.output.shape != "turns":
        labels = item.kind in (TaskKind.CLASSIFICATION, TaskKind.MULTI_LABEL, TaskKind.EXTRACTION)
        if mention.cue == "out" or (mention.cue == "object" and labels):
            votes.append(Vote(2.5, f"the sentence asks for {mention.word!r}"))
        elif mention.cue == "near" and labels:
            votes.append(Vote(2.2, f"the sentence speaks of {mention.word!r}"))  # "sort by topic", "send to a team"
        elif mention.cue in ("in", "object", "near"):
            votes.append(Vote(-2.5, f"the sentence names {mention.word!r} as input"))
        else:
            votes.append(Vote(1.0, f"the sentence speaks of {mention.word!r}"))
    if item.kind is TaskKind.TRANSLATION and reading.target_language and item.output.language:
        language = item.output.named_language or item.output.language
        agrees = language == reading.target_language
        votes.append(Vote(2.5 if agrees else -2.5, f"the sentence translates into {reading.target_language}"))
    return votes


def _decide(
    ranked: Sequence[tuple[float, Hypothesis]],
    reading: Reading,
    mentions: Mapping[str, Mention],
    sample: Sample,
    fixed: Overrides,
) -> list[Evidence]:
    """Evidence for the winner's kind and columns. Raises TaskError when neither sentence nor data decide."""
    weight, best = ranked[0]
    evidence = []
    rival = next((other for other, item in ranked if item.kind is not best.kind), RULED_OUT)
    silent = not reading.kinds and not mentions
    if fixed.kind is None:
        if silent and (best.weight < 3.0 or weight - rival < _DECIDES):
            raise TaskError(
                f"the description {reading.text[:60]!r} names no task, and the data do not decide",
                found=f"columns {', '.join(sample.columns)}",
                todo=_EXAMPLES,
            )
        if weight < 0.5:
            raise TaskError(
                "description and data fit no task that can be trained",
                found=_best_reason(best, sample),
                todo=_EXAMPLES,
            )
        evidence += [
            Evidence(
                field="kind", value=best.kind.value, source="data", reason=vote.reason, weight=round(vote.weight, 2)
            )
            for vote in sorted(best.votes, key=lambda vote: -abs(vote.weight))
        ]
        if silent:
            reason = "the description names no task; the data alone decide"
            evidence.append(Evidence(field="kind", value=best.kind.value, source="sentence", reason=reason, weight=0.0))
    for vote in sentence_votes(best, reading, mentions):
        of_kind = vote.weight == reading.kinds.get(best.kind) and fixed.kind is None
        evidence.append(
            Evidence(
                field="kind" if of_kind else "output_field",
                value=best.kind.value if of_kind else best.output.name,
                source="sentence",
                reason=vote.reason,
                weight=round(vote.weight, 2),
            )
        )
    evidence += _runner_up(ranked)
    return evidence


def _best_reason(best: Hypothesis, sample: Sample) -> str:
    against = min(best.votes, key=lambda vote: vote.weight, default=None)
    return f"columns {', '.join(sample.columns)}" + (f" ({against.reason})" if against else "")


def _runner_up(ranked: Sequence[tuple[float, Hypothesis]]) -> list[Evidence]:
    """A note on another answer column of the same kind that was nearly as good."""
    weight, best = ranked[0]
    for other, item in ranked[1:]:
        if item.kind is best.kind and item.output is not best.output and weight - other < 1.0:
            name = item.output.name
            reason = f"column {name!r} would do as well: choose it with --set task.output_field={name}"
            return [Evidence(field="output_field", value=best.output.name, source="default", reason=reason, weight=0.0)]
    return []


_CLOSE_KIN = (
    {TaskKind.INSTRUCTION, TaskKind.DIALOGUE, TaskKind.PREFERENCE},
    {TaskKind.QUESTION_ANSWERING, TaskKind.INSTRUCTION},
    {TaskKind.GENERATION, TaskKind.INSTRUCTION},
    {TaskKind.QUESTION_ANSWERING, TaskKind.DIALOGUE},
)
"""Kinds that people's words do not keep apart; choosing one for the other is no contradiction worth printing."""


def _contradictions(
    best: Hypothesis, candidates: Iterable[Hypothesis], reading: Reading, fixed: Overrides
) -> list[str]:
    said = reading.favourite
    notes = []
    if (
        fixed.kind is None
        and said
        and said is not best.kind
        and not any({said, best.kind} <= kin for kin in _CLOSE_KIN)
    ):
        of_kind = [item for item in candidates if item.kind is said]
        against = max(of_kind, key=lambda item: (item.output is best.output, item.weight), default=None)
        objections = sorted(against.votes, key=lambda vote: vote.weight) if against else []
        why = objections[0].reason if objections and objections[0].weight < 0 else "no column could be its answer"
        words = ", ".join(map(repr, reading.words[said]))
        notes.append(
            f"the sentence ({words}) speaks of {said.value}, but {why}; "
            f"the data are taken for {best.kind.value} ({_strongest(best)})"
        )
    if best.kind is TaskKind.TRANSLATION and fixed.output_field is None and reading.target_language:
        language = best.output.named_language or best.output.language
        if language not in (None, "mixed", reading.target_language):
            notes.append(
                f"the sentence translates into {reading.target_language}, but the answer column {best.output.name!r} "
                f"is {language}; to turn the direction round: --set task.output_field={best.inputs[0].name}"
            )
    return notes


def _strongest(item: Hypothesis) -> str:
    return max(item.votes, key=lambda vote: vote.weight).reason if item.votes else "nothing else fits"


def with_labels(spec: TaskSpec, targets: Iterable[Target | None]) -> TaskSpec:
    """`spec` with the label set (or the entity types) of all of `targets`, most frequent first.

    A sample misses rare labels; the pipeline calls this with every training row. Labels that the user fixed stay as
    they are, and so do specs of kinds without labels.
    """
    fixed = any(entry.field == "labels" and entry.source == "override" for entry in spec.evidence)
    if fixed or not (spec.is_label_task or spec.kind is TaskKind.EXTRACTION):
        return spec
    counts: Counter[str] = Counter()
    for target in targets:
        for item in (target,) if isinstance(target, str) else target or ():
            counts[item.type if isinstance(item, Entity) else item] += 1
    labels = [label for label, _ in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))]
    if not labels or labels == spec.labels:
        return spec
    reason = f"{len(labels)} in all {counts.total()} answers of the training data"
    evidence = [entry for entry in spec.evidence if entry.field != "labels"]
    evidence.append(Evidence(field="labels", value=", ".join(labels[:20]), source="data", reason=reason))
    return spec.model_copy(update={"labels": labels, "evidence": evidence})
