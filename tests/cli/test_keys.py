"""`autogpt keys`: the secret comes once and alone, and everything else about keys can be seen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autogpt.cli.keys import complete_key, complete_role, seconds_of
from autogpt.errors import ConfigError
from autogpt.security.access import Grant, Role, public_id
from autogpt.store.access import check_key, list_keys
from autogpt.store.database import Store
from autogpt.types import MetricValue

Cli = Callable[..., Any]


def granted(home: Path, key: str) -> Grant:
    with Store(home) as store:
        return check_key(store, key)


@pytest.fixture
def desk(home: Path) -> None:
    with Store(home) as store:
        folder = home / "models" / "desk"
        folder.mkdir(parents=True)
        store.register_model("desk", folder=folder, metric=MetricValue("accuracy", 0.9, (0.8, 0.95), 200, True))


def test_create_prints_the_key_alone(cli: Cli, home: Path) -> None:
    done = cli("keys", "create", "laptop")
    key = done.out.removesuffix("\n")
    assert (done.code, public_id(key) != "") == (0, True)
    assert key[16:] not in done.err
    assert "key laptop: role user, models: all, expires: never" in done.err
    assert "shown this once" in done.err
    assert granted(home, key) == Grant("laptop", Role.USER)
    quiet = cli("keys", "create", "other", "-q")
    assert (public_id(quiet.out.strip()) != "", quiet.err) == (True, "")


@pytest.mark.usefixtures("desk")
def test_create_with_everything(cli: Cli, home: Path) -> None:
    done = cli("keys", "create", "ci", "--role", "trainer", "--model", "desk", "--expires", "30d", "--json")
    assert (done.code, done.err) == (0, "")
    made = done.document
    assert granted(home, made["key"]) == Grant("ci", Role.TRAINER, ("desk",))
    with Store(home) as store:
        (row,) = list_keys(store)
    assert row.expires == pytest.approx(row.created + 30 * 86400)
    assert (made["name"], made["role"], made["models"], made["state"]) == ("ci", "trainer", ["desk"], "valid")
    assert (made["id"], made["revoked"], made["used"]) == (public_id(made["key"]), None, None)


def test_notes_in_chinese(cli: Cli, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    assert "还没有密钥" in cli("keys", "list").err
    done = cli("keys", "create", "张三", "--role", "admin")
    assert "密钥 张三：角色 admin，模型：全部，到期：永不" in done.err
    assert public_id(done.out.strip())
    assert "张三 已于" in cli("keys", "revoke", "张三").out


def test_list_and_revoke(cli: Cli, home: Path) -> None:
    done = cli("keys", "list")
    assert (done.code, done.out, done.err) == (0, "", "no keys yet: autogpt keys create NAME\n")
    key = cli("keys", "create", "laptop").out.strip()
    granted(home, key)
    listed = [cli("keys", "list"), cli("keys", "list", "--json"), cli("keys", "list", "-q")]
    assert all(key[16:] not in done.out + done.err for done in listed)
    for part in ("laptop", f"ag-{public_id(key)}-…", "user", "all", "valid", "never"):
        assert part in listed[0].out
    (row,) = listed[1].document["keys"]
    assert (row["state"], row["revoked"], row["used"] is None) == ("valid", None, False)
    assert listed[2].out == "laptop\n"
    assert complete_key("lap") == ["laptop"]
    done = cli("keys", "revoke", "laptop")
    assert (done.code, "laptop was revoked at " in done.out, done.err) == (0, True, "")
    assert cli("keys", "revoke", "laptop", "--json").document["state"] == "revoked"
    assert "revoked 2" in cli("keys", "list").out
    assert complete_key("") == []


def test_an_expired_key_is_listed_as_such(cli: Cli, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    cli("keys", "create", "short", "--expires", "1h")
    later = time.time() + 3601
    monkeypatch.setattr(time, "time", lambda: later)
    (row,) = cli("keys", "list", "--json").document["keys"]
    assert row["state"] == "expired"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["create", "k", "--role", "amdin"], "unknown role 'amdin'; did you mean 'admin'?"),
        (["create", "k", "--role", ""], "unknown role ''; known: admin, trainer, user, viewer"),
        (["create", "taken"], "there is a key 'taken' already; choose another one"),
        (["create", "a b"], "a key cannot have this name; found 'a b'"),
        (["create", "k", "--model", "dsk"], "no model 'dsk'; did you mean 'desk'?"),
        (["create", "k", "--expires", "soon"], "--expires cannot be read; found 'soon'; expected a time such as 12h"),
        (["create"], "Missing argument 'NAME'"),
        (["revoke", "takn"], "no key 'takn'; did you mean 'taken'?"),
    ],
)
@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.usefixtures("desk")
def test_bad_input_is_one_line_and_makes_no_key(
    cli: Cli, home: Path, argv: list[str], message: str, as_json: bool
) -> None:
    cli("keys", "create", "taken")
    done = cli("keys", *argv, *(["--json"] if as_json else []))
    assert done.code == 2
    assert done.err.startswith("autogpt: error: ")
    assert done.err.count("\n") == 1
    assert message in done.err
    if as_json:
        assert message in done.document["error"]["message"]
    else:
        assert done.out == ""
    assert cli("keys", "list", "-q").out == "taken\n"


def test_a_key_given_as_a_name_is_not_repeated(cli: Cli, home: Path) -> None:
    key = cli("keys", "create", "laptop").out.strip()
    for verb in ("revoke", "create"):
        for flag in ("--json", "--debug"):
            done = cli("keys", verb, key, flag)
            assert (done.code, key[16:] in done.out + done.err) == (2, False)


@pytest.mark.parametrize(
    ("text", "seconds"), [("30d", 2_592_000), ("12h", 43_200), ("1d12h", 129_600), ("90 s", 90), ("3650d", 315_360_000)]
)
def test_durations(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "30", "3.5", "0d", "0", "-1d", "d", "3651d", "9" * 400 + "d", "2w", "5usd", "1e9d", "nan", "inf", "30d x"],
)
def test_durations_that_cannot_be_read(text: str) -> None:
    with pytest.raises(ConfigError, match="--expires cannot be read") as caught:
        seconds_of(text)
    assert "budget" not in str(caught.value)


def test_roles_complete() -> None:
    assert complete_role("") == ["viewer", "user", "trainer", "admin"]
    assert complete_role("t") == ["trainer"]
