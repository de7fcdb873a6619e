"""Text that grows token by token against the tokenizer's own decoding of the whole, and stop strings against a scan."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from autogpt.data.tokenizers import encode_text, train_tokenizer
from autogpt.generation.text_stream import TextStream, decoded

TOKENIZER = train_tokenizer(["今天天气很好 the cat 😀👩‍👩‍👧 naïve", "the cat sat", "今天"] * 4, 330)
Tokens = st.lists(st.integers(0, len(TOKENIZER) - 1), max_size=40)
Stops = st.lists(st.text(alphabet="abc", min_size=1, max_size=4), max_size=4).map(tuple)


def whole(tokens: list[int], tokenizer: Any = TOKENIZER) -> str:
    return str(tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False))


@given(Tokens)
@settings(max_examples=300, deadline=None)
def test_pieces_join_to_what_the_tokenizer_decodes(tokens: list[int]) -> None:
    """Random byte-level tokens: half characters, bytes that are no UTF-8, control tokens."""
    assert decoded(TOKENIZER, tokens) == whole(tokens)


@given(st.text(max_size=30))
@settings(max_examples=200, deadline=None)
def test_only_whole_characters_leave(text: str) -> None:
    text = text.encode("utf-8", "ignore").decode() + "好😀👩‍👩‍👧é"
    stream, shown = TextStream(TOKENIZER), ""
    for token in encode_text(TOKENIZER, text):
        shown += stream.push(token)
        assert text.startswith(shown)
    assert shown + stream.close() == text


def test_a_character_that_never_ends_comes_out_as_a_replacement() -> None:
    first, *_ = encode_text(train_tokenizer([], 259), "好")
    plain = train_tokenizer([], 259)
    stream = TextStream(plain)
    assert stream.push(first) == ""
    assert stream.close() == "\N{REPLACEMENT CHARACTER}"


# --- stop strings ----------------------------------------------------------------------------------------------------


def naive_cut(text: str, stops: tuple[str, ...]) -> tuple[str, bool]:
    """A character at a time: the text before the longest stop string that ends first."""
    for end in range(1, len(text) + 1):
        found = [stop for stop in stops if text[:end].endswith(stop)]
        if found:
            return text[: end - max(map(len, found))], True
    return text, False


@given(st.lists(st.text(alphabet="abcd", min_size=0, max_size=5), max_size=12), Stops)
@settings(max_examples=500, deadline=None)
def test_stop_strings_end_the_text_wherever_tokens_begin(parts: list[str], stops: tuple[str, ...]) -> None:
    """Each part is a token of its own: what is cut depends on the text alone."""
    vocabulary = {part: number for number, part in enumerate(dict.fromkeys([*parts, "x"]))}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="x"))
    backend.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend)
    stream, shown = TextStream(tokenizer, stops), ""
    expected, stopped = naive_cut("".join(parts), stops)
    for part in parts:
        shown += stream.push(vocabulary[part])
        assert expected.startswith(shown)
    assert shown + stream.close() == expected
    assert stream.stopped == stopped


@given(Tokens, st.lists(st.text(alphabet="the cat今天😀\N{REPLACEMENT CHARACTER}", min_size=1, max_size=3), max_size=3))
@settings(max_examples=300, deadline=None)
def test_stop_strings_in_byte_level_text(tokens: list[int], stops: list[str]) -> None:
    assert decoded(TOKENIZER, tokens, tuple(stops)) == naive_cut(whole(tokens), tuple(stops))[0]


def test_text_that_may_become_a_stop_string_is_held_back() -> None:
    stream = TextStream(TOKENIZER, ("the end",))
    tokens = encode_text(TOKENIZER, "so the cat the end and more")
    pieces = [stream.push(token) for token in tokens]
    assert "".join(pieces) + stream.close() == "so the cat "
    assert stream.stopped
    stream = TextStream(TOKENIZER, ("the end",))
    for token in encode_text(TOKENIZER, "so the e"):
        stream.push(token)
    assert stream.close() == "the e"


# --- other tokenizers ------------------------------------------------------------------------------------------------


def sentencepiece_like() -> PreTrainedTokenizerFast:
    """Words with a mark for the space before them, and bytes, as Llama 2 and Mistral have them."""
    words = ["▁the", "▁cat", "s", "▁", "好", "a"]
    vocabulary = {word: number for number, word in enumerate([*words, *(f"<0x{byte:02X}>" for byte in range(256))])}
    backend = Tokenizer(models.BPE(vocabulary, [], byte_fallback=True))
    steps: list[Any] = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    backend.decoder = decoders.Sequence(steps)
    return PreTrainedTokenizerFast(tokenizer_object=backend, clean_up_tokenization_spaces=False)


SENTENCEPIECE = sentencepiece_like()


@given(st.lists(st.sampled_from([[0], [1], [2], [3], [4], [5], "😀", "é", "天"]), min_size=1, max_size=12))
@settings(max_examples=200, deadline=None)
def test_tokenizers_with_marked_spaces(parts: list[Any]) -> None:
    tokens: list[int] = []
    for part in parts:
        tokens += part if isinstance(part, list) else [6 + byte for byte in part.encode()]
    stream = TextStream(SENTENCEPIECE)
    pieces = [stream.push(token) for token in tokens]
    assert "".join(pieces) + stream.close() == whole(tokens, SENTENCEPIECE)
    assert not any("\N{REPLACEMENT CHARACTER}" in piece for piece in pieces)


@pytest.mark.parametrize("tokenizer", [TOKENIZER, SENTENCEPIECE], ids=["byte-level", "sentencepiece"])
def test_work_grows_with_the_text_and_not_with_its_square(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = 0
    known = type(tokenizer).decode

    def counted(self: Any, ids: list[int], *args: Any, **options: Any) -> Any:
        nonlocal asked
        asked += len(ids)
        return known(self, ids, *args, **options)

    monkeypatch.setattr(type(tokenizer), "decode", counted)
    decoded(tokenizer, [4, 5, 4] * 500)
    assert asked <= 1500 * 20
