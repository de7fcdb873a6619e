"""Answers that follow a grammar, against a naive scan over the whole vocabulary, and end to end in the engine."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from autogpt.data.tokenizers import train_tokenizer
from autogpt.errors import ModelError
from autogpt.generation.engine import Engine
from autogpt.generation.grammar import Grammar, Matchers, json_schema, lark, one_of, regex, span_of
from autogpt.generation.sampling import Sampling
from autogpt.models.gpt import GPT
from autogpt.models.gpt_config import GPTConfig

PASSAGE = '1963年，他"出任"\\主教。\nHe moved to Paris in 1990 — 巴黎😀'
TOKENIZER = train_tokenizer([PASSAGE, "他在巴黎出任主教", "He moved"] * 4, 320)


def _engine(seed: int = 0) -> Engine:
    torch.manual_seed(seed)
    shape = GPTConfig(vocab_size=len(TOKENIZER), hidden_size=32, num_hidden_layers=1, intermediate_size=64)
    model = GPT(shape)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return Engine(model, TOKENIZER)


@pytest.mark.parametrize("start", ["", "1963", "出任", "巴", "in 1990", "😀"])
def test_a_token_is_allowed_exactly_when_the_passage_goes_on_so(start: str) -> None:
    matchers = Matchers(TOKENIZER, [span_of(PASSAGE)])
    written = TOKENIZER.encode(start, add_special_tokens=False)
    for token in written:
        matchers.follow([token])
    allowed = matchers.mask(torch.zeros(1, len(TOKENIZER)))[0] == 0
    for token in range(len(TOKENIZER)):
        if token == TOKENIZER.eos_token_id:
            assert bool(allowed[token]) == bool(start)
            continue
        text = TOKENIZER.decode([*written, token])
        if token in TOKENIZER.all_special_ids:
            assert not allowed[token]
        elif "\N{REPLACEMENT CHARACTER}" not in text:
            assert bool(allowed[token]) == (text in PASSAGE), text


@pytest.mark.parametrize("seed", range(4))
def test_whatever_a_model_writes_is_a_span(seed: int) -> None:
    engine = _engine(seed)
    passages = [PASSAGE, "a", "好", "He moved to Paris in 1990", PASSAGE[:5], PASSAGE[5:]]
    prompts = [f"问题{i}" for i in range(len(passages))]
    sampling = Sampling(temperature=1.0, seed=seed, max_new_tokens=12, repetition_penalty=1.2)
    answers = engine.complete(prompts, sampling, [span_of(passage) for passage in passages])
    for answer, passage in zip(answers, passages, strict=True):
        assert answer.rstrip("\N{REPLACEMENT CHARACTER}")  # the token limit may cut a character
        assert answer.rstrip("\N{REPLACEMENT CHARACTER}") in passage
    for prompt, passage in zip(prompts, passages, strict=True):
        streamed = "".join(engine.stream(prompt, Sampling(max_new_tokens=12), span_of(passage)))
        assert [streamed] == engine.complete([prompt], Sampling(max_new_tokens=12), [span_of(passage)])


def test_rows_without_a_grammar_write_what_they_would_write_alone() -> None:
    engine, sampling = _engine(), Sampling(max_new_tokens=8)
    held, free = engine.complete(["a", "a"], sampling, [span_of("巴黎"), None])
    assert held in "巴黎"
    assert free == engine.complete(["a"], sampling)[0]
    assert engine.complete(["a"], sampling, [span_of("")])[0] == free


def test_a_grammar_that_cannot_be_read() -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        Matchers(TOKENIZER, ["start: )"])


# --- grammars that users write ---------------------------------------------------------------------------------------


def accepts(grammar: Grammar, text: str) -> bool:
    """Whether `text` can be written and may end there."""
    from llguidance import LLMatcher

    from autogpt.generation.grammar import _wrapped

    matcher = LLMatcher(_wrapped(TOKENIZER), grammar, log_level=0)
    tokens = TOKENIZER.encode(text, add_special_tokens=False)
    return matcher.try_consume_tokens(tokens) == len(tokens) and matcher.is_accepting()


PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 5},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "tags": {"type": "array", "items": {"enum": ["a", "好", None]}, "maxItems": 3},
    },
    "required": ["name", "age", "tags"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("seed", range(3))
def test_what_is_written_under_a_schema_is_valid(seed: int) -> None:
    (done,) = _engine(seed).completions(
        ["x"], Sampling(temperature=1.0, seed=seed, max_new_tokens=200), [json_schema(PERSON)]
    )
    assert done.finish_reason == "grammar"
    document = json.loads(done.text)
    assert set(document) == {"name", "age", "tags"}
    assert len(document["name"]) <= 5
    assert 0 <= document["age"] <= 150
    assert all(tag in ("a", "好", None) for tag in document["tags"])


@pytest.mark.parametrize("grammar", [json_schema(PERSON), json_schema(json.dumps(PERSON))])
def test_schemas_take_what_python_writes(grammar: Grammar) -> None:
    assert accepts(grammar, json.dumps({"name": "Ann", "age": 7, "tags": ["a", None]}))
    assert accepts(grammar, json.dumps({"name": "安", "age": 0, "tags": ["好"]}, ensure_ascii=False))
    assert not accepts(grammar, json.dumps({"name": "Ann", "age": 200, "tags": []}))
    assert not accepts(grammar, json.dumps({"name": "Ann", "age": 7}))


@given(st.text(alphabet="ab", max_size=8))
@settings(max_examples=60, deadline=None)
def test_expressions_agree_with_python(text: str) -> None:
    for pattern in ("(a+)+b", "a?b{2,3}", "(ab|ba)*"):
        assert accepts(regex(pattern), text) == (re.fullmatch(pattern, text) is not None)


@given(st.lists(st.text(max_size=6), min_size=1, max_size=5), st.text(max_size=6))
@settings(max_examples=100, deadline=None)
def test_choices_are_taken_exactly(choices: list[str], other: str) -> None:
    grammar = one_of(choices)
    for choice in choices:
        assert accepts(grammar, choice)
    assert accepts(grammar, other) == (other in choices)


def test_a_context_free_grammar_is_followed() -> None:
    grammar = lark('start: "(" start ")" | "x"')
    assert accepts(grammar, "((x))")
    assert not accepts(grammar, "((x)")
    assert _engine().complete(["a"], Sampling(max_new_tokens=3), [lark('start: "xyz"')]) == ["xyz"]


@pytest.mark.parametrize(
    ("make", "given", "message"),
    [
        (regex, "(a", "cannot be read"),
        (regex, "(?=a)b", "cannot be read"),
        (regex, "a" * 100_001, "too large"),
        (lark, "start: )", "cannot be read"),
        (lark, 'begin: "a"', "cannot be read"),
        (lark, "start: " + "(" * 5000 + '"a"' + ")*" * 5000, "cannot be read"),
        (lark, "start: " + " | ".join(f'"v{i}"' for i in range(10**5)), "too large"),
        (json_schema, "{not json", "cannot be read"),
        (json_schema, "3", "cannot be read"),
        (json_schema, {"type": "nonsense"}, "cannot be read"),
        (json_schema, {"enum": []}, "cannot be read"),
        (json_schema, {"$ref": "#/nowhere"}, "cannot be read"),
        (json_schema, {"$ref": "http://127.0.0.1:9/x.json"}, "cannot be read"),
        (json_schema, {"enum": [{1, 2}]}, "cannot be read"),
        (json_schema, {"enum": [f"v{i}" for i in range(10**5)]}, "too large"),
        (json_schema, {"properties": {f"p{i}": {} for i in range(2001)}}, "2001 properties"),
        (one_of, [], "nothing to choose"),
        (one_of, [f"{i:012d}" for i in range(10**5)], "too large"),
    ],
)
def test_what_cannot_be_read_is_one_clear_line(make: Any, given: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        make(given)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(depth):
        schema = {"anyOf": [schema, {"type": "integer"}]}
    return schema


@pytest.mark.parametrize("depth", [200, 5000])
def test_schemas_nested_without_end_are_refused(depth: int) -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        json_schema(nested(depth))


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"},
        {"$defs": {"n": {"type": "array", "items": {"$ref": "#/$defs/n"}, "minItems": 1}}, "$ref": "#/$defs/n"},
    ],
    ids=["itself", "each other", "lists without end"],
)
def test_references_that_go_round_in_circles_allow_nothing(schema: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="nothing can be written under the grammar"):
        _engine().complete(["a"], Sampling(), [json_schema(schema)])


def test_a_grammar_without_an_end_is_cut_off() -> None:
    (done,) = _engine().completions(["a"], Sampling(max_new_tokens=9), [lark('start: ("x" | "y") start')])
    assert (done.finish_reason, len(done.token_ids)) == ("length", 9)


def test_a_grammar_that_grows_too_complex_is_an_error() -> None:
    with pytest.raises(ModelError, match="nothing can be written under the grammar"):
        _engine().complete(["a"], Sampling(max_new_tokens=300), [regex("a{1000000}")])


def test_many_choices_work() -> None:
    words = [f"v{i}" for i in range(10**4)]
    grammar = one_of(words)
    assert accepts(grammar, "v9999")
    assert not accepts(grammar, "v10000")
    assert _engine().complete(["a"] * 8, Sampling(max_new_tokens=9), [grammar] * 8)[0] in words
