"""Objectives of several tasks: projected gradients against a naive version, uncertainties by finite differences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from autogpt.data import joint_batches
from autogpt.data.batching import Batch, Batches, BatchPlan, Encoded
from autogpt.data.joint_batches import narrowed
from autogpt.data.mixing import mixed, of_task
from autogpt.models.multitask import MultitaskGPT, MultitaskGPTConfig
from autogpt.training.loop import TrainSettings, TrainState, load_state, save_state, start, train
from autogpt.training.multitask import Projected, narrowed_loss, projected_sum, tasks_of, uncertainty_loss
from autogpt.training.objectives import weighted_token_loss

VOCABULARY = 12
OWNED = {"task_embeddings", "outer"}
"""What belongs to one task where `sharing` is "own", by name."""


def _model(seed: int = 0, **fields: Any) -> MultitaskGPT:
    """A tiny model of three tasks whose tasks and adapters all matter from the start."""
    shape = {"vocab_size": VOCABULARY, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    shape |= {"intermediate_size": 24, "max_position_embeddings": 32, "tasks": 3, "adapter_rank": 2, "bos_token_id": 1}
    torch.manual_seed(seed)
    model = MultitaskGPT(MultitaskGPTConfig(**{**shape, "adapter_scale": 1.0, **fields}))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.1)
    return model


def _batch(tasks: Sequence[int], lengths: Sequence[int], seed: int = 1) -> Batch:
    """Rows that begin alike and go on in each task's own words, padded on the right; what is alike is not predicted."""
    rng, width = np.random.default_rng(seed), max(lengths) + 2
    ids, weights, mask = (np.zeros((len(tasks), width)) for _ in range(3))
    for row, (task, length) in enumerate(zip(tasks, lengths, strict=True)):
        ids[row, :length] = [VOCABULARY + task, 9, 10, 11, *rng.integers(3 * task, 3 * task + 3, length - 4)]
        weights[row, 4:length] = rng.uniform(0.2, 1.5, length - 4)
        mask[row, :length] = 1
    ids_BT, mask_BT = torch.from_numpy(ids).long(), torch.from_numpy(mask).long()
    weights_BT = torch.from_numpy(weights).float()
    return Batch(ids_BT, ids_BT, weights_BT, mask_BT, int(mask.sum()), int((weights > 0).sum()))


def _losses(model: Any, batch: Batch) -> dict[int, Tensor]:
    """Weighted loss of each task by plain PyTorch, over rows of full width."""
    logits = model(batch.ids_BT, use_cache=False).logits[:, :-1]
    losses = F.cross_entropy(logits.flatten(0, 1), batch.ids_BT[:, 1:].flatten(), reduction="none")
    rows = (losses.view(len(batch.ids_BT), -1) * batch.weights_BT[:, 1:]).sum(-1)
    tasks = (batch.ids_BT[:, 0] - VOCABULARY).tolist()
    return {task: rows[[place for place, own in enumerate(tasks) if own == task]].sum() for task in sorted({*tasks})}


def _total(model: Any, batch: Batch) -> float:
    with torch.no_grad():
        return sum(float(loss) for loss in _losses(model, batch).values())


def _gradients(model: nn.Module, losses: dict[int, Tensor]) -> tuple[np.ndarray, np.ndarray]:
    """(gradient of each task as one vector [K, P], whether each place belongs to one task by its name [P])."""
    named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    vectors = []
    for loss in losses.values():
        found = torch.autograd.grad(loss, [p for _, p in named], retain_graph=True, materialize_grads=True)
        vectors.append(np.concatenate([gradient.double().numpy().ravel() for gradient in found]))
    owned = [np.full(p.numel(), not OWNED.isdisjoint(name.split("."))) for name, p in named]
    return np.stack(vectors), np.concatenate(owned)


def _naively_projected(gradients: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Yu et al. 2020, algorithm 1, vector by vector."""
    projected = gradients.copy()
    for own in range(len(gradients)):
        for other in rng.permutation(len(gradients)):
            along = projected[own] @ gradients[other]
            if other != own and along < 0:
                projected[own] -= along / (gradients[other] @ gradients[other]) * gradients[other]
    return projected.sum(0)


def _gradient(model: nn.Module, loss: Tensor) -> np.ndarray:
    model.zero_grad()
    loss.backward()
    held = [p.grad if p.grad is not None else torch.zeros_like(p) for p in model.parameters() if p.requires_grad]
    return np.concatenate([gradient.double().numpy().ravel() for gradient in held])


def _numerically(
    loss: Callable[[], float], parameter: Tensor, places: Sequence[int], step: float = 1e-6
) -> list[float]:
    slopes, flat = [], parameter.detach().view(-1)
    for place in places:
        kept = float(flat[place])
        flat[place] = kept + step
        above = loss()
        flat[place] = kept - step
        slopes.append((above - loss()) / (2 * step))
        flat[place] = kept
    return slopes


def _assert_slopes(model: nn.Module, loss: Callable[[], float]) -> None:
    """The gradients held are those of `loss`, at a few places of every parameter."""
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        places = list(range(0, parameter.numel(), max(1, parameter.numel() // 3)))
        with torch.no_grad():
            found = _numerically(loss, parameter, places)
        torch.testing.assert_close(parameter.grad.view(-1)[places].tolist(), found, atol=1e-6, rtol=1e-5)


# --- tasks -----------------------------------------------------------------------------------------------------------


def test_the_first_token_says_the_task() -> None:
    batch = _batch([2, 0, 1], [6, 9, 7])
    assert tasks_of(_model(), batch).tolist() == [2, 0, 1]
    batch.ids_BT[1, 0] = 3
    with pytest.raises(ValueError, match="does not begin with the token of its task"):
        tasks_of(_model(), batch)


# --- the weighted sum ------------------------------------------------------------------------------------------------


def test_the_gradient_of_weighted_tasks_is_that_of_the_weighted_sum() -> None:
    rng, factors = np.random.default_rng(0), [0.5, 2.0]
    answers = [np.arange(length) >= 3 for length in (6, 9)]
    plain = [
        of_task(
            [Encoded(rng.integers(1, 12, len(a)).astype(np.int32), a.astype(np.float32), "", 0, a) for _ in range(2)],
            task,
            VOCABULARY,
            bos_id=None,
            context=16,
        )
        for task, a in enumerate(answers)
    ]
    pool, every = (
        mixed(plain, temperature=1, most=9, weights=weights, balance=0.0, seed=0) for weights in (factors, [1.0, 1.0])
    )
    plan, model = BatchPlan(128, 16, packed=False, seed=0), _model(sharing="own").double()
    batch, unweighted = (Batches(rows, plan, 0).batch(0) for rows in (pool, every))
    assert len(batch.ids_BT) == 4
    weighted_token_loss(model, batch).backward()

    def loss() -> float:
        return sum(factors[task] * float(loss) for task, loss in _losses(model, unweighted).items())

    _assert_slopes(model, loss)


@pytest.mark.parametrize("sharing", ["shared", "own", "attention"])
@pytest.mark.parametrize("lengths", [[6] * 40 + [31] * 3, [30, 5, *[9] * 50, 22], [7, 8, 6]])
def test_the_loss_of_narrowed_rows_is_that_of_the_whole_step(
    sharing: str, lengths: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Value and gradient, of a step that goes through the model in parts and of one that does not."""
    model, batch = _model(sharing=sharing).double(), _batch([place % 3 for place in range(len(lengths))], lengths)
    monkeypatch.setattr(joint_batches, "_PASS_TOKENS", 100)  # as if a pass cost little, so that a small step has parts
    assert (len(narrowed(batch)) > 1) == (len(lengths) > 3)
    loss, whole = narrowed_loss(model, batch), weighted_token_loss(model, batch)
    assert float(loss.detach()) == pytest.approx(float(whole.detach()), rel=1e-12)
    assert float(loss.detach()) == pytest.approx(_total(model, batch), rel=1e-12)
    np.testing.assert_allclose(_gradient(model, loss), _gradient(model, whole), rtol=1e-9, atol=1e-12)


# --- uncertainties ---------------------------------------------------------------------------------------------------


def test_the_gradient_of_uncertain_tasks_is_that_of_the_formula() -> None:
    model, batch = _model(sharing="own", uncertainty=True).double(), _batch([0, 1, 0, 2], [6, 9, 7, 5])
    with torch.no_grad():
        model.log_variances.copy_(torch.tensor([0.3, -0.7, 1.1]))
    value = uncertainty_loss(model, batch)
    assert float(value.detach()) == pytest.approx(_total(model, batch), rel=1e-12)
    value.backward()
    tasks, sums = batch.ids_BT[:, 0] - VOCABULARY, batch.weights_BT.double().sum(-1)

    def loss() -> float:
        s = model.log_variances
        parts = [
            torch.exp(-s[task]) * nll + sums[tasks == task].sum() * s[task] / 2
            for task, nll in _losses(model, batch).items()
        ]
        return float(sum(parts))

    _assert_slopes(model, loss)


def test_the_uncertainty_settles_where_a_task_counts_by_the_inverse_of_its_loss() -> None:
    model, batch = _model(uncertainty=True).double(), _batch([0, 1, 1], [6, 9, 7])
    with torch.no_grad():
        nll = torch.stack([*_losses(model, batch).values()])
        weight = torch.stack([batch.weights_BT[:1].sum(), batch.weights_BT[1:].sum()])
        model.log_variances[:2] = torch.log(2 * nll / weight)
    uncertainty_loss(model, batch).backward()
    torch.testing.assert_close(model.log_variances.grad, torch.zeros(3).double(), atol=1e-6, rtol=0)


def test_without_uncertainty_it_is_an_error() -> None:
    with pytest.raises(TypeError, match="asked of a MultitaskGPT without log_variances"):
        uncertainty_loss(_model(), _batch([0, 1], [5, 6]))


# --- projections -----------------------------------------------------------------------------------------------------


@given(count=st.integers(1, 5), size=st.integers(1, 8), seed=st.integers(0, 2**20))
@settings(deadline=None)
def test_combinations_are_the_projections(count: int, size: int, seed: int) -> None:
    gradients = np.random.default_rng(seed).normal(size=(count, size))
    factors = projected_sum(gradients @ gradients.T, np.random.default_rng(seed))
    expected = _naively_projected(gradients, np.random.default_rng(seed))
    np.testing.assert_allclose(factors @ gradients, expected, atol=1e-6 * abs(factors).max())
    if count == 2:
        assert ((factors @ gradients) @ gradients.T >= -1e-9).all()


def test_a_task_without_gradient_projects_nothing() -> None:
    gradients = np.array([[1.0, 0.0], [0.0, 0.0], [-1.0, 0.5]])
    factors = projected_sum(gradients @ gradients.T, np.random.default_rng(0))
    assert np.isfinite(factors).all()
    np.testing.assert_allclose(factors @ gradients, _naively_projected(gradients[[0, 2]], np.random.default_rng(0)))


@pytest.mark.parametrize("sharing", ["shared", "own"])
@pytest.mark.parametrize("tasks", [[0, 1, 0, 1], [2, 0, 1, 0, 2], [1, 1]])
def test_the_gradient_is_that_of_the_naive_version(sharing: str, tasks: list[int]) -> None:
    model, batch = _model(sharing=sharing).double(), _batch(tasks, [6, 19, 7, 5, 9][: len(tasks)])
    losses = _losses(model, batch)
    gradients, owned = _gradients(model, losses)
    expected = gradients.sum(0)
    expected[~owned] = _naively_projected(gradients[:, ~owned], np.random.default_rng([7, 3]))
    if len(losses) > 1:
        assert np.linalg.norm(expected - gradients.sum(0)) > 0.01 * np.linalg.norm(expected)  # there are conflicts
    loss = Projected(lambda: 3, seed=7)(model, batch)
    assert float(loss.detach()) == pytest.approx(_total(model, batch), rel=1e-12)
    np.testing.assert_allclose(_gradient(model, loss / 5), expected / 5, atol=1e-12)
    if len(losses) == 2:
        against = gradients[:, ~owned] @ expected[~owned]
        assert (against >= 0).all()


def test_mixed_adapters_are_shared() -> None:
    model, batch = _model(sharing="attention", adapters=3).double(), _batch([0, 1, 2], [6, 9, 7])
    gradients, _ = _gradients(model, _losses(model, batch))
    named = [(name, p.numel()) for name, p in model.named_parameters()]
    outer = np.concatenate([np.full(size, name.endswith("outer")) for name, size in named])
    reached = (gradients[:, outer] != 0).sum(0)
    assert (reached == 3).all()  # every task reaches every adapter: by no means one task's own
    alone = (gradients != 0).sum(0) < 2
    expected = gradients.sum(0)
    owned = np.concatenate([np.full(size, bool(alone[first : first + size].all())) for first, size in _places(named)])
    expected[~owned] = _naively_projected(gradients[:, ~owned], np.random.default_rng([0, 0]))
    found = _gradient(model, Projected(lambda: 0)(model, batch))
    np.testing.assert_allclose(found, expected, atol=1e-12)


def _places(named: Sequence[tuple[str, int]]) -> list[tuple[int, int]]:
    ends = np.cumsum([size for _, size in named]).tolist()
    return [(end - size, size) for end, (_, size) in zip(ends, named, strict=True)]


class _Branching(nn.Module):
    """A layer of its own for each task, and an embedding for all."""

    def __init__(self) -> None:
        super().__init__()
        self.config = SimpleNamespace(vocab_size=VOCABULARY)
        self.embed = nn.Embedding(VOCABULARY + 2, 6)
        self.branches = nn.ModuleList(nn.Linear(6, 6) for _ in range(2))
        self.head = nn.Linear(6, VOCABULARY, bias=False)

    def base_model(self, input_ids: Tensor, use_cache: bool) -> Any:
        state = self.embed(input_ids)
        tasks = [task for task in range(2) if bool((input_ids[:, 0] == VOCABULARY + task).any())]
        rows = {task: (input_ids[:, :1] == VOCABULARY + task)[..., None] for task in tasks}
        return SimpleNamespace(last_hidden_state=sum(self.branches[t](state) * rows[t] for t in tasks))

    def get_output_embeddings(self) -> nn.Module:
        return self.head

    def forward(self, input_ids: Tensor, use_cache: bool) -> Any:
        return SimpleNamespace(logits=self.head(self.base_model(input_ids, use_cache).last_hidden_state))


def test_layers_that_one_task_alone_goes_through_are_its_own() -> None:
    torch.manual_seed(0)
    model, batch = _Branching().double(), _batch([0, 1, 0, 1], [6, 9, 7, 8])
    gradients, _ = _gradients(model, _losses(model, batch))
    owned = np.concatenate([np.full(p.numel(), "branches" in name) for name, p in model.named_parameters()])
    assert gradients[0, ~owned] @ gradients[1, ~owned] < 0
    expected = gradients.sum(0)
    expected[~owned] = _naively_projected(gradients[:, ~owned], np.random.default_rng([0, 0]))
    found = _gradient(model, Projected(lambda: 0)(model, batch))
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_frozen_and_unused_parameters_get_no_gradient() -> None:
    model, batch = _model(uncertainty=True).double(), _batch([0, 1, 2], [6, 9, 7])
    for name, parameter in model.named_parameters():
        parameter.requires_grad = "layers.0" not in name
    gradients, owned = _gradients(model, _losses(model, batch))
    expected = gradients.sum(0)
    expected[~owned] = _naively_projected(gradients[:, ~owned], np.random.default_rng([0, 0]))
    np.testing.assert_allclose(_gradient(model, Projected(lambda: 0)(model, batch)), expected, atol=1e-12)
    untouched = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert all("layers.0" in name or name == "log_variances" for name in untouched)
    assert "log_variances" in untouched


def test_with_one_task_it_is_the_plain_loss() -> None:
    model, batch = _model(), _batch([1, 1, 1], [6, 9, 7])
    plain = _gradient(model, weighted_token_loss(model, batch))
    np.testing.assert_array_equal(_gradient(model, Projected(lambda: 0)(model, batch)), plain)


def test_without_gradients_it_is_the_plain_value() -> None:
    model, batch = _model().eval(), _batch([0, 1], [6, 9])
    with torch.no_grad():
        loss = Projected(lambda: 0)(model, batch)
        assert torch.equal(loss, weighted_token_loss(model, batch))
    assert not loss.requires_grad


def test_the_gradient_is_handed_over_once() -> None:
    loss = Projected(lambda: 0)(_model(), _batch([0, 1], [6, 9]))
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="handed over already"):
        loss.backward()


def test_the_order_is_that_of_the_step() -> None:
    model, batch = _model(), _batch([0, 1, 2], [6, 9, 7])
    found = [_gradient(model, Projected(lambda step=step: step)(model, batch)) for step in (0, 0, 1, 2, 3)]
    np.testing.assert_array_equal(found[0], found[1])
    assert any(not np.array_equal(found[0], other) for other in found[2:])


def test_bf16_gradients_are_those_of_the_naive_version_in_bf16() -> None:
    model, batch = _model(sharing="own"), _batch([0, 1, 2, 1], [6, 9, 7, 8])
    with torch.autocast("cpu", torch.bfloat16):
        loss = Projected(lambda: 0)(model, batch)
    found = _gradient(model, loss)
    gradients, owned = _gradients(model, _losses(model, batch))
    expected = gradients.sum(0)
    expected[~owned] = _naively_projected(gradients[:, ~owned], np.random.default_rng([0, 0]))
    assert np.linalg.norm(found - expected) < 0.03 * np.linalg.norm(expected)
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in model.parameters())


# --- in the loop -----------------------------------------------------------------------------------------------------


def _batches() -> Batches:
    """Two tasks that contradict each other but for the task's token: counting up and counting down."""
    pools = []
    for task, step in enumerate((1, -1)):
        rows = []
        for first in range(24):
            ids = ((first + step * np.arange(6 + first % 4)) % 11 + 1).astype(np.int32)
            answers = np.arange(len(ids)) > 0
            rows.append(Encoded(ids, answers.astype(np.float32), str(first), 0, answers))
        pools.append(of_task(rows, task, VOCABULARY, bos_id=None, context=16))
    pool = mixed(pools, temperature=1.0, most=99, weights=[1.0, 1.0], balance=0.0, seed=0)
    return Batches(pool, BatchPlan(tokens_per_step=256, context=16, packed=False, seed=3), pad_id=0)


def _started(**changed: Any) -> tuple[TrainState, TrainSettings]:
    settings = TrainSettings(5e-3, **{"warmup_steps": 3, **changed})
    return start(_model(sharing="own", uncertainty=True), settings), settings


def _drain(state: TrainState, settings: TrainSettings, until: int, objective: Any) -> list[float]:
    events = train(state, _batches(), settings, until=until, objective=objective)
    return [event.data["loss"] for event in events if event.kind == "training.step"]


@pytest.mark.parametrize("name", ["projected", "uncertainty"])
@pytest.mark.parametrize(
    ("steps", "left", "changed"), [(50, 0.4, {}), (12, 0.9, {"precision": "bf16", "micro_tokens": 96})]
)
def test_tasks_that_contradict_each_other_are_learnt(
    name: str, steps: int, left: float, changed: dict[str, Any]
) -> None:
    state, settings = _started(**changed)
    objective = Projected(lambda: state.step) if name == "projected" else uncertainty_loss
    losses = _drain(state, settings, steps, objective)
    assert losses[-1] < left * losses[0]


def test_a_resumed_run_goes_on_the_same(tmp_path: Path) -> None:
    whole, settings = _started()
    losses = _drain(whole, settings, 6, Projected(lambda: whole.step))
    first, _ = _started()
    _drain(first, settings, 3, Projected(lambda: first.step))
    save_state(first, tmp_path)
    second, _ = _started()
    load_state(second, tmp_path)
    assert _drain(second, settings, 6, Projected(lambda: second.step)) == losses[3:]
    for a, b in zip(whole.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(a, b)
