"""What a completion says of itself: reasons, stop strings, log-probabilities, dropped tokens."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from autogpt.generation.completion import Completion
from autogpt.generation.engine import Engine
from autogpt.generation.grammar import span_of
from autogpt.generation.sampling import Sampling

PROMPTS = ["the cat", "今天天气", "a", "好的，😀 then"]


def streamed(engine: Engine, prompt: str, sampling: Sampling) -> tuple[list[str], Completion]:
    pieces, stream = [], engine.stream(prompt, sampling)
    while True:
        try:
            pieces.append(next(stream))
        except StopIteration as end:
            return pieces, end.value


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(temperature=0.9, max_new_tokens=25, seed=3),
        Sampling(temperature=0.9, max_new_tokens=25, seed=3, frequency_penalty=1.0, logit_bias=((30, 3.0),)),
        Sampling(max_new_tokens=25, repetition_penalty=1.5),
    ],
    ids=["drawn", "with penalties", "greedy"],
)
def test_logprobs_are_the_models_own(make_engine: Any, sampling: Sampling) -> None:
    """Of a plain forward pass over prompt and text: before penalties, temperature and truncation."""
    engine: Engine = make_engine()
    for prompt, done in zip(PROMPTS, engine.completions(PROMPTS, sampling.with_options({"logprobs": 3})), strict=True):
        (ids,) = engine.encode_prompts([prompt])
        with torch.no_grad():
            logs = engine.model(torch.tensor([[*ids, *done.token_ids]])).logits[0].log_softmax(-1)[len(ids) - 1 :]
        assert len(done.logprobs) == len(done.token_ids) > 0
        for place, noted in enumerate(done.logprobs):
            assert noted.token == done.token_ids[place]
            assert noted.logprob == pytest.approx(float(logs[place, noted.token]), abs=1e-4)
            best = logs[place].topk(3)
            assert [token for token, _ in noted.alternatives] == best.indices.tolist()
            assert [value for _, value in noted.alternatives] == pytest.approx(best.values.tolist(), abs=1e-4)
    (plain,) = engine.completions(PROMPTS[:1], sampling)
    assert plain.logprobs == ()
    assert plain.text == engine.completions(PROMPTS[:1], sampling.with_options({"logprobs": 0}))[0].text


def test_why_a_text_ended(make_engine: Any) -> None:
    engine: Engine = make_engine()
    (cut,) = engine.completions(["the cat"], Sampling(max_new_tokens=5, min_new_tokens=5))
    assert (cut.finish_reason, len(cut.token_ids)) == ("length", 5)
    always = Sampling(logit_bias=((engine.eos_id, 1000.0),))
    (ended,) = engine.completions(["the cat"], always)
    assert (ended.finish_reason, ended.token_ids, ended.text) == ("stop", (), "")
    (held,) = engine.completions(["a"], Sampling(max_new_tokens=30), [span_of("今天天气")])
    assert held.finish_reason == "grammar"
    (unfinished,) = engine.completions(["a"], Sampling(max_new_tokens=3), ["start: /[0-9]{200}/"])
    assert (unfinished.finish_reason, len(unfinished.token_ids)) == ("length", 3)
    (stopped,) = engine.completions(["the cat"], Sampling(max_new_tokens=40, stop=(cut.text[1:3],)))
    assert stopped.finish_reason == "stop"
    assert stopped.text == cut.text[: cut.text.index(cut.text[1:3])]
    assert stopped.text in cut.text
    assert cut.text[1:3] in engine.tokenizer.decode(stopped.token_ids)


@pytest.mark.parametrize("temperature", [0.0, 1.2])
def test_streams_equal_completions(make_engine: Any, temperature: float) -> None:
    engine: Engine = make_engine()
    free = Sampling(temperature=temperature, max_new_tokens=40, seed=2)
    for prompt in PROMPTS:
        text = engine.complete([prompt], free)[0]
        for stop in ((), (text[3:5],), (text[1:2], text[4:9])):
            sampling = free.with_options({"stop": [each for each in stop if each], "logprobs": 1})
            pieces, done = streamed(engine, prompt, sampling)
            assert "".join(pieces) == done.text
            (expected,) = engine.completions([prompt], sampling)
            assert done.token_ids == expected.token_ids
            assert (done.text, done.finish_reason) == (expected.text, expected.finish_reason)
            assert (done.prompt_tokens, done.prompt_tokens_dropped) == (expected.prompt_tokens, 0)
            assert not any(piece == "" for piece in pieces)


def test_a_beam_search_streams_in_one_piece(make_engine: Any) -> None:
    engine: Engine = make_engine()
    sampling = Sampling(beams=3, max_new_tokens=8, min_new_tokens=4)
    pieces, done = streamed(engine, "the cat", sampling)
    assert pieces == [done.text] == engine.complete(["the cat"], sampling)


def test_a_long_prompt_says_what_it_lost_and_is_continued(make_engine: Any) -> None:
    engine: Engine = make_engine(context=32)
    long, short = "the cat sat on the mat " * 20, "the cat"
    whole = len(engine.tokenizer(long).input_ids)
    sampling = Sampling(max_new_tokens=100, min_new_tokens=100)
    first, second = engine.completions([long, short], sampling)
    assert first.prompt_tokens + first.prompt_tokens_dropped == whole
    assert first.prompt_tokens == 16
    assert second.prompt_tokens_dropped == 0
    assert [len(each.token_ids) for each in (first, second)] == [100, 100]


def test_an_empty_prompt_is_continued(make_engine: Any) -> None:
    engine: Engine = make_engine()
    (done,) = engine.completions([""], Sampling(max_new_tokens=5, min_new_tokens=5))
    assert (len(done.token_ids), done.prompt_tokens) == (5, 1)
    assert engine.completions([], Sampling()) == []
    assert "".join(engine.stream("", Sampling(max_new_tokens=5, min_new_tokens=5))) == done.text


def test_row_arguments_and_rows_are_those_of_the_call(make_engine: Any) -> None:
    """Batches are put together by length; names and tensors go with their prompts."""
    engine: Engine = make_engine()
    plain, seen = engine.model, dict[int, list[int]]()

    class Shifted(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.config, self.inner = plain.config, plain

        def forward(self, wanted: torch.Tensor, **options: Any) -> Any:
            out = self.inner(**options)
            out.logits = torch.nn.functional.one_hot(wanted, plain.config.vocab_size)[:, None].float()
            return out

    class Follower:
        tail, hooked = None, ()

        def about_to_read(self, rows: list[int]) -> None: ...

        def has_read(self, rows: list[int], tokens_B: torch.Tensor | None) -> None:
            for row, token in zip(rows, [] if tokens_B is None else tokens_B.tolist(), strict=tokens_B is not None):
                seen.setdefault(row, []).append(token)

    wanted = torch.tensor([40, 41, 42, 43])
    prompts = ["a b c d e f g", "a", "a b c", "a b c d"]
    done = Engine(Shifted(), engine.tokenizer).completions(
        prompts, Sampling(max_new_tokens=4), row_arguments={"wanted": wanted}, follower=Follower()
    )
    assert [each.token_ids for each in done] == [(token,) * 4 for token in wanted.tolist()]
    assert seen == {row: [token] * 3 for row, token in enumerate(wanted.tolist())}
