"""Each penalty against transformers' own processor, a naive version, or numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    MinNewTokensLengthLogitsProcessor,
    NoRepeatNGramLogitsProcessor,
    PreTrainedTokenizerFast,
    RepetitionPenaltyLogitsProcessor,
    SequenceBiasLogitsProcessor,
)

from autogpt.errors import ConfigError
from autogpt.generation.penalties import Penalties, breakers_of, dry_penalties, repeating
from autogpt.generation.sampling import Sampling

CPU = torch.device("cpu")
PROMPT, TEXT = [11, 12, 13, 11], [20, 11, 21, 20, 20]
Ids = list[int]


def after(sampling: Sampling, tokenizer: PreTrainedTokenizerFast, text: Ids, scores: torch.Tensor) -> torch.Tensor:
    penalties = Penalties(sampling, [PROMPT], scores.shape[1], tokenizer, CPU)
    for token in text:
        penalties.follow([token])
    return penalties.apply(scores)


def some_scores(vocabulary: int = 60) -> torch.Tensor:
    return torch.randn(1, vocabulary, generator=torch.Generator().manual_seed(0)) * 3


def test_repetition_penalty_is_transformers_without_the_prompt(tokenizer: PreTrainedTokenizerFast) -> None:
    theirs = RepetitionPenaltyLogitsProcessor(1.7, prompt_ignore_length=len(PROMPT))
    expected = theirs(torch.tensor([PROMPT + TEXT]), some_scores())
    found = after(Sampling(repetition_penalty=1.7), tokenizer, TEXT, some_scores())
    torch.testing.assert_close(found, expected)


def test_bias_is_transformers(tokenizer: PreTrainedTokenizerFast) -> None:
    theirs = SequenceBiasLogitsProcessor([[[3], 2.5], [[7], -100.0]])
    expected = theirs(torch.tensor([PROMPT]), some_scores())
    found = after(Sampling(logit_bias=((3, 2.5), (7, -100.0))), tokenizer, [], some_scores())
    torch.testing.assert_close(found, expected)


def test_min_new_tokens_is_transformers(tokenizer: PreTrainedTokenizerFast) -> None:
    theirs = MinNewTokensLengthLogitsProcessor(len(PROMPT), 3, tokenizer.eos_token_id)
    for written in range(5):
        expected = theirs(torch.tensor([PROMPT + TEXT[:written]]), some_scores())
        assert torch.equal(after(Sampling(min_new_tokens=3), tokenizer, TEXT[:written], some_scores()), expected)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=20), st.integers(1, 4))
@settings(max_examples=100, deadline=None)
def test_banned_ngrams_are_transformers(ids: Ids, size: int) -> None:
    theirs = NoRepeatNGramLogitsProcessor(size)(torch.tensor([ids]), torch.zeros(1, 4))
    found = torch.zeros(1, 4)
    found[0, torch.from_numpy(repeating(np.array(ids), size))] = float("-inf")
    assert torch.equal(found, theirs)


def test_ngrams_count_in_prompt_and_text(tokenizer: PreTrainedTokenizerFast) -> None:
    theirs = NoRepeatNGramLogitsProcessor(2)(torch.tensor([[*PROMPT, 20, 11]]), some_scores())
    assert torch.equal(after(Sampling(no_repeat_ngram=2), tokenizer, [20, 11], some_scores()), theirs)


def test_frequency_and_presence_by_hand(tokenizer: PreTrainedTokenizerFast) -> None:
    sampling = Sampling(frequency_penalty=0.5, presence_penalty=-0.25)
    change = after(sampling, tokenizer, TEXT, some_scores()) - some_scores()
    expected = torch.zeros(1, 60)
    expected[0, 20] = -3 * 0.5 + 0.25
    expected[0, 11] = -1 * 0.5 + 0.25  # once in the text; the prompt does not count
    expected[0, 21] = -1 * 0.5 + 0.25
    torch.testing.assert_close(change, expected)


def test_all_in_the_documented_order(tokenizer: PreTrainedTokenizerFast) -> None:
    sampling = Sampling(logit_bias=((20, 4.0),), repetition_penalty=2.0, frequency_penalty=1.0, presence_penalty=0.5)
    scores = torch.ones(1, 60)
    assert after(sampling, tokenizer, [20, 20], scores)[0, 20].item() == pytest.approx((1 + 4) / 2 - 2 * 1.0 - 0.5)
    assert torch.equal(scores, torch.ones(1, 60))


# --- DRY -------------------------------------------------------------------------------------------------------------


def naive_dry(ids: Ids, breakers: set[int], sampling: Sampling) -> dict[int, float]:
    """For every earlier place: how many tokens before it equal the last tokens, breakers excluded."""
    longest: dict[int, int] = {}
    for place in range(1, len(ids)):
        size = 0
        while size < place and ids[place - 1 - size] == ids[-1 - size] and ids[-1 - size] not in breakers:
            size += 1
        if ids[place] not in breakers:
            longest[ids[place]] = max(longest.get(ids[place], 0), size)
    allowed = sampling.dry_allowed_length
    return {
        token: sampling.dry_multiplier * sampling.dry_base ** (size - allowed)
        for token, size in longest.items()
        if size >= allowed
    }


@given(st.lists(st.integers(0, 4), min_size=1, max_size=25), st.integers(1, 4))
@settings(max_examples=200, deadline=None)
def test_dry_equals_a_naive_search(ids: Ids, allowed: int) -> None:
    sampling = Sampling(dry_multiplier=0.8, dry_allowed_length=allowed)
    is_breaker = np.array([False, False, False, False, True])
    tokens, costs = dry_penalties(np.array(ids), is_breaker, sampling)
    expected = naive_dry(ids, {4}, sampling)
    assert dict(zip(tokens.tolist(), costs.tolist(), strict=True)) == pytest.approx(expected)


def test_dry_by_hand(tokenizer: PreTrainedTokenizerFast) -> None:
    """After 1 2 3 9 1 2 3 the token 9 would be the fourth repeated one: 0.8 * 1.75 ** (3 - 2)."""
    sampling = Sampling(dry_multiplier=0.8)
    tokens, costs = dry_penalties(np.array([31, 32, 33, 39, 31, 32, 33]), np.zeros(60, dtype=bool), sampling)
    assert (tokens.tolist(), costs.tolist()) == ([39], [pytest.approx(0.8 * 1.75)])
    penalties = Penalties(sampling, [[31, 32, 33, 39]], 60, tokenizer, CPU)
    for token in (31, 32, 33):
        penalties.follow([token])
    change = penalties.apply(some_scores()) - some_scores()
    assert change[0, 39].item() == pytest.approx(-0.8 * 1.75, abs=1e-5)
    assert change.count_nonzero() == 1


def test_dry_stays_finite_on_endless_repetition() -> None:
    tokens, costs = dry_penalties(np.full(3000, 5), np.zeros(9, dtype=bool), Sampling(dry_multiplier=100.0))
    assert tokens.tolist() == [5]
    assert 1e5 < costs[0] < 1e8
    assert np.isfinite(
        dry_penalties(np.full(50, 5), np.zeros(9, dtype=bool), Sampling(dry_multiplier=1, dry_base=1))[1]
    )


def test_breakers_are_newlines_quotes_and_control_tokens(tokenizer: PreTrainedTokenizerFast) -> None:
    found = breakers_of(tokenizer)
    for token in range(len(tokenizer)):
        text = tokenizer.decode([token])
        special = token in tokenizer.all_special_ids
        assert found[token] == (special or any(mark in text for mark in '\n"“”「」『』«»'))


# --- batches ---------------------------------------------------------------------------------------------------------


def test_rows_that_are_selected_keep_their_past(tokenizer: PreTrainedTokenizerFast) -> None:
    sampling = Sampling(repetition_penalty=1.3, no_repeat_ngram=2, dry_multiplier=1.0, frequency_penalty=0.3)
    prompts, texts = [[1, 5, 6], [1, 7], [1, 8, 9, 8]], [[5, 6, 5], [7, 7, 7], [8, 9, 8]]
    together = Penalties(sampling, prompts, 60, tokenizer, CPU)
    for tokens in zip(*texts, strict=True):
        together.follow(tokens)
    order = [2, 0, 0]
    together.select(order)
    together.follow([30, 31, 32])
    found = together.apply(some_scores().repeat(3, 1))
    for place, (row, last) in enumerate(zip(order, [30, 31, 32], strict=True)):
        alone = Penalties(sampling, [prompts[row]], 60, tokenizer, CPU)
        for token in [*texts[row], last]:
            alone.follow([token])
        assert torch.equal(found[place], alone.apply(some_scores())[0])


def test_nothing_is_built_when_nothing_is_on(tokenizer: PreTrainedTokenizerFast) -> None:
    assert Penalties.of(Sampling(temperature=1.0, top_k=4), [[1]], 60, tokenizer, CPU) is None
    assert Penalties.of(Sampling(min_new_tokens=1), [[1]], 60, tokenizer, CPU) is not None


def test_a_bias_on_no_token_is_refused(tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(ConfigError, match="found 60; expected 0 to 59"):
        Penalties(Sampling(logit_bias=((60, 1.0),)), [[1]], 60, tokenizer, CPU)
