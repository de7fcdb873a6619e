"""Systems measured in turns, each measurement a process of its own: a busy moment of the machine hits all of them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def measured_in_turns(
    script: str, options: Sequence[str], systems: Sequence[str], repeats: int, out: Path | None
) -> list[dict[str, Any]]:
    """The rows that `script OPTIONS --one SYSTEM` prints last, added to the file `out` as they come."""
    rows = []
    for _ in range(repeats):
        for system in systems:
            command = [sys.executable, script, *options, "--one", system]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise SystemExit(f"{system} failed:\n{done.stderr[-2000:]}")
            rows.append(json.loads(done.stdout.splitlines()[-1]))
            print(rows[-1], file=sys.stderr, flush=True)
            if out:
                with out.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(rows[-1]) + "\n")
    return rows


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a results file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
