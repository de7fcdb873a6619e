"""The pool of `bench_aa.py`: trainings of one configuration that differ in their seed, kept in a NumPy file a task."""

from __future__ import annotations

import json
import math
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from autogpt.bench import Bench, candidate_of, judge, set_up
from autogpt.config import load_run_config
from autogpt.data import readers
from autogpt.evaluation.baselines import ladder
from autogpt.evaluation.evaluate import score
from autogpt.tasks.spec import TaskSpec
from autogpt.tasks.understand import understand
from autogpt.training.finish import Judgement
from autogpt.training.loop import averaged, train

__all__ = ["RUNGS", "Pool", "Training", "fill", "read"]

RUNGS = (1 / 9, 1 / 3, 1.0)
MOST_ROWS = 4000
_STANDARD_ERRORS_IN_INTERVAL = 2 * 1.96


@dataclass(frozen=True, slots=True)
class Training:
    """One training, as a search would know it.

    Attributes:
        seed: of its weights, batches and dropout.
        at: rung → what the validation rows said there.
        cpu_s: of the process, scoring included; of a longer training only what came on top of the plain one.
        times: its length in trials: 1, or 2 for one that is twice as long.
    """

    seed: int
    at: Mapping[float, Judgement]
    cpu_s: float
    times: int = 1


@dataclass(frozen=True, slots=True)
class Pool:
    """The trainings of one task.

    Attributes:
        steps: of a trial of full length.
        resolution: steps in which scores are ranked, as a run takes them from its baselines (`ranking_value`).
    """

    task: str
    spec: TaskSpec
    steps: int
    resolution: float
    plain: Sequence[Training]
    longer: Sequence[Training]

    @staticmethod
    def summary(trainings: Sequence[Training]) -> dict[str, float]:
        """Means at the end of the trainings; deviations over seeds, that of the loss as a share of its mean."""
        scores = [training.at[1.0].score for training in trainings]
        losses = [training.at[1.0].loss for training in trainings]
        spread = statistics.stdev if len(trainings) > 1 else lambda values: math.nan
        found = {"score": statistics.fmean(scores), "score_sd": spread(scores), "loss": statistics.fmean(losses)}
        return {name: round(value, 5) for name, value in {**found, "loss_sd": spread(losses) / found["loss"]}.items()}


def fill(task: Mapping[str, Any], folder: Path, pool: Path, steps: int, wanted: tuple[int, int]) -> Pool:
    """The pool of a task with so many plain and longer trainings, made where the file lacks them.

    Args:
        task: its row of the task list, whose files lie in `folder`.
        pool: folder of the files; each is written anew, whole, after every training.
        steps: of a trial of full length, a multiple of nine, so that rungs fall on steps.
        wanted: how many seeds, and how many of them, the first ones, also train twice as long.

    Ends the process when the file is of trainings of another length.
    """
    if steps % 9:
        raise SystemExit(f"{steps} steps are no multiple of nine")
    file = pool / f"{task['id']}.npz"
    arrays: dict[str, Any] = dict(np.load(file)) if file.exists() else {}
    about = json.loads(str(arrays["about"])) if arrays else {}
    if about and about["steps"] != steps:
        raise SystemExit(f"{file.name} holds trainings of {about['steps']} steps, not {steps}")
    missing = [seed for seed in range(wanted[0]) if _key(seed, 2 if seed < wanted[1] else 1, 1.0) not in arrays]
    if missing:
        bench, config = _set_up(task, folder, about.get("precision", "auto"))
        if not about:
            about = {"task": task["id"], "spec": bench.parts[0].spec.model_dump(mode="json"), "steps": steps}
            about |= {"precision": bench.machine.precision, "resolution": _resolution(bench)}
            arrays["about"] = np.array(json.dumps(about))
        for seed in missing:
            arrays |= _trained(bench, config, seed, steps, longer=seed < wanted[1])
            _write(file, arrays)
            print(f"{task['id']} seed {seed}: {arrays[_key(seed, 1, 1.0)][0]:.4g}", flush=True)
    return read(file)


def read(file: Path) -> Pool:
    """The pool that a file holds."""
    with np.load(file) as found:
        arrays = dict(found)
    about = json.loads(str(arrays["about"]))
    trainings: dict[int, list[Training]] = {1: [], 2: []}
    for times, known in trainings.items():
        seeds = sorted({int(name.split("/")[0]) for name in arrays if name.endswith(f"/{times}/1.000/told")})
        for seed in seeds:
            at = {}
            for rung in RUNGS:
                told, rows, losses = (arrays[_key(seed, times, rung, what)] for what in ("told", "rows", "losses"))
                at[rung] = Judgement(float(told[0]), float(told[1]), rows, losses)
            known.append(Training(seed, at, float(arrays[_key(seed, times, 1.0)][2]), times))
    spec = TaskSpec.model_validate(about["spec"])
    return Pool(about["task"], spec, about["steps"], about["resolution"], trainings[1], trainings[2])


def _key(seed: int, times: int, rung: float, what: str = "told") -> str:
    return f"{seed}/{times}/{rung:.3f}/{what}"


def _set_up(task: Mapping[str, Any], folder: Path, precision: str) -> tuple[Bench, Any]:
    tables = [readers.read(folder / task["train"])]
    # A pool that is gone on with keeps the precision it began with, whatever a probe says today.
    wishes = [f"data.max_rows={MOST_ROWS}", "training.threads=1", f"training.precision={precision}"]
    config = load_run_config(None, wishes, base="scratch")
    spec = understand(task["description_en"], readers.sample(tables[0], seed=0), {})
    return set_up(config, spec, tables, 600.0), config


def _resolution(bench: Bench) -> float:
    """As `stages.show_baselines` finds it, which tells a run of it."""
    (part,) = bench.parts
    if part.spec.metric == "bits_per_byte":
        return 0.0
    rows = part.validator.examples
    baselines = ladder(part.spec, part.dataset.train, rows)
    found = [score(part.spec, rows, one.predictions, resamples=200).main.ci95 for one in baselines]
    return max(high - low for low, high in found) / _STANDARD_ERRORS_IN_INTERVAL * 2


def _trained(bench: Bench, config: Any, seed: int, steps: int, *, longer: bool) -> dict[str, Any]:
    """The arrays of one seed: at each rung of a trial, and of one of twice the length, what `_key` names."""
    candidate = candidate_of(bench, config.model_copy(update={"seed": seed}), bench.space.default)
    stream = train(candidate.state, candidate.batches, candidate.settings, objective=candidate.objective)
    stops = {(round(times * rung * steps), times, rung) for times in (1, 2)[: 1 + longer] for rung in RUNGS}
    found: dict[str, Any] = {}
    began = {1: time.process_time()}
    # A trial's end before its double's: the seconds of the second begin where the first has ended.
    for step, times, rung in sorted(stops):
        while candidate.state.step < step:
            next(stream)
        with averaged(candidate.state) as model:
            judged = judge(bench, candidate, model)
        now = time.process_time()
        cpu_s = now - began.get(times, began[1])
        if times == 1 and rung == 1.0:
            began[2] = now
        found[_key(seed, times, rung)] = np.array([judged.score, judged.loss, cpu_s])
        found[_key(seed, times, rung, "rows")] = judged.rows
        found[_key(seed, times, rung, "losses")] = judged.losses
    return found


def _write(file: Path, arrays: Mapping[str, Any]) -> None:
    beside = file.with_suffix(".part.npz")
    np.savez_compressed(beside, **arrays)
    beside.replace(file)
