"""The divergence against PyTorch's own on full distributions; the cache against a naive pass; the student learns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from autogpt.data.batching import Batches, BatchPlan, Encoded
from autogpt.errors import DataError, ModelError
from autogpt.models.gpt import GPT
from autogpt.models.gpt_config import GPTConfig
from autogpt.tasks.spec import TaskSpec
from autogpt.training.distillation import (
    Distillation,
    TaughtBatch,
    TaughtBatches,
    distillation_losses,
    teacher_logs,
    teacher_prompt,
    written_by_teacher,
)
from autogpt.training.loop import TrainSettings, start, train
from autogpt.training.objectives import weighted_token_loss
from autogpt.types import Entity, Example

VOCABULARY = 30
PLAN = BatchPlan(400, 64, packed=False, seed=0)


def _model(seed: int, noise: float = 0.3) -> GPT:
    torch.manual_seed(seed)
    shape = GPTConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=64,
        dropout=0.2,
    )
    model = GPT(shape)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(noise * torch.randn_like(parameter))
    return model


def _rows(count: int = 9, prompt_weight: float = 0.0) -> list[Encoded]:
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(count):
        prompt, answer = int(rng.integers(1, 12)), int(rng.integers(1, 12))
        ids = rng.integers(3, VOCABULARY, prompt + answer).astype(np.int32)
        answers = np.arange(len(ids)) >= prompt
        weights = np.where(answers, 1.0, prompt_weight).astype(np.float32)
        weights[0] = 0.0
        rows.append(Encoded(ids, weights, "", answer, answers))
    return rows


def _logits(model: GPT, row: Encoded) -> torch.Tensor:
    """[T-1, V] that predict the row's second token and the ones after it."""
    with torch.no_grad():
        return model.eval()(torch.tensor(row.ids[None].astype(np.int64))).logits[0, :-1].double()


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_with_the_whole_vocabulary_the_divergence_is_exact(temperature: float) -> None:
    torch.manual_seed(0)
    student, teacher = 3 * torch.randn(7, 20, dtype=torch.float64), 3 * torch.randn(7, 20, dtype=torch.float64)
    theirs = F.kl_div(
        (student / temperature).log_softmax(-1),
        (teacher / temperature).log_softmax(-1),
        reduction="none",
        log_target=True,
    ).sum(-1)
    top = (teacher / temperature).log_softmax(-1).topk(20)
    assert torch.allclose(distillation_losses(student, top.indices, top.values, temperature), theirs)


@pytest.mark.parametrize("k", [1, 4, 19])
def test_a_truncated_teacher_is_the_divergence_of_the_merged_distributions(k: int) -> None:
    """Against `kl_div` on K tokens and one bucket for the rest; never above the exact divergence."""
    torch.manual_seed(1)
    student, teacher = torch.randn(5, 20, dtype=torch.float64), 2 * torch.randn(5, 20, dtype=torch.float64)
    top = teacher.log_softmax(-1).topk(k)

    def merged(logits: torch.Tensor) -> torch.Tensor:
        kept = logits.softmax(-1).gather(-1, top.indices)
        return torch.cat([kept, 1 - kept.sum(-1, keepdim=True)], -1)

    theirs = F.kl_div(merged(student).log(), merged(teacher), reduction="none").sum(-1)
    found = distillation_losses(student, top.indices, top.values, 1.0)
    assert torch.allclose(found, theirs)
    exact = F.kl_div(student.log_softmax(-1), teacher.softmax(-1), reduction="none").sum(-1)
    assert bool((found <= exact + 1e-9).all())
    assert torch.allclose(
        distillation_losses(teacher, top.indices, top.values, 1.0), torch.zeros(5).double(), atol=1e-9
    )


@pytest.mark.parametrize("k", [3, VOCABULARY])
def test_gradients_equal_finite_differences(k: int) -> None:
    torch.manual_seed(2)
    student = torch.randn(4, VOCABULARY, dtype=torch.float64, requires_grad=True)
    top = torch.randn(4, VOCABULARY, dtype=torch.float64).log_softmax(-1).topk(k)
    assert torch.autograd.gradcheck(lambda logits: distillation_losses(logits, top.indices, top.values, 1.7), student)


def test_a_teacher_that_is_certain_gives_finite_gradients() -> None:
    student = torch.zeros(1, 5, requires_grad=True)
    loss = distillation_losses(student, torch.tensor([[2, 0]]), torch.tensor([[0.0, -90.0]]), 1.0)
    loss.sum().backward()
    assert loss.item() == pytest.approx(np.log(5), rel=1e-5)
    assert bool(torch.isfinite(student.grad).all())  # type: ignore[arg-type]


def test_the_cache_holds_what_the_teacher_says_row_by_row() -> None:
    teacher, rows = _model(1), _rows()
    teacher.train()
    found = teacher_logs(teacher, rows, pad_id=0, k=4, temperature=2.0)
    assert teacher.training
    for row, kept in zip(rows, found, strict=True):
        top = (_logits(teacher, row) / 2.0).log_softmax(-1)[row.answers[1:]].topk(4)
        assert np.allclose(kept.logs, top.values, atol=1e-5)
        assert np.array_equal(kept.ids, top.indices)
    assert [part.ids.shape[1] for part in teacher_logs(teacher, rows[:1], pad_id=0, k=99)] == [VOCABULARY]


@pytest.mark.parametrize(("alpha", "prompt_weight"), [(0.3, 0.0), (1.0, 0.0), (0.6, 0.1)])
def test_the_objective_equals_a_naive_version(alpha: float, prompt_weight: float) -> None:
    teacher, student, rows, temperature = _model(1), _model(2), _rows(prompt_weight=prompt_weight), 1.5
    expected = 0.0
    for row in rows:
        own, theirs = _logits(student, row), _logits(teacher, row)
        for t, token in enumerate(row.ids[1:]):
            loss = -float(own[t].log_softmax(-1)[token])
            if row.answers[t + 1]:
                p, q = (theirs[t] / temperature).softmax(-1), (own[t] / temperature).softmax(-1)
                loss = (1 - alpha) * loss + alpha * temperature**2 * float((p * (p / q).log()).sum())
            expected += float(row.weights[t + 1]) * loss
    logs = teacher_logs(teacher, rows, pad_id=0, k=VOCABULARY, temperature=temperature)
    batches = TaughtBatches(rows, logs, BatchPlan(10**6, 64, packed=False, seed=0), pad_id=0)
    found = Distillation(alpha, temperature)(student.eval(), batches.batch(0))
    assert found.item() == pytest.approx(expected, rel=1e-4)


def test_without_a_share_the_teacher_is_not_heard_and_the_batches_are_the_usual_ones() -> None:
    rows = [
        *_rows(20, prompt_weight=0.1),
        Encoded(np.arange(4, dtype=np.int32), np.zeros(4, np.float32), "", 0, np.zeros(4, bool)),
    ]
    logs = teacher_logs(_model(1), rows, pad_id=0, k=5)
    taught, plain, model = TaughtBatches(rows, logs, PLAN, pad_id=0), Batches(rows, PLAN, pad_id=0), _model(2).eval()
    assert (len(taught), taught.skipped) == (len(plain), 1)
    assert len(plain) > 1
    for step in range(2 * len(plain)):
        ours, theirs = taught.batch(step), plain.batch(step)
        assert torch.equal(ours.ids_BT, theirs.ids_BT)
        assert torch.equal(ours.weights_BT, theirs.weights_BT)
        assert Distillation(alpha=0.0)(model, ours).item() == pytest.approx(weighted_token_loss(model, theirs).item())


def test_slices_add_up() -> None:
    rows = _rows()
    logs = teacher_logs(_model(1), rows, pad_id=0, k=5)
    batch = TaughtBatches(rows, logs, BatchPlan(10**6, 64, packed=False, seed=0), pad_id=0).batch(0)
    assert isinstance(batch, TaughtBatch)
    objective, model = Distillation(0.5, 2.0), _model(2).eval()
    parts = [batch.rows(0, 2), batch.rows(2, 9).to("cpu")]
    assert sum(part.tokens for part in parts) == batch.tokens
    assert sum(objective(model, part).item() for part in parts) == pytest.approx(
        objective(model, batch).item(), rel=1e-5
    )


def test_the_student_comes_near_the_teacher() -> None:
    """The rows are noise, so that only the teacher's probabilities tell what is to be learnt."""
    teacher, student, rows = _model(1), _model(2, noise=0.0), _rows(40)
    logs = teacher_logs(teacher, rows, pad_id=0, k=8)
    batches, settings = TaughtBatches(rows, logs, PLAN, pad_id=0), TrainSettings(5e-3, weight_decay=0.0, warmup_steps=2)

    def distance() -> float:
        """Mean exact divergence at the answers' tokens."""
        gaps = [
            F.kl_div(own.log_softmax(-1), theirs.softmax(-1), reduction="batchmean")
            for own, theirs in ((_logits(m, row)[row.answers[1:]] for m in (student, teacher)) for row in rows)
        ]
        return float(torch.stack(gaps).mean())

    before = distance()
    list(train(start(student, settings), batches, settings, until=80, objective=Distillation(alpha=1.0)))
    assert distance() < 0.5 * before


def test_what_does_not_fit_is_refused() -> None:
    rows = _rows(3)
    strange = Encoded(np.array([1, VOCABULARY], dtype=np.int32), np.ones(2, np.float32), "", 1, np.ones(2, bool))
    with pytest.raises(ModelError, match="another tokenizer"):
        teacher_logs(_model(1), [strange], pad_id=0)
    with pytest.raises(TypeError, match="expected a TaughtBatch"):
        Distillation()(_model(1), Batches(rows, PLAN, pad_id=0).batch(0))
    with pytest.raises(ValueError, match="0 rows of a teacher for 3 rows"):
        TaughtBatches(rows, [], PLAN, pad_id=0)


# --- sequence by sequence ---------------------------------------------------------------------------------------------


def _spec(kind: str, **changes: Any) -> TaskSpec:
    values = {"input_fields": ["text"], "output_field": "out", "metric": "accuracy", "direction": "max", **changes}
    return TaskSpec(description="Sort the messages.", kind=kind, **values)


def test_a_teacher_writes_the_answers_of_unlabelled_rows() -> None:
    spec = _spec("classification", labels=["good", "bad"])
    rows = [Example(f"r:{i}", {"text": f"message {i}"}) for i in range(100)]
    shots = [Example("s", {"text": "a fine day"}, "good")]
    asked: list[str] = []

    def complete(prompts: Sequence[str]) -> list[str]:
        asked.extend(prompts)
        said = {0: " Bad.\n", 1: "good", 2: "", 3: "cannot tell"}
        return [said[(len(asked) - len(prompts) + i) % 4] for i in range(len(prompts))]

    written, drops = written_by_teacher(spec, rows, complete, shots=shots)
    assert [(e.id, e.target, e.references) for e in written[:2]] == [
        ("r:0", "bad", ("bad",)),
        ("r:1", "good", ("good",)),
    ]
    assert len(written) == 50
    assert {drop.reason for drop in drops} == {"the teacher wrote nothing", "the teacher named no label"}
    assert asked == [teacher_prompt(spec, row, shots) for row in rows]
    assert asked[7].startswith("Sort the messages.\n\nLabels: good, bad\n\n")
    assert asked[7].index("a fine day") < asked[7].index("good", 40) < asked[7].index("message 7")


def test_written_entities_are_located_in_the_row() -> None:
    spec = _spec("extraction", labels=["PER"], metric="entity_f1")
    (written,), drops = written_by_teacher(spec, [Example("r", {"text": "I met Ann."})], lambda _: ["PER: Ann\nORG: x"])
    assert written.target == (Entity("PER", "Ann", 6, 9),)
    assert written.references == ("PER: Ann",)
    assert not drops


def test_a_teacher_that_loses_rows_is_refused() -> None:
    rows = [Example("r", {"text": "a"}), Example("q", {"text": "b"})]
    with pytest.raises(DataError, match="found 1 texts; expected 2 texts"):
        written_by_teacher(_spec("summarization", metric="rougeL"), rows, lambda _: ["one"])
