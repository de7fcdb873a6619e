"""A model of ours as a writer: a sentence at a time, with fast weights that carry what the book has said so far."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autogpt.tasks.spec import TaskSpec
from autogpt.writing.order import WritingSettings
from autogpt.writing.writers import require_free_text

if TYPE_CHECKING:
    from autogpt.generation.adaptive import Adaptation, Session
    from autogpt.generation.engine import Engine

__all__ = ["ModelWriter", "use_one_thread"]

_NAME = "book"
_SMALL = 50_000_000
"""Parameters up to which a single row is written faster by one thread, whatever else the machine does."""


def use_one_thread(engine: Engine) -> None:
    """Lets a small model on the CPU write with one thread, for the whole process.

    A token of a single row is hundreds of products of a few microseconds each. Where other processes want the cores,
    threads that wait for each other at every one of them cost fifty times what they save.
    """
    import torch

    if engine.device.type == "cpu" and sum(p.numel() for p in engine.model.parameters()) <= _SMALL:
        torch.set_num_threads(1)


class ModelWriter:
    """A model of ours, asked for a sentence at a time.

    With `settings.adapt` it reads the premise and each accepted scene into a session (`generation.adaptive`) and drafts
    with it. Drafts teach it nothing, since most of what a book refuses would be learnt as well. The session counts as
    it is in `state`: after each scene it goes through those bytes, so a book that was resumed is written by the same
    one. It is off unless asked for: a small model drifts towards what it writes itself (longform.md of the benchmarks),
    and the guard, which looks at the premise and at repetition alone, lets it.

    Args:
        engine: the loaded model.
        spec: its task, which must be one of free text.
        settings: of the sampling.
        name, identity: see `Writer`.
        adaptation: how the model adapts, as its recipe holds it; the defaults where it holds nothing.

    Raises TaskError for a model that does not write free text.
    """

    holds_grammar, by_passages = True, False

    def __init__(
        self,
        engine: Engine,
        spec: TaskSpec,
        settings: WritingSettings,
        *,
        name: str = "",
        identity: str = "",
        adaptation: dict[str, Any] | None = None,
    ) -> None:
        require_free_text(spec, name or "this model")
        self._engine, self._settings = engine, settings
        self.name, self.identity = name, identity or name
        self.context = engine.context
        self.instructed = False
        """Models trained in minutes follow the shape of an instruction, not its sense: the program plans for them."""
        self._adaptation: Adaptation | None = None
        self._session: Session | None = None
        if settings.adapt:
            from autogpt.generation.adaptive import AdaptationSettings

            self._adaptation = engine.adaptation(AdaptationSettings.from_dict(adaptation or {}))

    def write(
        self, prompt: str, max_tokens: int, *, stop: Sequence[str] = (), grammar: str | None = None, seed: int = 0
    ) -> Iterator[str]:
        """See `Writer`. Free text may not end before `min_new_tokens`; under a grammar the grammar says when."""
        from autogpt.generation.sampling import Sampling

        settings, room = self._settings, max(1, min(max_tokens, self.context // 2))
        sampling = Sampling(
            temperature=settings.temperature,
            top_p=settings.top_p,
            min_p=settings.min_p,
            repetition_penalty=settings.repetition_penalty,
            dry_multiplier=settings.dry_multiplier,
            dry_allowed_length=settings.dry_allowed_length,
            max_new_tokens=room,
            min_new_tokens=0 if grammar else min(settings.min_new_tokens, room),
            stop=tuple(stop),
            seed=seed,
        )
        if self._adaptation is None or self._session is None:
            yield from self._engine.stream(prompt, sampling, grammar)
            return
        from autogpt.generation.adaptive import Session

        draft = Session(self._session.state)
        with self._adaptation.writing([draft]) as follower:
            yield from self._engine.stream(prompt, sampling, grammar, follower=follower)

    def count_tokens(self, text: str) -> int:
        return len(self._ids(text))

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self._engine.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    # ---- what it has learnt ------------------------------------------------------------------------------------------

    def remember(self, text: str, *, own: bool = True) -> None:
        """Learns from `text`: fully from the premise, with the adaptation's `own_weight` from its own scenes.

        A scene in which the guard finds too much repetition is not learnt from.
        """
        adaptation, ids = self._adaptation, self._ids(text)
        if adaptation is None or not ids:
            return
        session = self._session or adaptation.session()
        if own:
            session.guard.wrote(ids)
        if not session.guard.is_frozen:
            weight = adaptation.settings.own_weight if own else 1.0
            first = [self._engine.bos_id if self._engine.bos_id is not None else self._engine.eos_id]
            adaptation.read(session, first + ids, [weight] * (len(ids) + 1))
        self._session = session
        self.restore(self.state())

    def state(self) -> bytes:
        """The session as a file of `generation.sessions`; empty before anything was learnt."""
        if self._adaptation is None or self._session is None:
            return b""
        from autogpt.generation.sessions import Sessions

        with tempfile.TemporaryDirectory() as folder:
            sessions = Sessions(Path(folder), self.identity)
            sessions.save(_NAME, self._adaptation, self._session)
            (path,) = Path(folder).iterdir()
            return path.read_bytes()

    def restore(self, state: bytes) -> None:
        """Back to what `state` returned. Raises ModelError for the state of another model, or a damaged one."""
        if self._adaptation is None or not state:
            self._session = None
            return
        from autogpt.generation.sessions import Sessions

        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / f"{_NAME}.safetensors").write_bytes(state)
            self._session = Sessions(Path(folder), self.identity).load(_NAME, self._adaptation)
