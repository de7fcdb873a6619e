"""`autogpt chat`: a conversation with a trained model, typed or piped in (one message a line)."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autogpt.cli import common
from autogpt.cli.generate import SamplingOption, sampling_of
from autogpt.cli.text import Text, language_for
from autogpt.errors import ConfigError

if TYPE_CHECKING:
    from autogpt.model import Model

__all__ = ["Conversation", "chat"]


def chat(
    model: common.ModelArgument,
    temperature: Annotated[float | None, typer.Option("--temperature", help="0 is the most probable reply.")] = None,
    max_new_tokens: Annotated[int | None, typer.Option("--max-new-tokens", help="Longest reply in tokens.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Of the sampling.")] = None,
    adapt: common.AdaptOption = None,
    overrides: SamplingOption = None,
    as_json: common.JsonFlag = False,
    debug: common.DebugFlag = False,
    quiet: common.QuietFlag = False,
) -> None:
    """Talk with a trained model. Commands: /clear, /save FILE, /exit. With --json the conversation comes at the end."""
    given = {"temperature": temperature, "max_new_tokens": max_new_tokens, "seed": seed}
    sampling = sampling_of(given, overrides)

    from autogpt.model import load

    loaded = load(model)
    text = Text(language_for(loaded.spec.description))
    interactive = sys.stdin.isatty()
    with common.adapting(loaded, adapt) as session:
        talk = Conversation(loaded, {**sampling, **session}, text, to_stderr=as_json)
        if interactive and not quiet:
            common.note(text("chat.hello", model=loaded.name))
        for line in _lines(interactive):
            if not talk.take(line):
                break
    if as_json:
        common.emit({"model": loaded.name, "messages": talk.messages})


def _lines(interactive: bool) -> Iterator[str]:
    """What the user says, a line at a time, until the input ends. Ctrl-C at the prompt only starts a new line."""
    if interactive:
        with suppress(ImportError):  # Windows has none
            import readline  # noqa: F401  # gives input() its history and editing
    while True:
        try:
            line = input("> ") if interactive else sys.stdin.readline()
        except KeyboardInterrupt:
            common.note("")
            continue
        except EOFError:
            common.note("")
            return
        if not interactive and not line:
            return
        yield line.strip()


class Conversation:
    """The messages so far and what a line of the user does to them.

    Attributes:
        messages: OpenAI-shaped turns, user and assistant in alternation.
    """

    def __init__(self, model: Model, sampling: dict[str, Any], text: Text, *, to_stderr: bool = False) -> None:
        self._model, self._sampling, self._text, self._to_stderr = model, sampling, text, to_stderr
        self.messages: list[dict[str, str]] = []

    def take(self, line: str) -> bool:
        """Obey a command or answer a message; False when the user wants to leave."""
        if line.startswith("/"):
            return self._obey(line)
        if line:
            self._answer(line)
        return True

    def _obey(self, line: str) -> bool:
        command, _, rest = line.partition(" ")
        match command:
            case "/exit" | "/quit" | "/bye":
                return False
            case "/clear":
                self.messages.clear()
                common.note(self._text("chat.cleared"))
            case "/save" if rest.strip():
                self._save(Path(rest.strip()).expanduser())
            case _:
                common.note(self._text("chat.unknown", command=command))
        return True

    def _save(self, path: Path) -> None:
        """One JSON line in the messages layout, which `fit --data` reads; an earlier file is replaced."""
        from autogpt.store.artifacts import write_atomic

        if not path.absolute().parent.is_dir():
            common.note(
                f"autogpt: error: {ConfigError('/save', found=repr(str(path)), expected='a folder that exists')}"
            )
            return
        write_atomic(path, json.dumps({"messages": self.messages}, ensure_ascii=False) + "\n")
        common.note(self._text("chat.saved", path=path))

    def _answer(self, line: str) -> None:
        """Stream the reply. Ctrl-C ends the reply; what was said until then stays in the conversation."""
        pieces: list[str] = []
        asked = [*self.messages, {"role": "user", "content": line}]
        try:
            for piece in self._model.chat(asked, **self._sampling):
                pieces.append(piece)
                typer.echo(piece, nl=False, err=self._to_stderr)
                (sys.stderr if self._to_stderr else sys.stdout).flush()
        except KeyboardInterrupt:
            typer.echo(f" {self._text('chat.stopped')}", nl=False, err=True)
        typer.echo(err=self._to_stderr)
        if pieces:
            self.messages = [*asked, {"role": "assistant", "content": "".join(pieces).strip()}]
