"""How much two trainings of the default configuration differ that differ in their seed alone.

    python benchmarks/bench_seed_noise.py TASKS.jsonl --only zh_thucnews_topic en_sst2_sentiment --out FILE

Each is trained from scratch for the same number of steps on the same rows, at the full learning rate as trials are, and
scored by its averaged weights on the same validation rows. A row tells score and loss; the table, for each task,
their means and standard deviations over the seeds, as a share of the mean for the loss. `evaluation/gain.py` takes from
here what seeds alone may do.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

from turns import read_rows

from autogpt.bench import candidate_of, judge, set_up
from autogpt.config import load_run_config
from autogpt.data import readers
from autogpt.tasks.understand import understand
from autogpt.training.loop import averaged, train

SEEDS, MOST_ROWS = 5, 4000


def measured(task: dict[str, Any], folder: Path, steps: int) -> list[dict[str, Any]]:
    tables = [readers.read(folder / task["train"])]
    config = load_run_config(None, [f"data.max_rows={MOST_ROWS}", "training.threads=1"], base="scratch")
    spec = understand(task["description_en"], readers.sample(tables[0], seed=0), {})
    bench = set_up(config, spec, tables, 600.0)
    rows = []
    for seed in range(SEEDS):
        candidate = candidate_of(bench, config.model_copy(update={"seed": seed}), bench.space.default)
        stream = train(candidate.state, candidate.batches, candidate.settings, objective=candidate.objective)
        while candidate.state.step < steps:
            next(stream)
        with averaged(candidate.state) as model:
            found = judge(bench, candidate, model)
        told = {"id": task["id"], "kind": spec.kind.value, "metric": spec.metric, "seed": seed, "steps": steps}
        rows.append({**told, "score": round(found.score, 5), "loss": round(found.loss, 5)})
        print(rows[-1], flush=True)
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    lines = ["| task | steps | metric | score | its deviation | loss | its deviation |", "| --- |" + " ---: |" * 6]
    for key in dict.fromkeys((row["id"], row["steps"]) for row in rows):
        own = [row for row in rows if (row["id"], row["steps"]) == key]
        scores, losses = ([row[name] for row in own] for name in ("score", "loss"))
        share = statistics.stdev(losses) / statistics.fmean(losses)
        score = f"{statistics.fmean(scores):.3f} | {statistics.stdev(scores):.3f}"
        lines.append(
            f"| {key[0]} | {key[1]} | {own[0]['metric']} | {score} | {statistics.fmean(losses):.3f} | {share:.1%} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", type=Path)
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--steps", type=int, nargs="*", default=[100, 400])
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for task in read_rows(options.tasks):
        if not options.only or task["id"] in options.only:
            for steps in options.steps:
                rows += measured(task, options.tasks.parent, steps)
                options.out.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    print(table(rows))


if __name__ == "__main__":
    main()
