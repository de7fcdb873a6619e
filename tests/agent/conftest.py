"""A tiny real tokenizer, made here so that nothing of ours is needed to test against it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

TEXTS = [
    f"{word} is {colour}." for word in ("the sky", "the sea", "grass", "天空") for colour in ("blue", "green", "蓝色")
]


@pytest.fixture(scope="session")
def texts() -> list[str]:
    return list(TEXTS)


@pytest.fixture
def make_tokenizer() -> Callable[..., Any]:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    def make(**special: str) -> Any:
        backend = Tokenizer(models.BPE())
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        backend.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=300,
            special_tokens=["<end>", "<pad>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        backend.train_from_iterator(TEXTS, trainer)
        return PreTrainedTokenizerFast(tokenizer_object=backend, **special)

    return make
