"""The loop: learns, resumes bit for bit, equals a plain hand-written loop, refuses to go on with a broken loss."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from autogpt.data.batching import Batch, Batches, BatchPlan, Encoded
from autogpt.errors import TrainingError
from autogpt.models.gpt import GPT
from autogpt.models.gpt_config import GPTConfig
from autogpt.models.hub import as_llama
from autogpt.training.loop import TrainSettings, TrainState, averaged, load_state, save_state, start, train
from autogpt.training.machine import compiling_pays
from autogpt.training.objectives import weighted_token_loss
from autogpt.training.optim import OptimizerKind, Schedule


def _model(seed: int = 0, dropout: float = 0.1) -> GPT:
    torch.manual_seed(seed)
    config = GPTConfig(
        vocab_size=40,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=64,
        dropout=dropout,
    )
    return GPT(config)


def _batches(tokens: int = 256) -> Batches:
    """Rows that count upwards: predictable, so that a loss can fall."""
    rows = []
    for i in range(60):
        ids = [1, *[(i + k) % 36 + 3 for k in range(6 + i % 9)], 2]
        weights = np.array([0.0, 0.0, 0.0] + [1.0] * (len(ids) - 3), dtype=np.float32)
        rows.append(Encoded(np.array(ids, dtype=np.int32), weights, str(i), utf8_bytes=len(ids), answers=weights > 0))
    return Batches(rows, BatchPlan(tokens_per_step=tokens, context=32, packed=False, seed=3), pad_id=0)


SETTINGS = TrainSettings(learning_rate=5e-3, warmup_steps=3)


def _drain(state: TrainState, batches: Batches, until: int, settings: TrainSettings = SETTINGS) -> list[float]:
    return [event.data["loss"] for event in train(state, batches, settings, until=until)]


def test_the_loss_falls() -> None:
    losses = _drain(start(_model(), SETTINGS), _batches(), 120)
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("cool", [False, True])
def test_resume_equals_the_unbroken_run_bit_for_bit(tmp_path: Path, cool: bool) -> None:
    schedule = Schedule(5e-3, 3, cooldown_start=8, cooldown_steps=12) if cool else Schedule(5e-3, 3)
    unbroken = start(_model(), SETTINGS)
    unbroken.schedule = schedule
    _drain(unbroken, _batches(), 20)

    first = start(_model(), SETTINGS)
    first.schedule = schedule
    _drain(first, _batches(), 11)
    save_state(first, tmp_path)
    torch.manual_seed(999)  # what another process would have
    second = start(_model(seed=5), SETTINGS)
    assert load_state(second, tmp_path) is not None
    assert (second.step, second.tokens) == (11, first.tokens)
    _drain(second, _batches(), 20)

    for (name, a), b in zip(unbroken.model.named_parameters(), second.model.parameters(), strict=True):
        assert torch.equal(a, b), name
    for a, b in zip(unbroken.ema.average, second.ema.average, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_resume_from_twenty_random_points_equals_the_unbroken_run(tmp_path: Path, optimizer: OptimizerKind) -> None:
    """Through warm-up, plateau and cool-down, at the edges of epochs and of the average's four steps."""
    settings, schedule = replace(SETTINGS, optimizer=optimizer), Schedule(5e-3, 3, cooldown_start=14, cooldown_steps=12)
    points = sorted(random.Random(optimizer).sample(range(1, 26), 20))
    unbroken = start(_model(), settings)
    unbroken.schedule = schedule
    for _ in train(unbroken, _batches(), settings):
        if unbroken.step in points:
            save_state(unbroken, tmp_path / str(unbroken.step))
    assert unbroken.step == 26
    for point in points:
        torch.manual_seed(point)
        resumed = start(_model(seed=point), settings)
        assert load_state(resumed, tmp_path / str(point)) is not None
        _drain(resumed, _batches(), 26, settings)
        assert resumed.tokens == unbroken.tokens
        for (name, a), b in zip(unbroken.model.named_parameters(), resumed.model.parameters(), strict=True):
            assert torch.equal(a, b), (point, name)
        for a, b in zip(unbroken.ema.average, resumed.ema.average, strict=True):
            assert torch.equal(a, b)


def _packed() -> Batches:
    """19 full rows in steps of four: the last step of an epoch has another shape."""
    ids = np.array([3 + (i * i) % 36 for i in range(19 * 32)], dtype=np.int32)
    weights = np.ones(len(ids), dtype=np.float32)
    row = Encoded(ids, weights, "text", utf8_bytes=len(ids), answers=weights > 0)
    return Batches([row], BatchPlan(tokens_per_step=128, context=32, packed=True, seed=3), pad_id=0)


def test_a_step_says_what_share_of_the_machine_it_used() -> None:
    settings = replace(SETTINGS, peak_flops=1e12)
    state = start(_model(), settings)
    *_, last = train(state, _packed(), settings, until=5)
    per_token = 6 * sum(p.numel() for p in state.model.parameters() if p.ndim == 2) + 12 * 2 * 32 * 32
    assert last.data["mfu"] == pytest.approx(per_token * state.tokens_per_s / 1e12, rel=1e-3, abs=5e-5)
    assert last.data["memory_mb"] > 100
    state.model.model.embed_tokens.requires_grad_(False)
    *_, last = train(state, _packed(), settings, until=6)
    assert last.data["mfu"] is None


@pytest.mark.filterwarnings("ignore")  # PyTorch warns of itself while it compiles
def test_only_steps_of_the_first_shape_go_through_the_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[tuple[int, ...]] = []

    def backend(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Callable[..., object]:
        compiled.extend(tuple(x.shape) for x in inputs if x.shape[-2:] == (32, 32) and x.ndim == 3)
        return graph.forward

    plainly = torch.compile
    monkeypatch.setattr(torch, "compile", lambda f, dynamic: plainly(f, dynamic=dynamic, backend=backend))
    settings = replace(SETTINGS, compile=True)
    losses = []
    for chosen in (SETTINGS, settings):
        state = start(_model(dropout=0.0), chosen)
        losses.append(_drain(state, _packed(), 12, chosen))
        assert not any("forward" in vars(block) for block in state.model.model.layers)
    assert losses[1] == pytest.approx(losses[0], abs=1e-4)
    assert {shape[0] for shape in compiled} == {4}


def test_a_compiler_that_does_not_work_is_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("g++: command failed")

    monkeypatch.setattr(torch, "compile", lambda forward, dynamic: broken)
    settings = replace(SETTINGS, compile=True)
    losses = _drain(start(_model(dropout=0.0), settings), _packed(), 5, settings)
    assert losses == _drain(start(_model(dropout=0.0), SETTINGS), _packed(), 5)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(not compiling_pays("cpu", 1e6), reason="needs a C++ compiler")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_compiled_steps_learn_what_plain_ones_do(precision: str) -> None:
    losses = []
    for compiled in (False, True):
        settings = replace(SETTINGS, compile=compiled, precision=precision)
        losses.append(_drain(start(_model(dropout=0.0), settings), _packed(), 30, settings))
    assert losses[1] == pytest.approx(losses[0], rel=1e-4 if precision == "fp32" else 0.03)


GOLDEN = [3.746, 3.123, 2.861, 2.549, 2.176, 1.896, 1.547, 1.398, 1.047, 0.8]
"""Losses of steps 1, 6, 11, … of the run below. A change here is a change of what training does: say why."""


def test_fifty_steps_equal_a_plain_loop_around_transformers_llama() -> None:
    batches, settings = _batches(), replace(SETTINGS, learning_rate=3e-3, weight_decay=0.1)
    state = start(_model(dropout=0.0), settings)
    llama = copy.deepcopy(as_llama(state.model)).train()
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in llama.parameters() if p.ndim >= 2], "weight_decay": 0.1},
            {"params": [p for p in llama.parameters() if p.ndim < 2], "weight_decay": 0.0},
        ],
        betas=(0.9, 0.95),
    )
    theirs = []
    for step in range(50):
        batch = batches.batch(step)
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * min(1, (step + 1) / 3)
        losses = F.cross_entropy(
            llama(batch.ids_BT).logits[:, :-1].transpose(1, 2), batch.ids_BT[:, 1:], reduction="none"
        )
        loss = (losses * batch.weights_BT[:, 1:]).sum() / batch.weights_BT[:, 1:].sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(llama.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        theirs.append(loss.item())
    ours = _drain(state, batches, 50, settings)
    assert ours == pytest.approx(theirs, abs=2e-3)
    assert ours[::5] == pytest.approx(GOLDEN, abs=5e-3)


def test_muon_moves_the_matrices_of_the_blocks_and_adamw_the_rest() -> None:
    """Against torch.optim.Muon and AdamW on the two groups, written out."""
    batches, settings = _batches(), replace(SETTINGS, optimizer="muon", max_grad_norm=1e9)
    ours, theirs = _model(dropout=0.0), _model(dropout=0.0)
    list(train(start(ours, settings), batches, settings, until=1))
    inner = [p for name, p in theirs.named_parameters() if "layers" in name and p.ndim == 2]
    outer = [p for p in theirs.parameters() if all(p is not one for one in inner)]
    assert len(inner) == 14
    (weighted_token_loss(theirs, batches.batch(0)) / batches.batch(0).weights_BT[:, 1:].sum()).backward()
    torch.optim.Muon(inner, lr=5e-3 / 3, weight_decay=0.1, adjust_lr_fn="match_rms_adamw").step()
    matrices = [p for p in outer if p.ndim == 2]
    gains = [p for p in outer if p.ndim == 1]
    torch.optim.AdamW(matrices, lr=5e-3 / 3, betas=(0.9, 0.95), weight_decay=0.1).step()
    torch.optim.AdamW(gains, lr=5e-3 / 3, betas=(0.9, 0.95), weight_decay=0.0).step()
    for (name, a), b in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, msg=name)


def test_one_step_equals_a_hand_written_one() -> None:
    batches, settings = _batches(), replace(SETTINGS, max_grad_norm=0.7, weight_decay=0.0)
    ours, theirs = _model(dropout=0.0), _model(dropout=0.0)
    list(train(start(ours, settings), batches, settings, until=1))

    batch = batches.batch(0)
    logits = theirs(batch.ids_BT).logits[:, :-1]
    losses = F.cross_entropy(logits.flatten(0, 1), batch.ids_BT[:, 1:].flatten(), reduction="none")
    weights = batch.weights_BT[:, 1:].flatten()
    ((losses * weights).sum() / weights.sum()).backward()
    torch.nn.utils.clip_grad_norm_(theirs.parameters(), 0.7)
    optimizer = torch.optim.AdamW(theirs.parameters(), lr=5e-3 / 3, betas=(0.9, 0.95), weight_decay=0.0)
    optimizer.step()
    for (name, a), b in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert torch.allclose(a, b, atol=2e-5), name


def test_accumulation_gives_the_gradient_of_the_whole_batch() -> None:
    whole, split = _model(dropout=0.0), _model(dropout=0.0)
    batches = _batches(tokens=512)
    list(train(start(whole, SETTINGS), batches, SETTINGS, until=3))
    small = replace(SETTINGS, micro_tokens=64)
    list(train(start(split, small), batches, small, until=3))
    for (name, a), b in zip(whole.named_parameters(), split.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-4), name


def test_the_average_is_lent_and_given_back() -> None:
    state = start(_model(), SETTINGS)
    _drain(state, _batches(), 30)
    before = [p.detach().clone() for p in state.model.parameters()]
    with averaged(state) as model:
        assert not model.training
        assert any(not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(before, state.model.parameters(), strict=True))


def test_the_schedule_warms_up_stays_and_falls_to_zero() -> None:
    schedule = Schedule(1.0, 4, cooldown_start=10, cooldown_steps=5)
    rates = [schedule.rate(step) for step in range(15)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert rates[4:10] == [1.0] * 6
    assert rates[10:] == pytest.approx([0.8, 0.6, 0.4, 0.2, 0.0])
    assert schedule.end == 15
    assert Schedule(1.0, 4).end is None


def test_a_loss_that_is_not_finite_stops_the_run() -> None:
    def broken(model: GPT, batch: Batch) -> torch.Tensor:
        return next(model.parameters()).sum() * float("nan")

    with pytest.raises(TrainingError, match="at step 0"):
        list(train(start(_model(), SETTINGS), _batches(), SETTINGS, until=2, objective=broken))


def test_stopping_the_generator_leaves_a_whole_state() -> None:
    def some(state: TrainState, batches: Batches) -> Iterator[int]:
        for event in train(state, batches, SETTINGS, until=50):
            yield event.data["step"]

    one = start(_model(), SETTINGS)
    for step in some(one, _batches()):
        if step == 7:
            break
    _drain(one, _batches(), 15)
    two = start(_model(), SETTINGS)  # seeds dropout, so it must come after the first one is through
    _drain(two, _batches(), 15)
    assert all(torch.equal(a, b) for a, b in zip(one.model.parameters(), two.model.parameters(), strict=True))


def _small_memory(most_rows: int) -> Callable[[GPT, Batch], torch.Tensor]:
    """An objective on a machine whose memory holds so many rows, with the CPU allocator's own words."""

    def objective(model: GPT, batch: Batch) -> torch.Tensor:
        if len(batch.ids_BT) > most_rows:
            raise RuntimeError(
                "[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: 9 bytes"
            )
        return weighted_token_loss(model, batch)

    return objective


def test_when_memory_runs_out_the_step_is_done_again_in_halves_and_it_is_said() -> None:
    batches, settings = _batches(tokens=512), replace(SETTINGS, max_grad_norm=10.0)
    rows = max(len(batches.batch(step).ids_BT) for step in range(4))
    small, large = start(_model(dropout=0.0), settings), start(_model(dropout=0.0), settings)
    events = list(train(small, batches, settings, until=4, objective=_small_memory(rows // 2)))
    list(train(large, batches, settings, until=4))
    said = [event for event in events if event.kind == "training.out_of_memory"]
    assert [event.data["micro_tokens"] for event in said] == [small.micro_tokens]
    assert len([event for event in events if event.kind == "training.step"]) == 4
    for (name, a), b in zip(small.model.named_parameters(), large.model.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-4), name


def test_when_memory_runs_out_twice_it_ends_with_a_word() -> None:
    state = start(_model(), SETTINGS)
    with pytest.raises(TrainingError, match="memory ran out at step 0") as caught:
        list(train(state, _batches(tokens=512), SETTINGS, until=4, objective=_small_memory(1)))
    assert "\n" not in str(caught.value)
    assert "DefaultCPUAllocator" in str(caught.value)


def test_other_runtime_errors_are_not_taken_for_it() -> None:
    def broken(model: GPT, batch: Batch) -> torch.Tensor:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1"):
        list(train(start(_model(), SETTINGS), _batches(), SETTINGS, until=2, objective=broken))
