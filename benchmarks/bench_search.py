"""Searches replayed on the table of learning curves: what samplers, stopping rules and the portfolio are worth.

    python benchmarks/bench_search.py benchmarks/results/curves.csv.gz --seeds 20 --out benchmarks/results/search.jsonl
    python benchmarks/bench_search.py --table benchmarks/results/search.jsonl
    python benchmarks/bench_search.py --portfolio benchmarks/results/curves.csv.gz

A search runs through `optimize` as a user's does, on a clock of its own: a trial costs what its training took, and
reports what the table holds at its rungs. What a sampler proposes is moved to the nearest configuration of the table
that this search has not tried. Its best trial is judged by the cooled-down bits per byte, which no search sees: regret
is (that - best of the table) / (median - best), 0 for the best configuration and 1 for what a random one is expected to
reach. Budgets are told in trials of full length. The portfolio of a corpus is made from the other three.

`anytime` is what the incumbent's regret was on average over the second half of the budget. `auto` is what users get:
the portfolio, then Bayesian optimization, halving that begins with the best of three, slow starters spared; the methods
named `auto - …` leave one part out each. Searches that the file holds already are not made again.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from bench_curves import SHARES, SPACE, read
from search_table import results
from turns import read_rows

from autogpt.events import Event
from autogpt.search.executor import Inline, Job
from autogpt.search.racing import Budget, Racing, Stopper, Verdict
from autogpt.search.samplers import Sampler
from autogpt.search.samplers.auto import AutoSampler
from autogpt.search.samplers.bayes import BayesSampler
from autogpt.search.samplers.genetic import GeneticSampler, to_unit
from autogpt.search.samplers.nsga2 import NSGA2Sampler
from autogpt.search.samplers.random import RandomSampler
from autogpt.search.samplers.rl import RLSampler
from autogpt.search.space import Choice, Config, Space
from autogpt.search.stopping import Hyperband, Median
from autogpt.search.study import Limits, optimize
from autogpt.search.trials import Direction, Report, Study, Trial

SCORING_S = 0.5
"""What scoring a trial costs, beside its training."""
BUDGETS = (4.0, 12.0)
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


class AutoThenRandom(AutoSampler):
    """The portfolio as `AutoSampler` tries it, then random draws: nothing is learned from this search."""

    def __init__(
        self, space: Space, seed: int = 0, *, direction: Direction, first: Sequence[Mapping[str, Any]]
    ) -> None:
        super().__init__(space, seed, direction=direction, first=first)
        self._then = RandomSampler(space, seed, direction=direction)


@dataclass(slots=True)
class Final:
    """A rule that never takes back what it said: trials that `inner` stopped once are not gone on with."""

    inner: Stopper
    _stopped: list[tuple[Report, ...]] = field(default_factory=list)

    @property
    def rungs(self) -> Sequence[float]:
        return self.inner.rungs

    def verdict(self, reports: Sequence[Report], history: Sequence[Trial], *, direction: Direction) -> Verdict:
        if tuple(reports) in self._stopped:  # seconds are among them: no two trials have the same ones
            return Verdict("stop", "it was stopped before")
        verdict = self.inner.verdict(reports, history, direction=direction)
        if verdict.action == "stop":
            self._stopped.append(tuple(reports))
        return verdict


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


Method = tuple[type[Sampler], Callable[[], Stopper]]

NOTHING = partial(Racing, (1.0,))
HALVING = partial(Racing, (1 / 9, 1 / 3, 1.0), 1 / 3)
SPARING = partial(HALVING, spare=0.3, wait=2)
METHODS: dict[str, Method] = {
    "random": (RandomSampler, NOTHING),
    "random + halving": (RandomSampler, HALVING),
    "bayes": (BayesSampler, NOTHING),
    "bayes + halving": (BayesSampler, HALVING),
    "bayes + hyperband": (BayesSampler, partial(Hyperband, (1 / 9, 1 / 3, 1.0), 1 / 3)),
    "bayes + median": (BayesSampler, partial(Median, (1 / 9, 1 / 3, 1.0))),
    "genetic": (GeneticSampler, NOTHING),
    "genetic + halving": (GeneticSampler, HALVING),
    "nsga2 + halving": (NSGA2Sampler, HALVING),
    "rl": (RLSampler, NOTHING),
    "rl + halving": (RLSampler, HALVING),
    "halving from 1/27": (BayesSampler, partial(Racing, (1 / 27, 1 / 9, 1 / 3, 1.0), 1 / 3)),
    "halving, half at 1/3, 2/3": (BayesSampler, partial(Racing, (1 / 3, 2 / 3, 1.0), 0.5)),
    "halving, half at 1/6, 1/3": (BayesSampler, partial(Racing, (1 / 6, 1 / 3, 1.0), 0.5)),
    "halving, half at 1/9, 1/3": (BayesSampler, partial(Racing, (1 / 9, 1 / 3, 1.0), 0.5)),
    "halving, spare 0.1": (BayesSampler, partial(HALVING, spare=0.1)),
    "auto": (AutoSampler, SPARING),
    "auto - portfolio": (BayesSampler, SPARING),
    "auto - halving": (AutoSampler, NOTHING),
    "auto - sparing": (AutoSampler, partial(HALVING, wait=2)),
    "auto - waiting": (AutoSampler, partial(HALVING, spare=0.3)),
    "auto - promotion": (AutoSampler, lambda: Final(SPARING())),
    "auto - learning": (AutoThenRandom, SPARING),
}


def search(table: Table, others: Sequence[Table], method: str, seed: int, budget: float) -> dict[str, Any]:
    make, rule = METHODS[method]
    clock = [0.0]
    options: dict[str, Any] = {}
    if issubclass(make, AutoSampler):
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
            regret = round(table.regret(table.configs.index(dict(best.config))), 4)
            if not incumbent or regret != incumbent[-1][1]:
                incumbent.append((round(clock[0] / seconds, 4), regret))
    row = {"corpus": table.corpus, "method": method, "seed": seed, "budget": budget, "trials": len(trials)}
    return {**row, "incumbent": incumbent}


def tables_of(file: Path) -> list[Table]:
    rows = [row for row in read(file) if row["seed"] == "0"]
    corpora = sorted({row["corpus"] for row in rows})
    common = set.intersection(*({row["number"] for row in rows if row["corpus"] == name} for name in corpora))
    chosen = sorted(common, key=int)
    by = {(row["corpus"], row["number"]): row for row in rows}
    return [Table(name, tuple(by[name, number] for number in chosen)) for name in corpora]


def measure(options: argparse.Namespace) -> None:
    """Makes the searches that the file does not hold yet, and appends a row for each."""
    tables = tables_of(options.curves)
    known = read_rows(options.out) if options.out.exists() else []
    done = {(row["corpus"], row["method"], row["seed"], row["budget"]) for row in known}
    with options.out.open("a", encoding="utf-8") as file:
        for table in tables:
            others = [other for other in tables if other is not table]
            for method in options.methods:
                for budget in BUDGETS:
                    for seed in range(options.seeds):
                        if (table.corpus, method, seed, budget) not in done:
                            row = search(table, others, method, seed, budget)
                            file.write(json.dumps(row, ensure_ascii=False) + "\n")
                print(table.corpus, method, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("curves", type=Path, nargs="?")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--table", type=Path)
    parser.add_argument("--portfolio", type=Path)
    parser.add_argument("--methods", nargs="*", choices=METHODS, default=list(METHODS), metavar="METHOD")
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
    measure(options)


if __name__ == "__main__":
    main()
