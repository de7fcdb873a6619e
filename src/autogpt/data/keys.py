"""What makes two examples the same, or so near that they must not stand in different splits. Torch-free."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence

from autogpt.tasks.spec import TaskKind, TaskSpec
from autogpt.types import Entity, Example

__all__ = ["Keys", "normalise"]

_FEW_CONTEXTS = 5
"""With fewer contexts than this, questions are split without regard to them: there would be nothing to draw from."""


def normalise(text: str) -> str:
    """`text` for comparison: NFKC, white space collapsed. Case and punctuation count."""
    return " ".join(unicodedata.normalize("NFKC", text).split())


class Keys:
    """Texts by which examples are compared, each worked out once (by the example's id).

    Args:
        spec: the task.
        examples: what is split; they decide by what questions are grouped.

    Attributes:
        together: what the examples of a group have in common, in words.
    """

    def __init__(self, spec: TaskSpec, examples: Sequence[Example]) -> None:
        self._kind = spec.kind
        self._inputs: dict[str, str] = {}
        self._targets: dict[str, str] = {}
        self._groups: dict[str, str] = {}
        self._group: Callable[[Example], str] = self.input
        self.together = "same text" if spec.kind is TaskKind.GENERATION else "same input"
        if spec.kind is TaskKind.DIALOGUE:
            self._group, self.together = _opening, "same opening"
        if spec.kind is TaskKind.QUESTION_ANSWERING and len(spec.input_fields) > 1:
            context = max(spec.input_fields, key=lambda field: sum(len(row.input.get(field, "")) for row in examples))
            if len({row.input[context] for row in examples}) >= _FEW_CONTEXTS:
                self._group, self.together = lambda row: normalise(row.input[context]), f"same {context}"

    def input(self, example: Example) -> str:
        """What the model is given; for plain text generation the text itself."""
        if example.id not in self._inputs:
            self._inputs[example.id] = self._input(example)
        return self._inputs[example.id]

    def target(self, example: Example) -> str:
        """The answer: labels and entities in sorted order, a preference pair as both answers."""
        if example.id not in self._targets:
            self._targets[example.id] = _target(example)
        return self._targets[example.id]

    def group(self, example: Example) -> str:
        """The group that must stay in one split: the same context, the same opening, or the same input."""
        if example.id not in self._groups:
            self._groups[example.id] = self._group(example)
        return self._groups[example.id]

    def _input(self, example: Example) -> str:
        if self._kind is TaskKind.GENERATION:
            return self.target(example)
        if example.messages:
            before = example.messages[:-1] if example.messages[-1].role == "assistant" else example.messages
            return "\x1e".join(f"{message.role}\x1f{normalise(message.content)}" for message in before)
        return "\x1e".join(map(normalise, example.input.values()))


def _target(example: Example) -> str:
    target = example.target
    if target is None or isinstance(target, str):
        return normalise(target or "") + ("\x1e" + normalise(example.rejected) if example.rejected else "")
    parts = (f"{part.type}\x1f{part.start}\x1f{part.text}" if isinstance(part, Entity) else part for part in target)
    return "\x1e".join(sorted(map(normalise, parts)))


def _opening(example: Example) -> str:
    """A conversation up to the first answer: rows cut from one conversation have it in common."""
    roles = [message.role for message in example.messages]
    first = roles.index("assistant") if "assistant" in roles else len(roles)
    if "user" in roles and "user" not in roles[:first]:  # the assistant speaks first
        first = roles.index("user") + 1
    return "\x1e".join(f"{message.role}\x1f{normalise(message.content)}" for message in example.messages[:first])
