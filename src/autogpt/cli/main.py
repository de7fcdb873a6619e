"""`autogpt`: registers the verbs, runs one, turns errors into one line and an exit code.

Exit codes: 0 done, 1 the run failed, 2 wrong usage or bad input, 3 stopped by budget before any model existed,
130 interrupted. `--help` must stay quick, so verbs import what they need inside their functions.
"""

from __future__ import annotations

import errno
import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from itertools import takewhile
from typing import Annotated

import typer

from autogpt.cli import chat, common, data, doctor, evaluate, fit, generate, keys, models, pretrain, runs, write
from autogpt.errors import AutoGPTError

__all__ = ["app", "main", "run"]

app = typer.Typer(
    name="autogpt",
    help="Describe a text task in one sentence, bring your data, get your own small GPT.",
    epilog='Start with: autogpt fit "sort messages by topic" --data FILE --budget 10m',
    rich_markup_mode=None,  # Rich's help costs more to import than all of Typer
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        common.say(version("autogpt-lm"))
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", is_eager=True, callback=_version)
    ] = False,
) -> None:
    pass


app.command("fit")(fit.fit)
app.command("generate")(generate.generate)
app.command("chat")(chat.chat)
app.command("write")(write.write)
app.command("evaluate")(evaluate.evaluate)
app.add_typer(models.app, name="models")
app.add_typer(runs.app, name="runs")
app.add_typer(data.app, name="data")
app.add_typer(keys.app, name="keys")
app.command("pretrain")(pretrain.pretrain)
app.command("doctor")(doctor.doctor)


def _report(message: str, details: dict[str, object], code: int, *, as_json: bool) -> int:
    """One line on standard error and, with --json, the same as a JSON document on standard output."""
    line = " ".join(message.split())
    common.note(f"autogpt: error: {line}")
    if as_json:
        common.emit({"error": {"message": line, **details, "exit_code": code}})
    return code


def _from_usage(error: typer.TyperException, *, as_json: bool) -> int:
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError" and context is not None:
        common.note(error.format_message())  # `autogpt models`: the help of the group is what was missing
        return error.exit_code
    command = context.command_path if context is not None else "autogpt"
    message = f"{error.format_message().rstrip('.')}; see {command} --help"
    return _report(message, {"type": "UsageError"}, error.exit_code, as_json=as_json)


def _from_error(error: Exception, *, as_json: bool, debug: bool) -> int:
    if debug:
        traceback.print_exception(error, file=sys.stderr)
    if isinstance(error, AutoGPTError):
        fields = {name: value for name in ("what", "found", "expected", "todo") if (value := getattr(error, name, ""))}
        return _report(str(error), {"type": type(error).__name__, **fields}, error.exit_code, as_json=as_json)
    name = type(error).__name__
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        place = f" while writing {str(error.filename)!r}" if error.filename else ""
        message = f"no disk space left{place}; free some space or point AUTOGPT_HOME at a larger disk"
        return _report(message, {"type": name}, 2, as_json=as_json)
    if isinstance(error, OSError) and error.filename:
        message = f"{str(error.filename)!r} cannot be used: {error.strerror}; check the path and its permissions"
        return _report(message, {"type": name}, 2, as_json=as_json)
    advice = "" if debug else "; run again with --debug for the traceback"
    return _report(f"unexpected {name}: {error}{advice}", {"type": name}, 1, as_json=as_json)


def _quieten() -> None:
    """Keep the libraries' own warnings and bars out of our output; --debug leaves them on."""
    warnings.simplefilter("ignore")
    for name, value in {
        "TRANSFORMERS_VERBOSITY": "error",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }.items():
        os.environ.setdefault(name, value)


def _close_output() -> None:
    """The reader of our pipe has left: send the rest nowhere, so that the interpreter's last flush is silent."""
    sink = os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, sys.stdout.fileno())
    os.close(sink)


def run(argv: Sequence[str]) -> int:
    """Run one command line and return its exit code. Prints; never raises for what a user can cause."""
    try:
        code = _run(argv)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read our output has left, such as `head`: that is no error of ours
        _close_output()
        return 1
    return code


def _run(argv: Sequence[str]) -> int:
    flags = set(takewhile(lambda argument: argument != "--", argv))
    as_json, debug = "--json" in flags, "--debug" in flags
    try:
        code = app(args=list(argv) or ["--help"], prog_name="autogpt", standalone_mode=False)
    except typer.TyperException as error:
        return _from_usage(error, as_json=as_json)
    except typer.Abort:
        return _report("input ended before an answer", {"type": "Abort"}, 1, as_json=as_json)
    except BrokenPipeError:
        raise
    except Exception as error:
        return _from_error(error, as_json=as_json, debug=debug)
    if code == 130:  # how Typer returns a KeyboardInterrupt
        return _report("interrupted", {"type": "Interrupted"}, 130, as_json=as_json)
    return code if isinstance(code, int) else 0


def main() -> None:
    """The console script."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a character the terminal lacks must not end a run
    if "--debug" not in sys.argv:
        _quieten()
    # OpenMP's idle threads spin by default; where another process wants a core, a training step then takes up to
    # twenty times as long. A short spin costs under 5 % on a quiet machine. Must be set before torch loads.
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
