"""The benchmark of mixtures in small: the toy's oracle against a sum by hand, and how continuations are written."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from bench_latent import CHAINS, HELD_OUT, LENGTH, _several, chains, quality

from autogpt.data.tokenizers import train_tokenizer
from autogpt.models.latent import LatentGPT, LatentGPTConfig


def test_the_oracle_is_the_exact_mixture_of_the_chains() -> None:
    rows, held, oracle = chains(0)
    assert (held.shape, len(rows[0].ids)) == ((HELD_OUT, LENGTH), LENGTH)
    matrices = np.random.default_rng(0).dirichlet(np.full(16, 0.5), (CHAINS, 16))
    lost = 0.0
    for ids in held[:200]:
        each = [np.prod([4 * one[a, b] for a, b in itertools.pairwise(ids)]) for one in matrices]
        lost -= np.log(np.mean(each)) - (LENGTH - 1) * np.log(4)
    assert lost / 200 / (LENGTH - 1) == pytest.approx(oracle, rel=0.02)


def test_every_way_writes_as_many_continuations_as_asked() -> None:
    tokenizer = train_tokenizer(["the cat sat on the mat"] * 3, 300)
    torch.manual_seed(0)
    model = LatentGPT(LatentGPTConfig(vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=2, latents=2)).eval()
    prompt = np.array([1, 40, 41])
    for temperature, each in ((0.0, True), (0.7, True), (1.0, False)):
        texts = _several(model, tokenizer, prompt, 3, (temperature, each), 0)
        assert len(texts) == 3
        assert texts == _several(model, tokenizer, prompt, 3, (temperature, each), 0)
    assert texts[0] != texts[1]


def test_equal_texts_are_as_alike_as_can_be() -> None:
    found = quality([["abcde", "abcde"], ["abcde", "abcde"]], ["abcde", "vwxyz"])
    assert found["pairwise"] == pytest.approx(100.0)
    assert found["mean"] == found["best"] == pytest.approx(50.0, abs=5)
