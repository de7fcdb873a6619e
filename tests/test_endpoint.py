"""The client against a real server on this machine, whose answers are scripted: what is sent, and what goes wrong."""

from __future__ import annotations

import socket
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any

import pytest

from autogpt.endpoint import Endpoint
from autogpt.errors import AutoGPTError, ConfigError, EndpointError
from autogpt.testing import said, scripted_llm

SECRET = "sk-do-not-show-0123456789"
HELLO = [{"role": "user", "content": "Hello?"}]
SCHEMA = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"], "additionalProperties": False}


def always(status: int, text: str) -> Callable[[str, dict[str, Any]], tuple[int, str]]:
    return lambda path, body: (status, text)


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def test_a_question_is_sent_and_answered() -> None:
    with scripted_llm(always(*said(" Good day. \n"))) as server:
        answer = Endpoint(server.url, "small", SECRET).complete(HELLO, temperature=0.5, max_tokens=7, seed=3)
    assert answer == "Good day."
    [(path, headers, body)] = server.seen
    assert path == "/v1/chat/completions"
    assert headers["authorization"] == f"Bearer {SECRET}"
    assert body == {"model": "small", "messages": HELLO, "temperature": 0.5, "max_tokens": 7, "seed": 3}


def test_without_a_model_the_first_one_listed_is_asked() -> None:
    def script(path: str, body: dict[str, Any]) -> tuple[int, str]:
        return (200, '{"object": "list", "data": [{"id": "one"}, {"id": "two"}]}') if "models" in path else said("yes")

    with scripted_llm(script) as server:
        assert Endpoint(server.url).complete(HELLO) == "yes"
    assert [path for path, _, _ in server.seen] == ["/v1/models", "/v1/chat/completions"]
    assert server.seen[1][2]["model"] == "one"


@pytest.mark.parametrize("listed", ['{"object": "list", "data": []}', '{"data": null}', '"none"', "[1]"])
def test_an_endpoint_that_lists_no_model_is_told_apart(listed: str) -> None:
    with scripted_llm(always(200, listed)) as server, pytest.raises(EndpointError, match="AUTOGPT_LLM_MODEL"):
        Endpoint(server.url).complete(HELLO)


def test_a_schema_is_sent() -> None:
    with scripted_llm(always(*said('{"x": 1}'))) as server:
        assert Endpoint(server.url, "m").complete(HELLO, schema=SCHEMA) == '{"x": 1}'
    form = server.seen[0][2]["response_format"]
    assert (form["type"], form["json_schema"]["schema"], form["json_schema"]["strict"]) == ("json_schema", SCHEMA, True)


@pytest.mark.parametrize("status", [400, 422])
def test_a_server_that_refuses_the_schema_is_asked_for_plain_text(status: int) -> None:
    def script(path: str, body: dict[str, Any]) -> tuple[int, str]:
        return (status, '{"error": "no response_format here"}') if "response_format" in body else said("plain")

    with scripted_llm(script) as server:
        assert Endpoint(server.url, "m").complete(HELLO, schema=SCHEMA) == "plain"
    assert ["response_format" in body for _, _, body in server.seen] == [True, False]


def test_what_is_refused_without_a_schema_too_is_an_error() -> None:
    refusal = always(400, '{"error": {"message": "too long"}}')
    with scripted_llm(refusal) as server, pytest.raises(EndpointError, match=r"answered 400; found .*too long"):
        Endpoint(server.url, "m").complete(HELLO, schema=SCHEMA)
    assert len(server.seen) == 2


@pytest.mark.parametrize(
    ("status", "text", "expected"),
    [
        (401, f'{{"error": {{"message": "wrong key {SECRET}"}}}}', r"refuses access \(401\); see that AUTOGPT_LLM_KEY"),
        (403, "no", r"refuses access \(403\)"),
        (404, f'{{"error": "no model for {SECRET}"}}', "answered 404; found .*no model for .*AUTOGPT_LLM_MODEL"),
        (429, '{"error": "slow down"}', "answered 429; found .*slow down"),
        (500, f"<html>{SECRET}\n\nbroken" + "x" * 900, r"answered 500; found .*\*\*\* broken"),
        (503, "", "answered 503"),
        (302, "", "answered 302"),
        (200, "", "no readable answer|empty answer"),
        (200, f"<html>{SECRET}", "no readable answer"),
        (200, "[]", "empty answer"),
        (200, '{"choices": []}', "empty answer"),
        (200, '{"choices": "none"}', "empty answer"),
        (200, '{"choices": [{"message": null}]}', "empty answer"),
        (*said(None), "empty answer"),
        (*said("  \n"), "empty answer"),
        (*said(["a part"]), "empty answer"),
    ],
)
def test_what_goes_wrong_is_one_line_without_the_key(status: int, text: str, expected: str) -> None:
    with scripted_llm(always(status, text)) as server:
        with pytest.raises(EndpointError, match=expected) as caught:
            Endpoint(server.url, "m", SECRET).complete(HELLO)
        shown_with_causes = "".join(traceback.format_exception(caught.value))
        assert SECRET not in shown_with_causes + repr(vars(caught.value))
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 500
        assert len(server.seen) == 1, "nothing is tried again, no redirect is followed"


def test_a_refused_connection() -> None:
    endpoint = Endpoint(f"http://127.0.0.1:{closed_port()}/v1", "m", SECRET)
    with pytest.raises(EndpointError, match=r"cannot be reached; found .*refused.*; see that it runs"):
        endpoint.complete(HELLO)


def test_a_server_that_stays_silent() -> None:
    end = threading.Event()

    def script(path: str, body: dict[str, Any]) -> tuple[int, str]:
        end.wait(20)
        return 503, ""

    with scripted_llm(script) as server:
        with pytest.raises(EndpointError, match=r"did not answer; expected a sign of life within 0\.2 s"):
            Endpoint(server.url, "m").complete(HELLO, timeout_s=0.2)
        end.set()


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AUTOGPT_LLM_URL", "AUTOGPT_LLM_MODEL", "AUTOGPT_LLM_KEY"):
        monkeypatch.delenv(name, raising=False)
    assert Endpoint.from_environment() is None
    monkeypatch.setenv("AUTOGPT_LLM_URL", " http://localhost:8080/v1 ")
    assert Endpoint.from_environment() == Endpoint("http://localhost:8080/v1")
    monkeypatch.setenv("AUTOGPT_LLM_MODEL", "small")
    monkeypatch.setenv("AUTOGPT_LLM_KEY", SECRET + "\n")
    assert Endpoint.from_environment() == Endpoint("http://localhost:8080/v1", "small", SECRET)
    assert SECRET not in repr(Endpoint.from_environment())


def test_nothing_of_another_service_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-theirs")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-theirs")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "project-theirs")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://192.0.2.1/v1")
    with scripted_llm(always(*said("yes"))) as server:
        assert Endpoint(server.url, "m").complete(HELLO) == "yes"
    assert "theirs" not in repr(server.seen)


def test_this_machine_is_asked_past_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{closed_port()}")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with scripted_llm(always(*said("yes"))) as server:
        assert Endpoint(server.url, "m").complete(HELLO) == "yes"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "localhost", "[::1]"])
def test_offline_allows_this_machine(host: str) -> None:
    Endpoint(f"http://{host}:1/v1").check()


@pytest.mark.parametrize("host", ["api.example.com", "192.168.0.2", "127.0.0.1.example.com", "localhost.example.com"])
def test_offline_forbids_any_other(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint = Endpoint(f"https://{host}/v1", "m", SECRET)
    with pytest.raises(ConfigError, match="AUTOGPT_OFFLINE forbids") as caught:
        endpoint.complete(HELLO)
    assert SECRET not in str(caught.value)
    monkeypatch.setenv("AUTOGPT_OFFLINE", "0")
    endpoint.check()


def test_the_client_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(ConfigError, match=r"needs the package openai; pip install 'autogpt-lm\[llm\]'"):
        Endpoint("http://127.0.0.1:1/v1", "m").complete(HELLO)


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:8080",
        "ftp://127.0.0.1/v1",
        "http://",
        "http://[::1/v1",
        "http://127.0.0.1:port/v1",
        f"http://me:{SECRET}@127.0.0.1/v1",
        f"http://127.0.0.1/v1?key={SECRET}",
    ],
)
def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(ConfigError, match="AUTOGPT_LLM_URL is no address") as caught:
        Endpoint(url)
    assert SECRET not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("key", ["two words", "line\nbreak", "schlüssel", "nul\0"])
def test_a_key_that_no_header_can_carry(key: str) -> None:
    with pytest.raises(ConfigError, match="AUTOGPT_LLM_KEY holds") as caught:
        Endpoint("http://127.0.0.1/v1", "m", key)
    assert isinstance(caught.value, AutoGPTError)
    assert key not in str(caught.value)
