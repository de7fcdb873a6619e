"""Trimmed vocabularies: texts come back, known ones in the same tokens; the logits that stay are those that were."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import BPE, WordPiece
from tokenizers.processors import RobertaProcessing
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from autogpt.data.tokenizers import encode_text, encode_texts, train_tokenizer
from autogpt.errors import ModelError
from autogpt.models.bases import resolve
from autogpt.models.gpt import GPT
from autogpt.models.hub import as_gpt, as_llama, load_model, save_model
from autogpt.models.trimming import Vocabulary, trim_model, trim_vocabulary

Make = Callable[..., GPT]

WORDS = "the weather today is lovely and warm, banks transfer money slowly; accounting internationalisation rebalanced"
TEXTS = [*(WORDS.split() * 6), WORDS, "今天天气很好，我们去公园吧。" * 4, "天气预报说明天下雨。" * 4, "naïve café"]
USED = ["the weather today is lovely", "今天天气很好", "café"]


@pytest.fixture(scope="module")
def full() -> PreTrainedTokenizerFast:
    tokenizer = train_tokenizer(TEXTS, 600)
    tokenizer.chat_template = "{{ messages[0].content }}"
    return tokenizer


def _used(tokenizer: Any, texts: list[str] = USED) -> list[int]:
    return [token for row in encode_texts(tokenizer, texts) for token in row]


def _old(vocabulary: Vocabulary, ids: list[int]) -> list[int]:
    return [int(vocabulary.kept_N[token]) for token in ids]


@pytest.fixture(scope="module")
def trimmed(full: PreTrainedTokenizerFast) -> Vocabulary:
    return trim_vocabulary(full, _used(full), floor=0)


def test_what_is_kept(full: PreTrainedTokenizerFast, trimmed: Vocabulary) -> None:
    kept = set(full.convert_ids_to_tokens(trimmed.kept_N.tolist()))
    assert set(pre_tokenizers.ByteLevel.alphabet()) | {"<|bos|>", "<|eos|>", "<|pad|>"} <= kept
    assert {full.convert_ids_to_tokens(token) for token in _used(full)} <= kept
    single = [token for token in range(len(full)) if len(full.decode([token])) == 1 and "�" not in full.decode([token])]
    assert len(single) > 100
    assert set(single) <= set(trimmed.kept_N.tolist())
    assert trimmed.full_size == len(full) > len(trimmed.kept_N) == len(trimmed.tokenizer)
    assert (trimmed.kept_N[1:] > trimmed.kept_N[:-1]).all()


def test_what_the_data_uses_is_written_as_before(full: PreTrainedTokenizerFast, trimmed: Vocabulary) -> None:
    for text in USED:
        ids = encode_text(trimmed.tokenizer, text)
        assert _old(trimmed, ids) == encode_text(full, text)
        assert trimmed.tokenizer.decode(ids) == text
    assert len(encode_text(trimmed.tokenizer, WORDS)) > len(encode_text(full, WORDS))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(TEXTS), min_size=1, max_size=6), st.text(max_size=60))
def test_every_text_comes_back(chosen: list[str], other: str) -> None:
    tokenizer = _tokenizer()
    vocabulary = trim_vocabulary(tokenizer, _used(tokenizer, chosen), floor=0)
    for text in chosen:
        assert _old(vocabulary, encode_text(vocabulary.tokenizer, text)) == encode_text(tokenizer, text)
    assert vocabulary.tokenizer.decode(encode_text(vocabulary.tokenizer, other)) == other


_MADE: list[PreTrainedTokenizerFast] = []


def _tokenizer() -> PreTrainedTokenizerFast:
    _MADE.extend([] if _MADE else [train_tokenizer(TEXTS, 600)])
    return _MADE[0]


def test_up_to_the_floor_the_most_frequent_entries_stay(full: PreTrainedTokenizerFast, trimmed: Vocabulary) -> None:
    floor = len(trimmed.kept_N) + 30
    larger = trim_vocabulary(full, _used(full), floor=floor)
    assert floor <= len(larger.kept_N) <= floor + 3  # an entry comes with what it is joined from
    added = sorted(set(larger.kept_N.tolist()) - set(trimmed.kept_N.tolist()))
    gone = sorted(set(range(len(full))) - set(larger.kept_N.tolist()))
    assert set(trimmed.kept_N.tolist()) < set(larger.kept_N.tolist())
    assert max(added) < max(gone)
    assert len([token for token in gone if token < max(added)]) == 0
    assert len(trim_vocabulary(full, [], floor=10**6).kept_N) == len(full)


def test_control_tokens_and_settings_stay(full: PreTrainedTokenizerFast, trimmed: Vocabulary) -> None:
    ours = trimmed.tokenizer
    assert (ours.bos_token, ours.eos_token, ours.pad_token) == ("<|bos|>", "<|eos|>", "<|pad|>")
    assert ours.chat_template == full.chat_template
    assert ours("the weather").input_ids[0] == ours.bos_token_id
    assert ours.decode(ours("the weather").input_ids, skip_special_tokens=True) == "the weather"
    assert encode_text(ours, "<|eos|>") != [ours.eos_token_id]


def test_ids_in_other_post_processors_follow(full: PreTrainedTokenizerFast) -> None:
    backend = Tokenizer.from_str(full.backend_tokenizer.to_str())
    pair = [("<|eos|>", full.eos_token_id), ("<|bos|>", full.bos_token_id)]
    backend.post_processor = RobertaProcessing(*pair)
    # Control tokens behind the words, as added ones often are: their ids are the ones that change.
    backend.add_special_tokens(["<|late|>"])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<|bos|>", eos_token="<|late|>")
    vocabulary = trim_vocabulary(tokenizer, _used(tokenizer), floor=0)
    assert vocabulary.tokenizer.eos_token_id == len(vocabulary.kept_N) - 1
    assert vocabulary.kept_N[-1] == tokenizer.eos_token_id
    assert _old(vocabulary, vocabulary.tokenizer(USED[0]).input_ids) == tokenizer(USED[0]).input_ids


@pytest.mark.parametrize("tied", [True, False])
def test_the_logits_that_stay_are_those_that_were(
    make: Make, full: PreTrainedTokenizerFast, trimmed: Vocabulary, tied: bool
) -> None:
    fields = {"vocab_size": len(full) + 8, "tie_word_embeddings": tied, "eos_token_id": [1, 2], "pad_token_id": 2}
    whole, smaller = as_llama(make(**fields)), trim_model(as_llama(make(**fields)), trimmed)
    rows = torch.from_numpy(trimmed.kept_N)
    for text in USED:
        old = torch.tensor([encode_text(full, text)])
        new = torch.tensor([encode_text(trimmed.tokenizer, text)])
        hidden = whole.model(old).last_hidden_state
        assert torch.equal(smaller.model(new).last_hidden_state, hidden)
        assert torch.equal(smaller(new).logits, F.linear(hidden, whole.lm_head.weight[rows]))
        torch.testing.assert_close(smaller(new).logits, whole(old).logits[..., rows], atol=1e-6, rtol=1e-6)
    assert (smaller.lm_head.weight is smaller.model.embed_tokens.weight) == tied
    assert smaller.config.vocab_size == smaller.lm_head.out_features == len(rows)
    ids = trimmed.tokenizer.convert_tokens_to_ids(["<|eos|>", "<|pad|>"])
    assert (smaller.config.eos_token_id, smaller.config.pad_token_id) == (ids, ids[1])


def test_a_bias_of_the_head_and_value_embeddings_are_trimmed_too(
    make: Make, full: PreTrainedTokenizerFast, trimmed: Vocabulary
) -> None:
    old = torch.tensor([encode_text(full, USED[0])])
    new = torch.tensor([encode_text(trimmed.tokenizer, USED[0])])
    rows = torch.from_numpy(trimmed.kept_N)
    whole, smaller = (make(vocab_size=len(full), value_embeddings=True) for _ in range(2))
    for model in (whole, smaller):
        model.lm_head.bias = torch.nn.Parameter(torch.arange(len(full)) / 100)
    trim_model(smaller, trimmed)
    torch.testing.assert_close(smaller(new).logits, whole(old).logits[..., rows], atol=1e-6, rtol=1e-6)
    assert sum(p.numel() for p in smaller.parameters()) < sum(p.numel() for p in whole.parameters())


def test_it_is_saved_and_loaded_as_any_model(
    make: Make, full: PreTrainedTokenizerFast, trimmed: Vocabulary, tmp_path: Path
) -> None:
    model = as_gpt(trim_model(as_llama(make(vocab_size=len(full))), trimmed))
    save_model(model, trimmed.tokenizer, tmp_path / "m")
    loaded, tokenizer = load_model(tmp_path / "m")
    ids = encode_text(tokenizer, USED[1])
    assert ids == encode_text(trimmed.tokenizer, USED[1])
    torch.testing.assert_close(
        loaded(torch.tensor([ids])).logits, model(torch.tensor([ids])).logits, atol=1e-5, rtol=1e-4
    )
    assert tokenizer.chat_template == full.chat_template


def test_what_cannot_be_trimmed(make: Make, full: PreTrainedTokenizerFast, trimmed: Vocabulary) -> None:
    pieces = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordPiece({"[UNK]": 0, "a": 1})))
    plain = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(BPE({"a": 0}, [])))  # characters, not bytes
    for tokenizer in (pieces, plain, object()):
        with pytest.raises(ModelError, match="cannot be trimmed") as caught:
            trim_vocabulary(tokenizer, [0])
        assert "\n" not in str(caught.value)
    with pytest.raises(ModelError, match="do not match"):
        trim_model(make(vocab_size=320), trimmed)


def test_gpt2_is_trimmed_as_well(full: PreTrainedTokenizerFast, trimmed: Vocabulary) -> None:
    torch.manual_seed(0)
    shape = GPT2Config(vocab_size=len(full), n_positions=64, n_embd=32, n_layer=1, n_head=2, bos_token_id=0)
    whole = GPT2LMHeadModel(shape).eval()
    old, rows = torch.tensor([encode_text(full, USED[0])]), torch.from_numpy(trimmed.kept_N)
    expected = whole(old).logits[..., rows]
    smaller = trim_model(whole, trimmed)
    new = torch.tensor([encode_text(trimmed.tokenizer, USED[0])])
    torch.testing.assert_close(smaller(new).logits, expected, atol=1e-6, rtol=1e-6)


@pytest.mark.slow
def test_a_real_base() -> None:
    """In the home that $AUTOGPT_PULLED names: tests have an empty home of their own."""
    try:
        folder = resolve("smollm2-135m", Path(os.environ.get("AUTOGPT_PULLED", "none")))
    except ModelError:
        pytest.skip("smollm2-135m is not pulled in $AUTOGPT_PULLED")
    whole, full = load_model(folder, dtype=torch.float32)
    texts = ["How do I top up my card?", "交易失败了怎么办", "My transfer was declined."]
    vocabulary = trim_vocabulary(full, _used(full, texts))
    rows = torch.from_numpy(vocabulary.kept_N)
    with torch.inference_mode():
        expected = [whole(torch.tensor([encode_text(full, text)])).logits[..., rows] for text in texts]
        smaller = trim_model(whole, vocabulary)
        for text, logits in zip(texts, expected, strict=True):
            ids = encode_text(vocabulary.tokenizer, text)
            assert _old(vocabulary, ids) == encode_text(full, text)
            torch.testing.assert_close(smaller(torch.tensor([ids])).logits, logits, atol=1e-4, rtol=1e-5)
