"""`autogpt write`: a book, script, article or advertisement, written into a folder and resumed from it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autogpt.cli import common, show
from autogpt.cli.text import Text, language_for
from autogpt.errors import ConfigError, DataError

if TYPE_CHECKING:
    from autogpt.events import Event
    from autogpt.writing.order import Order, WritingSettings
    from autogpt.writing.writers import Writer

__all__ = ["write"]

JOURNAL = "journal.jsonl"


def write(
    model: common.ModelArgument,
    premise: Annotated[
        str | None,
        typer.Option(
            "--premise", help="What it is about; without it the model's own persons are used.", show_default=False
        ),
    ] = None,
    form: Annotated[
        str | None, typer.Option("--form", help="novel, script, article or ad.", show_default="novel")
    ] = None,
    chapters: Annotated[
        int | None, typer.Option("--chapters", help="Chapters, acts or sections.", show_default="by form")
    ] = None,
    words: Annotated[
        int | None,
        typer.Option(
            "--words", help="Length of the whole in words; in characters for Chinese.", show_default="by form"
        ),
    ] = None,
    out: Annotated[str, typer.Option("--out", metavar="FOLDER", help="Where the book and its journal go.")] = "",
    endpoint: Annotated[
        str | None,
        typer.Option("--endpoint", metavar="URL", help="Let a language model there write; MODEL is its name, or auto."),
    ] = None,
    adapt: Annotated[
        bool | None,
        typer.Option(
            "--adapt/--no-adapt", help="Let the model learn from the premise and its own scenes.", show_default="off"
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the book in --out as it was ordered.")] = False,
    overrides: common.SetOption = None,
    as_json: common.JsonFlag = False,
    debug: common.DebugFlag = False,
    quiet: common.QuietFlag = False,
) -> None:
    """Write a book, script, article or advertisement. The same --out goes on where it was interrupted."""
    from autogpt.writing.order import read_settings

    folder = _folder(out)
    held = _held(folder, resume=resume)
    given = {"premise": premise, "form": form, "chapters": chapters, "words": words}
    order = _order(given, held)
    settings = read_settings(overrides or []) if overrides or held is None else _settings(held)
    settings = settings if adapt is None else settings.model_copy(update={"adapt": adapt})
    if not order.premise and endpoint is not None:
        todo = "say what it is about; only a model of ours has a matter of its own"
        raise ConfigError("--premise is empty", todo=todo)
    text = Text(language_for(order.premise))
    writer = _writer(model, endpoint, settings)

    from autogpt.writing.book import write_book

    report, files = _watched(write_book(order, writer, folder, settings), order, text, quiet=quiet)
    if as_json:
        common.emit({**report, "out": str(folder), "files": files})
        return
    for line in _outcome(report, folder, files, text):
        common.say(line)


def _folder(out: str) -> Path:
    """`out` as a folder that is there or can be made. Raises ConfigError."""
    if not out.strip():
        raise ConfigError("--out is missing", expected="a folder for the book", todo="--out my-book")
    path = Path(out).expanduser()
    if path.exists() and not path.is_dir():
        raise ConfigError("--out", found=f"the file {str(path)!r}", expected="a folder")
    return path


def _held(folder: Path, *, resume: bool) -> dict[str, Any] | None:
    """The first record of the folder's journal; None without one. Raises where `--resume` has nothing to resume."""
    from autogpt.writing.journal import read_journal

    path = folder / JOURNAL
    records = read_journal(path)[0] if path.exists() else []
    if not records:
        if resume:
            raise DataError(f"there is no book to resume in {str(folder)!r}", todo="check --out, or leave --resume out")
        return None
    return records[0]


def _order(given: dict[str, Any], held: dict[str, Any] | None) -> Order:
    """What is ordered: as given, what is not given as in the journal, else as the form has it."""
    from autogpt.writing.forms import form_named
    from autogpt.writing.order import Order

    told = {name: value for name, value in given.items() if value is not None}
    if held is not None:
        return Order.from_dict({**held["order"], **told})
    form = form_named(str(told.get("form", "novel")))
    standard = {"premise": "", "form": form.name, "chapters": form.chapters, "words": form.words}
    return Order.from_dict({**standard, **told, "premise": str(told.get("premise", "")).strip()})


def _settings(held: dict[str, Any]) -> WritingSettings:
    from autogpt.writing.order import read_settings

    return read_settings(f"{name}={json.dumps(value)}" for name, value in held["settings"].items())


def _writer(model: str, endpoint: str | None, settings: WritingSettings) -> Writer:
    """The model of ours, or the one behind the endpoint. Raises TaskError for one that writes no free text."""
    import os

    from autogpt.endpoint import KEY, Endpoint
    from autogpt.writing.model_writer import ModelWriter, use_one_thread
    from autogpt.writing.writers import EndpointWriter, fingerprint, require_free_text

    if endpoint is not None:
        name = "" if model in ("auto", "-") else model
        address = Endpoint(endpoint, name, os.environ.get(KEY, "").strip())
        address.check()
        return EndpointWriter(address, temperature=settings.temperature)
    from autogpt.model import load

    loaded = load(model)
    require_free_text(loaded.spec, loaded.name)
    use_one_thread(loaded.engine)
    identity = f"{loaded.name} {fingerprint(loaded.weights_folder)}"
    return ModelWriter(
        loaded.engine,
        loaded.spec,
        settings,
        name=loaded.name,
        identity=identity,
        adaptation=loaded.recipe.get("adaptation"),
    )


def _watched(events: Iterator[Event], order: Order, text: Text, *, quiet: bool) -> tuple[dict[str, Any], list[str]]:
    """Runs the events under a bar; returns the report and the files."""
    report: dict[str, Any] = {}
    files: list[str] = []
    with common.progress_bar(text("write.bar"), order.words, quiet=quiet) as show_done:
        for event in events:
            data = event.data
            if event.kind == "writing.sentence":
                show_done(min(order.words, int(data["written"])))
            elif event.kind == "writing.done":
                report, files = dict(data["report"]), list(data["files"])
            elif not quiet:
                for line in _lines(event, text):
                    common.note(line)
    return report, files


def _lines(event: Event, text: Text) -> list[str]:
    """What an event is worth on standard error; nothing for most."""
    data = event.data
    match event.kind:
        case "writing.resumed":
            lines = [text("write.resumed", written=data["written"], words=data["words"])]
            return lines + ([text("write.half_line")] if data["dropped"] else [])
        case "writing.planned":
            lines = [text("write.planned", title=data["title"], n=data["chapters"])]
            if data["cast"]:
                lines.append(text("write.cast", names=", ".join(data["cast"])))
            return lines + ([str(data["said"])] if data["said"] else [])
        case "writing.chapter":
            return [str(data["heading"])] if data["heading"] else []
        case "writing.scene" if data["short"]:
            return [text("write.short", chapter=data["chapter"], scene=data["scene"], reason=data["short"])]
        case "writing.note":
            return [str(data["message"])]
    return []


def _outcome(report: dict[str, Any], folder: Path, files: list[str], text: Text) -> list[str]:
    unit = "write.characters" if report["language"] == "zh" else "write.words"
    rewrites = ", ".join(f"{reason} {count}" for reason, count in report["rewrites"].items())
    rows = [
        (text("write.book"), f"{report['title']}  ({folder})"),
        (text("write.length"), text(unit, n=report["words"]["written"], ordered=report["words"]["ordered"])),
        (text("write.repeats"), f"{report['repeats']['share']:.2%}"),
        (text("write.promises"), f"{report['promises']['kept']} / {report['promises']['made']}"),
        (text("write.rewrites"), rewrites),
        (text("took"), show.clock(report["seconds"])),
        (text("write.files"), ", ".join(Path(file).name for file in files)),
        (text("report"), str(folder / "report.md")),
    ]
    return show.fields(rows, indent="")
