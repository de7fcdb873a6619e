"""Runs a causal language model: texts, streams, likelihoods and label probabilities. One decoding loop serves them all.

Shapes: B sequences, T tokens, D hidden width, V vocabulary, N trie nodes, C candidate tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F

from autogpt.data.batching import Encoded, encode_all
from autogpt.data.tokenizers import encode_texts
from autogpt.generation.choices import ChoiceTrie
from autogpt.generation.grammar import Grammar, Matchers
from autogpt.generation.sampling import Sampling, choose
from autogpt.training.objectives import backbone, token_losses
from autogpt.types import Segment

__all__ = ["Engine", "Prompt"]

Prompt: TypeAlias = str | Sequence[Segment]
"""Text, or rendered segments: earlier answers in a conversation are followed by the end token, as in training."""

_BATCH_TOKENS = 16384
"""Padded tokens of one forward pass: enough to fill two cores, little enough to stay under a few hundred MB."""


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

    @contextmanager
    def _forward(self) -> Iterator[None]:
        half = self.precision == "bf16" and next(self.model.parameters()).dtype == torch.float32
        with torch.inference_mode(), torch.autocast(self.device.type, torch.bfloat16, enabled=half):
            yield

    # ---- prompts -----------------------------------------------------------------------------------------------------

    def encode_prompts(self, prompts: Sequence[Prompt], room: int = 0) -> list[list[int]]:
        """Token ids of each prompt, short enough to leave `room` tokens of the context.

        What does not fit is cut from the middle: the beginning of a document and the end of the prompt (the question,
        the answer's cue) matter most.
        """
        rows = [[Segment(prompt, is_answer=False)] if isinstance(prompt, str) else prompt for prompt in prompts]
        encoded = encode_all(self.tokenizer, rows, max_tokens=max(8, self.context - room))
        return [row.ids.tolist() or [self.eos_id] for row in encoded]

    def _padded(self, rows: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Ids padded on the left and their bool mask, both [B, T]."""
        length = max(map(len, rows))
        ids_BT = torch.full((len(rows), length), self.pad_id, dtype=torch.long)
        mask_BT = torch.zeros(len(rows), length, dtype=torch.bool)
        for i, row in enumerate(rows):
            ids_BT[i, length - len(row) :] = torch.tensor(row)
            mask_BT[i, length - len(row) :] = True
        return ids_BT.to(self.device), mask_BT.to(self.device)

    @staticmethod
    def _groups(lengths: Sequence[int], extra: int, most: int) -> Iterator[list[int]]:
        """Row indices in batches of similar length."""
        group: list[int] = []
        for index in sorted(range(len(lengths)), key=lambda i: lengths[i]):
            if group and (len(group) >= most or (lengths[index] + extra) * (len(group) + 1) > _BATCH_TOKENS):
                yield group
                group = []
            group.append(index)
        if group:
            yield group

    # ---- writing -----------------------------------------------------------------------------------------------------

    def _decode(
        self, prompts: Sequence[Sequence[int]], sampling: Sampling, matchers: Matchers | None = None
    ) -> Iterator[list[tuple[int, int]]]:
        """Decode a batch; each step yields (row, token) of the rows still writing. Finished rows leave the batch."""
        generator = torch.Generator(device=self.device).manual_seed(sampling.seed)
        ids_BT, mask_BT = self._padded(prompts)
        positions_BT = (mask_BT.long().cumsum(-1) - 1).clamp_min(0)
        rows = torch.arange(len(prompts), device=self.device)
        with self._forward():
            out = self.model(
                input_ids=ids_BT, attention_mask=mask_BT, position_ids=positions_BT, use_cache=True, logits_to_keep=1
            )
        seen_BV: torch.Tensor | None = None
        if sampling.repetition_penalty != 1.0:
            seen_BV = torch.zeros(len(prompts), out.logits.shape[-1], dtype=torch.bool, device=self.device)
        for step in range(sampling.max_new_tokens):
            logits_BV = out.logits[:, -1] if matchers is None else matchers.mask(out.logits[:, -1])
            token_B = choose(logits_BV, seen_BV, sampling, generator)
            alive = token_B != self.eos_id
            yield [(int(r), int(t)) for r, t, a in zip(rows, token_B, alive, strict=True) if a]
            if not bool(alive.any()) or step + 1 == sampling.max_new_tokens:
                return
            if matchers is not None:
                matchers.follow(token_B.tolist())
            cache = out.past_key_values
            position_B = positions_BT[:, -1] + 1
            if int(alive.sum()) <= 0.75 * len(rows):  # copying the cache costs; drop finished rows in bulk
                index = alive.nonzero().squeeze(-1)
                cache.batch_select_indices(index)
                rows, token_B, mask_BT, position_B = rows[index], token_B[index], mask_BT[index], position_B[index]
                seen_BV = None if seen_BV is None else seen_BV[index]
                if matchers is not None:
                    matchers.select(index.tolist())
            elif not bool(alive.all()):
                rows = torch.where(alive, rows, torch.full_like(rows, -1))
            if seen_BV is not None:
                seen_BV[torch.arange(len(token_B)), token_B] = True
            positions_BT = position_B[:, None]
            mask_BT = torch.cat([mask_BT, torch.ones_like(mask_BT[:, :1])], dim=-1)
            with torch.inference_mode():
                out = self.model(
                    input_ids=token_B[:, None],
                    attention_mask=mask_BT,
                    position_ids=positions_BT,
                    past_key_values=cache,
                    use_cache=True,
                )

    def complete(
        self, prompts: Sequence[Prompt], sampling: Sampling, grammars: Sequence[Grammar | None] = ()
    ) -> list[str]:
        """The continuation of each prompt up to the end token, in the order given.

        Args:
            grammars: one for each prompt, which its continuation follows; none at all for free writing.
        """
        room = min(sampling.max_new_tokens, self.context // 2)
        encoded = self.encode_prompts(prompts, room)
        answers: list[list[int]] = [[] for _ in prompts]
        for group in self._groups([len(ids) for ids in encoded], room, 64):
            matchers = Matchers.of(self.tokenizer, [grammars[i] for i in group] if grammars else ())
            for step in self._decode([encoded[i] for i in group], self._limited(sampling), matchers):
                for row, token in step:
                    if row >= 0:
                        answers[group[row]].append(token)
        return [self.tokenizer.decode(ids, skip_special_tokens=True) for ids in answers]

    def _limited(self, sampling: Sampling) -> Sampling:
        return sampling.with_options({"max_new_tokens": min(sampling.max_new_tokens, self.context - 1)})

    def stream(self, prompt: Prompt, sampling: Sampling, grammar: Grammar | None = None) -> Iterator[str]:
        """Pieces of the continuation as soon as they are whole characters; joined they equal `complete`."""
        (ids,) = self.encode_prompts([prompt], min(sampling.max_new_tokens, self.context // 2))
        written: list[int] = []
        shown = ""
        for step in self._decode([ids], self._limited(sampling), Matchers.of(self.tokenizer, [grammar])):
            written += [token for row, token in step if row >= 0]
            text = self.tokenizer.decode(written, skip_special_tokens=True)
            whole = text.rstrip("\N{REPLACEMENT CHARACTER}")
            if whole.startswith(shown) and len(whole) > len(shown):
                yield whole[len(shown) :]
                shown = whole
        text = self.tokenizer.decode(written, skip_special_tokens=True)
        if text.startswith(shown) and len(text) > len(shown):
            yield text[len(shown) :]

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
        for group in self._groups([len(ids) for ids in encoded], trie.size, 256):
            ids_BT, mask_BT = self._padded([encoded[i] for i in group])
            rows = len(group)
            positions_BT = (mask_BT.long().cumsum(-1) - 1).clamp_min(0)
            if trie.size == 0:
                attention: torch.Tensor = mask_BT
            else:
                ids_BT = torch.cat([ids_BT, nodes_N.expand(rows, -1)], dim=1)
                positions_BT = torch.cat([positions_BT, positions_BT[:, -1:] + 1 + depths_N], dim=1)
                attention = self._tree_mask(mask_BT, sees_NN)
            with self._forward():
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
        half a context before it. Rows never see each other.
        """
        windows: list[tuple[int, int, int]] = []  # row, first token, first scored token
        for index, row in enumerate(rows):
            windows.append((index, 0, 1))
            first = 0
            while first + self.context < len(row.ids):
                scored = first + self.context
                first = scored - self.context // 2
                windows.append((index, first, scored))
        totals = [0.0] * len(rows)
        lengths = [min(self.context, len(rows[i].ids) - first) for i, first, _ in windows]
        for group in self._groups(lengths, 0, 256):
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
            with self._forward():
                hidden_BTD = backbone(self.model).base_model(input_ids=ids_BT, use_cache=False).last_hidden_state
                losses_N = token_losses(self.model, hidden_BTD[:, :-1][chosen_BT], ids_BT[:, 1:][chosen_BT])
            owners = chosen_BT.nonzero()[:, 0].tolist()
            for owner, loss in zip(owners, losses_N.tolist(), strict=True):
                totals[windows[group[owner]][0]] += loss
        return totals
