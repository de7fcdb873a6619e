"""Keys and grants: no altered key is taken, and a role may do exactly what the table says."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import re
import string
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autogpt.errors import AccessError, ConfigError, Forbidden
from autogpt.security.access import ACTIONS, Grant, Role, digest_of, make_key, matches, public_id, role_named

Roles, Actions = st.sampled_from(Role), st.sampled_from(sorted(ACTIONS))
Printable = st.sampled_from(string.printable) | st.characters()


@st.composite
def altered(draw: st.DrawFn) -> tuple[str, str]:
    """A key, and the same with one character replaced, added or left out."""
    key = make_key()
    place = draw(st.integers(0, len(key)))
    removed = draw(st.integers(0, 1)) if place < len(key) else 0
    added = draw(Printable | st.just("")) if removed else draw(Printable)
    other = key[:place] + added + key[place + removed :]
    return key, other + draw(Printable) if other == key else other


def test_a_key_holds_256_bits_and_has_its_form() -> None:
    keys = [make_key() for _ in range(200)]
    assert len(set(keys)) == len({public_id(key) for key in keys}) == 200
    assert all(re.fullmatch(r"ag-[0-9A-Za-z]{12}-[0-9A-Za-z]{43}", key) for key in keys)
    assert 43 * math.log2(62) >= 256 > 42 * math.log2(62)
    letters = "".join(key[16:] for key in keys)
    expected = len(letters) / 62
    chi2 = sum((letters.count(letter) - expected) ** 2 / expected for letter in string.digits + string.ascii_letters)
    assert chi2 < 150  # 61 degrees of freedom: a fair source is above this once in 10^9 times


def test_the_digest_is_sha256() -> None:
    assert digest_of("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, B.1
    assert digest_of("钥") == hashlib.sha256("钥".encode()).hexdigest()


@given(altered())
@settings(max_examples=500, deadline=None)
def test_a_key_with_one_character_changed_is_refused(pair: tuple[str, str]) -> None:
    key, other = pair
    assert matches(key, digest_of(key))
    assert not matches(other, digest_of(key))


def test_every_place_of_a_key_counts() -> None:
    key = make_key()
    for place, letter in enumerate(key):
        swapped = letter.swapcase() if letter.isalpha() else "7" if letter != "7" else "8"
        assert not matches(key[:place] + swapped + key[place + 1 :], digest_of(key))


@given(st.text())
def test_a_digest_never_equals_or_opens_its_key(text: str) -> None:
    for key in (make_key(), text):
        digest = digest_of(key)
        assert digest != key
        assert not matches(digest, digest)
    assert public_id(digest_of(text)) == ""


@given(st.text() | st.from_regex(r"ag-[0-9A-Za-z-]*\n?", fullmatch=True) | altered().map(lambda pair: pair[1]))
def test_only_text_in_the_form_of_a_key_has_a_public_id(text: str) -> None:
    parts = text.split("-")
    has_form = parts[0] == "ag" and [len(part) for part in parts[1:]] == [12, 43] and len(parts) == 3
    has_form = has_form and set("".join(parts)) <= set(string.ascii_letters + string.digits)
    assert public_id(text) == (parts[1] if has_form else "")


@pytest.mark.parametrize("text", ["\ud800", "ag-" + "\x00" * 56, "ag-" + "𝟘" * 12 + "-" + "a" * 43, "x" * 10**6])
def test_text_that_is_no_key(text: str) -> None:
    assert public_id(text) == ""
    assert not matches(text, digest_of(make_key()))


def test_the_roles_are_in_order() -> None:
    assert [role.label for role in sorted(Role)] == ["viewer", "user", "trainer", "admin"]
    assert [role_named(role.label.upper()) for role in Role] == list(Role)
    with pytest.raises(ConfigError, match=r"unknown role 'trianer'; did you mean 'trainer'\?"):
        role_named("trianer")


ALLOWED = {
    Role.VIEWER: {"read"},
    Role.USER: {"read", "generate", "feedback"},
    Role.TRAINER: {"read", "generate", "feedback", "train"},
    Role.ADMIN: {"read", "generate", "feedback", "train", "manage_models", "manage_keys"},
}


@pytest.mark.parametrize("role", Role)
def test_what_a_role_may_do_by_hand(role: Role) -> None:
    assert {action for action in ACTIONS if Grant("k", role).may(action)} == ALLOWED[role]


@given(Roles, Actions, st.none() | st.text())
def test_a_role_may_do_exactly_what_needs_no_higher_one(role: Role, action: str, model: str | None) -> None:
    grant = Grant("k", role)
    assert grant.may(action, model) == (ACTIONS[action] <= role)
    if grant.may(action, model):
        grant.require(action, model)
    else:
        with pytest.raises(Forbidden, match=f"found {role.label}; expected the role {ACTIONS[action].label}"):
            grant.require(action, model)


@given(Roles, Roles, Actions, st.none() | st.sampled_from(["a", "b", "a/t", "c"]))
def test_a_higher_role_may_no_less(one: Role, other: Role, action: str, model: str | None) -> None:
    low, high = sorted((one, other))
    for models in (None, (), ("a", "b")):
        assert Grant("k", low, models).may(action, model) <= Grant("k", high, models).may(action, model)


@given(Roles, Actions, st.none() | st.text())
def test_a_limit_never_opens_more(role: Role, action: str, model: str | None) -> None:
    whole = Grant("k", role)
    for models in ((), ("a", "b")):
        assert Grant("k", role, models).may(action, model) <= whole.may(action, model)


@pytest.mark.parametrize("model", ["desk", "desk/mails", "desk/回信", "desk/mails-2", "新闻"])
def test_models_within_the_limit(model: str) -> None:
    Grant("k", Role.USER, ("desk", "新闻")).require("generate", model)


@pytest.mark.parametrize(
    "model",
    ["", "des", "desk2", "Desk", "other", "desk/", "desk/..", "desk/.", "desk/../other", "desk/..\\other", "desk//x",
     "./desk", "/desk", "desk\n", "desk/a b", "desk/%2e%2e", "mails"],
)  # fmt: skip
def test_models_beyond_the_limit(model: str) -> None:
    grant = Grant("k", Role.ADMIN, ("desk",))
    assert not grant.may("generate", model)
    with pytest.raises(Forbidden, match="this key is not for the model"):
        grant.require("generate", model)


@pytest.mark.parametrize("action", sorted(ACTIONS))
def test_a_limited_key_does_nothing_that_concerns_no_model(action: str) -> None:
    """An administrator's key for one model could otherwise make itself a key for all."""
    with pytest.raises(Forbidden, match="this key is not for anything beyond its models"):
        Grant("k", Role.ADMIN, ("desk",)).require(action)


def test_an_unknown_action_is_an_error_and_not_allowed() -> None:
    with pytest.raises(KeyError):
        Grant("k", Role.ADMIN).may("fly")


def test_what_is_forbidden_reads_as_a_sentence() -> None:
    with pytest.raises(AccessError) as caught:
        Grant("k", Role.USER).require("manage_keys")
    assert str(caught.value) == "this key may not manage keys; found user; expected the role admin"
    with pytest.raises(AccessError) as caught:
        Grant("k", Role.VIEWER).require("feedback")
    assert str(caught.value) == "this key may not give feedback; found viewer; expected the role user or a higher one"


def test_nothing_of_a_grant_or_the_table_can_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Grant("k", Role.USER).role = Role.ADMIN  # type: ignore[misc]
    with pytest.raises(TypeError):
        ACTIONS["manage_keys"] = Role.VIEWER  # type: ignore[index]


def test_the_import_is_light() -> None:
    code = (
        "import sys, autogpt.security.access;"
        "print([name for name in ('sqlalchemy', 'pydantic', 'torch', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
