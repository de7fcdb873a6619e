"""`autogpt generate`: one text from the argument or standard input, or every row of a file."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autogpt.cli import common, show
from autogpt.errors import ConfigError, DataError

if TYPE_CHECKING:
    from autogpt.model import Model

__all__ = ["SamplingOption", "generate", "predict_file", "readable", "sampling_of"]

SamplingOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Any other sampling option, such as top_p=0.9; repeatable."),
]

BLOCK_ROWS = 32
"""Rows handed to the model at a time, so that the bar moves; batches inside a block are the model's business."""


def generate(
    model: common.ModelArgument,
    text: Annotated[
        str | None,
        typer.Argument(
            metavar="TEXT|-",
            show_default=False,
            help="The input; a JSON object for several fields; - reads standard input.",
        ),
    ] = None,
    file: Annotated[str | None, typer.Option("--file", metavar="IN", help="Predict every row of a data file.")] = None,
    out: Annotated[
        str | None, typer.Option("--out", metavar="OUT.jsonl", help="Where the rows go; standard output if not given.")
    ] = None,
    stream: Annotated[bool, typer.Option("--stream", help="Print the text while it is written.")] = False,
    temperature: Annotated[float | None, typer.Option("--temperature", help="0 is the most probable text.")] = None,
    max_new_tokens: Annotated[int | None, typer.Option("--max-new-tokens", help="Longest answer in tokens.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Of the sampling; the same seed, the same text.")] = None,
    schema: Annotated[
        str | None,
        typer.Option("--schema", metavar="FILE.json", help="Write JSON that is valid under this JSON schema."),
    ] = None,
    task: common.TaskOption = None,
    adapt: common.AdaptOption = None,
    overrides: SamplingOption = None,
    as_json: common.JsonFlag = False,
    debug: common.DebugFlag = False,
    quiet: common.QuietFlag = False,
) -> None:
    """Answer one text, or every row of a file."""
    given = {"temperature": temperature, "max_new_tokens": max_new_tokens, "seed": seed}
    sampling = sampling_of(given, overrides)
    _check_together(file, text, out, {"--schema": schema, "--adapt": adapt}, stream=stream, as_json=as_json)
    if file is not None:
        _file_mode((model, task), file, out, sampling, as_json=as_json, quiet=quiet)
        return
    asked = _standard_input() if text in (None, "-") else str(text)
    wanted = None if schema is None else _schema(common.existing(schema, "--schema"))

    from autogpt.model import load

    loaded = load(model, task)
    if wanted is not None:
        from autogpt.generation.grammar import json_schema

        sampling["grammar"] = json_schema(wanted)
    with common.adapting(loaded, adapt) as session:
        sampling |= session
        if stream:
            for piece in loaded.stream(asked, **sampling):
                typer.echo(piece, nl=False)
                sys.stdout.flush()
            typer.echo()
            return
        answer = _answer(loaded, asked, sampling)
    if as_json:
        common.emit({"model": loaded.name, "input": asked, **answer})
    else:
        common.say(readable(answer))


def _check_together(
    file: str | None, text: str | None, out: str | None, single: Mapping[str, Any], *, stream: bool, as_json: bool
) -> None:
    """Raise ConfigError for options that exclude one another; those of `single` are for one text."""
    if file is not None and (text is not None or stream):
        raise ConfigError("--file", found="a text or --stream beside it", expected="one of them")
    for option, value in single.items():
        if file is not None and value is not None:
            raise ConfigError(f"{option} with --file", expected=f"one text at a time with {option}")
    if file is None and out is not None:
        raise ConfigError("--out without --file", todo="redirect standard output instead, or give --file")
    if stream and as_json:
        raise ConfigError("--stream with --json", expected="one of them")


def sampling_of(flags: Mapping[str, Any], overrides: Sequence[str] | None) -> dict[str, Any]:
    """The sampling options of a command line: flags that were given, and `--set key=value`.

    Raises ConfigError for an unknown key, and for an option that comes both ways.
    """
    from autogpt.generation.sampling import read_options

    options = read_options(overrides or ())
    given = {name: value for name, value in flags.items() if value is not None}
    if twice := sorted(options.keys() & given.keys()):
        flag = "--" + twice[0].replace("_", "-")
        raise ConfigError(f"{flag} with --set {twice[0]}", expected="one of them")
    return {**options, **given}


def _schema(path: Path) -> str:
    """The text of a file that holds a JSON schema."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        json.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(
            f"--schema {str(path)!r} cannot be read", found=str(error)[:100], expected="a JSON schema in UTF-8"
        ) from error
    return text


def _answer(model: Model, text: str, sampling: Mapping[str, Any]) -> dict[str, Any]:
    """The prediction for one text. Free writing is left to `Model.generate`: greedy text would be dull."""
    if (model.spec.is_label_task or model.spec.kind == "extraction") and not {"grammar", "session"} & sampling.keys():
        return model.predict([text], sampling=sampling or None)[0]
    return {"prediction": model.generate(text, **sampling)}


def _standard_input() -> str:
    """All of standard input, UTF-8 or GB18030, without the last newline; an error when there is none to read."""
    if sys.stdin.isatty():
        raise ConfigError("no text", expected="TEXT, - with text on standard input, or --file IN")
    raw = sys.stdin.buffer.read()
    for encoding in ("utf-8-sig", "gb18030"):
        try:
            text = raw.decode(encoding)
        except UnicodeDecodeError:
            continue
        if not text.strip():
            raise DataError("standard input is empty", expected="a text", todo="give TEXT, or pipe one in")
        return text.removesuffix("\n").removesuffix("\r")
    raise DataError("standard input is not text", expected="UTF-8 or GB18030")


def readable(answer: Mapping[str, Any]) -> str:
    """A prediction for a person: the text; or labels with the three most probable; or one entity a line."""
    prediction, scores = answer["prediction"], answer.get("scores") or {}
    if isinstance(prediction, str):
        head = prediction
    elif all(isinstance(part, Mapping) for part in prediction):
        head = "\n".join(f"{part['type']}\t{part['text']}\t{part['start']}–{part['end']}" for part in prediction)
    else:
        head = ", ".join(str(part) for part in prediction)
    best = sorted(scores.items(), key=lambda item: -item[1])[:3]
    if not best:
        return head
    return f"{head}\n  " + "  ".join(f"{label} {probability:.1%}" for label, probability in best)


def _file_mode(
    model: tuple[str, str | None], file: str, out: str | None, sampling: dict[str, Any], *, as_json: bool, quiet: bool
) -> None:
    source = common.existing(file, "--file")
    target = None if out is None else _writable(out)
    started = time.monotonic()

    from autogpt.model import load
    from autogpt.store.artifacts import write_atomic

    loaded = load(*model)
    rows = predict_file(loaded, source, sampling, quiet=quiet)
    lines = "".join(json.dumps(common.plain(row), ensure_ascii=False) + "\n" for row in rows)
    if target is not None:
        write_atomic(target, lines)
    seconds = round(time.monotonic() - started, 2)
    if as_json:
        where = {"rows": rows} if target is None else {"out": str(target)}
        common.emit({"model": loaded.name, "n": len(rows), "seconds": seconds, **where})
    elif target is None:
        typer.echo(lines, nl=False)
    elif not quiet:
        common.note(f"{len(rows)} rows → {target} ({show.clock(seconds)})")


def _writable(out: str) -> Path:
    """`out` as a path whose folder exists, so that hours of predictions are not lost at the end."""
    path = Path(out).expanduser()
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise ConfigError("--out", found=repr(out), expected="a file in a folder that exists")
    return path


def predict_file(model: Model, source: Path, sampling: dict[str, Any], *, quiet: bool) -> list[dict[str, Any]]:
    """Every row of `source`, in its order, with `prediction` (and `scores`) added; DataError for an unusable row."""
    from autogpt.data.readers import read

    table = read(source)
    if table.drops:
        first = table.drops[0]
        raise DataError(f"{first.id} cannot be predicted: {first.reason}", found=first.detail, todo="mend or remove it")
    fields = model.spec.input_fields
    # Plain text has one column, called `text` whatever the task calls its own.
    column = table.columns[0] if table.layout == "text" and len(fields) <= 1 else ""
    rows: list[dict[str, Any]] = []
    with common.progress_bar(source.name, len(table.rows), quiet=quiet) as show_done:
        for start in range(0, len(table.rows), BLOCK_ROWS):
            block = table.rows[start : start + BLOCK_ROWS]
            asked = [row[column] for row in block] if column else block
            answers = model.predict(asked, sampling=sampling or None)
            rows.extend({**row, **answer} for row, answer in zip(block, answers, strict=True))
            show_done(len(rows))
    return rows
