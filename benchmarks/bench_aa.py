"""An A/A test of the claim "better than the default configuration": how often a search claims it of nothing.

    python benchmarks/bench_aa.py ../shared/data/tasks.jsonl --pool DIR --out benchmarks/results/aa.jsonl
    python benchmarks/bench_aa.py --table benchmarks/results/aa.jsonl

The pool of a task holds real trainings of its default configuration from scratch that differ in their seed alone, each
scored by its averaged weights on the same validation rows at the rungs of a trial (1/9, 1/3 and all of its steps). The
first `--longer` seeds go on to twice the steps, and are scored at the same shares of these. Trainings that the pool has
already are not made again; tasks have a file each, so two processes may make them (`--only`, without `--out`).

Then searches are replayed through `optimize`, with the stopping rule, the ranking and the choice of a real run. Each
draws its own dozen trainings without replacement; the first one stands for the default, the others for as many other
configurations. In the arm `same` none of them is better, so every claim is a false one. In the arm `better` half of the
dozen are trainings twice as long, told as trials of the same length: a test that claims nothing there proves nothing.

Searches of one task draw from the same pool and are not independent. The exact binomial interval takes them as such: it
says how often these trainings would lead to a claim, and is too narrow for what new trainings would do.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from aa_pool import RUNGS, Pool, Training, fill
from bench_main_path import commit, machine
from search_statistics import exact_interval
from turns import read_rows

from autogpt.config import SearchConfig
from autogpt.evaluation.metrics import Array, get_metric
from autogpt.events import Event
from autogpt.search.executor import Inline, Job
from autogpt.search.racing import Budget
from autogpt.search.space import Choice, Config, Parameter, Space
from autogpt.search.stopping import stopper
from autogpt.search.study import Limits, optimize
from autogpt.search.trials import Direction, Report, Study, Trial, ranking_value
from autogpt.stages_choose import gains_over_default, is_improvement
from autogpt.tasks.spec import TaskKind

TRIALS = 12
STEPS = {
    "zh_thucnews_topic": 153,
    "zh_waimai_sentiment": 153,
    "en_sst2_sentiment": 117,
    "zh_resume_ner": 117,
    "zh_poetry_songci": 54,
}
"""Task → steps of a trial of full length: 10 to 15 CPU seconds on one thread."""


class InOrder:
    """A sampler that proposes the trainings drawn, one after the other."""

    def __init__(self, space: Space) -> None:
        self.space, self.seed = space, 0
        self.direction: Direction = "max"

    def ask(self, history: Sequence[Trial]) -> Config:
        return {"training": min(len(history), TRIALS - 1)}


def replayed(pool: Pool, drawn: Sequence[Training]) -> dict[str, Any]:
    """One search over the trainings drawn, the first one its default: what was claimed, and by what.

    `best` is the training that scored best, its seed and length; `claim` whether it is said to be better than the
    default; `rows` whether the paired tests alone, without what seeds do, would say so; `trust` whether the best score
    alone would; `whole` how many trials ran to their end.
    """
    space = Space([Parameter("training", Choice(tuple(range(TRIALS))), 0)])
    sampler = InOrder(space)
    sampler.direction = pool.spec.direction
    options = SearchConfig()

    def objective(job: Job) -> Generator[Event, None, Report]:
        yield from ()
        judged = drawn[job.config["training"]].at[job.until]
        value = ranking_value(judged.score, judged.loss, pool.resolution, pool.spec.direction)
        info = {"loss": judged.loss, "step": round(job.until * pool.steps)}
        return Report(job.until, judged.score, info=info, value=value)

    def rows_at(number: int, share: float) -> tuple[Array, Array]:
        judged = drawn[number].at[share]
        assert judged.rows is not None
        assert judged.losses is not None
        return judged.rows, judged.losses

    rule = stopper(options.stopping, RUNGS, options.keep, options.spare)
    run = optimize(space, Inline(objective), sampler, rule, Budget(1e9), limits=Limits(TRIALS))
    while True:
        try:
            next(run)
        except StopIteration as end:
            study: Study = end.value
            break
    best = study.best
    assert best is not None
    labels = pool.spec.kind is TaskKind.CLASSIFICATION
    gains = gains_over_default(study, space.default, get_metric(pool.spec.metric), rows_at, labels=labels)
    alone = {name: replace(gain, seed_noise=0.0) for name, gain in gains.items()}
    return {
        "best": (drawn[best.number].seed, drawn[best.number].times),
        "claim": bool(gains) and is_improvement(gains),
        "rows": bool(gains) and is_improvement(alone),
        "trust": best.number != 0,
        "whole": sum(trial.share == 1 for trial in study.trials),
    }


def draw(pool: Pool, arm: str, rng: random.Random) -> list[Training]:
    """The dozen of one search, its default first. In the arm `better` half of them are trainings twice as long."""
    if arm == "same":
        return rng.sample(pool.plain, TRIALS)
    longer = rng.sample(pool.longer, TRIALS // 2)
    taken = {training.seed for training in longer}
    free = [training for training in pool.plain if training.seed not in taken]
    default, *others = rng.sample(free, TRIALS - len(longer))
    others += longer
    rng.shuffle(others)
    return [default, *others]


def measured(pool: Pool, arm: str, searches: int) -> dict[str, Any]:
    """The row of one task and arm."""
    found = [replayed(pool, draw(pool, arm, random.Random(f"{pool.task}:{arm}:{n}"))) for n in range(searches)]
    claims = sum(one["claim"] for one in found)
    low, high = exact_interval(claims, searches)
    used = pool.plain if arm == "same" else [*pool.plain, *pool.longer]
    return {
        "id": pool.task,
        "metric": pool.spec.metric,
        "arm": arm,
        "steps": pool.steps,
        "searches": searches,
        "claims": claims,
        "interval": [round(low, 4), round(high, 4)],
        "by_rows_alone": sum(one["rows"] for one in found),
        "by_best_score": sum(one["trust"] for one in found),
        "claims_of_longer": sum(one["claim"] and one["best"][1] > 1 for one in found),
        "winners_claimed": len({one["best"] for one in found if one["claim"]}),
        "trainings": len(used),
        "whole_trials": round(statistics.fmean(one["whole"] for one in found), 2),
        "plain": pool.summary(pool.plain),
        "longer": pool.summary(pool.longer) if pool.longer else None,
        "cpu_s": round(statistics.fmean(training.cpu_s for training in pool.plain), 1),
        "commit": commit(),
        "machine": machine(),
    }


# --- the page --------------------------------------------------------------------------------------------------------

INTRO = """# Searches that can find nothing: an A/A test

How often a search claims to be better than the default configuration when all of its trials are the default
configuration, trained with other seeds (`same`), and when half of them were trained twice as long (`better`). Real
trainings from scratch, {cpu_s:.0f} CPU seconds each on the average of the tasks, on one thread of {machine}; {searches}
searches a line are replayed from them through the stopping rule, the ranking and the choice of a real run, {trials}
trials each. "By rows alone": claims if nothing were asked for beyond the paired test over rows with its correction; "by
the best score": searches whose best trial is not the default. Rows: `aa.jsonl`.
Command: `python benchmarks/bench_aa.py TASKS --pool DIR --out FILE`, code {commit}.

Searches of one task draw their dozen from the same few trainings, so they are not independent: the exact binomial
interval (95 %) takes them as such and is too narrow for new trainings. `trainings` is how many there are, `winners` how
many different ones were claimed to be better; `right`: claims of a training that was longer. What seeds alone may do to
a score was measured on other trainings of some of these tasks (`seed_noise.md`), so that allowance is not tested here
on tasks that it has not seen.
"""


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as Markdown: claims, and what the trainings of the pool have reached."""
    seconds = statistics.fmean(row["cpu_s"] for row in rows)
    lines = [INTRO.format(**{**rows[0], "cpu_s": seconds}, trials=TRIALS)]
    head = ("claims", "interval", "right", "by rows alone", "by the best score", "trainings", "winners")
    lines += ["| task | metric | arm | " + " | ".join(head) + " |", "| --- | --- | --- |" + " ---: |" * len(head)]
    for row in rows:
        low, high = row["interval"]
        counts = [
            row["claims_of_longer"],
            row["by_rows_alone"],
            row["by_best_score"],
            row["trainings"],
            row["winners_claimed"],
        ]
        claims = f"{row['claims']} of {row['searches']} | {low:.1%} to {high:.1%}"
        lines.append(f"| {row['id']} | {row['metric']} | {row['arm']} | {claims} | {' | '.join(map(str, counts))} |")
    head = ("steps", "score", "its deviation", "loss", "its deviation", "score, twice as long", "loss, twice as long")
    lines += ["", "| task | " + " | ".join(head) + " |", "| --- |" + " ---: |" * len(head)]
    for row in rows:
        if row["arm"] == "same":
            plain, longer = row["plain"], row["longer"] or {"score": np.nan, "loss": np.nan}
            own = f"{plain['score']:.3f} | {plain['score_sd']:.3f} | {plain['loss']:.3f} | {plain['loss_sd']:.1%}"
            lines.append(f"| {row['id']} | {row['steps']} | {own} | {longer['score']:.3f} | {longer['loss']:.3f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", type=Path, nargs="?", help="task list")
    parser.add_argument("--pool", type=Path, help="folder of the trainings, a file a task")
    parser.add_argument("--only", nargs="*", default=list(STEPS), help="task ids")
    parser.add_argument("--trainings", type=int, default=30, help="seeds a task")
    parser.add_argument("--longer", type=int, default=12, help="of these, how many also train twice as long")
    parser.add_argument("--steps", type=int, help="steps of a trial of full length, a multiple of nine, for all tasks")
    parser.add_argument("--searches", type=int, default=100)
    parser.add_argument("--out", type=Path, help="rows; without it the pool is made and nothing replayed")
    parser.add_argument("--table", type=Path, help="print the table of this results file")
    options = parser.parse_args()
    if options.table:
        print(table(read_rows(options.table)))
        return
    options.pool.mkdir(parents=True, exist_ok=True)
    tasks = {task["id"]: task for task in read_rows(options.tasks)}
    for name in options.only:
        began = time.process_time()
        steps = options.steps or STEPS[name]
        pool = fill(tasks[name], options.tasks.parent, options.pool, steps, (options.trainings, options.longer))
        print(f"{name}: {len(pool.plain)} + {len(pool.longer)} trainings, {time.process_time() - began:.0f} CPU s")
        for arm in ("same", "better") if options.out else ():
            if arm == "better" and len(pool.longer) < TRIALS // 2:
                continue
            row = measured(pool, arm, options.searches)
            known = read_rows(options.out) if options.out.exists() else []
            rows = [other for other in known if (other["id"], other["arm"]) != (name, arm)]
            options.out.write_text("".join(json.dumps(one) + "\n" for one in [*rows, row]), encoding="utf-8")
            print(f"  {arm}: {row['claims']} claims in {row['searches']} searches", flush=True)


if __name__ == "__main__":
    main()
