"""A model that adapts to a text: what was read and written changes the fast weights that read and write the rest.

    score first   every token is scored under what was learnt before it
    then learn    a step on each chunk; the user's words count fully, the model's own little
    stay sane     fast weights are bounded; repetition stops learning; what was learnt is undone when it hurts what the
                  user said first (`guard`)

A session lives as long as its caller keeps it, and in a file between (`sessions`). It belongs to one model. Sessions in
one batch do not touch each other, nor do they touch the model.

Shapes: S sessions, T tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from autogpt.errors import ConfigError
from autogpt.generation.fast_weights import FastRates, FastState, FastWeights, Seen, without_scores
from autogpt.generation.gpt_step import Tail
from autogpt.generation.guard import Guard
from autogpt.generation.kv_cache import roomy_cache
from autogpt.generation.reading import Reader, shortened

__all__ = ["Adaptation", "AdaptationSettings", "Session"]


@dataclass(frozen=True, slots=True)
class AdaptationSettings:
    """How a model adapts.

    Attributes:
        rates: how fast it learns.
        chunk: tokens between two steps.
        own_weight: how much a token that the model wrote itself counts beside one of the user's.
        share: most fast weights of a session, as a share of the model's parameters.
    """

    rates: FastRates = field(default_factory=FastRates)
    chunk: int = 64
    own_weight: float = 0.1
    share: float = 0.01

    def __post_init__(self) -> None:
        limits = {"chunk": (1, 4096), "own_weight": (0.0, 1.0), "share": (0.0, 0.2)}
        for name, (low, high) in limits.items():
            if not low <= getattr(self, name) <= high:
                raise ConfigError(f"adaptation {name}", found=repr(getattr(self, name)), expected=f"{low} to {high}")

    def to_dict(self) -> dict[str, float]:
        """Plain JSON, as a model's recipe holds it."""
        own = {"chunk": self.chunk, "own_weight": self.own_weight, "share": self.share}
        return {"step": self.rates.step, "decay": self.rates.decay, "trust": self.rates.trust, **own}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> AdaptationSettings:
        own = {name: values[name] for name in ("chunk", "own_weight", "share") if name in values}
        rates = {name: float(values[name]) for name in ("step", "decay", "trust") if name in values}
        return cls(FastRates(**rates), **own)


@dataclass(slots=True)
class Session:
    """What one text has taught.

    Attributes:
        state: its fast weights, S = 1.
        tokens: how many it has learnt from.
        guard: what keeps it from learning nonsense.
    """

    state: FastState
    tokens: int = 0
    guard: Guard = field(default_factory=Guard)


class Adaptation:
    """Adapts one model to texts. A `Follower` of what is written, and a reader of what is given.

    Args:
        reader: the model, and how it is run.
        settings: how it adapts.
    """

    def __init__(self, reader: Reader, settings: AdaptationSettings | None = None) -> None:
        self.reader, self.settings = reader, settings or AdaptationSettings()
        self.weights = FastWeights(reader.model, self.settings.share)
        self._writing: _Writing | None = None

    def session(self) -> Session:
        """A session that has learnt nothing yet."""
        return Session(self.weights.fresh())

    # ---- reading -----------------------------------------------------------------------------------------------------

    def read(self, session: Session, ids: Sequence[int], counted: Sequence[float] | None = None) -> Tensor:
        """Reads a text of any length and learns from it chunk by chunk, each after it was scored.

        Args:
            ids: its tokens, the first one (usually BOS) only as context.
            counted: how much each token counts in learning; all of them fully when not given.

        Returns the nats of each token but the first, [T - 1], under what was learnt before its chunk.
        """
        given = [1.0] * len(ids) if counted is None else list(counted)
        nats, begin = [torch.zeros(0)], 0
        with self.weights.attached():
            for seen, targets_ST in self.chunks(ids, session.state):
                weights_ST = torch.tensor(
                    [given[begin + 1 : begin + 1 + targets_ST.shape[1]]], device=targets_ST.device
                )
                nats.append(self.weights.nats(session.state, seen, targets_ST)[0].cpu())
                self._learn(session, seen, targets_ST, weights_ST)
                begin += targets_ST.shape[1]
        return torch.cat(nats)

    def chunks(self, ids: Sequence[int], state: FastState | None) -> Iterator[tuple[Seen, Tensor]]:
        """What the last layers see of a text and the tokens that follow, both of S = 1 and one chunk after the other.

        Where the context is full, its first tokens and its last half are read again. To be used while the weights are
        attached. `state` None: the model's own scores.
        """
        model, context, device = self.reader.model, self.reader.context, self.reader.device
        chunk = min(self.settings.chunk, max(1, context // 4))
        cache, held = roomy_cache(model.config, context), list[int]()
        for begin in range(0, len(ids) - 1, chunk):
            inputs, targets = list(ids[begin : begin + chunk]), list(ids[begin + 1 : begin + 1 + chunk])
            inputs = inputs[: len(targets)]
            self.weights.use(state)
            with torch.no_grad():
                if len(held) + len(inputs) > context:
                    held, cache = shortened(held, context), roomy_cache(model.config, context)
                    model(input_ids=torch.tensor([held], device=device), past_key_values=cache, logits_to_keep=1)
                model(input_ids=torch.tensor([inputs], device=device), past_key_values=cache, use_cache=True)
            held += inputs
            assert self.weights.seen is not None
            yield self.weights.seen, torch.tensor([targets], device=device)

    def _learn(self, session: Session, seen: Seen, targets_ST: Tensor, weights_ST: Tensor) -> None:
        if self.settings.rates.step == 0 or not bool(weights_ST.any()):
            return
        rates = session.guard.rates(self.settings.rates)
        session.guard.remember(seen, targets_ST, weights_ST)
        self.weights.learn(session.state, seen, targets_ST, weights_ST, rates)
        session.guard.look(self.weights, session.state)
        session.tokens += int((weights_ST > 0).sum())

    # ---- writing -----------------------------------------------------------------------------------------------------

    @contextmanager
    def writing(self, sessions: Sequence[Session]) -> Iterator[Adaptation]:
        """While it lasts, row i of what is decoded with this as follower has, and teaches, session i."""
        with self.weights.attached():
            self._writing = _Writing(self, sessions)
            try:
                yield self
            finally:
                self._writing.keep()
                self._writing = None

    @property
    def tail(self) -> Tail:
        return self.weights.tail

    @property
    def hooked(self) -> Collection[Any]:
        return self.weights.hooked

    def about_to_read(self, rows: list[int]) -> None:
        """See `Follower`."""
        assert self._writing is not None
        self._writing.about_to_read(rows)

    def has_read(self, rows: list[int], tokens_B: Tensor | None) -> None:
        """See `Follower`."""
        assert self._writing is not None
        with torch.inference_mode(False), torch.no_grad():
            self._writing.follow(rows, tokens_B)


class _Writing:
    """Sessions of a batch, and what was seen since their last step."""

    def __init__(self, adaptation: Adaptation, sessions: Sequence[Session]) -> None:
        self._own, self._sessions = adaptation, sessions
        parts = [session.state.tensors().values() for session in sessions]
        self._states = FastState(*(torch.cat(tensors) for tensors in zip(*parts, strict=True)))
        self._rows: list[int] = []
        self._before: dict[int, Seen] = {}
        self._chunk: dict[int, list[tuple[Seen, int]]] = {row: [] for row in range(len(sessions))}

    def about_to_read(self, rows: list[int]) -> None:
        if rows != self._rows:
            self._rows = list(rows)
            with torch.inference_mode(False):
                self._own.weights.use(self._states.rows(rows))

    def follow(self, rows: list[int], tokens_B: Tensor | None) -> None:
        seen = self._own.weights.seen
        assert seen is not None
        for place, row in enumerate(rows):
            if tokens_B is not None:
                self._chunk[row].append((self._before[row], int(tokens_B[place])))
            self._before[row] = without_scores(seen.row(place))
        ready = [row for row in rows if len(self._chunk[row]) >= self._own.settings.chunk]
        for row in ready:
            self._learn(row)
        if ready:
            self._own.weights.use(self._states.rows(self._rows))

    def _learn(self, row: int) -> None:
        taken, self._chunk[row] = self._chunk[row], []
        session = self._sessions[row]
        tokens = [token for _, token in taken]
        session.guard.wrote(tokens)
        if session.guard.is_frozen or self._own.settings.own_weight == 0 or self._own.settings.rates.step == 0:
            return
        seen = Seen.joined([one for one, _ in taken])
        targets_ST = torch.tensor([tokens], device=seen.stream_STD.device)
        weights_ST = torch.full(targets_ST.shape, self._own.settings.own_weight, device=targets_ST.device)
        state = self._states.rows([row])
        self._own.weights.learn(state, seen, targets_ST, weights_ST, session.guard.rates(self._own.settings.rates))
        session.guard.look(self._own.weights, state)
        session.tokens += len(tokens)
        self._states.put([row], state)

    def keep(self) -> None:
        """The sessions keep what was learnt."""
        for row, session in enumerate(self._sessions):
            session.state = self._states.rows([row])
