"""`autogpt keys`: access keys for the HTTP server, made, listed and revoked."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autogpt.cli import common, show
from autogpt.cli.text import Text, language_for
from autogpt.errors import BudgetError, ConfigError

if TYPE_CHECKING:
    from autogpt.store.access import KeyRow

__all__ = ["app"]

app = typer.Typer(help="Create, list and revoke access keys.", no_args_is_help=True, rich_markup_mode=None)

_LONGEST_S = 3650 * 86400.0


def document(row: KeyRow) -> dict[str, Any]:
    """A stored key as JSON; its secret is not in it, and nowhere else either."""
    return {
        "name": row.name,
        "id": row.id,
        "role": row.role.label,
        "models": None if row.models is None else list(row.models),
        "state": state_of(row),
        "created": show.when(row.created),
        "expires": _when(row.expires),
        "revoked": _when(row.revoked),
        "used": _when(row.used),
    }


def state_of(row: KeyRow) -> str:
    """`valid`, `expired` or `revoked`; a key that is both was revoked, which somebody decided."""
    if row.revoked is not None:
        return "revoked"
    return "expired" if row.expires is not None and row.expires <= time.time() else "valid"


def _when(seconds: float | None) -> str | None:
    return None if seconds is None else show.when(seconds)


def complete_role(incomplete: str) -> list[str]:
    """Roles that begin with `incomplete`, for the shell."""
    from autogpt.security.access import Role

    return [role.label for role in Role if role.label.startswith(incomplete)]


def complete_key(incomplete: str) -> list[str]:
    """Names of keys that could be revoked and begin with `incomplete`, for the shell."""
    from autogpt.config import home
    from autogpt.store.access import list_keys
    from autogpt.store.database import Store

    with Store(home()) as store:
        return [row.name for row in list_keys(store) if row.revoked is None and row.name.startswith(incomplete)]


def seconds_of(expires: str) -> float:
    """Seconds of `--expires`, such as `12h` or `30d`, at most ten years. Raises ConfigError.

    Unlike in a budget a bare number is refused: seconds would be meant by nobody.
    """
    from autogpt.config import parse_budget

    expected = "a time such as 12h, 30d or 365d, at most 3650d"
    try:
        seconds = parse_budget(expires)
    except BudgetError as error:
        raise ConfigError("--expires cannot be read", found=repr(expires), expected=expected) from error
    if not 0 < seconds <= _LONGEST_S or re.fullmatch(r"[\d.\s]+", expires):
        raise ConfigError("--expires cannot be read", found=repr(expires), expected=expected)
    return seconds


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose key it is, or what for; unique for good.")],
    role: Annotated[
        str, typer.Option("--role", help="viewer, user, trainer or admin.", autocompletion=complete_role)
    ] = "user",
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            metavar="NAME",
            help="Limit it to this model; repeatable. All if not given.",
            autocompletion=common.complete_model,
        ),
    ] = None,
    expires: Annotated[
        str | None, typer.Option("--expires", metavar="TIME", help="Such as 12h or 30d; never if not given.")
    ] = None,
    as_json: common.JsonFlag = False,
    debug: common.DebugFlag = False,
    quiet: common.QuietFlag = False,
) -> None:
    """Make a key and print it, this once; all else goes to standard error."""
    from autogpt.config import home
    from autogpt.security.access import role_named
    from autogpt.store.access import create_key
    from autogpt.store.database import Store

    wanted, lasts_s = role_named(role), None if expires is None else seconds_of(expires)
    with Store(home()) as store:
        made = create_key(store, name, wanted, models=model or None, lasts_s=lasts_s)
    if as_json:
        common.emit({**document(made.row), "key": made.secret})
        return
    if not quiet:
        text, row = Text(language_for()), made.row
        models = text("keys.all") if row.models is None else ", ".join(row.models)
        until = text("keys.never") if row.expires is None else show.when(row.expires)
        common.note(text("keys.made", name=row.name, role=row.role.label, models=models, until=until))
        common.note(text("keys.once"))
    common.say(made.secret)


@app.command("list")
def list_all(
    as_json: common.JsonFlag = False,
    debug: common.DebugFlag = False,
    quiet: common.QuietFlag = False,
) -> None:
    """All keys, newest first, without their secrets; -q shows only their names."""
    from autogpt.config import home
    from autogpt.store.access import list_keys
    from autogpt.store.database import Store

    with Store(home()) as store:
        rows = [document(row) for row in list_keys(store)]
    if as_json:
        common.emit({"keys": rows})
    elif quiet:
        for row in rows:
            common.say(row["name"])
    elif not rows:
        common.note(Text(language_for())("keys.none"))
    else:
        common.say_table(show.table(_COLUMNS, [_line(row) for row in rows]))


_COLUMNS = ["name", "key", "role", "models", "state", "created", "expires", "last used"]


def _line(row: dict[str, Any]) -> tuple[str, ...]:
    models = "all" if row["models"] is None else show.one_line(", ".join(row["models"]), 40)
    state = f"revoked {row['revoked']}" if row["revoked"] else row["state"]
    times = (row["created"], row["expires"] or "never", row["used"] or "never")
    return row["name"], f"ag-{row['id']}-…", row["role"], models, state, *times


@app.command("revoke")
def revoke(
    name: Annotated[str, typer.Argument(metavar="NAME", help="As keys list shows it.", autocompletion=complete_key)],
    as_json: common.JsonFlag = False,
    debug: common.DebugFlag = False,
    quiet: common.QuietFlag = False,
) -> None:
    """End a key at once and for good. It stays listed, and its name is not given again."""
    from autogpt.config import home
    from autogpt.store.access import revoke_key
    from autogpt.store.database import Store

    with Store(home()) as store:
        row = document(revoke_key(store, name))
    if as_json:
        common.emit(row)
    elif not quiet:
        common.say(Text(language_for())("keys.revoked", name=name, when=row["revoked"]))
