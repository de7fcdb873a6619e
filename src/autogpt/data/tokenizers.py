"""Our own tokenizer, and encoding of user text with any tokenizer so that no text can become a control token."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any
from weakref import WeakKeyDictionary

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from autogpt.errors import ConfigError, DataError

__all__ = ["BOS", "EOS", "PAD", "SMALLEST_VOCABULARY", "encode_text", "encode_texts", "train_tokenizer"]

BOS, EOS, PAD = "<|bos|>", "<|eos|>", "<|pad|>"
SMALLEST_VOCABULARY = 256 + 3
"""Every byte and the three control tokens."""

PATTERN = (
    r"'(?i:[sdmt]|ll|ve|re)"  # English contractions
    r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}&&[^\p{Han}]]+"  # a word, with the space or sign before it
    r"|\p{Han}+"  # Han characters never join punctuation: a name is written alike wherever it stands
    r"|\p{N}"  # digits singly, so that numbers have one spelling
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]|\s+(?!\S)|\s+"
)
"""Where text may be cut before byte pairs are joined; after GPT-4's pattern, with a rule of its own for Han.

Runs of Han characters are not cut to a fixed length, since then a word's tokens would depend on where its run begins.
"""
MOST_TOKEN_BYTES = 18
"""Six Han characters, or an English word; longer tokens are sentences learnt by heart and cost quality, not length."""

MOST_TRAINING_CHARACTERS = 1_000_000
"""Text a vocabulary is learnt from; twice as much takes twice as long and saves half a percent of the tokens."""


def train_tokenizer(
    texts: Iterable[str], vocab_size: int, *, most_characters: int | None = None
) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer (Sennrich et al. 2016; bytes after Radford et al. 2019) learnt from `texts`.

    Any text comes back as it was by `decode(encode_text(...))`. All 256 bytes are in the vocabulary, so nothing is
    unknown. `tokenizer(text)` puts `<|bos|>` in front, as training does. The same texts give the same tokenizer. Of a
    corpus of more than a million characters, evenly spaced texts are used.

    Args:
        texts: the training split's texts; none at all is allowed.
        vocab_size: upper limit of the vocabulary, control tokens included; small corpora give fewer entries.
        most_characters: text to learn from in place of a million characters; what many will use is worth more time.

    Raises:
        ConfigError: `vocab_size` is smaller than 259, every byte and three control tokens.
    """
    if vocab_size < SMALLEST_VOCABULARY:
        raise ConfigError(
            "the vocabulary is too small", found=str(vocab_size), expected=f"at least {SMALLEST_VOCABULARY}"
        )
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        show_progress=False,
        special_tokens=[BOS, EOS, PAD],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        max_token_length=MOST_TOKEN_BYTES,
    )
    backend.train_from_iterator(_spaced(texts, most_characters), trainer)
    bos_id = backend.token_to_id(BOS)
    backend.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A $B", special_tokens=[(BOS, bos_id)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        clean_up_tokenization_spaces=False,
        model_max_length=int(1e30),
    )


def _spaced(texts: Iterable[str], most: int | None = None) -> list[str]:
    most = MOST_TRAINING_CHARACTERS if most is None else most
    kept = list(texts)
    total = sum(map(len, kept))
    if total <= most:
        return kept
    # Bresenham's rule: text i is taken when the whole part of i × share grows.
    share = most / total
    return [text for place, text in enumerate(kept) if int((place + 1) * share) > int(place * share)]


def encode_text(tokenizer: Any, text: str) -> list[int]:
    """Ids of `text` as plain text: no control token is added, and none is recognised inside it."""
    return encode_texts(tokenizer, [text])[0]


def encode_texts(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """`encode_text` of each text, all at once.

    `split_special_tokens` of transformers leaves added tokens that are not marked special (such as `<tool_call>`) in
    force, and is a state of the shared backend. Here a copy of the backend without any added token does the work; the
    tokenizer itself is not touched. Tokenizers without a `tokenizers` backend go through `split_special_tokens`.

    Raises:
        DataError: a text with a lone surrogate, which no encoding of Unicode can write.
    """
    if not texts:
        return []
    for text in texts:
        if not text.isascii() and _SURROGATE.search(text):
            raise DataError("a text cannot be encoded", found="a lone surrogate", expected="valid Unicode")
    backend = _plain_backend(tokenizer)
    if backend is None:
        return [tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True) for text in texts]
    return [encoding.ids for encoding in backend.encode_batch_fast(list(texts), add_special_tokens=False)]


_SURROGATE = re.compile("[\ud800-\udfff]")
_PLAIN: WeakKeyDictionary[Any, Tokenizer] = WeakKeyDictionary()
# A memory of copies, nothing more: making one takes a tenth of a second for a large vocabulary.


def _plain_backend(tokenizer: Any) -> Tokenizer | None:
    original = getattr(tokenizer, "backend_tokenizer", None)
    if not isinstance(original, Tokenizer):
        return None
    if tokenizer not in _PLAIN:
        state = json.loads(original.to_str())
        state.update(added_tokens=[], truncation=None, padding=None, post_processor=None)
        _PLAIN[tokenizer] = Tokenizer.from_str(json.dumps(state))
    return _PLAIN[tokenizer]
