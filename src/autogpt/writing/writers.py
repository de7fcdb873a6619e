"""Who writes: what every writer answers, and a language model behind an endpoint, which can be instructed.

Our own models write through `model_writer`. What a writer can do decides how the book is planned: one that takes
instructions is asked for a plan in JSON; for one that only continues text the program makes the plan.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeGuard

from autogpt.endpoint import Endpoint
from autogpt.errors import EndpointError, TaskError
from autogpt.tasks.spec import TaskKind, TaskSpec
from autogpt.writing.units import length

__all__ = [
    "EndpointWriter",
    "InstructedWriter",
    "Writer",
    "fingerprint",
    "is_instructed",
    "require_free_text",
]

FREE_TEXT = (TaskKind.GENERATION, TaskKind.DIALOGUE, TaskKind.INSTRUCTION, TaskKind.PREFERENCE)


class Writer(Protocol):
    """Writes text.

    Attributes:
        name: for people.
        identity: differs between writers that would write different books; a book goes on only with the same one.
        context: tokens that it reads and writes at most, together.
        instructed: whether it follows instructions; else it continues the prompt.
        holds_grammar: whether `grammar` is followed; else it is ignored.
        by_passages: whether an answer holds many sentences, because asking for each alone costs too much.
    """

    name: str
    identity: str
    context: int
    instructed: bool
    holds_grammar: bool
    by_passages: bool

    def write(
        self, prompt: str, max_tokens: int, *, stop: Sequence[str] = (), grammar: str | None = None, seed: int = 0
    ) -> Iterator[str]:
        """Pieces of the text that follows the prompt, up to the first of `stop`, which is left out."""
        ...

    def count_tokens(self, text: str) -> int:
        """How much of `context` the text takes."""
        ...

    def remember(self, text: str, *, own: bool = True) -> None:
        """Told of the premise (`own` False) and of each accepted scene, so that a writer may adapt. May do nothing."""
        ...

    def state(self) -> bytes:
        """All that `remember` has changed; empty where it changes nothing."""
        ...

    def restore(self, state: bytes) -> None:
        """Back to what `state` returned."""
        ...


class InstructedWriter(Writer, Protocol):
    """A writer that follows instructions."""

    def ask(self, prompt: str, schema: Mapping[str, Any], max_tokens: int, seed: int) -> str:
        """An answer that should be JSON after `schema`; few endpoints hold their model to it, so it must be checked."""
        ...


def is_instructed(writer: Writer) -> TypeGuard[InstructedWriter]:
    """Whether the writer can be asked, by its own word."""
    return writer.instructed


def require_free_text(spec: TaskSpec, name: str) -> None:
    """Raises TaskError for a model whose answers are labels, spans or the like."""
    if spec.kind not in FREE_TEXT:
        raise TaskError(
            f"{name} does not write free text",
            found=f"a {spec.kind.value} model",
            expected="one made for text generation, dialogue or instructions",
            todo="train one: autogpt fit 'continue this novel' --data FILE",
        )


def fingerprint(folder: Path) -> str:
    """16 hexadecimal digits that differ where the weights, the tokenizer or the recipe of a model folder do."""
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted(folder.glob("*")):
        if path.suffix in (".safetensors", ".json", ".yaml") and path.is_file():
            digest.update(path.name.encode())
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
    return digest.hexdigest()


def until(pieces: Iterator[str], stop: Sequence[str]) -> Iterator[str]:
    """The pieces up to the first of `stop`, which may lie across two of them."""
    kept = max(map(len, stop), default=1) - 1
    held = ""
    for piece in pieces:
        held += piece
        at = min((found for mark in stop if (found := held.find(mark)) >= 0), default=-1)
        if at >= 0:
            yield held[:at]
            return
        if len(held) > kept:
            yield held[: len(held) - kept]
            held = held[len(held) - kept :]
    yield held


class EndpointWriter:
    """A language model behind an OpenAI-compatible endpoint, asked for a passage at a time.

    Tokens are estimated, since the endpoint's tokenizer is not known: 1.5 for an English word, 1.3 for a Chinese
    character. A refused or failed request is tried again `tries` times in all; then EndpointError is raised.

    Args:
        endpoint: where it answers.
        context: tokens of its context.
        temperature: of its draws.
        timeout_s: seconds without a sign of life.
    """

    instructed, holds_grammar, by_passages = True, False, True

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        context: int = 8192,
        temperature: float = 0.8,
        timeout_s: float = 300.0,
        tries: int = 3,
    ) -> None:
        self._endpoint, self._temperature, self._timeout_s, self._tries = endpoint, temperature, timeout_s, tries
        self.context = context
        self.name = endpoint.model or endpoint.url
        self.identity = f"{endpoint.url} {endpoint.model}".strip()

    def _complete(self, prompt: str, max_tokens: int, seed: int, schema: Mapping[str, Any] | None = None) -> str:
        for attempt in range(1, self._tries + 1):
            try:
                return self._endpoint.complete(
                    [{"role": "user", "content": prompt}],
                    schema=schema,
                    temperature=0.0 if schema and attempt == 1 else self._temperature,
                    max_tokens=max_tokens,
                    timeout_s=self._timeout_s,
                    seed=seed,
                )
            except EndpointError:
                if attempt == self._tries:
                    raise
        raise EndpointError("the endpoint was not asked", found=f"{self._tries} tries")

    def write(
        self, prompt: str, max_tokens: int, *, stop: Sequence[str] = (), grammar: str | None = None, seed: int = 0
    ) -> Iterator[str]:
        """The whole answer as one piece; `grammar` is ignored."""
        yield from until(iter([self._complete(prompt, max_tokens, seed)]), stop)

    def ask(self, prompt: str, schema: Mapping[str, Any], max_tokens: int, seed: int) -> str:
        answer = self._complete(f"{prompt}\n\nJSON schema: {json.dumps(schema)}", max_tokens, seed, schema)
        return answer[answer.find("{") : answer.rfind("}") + 1] if "{" in answer else answer

    def count_tokens(self, text: str) -> int:
        return int(length(text) * (1.5 if text.isascii() else 1.3)) + 1

    def remember(self, text: str, *, own: bool = True) -> None:
        """Nothing: the model behind the endpoint is not ours to change."""

    def state(self) -> bytes:
        return b""

    def restore(self, state: bytes) -> None:
        """Nothing to go back to."""
