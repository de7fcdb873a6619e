"""Learning curves of small GPTs on real text: the table that search is judged by, and that its portfolio comes from.

    python benchmarks/bench_curves.py TEXTS... --out benchmarks/results/curves.csv.gz --configs 76 --seconds 10

TEXTS are `*.train.jsonl` files of rows with `text`; the `*.test.jsonl` beside each is what is scored. The same
configurations, drawn once from a space as `space_for` makes it but wider, are trained on every corpus, the default one
with five seeds. A row of the table is one run: the corpus, the seed, the configuration, steps, tokens and parameters,
bits per byte of the held-out text by the averaged weights at shares of the seconds (at the full learning rate), and
`cooled`: after a cool-down of a quarter of the seconds on top. Seconds are a process's own CPU time for training on one
thread; two such processes share the machine.

Runs that the file holds already are not made again, so the command may be stopped at any time.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import multiprocessing
import random
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from autogpt.bench import Bench, judge, set_up
from autogpt.config import TrainingConfig, load_run_config
from autogpt.data import readers
from autogpt.models.sizing import parameters, shape_for
from autogpt.search.space import Choice, Config, Float, Parameter, Space
from autogpt.tasks.understand import understand
from autogpt.training.candidate import Candidate, build
from autogpt.training.loop import averaged, train

SHARES = (1 / 27, 1 / 18, 1 / 9, 1 / 6, 1 / 3, 1 / 2, 2 / 3, 1.0)
COOLDOWN = 0.25
SEEDS_OF_DEFAULT = 5
LARGEST = 5_000_000
SCORED_ROWS = 40

SPACE = Space(
    [
        Parameter("width", Choice((96, 128, 192, 256)), 192),
        Parameter("depth", Choice((2, 3, 4, 6)), 4),
        Parameter("block", Choice(("relu2", "llama")), "relu2"),
        Parameter("late_keys", Choice((False, True)), False),
        Parameter("vocabulary", Choice((1024, 2048, 4096, 8192)), 4096),
        Parameter("tokens_per_step", Choice((512, 1024, 2048, 4096)), 2048),
        Parameter("lr", Float(4e-4, 8e-3, log=True), 2e-3),
        Parameter("weight_decay", Float(0.01, 1.0, log=True), 0.1),
        Parameter("dropout", Choice((0.0, 0.1, 0.2)), 0.1),
    ]
)


def configurations(count: int) -> list[Config]:
    """The default, and then the same random ones in every call; none is larger than `LARGEST`."""
    rng, found = random.Random(0), [SPACE.default]
    while len(found) < count:
        config = SPACE.sample(rng)
        shape = shape_for(config["width"], depth=config["depth"], vocab_size=config["vocabulary"], context=128)
        if parameters(shape) <= LARGEST:
            found.append(config)
    return found


@lru_cache(maxsize=1)
def prepared(file: Path) -> Bench:
    held_out = Path(str(file).replace(".train.", ".test."))
    tables = [readers.read(path) for path in (file, held_out)]
    spec = understand("write text", readers.sample(tables[0], seed=0), {"kind": "generation"})
    config = load_run_config(base="scratch", evaluation={"search_rows": SCORED_ROWS}, training={"threads": 1})
    return set_up(config, spec, tables, 600.0)


def run(file: Path, number: int, config: Config, seed: int, seconds: float) -> dict[str, Any]:
    """One row of the table."""
    torch.set_num_threads(1)
    bench = prepared(file)
    whole = {"start": "scratch", "epochs": 80, **config}
    options = TrainingConfig(threads=1)
    candidate = build(
        whole, bench.corpus, base=None, options=options, machine=bench.machine, longest_answer=64, seed=seed
    )
    state, spent, curve = candidate.state, 0.0, {}
    for share in SHARES:
        spent += _train(candidate, share * seconds - spent)
        with averaged(state) as model:
            curve[f"bpb_{share:.3f}"] = round(judge(bench, candidate, model).score, 5)
    row = {"corpus": file.name.split(".")[0], "number": number, "seed": seed, **config, "steps": state.step}
    row |= {"tokens": state.tokens, "parameters": candidate.model.num_parameters(), "cpu_s": round(spent, 2), **curve}
    steps = max(1, round(COOLDOWN * state.step))
    state.schedule = replace(state.schedule, cooldown_start=state.step, cooldown_steps=steps)
    for _ in train(state, candidate.batches, candidate.settings, objective=candidate.objective):
        pass
    return {**row, "cooled": round(judge(bench, candidate, candidate.model).score, 5)}


def _train(candidate: Candidate, seconds: float) -> float:
    """Trains for so much CPU time; returns what it really took."""
    began = time.process_time()
    if seconds > 0:
        for _ in train(candidate.state, candidate.batches, candidate.settings, objective=candidate.objective):
            if time.process_time() - began >= seconds:
                break
    return time.process_time() - began


def read(file: Path) -> list[dict[str, str]]:
    """The rows of the table, every value as text; none when there is no table yet."""
    if not file.exists():
        return []
    return list(csv.DictReader(io.StringIO(gzip.decompress(file.read_bytes()).decode())))


def write(file: Path, rows: list[dict[str, Any]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(sorted(rows, key=lambda row: (row["corpus"], int(row["number"]), int(row["seed"]))))
    file.write_bytes(gzip.compress(text.getvalue().encode(), mtime=0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--configs", type=int, default=76)
    parser.add_argument("--seconds", type=float, default=10.0)
    options = parser.parse_args()
    rows: list[dict[str, Any]] = list(read(options.out))
    done = {(row["corpus"], int(row["number"]), int(row["seed"])) for row in rows}
    jobs = []
    for number, config in enumerate(configurations(options.configs)):
        for seed in range(SEEDS_OF_DEFAULT if number == 0 else 1):
            jobs += [
                (file, number, config, seed, options.seconds)
                for file in options.files
                if (file.name.split(".")[0], number, seed) not in done
            ]
    # A corpus after the other: each process prepares it once.
    jobs.sort(key=lambda job: str(job[0]))
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        for ended in as_completed([pool.submit(run, *job) for job in jobs]):
            rows.append(ended.result())
            print(rows[-1], file=sys.stderr, flush=True)
            write(options.out, rows)


if __name__ == "__main__":
    main()
