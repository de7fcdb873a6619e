"""Mixes of tasks: rows written by a known mix, the best weights by a grid, and losses by plain PyTorch."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from autogpt.data.batching import Batch
from autogpt.data.corpus import Corpus
from autogpt.data.splits import Dataset, SealedSplit
from autogpt.errors import DataError, ModelError
from autogpt.models.gpt import GPT
from autogpt.models.multitask import MultitaskGPT, MultitaskGPTConfig
from autogpt.tasks.spec import TaskSpec
from autogpt.training.task_mix import mix_of_tasks, rows_to_mix_by
from autogpt.types import Example

BOS, VOCABULARY, PENALTY = 1, 24, 0.05


def _model(tasks: int = 3, sharing: str = "own", seed: int = 0) -> MultitaskGPT:
    """A tiny model whose tasks write very different texts."""
    torch.manual_seed(seed)
    model = MultitaskGPT(
        MultitaskGPTConfig(
            vocab_size=VOCABULARY,
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=32,
            bos_token_id=BOS,
            tie_word_embeddings=False,
            tasks=tasks,
            sharing=sharing,
            adapter_rank=2,
            adapter_scale=1.0,
        )
    )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.8 if name.endswith("outer") or "task" in name else 0.4)
    return model.eval()


@torch.no_grad()
def _written_by(gpt: GPT, rows: int = 48, length: int = 20, seed: int = 3) -> list[Batch]:
    """What a model samples after the start token, as two batches, every token of which counts."""
    draw = torch.Generator().manual_seed(seed)
    ids_BT = torch.full((rows, 1), BOS)
    for _ in range(length):
        shares_BV = torch.softmax(gpt(ids_BT).logits[:, -1], -1)
        ids_BT = torch.cat((ids_BT, torch.multinomial(shares_BV, 1, generator=draw)), 1)
    weights_BT = torch.ones(ids_BT.shape)
    weights_BT[:, 0] = 0
    whole = Batch(ids_BT, ids_BT, weights_BT, torch.ones_like(ids_BT), ids_BT.numel(), rows * length)
    return [whole.rows(0, rows // 3), whole.rows(rows // 3, rows)]


@torch.no_grad()
def _loss(gpt: GPT, batches: Sequence[Batch]) -> float:
    """Weighted mean cross-entropy by plain PyTorch."""

    def summed(batch: Batch) -> Tensor:
        losses = F.cross_entropy(gpt(batch.ids_BT).logits[:, :-1].mT.double(), batch.ids_BT[:, 1:], reduction="none")
        return (losses * batch.weights_BT[:, 1:]).sum()

    return sum(float(summed(one)) for one in batches) / sum(float(one.weights_BT[:, 1:].sum()) for one in batches)


# --- what is found ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sharing", ["shared", "own", "attention"])
@pytest.mark.parametrize("true", [(0.7, 0.6, 0.0), (0.4, -0.3, 0.8)], ids=str)
def test_rows_of_a_mix_are_explained_by_the_mix_and_by_no_task_alone(true: tuple[float, ...], sharing: str) -> None:
    model = _model(sharing=sharing)
    rows = _written_by(model.mixed(true))
    alone = [_loss(model.plain(task), rows) for task in range(3)]
    best = _loss(model.mixed(true), rows)
    assert min(alone) > best + 0.03
    nearest = int(np.argmin(alone))
    found = mix_of_tasks(model, rows, nearest, seed=0)
    assert found.alone == pytest.approx(alone[nearest], abs=1e-5)
    assert found.loss == pytest.approx(_loss(model.mixed(found.weights), rows), abs=1e-5)
    assert found.is_better
    assert found.evaluations == 40
    assert found.loss < best + 0.35 * (alone[nearest] - best), (best, found)
    assert all(-1.5 <= weight <= 1.5 for weight in found.weights)


def test_of_two_tasks_the_best_weights_are_those_of_a_grid() -> None:
    model = _model(tasks=2)
    rows = _written_by(model.mixed((0.6, 0.5)))
    grid = np.linspace(-1.5, 1.5, 13)
    penalised = {
        weights: _loss(model.mixed(weights), rows) + PENALTY * sum(map(abs, weights))
        for weights in itertools.product(grid, grid)
    }
    best = min(penalised, key=penalised.__getitem__)
    found = mix_of_tasks(model, rows, 0, seed=1, evaluations=120)
    assert found.loss + PENALTY * sum(map(abs, found.weights)) <= penalised[best] + 1e-4
    assert found.weights == pytest.approx(best, abs=0.25)


def test_rows_of_the_nearest_task_leave_little_to_gain() -> None:
    model = _model()
    rows = _written_by(model.plain(1))
    found = mix_of_tasks(model, rows, 1, seed=0)
    assert found.alone - 0.05 < found.loss <= found.alone
    assert found.weights == pytest.approx((0, 1, 0), abs=0.35)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("nearest", range(3))
def test_it_is_never_worse_than_the_nearest_task_alone(nearest: int, seed: int) -> None:
    """Whatever the penalty makes of it, and also of rows that no task has anything to do with."""
    model = _model(seed=seed)
    draw = torch.Generator().manual_seed(seed)
    ids_BT = torch.randint(2, VOCABULARY, (12, 10), generator=draw)
    ids_BT[:, 0] = BOS
    weights_BT = torch.rand(ids_BT.shape, generator=draw)
    rows = [Batch(ids_BT, ids_BT, weights_BT, torch.ones_like(ids_BT), ids_BT.numel(), 108)]
    found = mix_of_tasks(model, rows, nearest, seed=seed, evaluations=15)
    alone = _loss(model.plain(nearest), rows)
    assert _loss(model.mixed(found.weights), rows) <= alone + 1e-6
    assert found.alone == pytest.approx(alone, abs=1e-5)
    assert found.is_better == (found.weights != tuple(np.eye(3)[nearest]))


def test_a_single_evaluation_is_that_of_the_nearest_task() -> None:
    model = _model()
    rows = _written_by(model.plain(0))
    for found in (mix_of_tasks(model, rows, 2, seed=0, evaluations=1), mix_of_tasks(model, rows, 2, seed=0, seconds=0)):
        assert (found.weights, found.evaluations) == ((0.0, 0.0, 1.0), 1)
        assert found.loss == found.alone
        assert not found.is_better


def test_the_same_seed_finds_the_same_and_the_model_stays_as_it_was() -> None:
    model = _model()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    rows = _written_by(model.mixed((0.7, 0.6, 0.0)))
    np.random.seed(5)
    first = mix_of_tasks(model, rows, 0, seed=4, evaluations=20)
    np.random.seed(6)
    again, other = (mix_of_tasks(model, rows, 0, seed=seed, evaluations=20) for seed in (4, 5))
    assert (first.weights, first.loss) == (again.weights, again.loss)
    assert first.weights != other.weights
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_weights_that_lead_nowhere_are_passed_over() -> None:
    """Where the other task is no number, every mix that takes of it has no loss at all."""
    model = _model(tasks=2)
    rows = _written_by(model.plain(0))
    with torch.no_grad():
        model.model.task_embeddings.weight[1] = torch.inf
    found = mix_of_tasks(model, rows, 0, seed=0, evaluations=20)
    assert found.weights == (1.0, 0.0)
    assert found.loss == pytest.approx(_loss(model.plain(0), rows), abs=1e-5)


def test_another_task_is_refused() -> None:
    with pytest.raises(ModelError, match="no such task"):
        mix_of_tasks(_model(), [], 3, seed=0)


# --- the rows that it is found by ------------------------------------------------------------------------------------


def _corpus(spec: TaskSpec, texts: Sequence[str]) -> Corpus:
    rows = [Example(id=str(n), input={"text": text}, target=("red", "green")[n % 2]) for n, text in enumerate(texts)]
    unseen = [Example(id="unseen", input={"text": "validation"}, target="red")]
    return Corpus(spec, Dataset(rows, unseen, SealedSplit(unseen), (), {}))


def _texts(batches: Sequence[Batch], tokenizer: Any) -> list[str]:
    return [tokenizer.decode(ids, skip_special_tokens=True) for one in batches for ids in one.ids_BT.tolist()]


@pytest.mark.parametrize(("count", "expected"), [(5, 5), (64, 64), (65, 64), (640, 64)])
def test_a_handful_of_training_rows_is_looked_at(count: int, expected: int, colour_spec: TaskSpec) -> None:
    corpus = _corpus(colour_spec, [f"thing {n}" + " rose" * (n % 7) for n in range(count)])
    tokenizer = corpus.tokenizer(300)
    batches = rows_to_mix_by(corpus, tokenizer, 64)
    texts = _texts(batches, tokenizer)
    assert (len(texts), len(batches) <= 2) == (expected, True)
    numbers = sorted(int(text.split("thing ")[1].split()[0]) for text in texts)
    assert numbers[0] == 0
    assert {b - a for a, b in itertools.pairwise(numbers)} <= {max(1, count // 64), -(-count // 64)}
    for batch in batches:
        answers = [
            tokenizer.decode(ids[weights > 0]) for ids, weights in zip(batch.ids_BT, batch.weights_BT, strict=True)
        ]
        assert all(answer.startswith((" red", " green", "red", "green")) for answer in answers), answers
        assert bool((batch.ids_BT[:, 0] == tokenizer.bos_token_id).all())
    again = rows_to_mix_by(corpus, tokenizer, 64)
    assert all(torch.equal(one.ids_BT, other.ids_BT) for one, other in zip(batches, again, strict=True))


def test_of_long_rows_fewer_are_looked_at_and_none_is_longer_than_the_model_reads(colour_spec: TaskSpec) -> None:
    corpus = _corpus(colour_spec, [f"thing {n}" + " rose and moss" * (300 if n == 9 else 80) for n in range(60)])
    tokenizer = corpus.tokenizer(300)
    batches = rows_to_mix_by(corpus, tokenizer, 512)
    lengths = [int(length) for batch in batches for length in batch.attention_mask_BT.sum(-1)]
    assert 2 <= len(lengths) < 60
    assert sum(lengths) <= 4096 < sum(lengths) + 2 * max(lengths)
    assert max(lengths) <= 512
    (alone,) = rows_to_mix_by(_corpus(colour_spec, ["x " * 9000, "y " * 9000]), tokenizer, 8192)
    assert len(alone.ids_BT) == 1


def test_without_rows_there_is_nothing_to_mix_by(colour_spec: TaskSpec) -> None:
    tokenizer = _corpus(colour_spec, ["a rose"]).tokenizer(300)
    with pytest.raises(DataError, match="no row has a token to learn from"):
        rows_to_mix_by(_corpus(colour_spec, []), tokenizer, 64)
