"""`autogpt data`: a look at a data file before anything is trained on it. Imports no torch."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autogpt.cli import common, show
from autogpt.cli.text import Text, language_for

if TYPE_CHECKING:
    from autogpt.data.readers import Table
    from autogpt.types import Drop

__all__ = ["app", "inspect", "profile"]

app = typer.Typer(help="Look at data files.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def _group() -> None:
    pass


@app.command("inspect")
def inspect(
    path: Annotated[str, typer.Argument(metavar="FILE", help="JSONL, CSV, TSV, TXT or Parquet.")],
    description: Annotated[
        str | None, typer.Argument(metavar="DESCRIPTION", help="A task sentence: also show what it would become.")
    ] = None,
    overrides: common.SetOption = None,
    as_json: common.JsonFlag = False,
    debug: common.DebugFlag = False,
    quiet: common.QuietFlag = False,
) -> None:
    """Format, columns, lengths, duplicates and unusable rows of a file; with a sentence, the task it would become."""
    from autogpt.config import load_run_config
    from autogpt.data.readers import read, sample

    source = common.existing(path, "FILE")
    settings = load_run_config(None, overrides or [])
    table = read(source)
    found = profile(table)
    if description is not None:
        from autogpt.data.cleaning import to_examples
        from autogpt.tasks.understand import understand

        spec = understand(description, sample(table), settings.task)
        examples, drops = to_examples(spec, table, need_target=True)
        found["task"] = spec.model_dump(mode="json")
        found["usable_rows"] = len(examples)
        found["drops"] = count_drops([*table.drops, *drops])
    if as_json:
        common.emit(found)
    else:
        _print(found, Text(language_for(description or "")))


def count_drops(drops: Iterable[Drop]) -> dict[str, int]:
    """reason → rows, most frequent first."""
    return dict(Counter(drop.reason for drop in drops).most_common())


def profile(table: Table) -> dict[str, Any]:
    """What can be said of a table without knowing the task: plain JSON data.

    Lengths are in characters of the value as text, at the 0, 50, 90, 99 and 100 % quantiles. Duplicates are rows equal
    to an earlier one in every column.
    """
    keys = [repr(sorted((name, repr(value)) for name, value in row.items())) for row in table.rows]
    return {
        "file": str(table.source),
        "format": table.format,
        "encoding": table.encoding,
        "layout": table.layout,
        "rows": len(table.rows),
        "duplicates": len(keys) - len(set(keys)),
        "drops": count_drops(table.drops),
        "columns": [column(name, table.rows) for name in table.columns],
    }


def column(name: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Types, distinct values, length quantiles and three examples of one column."""
    values = [row.get(name) for row in rows]
    present = [value for value in values if value not in (None, "")]
    texts = [value if isinstance(value, str) else json.dumps(value, ensure_ascii=False) for value in present]
    lengths = sorted(map(len, texts))
    return {
        "name": name,
        "types": dict(Counter(type(value).__name__ for value in present).most_common()),
        "empty": len(values) - len(present),
        "distinct": len(set(texts)),
        "chars": {f"p{share}": lengths[round(share / 100 * (len(lengths) - 1))] for share in (0, 50, 90, 99, 100)}
        if lengths
        else {},
        "examples": [show.one_line(text, 80) for text in list(dict.fromkeys(texts))[:3]],
    }


def _print(found: Mapping[str, Any], text: Text) -> None:
    drops = ", ".join(f"{reason} {count}" for reason, count in found["drops"].items())
    rows = f"{found['rows']} rows, {found['duplicates']} duplicates"
    if "usable_rows" in found:
        rows += f", {found['usable_rows']} usable"
    facts = [
        ("file", Path(found["file"]).name),
        ("format", f"{found['format']}, {found['encoding']}, layout {found['layout']}"),
        ("rows", rows),
        ("dropped", drops),
    ]
    for line in show.fields(facts, indent=""):
        common.say(line)
    shown = [
        (
            part["name"],
            "/".join(part["types"]),
            part["empty"],
            part["distinct"],
            " ".join(str(length) for length in part["chars"].values()),
            " | ".join(show.one_line(example, 30) for example in part["examples"]),
        )
        for part in found["columns"]
    ]
    common.say("")
    header = ["column", "type", "empty", "distinct", "chars 0/50/90/99/100 %", "examples"]
    common.say_table(show.table(header, shown))
    if "task" in found:
        common.say("")
        for line in show.understood(found["task"], text):
            common.say(line)
