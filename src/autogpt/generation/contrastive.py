"""Contrastive search: probable tokens that do not resemble what stands before them (Su et al. 2022).

Of the k most probable tokens v the one with the largest (1 - alpha) * p(v) - alpha * s(v) is taken, where s(v) is the
largest cosine similarity between the last hidden state of v and that of any token before it ("A contrastive framework
for neural text generation", equation 5). So each token costs a forward pass of k rows.

Shapes: B rows, K candidates of each, S tokens before, D hidden width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from autogpt.generation.reading import Reader, Reading, shortened
from autogpt.generation.sampling import Sampling

__all__ = ["ContrastiveReading"]


class ContrastiveReading(Reading):
    """A reading whose cache has each row K times, so that the candidates for its next token can be read side by side.

    Args:
        reader: the model.
        prompts: token ids of each row.
        names: numbers of the rows.
        sampling: gives alpha and the number of candidates.
        arguments: tensors with a first dimension B that every forward pass is given.
    """

    def __init__(
        self,
        reader: Reader,
        prompts: Sequence[Sequence[int]],
        names: Sequence[int],
        sampling: Sampling,
        arguments: Mapping[str, Tensor] | None = None,
    ) -> None:
        self._alpha, self._count = sampling.contrastive_alpha, sampling.top_k
        super().__init__(reader, prompts, names, arguments, plain=True)

    def _wishes(self) -> dict[str, Any]:
        return {"output_hidden_states": True}

    def _take_states(self, out: Any, mask_BT: Tensor) -> None:
        self._states_BSD = F.normalize(out.hidden_states[-1].float(), dim=-1)
        self._seen_BS = mask_BT

    def _start(self) -> None:
        super()._start()
        rows_B = torch.arange(len(self._held), device=self._reader.device)
        with torch.inference_mode():
            self._cache.reorder_cache(rows_B.repeat_interleave(self._count))

    def _select_cache(self, index: Tensor) -> None:
        copies_K = torch.arange(self._count, device=index.device)
        self._cache.reorder_cache((index[:, None] * self._count + copies_K).flatten())
        self._states_BSD, self._seen_BS = self._states_BSD[index], self._seen_BS[index]

    def _lay_out(self) -> None:
        super()._lay_out()
        self._states_BSD = self._states_BSD[:, -self._columns :]
        self._seen_BS = self._seen_BS[:, -self._columns :]

    @torch.inference_mode()
    def choose(self, scores_BV: Tensor) -> Tensor:
        """The next token of each row, [B]. It is read in passing, so `logits_BV` is what follows it already.

        Args:
            scores_BV: with all penalties; minus infinity for tokens that may not be chosen.
        """
        if full := self.full:
            for row in full:
                self._held[row] = shortened(self._held[row], self._reader.context)
            self._start()
        count = min(self._count, scores_BV.shape[-1])
        probabilities_BK, tokens_BK = scores_BV.float().softmax(-1).topk(count, dim=-1)
        tokens_BK = F.pad(tokens_BK, (0, self._count - count))
        probabilities_BK = F.pad(probabilities_BK, (0, self._count - count))
        out = self._read_candidates(tokens_BK)
        rows, width = tokens_BK.shape
        states_BKD = F.normalize(out.hidden_states[-1][:, -1].float(), dim=-1).view(rows, width, -1)
        alike_BKS = states_BKD @ self._states_BSD.transpose(1, 2)
        likest_BK = alike_BKS.masked_fill(~self._seen_BS[:, None], -2.0).amax(-1)
        worth_BK = (1 - self._alpha) * probabilities_BK - self._alpha * likest_BK
        best_B = worth_BK.masked_fill(probabilities_BK == 0, float("-inf")).argmax(-1)
        rows_B = torch.arange(rows, device=best_B.device)
        chosen_B = rows_B * width + best_B
        self._cache = out.past_key_values
        self._cache.reorder_cache(chosen_B.repeat_interleave(width))
        self.logits_BV = out.logits[:, -1][chosen_B]
        self._states_BSD = torch.cat([self._states_BSD, states_BKD[rows_B, best_B][:, None]], dim=1)
        self._seen_BS = F.pad(self._seen_BS, (0, 1), value=True)
        token_B = tokens_BK[rows_B, best_B]
        for held, token in zip(self._held, token_B.tolist(), strict=True):
            held.append(token)
        self._lengths_B += 1
        self._columns += 1
        self._longest += 1
        return token_B

    def _read_candidates(self, tokens_BK: Tensor) -> Any:
        count = tokens_BK.shape[1]
        mask_BS = None if self._mask_BS is None else self._mask_BS[:, : self._columns + 1].repeat_interleave(count, 0)
        arguments = {name: value.repeat_interleave(count, 0) for name, value in self._arguments.items()}
        return self._reader.model(
            input_ids=tokens_BK.view(-1, 1),
            attention_mask=mask_BS,
            position_ids=self._lengths_B.repeat_interleave(count)[:, None],
            past_key_values=self._cache,
            use_cache=True,
            **self._wanted,
            **arguments,
        )

    def read(self, tokens: Sequence[int], tokens_B: Tensor) -> None:
        """Nothing: `choose` has read them."""
