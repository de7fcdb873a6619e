"""The one place that talks to a language model behind an OpenAI-compatible endpoint.

`llama.cpp`, vLLM, Ollama and the hosted services all answer the chat completions of that protocol; the official client
(the extra `llm`) speaks it, and is imported when the first answer is asked for. Settings come from the environment,
because options are written into run folders and a key must not be: `AUTOGPT_LLM_URL`, `AUTOGPT_LLM_MODEL` (the first
one that the endpoint lists where it is not set) and `AUTOGPT_LLM_KEY` (none where it is not set).
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from autogpt.config import offline
from autogpt.errors import ConfigError, EndpointError

if TYPE_CHECKING:
    import openai

__all__ = ["KEY", "MODEL", "URL", "Endpoint"]

URL, MODEL, KEY = "AUTOGPT_LLM_URL", "AUTOGPT_LLM_MODEL", "AUTOGPT_LLM_KEY"
"""The environment variables."""

SHOWN = 200
"""Most characters of a server's own words in an error."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a language model answers.

    Attributes:
        url: up to and including the version, such as `http://127.0.0.1:8080/v1`.
        model: as the endpoint names it; empty for the first one that it lists.
        key: sent as a bearer token and shown nowhere; empty for none.

    Raises ConfigError for a URL that is none or holds a password or a query, and for a key with characters that no
    header can carry. Nothing is sent before `complete`.
    """

    url: str
    model: str = ""
    key: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        if not _is_plain_url(self.url):  # not shown: what should not stand in it may be a secret
            raise ConfigError(
                f"{URL} is no address of an endpoint",
                expected="such as http://127.0.0.1:8080/v1, without a password and without a query",
                todo=f"a key belongs into {KEY}",
            )
        if not (self.key.isascii() and self.key.isprintable()) or " " in self.key:
            raise ConfigError(f"{KEY} holds characters that no key has", expected="printable ASCII without spaces")

    @classmethod
    def from_environment(cls) -> Endpoint | None:
        """The endpoint that the environment names; None when `AUTOGPT_LLM_URL` is not set."""
        url, model, key = (os.environ.get(name, "").strip() for name in (URL, MODEL, KEY))
        return cls(url, model, key) if url else None

    @property
    def is_loopback(self) -> bool:
        """Whether it is on this machine, so that asking it needs no network."""
        host = urlsplit(self.url).hostname or ""
        try:
            return host == "localhost" or ipaddress.ip_address(host).is_loopback
        except ValueError:  # a name, not an address
            return False

    def check(self) -> None:
        """Raises ConfigError when it could not be asked: forbidden by `AUTOGPT_OFFLINE`, or the client is missing."""
        if offline() and not self.is_loopback:
            raise ConfigError(
                "AUTOGPT_OFFLINE forbids the network, and the language model is elsewhere",
                found=f"{URL}={self.url}",
                todo=f"unset AUTOGPT_OFFLINE, or let {URL} name this machine",
            )
        _client_package()

    def complete(
        self,
        messages: Sequence[Mapping[str, str]],
        *,
        schema: Mapping[str, Any] | None = None,
        temperature: float = 0.0,
        max_tokens: int = 1024,
        timeout_s: float = 60.0,
        seed: int | None = None,
    ) -> str:
        """The model's answer to a conversation.

        Args:
            messages: each with its `role` (system, user, assistant) and `content`.
            schema: JSON schema that the answer shall follow. A server that refuses it (400, 422) is asked again for
                plain text, and few servers hold their model to every keyword, so the answer must be checked.
            temperature: 0 for the likeliest answer.
            max_tokens: most tokens of the answer; a longer one is cut off.
            timeout_s: seconds without a sign of life, not of the whole answer.
            seed: of the model's draws, where the server heeds it.

        Nothing is tried again, streamed or cached here. Raises ConfigError as `check` does, and EndpointError when the
        endpoint cannot be reached, refuses, fails, or answers with nothing.
        """
        self.check()
        asked: dict[str, Any] = {
            "messages": [dict(message) for message in messages],
            "temperature": temperature,
            "max_tokens": max_tokens,
            **({} if seed is None else {"seed": seed}),
        }
        with self._failures_told(timeout_s), self._client(timeout_s) as client:
            answer = _created(client, {"model": self.model or self._first_model(client), **asked}, schema)
        text = _text(answer)
        if not text:
            raise EndpointError(f"the language model at {self.url} gave an empty answer")
        return text

    def _client(self, timeout_s: float) -> openai.OpenAI:
        package = _client_package()
        # The client would take what is missing here from the variables of another service, and send it.
        foreign: Any = {"OpenAI-Organization": package.Omit(), "OpenAI-Project": package.Omit()}
        token = self.key or "none"
        # A proxy cannot reach this machine's own addresses, and a redirect could lead away from them.
        http = package.DefaultHttpxClient(trust_env=not self.is_loopback, follow_redirects=False)
        client: openai.OpenAI = package.OpenAI(
            base_url=self.url,
            api_key=token,
            default_headers={"Authorization": f"Bearer {token}", **foreign},
            timeout=timeout_s,
            max_retries=0,
            http_client=http,
        )
        return client

    def _first_model(self, client: openai.OpenAI) -> str:
        answer = client.get("/models", cast_to=object)  # `client.models.list` trips over what is no list
        listed = answer.get("data") if isinstance(answer, dict) else None
        first = listed[0] if isinstance(listed, list) and listed else None
        name = first.get("id") if isinstance(first, dict) else None
        if not isinstance(name, str) or not name:
            raise EndpointError(f"the endpoint at {self.url} lists no models", todo=f"name one in {MODEL}")
        return name

    @contextmanager
    def _failures_told(self, timeout_s: float) -> Iterator[None]:
        """What the client raises inside becomes an EndpointError, without its cause, which may hold the key."""
        package = _client_package()
        try:
            yield
        except package.APITimeoutError:
            raise EndpointError(
                f"the language model at {self.url} did not answer", expected=f"a sign of life within {timeout_s:g} s"
            ) from None
        except package.APIConnectionError as error:
            raise EndpointError(
                f"the language model at {self.url} cannot be reached",
                found=self._shown(str(error.__cause__ or error)),
                todo=f"see that it runs and that {URL} is right",
            ) from None
        except package.APIStatusError as error:
            raise self._refusal(error.status_code, error.response.text) from None
        except (package.OpenAIError, ValueError) as error:  # ValueError: what calls itself JSON is none
            raise EndpointError(
                f"the endpoint at {self.url} gave no readable answer", found=self._shown(str(error))
            ) from None

    def _refusal(self, status: int, words: str) -> EndpointError:
        if status in (401, 403):  # its words are left out: they often quote a part of the key
            todo = f"set {KEY}" if not self.key else f"see that {KEY} is right"
            return EndpointError(f"the endpoint at {self.url} refuses access ({status})", todo=todo)
        todo = f"see that {URL} and {MODEL} are right" if status == 404 else ""
        return EndpointError(f"the endpoint at {self.url} answered {status}", found=self._shown(words), todo=todo)

    def _shown(self, words: str) -> str:
        hidden = words.replace(self.key, "***") if self.key else words
        return hidden if len(hidden) <= SHOWN else hidden[:SHOWN] + "…"


def _is_plain_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises ValueError when it is no port
    except ValueError:
        return False
    secret = "@" in parts.netloc or parts.query or parts.fragment
    return parts.scheme in ("http", "https") and bool(parts.hostname) and not secret


def _client_package() -> ModuleType:
    try:
        import openai
    except ImportError as error:
        raise ConfigError(
            "asking a language model needs the package openai", todo="pip install 'autogpt-lm[llm]'"
        ) from error
    return openai


def _created(client: openai.OpenAI, asked: Mapping[str, Any], schema: Mapping[str, Any] | None) -> object:
    create: Any = client.chat.completions.create  # its overloads name every option; ours come as one mapping
    if schema is not None:
        package = _client_package()
        form = {"name": "answer", "schema": dict(schema), "strict": True}
        try:
            return create(**asked, response_format={"type": "json_schema", "json_schema": form})
        except (package.BadRequestError, package.UnprocessableEntityError):
            pass  # if it was not the schema, the plain question says so
    return create(**asked)


def _text(answer: object) -> str:
    """The content of the first choice; empty where there is none. The client does not check what servers send."""
    choices = getattr(answer, "choices", None)
    message = getattr(choices[0], "message", None) if isinstance(choices, list) and choices else None
    content = getattr(message, "content", None)
    return content.strip() if isinstance(content, str) else ""
