"""A data set as token ids: each tokenizer and each encoding is made once a run and shared by all trials."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from transformers import AutoTokenizer

from autogpt.data.batching import Encoded, encode_all
from autogpt.data.splits import Dataset
from autogpt.data.tokenizers import train_tokenizer
from autogpt.tasks.spec import TaskKind, TaskSpec
from autogpt.tasks.templates import render
from autogpt.types import Example, Segment

__all__ = ["Corpus", "Texts"]


class Texts(ABC):
    """The rendered training rows of one task or of several, and the tokenizers for them, each made once.

    Tokenizers are trained on the training split only; validation and test rows never shape a vocabulary.

    Attributes:
        shared: what an objective has computed from the rows and keeps for later trials of the run.
    """

    def __init__(self) -> None:
        self.shared: dict[Hashable, Any] = {}
        self._tokenizers: dict[int, Any] = {}
        self._base_tokenizers: dict[Path, Any] = {}

    @property
    @abstractmethod
    def parts(self) -> tuple[Corpus, ...]:
        """The corpus of each task, in the order of the tasks."""

    @property
    @abstractmethod
    def packed(self) -> bool:
        """Whether rows are joined to full sequences: where every token counts, as in plain continuation."""

    @property
    @abstractmethod
    def segments(self) -> list[tuple[Segment, ...]]:
        """The training rows as they are read and learnt."""

    @cached_property
    def characters(self) -> int:
        """Characters of the rendered training split."""
        return sum(len(segment.text) for row in self.segments for segment in row)

    def tokenizer(self, vocab_size: int) -> Any:
        """Our own byte-level BPE of at most `vocab_size` entries."""
        if vocab_size not in self._tokenizers:
            texts = (segment.text for row in self.segments for segment in row)
            self._tokenizers[vocab_size] = train_tokenizer(texts, vocab_size)
        return self._tokenizers[vocab_size]

    def base_tokenizer(self, folder: Path) -> Any:
        """The tokenizer of a pretrained base."""
        if folder not in self._base_tokenizers:
            self._base_tokenizers[folder] = AutoTokenizer.from_pretrained(folder)
        return self._base_tokenizers[folder]

    def lengths(self, tokenizer: Any, sample: int = 500) -> tuple[int, int]:
        """(99th percentile of the tokens of a row, the same of its answer), over a sample of the training split."""
        rows = self.segments[:: max(1, len(self.segments) // sample)]
        encoded = encode_all(tokenizer, rows, max_tokens=2**30)
        totals = [len(row.ids) for row in encoded]
        answers = [int(row.answer_mask().sum()) for row in encoded]
        return int(np.percentile(totals, 99)), int(np.percentile(answers, 99))


class Corpus(Texts):
    """The training split of `dataset`, rendered once and encoded on demand."""

    def __init__(self, spec: TaskSpec, dataset: Dataset) -> None:
        super().__init__()
        self.spec, self.dataset = spec, dataset
        self._encoded: dict[tuple[int, float, int], list[Encoded]] = {}

    @property
    def parts(self) -> tuple[Corpus, ...]:
        return (self,)

    @property
    def packed(self) -> bool:
        return self.spec.kind is TaskKind.GENERATION

    @cached_property
    def examples(self) -> list[Example]:
        """What is learnt: the training rows, each once for every answer that it accepts."""
        return [taught for example in self.dataset.train for taught in _with_every_answer(self.spec, example)]

    @cached_property
    def segments(self) -> list[tuple[Segment, ...]]:
        return [render(self.spec, example, answer=True) for example in self.examples]

    def encoded(self, tokenizer: Any, context: int, prompt_weight: float) -> Sequence[Encoded]:
        """The training rows as ids. Packed corpora keep whole rows; others are cut to `context`."""
        limit = 2**30 if self.packed else context
        key = (id(tokenizer), prompt_weight, limit)
        if key not in self._encoded:
            names = [example.id for example in self.examples]
            self._encoded[key] = encode_all(
                tokenizer, self.segments, max_tokens=limit, prompt_weight=prompt_weight, ids=names
            )
        return self._encoded[key]


def _with_every_answer(spec: TaskSpec, example: Example) -> list[Example]:
    """A row with several references shows the model that each is right; one target of them would hide the others."""
    if spec.is_label_task or not isinstance(example.target, str) or not example.references:
        return [example]
    return [replace(example, target=answer) for answer in dict.fromkeys((example.target, *example.references))]
