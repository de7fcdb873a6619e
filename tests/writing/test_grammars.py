"""Grammars, walked over the bytes of a tokenizer: what they accept and what they refuse."""

from __future__ import annotations

from typing import Any

import pytest

from autogpt.writing import grammars


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    from llguidance import LLTokenizer

    return LLTokenizer("byte")


def accepts(tokenizer: Any, grammar: str, text: str) -> bool:
    """Whether the whole text follows the grammar."""
    from llguidance import LLMatcher

    matcher = LLMatcher(tokenizer, grammar)
    assert not matcher.get_error()
    ids = tokenizer.tokenize_bytes(text.encode())
    return matcher.try_consume_tokens(ids) == len(ids) and matcher.is_accepting()


@pytest.mark.parametrize(
    ("grammar", "text", "fits"),
    [
        (grammars.title("zh"), "风雨归舟", True),
        (grammars.title("zh"), "风雨", False),
        (grammars.title("zh"), "风雨的归舟", False),
        (grammars.title("zh", couplet=True), "甄士隐梦幻识通　贾雨村风尘怀闺", True),
        (grammars.title("zh", couplet=True), "甄士隐梦幻识通　贾雨村风尘怀闺秀", False),
        (grammars.title("zh", ["宝玉", "黛玉"], couplet=True), "宝玉梦中游太虚　黛玉灯前焚旧稿", True),
        (grammars.title("zh", ["宝玉", "黛玉"], couplet=True), "黛玉灯前焚旧稿　宝玉梦中游太虚", False),
        (grammars.title("en"), "The Letter of the King", True),
        (grammars.title("en"), "the letter", False),
        (grammars.place("zh"), "大观园", True),
        (grammars.place("en"), "A room in the castle", True),
        (grammars.speech(["ROMEO", "JULIET"], "en"), "ROMEO:\nSpeak to me again,\nand then be gone.\n\n", True),
        (grammars.speech(["ROMEO", "JULIET"], "en"), "TYBALT:\nSpeak to me again.\n\n", False),
        (grammars.speech(["ROMEO"], "en"), "ROMEO:\nSpeak to me.\n\nJULIET:\nNo.\n\n", False),
        (grammars.speech(["宝玉"], "zh"), "宝玉：你来得正好，坐下说话。\n", True),
        (grammars.named("宝玉", "zh"), "宝玉听了，便往园中去了。", True),
        (grammars.named("宝玉", "zh"), "黛玉听了，便往园中去了。", False),
        (grammars.named("Alice", "en"), "Alice went down the hall.", True),
        (grammars.json_document({"type": "object", "properties": {"a": {"type": "integer"}}}), '{"a":1}', True),
        (grammars.json_document({"type": "object", "properties": {"a": {"type": "integer"}}}), '{"a":   1}', False),
    ],
)
def test_what_a_grammar_accepts(tokenizer: Any, grammar: str, text: str, fits: bool) -> None:
    assert accepts(tokenizer, grammar, text) is fits


def test_names_with_quotes_cannot_break_a_grammar(tokenizer: Any) -> None:
    assert accepts(tokenizer, grammars.named('A"b\\c', "en"), 'A"b\\c went down the hall.')


@pytest.mark.parametrize(
    ("grammar", "text", "fits"),
    [
        (grammars.place("en", "Verona"), "Verona. A street", True),
        (grammars.place("en", "Verona"), "Before the castle", True),
        (grammars.place("en"), "Before the street", False),
        (grammars.named("宝玉", "zh"), "宝玉笑道：“你们都来了，坐下罢。”", True),
        (grammars.named("宝玉", "zh"), "宝玉笑道：“你们都来了，坐下罢。", False),
        (grammars.named("宝玉", "zh"), "宝玉王，只见众人都来了。", False),
        (grammars.chapter_end(), "要知端的，且听下回分解。", True),
        (grammars.chapter_end(), "不知后事如何，下回分解。", True),
        (grammars.chapter_end(), "要知端的，下回再说。", False),
    ],
)
def test_grammars_of_scenes(tokenizer: Any, grammar: str, text: str, fits: bool) -> None:
    assert accepts(tokenizer, grammar, text) is fits
