"""Results of `bench_main_path.py` as a Markdown table: the model, the ladder and the paired tests of each task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["table"]

_INTRO = """# The main path on real tasks

`autogpt fit SENTENCE --data TRAIN --test TEST --budget {budget} --fresh --json`, one process a task, on {machine}; the
CPU threads of the process and the code are named in each row.
Command: `python benchmarks/bench_main_path.py TASKS --budget {budget} --threads 1 --out main_path.jsonl`.

Values are on test rows that no trial has read, with a bootstrap 95 % interval; p is a paired randomisation test of the
model against that baseline on the same rows. "Trivial" is the best of majority, copy, lead, unigrams or nothing found;
"learned" the best of TF-IDF with logistic regression, nearest neighbour, dictionary or n-grams. The untuned base
answers fewer rows (given behind it), and its p is on those; for questions about a passage it is also held to spans
of the passage, as the model is.
"""


def _cell(line: Mapping[str, Any] | None) -> str:
    if line is None:
        return "–"
    compared = line.get("comparison") or {}
    p = compared.get("p_value")
    mark = "" if p is None else f", p {p:.1g}" if p >= 0.0005 else ", p < 0.001"
    worse = " (ahead)" if compared.get("difference", 0) < 0 else ""
    return f"{line['name']} {_number(line['value'])}{mark}{worse}"


def _number(value: float) -> str:
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3f}"


def _best(lines: Sequence[Mapping[str, Any]], higher: bool) -> Mapping[str, Any] | None:
    return max(lines, key=lambda line: line["value"] if higher else -line["value"], default=None)


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The whole page. Rows that failed are listed with their error."""
    first = rows[0]
    lines = [_INTRO.format(budget=first["budget"], machine=first["machine"])]
    lines += ["| task | metric | model | trivial | learned | untuned base | rows | trials | seconds | threads | code |"]
    lines += ["| --- | --- | --- | --- | --- | --- | ---: | ---: | ---: | ---: | --- |"]
    for row in rows:
        if row.get("error") or "report" not in row:
            lines.append(f"| {row['id']} | failed: {row.get('error', '')[:120]} | | | | | | | | | |")
            continue
        report, fit = row["report"], row["fit"]
        main = next(line for line in report["scores"] if line["name"] == report["primary"])
        higher = main["higher_is_better"]
        ladder = report["ladder"]
        bases = [line for line in ladder if line["name"].startswith("untuned")]
        trivial = _best([line for line in ladder if line["trivial"]], higher)
        learned = _best([line for line in ladder if not line["trivial"] and line not in bases], higher)
        interval = f"{_number(main['value'])} [{_number(main['ci95'][0])}, {_number(main['ci95'][1])}]"
        shown = "; ".join(f"{_cell(base)} (n {base['n']})" for base in bases) or "–"
        metric = f"{main['name']} {'↑' if higher else '↓'}"
        cells = [row["id"], metric, interval, _cell(trivial), _cell(learned), shown, main["n"], fit["trials"]]
        lines.append("| " + " | ".join(map(str, [*cells, round(row["seconds"]), row["threads"], row["commit"]])) + " |")
    return "\n".join(lines)
