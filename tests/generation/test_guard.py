"""The guard of a session: what it freezes, what it takes back."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from autogpt.generation.fast_weights import FastRates, FastWeights
from autogpt.generation.guard import FROZEN_CHUNKS, LOOK_EVERY_STEPS, REPLAY_TOKENS, Guard, repeated_share
from autogpt.generation.suffix_weights import SuffixWeights
from autogpt.models.gpt import GPT, GPTConfig


def weights() -> FastWeights:
    torch.manual_seed(0)
    shape = {"vocab_size": 50, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    model = GPT(GPTConfig(**shape, num_attention_heads=2, max_position_embeddings=64)).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return FastWeights(model, share=0.1)


def remembered(fast: FastWeights, guard: Guard, tokens: int = 40, weight: float = 1.0) -> None:
    ids = torch.randint(0, 50, (1, tokens + 1), generator=torch.Generator().manual_seed(3))
    with fast.attached(), torch.no_grad():
        fast.model(input_ids=ids[:, :-1])
        assert fast.seen is not None
        guard.remember(fast.seen, ids[:, 1:], torch.full((1, tokens), weight))


@given(st.lists(st.integers(0, 3), max_size=30), st.integers(1, 4))
def test_repeated_share_counts_what_stood_there_before(tokens: list[int], size: int) -> None:
    grams = [tuple(tokens[at : at + size]) for at in range(len(tokens) - size + 1)]
    repeated = sum(gram in grams[:at] for at, gram in enumerate(grams))
    assert repeated_share(tokens, size) == pytest.approx(repeated / len(grams) if grams else 0.0)


def test_a_loop_stops_learning_until_it_is_over() -> None:
    guard = Guard()
    guard.wrote(list(range(100)))
    assert not guard.is_frozen
    guard.wrote([1, 2, 3, 4] * 40)
    assert guard.is_frozen
    guard.wrote(list(range(200, 520)))  # pushes the loop out of what was written last
    for _ in range(FROZEN_CHUNKS):
        guard.wrote([])
    assert not guard.is_frozen


def test_what_makes_the_first_words_less_probable_is_taken_back() -> None:
    fast, guard = weights(), Guard()
    remembered(fast, guard)
    state = fast.fresh()
    assert guard.replay is not None
    for _ in range(LOOK_EVERY_STEPS):
        fast.learn(state, *guard.replay, torch.ones(1, 40), FastRates())
        guard.look(fast, state)
    good = state.rows([0])
    assert (guard.taken_back, guard.slower) == (0, 1.0)
    state.bias[0, guard.replay[1][0]] = -8.0  # the words of the user, forbidden
    for _ in range(LOOK_EVERY_STEPS):
        guard.look(fast, state)
    assert (guard.taken_back, guard.slower) == (1, 0.5)
    assert torch.equal(state.bias, good.bias)
    assert guard.rates(FastRates(step=2.0)).step == 1.0


def test_numbers_that_are_none_are_taken_back_to_fresh_ones() -> None:
    fast, guard = weights(), Guard()
    remembered(fast, guard)
    state = fast.fresh()
    state.mlp.fill_(float("nan"))
    for _ in range(LOOK_EVERY_STEPS):
        guard.look(fast, state)
    assert guard.taken_back == 1
    assert not state.mlp.any()


def test_where_hidden_states_depend_on_fast_weights_the_words_are_read_again() -> None:
    fast, guard = SuffixWeights(weights().model, share=0.1, context=32), Guard()  # less than what is replayed
    remembered(fast, guard)
    assert guard.replay is not None
    assert guard.replay[0].inner_STR.numel() == guard.replay[0].stream_STD.numel() == 0
    state = fast.fresh()
    with fast.attached():
        for _ in range(LOOK_EVERY_STEPS):
            guard.look(fast, state)
        good = guard.good
        assert good is not None
        state.mlp.normal_()
        state.bias[0, guard.replay[1][0]] = -8.0
        for _ in range(LOOK_EVERY_STEPS):
            guard.look(fast, state)
    assert guard.taken_back == 1
    assert torch.equal(state.mlp, good.mlp)
    (ids,) = guard.replay[0].ids_ST
    with torch.no_grad():
        logits = torch.cat([fast.model(input_ids=piece[None]).logits[0] for piece in ids.split(32)])
    plain = torch.nn.functional.cross_entropy(logits, guard.replay[1][0])
    assert guard.plain == pytest.approx(float(plain), rel=1e-5)


def test_only_the_users_first_words_are_kept() -> None:
    fast, guard = weights(), Guard()
    remembered(fast, guard, weight=0.1)  # the model's own
    assert guard.replay is None
    for _ in range(10):
        remembered(fast, guard, 60)
    assert guard.replay is not None
    assert REPLAY_TOKENS <= guard.replay[1].shape[1] < REPLAY_TOKENS + 60
