"""The access keys of a home: made, listed, revoked and checked. The table holds digests; a key itself is shown once.

A revoked key keeps its row and its name for good, so that records which name it stay clear.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Row, insert, select, update
from sqlalchemy.exc import IntegrityError

from autogpt.errors import AccessError, BadInput, StoreUnavailable
from autogpt.registry import did_you_mean
from autogpt.security.access import Grant, Role, digest_of, make_key, matches, public_id, role_named
from autogpt.store import schema
from autogpt.store.connection import reading, writing
from autogpt.store.database import Store
from autogpt.store.schema import KeyRow

__all__ = ["KeyRow", "NewKey", "check_key", "create_key", "list_keys", "revoke_key"]

USE_EVERY_S = 60.0
"""How often the time of last use is written at most: a write for each request would wait for the disk."""

_NAME = re.compile(r"\w[\w.@-]{0,99}")
_NO_DIGEST = "0" * 64
_SHOWN = [column for column in schema.keys.c if column.name != "digest"]


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that was just made. `secret` is the whole key, kept nowhere else and left out of the `repr`."""

    row: KeyRow
    secret: str = field(repr=False)


def create_key(
    store: Store,
    name: str,
    role: Role = Role.USER,
    *,
    models: Sequence[str] | None = None,
    lasts_s: float | None = None,
) -> NewKey:
    """Makes a key and stores its digest.

    Args:
        name: up to 100 letters and digits of any script, `_`, `-`, `.` and `@`; no other key has it, or ever had.
        models: names of registered models that it is limited to; None for all models, also later ones, and for what
            concerns no model. The limit is by name: a model that takes the name of a removed one is opened too.
        lasts_s: seconds until it expires; None for never.

    Raises:
        BadInput: the name cannot be one, or is taken.
        ModelError: there is no model of one of the names.
        StoreError: the database cannot be written.
    """
    if not _NAME.fullmatch(name) or public_id(name):
        expected = "up to 100 letters, digits, _, -, . or @, the first one a letter or digit"
        raise BadInput("a key cannot have this name", found=_shown(name), expected=expected)
    limited = None if models is None else sorted({store.model(model).name for model in models})
    secret, now = make_key(), time.time()
    values = {
        "name": name,
        "id": public_id(secret),
        "digest": digest_of(secret),
        "role": role.label,
        "models": limited,
        "created": now,
        "expires": None if lasts_s is None else now + lasts_s,
    }
    with writing(store.engine) as connection:
        try:
            connection.execute(insert(schema.keys), values)
        except IntegrityError as error:
            todo = "choose another one; a revoked key keeps its name"
            raise BadInput(f"there is a key {name!r} already", todo=todo) from error
        row = connection.execute(select(*_SHOWN).where(schema.keys.c.name == name)).one()
    return NewKey(_key_row(row), secret)


def list_keys(store: Store) -> list[KeyRow]:
    """All keys, also revoked and expired ones, the newest first. Raises StoreError."""
    order = (schema.keys.c.created.desc(), schema.keys.c.name)
    with reading(store.engine) as connection:
        return [_key_row(row) for row in connection.execute(select(*_SHOWN).order_by(*order))]


def revoke_key(store: Store, name: str) -> KeyRow:
    """Ends a key from the next check on, in every process; the time of the first revocation stays.

    Raises BadInput with the nearest name when there is no such key, StoreError when the database cannot be written.
    """
    table = schema.keys
    with writing(store.engine) as connection:
        unrevoked = (table.c.name == name, table.c.revoked.is_(None))
        connection.execute(update(table).where(*unrevoked).values(revoked=time.time()))
        row = connection.execute(select(*_SHOWN).where(table.c.name == name)).first()
        if row is None:
            known = sorted(connection.execute(select(table.c.name)).scalars())
            todo = did_you_mean(name, known) if known else "there are no keys yet"
            raise BadInput(f"no key {_shown(name)}", todo=todo)
    return _key_row(row)


def check_key(store: Store, key: str) -> Grant:
    """What `key` opens, and notes that it was used. The database is asked each time, so a revocation holds at once.

    Unknown, wrong, revoked and expired keys, and text that is no key, are refused with the same error after the same
    work: one look-up, one digest, one comparison in constant time. What differs is whether the look-up yields a row,
    which tells at most that a public id exists. Tries are neither counted nor slowed down here.

    Raises AccessError when the key opens nothing, StoreError when the database cannot be read.
    """
    table, now = schema.keys, time.time()
    with reading(store.engine) as connection:
        row = connection.execute(select(table).where(table.c.id == public_id(key))).first()
    right = matches(key, _NO_DIGEST if row is None else row.digest)
    if row is None or not right or row.revoked is not None or (row.expires is not None and row.expires <= now):
        raise AccessError("the access key is not valid", todo="ask for a new one; autogpt keys create makes it")
    # a last use that lies ahead comes from a clock that was set back
    if row.used is None or not 0 <= now - row.used < USE_EVERY_S:
        _note_use(store, row.name, now)
    return Grant(row.name, role_named(row.role), None if row.models is None else tuple(row.models))


def _note_use(store: Store, name: str, now: float) -> None:
    try:
        with writing(store.engine) as connection:
            connection.execute(update(schema.keys).where(schema.keys.c.name == name).values(used=now))
    except StoreUnavailable:
        # Somebody writes for long. That is no reason to turn a valid key away, and the next check notes the use.
        return


def _key_row(row: Row[Any]) -> KeyRow:
    values = row._asdict()
    models = None if row.models is None else tuple(row.models)
    return KeyRow(**{**values, "role": role_named(row.role), "models": models})


def _shown(name: str) -> str:
    """The name for a message, unless somebody gave the key itself: a secret stays out of errors and their records."""
    return "a whole key in place of its name" if public_id(name) else repr(name)
