"""Reading with adaptation: scored before learnt, in windows, against a naive reading of the same text."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Sequence

import pytest
import torch
import torch.nn.functional as F
from transformers.cache_utils import DynamicCache

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
    suffix = AdaptationSettings(mode="suffix", rebuild_every=7)
    assert AdaptationSettings.from_dict(suffix.to_dict()) == suffix
    with pytest.raises(ConfigError, match="chunk"):
        AdaptationSettings(chunk=0)
    with pytest.raises(ConfigError, match="exact or suffix"):
        AdaptationSettings.from_dict({"mode": "prefix"})
    with pytest.raises(ConfigError, match="rebuild_every"):
        AdaptationSettings(rebuild_every=2)


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


# ---- suffix mode -----------------------------------------------------------------------------------------------------


def in_suffix(rebuild_every: int = 0, step: float = 1.0, own_weight: float = 1.0) -> AdaptationSettings:
    return AdaptationSettings(
        FastRates(step=step), 8, own_weight, share=0.2, mode="suffix", rebuild_every=rebuild_every
    )


class Naive:
    """One text, read in pieces through the model over a cache of its own, and steps on chunks of it."""

    def __init__(self, engine: Engine, reads: Adaptation, session: Session) -> None:
        self.model, self.own, self.settings = engine.model, reads.weights, reads.settings
        self.session, self.cache = session, DynamicCache(config=engine.model.config)
        self.held: list[int] = []
        self.steps = 0

    def read(self, ids: Sequence[int]) -> torch.Tensor:
        self.own.use(self.session.state)
        self.held += ids
        with torch.no_grad():
            return self.model(input_ids=torch.tensor([list(ids)]), past_key_values=self.cache).logits[0]

    def again(self, held: list[int]) -> None:
        self.held, self.cache, self.steps = list(held), DynamicCache(config=self.model.config), 0
        self.own.use(self.session.state)
        with torch.no_grad():
            self.model(input_ids=torch.tensor([held]), past_key_values=self.cache)

    def learn(self, inputs: Sequence[int], targets: Sequence[int], cache: DynamicCache, weight: float) -> None:
        self.own.use(self.session.state)
        with self.own.listening(cache):
            self.model(input_ids=torch.tensor([list(inputs)]), past_key_values=cache)
        counted, targets_ST = torch.full((1, len(targets)), weight), torch.tensor([list(targets)])
        self.session.guard.remember(self.own.seen, targets_ST, counted)
        rates = self.session.guard.rates(self.settings.rates)
        self.own.learn(self.session.state, self.own.seen, targets_ST, counted, rates)
        self.session.guard.look(self.own, self.session.state)
        self.steps += 1


@pytest.mark.parametrize("kind", ["gpt", "llama"])
@pytest.mark.parametrize("rebuild_every", [0, 1, 3])
def test_suffix_reads_as_a_naive_loop_does(make_engine: MakeEngine, kind: str, rebuild_every: int) -> None:
    engine, ids = make_engine(kind=kind, num_hidden_layers=4), text(150)
    reads = adaptation(engine, in_suffix(rebuild_every))
    session, naive = reads.session(), Naive(engine, reads, reads.session())
    nats, still = reads.read(session, ids), adaptation(engine, STILL)
    plain = still.read(still.session(), ids)
    torch.testing.assert_close(nats[:8], plain[:8], rtol=1e-4, atol=1e-4)
    assert float((nats[8:] - plain[8:]).abs().max()) > 0.01
    with reads.weights.attached():
        for begin in range(0, 149, 8):
            inputs, targets = ids[begin : min(begin + 8, 149)], ids[begin + 1 : begin + 9]
            if len(naive.held) + len(inputs) > 64:
                naive.again(shortened(naive.held, 64))
            elif rebuild_every and naive.steps >= rebuild_every:
                naive.again(naive.held)
            before = copy.deepcopy(naive.cache)
            expected = F.cross_entropy(naive.read(inputs), torch.tensor(targets), reduction="none")
            torch.testing.assert_close(nats[begin : begin + len(inputs)], expected, rtol=1e-3, atol=1e-3)
            naive.learn(inputs, targets, before, 1.0)
    torch.testing.assert_close(session.state.mlp, naive.session.state.mlp, rtol=1e-2, atol=1e-4)


def test_suffix_scores_before_it_learns(make_engine: MakeEngine) -> None:
    engine, ids = make_engine(num_hidden_layers=4), text(100)
    made = (adaptation(engine, settings) for settings in (in_suffix(), in_suffix(2, step=0.0), STILL))
    nats, still, plain = (reads.read(reads.session(), ids) for reads in made)
    torch.testing.assert_close(still, plain, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(nats[:8], plain[:8], rtol=1e-4, atol=1e-4)
    other = [*ids[:50], *text(50, seed=1)]
    reads = adaptation(engine, in_suffix())
    torch.testing.assert_close(reads.read(reads.session(), other)[:48], nats[:48])


def naive_writing(engine: Engine, reads: Adaptation, session: Session, prompt: str, tokens: int) -> list[int]:
    """Greedy, token by token; a step on each chunk over a copy of the cache as it was before it."""
    (ids,) = engine.encode_prompts([prompt], tokens)
    naive, written, chunk = Naive(engine, reads, session), list[int](), list[int]()
    rebuild_every = reads.settings.rebuild_every
    with reads.weights.attached():
        naive.read(ids[:-1])
        before = copy.deepcopy(naive.cache)
        logits = naive.read(ids[-1:])
        while (token := int(logits[-1].argmax())) != engine.eos_id:
            written.append(token)
            chunk.append(token)
            if len(written) == tokens:  # the last one is not read
                break
            last, almost = naive.held[-8:], copy.deepcopy(naive.cache)
            logits = naive.read([token])
            if len(chunk) < 8:
                continue
            naive.session.guard.wrote(chunk)
            if not naive.session.guard.is_frozen:
                naive.learn(last, chunk, before, reads.settings.own_weight)
                if rebuild_every and naive.steps >= rebuild_every:
                    held = list(naive.held)
                    naive.again(held[:-1])
                    almost = copy.deepcopy(naive.cache)
                    naive.again(held)  # the scores of the pass that was just made stay as they are
            before, chunk = almost, []
    return written


@pytest.mark.parametrize("kind", ["gpt", "llama", "qwen2"])
@pytest.mark.parametrize("rebuild_every", [0, 1, 2])
def test_suffix_writes_as_a_naive_loop_does_each_row(make_engine: MakeEngine, kind: str, rebuild_every: int) -> None:
    engine = make_engine(kind=kind, num_hidden_layers=4)
    reads = engine.adaptation(in_suffix(rebuild_every, own_weight=0.9))
    sessions, own = ([taught(reads, seed) for seed in range(3)] for _ in range(2))
    naive = [naive_writing(engine, reads, one, prompt, 40) for one, prompt in zip(own, PROMPTS, strict=True)]
    plain = engine.completions(PROMPTS, GREEDY)
    with reads.writing(sessions):
        done = engine.completions(PROMPTS, GREEDY, follower=reads)
    for completion, tokens, session, other in zip(done, naive, sessions, own, strict=True):
        assert list(completion.token_ids) == tokens
        torch.testing.assert_close(session.state.mlp, other.state.mlp, rtol=1e-2, atol=1e-3)
        torch.testing.assert_close(session.state.bias, other.state.bias, rtol=1e-2, atol=1e-3)
    assert [one.token_ids for one in done] != [one.token_ids for one in plain]
    assert [one.token_ids for one in engine.completions(PROMPTS, GREEDY)] == [one.token_ids for one in plain]


@pytest.mark.parametrize("rebuild_every", [0, 2])
def test_suffix_rows_are_apart_past_the_context_too(make_engine: MakeEngine, rebuild_every: int) -> None:
    engine = make_engine(context=32, num_hidden_layers=4)
    reads = engine.adaptation(in_suffix(rebuild_every, own_weight=0.5))
    sampling = Sampling(max_new_tokens=100, temperature=1.0, seed=3)
    together = [taught(reads, seed) for seed in range(3)]
    with reads.writing(together):
        done = engine.completions(PROMPTS, sampling, follower=reads)
    for row, prompt in enumerate(PROMPTS):
        alone = [taught(reads, row)]
        with reads.writing(alone):
            (expected,) = engine.completions([prompt], sampling, follower=reads)
        assert done[row].token_ids == expected.token_ids
        if len(expected.token_ids) == 100:  # else it read end tokens beside the others for a while
            torch.testing.assert_close(together[row].state.mlp, alone[0].state.mlp, rtol=1e-2, atol=1e-3)
    assert max(len(one.token_ids) for one in done) == 100


def test_nothing_is_left_in_the_model_when_writing_breaks_off(make_engine: MakeEngine) -> None:
    engine = make_engine(num_hidden_layers=4)
    reads = engine.adaptation(in_suffix())
    before = {name: tensor.clone() for name, tensor in engine.model.state_dict().items()}
    with pytest.raises(KeyboardInterrupt), reads.writing([taught(reads, 1)]):  # noqa: PT012 (a reader who leaves)
        for number, _ in enumerate(engine.stream(PROMPTS[0], GREEDY, follower=reads)):
            if number == 12:
                raise KeyboardInterrupt
    assert all(torch.equal(before[name], tensor) for name, tensor in engine.model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in engine.model.modules())
