"""Beam search: the k most probable texts are followed side by side, and the best finished one is the answer.

Scores, lengths and the rule for stopping are those of transformers' `generate(num_beams=k, early_stopping=False)`:
penalties are applied to log-probabilities, a finished text's score is its sum of log-probabilities (after penalties)
divided by its length, end token included, to the power `length_penalty`, and a row is done when its best running text
cannot beat the worst of k finished ones at its present length.

Shapes: N running texts of all rows, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from autogpt.errors import ConfigError
from autogpt.generation.completion import FinishReason, TokenLogprob
from autogpt.generation.decode import Job, require_allowed, token_logprobs
from autogpt.generation.penalties import Penalties
from autogpt.generation.reading import Reader, Reading
from autogpt.generation.sampling import Sampling
from autogpt.generation.text_stream import TextStream

__all__ = ["Beam", "beam_search"]


@dataclass(frozen=True, slots=True)
class Beam:
    """One text of a row.

    Attributes:
        tokens: written so far, the end token left out.
        score: sum of log-probabilities; of a finished text, after the length penalty.
        reason: why it ended; None while it runs.
        logprobs: of each token, where they were asked for.
    """

    tokens: tuple[int, ...] = ()
    score: float = 0.0
    reason: FinishReason | None = None
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(slots=True)
class _Row:
    """The texts of one prompt: those that run, as places in the batch, and the best that ended."""

    running: list[Beam] = field(default_factory=lambda: [Beam()])
    ended: list[Beam] = field(default_factory=list)
    done: bool = False


@dataclass(frozen=True, slots=True)
class _Candidate:
    place: int
    """In the batch, of the text that it continues."""
    token: int
    beam: Beam


def beam_search(reader: Reader, tokenizer: Any, job: Job, sampling: Sampling) -> list[Beam]:
    """The best text of each row of the job, in order.

    Raises:
        ConfigError: a follower, which cannot follow texts that are given up again.
        ModelError: no token is allowed to a row.
    """
    if job.follower is not None:
        raise ConfigError("beam search gives up texts that it has read", expected="no follower with it")
    return _Search(reader, tokenizer, job, sampling).run()


class _Search:
    def __init__(self, reader: Reader, tokenizer: Any, job: Job, sampling: Sampling) -> None:
        self._tokenizer, self._sampling, self._grammars = tokenizer, sampling, job.grammars
        self._eos_id = tokenizer.eos_token_id
        self._rows = [_Row() for _ in job.prompts]
        self._reading = Reading(reader, job.prompts, range(len(job.prompts)), job.row_arguments)
        vocabulary = self._reading.logits_BV.shape[-1]
        self._penalties = Penalties.of(sampling, job.prompts, vocabulary, tokenizer, reader.device)
        self._has_grammar = [job.grammars is not None and job.grammars.holds(i) for i in range(len(job.prompts))]
        # Every token has a byte at least, but for control tokens, which the longest stop string has room for twice.
        self._tail = 2 * max((len(text.encode()) for text in sampling.stop), default=0)

    def run(self) -> list[Beam]:
        for length in range(1, self._sampling.max_new_tokens + 1):
            kept = self._advance(length)
            if not kept or length == self._sampling.max_new_tokens:
                break
            places, tokens = [c.place for c in kept], [c.token for c in kept]
            for part in (self._reading, self._penalties, self._grammars):
                if part is not None:
                    part.select(places)
            for follower in (self._penalties, self._grammars):
                if follower is not None:
                    follower.follow(tokens)
            self._reading.read(tokens, torch.tensor(tokens, device=self._reading.logits_BV.device))
        return [max(row.ended, key=lambda beam: beam.score) for row in self._rows]

    @torch.inference_mode()
    def _advance(self, length: int) -> list[_Candidate]:
        """One more token of every running text: candidates to go on with, those of a row next to one another."""
        logits_NV = self._reading.logits_BV
        scores_NV = logits_NV.float().log_softmax(-1)
        if self._penalties is not None:
            scores_NV = self._penalties.apply(scores_NV)
        if self._grammars is not None:
            scores_NV = self._grammars.mask(scores_NV)
        kept: list[_Candidate] = []
        first = 0
        for number, row in enumerate(self._rows):
            if row.done:
                continue
            texts = slice(first, first + len(row.running))
            require_allowed(scores_NV[texts].flatten()[None])
            candidates = self._candidates(row, scores_NV[texts], logits_NV[texts], first)
            first = texts.stop
            going = self._sorted_out(number, candidates, length)
            row.running = [candidate.beam for candidate in going]
            row.done = self._is_done(row, length)
            if not row.done:
                kept += going
        return kept

    def _candidates(self, row: _Row, scores_NV: Tensor, logits_NV: Tensor, first: int) -> list[_Candidate]:
        """The 2k best continuations of a row's texts: enough for k that run on, even if k of them end."""
        sums_NV = scores_NV + torch.tensor([beam.score for beam in row.running], device=scores_NV.device)[:, None]
        best = sums_NV.flatten().topk(min(2 * self._sampling.beams, sums_NV.numel()))
        allowed = best.values > float("-inf")
        texts_C, tokens_C = best.indices[allowed] // sums_NV.shape[1], best.indices[allowed] % sums_NV.shape[1]
        asked = self._sampling.logprobs
        logprobs = [] if asked is None else token_logprobs(logits_NV[texts_C], tokens_C, asked)
        found = []
        chosen = zip(best.values[allowed].tolist(), texts_C.tolist(), tokens_C.tolist(), strict=True)
        for rank, (score, text, token) in enumerate(chosen):
            before = row.running[text]
            tokens = before.tokens if token == self._eos_id else (*before.tokens, token)
            noted = (*before.logprobs, logprobs[rank]) if logprobs and token != self._eos_id else before.logprobs
            found.append(_Candidate(first + text, token, Beam(tokens, score, None, noted)))
        return found

    def _sorted_out(self, number: int, candidates: Sequence[_Candidate], length: int) -> list[_Candidate]:
        """The k candidates that run on; those that end are noted where they are among the k best of all."""
        row, most, going = self._rows[number], self._sampling.beams, []
        for rank, candidate in enumerate(candidates):
            reason = self._end(number, candidate)
            if reason is None and length < self._sampling.max_new_tokens:
                going.append(candidate)
            elif rank < most:
                score = candidate.beam.score / length**self._sampling.length_penalty
                row.ended.append(replace(candidate.beam, score=score, reason=reason or "length"))
        row.ended = sorted(row.ended, key=lambda beam: -beam.score)[:most]
        return going[:most]

    def _end(self, number: int, candidate: _Candidate) -> FinishReason | None:
        if candidate.token == self._eos_id:
            return "grammar" if self._has_grammar[number] else "stop"
        if self._tail:
            stream = TextStream(self._tokenizer, self._sampling.stop)
            for token in candidate.beam.tokens[-self._tail :]:
                stream.push(token)
            stream.close()
            return "stop" if stream.stopped else None
        return None

    def _is_done(self, row: _Row, length: int) -> bool:
        if not row.running:
            return True
        if len(row.ended) < self._sampling.beams:
            return False
        return row.running[0].score / length**self._sampling.length_penalty <= row.ended[-1].score
