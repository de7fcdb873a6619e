"""The main path on real tasks: one sentence and a file in, a scored model out, for each task of a task list.

    python benchmarks/bench_main_path.py ../shared/data/tasks.jsonl --out benchmarks/results/main_path.jsonl
    python benchmarks/bench_main_path.py --table benchmarks/results/main_path.jsonl > benchmarks/results/main_path.md

A task list holds a JSON object a line: id, description_en, description_zh, train, test (paths relative to the list).
Each task runs `autogpt fit` as a user would, in a process of its own; what it printed and its report are kept. Tasks
that are in the output file already are not run again.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

TASKS = (
    "zh_thucnews_topic",
    "en_banking77_intent",
    "en_zh_tatoeba",
    "zh_resume_ner",
    "zh_poetry_songci",
    "zh_csl_title",
    "zh_cmrc2018",
    "zh_crosswoz_travel",
)


_KEPT = ("primary", "scores", "ladder", "trials", "chosen_trial", "reasons", "verdict", "splits", "stages", "busy_s")


def commit() -> str:
    """Short hash of the code that is measured, with `+` when files differ from it."""
    shown = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    changed = subprocess.run(["git", "status", "--porcelain", "src"], capture_output=True, text=True, check=False)
    return shown.stdout.strip() + ("+" if changed.stdout.strip() else "")


def machine() -> str:
    flags = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").exists() else ""
    name = next((line.split(":")[1].strip() for line in flags.splitlines() if line.startswith("model name")), "")
    extras = [flag for flag in ("avx512_bf16", "amx_bf16") if f" {flag}" in flags]
    return f"{os.cpu_count()} cores, {name or platform.machine()} ({', '.join(extras) or 'no bf16 units'})"


def run_task(task: dict[str, Any], folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """One `autogpt fit`; the returned row holds its JSON document and the ladder of its report."""
    files = ["--data", str(folder / task["train"]), "--test", str(folder / task["test"])]
    limits = ["--budget", options.budget, "--set", f"training.threads={options.threads}"]
    command = ["autogpt", "fit", task[f"description_{options.language}"], *files, *limits, "--fresh", "--json"]
    command += ["--name", f"bench-{task['id']}"]
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    row = {"id": task["id"], "language": options.language, "budget": options.budget, "threads": options.threads}
    row |= {"seconds": time.perf_counter() - began, "exit": done.returncode}
    row |= {"commit": commit(), "machine": machine()}
    try:
        fit = json.loads(done.stdout)
        report = json.loads((Path(fit["model_dir"]).resolve().parent / "report.json").read_text(encoding="utf-8"))
        # Neither rows of the data nor paths of the machine: results may be published where the data may not.
        row["fit"] = {name: fit[name] for name in ("metric", "trials", "best_config", "seconds")}
        row["report"] = {name: report[name] for name in _KEPT}
    except (ValueError, KeyError, OSError) as error:
        row["error"] = f"{error}: {done.stderr[-300:]}"
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", type=Path, nargs="?", help="task list")
    parser.add_argument("--budget", default="10m")
    parser.add_argument("--threads", default="auto", help="CPU threads of a task; 1 lets two tasks run side by side")
    parser.add_argument("--only", nargs="*", default=TASKS, help="task ids")
    parser.add_argument("--language", default="zh", choices=("zh", "en"), help="language of the sentence")
    parser.add_argument("--out", type=Path, help="results, one JSON object a line")
    parser.add_argument("--table", type=Path, help="print the table of this results file")
    options = parser.parse_args()
    if options.table:
        from main_path_table import table

        print(table([json.loads(line) for line in options.table.read_text(encoding="utf-8").splitlines()]))
        return
    tasks = {row["id"]: row for row in map(json.loads, options.tasks.read_text(encoding="utf-8").splitlines())}
    done = set()
    if options.out.exists():
        done = {json.loads(line)["id"] for line in options.out.read_text(encoding="utf-8").splitlines()}
    for name in options.only:
        if name in done:
            continue
        row = run_task(tasks[name], options.tasks.parent, options)
        with options.out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
        print(name, row["exit"], round(row["seconds"]), row.get("fit", {}).get("metric"), file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
