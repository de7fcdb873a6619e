"""The same results on a GPU as on the CPU; skipped where there is none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from autogpt.data.batching import Batches, BatchPlan, Encoded
from autogpt.data.tokenizers import train_tokenizer
from autogpt.generation.engine import Engine
from autogpt.generation.sampling import Sampling
from autogpt.models.gpt import GPT
from autogpt.models.gpt_config import GPTConfig
from autogpt.training.loop import TrainSettings, load_state, save_state, start, train

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU is at hand"),
]

TEXTS = ["the cat sat on the mat", "今天天气很好，我们去公园", "a bird, a plane"]
TOKENIZER = train_tokenizer(TEXTS * 3, 400)


def _model() -> GPT:
    torch.manual_seed(0)
    shape = GPTConfig(vocab_size=len(TOKENIZER), hidden_size=64, num_hidden_layers=2, late_key_heads=2)
    return GPT(shape)


def _batches() -> Batches:
    ids = np.random.default_rng(0).integers(3, len(TOKENIZER), 4096, dtype=np.int32)
    weights = np.ones(len(ids), dtype=np.float32)
    row = Encoded(ids, weights, "random", utf8_bytes=len(ids), answers=weights > 0)
    return Batches([row], BatchPlan(512, 128, packed=True, seed=0), pad_id=TOKENIZER.pad_token_id)


def _losses(device: str, steps: int) -> list[float]:
    settings = TrainSettings(1e-3, device=device, warmup_steps=2)
    state = start(_model().to(device), settings)
    return [event.data["loss"] for event in train(state, _batches(), settings, until=steps)]


def test_training_takes_the_same_steps_as_on_the_cpu() -> None:
    assert _losses("cuda", 12) == pytest.approx(_losses("cpu", 12), abs=2e-3)


def test_a_checkpoint_of_the_gpu_resumes_on_the_cpu(tmp_path: Path) -> None:
    on_gpu, on_cpu = TrainSettings(1e-3, device="cuda"), TrainSettings(1e-3)
    first = start(_model().cuda(), on_gpu)
    list(train(first, _batches(), on_gpu, until=5))
    save_state(first, tmp_path)
    expected = [event.data["loss"] for event in train(first, _batches(), on_gpu, until=9)]
    second = start(_model(), on_cpu)
    assert load_state(second, tmp_path) is not None
    found = [event.data["loss"] for event in train(second, _batches(), on_cpu, until=9)]
    assert found == pytest.approx(expected, abs=2e-3)


def test_the_engine_writes_the_same_text() -> None:
    model = _model()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    prompts, sampling = ["the cat", "今天", "a"], Sampling(max_new_tokens=12)
    here = Engine(model, TOKENIZER).complete(prompts, sampling)
    assert Engine(model.cuda(), TOKENIZER).complete(prompts, sampling) == here
