"""The cost of a step before it is made: arithmetic against real models, a fit against made-up machines, the verdict."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from autogpt.data.batching import Batch
from autogpt.models.adapters import add_lora, trainable_parameters
from autogpt.models.gpt import GPT
from autogpt.models.gpt_config import GPTConfig
from autogpt.models.latent import LatentGPT, LatentGPTConfig
from autogpt.models.sizing import shape_for
from autogpt.training import cost
from autogpt.training.cost import (
    Limits,
    Rates,
    Work,
    free_bytes,
    over_ceiling,
    peak_bytes,
    seconds_per_step,
    verdict,
)
from autogpt.training.frozen_trunk import freeze_trunk
from autogpt.training.machine import Machine
from autogpt.training.mixture import Mixture
from autogpt.training.objectives import weighted_token_loss

SHAPE = shape_for(128, depth=4, vocab_size=512, context=64)
FULL = Work(SHAPE, tokens=256, context=64)
LAST = Work(SHAPE, tokens=256, context=64, method="last_k", top=1)
LORA = Work(SHAPE, tokens=256, context=64, method="lora", rank=8)


def _model(work: Work) -> GPT:
    model = GPT(work.shape)
    if work.method == "lora":
        return add_lora(model, rank=work.rank, alpha=8)
    return freeze_trunk(model, work.top) if work.method == "last_k" else model


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("work", [FULL, LAST, LORA], ids=lambda work: work.method)
def test_trained_parameters_are_those_of_the_model(work: Work, tied: bool) -> None:
    work = replace(work, shape=GPTConfig(**{**SHAPE.to_dict(), "tie_word_embeddings": tied}))
    assert work.trained == pytest.approx(trainable_parameters(_model(work)), rel=2e-3)


@pytest.mark.parametrize("scored", [1.0, 0.25])
@pytest.mark.parametrize("work", [FULL, LAST, LORA], ids=lambda work: work.method)
def test_operations_are_those_that_pytorch_counts(work: Work, scored: float) -> None:
    """Without kept hidden states, which is what the first epoch does."""
    work = replace(work, scored=scored)
    model, ids = _model(work).train(), torch.randint(0, 512, (4, 65))
    weights = torch.zeros(4, 65)
    weights[:, 1 : 1 + int(64 * scored)] = 1.0
    batch = Batch(ids, ids, weights, torch.ones_like(ids), ids.numel(), int(weights.sum()))
    with FlopCounterMode(display=False) as counter, torch.autocast("cpu", dtype=torch.bfloat16):
        weighted_token_loss(model, batch).backward()
    assert work.flops(first_epoch=True) == pytest.approx(counter.get_total_flops(), rel=0.05)


@pytest.mark.parametrize("scored", [1.0, 0.25])
def test_operations_of_a_mixture_are_those_that_pytorch_counts(scored: float) -> None:
    plain = {name: value for name, value in SHAPE.to_dict().items() if name != "model_type"}
    work = Work(LatentGPTConfig(**plain, latents=4), tokens=256, context=64, scored=scored)
    model, ids = LatentGPT(work.shape).train(), torch.randint(0, 512, (4, 65))  # type: ignore[arg-type]
    weights = torch.zeros(4, 65)
    weights[:, 1 : 1 + int(64 * scored)] = 1.0
    batch = Batch(ids, ids, weights, torch.ones_like(ids), ids.numel(), int(weights.sum()))
    with FlopCounterMode(display=False) as counter, torch.autocast("cpu", dtype=torch.bfloat16):
        Mixture(lambda: 0.1)(model, batch).backward()
    assert work.flops() == pytest.approx(counter.get_total_flops(), rel=0.05)
    assert work.trained == trainable_parameters(model)
    assert work.traffic() > 1.5 * replace(work, shape=SHAPE).traffic()
    assert peak_bytes(work) > peak_bytes(replace(work, shape=SHAPE))


def test_kept_hidden_states_save_the_trunk() -> None:
    assert LAST.flops() < LAST.flops(first_epoch=True) < LORA.flops() < FULL.flops()
    assert LAST.traffic() < LAST.traffic(first_epoch=True) < FULL.traffic()
    whole = replace(LAST, top=SHAPE.num_hidden_layers)
    assert whole.flops() == whole.flops(first_epoch=True)


def test_frozen_weights_that_a_step_uses() -> None:
    block = sum(p.numel() for p in GPT(SHAPE).model.layers[0].parameters())
    assert (FULL.frozen, LAST.frozen, LORA.frozen) == (0, 0, 4 * block)
    casting = Rates(0.0, 1.0, 0.0, "bf16")
    assert seconds_per_step(LORA, casting) - seconds_per_step(LORA, replace(casting, precision="fp32")) == 6 * 4 * block


def test_the_fit_finds_the_rates_of_a_machine() -> None:
    truth = Rates(2e-12, 5e-10, 3e-9)
    works = [Work(shape_for(width, depth=3, vocab_size=size, context=64), 512, 64) for width, size in _SIZES]
    found = cost.fit_rates([(work, seconds_per_step(work, truth)) for work in works], "fp32")
    assert (found.flop_s, found.byte_s, found.parameter_s) == pytest.approx((2e-12, 5e-10, 3e-9), rel=1e-6)
    # What costs nothing comes out as nothing, and never below.
    free = Rates(2e-12, 0.0, 3e-9)
    found = cost.fit_rates([(work, seconds_per_step(work, free)) for work in works], "fp32")
    assert found.byte_s == pytest.approx(0.0, abs=1e-15)
    lowered = [
        (work, seconds_per_step(work, truth) * factor) for work, factor in zip(works, (1.0, 0.3, 2.0), strict=True)
    ]
    uneven = cost.fit_rates(lowered, "fp32")
    assert min(uneven.flop_s, uneven.byte_s, uneven.parameter_s) >= 0


_SIZES = ((64, 512), (256, 512), (128, 16384))


def test_the_probe_trains_and_gives_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "_PROBES", ((64, 1, 300, 256), (128, 1, 300, 256), (64, 1, 4096, 128)))
    random = torch.get_rng_state()
    rates = cost.probe_rates(Machine("cpu", 1, "fp32", 1e9, ""))
    assert torch.equal(torch.get_rng_state(), random)
    assert rates.precision == "fp32"
    assert min(rates.flop_s, rates.byte_s, rates.parameter_s) >= 0
    assert seconds_per_step(FULL, rates) > 0


def test_peak_bytes_cover_what_autograd_and_the_optimizer_hold() -> None:
    """Sizes of everything that lives at the end of the forward pass, in fp32, counted one by one."""
    model, ids = GPT(SHAPE).train(), torch.randint(0, 512, (4, 64))
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    batch = Batch(ids, ids, torch.ones(4, 64), torch.ones_like(ids), 256, 252)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        weighted_token_loss(model, batch)
    saved = sum(storage.nbytes() for storage in kept.values())
    parameters = sum(p.nbytes for p in model.parameters())
    held = parameters + 4 * parameters + saved  # weights; gradient, moments, average; saved activations
    assert peak_bytes(FULL, precision="fp32") == pytest.approx(held, rel=0.3)


def test_methods_need_less_memory_than_full_training() -> None:
    assert peak_bytes(LAST) < peak_bytes(FULL)
    assert peak_bytes(LORA) < peak_bytes(FULL)
    assert peak_bytes(LAST, kept_tokens=1000) - peak_bytes(LAST) == 1000 * 128 * 2


RATES = Rates(1e-9, 0.0, 0.0, "bf16")


def test_the_verdict_counts_epochs_and_memory() -> None:
    step_s = seconds_per_step(FULL, RATES)
    fits, reason = verdict(FULL, Limits(RATES, seconds=41 * step_s, bytes=2**34, epochs=4.0), steps=10)
    assert fits
    assert "an epoch takes about" in reason
    fits, reason = verdict(FULL, Limits(RATES, seconds=39 * step_s, bytes=2**34, epochs=4.0), steps=10)
    assert not fits
    assert "fewer than 4 passes" in reason
    fits, reason = verdict(FULL, Limits(RATES, seconds=None, bytes=peak_bytes(FULL)), steps=10)
    assert not fits
    assert "memory" in reason
    assert verdict(FULL, Limits(RATES), steps=10**6)[0]


def test_a_ceiling_holds_whatever_is_free() -> None:
    needed = peak_bytes(FULL, precision="bf16")
    assert over_ceiling(needed, None) == over_ceiling(needed, needed) == ""
    assert verdict(FULL, Limits(RATES, None, 2**40, ceiling=needed), steps=10)[0]
    fits, reason = verdict(FULL, Limits(RATES, None, 2**40, ceiling=1_500_000), steps=10)
    assert not fits
    assert reason == over_ceiling(needed, 1_500_000)
    assert "MB of memory, search.max_memory allows a trial 1.5 MB" in reason


def test_only_the_first_epoch_pays_for_the_trunk() -> None:
    first, later = (seconds_per_step(LAST, RATES, first_epoch=first) for first in (True, False))
    enough = 10 * (first + 3 * later)
    assert verdict(LAST, Limits(RATES, 1.01 * enough, None, 4.0), steps=10)[0]
    assert not verdict(LAST, Limits(RATES, 0.99 * enough, None, 4.0), steps=10)[0]


def test_free_memory_is_known_here() -> None:
    found = free_bytes()
    assert found is None or 2**20 < found < 2**50
