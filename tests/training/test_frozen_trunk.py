"""A frozen trunk whose hidden states are kept: the same losses, gradients and models as with the whole model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from autogpt.data.batching import Batches, BatchPlan, Encoded
from autogpt.data.tokenizers import train_tokenizer
from autogpt.errors import ModelError, TrainingError
from autogpt.models.gpt import GPT
from autogpt.models.gpt_config import GPTConfig
from autogpt.models.hub import load_model, save_model
from autogpt.training.frozen_trunk import Keep, TopObjective, TrunkBatches, freeze_trunk, store_bytes
from autogpt.training.loop import TrainSettings, start, train
from autogpt.training.objectives import weighted_token_loss

SETTINGS = TrainSettings(learning_rate=3e-3, warmup_steps=2)
PADDED = BatchPlan(tokens_per_step=192, context=32, packed=False, seed=3)
PACKED = BatchPlan(tokens_per_step=128, context=32, packed=True, seed=3)
LIMIT = 2**24


def _model(seed: int = 0, **fields: Any) -> GPT:
    torch.manual_seed(seed)
    shape: dict[str, Any] = {
        "vocab_size": 40,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 4,
        "num_attention_heads": 2,
        "max_position_embeddings": 64,
    }
    model = GPT(GPTConfig(**{**shape, **fields}))
    with torch.no_grad():
        for parameter in model.parameters():  # fresh blocks are the identity, which proves nothing
            if parameter.ndim > 1:
                parameter.normal_(std=0.2)
    return model


def _rows() -> list[Encoded]:
    rows = []
    for i in range(30):
        ids = [1, *[(i + k) % 36 + 3 for k in range(6 + 3 * (i % 7))], 2]
        weights = np.array([0.0, 0.0, 0.0] + [1.0] * (len(ids) - 3), dtype=np.float32)
        rows.append(Encoded(np.array(ids, dtype=np.int32), weights, str(i), utf8_bytes=len(ids), answers=weights > 0))
    return rows


def _cached(model: GPT, top: int, plan: BatchPlan = PADDED, **options: Any) -> TrunkBatches:
    chosen = {"limit_bytes": LIMIT, "dtype": torch.float32, **options}
    return TrunkBatches(_rows(), plan, 0, model=model, top=top, keep=Keep(**chosen))


def _gradients(model: GPT) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


TOPS: list[tuple[int, dict[str, Any]]] = [
    (0, {}),
    (1, {}),
    (2, {"tie_word_embeddings": False}),
    (3, {"late_key_heads": 1}),
]


@pytest.mark.parametrize("plan", [PADDED, PACKED], ids=["padded", "packed"])
@pytest.mark.parametrize(("top", "fields"), TOPS)
def test_loss_and_gradients_are_those_of_the_whole_model(plan: BatchPlan, top: int, fields: dict[str, Any]) -> None:
    model = freeze_trunk(_model(**fields), top)
    batches, plain, objective = _cached(model, top, plan), Batches(_rows(), plan, 0), TopObjective(model, top)
    for step in range(batches.steps_per_epoch):
        loss = weighted_token_loss(model, plain.batch(step))
        loss.backward()
        expected = _gradients(model)
        model.zero_grad()
        found = objective(model, batches.batch(step))
        found.backward()
        torch.testing.assert_close(found, loss, rtol=1e-5, atol=1e-5)
        assert _gradients(model).keys() == expected.keys()
        for name, gradient in _gradients(model).items():
            torch.testing.assert_close(gradient, expected[name], rtol=1e-4, atol=1e-5, msg=name)
        model.zero_grad()


def test_training_gives_the_same_model_and_leaves_the_trunk_alone() -> None:
    ours, theirs, fresh = freeze_trunk(_model(), 2), freeze_trunk(_model(), 2), _model()
    batches, small = _cached(ours, 2), replace(SETTINGS, micro_tokens=64)
    steps = 3 * batches.steps_per_epoch
    list(train(start(ours, small), batches, small, until=steps, objective=TopObjective(ours, 2)))
    list(train(start(theirs, SETTINGS), Batches(_rows(), PADDED, 0), SETTINGS, until=steps))
    changed = set()
    for (name, a), b, before in zip(ours.named_parameters(), theirs.parameters(), fresh.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=2e-4, msg=name)
        if not torch.equal(a, before):
            changed.add(".".join(name.split(".")[:3]))
    assert changed == {"model.layers.2", "model.layers.3", "model.norm.weight"}


def test_a_probe_trains_a_head_of_its_own_and_is_saved_with_it(tmp_path: Path) -> None:
    model, fresh = freeze_trunk(_model(vocab_size=300), 0), _model(vocab_size=300)
    batches = _cached(model, 0)
    first, *_, last = train(
        start(model, SETTINGS), batches, SETTINGS, until=4 * batches.steps_per_epoch, objective=TopObjective(model, 0)
    )
    assert last.data["loss"] < first.data["loss"]
    before = dict(fresh.model.named_parameters())
    assert [name for name, p in model.model.named_parameters() if not torch.equal(p, before[name])] == ["norm.weight"]
    assert not torch.equal(model.lm_head.weight, model.model.embed_tokens.weight)
    save_model(model, train_tokenizer(["a b c"], 300), tmp_path / "probe")
    loaded, _ = load_model(tmp_path / "probe")
    ids = torch.arange(3, 12)[None]
    torch.testing.assert_close(loaded(ids).logits, model.eval()(ids).logits)


def test_the_trunk_runs_once_for_every_row() -> None:
    model = freeze_trunk(_model(), 1)
    batches, read = _cached(model, 1), []
    model.model.layers[0].register_forward_hook(lambda block, given, made: read.append(given[0].shape[0]))
    for step in range(3 * batches.steps_per_epoch):
        batches.batch(step)
    assert sum(read) == len(_rows())
    batches.rebound(freeze_trunk(_model(), 1), 1).batch(0)
    assert sum(read) == len(_rows())


@pytest.mark.parametrize("plan", [PADDED, PACKED], ids=["padded", "packed"])
def test_hidden_states_are_the_same_bits_whichever_step_asks_first(plan: BatchPlan) -> None:
    model = freeze_trunk(_model(), 2)
    unbroken, resumed = _cached(model, 2, plan), _cached(model, 2, plan)
    for step in range(unbroken.steps_per_epoch):
        unbroken.batch(step)
    for step in range(unbroken.steps_per_epoch, 3 * unbroken.steps_per_epoch):
        first, second = unbroken.batch(step), resumed.batch(step)
        assert torch.equal(first.ids_BT, second.ids_BT)
        assert torch.equal(first.hidden_BTD, second.hidden_BTD)


def test_packed_epochs_hold_every_chunk_once() -> None:
    batches = _cached(freeze_trunk(_model(), 1), 1, PACKED)
    seen = [
        sorted(
            tuple(row)
            for step in range(len(batches))
            for row in batches.batch(epoch * len(batches) + step).ids_BT.tolist()
        )
        for epoch in range(3)
    ]
    assert seen[0] == seen[1] == seen[2]
    assert not torch.equal(batches.batch(0).ids_BT, batches.batch(len(batches)).ids_BT)


def test_in_bf16_they_take_half_the_room_and_hardly_change_the_loss() -> None:
    model = freeze_trunk(_model(), 2)
    exact, rounded, objective = _cached(model, 2), _cached(model, 2, dtype=torch.bfloat16), TopObjective(model, 2)
    assert rounded.batch(0).hidden_BTD.dtype == torch.bfloat16
    found, expected = objective(model, rounded.batch(0)), objective(model, exact.batch(0))
    assert found != expected
    torch.testing.assert_close(found, expected, rtol=5e-3, atol=0)


def test_more_than_the_limit_is_refused() -> None:
    tokens = sum(len(row.ids) for row in _rows())
    needed = store_bytes(tokens, 32)
    assert needed == tokens * 32 * 2
    model = freeze_trunk(_model(), 1)
    _cached(model, 1, dtype=torch.bfloat16, limit_bytes=needed)
    with pytest.raises(TrainingError, match=f"{tokens} tokens of width 32"):
        _cached(model, 1, dtype=torch.bfloat16, limit_bytes=needed - 1)


def test_what_cannot_be_kept() -> None:
    for fields in ({"position": "learned"}, {"dropout": 0.1}):
        with pytest.raises(ModelError, match="cannot be kept"):
            _cached(freeze_trunk(_model(**fields), 1), 1)
    for top in (-1, 5):
        with pytest.raises(ModelError, match="0 to 4 blocks"):
            freeze_trunk(_model(), top)
    shape = {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    other = Qwen2ForCausalLM(Qwen2Config(**shape, num_key_value_heads=2, intermediate_size=32))
    frozen = freeze_trunk(other, 1)  # is trained without keeping anything
    assert {name.split(".")[2] for name, p in frozen.model.layers.named_parameters("x.x") if p.requires_grad} == {"1"}
    with pytest.raises(ModelError, match="GPT or a Llama"):
        TopObjective(frozen, 1)
    with pytest.raises(ModelError, match="cannot be trained alone"):
        freeze_trunk(torch.nn.Module(), 1)
