"""Whole runs with a search against the same budget without one: real tasks, several seeds, compared in pairs.

    python benchmarks/bench_live.py TASKS.jsonl --budget 10m --seeds 5 --out benchmarks/results/live.jsonl
    python benchmarks/bench_live.py --table benchmarks/results/live.jsonl

Arms: `auto`, as a user gets it; `default`, the default configuration trained for the whole budget; `full bayes`,
Bayesian optimization from random draws whose trials all run to their end. Runs go one after the other on the whole
machine, or with `--side-by-side N` so many at a time with a thread each; the arms of a task and seed follow each other,
and those that the file holds already are not made again. Nothing is learnt from one run for the next (`--fresh`).

The table has each arm's mean score on the sealed test rows, and the difference of `auto` to the others, with Wilcoxon's
signed-rank test over pairs of task and seed. Differences are in each metric's direction: positive is better. Below it
stand the longest run as a share of its budget, and the mean share that went into neither training nor scoring.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import subprocess
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from bench_main_path import commit, machine
from scipy.stats import wilcoxon
from turns import read_rows

from autogpt.config import parse_budget

TASKS = ("zh_thucnews_topic", "en_banking77_intent", "zh_resume_ner", "zh_poetry_songci")
ARMS = {
    "auto": [],
    "default": ["--set", "search.max_trials=1"],
    "full bayes": ["--sampler", "bayes", "--set", "search.stopping=none"],
}


def run(task: dict[str, Any], arm: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    folder, budget = options.tasks.parent, options.budget
    threads = "auto" if options.side_by_side == 1 else "1"
    files = ["--data", str(folder / task["train"]), "--test", str(folder / task["test"])]
    fixed = ["--budget", budget, "--base", "scratch", "--set", f"seed={seed}", "--set", f"training.threads={threads}"]
    name = f"live-{task['id']}-{arm}-{seed}".replace("_", "-").replace(" ", "-")
    command = [
        "autogpt",
        "fit",
        task["description_en"],
        *files,
        *fixed,
        *ARMS[arm],
        "--fresh",
        "--json",
        "--name",
        name,
    ]
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    row = {"id": task["id"], "arm": arm, "seed": seed, "budget": budget, "threads": threads}
    row |= {"commit": commit(), "machine": machine()}
    row["wall_s"] = round(time.perf_counter() - began, 1)
    if done.returncode:
        return {**row, "error": done.stderr.strip().splitlines()[-1:]}
    fit = json.loads(done.stdout)
    report = json.loads((Path(fit["model_dir"]).parent / "report.json").read_text(encoding="utf-8"))
    kept = {key: fit[key] for key in ("metric", "trials", "best_config")}
    overhead = 1 - report["busy_s"] / sum(report["stages"].values())
    lower = report["scores"][0]["higher_is_better"] is False
    return {**row, **kept, "lower": lower, "overhead": round(overhead, 3), "winner": report["reasons"].get("winner")}


def measure(options: argparse.Namespace) -> None:
    made = read_rows(options.out) if options.out.exists() else []
    known = {(row["id"], row["arm"], row["seed"], row["budget"]) for row in made}
    tasks = {row["id"]: row for row in read_rows(options.tasks)}
    wanted = [
        (name, arm, seed)
        for seed, name, arm in itertools.product(range(options.seeds), options.only or TASKS, options.arms)
        if (name, arm, seed, options.budget) not in known
    ]
    with ThreadPoolExecutor(options.side_by_side) as pool, options.out.open("a", encoding="utf-8") as file:
        running = [pool.submit(run, tasks[name], arm, seed, options) for name, arm, seed in wanted]
        for done in as_completed(running):
            row = done.result()
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            file.flush()
            print(row["id"], row["arm"], row["seed"], row.get("metric", row.get("error")), row["wall_s"], flush=True)


def table(rows: Sequence[dict[str, Any]]) -> list[str]:
    good = [row for row in rows if "metric" in row]
    score = {(row["id"], row["seed"], row["arm"]): row for row in good}
    pairs = sorted(
        {(row["id"], row["seed"]) for row in good if all((row["id"], row["seed"], arm) in score for arm in ARMS)}
    )
    lines = [f"| task | runs | metric | {' | '.join(ARMS)} |", "| --- | ---: | --- |" + " ---: |" * len(ARMS)]
    for name in dict.fromkeys(task for task, _ in pairs):
        own = [seed for task, seed in pairs if task == name]
        cells = [statistics.fmean(score[name, seed, arm]["metric"]["value"] for seed in own) for arm in ARMS]
        metric = score[name, own[0], "auto"]["metric"]["name"]
        lines.append(f"| {name} | {len(own)} | {metric} | {' | '.join(f'{cell:.3f}' for cell in cells)} |")
    lines.append("")
    for arm in list(ARMS)[1:]:
        gaps = []
        for task, seed in pairs:
            ours, theirs = (score[task, seed, one] for one in ("auto", arm))
            sign = -1 if ours["lower"] else 1
            gaps.append(sign * (ours["metric"]["value"] - theirs["metric"]["value"]))
        better, worse = sum(gap > 0 for gap in gaps), sum(gap < 0 for gap in gaps)
        p_value = wilcoxon(gaps).pvalue if better + worse else 1.0
        lines.append(
            f"`auto` against `{arm}`: better in {better}, worse in {worse} of {len(gaps)} pairs, p {p_value:.2g}."
        )
    longest = max(row["wall_s"] / parse_budget(row["budget"]) for row in good)
    overhead = statistics.fmean(row["overhead"] for row in good)
    return [*lines, "", f"Longest run: {longest:.2f} of its budget; overhead: {overhead:.1%}."]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", type=Path, nargs="?")
    parser.add_argument("--budget", default="10m")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--side-by-side", type=int, default=1, metavar="N", help="runs at a time, with a thread each")
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--arms", nargs="*", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--table", type=Path)
    options = parser.parse_args()
    if options.table:
        print("\n".join(table(read_rows(options.table))))
    else:
        measure(options)


if __name__ == "__main__":
    main()
