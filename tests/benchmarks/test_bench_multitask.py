"""The benchmark of several tasks in small: whose turn it is, gains by hand, and three arms on made-up tasks."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bench_multitask import Outcome, Steps, in_turns, main, table
from turns import read_rows

THINGS = {"red": ("rose", "ruby", "blood"), "green": ("leaf", "moss", "lime")}
ARMS = ("alone", "shared", "transfer")
TEST_ROWS = 12


# --- turns -----------------------------------------------------------------------------------------------------------


def _arm(name: str, costs: Sequence[float], log: list[tuple[str, float]]) -> Steps[Outcome]:
    """An arm whose steps cost so many seconds, and whose outcome is no judgement and the number of its steps."""
    for cost in costs:
        log.append((name, cost))
        yield cost
    return [], len(costs)


def test_who_has_had_the_least_time_takes_the_next_step() -> None:
    costs = {"slow": [5.0, 5.0], "fast": [1.0] * 7, "uneven": [3.0, 0.5, 4.0], "none": []}
    log: list[tuple[str, float]] = []
    ended = list(in_turns({name: _arm(name, each, log) for name, each in costs.items()}))
    assert dict(ended) == {name: ([], len(each)) for name, each in costs.items()}
    assert [name for name, _ in ended] == ["none", "fast", "uneven", "slow"]
    assert {name: [cost for one, cost in log if one == name] for name in costs} == costs
    spent = {"slow": 0.0, "fast": 0.0, "uneven": 0.0}
    for name, cost in log:
        waiting = [seconds for other, seconds in spent.items() if seconds < sum(costs[other])]
        assert spent[name] == min(waiting)
        spent[name] += cost


# --- the table -------------------------------------------------------------------------------------------------------


def _rows(folder: Path, arm: str, seed: int, hits: int, bits: float) -> dict[str, Any]:
    """A line of results with an accuracy and bits per byte, of a hundred rows each."""
    tables = {
        "sort": np.stack([np.arange(100) < hits, np.ones(100)], axis=1).astype(float),
        "write": np.stack([np.full(100, 10 * bits), np.full(100, 10.0)], axis=1),
    }
    np.savez(folder / f"made up-{seed}-{arm}.npz", **tables)
    tasks = {
        "sort": {"metric": "accuracy", "score": hits / 100, "loss": 1.0},
        "write": {"metric": "bits_per_byte", "score": bits, "loss": 1.0},
    }
    return {"set": "made up", "seed": seed, "arm": arm, "seconds": 1.0, "tokens": 1000 * (seed + 1), "tasks": tasks}


def test_gains_are_relative_to_alone_and_fewer_bits_are_a_gain(tmp_path: Path) -> None:
    rows = [
        _rows(tmp_path, "alone", 0, 40, 2.0),
        _rows(tmp_path, "alone", 1, 60, 2.0),
        _rows(tmp_path, "shared", 0, 70, 1.5),
        _rows(tmp_path, "shared", 1, 80, 1.5),
        _rows(tmp_path, "own", 0, 40, 2.5),
        _rows(tmp_path, "shared", 2, 0, 9.0),  # nothing alone to compare it with
    ]
    heading, columns, rule, alone, shared, own = [line for line in table(rows, tmp_path).split("\n") if line]
    assert heading == "## made up"
    assert columns == "| arm | sort | write | mean gain | tokens |"
    assert rule == "|---|---:|---:|---:|---:|"
    assert alone == "| alone | 0.500 ± 0.141 | 2.000 ± 0.000 |  | 2k |"
    # of 50 against 75 hits, and 2 against 1.5 bits: (+50 % + 25 %) / 2. Every row that differs speaks for it.
    assert shared.startswith("| shared | 0.750 ± 0.071 (+50.0%, p=")
    assert "| 1.500 ± 0.000 (+25.0%, p=" in shared
    assert shared.endswith(" | +37.5% | 2k |")
    assert [float(cell.split(")")[0]) for cell in shared.split("p=")[1:]] == pytest.approx([0, 0], abs=1e-3)
    # by seed 0 alone, whose hits are the same rows: no difference at all.
    assert own.startswith("| own | 0.400 (+0.0%, p=1) | 2.500 (-25.0%, p=")
    assert own.endswith(" | -12.5% | 1k |")


def test_each_set_has_a_table_of_its_own(tmp_path: Path) -> None:
    row = _rows(tmp_path, "alone", 0, 40, 2.0)
    lines = table([row, {**row, "set": "another"}], tmp_path).split("\n")
    assert [line for line in lines if line.startswith("## ")] == ["## made up", "## another"]


# --- a run -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ran:
    """A run of the arms on three made-up tasks: its results, and where it was told what to do."""

    rows: list[dict[str, Any]]
    folder: Path
    arguments: list[str]


def _data(file: Path, count: int, *, opposite: bool) -> Path:
    lines = []
    for number in range(count):
        label = ("red", "green")[number % 2]
        thing = THINGS[label][number % 3]
        told = label if not opposite else ("green", "red")[number % 2]
        lines.append(json.dumps({"text": f"the {thing} number {number}", "label": told}))
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    folder = tmp_path_factory.mktemp("bench")
    tasks = []
    for place, name in enumerate(("colours", "shades", "lies")):
        train = _data(folder / f"{name}.jsonl", 60, opposite=name == "lies")
        test = _data(folder / f"{name}-test.jsonl", TEST_ROWS, opposite=name == "lies")
        description = "Sort short texts by the colour of the thing"
        task = {"name": name, "description": description, "train": str(train), "test": str(test), "rows": 60 - place}
        tasks.append(task)
    sets, threads = folder / "sets.jsonl", torch.get_num_threads()
    sets.write_text(json.dumps({"set": "toys", "tasks": tasks}) + "\n", encoding="utf-8")
    arguments = ["run", str(sets), "--seconds", "0.6", "--seeds", "1", "--arms", *ARMS]
    arguments += ["--out", str(folder / "results.jsonl"), "--rows", str(folder / "rows")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUTOGPT_HOME", str(folder / "home"))
        main(arguments)
    yield Ran(read_rows(folder / "results.jsonl"), folder, arguments)
    torch.set_num_threads(threads)


def test_every_arm_is_scored_on_all_tasks(ran: Ran) -> None:
    assert {row["arm"] for row in ran.rows} == set(ARMS)
    assert len(ran.rows) == len(ARMS)
    for row in ran.rows:
        assert (row["set"], row["seed"], row["seconds"]) == ("toys", 0, 0.6)
        assert list(row["tasks"]) == ["colours", "shades", "lies"]
        assert row["tokens"] > 0


def test_the_scores_are_those_of_the_rows_that_are_kept(ran: Ran) -> None:
    for row in ran.rows:
        with np.load(ran.folder / "rows" / f"toys-0-{row['arm']}.npz") as tables:
            for name, task in row["tasks"].items():
                assert task["metric"] == "accuracy"
                assert tables[name].shape == (TEST_ROWS, 2)
                assert task["score"] == pytest.approx(tables[name][:, 0].mean())


def test_what_has_been_run_is_not_run_again(ran: Ran, capsys: pytest.CaptureFixture[str]) -> None:
    main(ran.arguments)
    assert read_rows(ran.folder / "results.jsonl") == ran.rows
    main(["table", str(ran.folder / "results.jsonl"), "--rows", str(ran.folder / "rows")])
    lines = capsys.readouterr().out.split("\n")
    assert [line.split(" | ")[0] for line in lines if line.startswith("| ")] == [
        "| arm",
        *(f"| {row['arm']}" for row in ran.rows),
    ]
