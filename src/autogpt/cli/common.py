"""What all verbs share: their common options, where output goes, and how JSON is written."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autogpt.errors import DataError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from autogpt.model import Model

__all__ = [
    "AdaptOption",
    "ConfigOption",
    "DebugFlag",
    "JsonFlag",
    "ModelArgument",
    "QuietFlag",
    "SetOption",
    "TaskOption",
    "adapting",
    "console",
    "emit",
    "existing",
    "note",
    "plain",
    "progress_bar",
    "say",
    "say_table",
]


def complete_model(incomplete: str) -> list[str]:
    """Names of trained models that begin with `incomplete`, for the shell. Reads folder names only, to be quick."""
    from autogpt.config import home

    folder = home() / "models"
    names = sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    return [name for name in names if name.startswith(incomplete) and not name.startswith(".")]


JsonFlag = Annotated[
    bool, typer.Option("--json", help="One JSON document on standard output; all else on standard error.")
]
DebugFlag = Annotated[bool, typer.Option("--debug", help="Show the traceback and library warnings of an error.")]
QuietFlag = Annotated[bool, typer.Option("-q", "--quiet", help="No progress, only the result.")]
ConfigOption = Annotated[
    str | None, typer.Option("--config", metavar="FILE", help="YAML that states what differs from the defaults.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Set one option, such as task.kind=extraction; repeatable."),
]
ModelArgument = Annotated[
    str,
    typer.Argument(metavar="MODEL", help="A trained model's name, or a model folder.", autocompletion=complete_model),
]

TaskOption = Annotated[
    str | None,
    typer.Option("--task", metavar="NAME", help="Which task of a model that does several; MODEL/NAME says the same."),
]
AdaptOption = Annotated[
    str | None,
    typer.Option(
        "--adapt",
        metavar="SESSION",
        help="Learn from what is read and written, in a session of this name; the name once keeps nothing.",
    ),
]


@contextmanager
def adapting(model: Model, session: str | None) -> Iterator[dict[str, Any]]:
    """What `--adapt` adds to the arguments of writing: the session, kept at the end unless its name is `once`."""
    if session is None:
        yield {}
        return
    with model.session(None if session == "once" else session) as opened:
        yield {"session": opened}


def plain(value: Any) -> Any:
    """`value` as strict JSON data: NaN and infinities become None, numpy numbers numbers, paths and the rest text."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if hasattr(value, "model_dump"):
        return plain(value.model_dump(mode="json"))
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    return str(value)


def emit(document: Any) -> None:
    """Write one JSON document and a newline to standard output; ASCII only where the stream is not UTF-8."""
    encoding = (getattr(sys.stdout, "encoding", None) or "utf-8").lower().replace("-", "")
    typer.echo(json.dumps(plain(document), ensure_ascii=encoding != "utf8", allow_nan=False))


def say(text: str) -> None:
    """A line for a person on standard output."""
    typer.echo(text)


def note(text: str) -> None:
    """A line on standard error, where it disturbs no pipe."""
    typer.echo(text, err=True)


def console(*, stderr: bool = False) -> Console:
    """A Rich console that prints user text as it is (no markup, no emoji codes) and does not wrap in a pipe."""
    from rich.console import Console

    made = Console(stderr=stderr, markup=False, highlight=False, emoji=False)
    if not made.is_terminal:
        made.width = 1000
    return made


def say_table(table: Table) -> None:
    """A table on standard output, without the blanks that pad its lines."""
    made = console()
    with made.capture() as captured:
        made.print(table)
    say("\n".join(line.rstrip() for line in captured.get().splitlines()))


@contextmanager
def progress_bar(
    label: str, total: float | None, *, quiet: bool, in_bytes: bool = False
) -> Iterator[Callable[..., None]]:
    """A bar with the time left on standard error; nothing when quiet or where standard error is not a terminal.

    Yields a function `set(completed, total=None)` that moves the bar; `total` replaces an unknown total.
    """
    made = console(stderr=True)
    if quiet or not made.is_terminal:
        yield lambda completed, total=None: None
        return
    from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    count = DownloadColumn() if in_bytes else MofNCompleteColumn()
    columns = (TextColumn("{task.description}"), BarColumn(), count, TimeRemainingColumn())
    with Progress(*columns, console=made, transient=True) as bar:
        task = bar.add_task(label, total=total)
        yield lambda completed, total=None: bar.update(task, completed=completed, total=total)


def existing(path: str, option: str) -> Path:
    """`path` when it is there, else DataError. Checked here already, before anything slow is imported."""
    found = Path(path).expanduser()
    if not found.exists():
        raise DataError(
            f"{option} {path!r} does not exist", todo=f"check the path; looked in {found.absolute().parent}"
        )
    return found
