"""Keys in the database: what is stored of them, who is let in, and what several processes see of each other."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from autogpt.errors import AccessError, BadInput, ModelError, StoreError
from autogpt.security.access import Grant, Role, digest_of, make_key, public_id
from autogpt.store import connection as store_connection
from autogpt.store.access import NewKey, check_key, create_key, list_keys, revoke_key
from autogpt.store.connection import writing
from autogpt.store.database import Store
from autogpt.store.schema import keys
from autogpt.types import MetricValue


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "home") as opened:
        yield opened


def change(store: Store, name: str, **values: Any) -> None:
    with writing(store.engine) as connection:
        connection.execute(update(keys).where(keys.c.name == name).values(**values))


def with_model(store: Store, name: str) -> None:
    folder = store.home / "models" / name
    folder.mkdir(parents=True)
    store.register_model(name, folder=folder, metric=MetricValue("accuracy", 0.9, (0.85, 0.95), 200, True))


def refusal(store: Store, key: str) -> str:
    with pytest.raises(AccessError) as caught:
        check_key(store, key)
    assert caught.type is AccessError
    return json.dumps([str(caught.value), vars(caught.value)])


def test_a_new_key_opens(store: Store) -> None:
    before = time.time()
    made = create_key(store, "laptop")
    row = made.row
    assert check_key(store, made.secret) == Grant("laptop", Role.USER, None)
    assert (row.name, row.role, row.models, row.id) == ("laptop", Role.USER, None, public_id(made.secret))
    assert (row.expires, row.revoked, row.used) == (None, None, None)
    assert before <= row.created <= time.time()


def test_role_limit_and_end_are_kept(store: Store) -> None:
    with_model(store, "desk")
    with_model(store, "新闻")
    made = create_key(store, "张三@lab", Role.TRAINER, models=["新闻", "desk", "desk"], lasts_s=3600.0)
    grant = check_key(store, made.secret)
    assert (grant.name, grant.role, set(grant.models or ())) == ("张三@lab", Role.TRAINER, {"desk", "新闻"})
    assert len(grant.models or ()) == 2
    assert made.row.expires == pytest.approx(made.row.created + 3600.0)
    assert list_keys(store)[0].models == grant.models


def test_a_limit_to_nothing_is_no_missing_limit(store: Store) -> None:
    grant = check_key(store, create_key(store, "nothing", Role.ADMIN, models=[]).secret)
    assert grant.models == ()
    assert not grant.may("read")
    assert not grant.may("read", "desk")


def test_unknown_wrong_revoked_and_expired_keys_are_refused_alike(store: Store) -> None:
    made = {name: create_key(store, name) for name in ("good", "revoked", "expired", "both")}
    change(store, "expired", expires=time.time() - 1)
    change(store, "both", expires=time.time() - 1)
    revoke_key(store, "revoked")
    revoke_key(store, "both")
    good = made["good"].secret
    wrong = f"ag-{public_id(good)}-{make_key()[-43:]}"
    tried = [make_key(), wrong, *(made[name].secret for name in ("revoked", "expired", "both"))]
    tried += ["", "ag-", good[:-1], good + " ", good + "\n", f"Bearer {good}", good.swapcase(), public_id(good)]
    tried += [digest_of(good), "\x00", "\ud800", "密钥", "x" * 10**6, "' OR 1=1 --", "0" * 64]
    assert len({refusal(store, key) for key in tried}) == 1
    assert check_key(store, good).name == "good"
    assert {row.name for row in list_keys(store) if row.used is not None} == {"good"}


def test_one_changed_character_anywhere_is_refused(store: Store) -> None:
    key = create_key(store, "k").secret
    for place, letter in enumerate(key):
        refusal(store, key[:place] + ("x" if letter != "x" else "y") + key[place + 1 :])


def test_a_key_of_another_row_does_not_fit(store: Store) -> None:
    one, other = create_key(store, "one").secret, create_key(store, "other").secret
    refusal(store, one[:16] + other[16:])


def test_the_moment_of_expiry(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    made = create_key(store, "k", lasts_s=10.0)
    assert made.row.expires is not None
    monkeypatch.setattr(time, "time", lambda: made.row.expires - 0.001)
    check_key(store, made.secret)
    monkeypatch.setattr(time, "time", lambda: made.row.expires)
    refusal(store, made.secret)


def test_revoked_between_two_checks_by_another_process(store: Store) -> None:
    key = create_key(store, "k").secret
    check_key(store, key)
    code = (
        "import sys; from pathlib import Path; from autogpt.store.database import Store;"
        "from autogpt.store.access import revoke_key; revoke_key(Store(Path(sys.argv[1])), 'k')"
    )
    subprocess.run([sys.executable, "-c", code, str(store.home)], check=True)
    refusal(store, key)


def test_a_revoked_key_stays_with_the_first_time_and_keeps_its_name(store: Store) -> None:
    made = create_key(store, "ci")
    first = revoke_key(store, "ci")
    assert first.revoked is not None
    assert revoke_key(store, "ci") == first
    assert list_keys(store) == [first]
    assert first.id == made.row.id
    with pytest.raises(BadInput, match="there is a key 'ci' already; choose another one; a revoked key keeps its name"):
        create_key(store, "ci")
    refusal(store, made.secret)


def test_the_newest_key_comes_first(store: Store) -> None:
    for age, name in enumerate(("c", "a", "b")):
        create_key(store, name)
        change(store, name, created=1000.0 - age)
    assert [row.name for row in list_keys(store)] == ["c", "a", "b"]


def test_no_such_key(store: Store) -> None:
    with pytest.raises(BadInput, match="no key 'laptop'; there are no keys yet"):
        revoke_key(store, "laptop")
    create_key(store, "laptop")
    with pytest.raises(BadInput, match=r"no key 'lptop'; did you mean 'laptop'\?"):
        revoke_key(store, "lptop")


@pytest.mark.parametrize("name", ["", " ", "a b", "-x", ".x", "a\n", "a\x1b[31m", "\u202eabc", "a/b", "x" * 101, "a'b"])
def test_names_that_no_key_has(store: Store, name: str) -> None:
    with pytest.raises(BadInput, match=r"a key cannot have this name; found .*; expected up to 100 letters"):
        create_key(store, name)
    assert list_keys(store) == []


def test_a_model_that_is_not_there(store: Store) -> None:
    with_model(store, "desk")
    with pytest.raises(ModelError, match=r"no model 'dask'; did you mean 'desk'\?"):
        create_key(store, "k", models=["desk", "dask"])
    assert list_keys(store) == []


def test_nothing_of_the_secret_is_stored_shown_or_said(store: Store) -> None:
    made = create_key(store, "k")
    secret = made.secret[16:]
    check_key(store, made.secret)
    assert made.secret not in repr(made)
    assert secret not in repr(list_keys(store)) + repr(made.row)
    for use in (create_key, revoke_key):
        with pytest.raises(BadInput, match="a whole key in place of its name") as caught:
            use(store, made.secret)
        assert secret not in str(caught.value) + repr(vars(caught.value))
    store.close()
    files = [file.read_bytes() for file in store.home.glob("autogpt.db*")]
    assert not any(secret.encode() in content for content in files)
    assert any(digest_of(made.secret).encode() in content for content in files)


def test_use_is_written_at_most_once_a_minute(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    key, start = create_key(store, "k").secret, time.time()
    noted = []
    for at in (0.0, 1.0, 59.9, 60.0, 60.1, 119.0, 121.0, 10.0):  # the last one: a clock that was set back
        monkeypatch.setattr(time, "time", lambda at=at: start + at)
        check_key(store, key)
        (row,) = list_keys(store)
        assert row.used is not None
        noted.append(round(row.used - start, 3))
    assert noted == [0.0, 0.0, 0.0, 60.0, 60.0, 60.0, 121.0, 10.0]


def test_a_key_is_valid_while_somebody_else_writes(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    key = create_key(store, "k").secret
    monkeypatch.setattr(store_connection, "BUSY_TIMEOUT_MS", 10)
    store.engine.dispose()
    other = sqlite3.connect(store.home / "autogpt.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert check_key(store, key).name == "k"
    assert list_keys(store)[0].used is None
    other.execute("COMMIT")
    other.close()
    assert check_key(store, key).name == "k"
    assert list_keys(store)[0].used is not None


def test_a_database_that_cannot_be_read_lets_nobody_in(store: Store) -> None:
    key = create_key(store, "k").secret
    store.close()
    for file in store.home.glob("autogpt.db*"):
        file.write_bytes(b"no database, but long enough to be looked at" * 100)
    with pytest.raises(StoreError):
        check_key(store, key)


CREATOR = """
import sys
from pathlib import Path
from autogpt.errors import BadInput
from autogpt.store.access import create_key
from autogpt.store.database import Store
with Store(Path(sys.argv[1])) as store:
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(20):
        try:
            print(create_key(store, f"key-{number}").secret)
        except BadInput as error:
            print(error)
"""


def test_of_two_processes_that_create_a_name_one_wins(store: Store) -> None:
    command = [sys.executable, "-c", CREATOR, str(store.home)]
    pipe = subprocess.PIPE
    processes = [subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) for _ in range(2)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    said = []
    for process in processes:
        out, err = process.communicate()
        assert (process.returncode, err) == (0, "")
        said.append(out.splitlines())
    for number, lines in enumerate(zip(*said, strict=True)):
        won = [line for line in lines if public_id(line)]
        assert len(won) == 1
        assert check_key(store, won[0]).name == f"key-{number}"
        (lost,) = set(lines) - set(won)
        assert lost == f"there is a key 'key-{number}' already; choose another one; a revoked key keeps its name"
    assert len(list_keys(store)) == 20


def test_a_new_key_is_a_plain_record(store: Store) -> None:
    made = create_key(store, "k")
    assert NewKey(made.row, made.secret) == made
