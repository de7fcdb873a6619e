"""From the chosen kind and columns to the whole TaskSpec: labels, languages, metric, limits, each with its evidence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from autogpt.errors import TaskError
from autogpt.registry import did_you_mean
from autogpt.tasks.columns import Column, containment, percentile
from autogpt.tasks.language import language_of
from autogpt.tasks.lexicon import Role
from autogpt.tasks.overrides import Overrides
from autogpt.tasks.passages import passage_length
from autogpt.tasks.sentences import Reading
from autogpt.tasks.spec import METRIC_DIRECTION, METRICS_OF_KIND, Evidence, TaskKind, TaskSpec
from autogpt.tasks.values import labels_of, spans_of, turns_of
from autogpt.tasks.votes import Hypothesis

__all__ = ["fill_in"]

_ASSISTANTS = ("assistant", "gpt", "bot", "model", "chatgpt", "客服", "助手", "agent")
_OWN_F1 = {
    TaskKind.CLASSIFICATION: "macro_f1",
    TaskKind.MULTI_LABEL: "micro_f1",
    TaskKind.EXTRACTION: "entity_f1",
    TaskKind.QUESTION_ANSWERING: "token_f1",
}
_SPANS = 0.97
"""Share of answers that must stand in the input before what is written is held to it."""
_LABELLED = (TaskKind.CLASSIFICATION, TaskKind.MULTI_LABEL, TaskKind.EXTRACTION)


class _Draft:
    """Collects the fields of a spec, each with its evidence, and what the user fixed."""

    def __init__(self, fixed: Overrides, findings: tuple[list[Evidence], list[str]]) -> None:
        self.fixed = fixed
        self.values: dict[str, Any] = {}
        self.evidence, self.contradictions = list(findings[0]), list(findings[1])

    def set(self, field: str, value: Any, source: str, reason: str) -> None:
        """Take `value` for `field`, unless the user fixed it."""
        if field in self.fixed.plain:
            given = self.fixed.plain[field]
            value = list(given) if isinstance(given, tuple) else given
            source, reason = "override", f"set by the user; otherwise {reason}" if reason else "set by the user"
        self.values[field] = value
        shown = ", ".join(map(str, value[:20])) if isinstance(value, list) else str(value)
        self.evidence.append(
            Evidence.model_validate({"field": field, "value": shown, "source": source, "reason": reason})
        )


def _speeches(column: Column) -> tuple[list[str], list[str]]:
    """What users and what assistants say in a column of conversations."""
    users: list[str] = []
    assistants: list[str] = []
    for value in column.values:
        for role, content in turns_of(value) or ():
            (assistants if role.lower() in _ASSISTANTS else users).append(content)
    return users, assistants


def _labels(draft: _Draft, kind: TaskKind, output: Column, reading: Reading, is_whole: bool) -> None:
    if kind not in _LABELLED:
        if "labels" in draft.fixed.plain:
            raise TaskError(f"a {kind.value} task has no labels", todo="leave task.labels out, or set task.kind")
        draft.set("labels", [], "default", f"a {kind.value} task has no label set")
        return
    counts = output.counts
    found = [label for label, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]
    noun = "entity types" if kind is TaskKind.EXTRACTION else "labels"
    _check_labels(draft.fixed, found, is_whole)
    draft.set(
        "labels", found, "data", f"{len(found)} {noun} in the sample's column {output.name!r}, most frequent first"
    )
    said = reading.classes
    if said and (len(found) > said or (is_whole and len(found) != said)) and "labels" not in draft.fixed.plain:
        draft.contradictions.append(f"the sentence speaks of {said} classes, the data hold {len(found)}; all are kept")


def _check_labels(fixed: Overrides, found: list[str], is_whole: bool) -> None:
    given = fixed.plain.get("labels", found)
    strange = [label for label in given if label not in found]
    if strange and (is_whole or len(strange) == len(given)):
        raise TaskError(
            f"task.labels: label {strange[0]!r} does not occur in the data", todo=did_you_mean(strange[0], found)
        )


def _language_from_sentence(reading: Reading) -> str:
    if len(reading.languages) == 1:
        return next(iter(reading.languages))
    return language_of([reading.text]) or "en"


def _languages(draft: _Draft, best: Hypothesis, reading: Reading) -> None:
    if best.output.shape == "turns" and best.kind is TaskKind.DIALOGUE:
        inputs, outputs = _speeches(best.output)
    else:
        longest = max(best.inputs, key=lambda column: column.median_chars, default=best.output)
        inputs, outputs = list(longest.filled), list(best.output.filled)
    if best.kind is TaskKind.EXTRACTION:
        outputs = inputs
    elif best.kind in _LABELLED:
        outputs = list(best.output.counts)
    source = language_of(inputs[:500])
    target = language_of(outputs[:500])
    spoken = _language_from_sentence(reading)
    if source is None:
        draft.set("input_language", spoken, "sentence", "the inputs hold no words to judge by")
    else:
        draft.set("input_language", source, "data", "script and function words of the inputs")
    known = draft.values["input_language"]
    if target is None:
        draft.set("output_language", known, "default", "the answers hold no words; as the inputs")
    else:
        draft.set("output_language", target, "data", "script and function words of the answers")
    one = len(reading.languages) == 1 and reading.target_language is None
    if (
        one
        and best.kind is not TaskKind.TRANSLATION
        and source in ("zh", "en")
        and not reading.languages & {source, target}
    ):
        draft.contradictions.append(f"the sentence speaks of {spoken} text, but the inputs are {source}")


def _metric(draft: _Draft, kind: TaskKind, output: Column, reading: Reading) -> None:
    known = METRICS_OF_KIND[kind]
    wanted = draft.fixed.plain.get("metric")
    if wanted is not None and wanted not in known:
        raise TaskError(
            f"task.metric: {wanted} does not measure a {kind.value} task", expected=f"one of {', '.join(known)}"
        )
    said = _OWN_F1.get(kind, "f1") if reading.metric == "f1" else reading.metric
    if said == "accuracy" and kind in (TaskKind.QUESTION_ANSWERING, TaskKind.MULTI_LABEL):
        said = "exact_match"
    if said == "accuracy" and kind is TaskKind.PREFERENCE:
        said = "preference_accuracy"
    if said in known:
        draft.set("metric", said, "sentence", "the sentence names it")
    elif kind is TaskKind.QUESTION_ANSWERING and output.numeric_share >= 0.8:
        draft.set("metric", "exact_match", "data", "the answers are numbers: right or wrong")
    else:
        draft.set("metric", known[0], "default", f"usual for {kind.value}")
    if said and said not in known and wanted is None:
        draft.contradictions.append(
            f"the sentence asks for {said}, which does not measure a {kind.value} task; "
            f"{draft.values['metric']} decides"
        )
    direction = METRIC_DIRECTION[draft.values["metric"]]
    draft.set("direction", direction, "default", f"{'more' if direction == 'max' else 'less'} is better")


def _answer_lengths(kind: TaskKind, output: Column) -> list[int]:
    if kind is TaskKind.EXTRACTION:
        spans = [spans_of(value) or () for value in output.values]
        return [sum(len(kind) + len(text) + 3 for kind, text in row) for row in spans]
    if kind is TaskKind.MULTI_LABEL:
        rows = [labels_of(value, output.separator) or () for value in output.values]
        return [sum(len(label) + 2 for label in row) for row in rows]
    return [len(text) for text in output.filled]


def _limits(draft: _Draft, best: Hypothesis) -> None:
    if best.output.shape == "turns" and best.kind is TaskKind.DIALOGUE:
        answers = [len(speech) for speech in _speeches(best.output)[1]]
        inputs = [len(text) for text in best.output.filled]
    else:
        answers = _answer_lengths(best.kind, best.output)
        rows = range(len(best.output.values))
        inputs = [sum(len(column.texts[row]) for column in best.inputs) for row in rows] if best.inputs else []
    reason = "99th percentile of the sample, rounded up"
    draft.set("max_input_chars", percentile(inputs), "data", reason if inputs else "nothing is read")
    draft.set("max_output_chars", max(percentile(answers), 1), "data", reason)


def _reading(draft: _Draft, best: Hypothesis) -> None:
    """Whether answers are spans of the input, and how much of a passage has to be read to find them."""
    if best.kind is not TaskKind.QUESTION_ANSWERING:
        draft.set("answer_is_span", False, "default", "no question is asked about a passage")
        draft.set("passage_chars", 0, "default", "all is read")
        return
    passage = max(best.inputs, key=lambda column: column.median_chars)
    inside = containment([passage], best.output)
    reason = f"{inside:.0%} of the answers stand word for word in {passage.name!r}"
    draft.set("answer_is_span", inside >= _SPANS, "data", reason)
    if len(best.inputs) < 2:
        draft.set("passage_chars", 0, "default", "there is no passage beside the question")
        return
    asked = ["\n".join(texts) for texts in zip(*(c.texts for c in best.inputs if c is not passage), strict=True)]
    answers = [answer.strip() for answer in best.output.texts]
    length, share = passage_length([row for row in zip(asked, passage.texts, answers, strict=True) if row[2]])
    reason = f"the sentences nearest to the question hold {share:.0%} of the answers" if length else "all is read"
    draft.set("passage_chars", length, "data", reason)


def _fields(draft: _Draft, best: Hypothesis, layout: str) -> None:
    inputs = [column.name for column in best.inputs]
    conversation = best.output.shape == "turns" and best.kind is TaskKind.DIALOGUE
    if draft.fixed.kind:
        reason = "set by the user; fields and metric follow from it"
        draft.evidence.append(Evidence(field="kind", value=best.kind.value, source="override", reason=reason))
    draft.values["kind"] = best.kind
    if conversation:
        layout = layout if layout in ("messages", "sharegpt") else "messages"
        shown = "rows hold conversations"
    elif layout in ("messages", "sharegpt") or (layout == "text" and best.inputs):
        layout, shown = "table", f"the {best.kind.value} task reads named columns"
    else:
        shown = "as the reader recognised it"
    draft.set("layout", layout, "data", shown)
    given = draft.fixed.input_fields is not None
    if given:
        reason = "set by the user"
    elif conversation:
        reason = "the turns before the answer"
    else:
        reason = _why_inputs(best)
    draft.set("input_fields", inputs, "override" if given else "data" if inputs else "default", reason)
    draft.values["output_field"] = "messages" if conversation else best.output.name
    source, reason = ("override", "set by the user") if draft.fixed.output_field else ("data", _why_output(best))
    entry = {"field": "output_field", "value": draft.values["output_field"], "source": source, "reason": reason}
    draft.evidence.append(Evidence.model_validate(entry))


def _why_inputs(best: Hypothesis) -> str:
    if not best.inputs:
        return "the text is written from nothing; all of it is the answer"
    roles = [max(column.roles, key=lambda role: column.roles[role], default=None) for column in best.inputs]
    named = [
        f"{column.name!r} is named like {role.value.replace('_', ' ')}"
        for column, role in zip(best.inputs, roles, strict=True)
        if role
    ]
    return "; ".join(named) or "the longest text among the other columns"


def _why_output(best: Hypothesis) -> str:
    if best.output.role(Role.LABEL) or best.kind in _LABELLED:
        return f"{len(best.output.counts)} distinct values in {best.output.counts.total()} answers"
    return max(best.votes, key=lambda vote: vote.weight).reason if best.votes else "the only column that fits"


def fill_in(
    *,
    description: str,
    best: Hypothesis,
    sample_layout: str,
    is_whole: bool,
    reading: Reading,
    fixed: Overrides,
    findings: tuple[Sequence[Evidence], Sequence[str]],
) -> TaskSpec:
    """The finished spec.

    Args:
        description: as the user wrote it.
        best: the kind and columns that won.
        sample_layout: what the reader recognised.
        is_whole: whether the sample is the whole file, so that it shows every label.
        reading: what the sentence says.
        fixed: what the user set.
        findings: evidence and contradictions so far.

    Raises:
        TaskError: a metric or label that the user set does not fit the kind or the data.
    """
    draft = _Draft(fixed, (list(findings[0]), list(findings[1])))
    draft.set("description", description, "sentence", "as given")
    _fields(draft, best, sample_layout)
    _labels(draft, best.kind, best.output, reading, is_whole)
    _languages(draft, best, reading)
    _metric(draft, best.kind, best.output, reading)
    _limits(draft, best)
    _reading(draft, best)
    return TaskSpec(**draft.values, evidence=draft.evidence, contradictions=draft.contradictions)
