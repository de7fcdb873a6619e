"""A model that adapts to a text: what was read and written changes the fast weights that read and write the rest.

    score first   every token is scored under what was learnt before it
    then learn    a step on each chunk; the user's words count fully, the model's own little
    stay sane     fast weights are bounded; repetition stops learning; what was learnt is undone when it hurts what the
                  user said first (`guard`)

Two modes. `exact`: fast weights behind the last attention, so that no cached key or value depends on them
(`fast_weights`). `suffix`: fast weights in the last quarter of the blocks too (`suffix_weights`).

A session lives as long as its caller keeps it, and in a file between (`sessions`). It belongs to one model. Sessions in
one batch do not touch each other, nor do they touch the model.

Shapes: S sessions, T tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias, get_args

import torch
from torch import Tensor

from autogpt.errors import ConfigError
from autogpt.generation.fast_weights import FastRates, FastState, FastWeights, Seen, without_scores
from autogpt.generation.gpt_step import Tail
from autogpt.generation.guard import Guard
from autogpt.generation.reading import Reader, shortened
from autogpt.generation.suffix_weights import SuffixWeights, WrittenRows

__all__ = ["Adaptation", "AdaptationSettings", "Mode", "Session"]

Mode: TypeAlias = Literal["exact", "suffix"]
_OWN = ("chunk", "own_weight", "share", "mode", "rebuild_every")


@dataclass(frozen=True, slots=True)
class AdaptationSettings:
    """How a model adapts.

    Attributes:
        rates: how fast it learns.
        chunk: tokens between two steps.
        own_weight: how much a token that the model wrote itself counts beside one of the user's.
        share: most fast weights of a session, as a share of the model's parameters.
        mode: where the fast weights are.
        rebuild_every: in suffix mode, chunks after which keys and values of a text are computed again under the
            present fast weights; 0 only when the context is full.
    """

    rates: FastRates = field(default_factory=FastRates)
    chunk: int = 64
    own_weight: float = 0.02
    share: float = 0.01
    mode: Mode = "exact"
    rebuild_every: int = 0

    def __post_init__(self) -> None:
        if self.mode not in get_args(Mode):
            raise ConfigError("adaptation mode", found=repr(self.mode), expected=" or ".join(get_args(Mode)))
        if self.mode == "exact" and self.rebuild_every:
            raise ConfigError("adaptation rebuild_every", found="exact mode", expected="suffix mode, or 0")
        limits = {"chunk": (1, 4096), "own_weight": (0.0, 1.0), "share": (0.0, 0.2), "rebuild_every": (0, 4096)}
        for name, (low, high) in limits.items():
            if not low <= getattr(self, name) <= high:
                raise ConfigError(f"adaptation {name}", found=repr(getattr(self, name)), expected=f"{low} to {high}")

    def to_dict(self) -> dict[str, float | str]:
        """Plain JSON, as a model's recipe holds it."""
        own = {name: getattr(self, name) for name in _OWN}
        return {"step": self.rates.step, "decay": self.rates.decay, "trust": self.rates.trust, **own}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> AdaptationSettings:
        own = {name: values[name] for name in _OWN if name in values}
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
        share = self.settings.share
        self.weights = (
            FastWeights(reader.model, share)
            if self.settings.mode == "exact"
            else SuffixWeights(reader.model, share, reader.context)
        )
        self._writing: _Writing | None = None

    def session(self) -> Session:
        """A session that has learnt nothing yet."""
        return Session(self.weights.fresh())

    @property
    def chunk(self) -> int:
        """Tokens between two steps, where the cache must hold a chunk and more."""
        return min(self.settings.chunk, max(1, self.reader.context // 4))

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
        attached, and each chunk before the next is asked for. `state` None: the model's own scores.
        """
        model, context, device = self.reader.model, self.reader.context, self.reader.device
        chunk, rebuild_every = self.chunk, self.settings.rebuild_every
        cache, held, stale = self.weights.cache(context), list[int](), 0
        for begin in range(0, len(ids) - 1, chunk):
            inputs, targets = list(ids[begin : begin + chunk]), list(ids[begin + 1 : begin + 1 + chunk])
            inputs = inputs[: len(targets)]
            self.weights.use(state)
            full = len(held) + len(inputs) > context
            if full or 0 < rebuild_every <= stale:
                held, cache, stale = shortened(held, context) if full else held, self.weights.cache(context), 0
                with torch.no_grad():
                    model(input_ids=torch.tensor([held], device=device), past_key_values=cache, logits_to_keep=1)
            with self.weights.listening(cache):
                model(input_ids=torch.tensor([inputs], device=device), past_key_values=cache, use_cache=True)
            held += inputs
            stale += 1
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
    def tail(self) -> Tail | None:
        return None if isinstance(self.weights, SuffixWeights) else self.weights.tail

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


class _Chunks(Protocol):
    """What the rows of a batch have read since their last step."""

    def about_to_read(self, rows: Sequence[int]) -> None: ...
    def follow(self, rows: Sequence[int], seen: Seen, tokens_B: Tensor | None) -> None: ...
    def is_ready(self, row: int) -> bool: ...
    def tokens(self, row: int) -> list[int]: ...
    def seen(self, row: int, state: FastState) -> Seen: ...
    def clear(self, row: int) -> None: ...
    def stepped(self, row: int, state: FastState) -> None: ...


class _SeenOnTheWay:
    """Where no hidden state depends on fast weights: what was seen is kept, and no pass is made again."""

    def __init__(self, chunk: int) -> None:
        self._chunk = chunk
        self._before: dict[int, Seen] = {}
        self._taken: dict[int, list[tuple[Seen, int]]] = {}

    def about_to_read(self, rows: Sequence[int]) -> None: ...

    def follow(self, rows: Sequence[int], seen: Seen, tokens_B: Tensor | None) -> None:
        for place, row in enumerate(rows):
            if tokens_B is not None:
                self._taken[row].append((self._before[row], int(tokens_B[place])))
            self._taken.setdefault(row, [])
            self._before[row] = without_scores(seen.row(place))

    def is_ready(self, row: int) -> bool:
        return len(self._taken[row]) >= self._chunk

    def tokens(self, row: int) -> list[int]:
        return [token for _, token in self._taken[row]]

    def seen(self, row: int, state: FastState) -> Seen:
        return Seen.joined([one for one, _ in self._taken[row]])

    def clear(self, row: int) -> None:
        self._taken[row] = []

    def stepped(self, row: int, state: FastState) -> None: ...


class _Writing:
    """Sessions of a batch, and how they learn from what is written."""

    def __init__(self, adaptation: Adaptation, sessions: Sequence[Session]) -> None:
        self._own, self._sessions = adaptation, sessions
        parts = [session.state.tensors().values() for session in sessions]
        self._states = FastState(*(torch.cat(tensors) for tensors in zip(*parts, strict=True)))
        self._rows: list[int] = []
        weights, settings = adaptation.weights, adaptation.settings
        self._chunks: _Chunks = _SeenOnTheWay(settings.chunk)
        if isinstance(weights, SuffixWeights):
            self._chunks = WrittenRows(weights, adaptation.reader.context, adaptation.chunk, settings.rebuild_every)

    def about_to_read(self, rows: list[int]) -> None:
        self._chunks.about_to_read(rows)
        if rows != self._rows:
            self._rows = list(rows)
            with torch.inference_mode(False):
                self._own.weights.use(self._states.rows(rows))

    def follow(self, rows: list[int], tokens_B: Tensor | None) -> None:
        assert self._own.weights.seen is not None
        self._chunks.follow(rows, self._own.weights.seen, tokens_B)
        ready = [row for row in rows if self._chunks.is_ready(row)]
        for row in ready:
            self._end_chunk(row)
        if ready:
            self._own.weights.use(self._states.rows(self._rows))

    def _end_chunk(self, row: int) -> None:
        tokens, session, settings = self._chunks.tokens(row), self._sessions[row], self._own.settings
        session.guard.wrote(tokens)
        if not session.guard.is_frozen and settings.own_weight and settings.rates.step:
            self._learn(row, tokens)
        self._chunks.clear(row)

    def _learn(self, row: int, tokens: Sequence[int]) -> None:
        weights, settings, session = self._own.weights, self._own.settings, self._sessions[row]
        state = self._states.rows([row])
        seen = self._chunks.seen(row, state)
        targets_ST = torch.tensor([tokens], device=seen.stream_STD.device)
        weights_ST = torch.full(targets_ST.shape, settings.own_weight, device=targets_ST.device)
        weights.learn(state, seen, targets_ST, weights_ST, session.guard.rates(settings.rates))
        session.guard.look(weights, state)
        session.tokens += len(tokens)
        self._states.put([row], state)
        self._chunks.stepped(row, state)

    def keep(self) -> None:
        """The sessions keep what was learnt."""
        for row, session in enumerate(self._sessions):
            session.state = self._states.rows([row])
