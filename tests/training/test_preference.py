"""DPO and KTO against naive versions written token by token, finite differences, and what they are for."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from autogpt.config import TrainingConfig
from autogpt.data.batching import Batch, BatchPlan, Encoded
from autogpt.data.corpus import Corpus
from autogpt.data.splits import Dataset, SealedSplit
from autogpt.data.tokenizers import train_tokenizer
from autogpt.models.adapters import add_lora
from autogpt.models.gpt import GPT
from autogpt.models.gpt_config import GPTConfig
from autogpt.search.gpt_space import space_for
from autogpt.tasks.spec import TaskKind, TaskSpec
from autogpt.training import preference
from autogpt.training.candidate import build
from autogpt.training.loop import TrainSettings, start, train
from autogpt.training.machine import Machine
from autogpt.training.objectives import weighted_token_loss
from autogpt.training.pairs import Pair, PairBatch, PairBatches
from autogpt.training.preference import DPO, KTO, dpo_losses, dpo_training, kto_losses, reference_logs, uniform_logs
from autogpt.types import Example

VOCABULARY = 24


def _model(seed: int = 0, dropout: float = 0.0) -> GPT:
    torch.manual_seed(seed)
    shape = GPTConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=64,
        dropout=dropout,
    )
    model = GPT(shape)
    with torch.no_grad():  # fresh blocks are the identity
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def _gpt2() -> GPT2LMHeadModel:
    """In double precision throughout, which our own norms are not."""
    torch.manual_seed(1)
    shape = GPT2Config(
        vocab_size=VOCABULARY,
        n_positions=64,
        n_embd=8,
        n_layer=1,
        n_head=2,
        attn_pdrop=0.0,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        initializer_range=0.5,
        bos_token_id=1,
        eos_token_id=2,
    )
    return GPT2LMHeadModel(shape).double().eval()


def _row(rng: np.random.Generator, prompt: int, answer: int) -> Encoded:
    ids = rng.integers(3, VOCABULARY, prompt + answer).astype(np.int32)
    answers = np.arange(len(ids)) >= prompt
    return Encoded(ids, np.where(answers, 1.0, 0.25).astype(np.float32), "", answer, answers)


def _pairs(count: int = 7, seed: int = 0) -> list[Pair]:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 12, (count, 4))
    return [Pair(_row(rng, 1 + a, b), _row(rng, 1 + a, c), bool(d % 2)) for a, b, c, d in sizes]


def _batch(pairs: list[Pair], reference_N2: torch.Tensor) -> PairBatch:
    batches = PairBatches(pairs, reference_N2, BatchPlan(10**6, 64, packed=False, seed=0), pad_id=0)
    assert len(batches) == 1
    return batches.batch(0)


def _log(model: Any, row: Encoded) -> tuple[float, float, int]:
    """(log-probability of the answer, weighted mean loss, answer tokens), token by token and without padding."""
    with torch.no_grad():
        logs_TV = model(torch.tensor(row.ids[None].astype(np.int64))).logits[0].double().log_softmax(-1)
    each = [float(logs_TV[t - 1, row.ids[t]]) for t in range(1, len(row.ids))]
    loss = -sum(w * v for w, v in zip(row.weights[1:], each, strict=True)) / float(row.weights[1:].sum())
    return sum(v for v, on in zip(each, row.answers[1:], strict=True) if on), loss, int(row.answers[1:].sum())


@pytest.mark.parametrize(("per_token", "nll_weight"), [(False, 0.0), (True, 0.0), (False, 0.7), (True, 1.0)])
def test_dpo_equals_a_naive_version(per_token: bool, nll_weight: float) -> None:
    model, start_model, pairs = _model(1).eval(), _model(2).eval(), _pairs()
    expected = 0.0
    for pair in pairs:
        (chosen, nll, n_chosen), (rejected, _, n_rejected) = _log(model, pair.first), _log(model, pair.second)
        old_chosen, old_rejected = _log(start_model, pair.first)[0], _log(start_model, pair.second)[0]
        up, down = chosen - old_chosen, rejected - old_rejected
        if per_token:
            up, down = up / n_chosen, down / n_rejected
        expected += math.log1p(math.exp(-0.3 * (up - down))) + nll_weight * nll
    batch = _batch(pairs, reference_logs(start_model, pairs, pad_id=0))
    found = DPO(beta=0.3, per_token=per_token, nll_weight=nll_weight)(model, batch)
    assert found.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("nll_weight", [0.0, 0.5])
@pytest.mark.parametrize("model_seed", [1, 3])
def test_kto_equals_a_naive_version(nll_weight: float, model_seed: int) -> None:
    model, start_model, pairs = _model(model_seed).eval(), _model(2).eval(), _pairs(9)
    shifts = [_log(model, pair.second)[0] - _log(start_model, pair.second)[0] for pair in pairs]
    shift = max(0.0, sum(shifts) / len(shifts))
    expected = 0.0
    for pair in pairs:
        log, nll, _ = _log(model, pair.first)
        ratio = log - _log(start_model, pair.first)[0]
        if pair.good:
            expected += 1.3 * (1 - 1 / (1 + math.exp(-0.2 * (ratio - shift)))) + nll_weight * nll
        else:
            expected += 0.8 * (1 - 1 / (1 + math.exp(-0.2 * (shift - ratio))))
    batch = _batch(pairs, reference_logs(start_model, pairs, pad_id=0))
    found = KTO(beta=0.2, good_weight=1.3, bad_weight=0.8, nll_weight=nll_weight)(model, batch)
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_losses_equal_the_formulas_of_trl() -> None:
    """DPOTrainer's `sigmoid` loss and KTOTrainer's `kto_loss`, as their sources state them."""
    torch.manual_seed(0)
    policy, reference, beta = torch.randn(6, 2).double(), torch.randn(6, 2).double(), 0.4
    logits = (policy[:, 0] - policy[:, 1]) - (reference[:, 0] - reference[:, 1])
    theirs = -torch.nn.functional.logsigmoid(beta * logits)
    assert torch.allclose(dpo_losses(policy, reference, beta), theirs)

    ratios, good = policy[:, 0] - reference[:, 0], torch.tensor([True, False, True, True, False, False])
    kl = (policy[:, 1] - reference[:, 1]).mean().clamp(min=0)
    chosen = 1 - torch.sigmoid(beta * (ratios[good] - kl))
    rejected = 1 - torch.sigmoid(beta * (kl - ratios[~good]))
    found = kto_losses(ratios, good, kl, beta, (1.5, 0.5))
    assert torch.allclose(found[good], 1.5 * chosen)
    assert torch.allclose(found[~good], 0.5 * rejected)


@pytest.mark.parametrize(
    "objective", [DPO(0.5, nll_weight=0.3), DPO(2.0, per_token=True), KTO(0.5, 1.2, 0.7, nll_weight=0.4)]
)
def test_gradients_equal_finite_differences(objective: Callable[[Any, Batch], torch.Tensor]) -> None:
    model, pairs = _gpt2(), _pairs(5)
    reference_N2 = reference_logs(model, pairs, pad_id=0) + torch.randn(5, 2)
    # KTO's shift moves with the weights but carries no gradient: held at its floor, it does not move.
    reference_N2[:, 1] += 100.0 if isinstance(objective, KTO) else 0.0
    batch = _batch(pairs, reference_N2)
    objective(model, batch).backward()
    generator = np.random.default_rng(0)
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        gradient, flat = parameter.grad.flatten(), parameter.data.view(-1)
        for place in [int(gradient.abs().argmax()), *generator.integers(0, len(flat), 2).tolist()]:
            kept, step = float(flat[place]), 1e-5
            with torch.no_grad():
                flat[place] = kept + step
                above = float(objective(model, batch))
                flat[place] = kept - step
                below = float(objective(model, batch))
                flat[place] = kept
            assert float(gradient[place]) == pytest.approx((above - below) / (2 * step), rel=1e-5, abs=1e-7), name


def test_the_shift_of_kto_carries_no_gradient() -> None:
    """With a shift above 0, the gradient is that of the ratios alone."""
    model, pairs = _gpt2(), _pairs(5)
    reference_N2 = reference_logs(model, pairs, pad_id=0)
    reference_N2[:, 1] -= 4.0
    batch = _batch(pairs, reference_N2)
    KTO(0.5)(model, batch).backward()
    found = model.transformer.wte.weight.grad.clone()
    model.zero_grad()
    shifted = replace(batch, reference_B2=torch.stack([batch.reference_B2[:, 0] + 4.0, torch.full((5,), 1e3)], 1))
    KTO(0.5)(model, shifted).backward()  # a shift of 0 and ratios that are 4 lower: the same differences
    assert torch.allclose(found, model.transformer.wte.weight.grad, rtol=1e-6)
    assert float(found.abs().max()) > 1e-4


def test_at_the_start_the_loss_is_that_of_a_coin() -> None:
    model, pairs = _model().eval(), _pairs()
    batch = _batch(pairs, reference_logs(model, pairs, pad_id=0))
    assert DPO(0.7)(model, batch).item() == pytest.approx(len(pairs) * math.log(2), rel=1e-5)
    assert torch.allclose(dpo_losses(torch.zeros(2, 2), torch.zeros(2, 2), 9.0), torch.tensor(math.log(2)))


def test_reference_values_do_not_depend_on_the_grouping_and_know_no_dropout() -> None:
    model, pairs = _model(dropout=0.5), _pairs(11)
    model.train()
    found = reference_logs(model, pairs, pad_id=0, tokens=40)
    assert model.training
    assert torch.allclose(found, reference_logs(model, pairs, pad_id=0), atol=1e-5)
    naive = [[_log(model.eval(), row)[0] for row in (pair.first, pair.second)] for pair in pairs]
    assert torch.allclose(found, torch.tensor(naive), atol=1e-4)


def test_the_uniform_reference_is_a_model_that_knows_nothing_and_cancels_per_token() -> None:
    model, pairs = _model(), _pairs()
    with torch.no_grad():
        model.get_output_embeddings().weight.zero_()
    uniform = uniform_logs(pairs, VOCABULARY)
    assert torch.allclose(uniform, reference_logs(model, pairs, pad_id=0), rtol=1e-5)
    other, objective = _model(3), DPO(4.0, per_token=True)
    plain = objective(other, _batch(pairs, torch.zeros(len(pairs), 2))).item()
    assert objective(other, _batch(pairs, uniform)).item() == pytest.approx(plain, rel=1e-5)


def _margins(model: Any, pairs: list[Pair]) -> torch.Tensor:
    logs_N2 = reference_logs(model, pairs, pad_id=0)
    return logs_N2[:, 0] - logs_N2[:, 1]


def _learnable(count: int) -> list[Pair]:
    """The chosen answer repeats an even token, the rejected one an odd one."""
    pairs = []
    for i in range(count):
        answers = np.array([False, False, False, True, True, True])
        even, odd = (np.array([1, 5 + i % 7, 4, t, t, 2], dtype=np.int32) for t in (6 + 2 * (i % 8), 7 + 2 * (i % 8)))
        first, second = (Encoded(ids, answers.astype(np.float32), "", 3, answers) for ids in (even, odd))
        pairs.append(Pair(first, second))
    return pairs


@pytest.mark.parametrize("objective", [DPO(0.5), DPO(0.5, nll_weight=0.5), KTO(0.5)])
def test_through_the_loop_good_answers_rise_over_bad_ones(objective: DPO | KTO) -> None:
    """Micro-batches of two pairs each; the mean loss that the loop reports starts at ln 2 (DPO) or a half (KTO)."""
    pairs, model = _learnable(24), _model()
    if isinstance(objective, KTO):
        both = [(pair.first, True) for pair in pairs] + [(pair.second, False) for pair in pairs]
        taught = [Pair(row, both[(i + 1) % len(both)][0], good) for i, (row, good) in enumerate(both)]
    else:
        taught = pairs
    reference_N2 = reference_logs(model, taught, pad_id=0)
    batches = PairBatches(taught, reference_N2, BatchPlan(8 * 32, 32, packed=False, seed=0), pad_id=0)
    settings = TrainSettings(3e-3, weight_decay=0.0, warmup_steps=2, micro_tokens=64)
    before = _margins(model, pairs)
    events = list(train(start(model, settings), batches, settings, until=60, objective=objective))
    if not getattr(objective, "nll_weight", 0.0):
        first = 0.5 if isinstance(objective, KTO) else math.log(2)
        assert events[0].data["loss"] == pytest.approx(first, abs=1e-3)
    assert float((_margins(model, pairs) - before).min()) > 1.0


def test_another_batch_is_refused() -> None:
    batch = _batch(_pairs(), torch.zeros(7, 2))
    plain = Batch(batch.ids_BT, batch.labels_BT, batch.weights_BT, batch.attention_mask_BT, 1, 1)
    with pytest.raises(TypeError, match="expected a PairBatch"):
        DPO()(_model(), plain)


# --- in a run ---------------------------------------------------------------------------------------------------------


def _corpus() -> Corpus:
    spec = TaskSpec(
        description="d",
        kind="preference",
        layout="preference",
        input_fields=["prompt"],
        output_field="chosen",
        metric="preference_accuracy",
        direction="max",
    )
    rows = tuple(Example(f"{i}", {"prompt": f"q {i}"}, f"yes {i}", rejected=f"no {i}") for i in range(12))
    return Corpus(spec, Dataset(rows, rows[:1], SealedSplit(rows[:1]), (), {}))


def test_the_base_is_read_once_for_all_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    corpus, tokenizer = _corpus(), train_tokenizer(["yes no q 1 2 3"], 280)
    torch.manual_seed(0)
    model = GPT(
        GPTConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=64,
        )
    )
    asked: list[int] = []

    def counted(model: Any, pairs: list[Pair], **options: Any) -> torch.Tensor:
        asked.append(len(pairs))
        return reference_logs(model, pairs, **options)

    monkeypatch.setattr(preference, "reference_logs", counted)
    plan = BatchPlan(512, 64, packed=False, seed=0)
    options: dict[str, Any] = {"prompt_weight": 0.0, "precision": "fp32"}
    first, objective = dpo_training(corpus, tokenizer, plan, model, base=Path("b"), **options)
    adapted = add_lora(model, rank=4, alpha=8)
    second, _ = dpo_training(corpus, tokenizer, plan, adapted, base=Path("b"), **options)
    assert asked == [12]
    for batch in (first.batch(0), second.batch(0)):  # a fresh adapter is the base
        assert objective(adapted, batch).item() > 0
        assert DPO(1.0)(adapted.eval(), batch).item() == pytest.approx(len(batch.good_B) * math.log(2), rel=1e-4)
    scratch, objective = dpo_training(corpus, tokenizer, plan, model, base=None, **options)
    assert objective.nll_weight > 0
    expected = -math.log(len(tokenizer)) * scratch.batch(0).answers_BT.view(len(scratch.batch(0).good_B), 2, -1).sum(-1)
    assert torch.allclose(scratch.batch(0).reference_B2, expected.float(), rtol=1e-5)


def test_a_candidate_is_built_with_the_objective_that_its_configuration_names() -> None:
    corpus = _corpus()
    space = space_for(corpus.spec, corpus.characters)
    assert space.default["objective"] == "nll"
    options: dict[str, Any] = {
        "base": None,
        "options": TrainingConfig(),
        "machine": Machine("cpu", 1, "fp32", 1e9, ""),
        "longest_answer": 16,
        "seed": 0,
    }
    small = {**space.default, "width": 96, "depth": 3}
    plain = build(small, corpus, **options)
    assert plain.objective is weighted_token_loss
    assert not isinstance(plain.batches, PairBatches)
    candidate = build({**small, "objective": "dpo"}, corpus, **options)
    assert isinstance(candidate.batches, PairBatches)
    assert candidate.max_steps == space.default["epochs"] * len(candidate.batches)
    events = list(
        train(candidate.state, candidate.batches, candidate.settings, until=40, objective=candidate.objective)
    )
    assert events[-1].data["loss"] < 0.5 * events[0].data["loss"]
    assert {parameter.name for parameter in space_for(_other(corpus.spec), 1000).parameters} & {"objective"} == set()


def _other(spec: TaskSpec) -> TaskSpec:
    return spec.model_copy(update={"kind": TaskKind.INSTRUCTION})
