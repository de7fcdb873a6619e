"""A taught tokenizer labels our batches and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from autogpt.agent.teaching import IGNORED, LoopTexts, is_taught, teach, unteach
from autogpt.errors import ConfigError


def test_labels_are_the_ids_without_the_padding(make_tokenizer: Callable[..., Any]) -> None:
    tokenizer = make_tokenizer(eos_token="<end>")
    teach(tokenizer, 512)
    batch = tokenizer(
        LoopTexts(["grass<end>", "the sky is blue.<end>"]), return_tensors="pt", padding=True, truncation=True
    )
    assert tokenizer.pad_token == "<end>"
    for ids, labels, mask in zip(batch["input_ids"], batch["labels"], batch["attention_mask"], strict=True):
        wanted = [token if seen else IGNORED for token, seen in zip(ids.tolist(), mask.tolist(), strict=True)]
        assert labels.tolist() == wanted
    # The end token is what pads, and still the model must learn to write it.
    assert (batch["labels"] == tokenizer.eos_token_id).sum().item() == 2


def test_other_calls_and_other_tokenizers_are_untouched(make_tokenizer: Callable[..., Any]) -> None:
    taught, other = (
        make_tokenizer(eos_token="<end>", pad_token="<pad>"),
        make_tokenizer(eos_token="<end>", pad_token="<pad>"),
    )
    teach(taught, 4)
    for texts in (["the sky is blue.", "grass"], "the sky is blue."):
        ours = taught(texts, return_tensors="pt", padding=True)
        theirs = other(texts, return_tensors="pt", padding=True)
        assert set(ours) == set(theirs)
        assert torch.equal(ours["input_ids"], theirs["input_ids"])
    assert not is_taught(other)
    assert "labels" not in other(LoopTexts(["grass"]), return_tensors="pt")
    assert "labels" not in taught(LoopTexts(["grass"]))  # no tensors asked for


def test_texts_are_cut_where_the_tokenizer_has_no_limit(make_tokenizer: Callable[..., Any]) -> None:
    tokenizer = make_tokenizer(eos_token="<end>")
    teach(tokenizer, 5)
    long = LoopTexts(["the sky is blue. " * 9])
    assert tokenizer(long, return_tensors="pt", truncation=True)["labels"].shape == (1, 5)
    assert tokenizer(long, return_tensors="pt", truncation=True, max_length=3)["labels"].shape == (1, 3)
    teach(tokenizer, 7)
    assert tokenizer(long, return_tensors="pt", truncation=True)["labels"].shape == (1, 7)


def test_unteach_gives_the_class_back(make_tokenizer: Callable[..., Any]) -> None:
    tokenizer = make_tokenizer(eos_token="<end>")
    before = type(tokenizer)
    teach(tokenizer, 8)
    teach(tokenizer, 9)
    assert is_taught(tokenizer)
    assert isinstance(tokenizer, before)
    assert unteach(tokenizer) is before
    assert type(tokenizer) is before
    assert unteach(tokenizer) is before


def test_a_taught_tokenizer_is_saved_as_before(make_tokenizer: Callable[..., Any], tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = make_tokenizer(eos_token="<end>", pad_token="<pad>")
    tokenizer.save_pretrained(tmp_path / "before")
    teach(tokenizer, 8)
    tokenizer.save_pretrained(tmp_path / "after")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        saved = [(tmp_path / folder / name).read_text(encoding="utf-8") for folder in ("before", "after")]
        assert saved[0] == saved[1]
    assert not is_taught(AutoTokenizer.from_pretrained(tmp_path / "after"))


def test_neither_pad_nor_end(make_tokenizer: Callable[..., Any]) -> None:
    with pytest.raises(ConfigError, match="neither a pad nor an end token"):
        teach(make_tokenizer(), 8)
