"""Runs a causal language model: texts, streams, likelihoods and label probabilities. One loop writes them all.

Shapes: B sequences, T tokens, D hidden width, N trie nodes, C candidate tokens.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F

from autogpt.data.batching import Encoded, encode_all
from autogpt.data.tokenizers import encode_texts
from autogpt.errors import ConfigError
from autogpt.generation.adaptive import Adaptation, AdaptationSettings
from autogpt.generation.beams import beam_search
from autogpt.generation.choices import ChoiceTrie
from autogpt.generation.completion import Completion, FinishReason, TokenLogprob
from autogpt.generation.decode import Decoding, Job
from autogpt.generation.grammar import Grammar, Matchers
from autogpt.generation.latent import nats as mixture_nats
from autogpt.generation.latent import per_token, require_components, scored_windows
from autogpt.generation.latent import row_arguments as row_arguments_of
from autogpt.generation.reading import Follower, Reader
from autogpt.generation.rows import grouped, positions_of
from autogpt.generation.sampling import Sampling
from autogpt.generation.text_stream import TextStream, decoded
from autogpt.models.latent import LatentGPT
from autogpt.training.objectives import backbone, token_losses
from autogpt.types import Segment

__all__ = ["Engine", "Prompt"]

Prompt: TypeAlias = str | Sequence[Segment]
"""Text, or rendered segments: earlier answers in a conversation are followed by the end token, as in training."""

_Text: TypeAlias = tuple[tuple[int, ...], FinishReason, tuple[TokenLogprob, ...]]


class Engine:
    """A model and its tokenizer, ready to answer.

    Args:
        model: any transformers causal language model.
        tokenizer: its fast tokenizer.
        context: longest sequence the model may see; longer prompts lose tokens from their middle.
        precision: `bf16` runs prefill and scoring under autocast.
    """

    def __init__(self, model: Any, tokenizer: Any, *, context: int | None = None, precision: str = "fp32") -> None:
        self.model, self.tokenizer, self.precision = model.eval(), tokenizer, precision
        limit = int(getattr(model.config, "max_position_embeddings", 1024))
        self.context = min(context or limit, limit)
        self.device = next(model.parameters()).device
        self.bos_id = tokenizer.bos_token_id
        self.eos_id = tokenizer.eos_token_id
        self.pad_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else self.eos_id
        half = precision == "bf16" and next(model.parameters()).dtype == torch.float32
        self._reader = Reader(model, self.context, self.pad_id, self.device, half)

    # ---- prompts -----------------------------------------------------------------------------------------------------

    def encode_prompts(self, prompts: Sequence[Prompt], room: int = 0) -> list[list[int]]:
        """Token ids of each prompt, short enough to leave `room` tokens of the context.

        What does not fit is cut from the middle: the beginning of a document and the end of the prompt (the question,
        the answer's cue) matter most.
        """
        return self._encoded(prompts, max(8, self.context - room))

    def _encoded(self, prompts: Sequence[Prompt], most: int) -> list[list[int]]:
        rows = [[Segment(prompt, is_answer=False)] if isinstance(prompt, str) else prompt for prompt in prompts]
        encoded = encode_all(self.tokenizer, rows, max_tokens=most)
        return [row.ids.tolist() or [self.eos_id] for row in encoded]

    def _dropped(self, prompts: Sequence[Prompt], encoded: Sequence[Sequence[int]], room: int) -> list[int]:
        """How many tokens of each prompt had no room in its encoding."""
        cut = [i for i, ids in enumerate(encoded) if len(ids) >= max(8, self.context - room)]
        whole = self._encoded([prompts[i] for i in cut], 2**30)
        lengths = dict(zip(cut, map(len, whole), strict=True))
        return [lengths.get(i, len(ids)) - len(ids) for i, ids in enumerate(encoded)]

    # ---- writing -----------------------------------------------------------------------------------------------------

    def completions(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling,
        grammars: Sequence[Grammar | None] = (),
        *,
        row_arguments: Mapping[str, torch.Tensor] | None = None,
        follower: Follower | None = None,
        seeds: Sequence[int] = (),
    ) -> list[Completion]:
        """The continuation of each prompt, in the order given.

        A row is the same alone as in any batch, but for rounding in the model itself. Room is kept for an answer of up
        to half the context; a longer one goes on past the context (see `reading`), and a prompt without room loses
        tokens from its middle.

        Args:
            grammars: one for each prompt, which its continuation follows; none at all for free writing.
            row_arguments: tensors with one row for each prompt, which the model's forward pass is given by name.
            follower: is told of every token that the model reads; rows are numbers of prompts.
            seeds: one for each prompt in place of the sampling's, for several texts of one prompt.

        Raises:
            ModelError: a grammar that cannot be followed, or no token is allowed.
            ConfigError: options that do not fit this model, or a follower with what reads more than one text of a row.
        """
        if sampling.latent == "best":
            if follower is not None:
                raise ConfigError("the best of all components is found among texts", expected="no follower with it")
            return self._best(prompts, sampling, grammars, row_arguments or {}, seeds)
        room = min(sampling.max_new_tokens, self.context // 2)
        encoded = self.encode_prompts(prompts, room)
        dropped = self._dropped(prompts, encoded, room)
        given = {**self._latents(encoded, sampling, seeds), **(row_arguments or {})}
        latents = given["latent"].tolist() if "latent" in given else [None] * len(prompts)
        done: dict[int, Completion] = {}
        copies = max(sampling.beams, sampling.top_k if sampling.contrastive_alpha else 1)
        for group in grouped([len(ids) for ids in encoded], extra=room, most=max(1, 64 // copies)):
            index = torch.tensor(group)
            job = Job(
                prompts=[encoded[i] for i in group],
                names=group,
                grammars=Matchers.of(self.tokenizer, [grammars[i] for i in group] if grammars else ()),
                row_arguments={name: value[index.to(value.device)] for name, value in given.items()},
                follower=follower,
                seeds=[seeds[i] for i in group] if seeds else (),
            )
            for i, (ids, reason, logprobs) in zip(group, self._written(job, sampling), strict=True):
                text = decoded(self.tokenizer, ids, sampling.stop)
                done[i] = Completion(text, ids, reason, logprobs, len(encoded[i]), dropped[i], latents[i])
        return [done[i] for i in range(len(prompts))]

    def _latents(
        self, encoded: Sequence[Sequence[int]], sampling: Sampling, seeds: Sequence[int] = ()
    ) -> dict[str, torch.Tensor]:
        """The component that each row is written by, for a latent-variable model."""
        drawn = seeds or [sampling.seed] * len(encoded)
        return row_arguments_of(self.model, encoded, drawn, pad_id=self.pad_id, latent=sampling.latent)

    def _best(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling,
        grammars: Sequence[Grammar | None],
        row_arguments: Mapping[str, torch.Tensor],
        seeds: Sequence[int],
    ) -> list[Completion]:
        """What every component writes to each prompt, and of that the most probable per token under the mixture."""
        inner = require_components(self.model, sampling.latent)
        count = inner.config.latents
        every = torch.arange(count, device=self.device).repeat(len(prompts))
        given = {name: value.repeat_interleave(count, 0) for name, value in row_arguments.items()} | {"latent": every}
        repeated = [prompt for prompt in prompts for _ in range(count)]
        texts = self.completions(
            repeated,
            sampling.with_options({"latent": 0}),
            [grammar for grammar in grammars for _ in range(count)],
            row_arguments=given,
            seeds=[seed for seed in seeds for _ in range(count)],
        )
        encoded = self.encode_prompts(repeated, min(sampling.max_new_tokens, self.context // 2))
        scored = [(ids, self._with_end(text, sampling)) for ids, text in zip(encoded, texts, strict=True)]
        worth = per_token(inner, scored, context=self.context, pad_id=self.pad_id)
        return [texts[max(range(i, i + count), key=worth.__getitem__)] for i in range(0, len(texts), count)]

    def _with_end(self, text: Completion, sampling: Sampling) -> tuple[int, ...]:
        """All tokens that the model wrote: also the end token, where that and not a stop string ended the text."""
        stream = TextStream(self.tokenizer, sampling.stop)
        for token in text.token_ids:
            stream.push(token)
        ended = text.finish_reason != "length" and not stream.stopped
        return (*text.token_ids, self.eos_id) if ended else text.token_ids

    def adaptation(self, settings: AdaptationSettings | None = None) -> Adaptation:
        """What adapts this model to texts; see `adaptive`."""
        return Adaptation(self._reader, settings)

    def _written(self, job: Job, sampling: Sampling) -> Iterator[_Text]:
        """Tokens, reason and log-probabilities of each row of the job."""
        if sampling.beams > 1:
            for beam in beam_search(self._reader, self.tokenizer, job, sampling):
                yield beam.tokens, beam.reason or "length", beam.logprobs
            return
        tokens: list[list[int]] = [[] for _ in job.prompts]
        logprobs: list[list[TokenLogprob]] = [[] for _ in job.prompts]
        streams = [TextStream(self.tokenizer, sampling.stop) for _ in job.prompts] if sampling.stop else []
        decoding = Decoding(self._reader, self.tokenizer, job, sampling)
        for step in decoding:
            for written in step:
                tokens[written.row].append(written.token)
                if written.logprob is not None:
                    logprobs[written.row].append(written.logprob)
                if streams:
                    streams[written.row].push(written.token)
                    if streams[written.row].stopped:
                        decoding.close(written.row)
        for row, ids in enumerate(tokens):
            yield tuple(ids), decoding.reasons[row], tuple(logprobs[row])

    def complete(
        self, prompts: Sequence[Prompt], sampling: Sampling, grammars: Sequence[Grammar | None] = ()
    ) -> list[str]:
        """The texts of `completions`."""
        return [completion.text for completion in self.completions(prompts, sampling, grammars)]

    def stream(
        self,
        prompt: Prompt,
        sampling: Sampling,
        grammar: Grammar | None = None,
        *,
        follower: Follower | None = None,
    ) -> Generator[str, None, Completion]:
        """Pieces of the continuation as soon as they are sure; joined they equal `complete`.

        A piece is whole characters, and none of it can become part of a stop string. Beam search, and the best of all
        components, give one piece, at their end. The generator returns the completion, for those who ask (`yield
        from`).
        """
        if sampling.beams > 1 or sampling.latent == "best":
            (whole,) = self.completions([prompt], sampling, [grammar], follower=follower)
            if whole.text:
                yield whole.text
            return whole
        room = min(sampling.max_new_tokens, self.context // 2)
        encoded = self.encode_prompts([prompt], room)
        grammars, latents = Matchers.of(self.tokenizer, [grammar]), self._latents(encoded, sampling)
        job = Job(encoded, grammars=grammars, row_arguments=latents, follower=follower)
        stream, pieces = TextStream(self.tokenizer, sampling.stop), list[str]()
        ids: list[int] = []
        logprobs: list[TokenLogprob] = []
        decoding = Decoding(self._reader, self.tokenizer, job, sampling)
        for step in decoding:
            for written in step:
                ids.append(written.token)
                if written.logprob is not None:
                    logprobs.append(written.logprob)
                if piece := stream.push(written.token):
                    pieces.append(piece)
                    yield piece
                if stream.stopped:
                    decoding.close(0)
        if piece := stream.close():
            pieces.append(piece)
            yield piece
        (dropped,) = self._dropped([prompt], encoded, room)
        text, latent = "".join(pieces), int(latents["latent"]) if "latent" in latents else None
        return Completion(text, tuple(ids), decoding.reasons[0], tuple(logprobs), len(encoded[0]), dropped, latent)

    # ---- scoring -----------------------------------------------------------------------------------------------------

    def choice_probabilities(self, prompts: Sequence[Prompt], choices: Sequence[str]) -> torch.Tensor:
        """[number of prompts, number of choices] on the CPU; see `choices`."""
        trie = ChoiceTrie(encode_texts(self.tokenizer, list(choices)), self.eos_id)
        encoded = self.encode_prompts(prompts, room=16)
        result = torch.zeros(len(prompts), len(choices))
        head = backbone(self.model).get_output_embeddings()
        candidates_C = torch.tensor(trie.candidates, dtype=torch.long, device=self.device)
        nodes_N = torch.tensor(trie.tokens, dtype=torch.long, device=self.device)
        sees_NN, depths_N = trie.sees().to(self.device), trie.depths().to(self.device)
        for group in grouped([len(ids) for ids in encoded], extra=trie.size, most=256):
            ids_BT, mask_BT = self._reader.padded([encoded[i] for i in group])
            rows = len(group)
            positions_BT = positions_of(mask_BT)
            if trie.size == 0:
                attention: torch.Tensor = mask_BT
            else:
                ids_BT = torch.cat([ids_BT, nodes_N.expand(rows, -1)], dim=1)
                positions_BT = torch.cat([positions_BT, positions_BT[:, -1:] + 1 + depths_N], dim=1)
                attention = self._tree_mask(mask_BT, sees_NN)
            with self._reader.forward():
                hidden_BTD = (
                    backbone(self.model)
                    .base_model(input_ids=ids_BT, attention_mask=attention, position_ids=positions_BT, use_cache=False)
                    .last_hidden_state
                )
                # All logits at all nodes would be gigabytes for a large vocabulary and many labels.
                logits_BNC = F.linear(hidden_BTD[:, -trie.size - 1 :], head.weight[candidates_C])
            result[group] = trie.probabilities(logits_BNC).cpu()
        return result

    @staticmethod
    def _tree_mask(mask_BT: torch.Tensor, sees_NN: torch.Tensor) -> torch.Tensor:
        """[B, 1, T+N, T+N] bool: a causal prompt, then nodes that see the prompt and their ancestors.

        Padding sees itself, since a row that sees nothing gives NaN.
        """
        rows, length = mask_BT.shape
        nodes = sees_NN.shape[0]
        full = torch.zeros(rows, length + nodes, length + nodes, dtype=torch.bool, device=mask_BT.device)
        causal = torch.ones(length, length, dtype=torch.bool, device=mask_BT.device).tril()
        full[:, :length, :length] = causal & mask_BT[:, None, :]
        full[:, length:, :length] = mask_BT[:, None, :]
        full[:, length:, length:] = sees_NN
        full |= torch.eye(length + nodes, dtype=torch.bool, device=mask_BT.device)
        return full[:, None]

    def nats(self, rows: Sequence[Encoded]) -> list[float]:
        """Negative log-likelihood in nats of the answer tokens of each row.

        A row longer than the context is read in windows that overlap by half; each token is scored once, with at least
        half a context before it. Rows never see each other. Of a latent-variable model it is the exact mixture's.
        """
        if isinstance(inner := backbone(self.model), LatentGPT):
            with self._reader.forward():
                return mixture_nats(inner, rows, context=self.context, pad_id=self.pad_id)
        windows = [(index, *window) for index, row in enumerate(rows) for window in scored_windows(row, self.context)]
        totals = [0.0] * len(rows)
        lengths = [min(self.context, len(rows[i].ids) - first) for i, first, _ in windows]
        for group in grouped(lengths, most=256):
            longest = max(lengths[g] for g in group)
            ids_BT = torch.full((len(group), longest), self.pad_id, dtype=torch.long)
            scored_BT = torch.zeros(len(group), longest, dtype=torch.bool)
            for i, g in enumerate(group):
                index, first, scored = windows[g]
                row = rows[index]
                ids_BT[i, : lengths[g]] = torch.as_tensor(row.ids[first : first + self.context])
                answer = torch.as_tensor(row.answer_mask()[first : first + self.context])
                answer[: scored - first] = False
                scored_BT[i, : lengths[g]] = answer
            ids_BT, chosen_BT = ids_BT.to(self.device), scored_BT[:, 1:].to(self.device)
            with self._reader.forward():
                hidden_BTD = backbone(self.model).base_model(input_ids=ids_BT, use_cache=False).last_hidden_state
                losses_N = token_losses(self.model, hidden_BTD[:, :-1][chosen_BT], ids_BT[:, 1:][chosen_BT])
            owners = chosen_BT.nonzero()[:, 0].tolist()
            for owner, loss in zip(owners, losses_N.tolist(), strict=True):
                totals[windows[group[owner]][0]] += loss
        return totals
