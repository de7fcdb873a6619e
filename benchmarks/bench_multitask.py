"""Tasks alone against tasks together, in equal CPU time in total: what sharing a model gains and costs each of them.

    python benchmarks/bench_multitask.py run SETS.jsonl --seconds 120 --seeds 3 --rows FOLDER --out RESULTS.jsonl
    python benchmarks/bench_multitask.py table RESULTS.jsonl --rows FOLDER

A line of SETS names a set of tasks: {"set": "sentiment and intents", "tasks": [{"name": "reviews", "description": "…",
"train": "a.jsonl", "test": "b.jsonl", "rows": 200}, …]}; `rows` cuts the training file. Every arm of a set has the same
CPU seconds for training: `alone` shares them out equally among models of one task each, the others train one model on
all tasks (`shared`, adapters of each task's `own`, `attention` over all adapters, `pcgrad`, `uncertainty`), and
`transfer` trains a model of all tasks but the smallest for its share of the time and starts the smallest from it for
the rest. All train the default configuration of their space from scratch, the last 30 % of the time at a falling rate,
and take turns step by step. Scored is on the test rows, by the task's own metric; scoring is not counted as time. The
table's gain is relative to alone, its p-value that of a paired randomisation test on the rows' statistics averaged over
seeds; it does not include the variance between seeds, which is shown beside it. A set and seed that has been run is not
run again.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import tempfile
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numpy as np
import torch
from turns import read_rows

from autogpt.bench import Bench, Part, bench_of, candidate_of, judge_parts, set_up_tasks
from autogpt.config import RunConfig, load_run_config
from autogpt.evaluation.metrics import get_metric
from autogpt.evaluation.resampling import randomization_p_value
from autogpt.evaluation.validate import Validator
from autogpt.given import read_tasks
from autogpt.models.hub import save_model
from autogpt.training.candidate import Candidate
from autogpt.training.finish import Judgement
from autogpt.training.loop import train

ARMS: dict[str, dict[str, Any]] = {
    "alone": {},
    "shared": {},
    "own": {"sharing": "own"},
    "attention": {"sharing": "attention"},
    "pcgrad": {"task_losses": "pcgrad"},
    "uncertainty": {"task_losses": "uncertainty"},
    "transfer": {},
}
COOL, LONGEST = 0.3, 1e9
_T = TypeVar("_T")
Steps: TypeAlias = Generator[float, None, _T]
Outcome: TypeAlias = tuple[list[Judgement], int]
SCORED_ROWS = 800


def bench_for(tasks: Sequence[Mapping[str, Any]], config: RunConfig, folder: Path) -> Bench:
    """The bench of a set; its validators score the test rows, which nothing here chooses by."""
    train_files = []
    for task in tasks:
        lines = Path(task["train"]).read_text(encoding="utf-8").splitlines(keepends=True)[: task.get("rows")]
        train_files.append(folder / f"{task['name']}.jsonl")
        train_files[-1].write_text("".join(lines), encoding="utf-8")
    described = "；".join(task["description"] for task in tasks)
    given = read_tasks(described, train_files, [Path(task["test"]) for task in tasks], config)
    bench = set_up_tasks(config, given.tasks, LONGEST)
    parts = [
        replace(part, validator=Validator(part.spec, part.dataset.sealed.open()[:SCORED_ROWS], SCORED_ROWS))
        for part in bench.parts
    ]
    return bench_of(config, parts, LONGEST)


def trained(bench: Bench, config: RunConfig, settings: Mapping[str, Any], seconds: float) -> Steps[Candidate]:
    """The default configuration, changed by `settings`, after so many CPU seconds of training, which are yielded."""
    candidate = candidate_of(bench, config, {**bench.space.default, **settings})
    state, spent = candidate.state, 0.0
    steps = train(state, candidate.batches, candidate.settings, objective=candidate.objective)
    while spent < 1.1 * seconds:
        began = time.process_time()
        if next(steps, None) is None:
            break
        took = time.process_time() - began
        spent += took
        if state.schedule.cooldown_start is None and spent >= (1 - COOL) * seconds:
            left = max(1, round(state.step / spent * (seconds - spent)))
            state.schedule = replace(state.schedule, cooldown_start=state.step, cooldown_steps=left)
        yield took
    state.model.eval()
    return candidate


def judged(bench: Bench, candidate: Candidate) -> list[Judgement]:
    """What the test rows of each task say of the model."""
    with torch.no_grad():
        return judge_parts(bench, candidate, candidate.model)


def arm_of(bench: Bench, config: RunConfig, arm: str, seconds: float, folder: Path) -> Steps[Outcome]:
    """(judgement of each task, tokens trained on) of an arm; yields the CPU seconds of each step."""
    parts = bench.parts
    if arm == "alone":
        found, tokens = [], 0
        for part in parts:
            own = bench_of(config, [part], LONGEST)
            candidate = yield from trained(own, config, {}, seconds / len(parts))
            found += judged(own, candidate)
            tokens += candidate.state.tokens
        return found, tokens
    if arm == "transfer":
        return (yield from _transferred(bench, config, seconds, folder))
    candidate = yield from trained(bench, config, ARMS[arm], seconds)
    return judged(bench, candidate), candidate.state.tokens


def _transferred(bench: Bench, config: RunConfig, seconds: float, folder: Path) -> Steps[Outcome]:
    """The smallest task from the model of all the others: of the task whose rows are most like its own."""
    smallest = min(bench.parts, key=lambda part: len(part.dataset.train))
    others = [part for part in bench.parts if part is not smallest]
    large = bench_of(config, others, LONGEST)
    first = yield from trained(large, config, {}, seconds * len(others) / len(bench.parts))
    found = dict(zip([part.name for part in others], judged(large, first), strict=True))
    near = max(range(len(others)), key=lambda place: _alike(smallest, others[place]))
    start = folder / "start"
    save_model(first.model.plain(near) if len(others) > 1 else first.model, first.tokenizer, start)
    based = config.model_copy(update={"base": str(start)})
    own = bench_of(based, [smallest], LONGEST)
    second = yield from trained(own, based, {"base_lr": 1e-3}, seconds / len(bench.parts))
    (found[smallest.name],) = judged(own, second)
    return [found[part.name] for part in bench.parts], first.state.tokens + second.state.tokens


def in_turns(arms: dict[str, Steps[Outcome]]) -> Iterator[tuple[str, Outcome]]:
    """Name and outcome of each arm as it ends. The one that has had the least time takes the next step: a busy moment
    of the machine, which makes CPU seconds worth less, hits all of them."""
    spent = dict.fromkeys(arms, 0.0)
    while spent:
        arm = min(spent, key=lambda name: spent[name])
        try:
            spent[arm] += next(arms[arm])
        except StopIteration as end:
            del spent[arm]
            yield arm, end.value


def _alike(one: Part, other: Part) -> tuple[bool, bool, int]:
    same_kind = one.spec.kind is other.spec.kind
    return (
        same_kind,
        one.spec.input_language == other.spec.input_language,
        -abs(len(one.spec.labels) - len(other.spec.labels)),
    )


def run(given: argparse.Namespace) -> None:
    """Every set, seed and arm that is not among the results yet; the arms of a set take turns."""
    done = {(row["set"], row["seed"], row["arm"]) for row in read_rows(given.out)} if given.out.exists() else set()
    given.rows.mkdir(parents=True, exist_ok=True)
    for seed, one in itertools.product(range(given.seeds), read_rows(given.sets)):
        arms = [arm for arm in given.arms if arm != "transfer" or len(one["tasks"]) > 2]
        if any((one["set"], seed, arm) in done for arm in arms):
            continue
        config = load_run_config(None, [f"seed={seed}"], base="scratch")
        with tempfile.TemporaryDirectory() as folder:
            bench = bench_for(one["tasks"], config, Path(folder))
            torch.set_num_threads(1)
            steps = {arm: arm_of(bench, config, arm, given.seconds, Path(folder)) for arm in arms}
            rows = [_row(given, one["set"], seed, arm, bench, outcome) for arm, outcome in in_turns(steps)]
        with given.out.open("a", encoding="utf-8") as file:
            file.write("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def _row(given: argparse.Namespace, name: str, seed: int, arm: str, bench: Bench, outcome: Outcome) -> dict[str, Any]:
    """An arm's line of the results; the statistics of its rows go to a file."""
    found, tokens = outcome
    tables = {part.name: f.rows for part, f in zip(bench.parts, found, strict=True)}
    np.savez(given.rows / f"{name}-{seed}-{arm}.npz", **tables)
    tasks = {
        part.name: {"metric": part.spec.metric, "score": f.score, "loss": round(f.loss, 5)}
        for part, f in zip(bench.parts, found, strict=True)
    }
    row = {"set": name, "seed": seed, "arm": arm, "seconds": given.seconds, "tokens": tokens, "tasks": tasks}
    print(json.dumps(row, ensure_ascii=False), flush=True)
    return row


def table(rows: Sequence[Mapping[str, Any]], folder: Path) -> str:
    """For each set a table of arms: each task's mean score, its relative gain over alone, and how sure that is."""
    lines = []
    for name in dict.fromkeys(row["set"] for row in rows):
        of_set = [row for row in rows if row["set"] == name]
        tasks, arms = list(of_set[0]["tasks"]), list(dict.fromkeys(row["arm"] for row in of_set))
        lines += [f"\n## {name}\n", "| arm | " + " | ".join(tasks) + " | mean gain | tokens |"]
        lines.append("|---|" + "---:|" * (len(tasks) + 2))
        alone = {row["seed"]: row for row in of_set if row["arm"] == "alone"}
        for arm in arms:
            own = [row for row in of_set if row["arm"] == arm and row["seed"] in alone]
            cells, gains = [], []
            for task in tasks:
                metric = get_metric(own[0]["tasks"][task]["metric"])
                scores = [row["tasks"][task]["score"] for row in own]
                spread = f" ± {statistics.stdev(scores):.3f}" if len(scores) > 1 else ""
                cell = f"{statistics.mean(scores):.3f}{spread}"
                if arm != "alone":
                    was = statistics.mean(alone[row["seed"]]["tasks"][task]["score"] for row in own)
                    sign = 1 if metric.higher_is_better else -1
                    gains.append(sign * (statistics.mean(scores) - was) / max(abs(was), 1e-9))
                    p = _p_value(folder, name, arm, task, [row["seed"] for row in own], metric)
                    cell += f" ({gains[-1]:+.1%}, p={p:.2g})"
                cells.append(cell)
            mean = f"{statistics.mean(gains):+.1%}" if gains else ""
            tokens = statistics.mean(row["tokens"] for row in own)
            lines.append(f"| {arm} | " + " | ".join(cells) + f" | {mean} | {tokens / 1000:.0f}k |")
    return "\n".join(lines)


def _p_value(folder: Path, name: str, arm: str, task: str, seeds: Sequence[int], metric: Any) -> float:
    """Of the difference to alone, on rows whose statistics are means over the seeds."""
    means = []
    for which in (arm, "alone"):
        tables = [np.load(folder / f"{name}-{seed}-{which}.npz")[task] for seed in seeds]
        means.append(np.mean(tables, axis=0))
    return randomization_p_value(metric.value, means[0], means[1], resamples=10_000, seed=0)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    running, showing = verbs.add_parser("run"), verbs.add_parser("table")
    running.add_argument("sets", type=Path)
    running.add_argument("--seconds", type=float, default=120.0)
    running.add_argument("--seeds", type=int, default=3)
    running.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    running.add_argument("--out", type=Path, required=True)
    running.add_argument("--rows", type=Path, required=True)
    showing.add_argument("results", type=Path)
    showing.add_argument("--rows", type=Path, required=True)
    given = parser.parse_args(arguments)
    if given.verb == "run":
        run(given)
    else:
        print(table(read_rows(given.results), given.rows))


if __name__ == "__main__":
    main()
