"""Searches replayed on the table of learning curves: what samplers, stopping rules and the portfolio are worth.

    python benchmarks/bench_search.py benchmarks/results/curves.csv.gz --seeds 20 --out benchmarks/results/search.jsonl
    python benchmarks/bench_search.py --table benchmarks/results/search.jsonl
    python benchmarks/bench_search.py --portfolio benchmarks/results/curves.csv.gz

A search runs through `optimize` as a user's does, on a clock of its own: a trial costs what its training took, and
reports what the table holds at its rungs. What a sampler proposes is moved to the nearest configuration of the table
that this search has not tried. Its best trial is judged by the cooled-down bits per byte, which no search sees: regret
is (that - best of the table) / (median - best), 0 for the best configuration and 1 for what a random one is expected to
reach. Budgets are told in trials of full length. The portfolio of a corpus is made from the other three.

`anytime` is what the incumbent's regret was on average over the second half of the budget.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from bench_curves import SHARES, SPACE, read
from turns import read_rows

from autogpt.events import Event
from autogpt.search.executor import Inline, Job
from autogpt.search.racing import Budget, Racing, Stopper
from autogpt.search.samplers import Sampler
from autogpt.search.samplers.auto import AutoSampler
from autogpt.search.samplers.bayes import BayesSampler
from autogpt.search.samplers.genetic import GeneticSampler, to_unit
from autogpt.search.samplers.random import RandomSampler
from autogpt.search.samplers.rl import RLSampler
from autogpt.search.space import Choice, Config
from autogpt.search.stopping import Hyperband, Median
from autogpt.search.study import Limits, optimize
from autogpt.search.trials import Report, Study, Trial

SCORING_S = 0.5
"""What scoring a trial costs, beside its training."""
BUDGETS = (4.0, 12.0)
CHECKPOINTS = (0.25, 0.5, 1.0)
LONGEST_PORTFOLIO = 5


def unit(config: Mapping[str, Any]) -> list[float]:
    """A configuration as numbers in 0 to 1, one for each parameter; unordered choices become 0, 1, 2, …."""
    places = []
    for name, value in config.items():
        dimension = SPACE[name].dimension
        if not isinstance(dimension, Choice):
            places.append(to_unit(dimension, value))
        elif dimension.is_ordered:
            places.append(sorted(dimension.values).index(value) / (len(dimension.values) - 1))
        else:
            places.append(float(dimension.index(value) or 0))
    return places


@dataclass(frozen=True)
class Table:
    """The runs of one corpus with the first seed, by the number of their configuration."""

    corpus: str
    rows: tuple[Mapping[str, str], ...]

    @cached_property
    def configs(self) -> list[Config]:
        return [
            SPACE.validate({name: self._parsed(name, row[name]) for name in SPACE.names if name in row})
            for row in self.rows
        ]

    @staticmethod
    def _parsed(name: str, text: str) -> Any:
        return {"True": True, "False": False}.get(text, text) if name in ("late_keys", "block") else float(text)

    @cached_property
    def units(self) -> list[list[float]]:
        return [unit(config) for config in self.configs]

    def nearest(self, config: Mapping[str, Any], taken: set[int]) -> int:
        wanted = unit(config)
        free = [place for place in range(len(self.rows)) if place not in taken]
        return min(free, key=lambda place: math.dist(wanted, self.units[place]))

    def score(self, place: int, share: float) -> float:
        return float(self.rows[place][f"bpb_{share:.3f}"])

    @cached_property
    def full_s(self) -> float:
        return statistics.median(float(row["cpu_s"]) for row in self.rows)

    @cached_property
    def cooled(self) -> list[float]:
        return [float(row["cooled"]) for row in self.rows]

    def regret(self, place: int) -> float:
        return (self.cooled[place] - min(self.cooled)) / (statistics.median(self.cooled) - min(self.cooled))


class OnTable:
    """A sampler whose proposals are moved to the table."""

    def __init__(self, inner: Sampler, table: Table) -> None:
        self.inner, self.table = inner, table
        self.space, self.seed, self.direction = inner.space, inner.seed, inner.direction

    def ask(self, history: Sequence[Trial]) -> Config:
        taken = {self.table.configs.index(dict(trial.config)) for trial in history}
        if len(taken) == len(self.table.rows):
            return dict(history[0].config)
        return dict(self.table.configs[self.table.nearest(self.inner.ask(history), taken)])


def portfolio(tables: Sequence[Table], length: int) -> list[int]:
    """Greedy coverage: each next configuration is the one that lowers most what the best of all costs on average."""
    chosen: list[int] = []
    best = [table.regret(0) for table in tables]  # every search begins with the default
    for _ in range(length):
        costs = {
            place: sum(min(known, table.regret(place)) for known, table in zip(best, tables, strict=True))
            for place in range(len(tables[0].rows))
            if place not in chosen and place
        }
        chosen.append(min(costs, key=lambda place: costs[place]))
        best = [min(known, table.regret(chosen[-1])) for known, table in zip(best, tables, strict=True)]
    return chosen


Method = tuple[Callable[..., Sampler], Callable[[], Stopper]]

HALVING = partial(Racing, (1 / 9, 1 / 3, 1.0), 1 / 3)
METHODS: dict[str, Method] = {
    "random": (RandomSampler, partial(Racing, (1.0,))),
    "random + halving": (RandomSampler, HALVING),
    "bayes": (BayesSampler, partial(Racing, (1.0,))),
    "bayes + halving": (BayesSampler, HALVING),
    "bayes + hyperband": (BayesSampler, partial(Hyperband, (1 / 9, 1 / 3, 1.0), 1 / 3)),
    "bayes + median": (BayesSampler, partial(Median, (1 / 9, 1 / 3, 1.0))),
    "genetic + halving": (GeneticSampler, HALVING),
    "rl + halving": (RLSampler, HALVING),
    "halving from 1/27": (BayesSampler, partial(Racing, (1 / 27, 1 / 9, 1 / 3, 1.0), 1 / 3)),
    "halving, half at 1/3, 2/3": (BayesSampler, partial(Racing, (1 / 3, 2 / 3, 1.0), 0.5)),
    "halving, half at 1/6, 1/3": (BayesSampler, partial(Racing, (1 / 6, 1 / 3, 1.0), 0.5)),
    "halving, half at 1/9, 1/3": (BayesSampler, partial(Racing, (1 / 9, 1 / 3, 1.0), 0.5)),
    "halving, spare 0.1": (BayesSampler, partial(HALVING, spare=0.1)),
    "halving, spare 0.3": (BayesSampler, partial(HALVING, spare=0.3)),
    "auto": (AutoSampler, HALVING),
    "auto, spare 0.3": (AutoSampler, partial(HALVING, spare=0.3)),
}


def search(table: Table, others: Sequence[Table], method: str, seed: int, budget: float) -> dict[str, Any]:
    make, rule = METHODS[method]
    clock = [0.0]
    options = {}
    if make is AutoSampler:
        options["first"] = [table.configs[place] for place in portfolio(others, LONGEST_PORTFOLIO)]
    sampler = OnTable(make(SPACE, seed, direction="min", **options), table)
    incumbent: list[tuple[float, float]] = []

    def objective(job: Job) -> Generator[Event, None, Report]:
        yield from ()
        place = table.configs.index(dict(job.config))
        clock[0] += (job.until - job.after) * table.full_s + SCORING_S
        until = min(SHARES, key=lambda share: abs(share - job.until))
        score = table.score(place, until)
        return Report(job.until, score, info={"loss": score})

    seconds = budget * (table.full_s + SCORING_S)
    run = optimize(
        SPACE, Inline(objective), sampler, rule(), Budget(seconds, lambda: clock[0]), limits=Limits(len(table.rows))
    )
    trials: dict[int, Trial] = {}
    while True:
        try:
            event = next(run)
        except StopIteration:
            break
        if event.kind == "search.trial_reported":
            trial = Trial.from_dict(event.data["trial"])
            trials[trial.number] = trial
            best = Study(tuple(trials.values()), "min").best
            assert best is not None
            incumbent.append((clock[0] / seconds, table.regret(table.configs.index(dict(best.config)))))
    at = {f"{share:g}": _at(incumbent, share) for share in CHECKPOINTS}
    anytime = statistics.fmean(_at(incumbent, 0.5 + 0.05 * step) for step in range(11))
    row = {"corpus": table.corpus, "method": method, "seed": seed, "budget": budget, "trials": len(trials)}
    return {**row, "regret": at, "anytime": round(anytime, 4)}


def _at(incumbent: Sequence[tuple[float, float]], share: float) -> float:
    """The regret of the best trial known at that share of the budget; of the first one before there was any."""
    known = [regret for when, regret in incumbent if when <= share + 1e-9]
    return round((known or [incumbent[0][1]])[-1], 4)


def tables_of(file: Path) -> list[Table]:
    rows = [row for row in read(file) if row["seed"] == "0"]
    corpora = sorted({row["corpus"] for row in rows})
    common = set.intersection(*({row["number"] for row in rows if row["corpus"] == name} for name in corpora))
    chosen = sorted(common, key=int)
    by = {(row["corpus"], row["number"]): row for row in rows}
    return [Table(name, tuple(by[name, number] for number in chosen)) for name in corpora]


def results(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Mean regret over corpora and seeds at shares of each budget, and the mean rank at its end."""
    lines = []
    for budget in sorted({row["budget"] for row in rows}):
        own = [row for row in rows if row["budget"] == budget]
        cells = {(row["corpus"], row["seed"], row["method"]): row for row in own}
        places = sorted({(row["corpus"], row["seed"]) for row in own})
        methods = [name for name in METHODS if any(row["method"] == name for row in own)]
        ranks: dict[str, list[float]] = {name: [] for name in methods}
        for corpus, seed in places:
            ends = {name: cells[corpus, seed, name]["regret"]["1"] for name in methods}
            for name in methods:
                below = sum(value < ends[name] for value in ends.values())
                same = sum(value == ends[name] for value in ends.values())
                ranks[name].append(below + (same + 1) / 2)
        lines += [f"\n### A budget of {budget:g} trials of full length\n"]
        lines += ["| method | a quarter | half | all | anytime | rank | trials |", "| --- |" + " ---: |" * 6]
        for name in sorted(methods, key=lambda name: statistics.fmean(ranks[name])):
            mine = [cells[corpus, seed, name] for corpus, seed in places]
            shown = [statistics.fmean(row["regret"][f"{share:g}"] for row in mine) for share in CHECKPOINTS]
            shown.append(statistics.fmean(row["anytime"] for row in mine))
            trials = statistics.fmean(row["trials"] for row in mine)
            values = " | ".join(f"{value:.3f}" for value in shown)
            lines.append(f"| {name} | {values} | {statistics.fmean(ranks[name]):.2f} | {trials:.0f} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("curves", type=Path, nargs="?")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--table", type=Path)
    parser.add_argument("--portfolio", type=Path)
    parser.add_argument("--methods", nargs="*", default=list(METHODS))
    options = parser.parse_args()
    if options.table:
        print("\n".join(results(read_rows(options.table))))
        return
    if options.portfolio:
        tables = tables_of(options.portfolio)
        for place in portfolio(tables, LONGEST_PORTFOLIO):
            regrets = " ".join(f"{table.regret(place):.2f}" for table in tables)
            print(json.dumps(tables[0].configs[place]), regrets)
        return
    tables = tables_of(options.curves)
    with options.out.open("a", encoding="utf-8") as file:
        for table in tables:
            others = [other for other in tables if other is not table]
            for method in options.methods:
                for budget in BUDGETS:
                    for seed in range(options.seeds):
                        row = search(table, others, method, seed, budget)
                        file.write(json.dumps(row, ensure_ascii=False) + "\n")
                print(table.corpus, method, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
