"""A writer without weights: seeded sentences of a small language, with everything that the protocol asks for.

Read by the kill test's subprocess as well (`runpy.run_path`), so nothing here may need pytest's import of it.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

HAN = [chr(code) for code in range(0x4E00, 0x4E00 + 3000) if chr(code) not in "一丁了的是道说"]
NAMES = ("林黛玉", "贾宝玉", "薛宝钗")


class ChainWriter:
    """Chinese sentences drawn from the seed, the end of the prompt and what it remembers; many name somebody.

    Args:
        faults: texts that are written instead of a sentence, each with the probability `often`.
    """

    name, identity, context = "chain", "chain-1", 400
    instructed, holds_grammar, by_passages = False, False, False

    def __init__(self, faults: Sequence[str] = (), often: float = 0.2, names: Sequence[str] = NAMES) -> None:
        self._faults, self._often, self._names = tuple(faults), often, tuple(names)
        self._memory = b""
        self.prompts: list[str] = []

    def write(
        self, prompt: str, max_tokens: int, *, stop: Sequence[str] = (), grammar: str | None = None, seed: int = 0
    ) -> Iterator[str]:
        self.prompts.append(prompt)
        key = hashlib.sha256(f"{seed}|{prompt[-40:]}|".encode() + self._memory).digest()
        draw = random.Random(key)
        for _ in range(12):
            if self._faults and draw.random() < self._often:
                yield draw.choice(self._faults)
                continue
            who = draw.choice(self._names) if draw.random() < 0.6 else ""
            body = "".join(draw.choices(HAN, k=draw.randint(8, 20)))
            said = f"{who}笑道：“{body}。”" if who and draw.random() < 0.5 else f"{who}在{body}。"
            yield said[:3]
            yield said[3:] + ("\n" if draw.random() < 0.2 else "")

    def count_tokens(self, text: str) -> int:
        return len(text)

    def remember(self, text: str, *, own: bool = True) -> None:
        self._memory = hashlib.sha256(self._memory + text.encode()).digest()

    def state(self) -> bytes:
        return self._memory

    def restore(self, state: bytes) -> None:
        self._memory = state


@pytest.fixture
def make_writer() -> Callable[..., ChainWriter]:
    return ChainWriter


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., list[Any]]:
    """Writes a small book into `tmp_path / folder` and returns its events."""
    from autogpt.writing.book import write_book
    from autogpt.writing.order import Order, read_settings

    def call(writer: Any, folder: str = "book", *settings: str, **order: Any) -> list[Any]:
        values = {"premise": "林黛玉与贾宝玉、薛宝钗住在园中。", "form": "novel", "chapters": 2, "words": 600, **order}
        return list(write_book(Order(**values), writer, tmp_path / folder, read_settings(settings)))

    return call
