"""Access keys and what they open: making and comparing keys, roles, actions, and the models a key is limited to.

Pure functions; `store.access` keeps the keys. A key is `ag-ID-SECRET`: the ID is public and finds the stored row, the
secret is 43 characters of 62, which is 256 bits. Only the SHA-256 of the whole key is stored. A slow hash such as
argon2 makes each guess of a password dear; 2^256 keys cannot be gone through however cheap a guess is, and a slow hash
would cost every request of an honest client tens of milliseconds. For the same reason no salt is needed. There is no
checksum: the digest covers every character, and a key that is refused without it would be refused sooner than others.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import string
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from types import MappingProxyType

from autogpt.errors import ConfigError, Forbidden
from autogpt.registry import did_you_mean

__all__ = ["ACTIONS", "Grant", "Role", "digest_of", "make_key", "matches", "public_id", "role_named"]

_ALPHABET = string.digits + string.ascii_letters
_ID_CHARACTERS = 12
_SECRET_CHARACTERS = 43
"""The fewest of 62 characters that hold 32 bytes: 43 x log2(62) = 256.03 bits."""
_KEY = re.compile(rf"ag-([0-9A-Za-z]{{{_ID_CHARACTERS}}})-[0-9A-Za-z]{{{_SECRET_CHARACTERS}}}")


class Role(IntEnum):
    """What a key's holder is to the server. A total order: each role may do all that those before it may."""

    VIEWER = 1
    USER = 2
    TRAINER = 3
    ADMIN = 4

    @property
    def label(self) -> str:
        """The role as people write it: `viewer`, `user`, `trainer` or `admin`."""
        return self.name.lower()


ACTIONS: Mapping[str, Role] = MappingProxyType(
    {
        "read": Role.VIEWER,
        "generate": Role.USER,
        "feedback": Role.USER,
        "train": Role.TRAINER,
        "manage_models": Role.ADMIN,
        "manage_keys": Role.ADMIN,
    }
)
"""Action → least role. `read`: models, runs and reports. `generate`: answers of a model. `feedback`: judging and
correcting them. `train`: starting, resuming and stopping runs. `manage_models`: pulling, renaming and removing."""


def role_named(name: str) -> Role:
    """The role of this label, in either case. Raises ConfigError with the nearest label when there is none."""
    labels = {role.label: role for role in Role}
    if name.lower() not in labels:
        raise ConfigError(f"unknown role {name!r}", todo=did_you_mean(name.lower(), list(labels)))
    return labels[name.lower()]


def make_key() -> str:
    """A new key from the system's source of randomness. Whoever asks for it must store its digest and show it once."""
    identity, secret = (
        "".join(secrets.choice(_ALPHABET) for _ in range(length)) for length in (_ID_CHARACTERS, _SECRET_CHARACTERS)
    )
    return f"ag-{identity}-{secret}"


def public_id(key: str) -> str:
    """The part of a key that may be shown, stored and searched for; "" for text that has not the form of a key."""
    found = _KEY.fullmatch(key)
    return found[1] if found else ""


def digest_of(key: str) -> str:
    """SHA-256 of the whole text as 64 hex digits. Any text is taken, also what cannot be encoded as UTF-8."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def matches(key: str, digest: str) -> bool:
    """Whether `digest` is that of `key`; the time it takes does not tell where the two begin to differ."""
    return hmac.compare_digest(digest_of(key), digest)


@dataclass(frozen=True, slots=True)
class Grant:
    """What a key that was found valid opens.

    Attributes:
        name: of the key, for records of who did what.
        models: the names of the models it is limited to; None for all, and for what concerns no model.
    """

    name: str
    role: Role
    models: tuple[str, ...] | None = None

    def may(self, action: str, model: str | None = None) -> bool:
        """Whether the holder may do `action` with `model`. Raises KeyError for an action that `ACTIONS` has not.

        Args:
            model: its registered name, or NAME/TASK, which the name covers; never a path, which could lead elsewhere.
                None for what concerns no single model, such as other keys: a key that is limited to models may do no
                such thing, or it could make itself one without limits.
        """
        return self.role >= ACTIONS[action] and (self.models is None or (model is not None and self._covers(model)))

    def require(self, action: str, model: str | None = None) -> None:
        """Raises Forbidden, which says what is missing, when `may` says no."""
        if self.may(action, model):
            return
        least = ACTIONS[action]
        if self.role < least:
            raise Forbidden(f"this key may not {_spoken(action)}", found=self.role.label, expected=_or_higher(least))
        about = "anything beyond its models" if model is None else f"the model {model!r}"
        raise Forbidden(f"this key is not for {about}", todo="ask for a key that is")

    def _covers(self, model: str) -> bool:
        name, slash, task = model.partition("/")
        plain = all(letter.isalnum() or letter == "-" for letter in task)
        return name in (self.models or ()) and plain and bool(task) == bool(slash)


def _spoken(action: str) -> str:
    return {"feedback": "give feedback"}.get(action, action.replace("_", " "))


def _or_higher(role: Role) -> str:
    return f"the role {role.label}" + (" or a higher one" if role is not max(Role) else "")
