"""The choice of a token against transformers' own logits processors."""

from __future__ import annotations

import pytest
import torch
from transformers import RepetitionPenaltyLogitsProcessor, TopKLogitsWarper, TopPLogitsWarper

from autogpt.errors import ConfigError
from autogpt.generation.sampling import Sampling, choose


def _frequencies(logits: torch.Tensor, sampling: Sampling, seen: torch.Tensor | None = None) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    many = logits.expand(20_000, -1)
    tokens = choose(many, None if seen is None else seen.expand(20_000, -1), sampling, generator)
    return torch.bincount(tokens, minlength=logits.shape[-1]) / len(tokens)


@pytest.mark.parametrize("top_p", [0.3, 0.7, 0.95])
def test_top_p_samples_what_transformers_would(top_p: float) -> None:
    logits = torch.randn(1, 12, generator=torch.Generator().manual_seed(1)) * 2
    expected = TopPLogitsWarper(top_p)(torch.zeros(1, 1, dtype=torch.long), logits.clone()).softmax(-1)[0]
    found = _frequencies(logits, Sampling(temperature=1.0, top_p=top_p))
    assert found.tolist() == pytest.approx(expected.tolist(), abs=0.015)


def test_top_k_and_temperature() -> None:
    logits = torch.randn(1, 12, generator=torch.Generator().manual_seed(2)) * 2
    expected = TopKLogitsWarper(4)(torch.zeros(1, 1, dtype=torch.long), logits / 0.7).softmax(-1)[0]
    found = _frequencies(logits, Sampling(temperature=0.7, top_k=4))
    assert found.tolist() == pytest.approx(expected.tolist(), abs=0.015)


def test_repetition_penalty_equals_transformers() -> None:
    logits = torch.randn(1, 12, generator=torch.Generator().manual_seed(3)) * 2
    seen = torch.zeros(1, 12, dtype=torch.bool)
    seen[0, [2, 5]] = True
    expected = RepetitionPenaltyLogitsProcessor(1.7)(torch.tensor([[2, 5]]), logits.clone()).softmax(-1)[0]
    found = _frequencies(logits, Sampling(temperature=1.0, repetition_penalty=1.7), seen)
    assert found.tolist() == pytest.approx(expected.tolist(), abs=0.015)


def test_greedy_takes_the_most_probable() -> None:
    logits = torch.tensor([[0.1, 3.0, 2.9], [5.0, 0.0, 0.0]])
    assert choose(logits, None, Sampling(), torch.Generator()).tolist() == [1, 0]


@pytest.mark.parametrize("options", [{"temperature": -1}, {"top_p": 1.5}, {"max_new_tokens": 0}])
def test_values_out_of_range_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        Sampling().with_options(options)


def test_an_unknown_option_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="temperature"):
        Sampling().with_options({"temprature": 1.0})
