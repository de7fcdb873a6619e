"""The training rows of several tasks as one corpus: one tokenizer, and every row told which task it is of."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from autogpt.data.batching import Encoded
from autogpt.data.corpus import Corpus, Texts
from autogpt.data.mixing import mixed, of_task
from autogpt.types import Segment

__all__ = ["JointCorpus", "Mixing"]

MOST_COUNTED_ROWS = 20_000
"""Rows of a task that count for its share, K of min(n, K): beyond it a task is large, however large."""

_KEPT = 4
"""Pools that are kept for trials to come: the weights of their rows are copies, and there are ever more mixings."""


@dataclass(frozen=True, slots=True)
class Mixing:
    """How tasks share the steps; see `mixing.mixed`.

    Attributes:
        temperature: 1 for shares in proportion to rows, more for equal ones.
        balance: 1 where every row counts alike, 0 where every token does.
        seed: of what is repeated.
        factors: by which the weight of each task is multiplied; empty where none is.
    """

    temperature: float = 2.0
    balance: float = 1.0
    seed: int = 0
    factors: tuple[float, ...] = ()


class JointCorpus(Texts):
    """Several corpora whose rows are read with one tokenizer.

    Args:
        parts: the corpus of each task.
        weights: how much each task counts.
        names: of the tasks, where what is configured speaks of one of them.
    """

    def __init__(self, parts: Sequence[Corpus], weights: Sequence[float], names: Sequence[str] = ()) -> None:
        super().__init__()
        self._parts, self.weights, self.names = tuple(parts), tuple(weights), tuple(names)
        self._mixed: dict[Hashable, list[Encoded]] = {}

    @property
    def parts(self) -> tuple[Corpus, ...]:
        return self._parts

    @property
    def packed(self) -> bool:
        """False: a row is of one task, also where it is plain text, which is cut into windows."""
        return False

    @cached_property
    def segments(self) -> list[tuple[Segment, ...]]:
        return [row for part in self._parts for row in part.segments]

    def lengths(self, tokenizer: Any, sample: int = 500) -> tuple[int, int]:
        """The greatest of all tasks: none is cut because another one is short."""
        totals, answers = zip(*(part.lengths(tokenizer, sample) for part in self._parts), strict=True)
        return max(totals), max(answers)

    def mixed(
        self, tokenizer: Any, vocab_size: int, context: int, prompt_weight: float, mixing: Mixing
    ) -> list[Encoded]:
        """Rows of all tasks, each beginning with its task's token, as often as `mixing` wants them.

        Args:
            vocab_size: of the model, beyond which the tasks' tokens stand.
            context: most tokens of a row; plain text is cut into windows of it.
            prompt_weight: as in `Corpus.encoded`.

        Raises:
            ValueError: there are factors, and not one for each task.
            DataError: a task has no token to learn from.
        """
        key = (id(tokenizer), vocab_size, context, prompt_weight, mixing)
        pool = self._mixed.pop(key, None)
        if pool is None:
            pool = self._pool(tokenizer, vocab_size, context, prompt_weight, mixing)
        self._mixed[key] = pool  # the last one used is the last to go
        while len(self._mixed) > _KEPT:
            del self._mixed[next(iter(self._mixed))]
        return pool

    def _pool(
        self, tokenizer: Any, vocab_size: int, context: int, prompt_weight: float, mixing: Mixing
    ) -> list[Encoded]:
        bos_id, factors = tokenizer.bos_token_id, mixing.factors or (1.0,) * len(self._parts)
        rows = [
            of_task(part.encoded(tokenizer, context, prompt_weight), task, vocab_size, bos_id=bos_id, context=context)
            for task, part in enumerate(self._parts)
        ]
        return mixed(
            rows,
            temperature=mixing.temperature,
            most=MOST_COUNTED_ROWS,
            weights=[weight * factor for weight, factor in zip(self.weights, factors, strict=True)],
            balance=mixing.balance,
            seed=mixing.seed,
        )
