"""The winner's last stretch: it gains, stops when validation does not, cools down, and ends with the best weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from autogpt.data.batching import Batches, BatchPlan, Encoded
from autogpt.events import Event
from autogpt.models.gpt import GPT
from autogpt.models.gpt_config import GPTConfig
from autogpt.training.candidate import Answering, Candidate
from autogpt.training.checkpoint import load_newest
from autogpt.training.finish import FinishPlan, Judgement, finish
from autogpt.training.loop import TrainSettings, start


def _candidate(max_steps: int = 10_000) -> Candidate:
    torch.manual_seed(0)
    shape = GPTConfig(vocab_size=40, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2)
    rows = []
    for i in range(40):
        ids = np.array([1, *[(i + k) % 36 + 3 for k in range(8)], 2], dtype=np.int32)
        weights = np.ones(len(ids), dtype=np.float32)
        rows.append(Encoded(ids, weights, str(i), utf8_bytes=len(ids), answers=weights > 0))
    batches = Batches(rows, BatchPlan(tokens_per_step=160, context=32, packed=False, seed=0), pad_id=0)
    settings, model = TrainSettings(learning_rate=3e-3, warmup_steps=2), GPT(shape)
    return Candidate(model, None, batches, settings, start(model, settings), 32, (Answering(8),), max_steps)


def _loss(candidate: Candidate) -> float:
    batch = candidate.batches.batch(0)
    with torch.no_grad():
        return float(candidate.model(batch.ids_BT, labels=batch.labels_BT).loss)


def _run(candidate: Candidate, plan: FinishPlan, scores: list[float] | None = None) -> list[Event]:
    """`scores` are what validation says, in order (the last one repeats); None: the real loss."""

    def validate(_: GPT) -> Judgement:
        if scores is None:
            return Judgement(_loss(candidate), _loss(candidate))
        value = scores.pop(0) if len(scores) > 1 else scores[0]
        return Judgement(value, value)

    return list(finish(candidate, plan, validate))


def _plan(tmp_path: Path, **changes: float | bool) -> FinishPlan:
    values = {"seconds": 4.0, "cooldown_share": 0.3, "patience": 2, "higher_is_better": False, **changes}
    return FinishPlan(folder=tmp_path, **values)  # type: ignore[arg-type]


def test_it_learns_and_its_rate_falls(tmp_path: Path) -> None:
    candidate = _candidate()
    before = _loss(candidate)
    events = _run(candidate, _plan(tmp_path, seconds=3.0))
    steps = [event for event in events if event.kind == "training.step"]
    assert _loss(candidate) < 0.7 * before
    assert (
        steps[-1].data["lr"] < 0.5 * steps[0].data["lr"]
    )  # a machine that is busy at the end cuts the cool-down short
    assert events[-1].data["final"]
    assert not candidate.model.training


def test_the_epochs_are_a_limit(tmp_path: Path) -> None:
    candidate = _candidate(max_steps=20)
    _run(candidate, _plan(tmp_path, seconds=60.0))
    assert candidate.state.schedule.cooldown_start == 20
    assert candidate.state.step <= 20 + 50


def test_when_the_cool_down_is_worse_the_best_weights_come_back(tmp_path: Path) -> None:
    candidate = _candidate(max_steps=10)
    average = [a.clone() for a in candidate.state.ema.average]
    events = _run(candidate, _plan(tmp_path), scores=[0.1, 5.0])  # everything after the start is worse
    for parameter, expected in zip(candidate.model.parameters(), average, strict=True):
        assert torch.equal(parameter, expected)
    assert events[-1].data["value"] == 0.1
    assert events[-1].data["cooled_value"] == 5.0


def test_the_best_state_is_on_disk(tmp_path: Path) -> None:
    candidate = _candidate(max_steps=12)
    _run(candidate, _plan(tmp_path), scores=[3.0, 2.0, 2.5])
    found = load_newest(tmp_path)
    assert found is not None
    assert found.meta["score"] == 2.0


def test_a_metric_at_its_floor_does_not_stop_what_still_learns(tmp_path: Path) -> None:
    """The score never moves, the loss falls: training goes on to the end of its steps."""
    candidate = _candidate(max_steps=60)
    losses = iter(range(1000, 0, -1))
    events = list(finish(candidate, _plan(tmp_path, seconds=60.0), lambda _: Judgement(0.0, float(next(losses)))))
    assert candidate.state.schedule.cooldown_start == 60
    assert events[-1].data["final"]
