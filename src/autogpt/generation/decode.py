"""The decoding loop: prompts → tokens, all rows of a batch at once, each row as if it were alone.

A step turns the model's scores into one token a row: penalties and bans (`penalties`), the grammar (`grammar`), then
the most probable token, a draw (`drawing`) or the best contrastive candidate (`contrastive`). The scores may be those
of all components of a latent-variable model together (`latent`). Beam search keeps several texts of each row and has a
loop of its own (`beams`). Rows that have ended leave the batch in bulk, since copying the cache costs more than a few
idle rows. How a text goes on beyond the context is described in `reading`.

Shapes: B rows, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from autogpt.errors import ConfigError, ModelError
from autogpt.generation.completion import FinishReason, TokenLogprob
from autogpt.generation.contrastive import ContrastiveReading
from autogpt.generation.drawing import Draws, draw, truncated
from autogpt.generation.grammar import Matchers
from autogpt.generation.latent import MixtureReading
from autogpt.generation.penalties import Penalties
from autogpt.generation.reading import Follower, Reader, Reading
from autogpt.generation.sampling import Sampling

__all__ = ["Decoding", "Job", "Written", "require_allowed", "token_logprobs"]

_LIVE_SHARE = 0.75
"""Rows that have ended are dropped once no more than this share of the batch is still writing."""


@dataclass(frozen=True, slots=True)
class Job:
    """A batch to be written.

    Attributes:
        prompts: token ids of each row.
        names: a number for each row, which the follower is told; 0, 1, … when not given.
        grammars: the grammar of each row and how far it has come; None for free writing.
        row_arguments: tensors with a first dimension B that the model's forward pass is given by name.
        follower: is told of every token that the model reads.
        seeds: one for each row, in place of the sampling's.
    """

    prompts: Sequence[Sequence[int]]
    names: Sequence[int] = ()
    grammars: Matchers | None = None
    row_arguments: Mapping[str, Tensor] = field(default_factory=dict)
    follower: Follower | None = None
    seeds: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Written:
    """A token that a row wrote.

    Attributes:
        row: place of the row in the job.
        token: its id; never the end token.
        logprob: where they were asked for.
    """

    row: int
    token: int
    logprob: TokenLogprob | None


class Decoding:
    """Writes to the rows of a job; iterate over it once. Each step gives what the rows wrote.

    Args:
        reader: the model.
        tokenizer: its tokenizer.
        job: what is to be written.
        sampling: how; its beams and stop strings are others' business (`beams`, and the caller with `close`).

    Attributes:
        reasons: why each row ended, for those that have.

    Raises:
        ModelError: no token is allowed to a row.
        ConfigError: contrastive search or a mixture with a follower; a mixture of a model without components.
    """

    def __init__(self, reader: Reader, tokenizer: Any, job: Job, sampling: Sampling) -> None:
        self.reasons: dict[int, FinishReason] = {}
        self._reader, self._sampling, self._grammars = reader, sampling, job.grammars
        self._eos_id = tokenizer.eos_token_id
        names = list(job.names) or list(range(len(job.prompts)))
        self._rows = list(range(len(job.prompts)))
        self._reading = _reading(reader, job, names, sampling)
        vocabulary = self._reading.logits_BV.shape[-1]
        self._penalties = Penalties.of(sampling, job.prompts, vocabulary, tokenizer, reader.device)
        self._draws: Draws | None = None
        if sampling.temperature > 0:
            self._draws = Draws(job.prompts, list(job.seeds) or [sampling.seed] * len(job.prompts))

    def close(self, row: int) -> None:
        """The row ends with what it has written, because a stop string is complete."""
        self.reasons[row] = "stop"

    def __iter__(self) -> Iterator[list[Written]]:
        count = len(self._rows)
        for step in range(self._sampling.max_new_tokens):
            tokens_B, logprobs = self._choose()
            tokens: list[int] = tokens_B.tolist()
            yield self._written(tokens, logprobs)
            if len(self.reasons) == count or step + 1 == self._sampling.max_new_tokens:
                break
            self._go_on(tokens, tokens_B)
        for row in range(count):
            self.reasons.setdefault(row, "length")

    @torch.inference_mode()
    def _choose(self) -> tuple[Tensor, list[TokenLogprob]]:
        logits_BV = self._reading.logits_BV
        scores_BV = logits_BV if self._penalties is None else self._penalties.apply(logits_BV)
        if self._grammars is not None:
            scores_BV = self._grammars.mask(scores_BV)
        if self._grammars is not None or (self._penalties is not None and self._penalties.may_forbid_all):
            ended_B = torch.tensor([row in self.reasons for row in self._rows], device=logits_BV.device)
            # What a row that has ended is given does not matter, but it must not be nothing.
            scores_BV = scores_BV.masked_fill(ended_B[:, None], 0.0)
            require_allowed(scores_BV)
        if isinstance(self._reading, ContrastiveReading):
            tokens_B = self._reading.choose(scores_BV)
        elif self._draws is not None:
            tokens_B = draw(truncated(scores_BV, self._sampling), self._draws.next(logits_BV.device))
        else:
            tokens_B = scores_BV.argmax(-1)
        asked = self._sampling.logprobs
        return tokens_B, [] if asked is None else token_logprobs(logits_BV, tokens_B, asked)

    def _written(self, tokens: Sequence[int], logprobs: Sequence[TokenLogprob]) -> list[Written]:
        """What the step wrote, and who ended with it."""
        written = []
        for place, (row, token) in enumerate(zip(self._rows, tokens, strict=True)):
            if row in self.reasons:
                continue
            if token == self._eos_id:
                held = self._grammars is not None and self._grammars.holds(place)
                self.reasons[row] = "grammar" if held else "stop"
            else:
                written.append(Written(row, token, logprobs[place] if logprobs else None))
        return written

    def _go_on(self, tokens: list[int], tokens_B: Tensor) -> None:
        """Let the rows that have ended go once they are many, and read what the others wrote."""
        for follower in (self._grammars, self._penalties):
            if follower is not None:
                follower.follow(tokens)
        alive = [place for place, row in enumerate(self._rows) if row not in self.reasons]
        if len(alive) < len(self._rows):
            in_the_way = any(self._rows[place] in self.reasons for place in self._reading.full)
            if in_the_way or len(alive) <= _LIVE_SHARE * len(self._rows):
                for part in (self._reading, self._grammars, self._penalties, self._draws):
                    if part is not None:
                        part.select(alive)
                self._rows = [self._rows[place] for place in alive]
                tokens, tokens_B = [tokens[place] for place in alive], tokens_B[alive]
        if self._grammars is not None:
            for place, row in enumerate(self._rows):
                if row in self.reasons:
                    self._grammars.let_go(place)
        self._reading.read(tokens, tokens_B)


def _reading(reader: Reader, job: Job, names: Sequence[int], sampling: Sampling) -> Reading:
    """What the model reads the job with, as the sampling asks."""
    if sampling.contrastive_alpha > 0:
        if job.follower is not None:
            raise ConfigError("contrastive search reads candidates that it drops", expected="no follower with it")
        return ContrastiveReading(reader, job.prompts, names, sampling, job.row_arguments)
    if sampling.latent == "mixture":
        if job.follower is not None:
            raise ConfigError("the mixture reads with all components at once", expected="no follower with it")
        return MixtureReading(reader, job.prompts, names)
    return Reading(reader, job.prompts, names, job.row_arguments, job.follower)


def require_allowed(scores_BV: Tensor) -> None:
    """Raise ModelError when some row has no token that may be chosen, or scores that are not numbers."""
    best_B = scores_BV.amax(-1)
    if not bool(best_B.isfinite().all()):
        found = "scores that are not numbers" if bool(best_B.isnan().any()) else "every token forbidden"
        raise ModelError(
            "no token can be written",
            found=found,
            expected="one that grammar and bans allow",
            todo="loosen the grammar, no_repeat_ngram, min_new_tokens or logit_bias",
        )


def token_logprobs(logits_BV: Tensor, tokens_B: Tensor, alternatives: int) -> list[TokenLogprob]:
    """How probable each row's token was, and the most probable ones beside it."""
    logs_BV = logits_BV.float().log_softmax(-1)
    chosen = logs_BV.gather(-1, tokens_B[:, None]).squeeze(-1).tolist()
    best = logs_BV.topk(min(alternatives, logs_BV.shape[-1]), dim=-1)
    ranked = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    return [
        TokenLogprob(token, logprob, tuple(zip(ids, values, strict=True)))
        for token, logprob, (ids, values) in zip(tokens_B.tolist(), chosen, ranked, strict=True)
    ]
