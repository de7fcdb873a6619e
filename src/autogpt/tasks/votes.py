"""Votes of the data: for each possible task (a kind and its answer column) how well the sample fits it, in log-odds.

A hypothesis collects votes, each with its reason. A vote of `RULED_OUT` says that the data cannot be that task; it
outweighs the most that a sentence can say, which is how the data wins a contradiction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from autogpt.tasks.columns import Column, containment, length_ratio
from autogpt.tasks.fields import ANSWER_ROLES, input_columns
from autogpt.tasks.lexicon import Role
from autogpt.tasks.sentences import Mention
from autogpt.tasks.spec import TaskKind

__all__ = ["RULED_OUT", "Hypothesis", "Vote", "hypotheses"]

RULED_OUT = -8.0

K = TaskKind


@dataclass(frozen=True, slots=True)
class Vote:
    """A reason for or against a hypothesis; `weight` is in log-odds."""

    weight: float
    reason: str


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """A possible task: its kind, the columns it reads, the column it answers with, and what the data say about it."""

    kind: TaskKind
    inputs: tuple[Column, ...]
    output: Column
    votes: tuple[Vote, ...]

    @property
    def weight(self) -> float:
        return sum(vote.weight for vote in self.votes)


@dataclass(frozen=True, slots=True)
class _Case:
    """What a voter looks at."""

    inputs: tuple[Column, ...]
    output: Column
    columns: tuple[Column, ...]
    layout: str

    def named(self, *roles: Role) -> float:
        """How sure the input names are of one of `roles`."""
        return max((column.role(*roles) for column in self.inputs), default=0.0)

    @property
    def is_label(self) -> bool:
        return self.output.label_strength >= 2.5 and self.output.numeric_share < 0.9

    @property
    def languages(self) -> tuple[str | None, str | None]:
        longest = max(self.inputs, key=lambda column: column.median_chars, default=None)
        return (longest.language if longest else None), self.output.language


def _vote_name(case: _Case, role: Role, weight: float) -> Iterator[Vote]:
    if sure := case.output.role(role):
        yield Vote(weight * sure, f"column {case.output.name!r} is named like {_article(role.value)}")


def _article(word: str) -> str:
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word.replace('_', ' ')}"


def _classification(case: _Case) -> Iterator[Vote]:
    column, counts = case.output, case.output.counts
    if column.shape != "text" or column.separator:
        yield Vote(RULED_OUT, f"column {column.name!r} does not hold one label a row")
        return
    distinct, rows = len(counts), counts.total()
    strength = column.label_strength
    yield Vote(
        strength if strength > 0 else (RULED_OUT if strength <= -6 else strength),
        f"column {column.name!r} has {distinct} distinct value{'s' * (distinct != 1)} in {rows} rows",
    )
    yield from _vote_name(case, Role.LABEL, 2.5)
    if not column.role(Role.LABEL):
        yield from _vote_name(case, Role.WEAK_LABEL, 0.8)
        yield from _vote_name(case, Role.META, -2.0)
        yield from _vote_name(case, Role.TITLE, -1.5)
    content = column.role(Role.TEXT, Role.DOCUMENT, Role.QUESTION, Role.ANSWER, Role.REPLY, Role.SUMMARY, Role.WORKING)
    if content and not column.role(Role.LABEL, Role.WEAK_LABEL):
        yield Vote(-2.0 * content, f"column {column.name!r} is named like text, not like a label")
    if case.layout == "alpaca" and _instructions_vary(case):
        yield Vote(-3.0, "the instructions differ from row to row")


def _multi_label(case: _Case) -> Iterator[Vote]:
    column = case.output
    if column.shape == "strings":
        if column.repeats >= 2 or (column.repeats >= 1.3 and column.counts.total() < 60):
            yield Vote(
                5.5, f"column {column.name!r} holds lists of strings, {len(column.counts)} distinct ones that come back"
            )
        else:
            yield Vote(RULED_OUT / 2, f"column {column.name!r} holds lists of strings that do not come back")
        if case.named(Role.QUESTION) and column.role(Role.ANSWER):
            yield Vote(-5.0, f"column {column.name!r} lists the accepted answers to a question")
    elif column.separator:
        yield Vote(6.0, f"cells of {column.name!r} hold several labels with {column.separator!r} between them")
    else:
        yield Vote(RULED_OUT, f"column {column.name!r} has one value a row")
    yield from _vote_name(case, Role.TAGS, 1.0)


def _extraction(case: _Case) -> Iterator[Vote]:
    if case.output.shape == "entities":
        yield Vote(8.0, f"column {case.output.name!r} holds lists of spans with type, start and end")
    else:
        yield Vote(RULED_OUT, f"column {case.output.name!r} holds no spans")


def _question_answering(case: _Case) -> Iterator[Vote]:
    column = case.output
    question = case.named(Role.QUESTION)
    marks = max((item.question_share for item in case.inputs), default=0.0)
    if not question and not case.named(Role.CONTEXT) and marks < 0.3:
        yield Vote(-3.0, "no input column is named or written like a question")
    elif question:
        yield Vote(1.5 * question, "an input column is named like a question")
    elif marks >= 0.5:
        yield Vote(1.5, f"{marks:.0%} of the inputs end in a question mark")
    if len(case.inputs) > 1 and case.named(Role.CONTEXT) and question:
        yield Vote(2.0, "there are a context and a question")
    yield from _vote_name(case, Role.ANSWER, 2.0)
    if column.role(Role.ANSWER) < column.role(Role.WORKING):
        yield from _vote_name(case, Role.WORKING, 0.5)
    if len(case.inputs) > 1 and (inside := containment(case.inputs, column)) >= 0.6:
        yield Vote(2.0, f"{inside:.0%} of the answers stand word for word in the input")
    if column.numeric_share >= 0.8 and question:
        yield Vote(1.5, "the answers are numbers")
    if column.role(Role.LABEL) and case.is_label:
        yield Vote(-4.0, f"column {column.name!r} is a label")
    if column.median_chars > 200:
        yield Vote(-1.0, "the answers are long")
    yield from _vote_name(case, Role.META, -4.0)


_READ_ONLY = (
    Role.QUESTION,
    Role.CONTEXT,
    Role.INSTRUCTION,
    Role.MESSAGE,
    Role.SYSTEM,
    Role.INPUT,
    Role.SOURCE,
)


def _not_text(case: _Case) -> Iterator[Vote]:
    """What speaks against every kind that writes free text."""
    column = case.output
    if column.shape != "text" and not (column.shape == "strings" and column.repeats < 2):
        yield Vote(RULED_OUT, f"column {column.name!r} holds no text")
    elif case.is_label and column.median_chars <= 60:
        yield Vote(RULED_OUT, f"column {column.name!r} has only {len(column.counts)} distinct values: labels, not text")
    elif column.numeric_share >= 0.9:
        yield Vote(RULED_OUT, f"column {column.name!r} holds numbers")
    elif column.constant:
        yield Vote(RULED_OUT, f"column {column.name!r} is the same in every row")
    yield from _vote_name(case, Role.META, -4.0)
    if (sure := column.role(*_READ_ONLY)) and not column.role(*ANSWER_ROLES):
        yield Vote(-2.5 * sure, f"column {column.name!r} is named like something to read")


def _summarization(case: _Case) -> Iterator[Vote]:
    yield from _not_text(case)
    yield from _vote_name(case, Role.SUMMARY, 3.0)
    if not case.output.role(Role.SUMMARY):
        yield from _vote_name(case, Role.TITLE, 1.0)
    if sure := case.named(Role.DOCUMENT):
        yield Vote(1.0 * sure, "an input column is named like a document")
    ratio, longest = length_ratio(case.inputs, case.output), max((c.median_chars for c in case.inputs), default=0.0)
    if ratio <= 0.5 and longest >= 60:
        yield Vote(1.5, f"answers are short beside their inputs (median {ratio:.0%})")
    elif ratio >= 0.9:
        yield Vote(-4.0, f"answers are as long as their inputs (median {ratio:.0%})")
    if case.named(Role.QUESTION):
        yield Vote(-2.0, "an input column is named like a question")
    if _differ(*case.languages):
        yield Vote(-3.0, "answers are in another language than inputs")


def _differ(first: str | None, second: str | None) -> bool:
    return None not in (first, second) and first != second and "mixed" not in (first, second)


def _translation(case: _Case) -> Iterator[Vote]:
    yield from _not_text(case)
    source, target = case.languages
    if _differ(source, target):
        yield Vote(5.0, f"inputs are {source}, answers are {target}")
    else:
        yield Vote(-3.0, "inputs and answers are in the same language or script")
    if case.named(Role.SOURCE) and case.output.role(Role.TARGET):
        yield Vote(4.0, "columns are named source and target")
    elif case.output.role(Role.TARGET):
        yield Vote(2.0, f"column {case.output.name!r} is named like a translation")
    elif case.output.role(Role.SOURCE) or case.named(Role.TARGET):
        yield Vote(-4.0, "the columns' names say the other direction")
    named = {column.named_language for column in (*case.inputs, case.output)} - {None}
    if len(named) == 2 or (len(named) == 1 and case.output.named_language == "other"):
        yield Vote(3.0, "columns are named after languages")
    if any("lang" in column.name.lower() for column in case.columns if column.role(Role.META)):
        yield Vote(1.0, "there are columns that name languages")
    if not 0.1 <= length_ratio(case.inputs, case.output) <= 8:
        yield Vote(-3.0, "lengths of inputs and answers do not fit a translation")


def _dialogue(case: _Case) -> Iterator[Vote]:
    if case.output.shape == "turns":
        yield Vote(7.5, f"column {case.output.name!r} holds conversations with role markers")
        return
    yield from _not_text(case)
    if case.layout == "preference":
        yield Vote(-4.0, "answers come in pairs of chosen and rejected")
    message, reply = case.named(Role.MESSAGE), case.output.role(Role.REPLY)
    if message and reply:
        yield Vote(1.0 + 2.0 * min(message, reply), "columns are named like a message and a reply")
    elif reply:
        yield Vote(1.0 * reply, f"column {case.output.name!r} is named like a reply")
    if case.named(Role.QUESTION) and case.output.role(Role.ANSWER):
        yield Vote(-1.5, "columns are named like a question and an answer")
    if _differ(*case.languages):
        yield Vote(-3.0, "answers are in another language than inputs")


def _instructions_vary(case: _Case) -> bool:
    instructions = [column for column in case.inputs if column.role(Role.INSTRUCTION)]
    return any(len(set(column.texts)) > max(5, len(column.texts) // 20) for column in instructions)


def _instruction(case: _Case) -> Iterator[Vote]:
    yield from _not_text(case)
    if case.layout == "alpaca":
        yield Vote(3.5, "rows have the shape of instruction data")
    elif case.layout == "prompt_completion":
        yield Vote(2.5, "rows have the shape of prompt and completion")
    elif case.named(Role.INSTRUCTION) and case.output.role(Role.OUTPUT, Role.REPLY, Role.ANSWER):
        yield Vote(3.5, "columns are named like an instruction and its output")
    elif case.output.role(Role.OUTPUT) and case.named(Role.INPUT):
        yield Vote(1.0, "columns are named input and output")
    elif case.output.role(Role.TARGET) and case.named(Role.SOURCE):
        yield Vote(1.0, "columns are named like a text before and after")
    if _instructions_vary(case):
        yield Vote(2.0, "the instructions differ from row to row")
    if _differ(*case.languages):
        yield Vote(-1.5, "answers are in another language than inputs")


def _generation(case: _Case) -> Iterator[Vote]:
    column = case.output
    longest = max((item.median_chars for item in case.columns if item.shape == "text"), default=0.0)
    if case.layout == "text" and column.shape == "text" and column.median_chars >= longest:
        yield Vote(8.0, "there is one column of running text and nothing to answer")
        return
    yield from _not_text(case)
    if column.median_chars < longest:
        yield Vote(-2.0, f"column {column.name!r} is not the longest text")
    others = [item for item in case.columns if item is not column and item.filled and not item.constant]
    side = [item for item in others if item.role(Role.META, Role.TITLE) or item.label_strength >= 1.5]
    if len(side) == len(others):
        yield Vote(2.5, "besides the text there are only constant columns, titles and metadata")
    else:
        yield Vote(-2.0, "there are other columns of content")
    if any(item.role(Role.LABEL) and item.label_strength >= 1.5 for item in others):
        yield Vote(-2.5, "there is a column of labels")
    if sure := column.role(Role.TEXT, Role.DOCUMENT):
        yield Vote(1.0 * sure, f"column {column.name!r} is named like text")
    if column.role(Role.REPLY, Role.ANSWER, Role.OUTPUT, Role.SUMMARY, Role.TARGET):
        yield Vote(-2.0, f"column {column.name!r} is named like an answer")


def _preference(case: _Case) -> Iterator[Vote]:
    if case.output.role(Role.CHOSEN) and any(column.role(Role.REJECTED) for column in case.columns):
        yield Vote(9.0, "there are columns of chosen and rejected answers")
    else:
        yield Vote(RULED_OUT, "there are no chosen and rejected answers")


_VOTERS: Mapping[TaskKind, Callable[[_Case], Iterator[Vote]]] = {
    K.CLASSIFICATION: _classification,
    K.MULTI_LABEL: _multi_label,
    K.EXTRACTION: _extraction,
    K.QUESTION_ANSWERING: _question_answering,
    K.SUMMARIZATION: _summarization,
    K.TRANSLATION: _translation,
    K.DIALOGUE: _dialogue,
    K.INSTRUCTION: _instruction,
    K.GENERATION: _generation,
    K.PREFERENCE: _preference,
}


def _order(case: _Case) -> Iterator[Vote]:
    """A grain of salt that decides between columns of which nothing else is known."""
    if case.inputs and case.columns.index(case.output) > max(map(case.columns.index, case.inputs)):
        yield Vote(0.2, f"column {case.output.name!r} stands behind what is read")


def hypotheses(columns: Sequence[Column], layout: str, mentions: Mapping[str, Mention]) -> list[Hypothesis]:
    """Every task that the sample could be, with the data's votes: each kind with each column as its answer.

    Kinds that need an input are left out where no column can be read for that answer; a conversation is its own input.
    """
    result = []
    everything = tuple(columns)
    for output in columns:
        if not output.filled and output.shape != "entities":
            continue
        for kind in TaskKind:
            if output.shape == "turns" and kind is K.DIALOGUE:
                inputs: tuple[Column, ...] = (output,)
            else:
                inputs = input_columns(kind, output, columns, mentions, layout)
            if kind is not K.GENERATION and not inputs:
                continue
            if layout == "preference" and kind is not K.PREFERENCE and output.role(Role.CHOSEN, Role.REJECTED):
                continue
            case = _Case(inputs, output, everything, layout)
            votes = [*_VOTERS[kind](case), *_order(case)]
            result.append(Hypothesis(kind, inputs, output, tuple(votes)))
    return result
