"""`autogpt pretrain`: a base of one's own from a recipe and a corpus, in slices of minutes."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autogpt.cli import common, show
from autogpt.errors import ConfigError, Interrupted

if TYPE_CHECKING:
    from rich.console import Console

    from autogpt.events import Event

__all__ = ["PretrainView", "pretrain"]

_LINE_EVERY_S = 30.0


def pretrain(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="YAML that says what is trained on what.")],
    minutes: Annotated[
        float, typer.Option("--minutes", metavar="N", help="Minutes of training; encoding the corpus comes before.")
    ],
    cool_down: Annotated[
        bool, typer.Option("--cool-down", help="End with a cool-down over the last fifth and write the model.")
    ] = False,
    out: Annotated[
        str | None, typer.Option("--out", metavar="DIR", help="Model folder; bases/NAME if not given.")
    ] = None,
    size: Annotated[str | None, typer.Option("--size", help="One of the recipe's sizes.")] = None,
    corpus: Annotated[
        str | None, typer.Option("--corpus", metavar="PATH", help="Documents in place of the recipe's.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, help="CPU threads; all cores if not given.")
    ] = None,
    skip_damaged: Annotated[
        bool, typer.Option("--skip-damaged", help="Go on without corpus files that cannot be read.")
    ] = False,
    as_json: common.JsonFlag = False,
    debug: common.DebugFlag = False,
    quiet: common.QuietFlag = False,
) -> None:
    """Pretrain a base; run it again to go on, and with --cool-down to get a model."""
    from autogpt.pretraining_recipe import load_recipe

    if out is not None and not cool_down:
        raise ConfigError(
            "--out without --cool-down", todo="a model is written after a cool-down only; add --cool-down"
        )
    documents = None if corpus is None else common.existing(corpus, "--corpus")
    loaded = load_recipe(Path(recipe).expanduser(), size=size, corpus=documents)
    again = ["autogpt", "pretrain", recipe, "--minutes", f"{minutes:g}"]
    for option, value in (("--size", size), ("--corpus", corpus), ("--threads", threads), ("--out", out)):
        again += [option, str(value)] if value is not None else []
    again += ["--cool-down"] * cool_down + ["--skip-damaged"] * skip_damaged

    from autogpt import pretraining

    with PretrainView(common.console(stderr=True), common.note, quiet=quiet) as view:
        try:
            result = pretraining.pretrain(
                loaded,
                minutes=minutes,
                cool_down=cool_down,
                out=None if out is None else Path(out).expanduser(),
                threads="auto" if threads is None else threads,
                skip_damaged=skip_damaged,
                consumers=(view,),
            )
        except Interrupted as error:
            raise Interrupted(error.what, todo=f"go on with: {shlex.join(again)}") from None
    if as_json:
        common.emit(result)
        return
    _say(result)


def _say(result: Mapping[str, Any]) -> None:
    bits = ", ".join(f"{language} {value:.4f}" for language, value in result["bits_per_byte"].items())
    rows = [
        ("run", f"{result['name']}, step {result['steps']:,}, {result['epochs']:.2f} epochs"),
        ("tokens", f"{result['tokens']:,} in {result['minutes']:.1f} minutes, now {result['tokens_per_s']:,} tokens/s"),
        ("bits per byte", f"{bits} ({result['weights']} weights, held-out documents)"),
        ("checkpoint", str(result["checkpoint"])),
    ]
    if result["model_dir"] is not None:
        rows.append(("model", str(result["model_dir"])))
    for line in show.fields(rows, indent=""):
        common.say(line)


class PretrainView:
    """Consumer of a run's events: a line at the foot of a terminal; elsewhere a line now and then; none when quiet."""

    def __init__(self, console: Console, write: Callable[[str], None], *, quiet: bool) -> None:
        self._console, self._write, self._quiet = console, write, quiet
        self._status: Any = None
        self._began: Mapping[str, Any] = {}
        self._began_s = self._printed_s = 0.0
        self._started_s = time.time()

    def __enter__(self) -> PretrainView:
        if self._console.is_terminal and not self._quiet:
            self._status = self._console.status("…")
            self._status.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._status is not None:
            self._status.stop()

    def __call__(self, event: Event) -> None:
        if self._quiet:
            return
        if (line := self._passing(event)) is not None:
            if self._status is not None:
                self._status.update(line)
            elif event.time_s - self._printed_s >= _LINE_EVERY_S:
                self._printed_s = event.time_s
                self._write(f"[{show.clock(event.time_s - self._started_s):>5}] {line}")
        elif (line := self._lasting(event)) is not None:
            stamped = f"[{show.clock(event.time_s - self._started_s):>5}] {line}"
            if self._status is not None:
                self._console.print(stamped)
            else:
                self._write(stamped)

    def _passing(self, event: Event) -> str | None:
        data = event.data
        if event.kind == "data.shard_encoding":
            return f"encoding {data['shard']} ({data['number']} of {data['shards']}): {data['share']:.0%}"
        if event.kind == "data.shard_read":
            return f"reading {data['shard']} for the tokenizer"
        if event.kind != "training.step" or not self._began:
            return None
        steps, took_s = data["step"] - self._began["step"], max(1e-9, event.time_s - self._began_s)
        tokens = steps * self._began["tokens_per_step"]
        left_s = max(0.0, self._began["seconds"] - took_s)
        return (
            f"step {data['step']:,} · {self._began['tokens'] + tokens:,} tokens · {tokens / took_s:,.0f} tokens/s · "
            f"loss {show.number(data['loss'])} · done in {show.clock(left_s)}"
        )

    def _lasting(self, event: Event) -> str | None:
        data = event.data
        match event.kind:
            case "data.shard_left_out":
                return f"left out: {data['reason']}"
            case "data.tokenizer_trained":
                return f"tokenizer of {data['vocabulary']:,} entries from {data['characters']:,} characters"
            case "pretraining.prepared":
                tokens = ", ".join(f"{language} {counts['tokens']:,}" for language, counts in data["corpus"].items())
                return f"corpus in tokens: {tokens}; {data['steps_per_epoch']:,} steps an epoch"
            case "pretraining.started":
                self._began, self._began_s, self._printed_s = data, event.time_s, event.time_s
                return (
                    f"{'going on at' if data['step'] else 'training from'} step {data['step']:,} on {data['machine']}"
                )
            case "pretraining.saved":
                return f"step {data['step']:,} saved"
            case "pretraining.cooling":
                return f"cooling down over about {data['steps']:,} steps"
            case "pretraining.scoring":
                return "scoring held-out documents"
            case "pretraining.note":
                return str(data["message"])
        return None
