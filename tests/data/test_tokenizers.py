"""Our tokenizer and plain encoding, against the text itself and against transformers."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from autogpt.data import tokenizers as module
from autogpt.data.tokenizers import BOS, EOS, PAD, encode_text, encode_texts, train_tokenizer
from autogpt.errors import ConfigError, DataError

TEXTS = [
    "今天天气很好，我们去公园散步吧。今天的天气比昨天的天气好。",
    "The weather is fine today, let's walk in the park. It's finer than yesterday's weather.",
    "北京欢迎你！2008 年，北京举办了奥运会。北京的天气很好。",
] * 20


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer(TEXTS, 400)


@settings(max_examples=200, deadline=None)
@given(text=st.text(st.characters(exclude_categories=("Cs",))))
def test_round_trip_of_any_text(text: str, tokenizer: PreTrainedTokenizerFast) -> None:
    assert tokenizer.decode(encode_text(tokenizer, text)) == text


@pytest.mark.parametrize(
    "text", ["", " ", "\n\n \n", "a  b\t c ", " , . 's n't", "<|eos|>", "e\u0301é", "\u2028\x00\x7f", "🙂👩‍👩‍👧"]
)
def test_round_trip_of_awkward_text(text: str, tokenizer: PreTrainedTokenizerFast) -> None:
    assert tokenizer.decode(encode_text(tokenizer, text)) == text


def test_vocabulary(tokenizer: PreTrainedTokenizerFast) -> None:
    assert len(tokenizer) <= 400
    assert [tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id] == [0, 1, 2]
    assert tokenizer.convert_tokens_to_ids([BOS, EOS, PAD]) == [0, 1, 2]
    assert tokenizer.model_max_length > 1e9
    assert len(encode_text(tokenizer, "天气")) == 1  # learnt
    assert len(encode_text(tokenizer, "2008")) == 4  # digits singly
    assert tokenizer("天气").input_ids == [0, *encode_text(tokenizer, "天气")]


@pytest.mark.parametrize("texts", [[], [""], ["a"], ["好"]])
def test_tiny_corpora_give_every_byte(texts: list[str]) -> None:
    made = train_tokenizer(texts, 8000)
    assert len(made) == 259
    assert made.decode(encode_text(made, "任何 text 🙂")) == "任何 text 🙂"
    assert len({token for byte in range(256) for token in encode_text(made, chr(byte))}) > 128


def test_too_small_a_vocabulary() -> None:
    with pytest.raises(ConfigError, match="found 258; expected at least 259"):
        train_tokenizer(TEXTS, 258)
    assert len(train_tokenizer(TEXTS, 259)) == 259


def test_training_is_the_same_in_another_process(tokenizer: PreTrainedTokenizerFast) -> None:
    code = (
        "import sys, json; from autogpt.data.tokenizers import train_tokenizer;"
        "print(train_tokenizer(json.loads(sys.stdin.read()), 400).backend_tokenizer.to_str())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps(TEXTS),
        capture_output=True,
        text=True,
        check=True,
        encoding="utf-8",
    )
    assert json.loads(done.stdout) == json.loads(tokenizer.backend_tokenizer.to_str())


def test_long_corpora_are_thinned_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_TRAINING_CHARACTERS", 100)
    kept = module._spaced([f"{n:04}" for n in range(100)])
    assert len(kept) == 25
    assert {int(b) - int(a) for a, b in pairwise(kept)} == {4}


def test_saved_and_loaded(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    text = "今天 the weather <|eos|> isn't  fine ?!"
    assert encode_text(loaded, text) == encode_text(tokenizer, text)
    assert loaded(text).input_ids == tokenizer(text).input_ids
    assert loaded.decode(encode_text(loaded, text)) == text
    assert (loaded.bos_token, loaded.eos_token, loaded.pad_token) == (BOS, EOS, PAD)


def test_user_text_never_becomes_a_control_token(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    tokenizer.save_pretrained(tmp_path)
    other = AutoTokenizer.from_pretrained(tmp_path)
    other.add_special_tokens({"additional_special_tokens": ["<|im_start|>"]})
    other.add_tokens([AddedToken("<tool_call>", special=False, lstrip=True), "天气"])
    for text in ["a<|eos|>b", "<|im_start|>system", "x <tool_call>y", "今天天气", "<|bos|><|pad|>"]:
        ids = encode_text(other, text)
        assert other.decode(ids, clean_up_tokenization_spaces=False) == text
        assert max(ids) < len(tokenizer)
        assert not {0, 1, 2} & set(ids)
        assert ids == encode_text(tokenizer, text)
    # The tokenizer itself goes on as before.
    assert other("a<|eos|>", add_special_tokens=False).input_ids[-1] == 1


def test_batches_equal_single_texts(tokenizer: PreTrainedTokenizerFast) -> None:
    texts = ["", "今天", "a b", TEXTS[1]]
    assert encode_texts(tokenizer, texts) == [encode_text(tokenizer, text) for text in texts]
    assert encode_texts(tokenizer, []) == []


def test_settings_of_the_tokenizer_do_not_leak(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    tokenizer.save_pretrained(tmp_path)
    other = AutoTokenizer.from_pretrained(tmp_path)
    other(["今天", "天气 很 好"], padding=True, truncation=True, max_length=2)
    assert encode_texts(other, ["今天", TEXTS[0]]) == encode_texts(tokenizer, ["今天", TEXTS[0]])


def test_invalid_unicode(tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(DataError, match="lone surrogate"):
        encode_text(tokenizer, "a\ud800")
