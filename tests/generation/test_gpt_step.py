"""One token the short way against the model's own forward pass, for every feature that a GPT can have."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from autogpt.generation.engine import Engine
from autogpt.generation.gpt_step import GPTStep
from autogpt.generation.reading import Reading
from autogpt.models.gpt import GPT
from autogpt.models.gpt_config import GPTConfig

FEATURES: list[dict[str, Any]] = [
    {},
    {"num_key_value_heads": 1, "qk_norm": True},
    {"num_key_value_heads": 4, "position": "learned"},
    {"position": "sinusoidal", "mlp": "relu2", "tie_word_embeddings": False},
    {"late_key_heads": 1},
    {"late_key_heads": 2, "position": "learned"},
    {"value_embeddings": True, "residual_scalars": True, "num_hidden_layers": 3},
    {"position": "learned", "mlp": "gelu", "norm": "layer", "bias": True},
]


@pytest.mark.parametrize("prompts", [[[5, 6, 7]], [[5, 6, 7, 8], [9], [10, 11]]], ids=["one row", "padded rows"])
@pytest.mark.parametrize("features", FEATURES, ids=lambda fields: " ".join(fields) or "llama")
def test_steps_equal_the_forward_pass(make_engine: Any, features: dict[str, Any], prompts: list[list[int]]) -> None:
    engine: Engine = make_engine(**features)
    short = Reading(engine._reader, prompts, range(len(prompts)))
    long = Reading(engine._reader, prompts, range(len(prompts)), plain=True)
    assert short._fast is not None
    assert long._fast is None
    rows = [list(prompt) for prompt in prompts]
    for step in range(6):
        tokens = [20 + step + 3 * row for row in range(len(rows))]
        for reading in (short, long):
            reading.read(tokens, torch.tensor(tokens))
        torch.testing.assert_close(short.logits_BV, long.logits_BV, atol=2e-5, rtol=1e-4)
        for row, token in zip(rows, tokens, strict=True):
            row.append(token)
        if step == 2 and len(rows) > 1:
            for reading in (short, long):
                reading.select([2, 0])
            rows = [rows[2], rows[0]]
    with torch.no_grad():
        for row, logits in zip(rows, short.logits_BV, strict=True):
            expected = engine.model(torch.tensor([row]), use_cache=False).logits[0, -1]
            torch.testing.assert_close(logits, expected, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("features", FEATURES, ids=lambda fields: " ".join(fields) or "llama")
def test_long_batches_equal_the_forward_pass(make_engine: Any, features: dict[str, Any]) -> None:
    """Copies of the weights are used after a number of steps."""
    engine: Engine = make_engine(**features)
    prompts = [[5, 6, 7, 8], [9], [10, 11], [12, 13, 14]]
    short, long = (Reading(engine._reader, prompts, range(4), plain=plain) for plain in (False, True))
    for step in range(24):
        tokens = [20 + step, 50 + step, 80 + step, 110 + step]
        for reading in (short, long):
            reading.read(tokens, torch.tensor(tokens))
        torch.testing.assert_close(short.logits_BV, long.logits_BV, atol=2e-5, rtol=1e-4)
    assert short._fast is not None
    (copied,) = short._fast._layers[0].products[0]._across
    assert copied.is_contiguous()


@pytest.mark.parametrize("features", [{}, {"late_key_heads": 1}], ids=["llama", "late keys"])
def test_after_a_prompt_that_was_read_in_bf16(make_engine: Any, features: dict[str, Any]) -> None:
    exact: Engine = make_engine(**features)
    rounded = Engine(exact.model, exact.tokenizer, precision="bf16")
    prompts = [[5, 6, 7, 8], [9], [10, 11]]
    readings = [Reading(engine._reader, prompts, range(3)) for engine in (exact, rounded)]
    for step in range(3):
        for reading in readings:
            reading.read([20 + step] * 3, torch.tensor([20 + step] * 3))
    assert readings[1].logits_BV.dtype == torch.float32
    torch.testing.assert_close(readings[0].logits_BV, readings[1].logits_BV, atol=0.15, rtol=0.05)


def test_what_it_does_not_know_goes_the_long_way(make_engine: Any) -> None:
    class Other(GPT):
        pass

    config = GPTConfig(vocab_size=64, hidden_size=32, num_hidden_layers=1, intermediate_size=64)
    assert GPTStep.fits(GPT(config).eval())
    assert not GPTStep.fits(GPT(config).train())
    assert not GPTStep.fits(Other(config).eval())
    hooked = GPT(config).eval()
    hooked.model.layers[0].mlp.register_forward_hook(lambda *_: None)
    assert not GPTStep.fits(hooked)
    changed = GPT(config).eval()
    changed.model.layers[0].mlp.up_proj = torch.nn.Sequential(changed.model.layers[0].mlp.up_proj)
    assert not GPTStep.fits(changed)
    assert not GPTStep.fits(make_engine(kind="llama").model)
