"""Reading with adaptation: scored before learnt, in windows, against a naive reading of the same text."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F

from autogpt.errors import ConfigError
from autogpt.generation.adaptive import Adaptation, AdaptationSettings, Session
from autogpt.generation.engine import Engine
from autogpt.generation.fast_weights import FastRates, Seen, without_scores
from autogpt.generation.guard import Guard
from autogpt.generation.reading import Reader, shortened
from autogpt.generation.sampling import Sampling

MakeEngine = Callable[..., Engine]
STILL = AdaptationSettings(FastRates(step=0.0), chunk=8, share=0.2)
LEARNS = AdaptationSettings(chunk=8, share=0.2)


def adaptation(engine: Engine, settings: AdaptationSettings, context: int = 64) -> Adaptation:
    return Adaptation(Reader(engine.model, context, engine.pad_id, engine.device), settings)


def text(tokens: int, seed: int = 0, vocabulary: int = 300) -> list[int]:
    drawn = random.Random(seed)
    return [drawn.randrange(5, vocabulary) for _ in range(tokens)]


@pytest.mark.parametrize("kind", ["gpt", "llama"])
def test_without_learning_each_token_has_the_models_own_nats(make_engine: MakeEngine, kind: str) -> None:
    engine, ids = make_engine(kind=kind), text(150)
    reads = adaptation(engine, STILL)
    nats = reads.read(reads.session(), ids)
    assert len(nats) == 149
    held: list[int] = []
    for begin in range(0, 149, 8):
        inputs = ids[begin : min(begin + 8, 149)]
        if len(held) + len(inputs) > 64:
            held = shortened(held, 64)
        held += inputs
        with torch.no_grad():
            logits = engine.model(input_ids=torch.tensor([held])).logits[0, -len(inputs) :]
        expected = F.cross_entropy(logits, torch.tensor(ids[begin + 1 : begin + 1 + len(inputs)]), reduction="none")
        torch.testing.assert_close(nats[begin : begin + len(inputs)], expected, rtol=1e-4, atol=1e-4)


def test_a_chunk_is_scored_before_it_is_learnt_from(make_engine: MakeEngine) -> None:
    engine, ids = make_engine(), text(100)
    reads, still = adaptation(engine, LEARNS), adaptation(engine, STILL)
    nats, plain = reads.read(reads.session(), ids), still.read(still.session(), ids)
    torch.testing.assert_close(nats[:8], plain[:8])
    other = [*ids[:50], *text(50, seed=1)]  # what comes later changes nothing before
    torch.testing.assert_close(reads.read(reads.session(), other)[:48], nats[:48])


def test_a_text_that_repeats_itself_is_learnt(make_engine: MakeEngine) -> None:
    engine = make_engine()
    ids = text(20, vocabulary=60) * 30
    reads, still = adaptation(engine, LEARNS, context=32), adaptation(engine, STILL, context=32)
    session = reads.session()
    nats, plain = reads.read(session, ids), still.read(still.session(), ids)
    assert float(nats[300:].mean()) < 0.8 * float(plain[300:].mean())
    assert session.tokens == 599
    # What it knows now helps from the first chunk on, and reading on is as reading in one go.
    assert float(reads.read(session, ids[:65]).mean()) < float(plain[:64].mean())


def test_tokens_that_do_not_count_are_not_learnt_from(make_engine: MakeEngine) -> None:
    engine, ids = make_engine(), text(64)
    reads = adaptation(engine, LEARNS)
    session = reads.session()
    reads.read(session, ids, [0.0] * 64)
    assert session.tokens == 0
    assert not any(bool(tensor.any()) for tensor in session.state.tensors().values())


def test_nothing_to_read(make_engine: MakeEngine) -> None:
    reads = adaptation(make_engine(), LEARNS)
    assert len(reads.read(reads.session(), [])) == 0
    assert len(reads.read(reads.session(), [7])) == 0


def test_settings_go_through_plain_json() -> None:
    settings = AdaptationSettings(FastRates(2.0, 0.01, 0.3), 32, 0.2, 0.02)
    assert AdaptationSettings.from_dict(settings.to_dict()) == settings
    assert AdaptationSettings.from_dict({}) == AdaptationSettings()
    with pytest.raises(ConfigError, match="chunk"):
        AdaptationSettings(chunk=0)


# ---- writing ---------------------------------------------------------------------------------------------------------

PROMPTS = ["the cat", "今天天气", "1 2 3 4 five"]
GREEDY = Sampling(max_new_tokens=40)


def taught(reads: Adaptation, seed: int) -> Session:
    session = reads.session()
    reads.read(session, text(60, seed))
    return session


def greedy(engine: Engine, reads: Adaptation, session: Session, prompt: str) -> tuple[list[int], Session]:
    """The same by the model's own passes over all tokens so far, and a step on each chunk written."""
    own, settings = reads.weights, reads.settings
    (ids,) = engine.encode_prompts([prompt], GREEDY.max_new_tokens)
    state, written, chunk = session.state.rows([0]), list[int](), list[tuple[Seen, int]]()
    before, guard = None, Guard()
    with own.attached(), torch.no_grad():
        for _ in range(GREEDY.max_new_tokens):
            own.use(state)
            logits = engine.model(input_ids=torch.tensor([[*ids, *written]]), logits_to_keep=1).logits
            seen = without_scores(own.seen)
            if before is not None:
                chunk.append((before, written[-1]))
            before = seen
            if len(chunk) == settings.chunk:
                tokens = torch.tensor([[token for _, token in chunk]])
                counted = torch.full(tokens.shape, settings.own_weight)
                guard.wrote(tokens[0].tolist())
                if guard.is_frozen:
                    counted.zero_()
                own.learn(state, Seen.joined([one for one, _ in chunk]), tokens, counted, settings.rates)
                chunk = []  # the scores of the pass that was just made stay as they are
            token = int(logits[0, -1].argmax())
            if token == engine.eos_id:
                break
            written.append(token)
    return written, Session(state)


@pytest.mark.parametrize("kind", ["gpt", "llama", "qwen2"])
def test_written_as_by_the_naive_way_each_row_with_its_session(make_engine: MakeEngine, kind: str) -> None:
    engine = make_engine(kind=kind)
    reads = engine.adaptation(AdaptationSettings(FastRates(), chunk=8, own_weight=1.0, share=0.2))
    sessions = [taught(reads, seed) for seed in range(3)]
    naive = [greedy(engine, reads, session, prompt) for session, prompt in zip(sessions, PROMPTS, strict=True)]
    plain = engine.completions(PROMPTS, GREEDY)
    with reads.writing(sessions):
        done = engine.completions(PROMPTS, GREEDY, follower=reads)
    for completion, session, (tokens, after) in zip(done, sessions, naive, strict=True):
        assert list(completion.token_ids) == tokens
        torch.testing.assert_close(session.state.bias, after.state.bias, rtol=1e-3, atol=1e-4)
    assert [one.token_ids for one in done] != [one.token_ids for one in plain]
    assert [one.token_ids for one in engine.completions(PROMPTS, GREEDY)] == [one.token_ids for one in plain]


@pytest.mark.parametrize("kind", ["gpt", "llama"])
def test_a_session_writes_the_same_alone_and_beside_others(make_engine: MakeEngine, kind: str) -> None:
    engine = make_engine(kind=kind)
    reads = engine.adaptation(AdaptationSettings(chunk=8, own_weight=1.0, share=0.2))
    alone = [taught(reads, 1)]
    with reads.writing(alone):
        expected = engine.completions([PROMPTS[1]], GREEDY, follower=reads)
    together = [taught(reads, 7), taught(reads, 1), taught(reads, 8)]
    with reads.writing(together):
        done = engine.completions(PROMPTS, GREEDY, follower=reads)
    assert done[1].token_ids == expected[0].token_ids
    for one, other in zip(alone[0].state.tensors().values(), together[1].state.tensors().values(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def test_writing_past_the_context_with_rows_that_end_early(make_engine: MakeEngine) -> None:
    engine = make_engine(context=32)
    reads = engine.adaptation(AdaptationSettings(chunk=8, own_weight=0.5, share=0.2))
    sessions = [reads.session() for _ in PROMPTS]
    sampling = Sampling(max_new_tokens=120, temperature=1.0, seed=3)
    with reads.writing(sessions):
        done = engine.completions(PROMPTS, sampling, follower=reads)
    for completion, session in zip(done, sessions, strict=True):
        assert session.tokens >= 8 * ((len(completion.token_ids) - 1) // 8) - 8
        assert all(bool(tensor.isfinite().all()) for tensor in session.state.tensors().values())


def test_what_is_written_is_not_learnt_when_it_does_not_count(make_engine: MakeEngine) -> None:
    engine = make_engine()
    reads = engine.adaptation(AdaptationSettings(chunk=8, own_weight=0.0, share=0.2))
    session = reads.session()
    with reads.writing([session]):
        pieces = list(engine.stream(PROMPTS[0], GREEDY, follower=reads))
    assert "".join(pieces) == engine.complete([PROMPTS[0]], GREEDY)[0]
    assert not session.state.bias.any()
