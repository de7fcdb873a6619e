"""What a base of our own gains: the same tasks from scratch and from the base, in equal minutes.

    python benchmarks/bench_base.py TASKS.jsonl --base zh-en-14m --budget 3m --out benchmarks/results/base.jsonl
    python benchmarks/bench_base.py --table benchmarks/results/base.jsonl

Both runs of a task go side by side, one CPU thread each, so that a busy machine hits both alike. The rows hold the
deciding metric on the sealed test rows with its interval, and what was chosen.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from pathlib import Path
from typing import Any

from bench_main_path import commit, machine

TASKS = ("zh_thucnews_topic", "zh_waimai_sentiment", "zh_resume_ner", "zh_csl_title", "zh_cmrc2018")


def started(task: dict[str, Any], folder: Path, start: str, budget: str) -> subprocess.Popen[str]:
    files = ["--data", str(folder / task["train"]), "--test", str(folder / task["test"])]
    limits = ["--budget", budget, "--base", start, "--set", "training.threads=1"]
    name = f"base-{task['id']}-{Path(start).name}".replace("_", "-")
    command = ["autogpt", "fit", task["description_zh"], *files, *limits, "--fresh", "--json", "--name", name]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def result(process: subprocess.Popen[str], task: str, start: str, budget: str) -> dict[str, Any]:
    out, err = process.communicate()
    row = {"id": task, "start": start, "budget": budget, "commit": commit(), "machine": machine()}
    if process.returncode:
        return {**row, "error": err.strip().splitlines()[-1:]}
    fit = json.loads(out)
    kept = {key: fit[key] for key in ("metric", "trials", "best_config", "seconds")}
    return {**row, **kept}


def table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| task | metric | from scratch | from the base | budget | code |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for task in dict.fromkeys(row["id"] for row in rows):
        own = {row["start"] == "scratch": row for row in rows if row["id"] == task}
        cells = []
        for is_scratch in (True, False):
            metric = own.get(is_scratch, {}).get("metric")
            shown = (
                "failed"
                if metric is None
                else f"{metric['value']:.3f} [{metric['ci95'][0]:.3f}, {metric['ci95'][1]:.3f}]"
            )
            cells.append(shown)
        one = next(iter(own.values()))
        name = one.get("metric", {}).get("name", "")
        lines.append(f"| {task} | {name} | {cells[0]} | {cells[1]} | {one['budget']} | {one['commit']} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tasks", type=Path, nargs="?", help="task list")
    parser.add_argument("--base", default="zh-en-14m")
    parser.add_argument("--budget", default="3m")
    parser.add_argument("--only", nargs="*", default=TASKS, help="task ids")
    parser.add_argument("--out", type=Path, help="results, one JSON object a line")
    parser.add_argument("--table", type=Path, help="print the table of this results file")
    options = parser.parse_args()
    if options.table:
        print(table([json.loads(line) for line in options.table.read_text(encoding="utf-8").splitlines()]))
        return
    known = {row["id"]: row for row in map(json.loads, options.tasks.read_text(encoding="utf-8").splitlines())}
    for task in options.only:
        running = [
            (start, started(known[task], options.tasks.parent, start, options.budget))
            for start in ("scratch", options.base)
        ]
        for start, process in running:
            row = result(process, task, start, options.budget)
            print(json.dumps(row, ensure_ascii=False), flush=True)
            if options.out:
                with options.out.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(row, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
