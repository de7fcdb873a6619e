"""A data file as texts for a hand-written training loop."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

from autogpt.data.cleaning import to_examples
from autogpt.data.readers import read, sample
from autogpt.errors import DataError, TaskError
from autogpt.tasks.spec import TaskSpec
from autogpt.tasks.templates import render
from autogpt.tasks.understand import understand
from autogpt.types import Drop

__all__ = ["TextDataset", "load_texts"]


_NAMES_NOTHING = "Learn from this file."
"""A sentence without a task in it: `understand` then goes by the data."""


@dataclass(frozen=True, slots=True)
class TextDataset(Sequence[str]):
    """Texts to train on, in the order of the file.

    Attributes:
        texts: each row as one text, the prompt and the answer as `fit` would render them.
        spec: what the rows were understood as.
        drops: rows that could not be used, with the reason.
    """

    texts: tuple[str, ...]
    spec: TaskSpec
    drops: tuple[Drop, ...] = ()

    def __len__(self) -> int:
        return len(self.texts)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[str, ...]: ...
    def __getitem__(self, index: int | slice) -> str | tuple[str, ...]:
        return self.texts[index]

    def __iter__(self) -> Iterator[str]:
        return iter(self.texts)


def load_texts(path: str | Path, description: str = "") -> TextDataset:
    """Read any data file we know and render each usable row with its answer.

    Args:
        path: JSONL, JSON, CSV, TSV, TXT or Parquet.
        description: the task in one sentence; without it the columns alone decide.

    Raises:
        DataError: the file cannot be read, or no row can be used.
        TaskError: neither the columns nor the sentence say what is to be learnt.
    """
    file = Path(path).expanduser()
    table = read(file)
    try:
        spec = understand(description or _NAMES_NOTHING, sample(table))
    except TaskError as error:
        if description:
            raise
        raise TaskError(
            f"the columns of {file.name} alone do not say what is to be learnt",
            found=", ".join(table.columns),
            todo="describe it in one sentence, as `task: …` in the config",
        ) from error
    examples, drops = to_examples(spec, table, need_target=True)
    texts = tuple("".join(part.text for part in render(spec, example, answer=True)) for example in examples)
    if not texts:
        reason = f"{drops[0].id}: {drops[0].reason}" if drops else "no rows"
        raise DataError(f"no row of {file.name} can be trained on", found=reason, expected=f"rows for {spec.kind}")
    return TextDataset(texts, spec, (*table.drops, *drops))
