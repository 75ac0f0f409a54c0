"""A language model behind the OpenAI chat protocol: Ollama, vLLM, llama.cpp, or OpenAI itself.

What the caller can correct (address, key, model) is a UsageError; a server that cannot be reached, fails, or answers
without end is an EnvironmentFailure.
"""

from __future__ import annotations

import functools
import ipaddress
import json
import os
import re
import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, urlsplit, urlunsplit

import httpx

from stprompt_edge.errors import EnvironmentFailure, StpromptEdgeError, UsageError, nearest
from stprompt_edge.masking import masked_address

KEY_VARIABLE = "OPENAI_API_KEY"
MAX_ANSWER_BYTES = 8 * 2**20  # a catalogue of hundreds of models is 1 MB, an answer some kB
CONNECT_TIMEOUT_S = 10.0  # a wrong address is known soon, however long an answer may take
ANSWER_TIMEOUT_S = 300.0  # a model on a slow CPU thinks for minutes
_NO_LIST = (404, 405, 501)  # of a server that answers questions, and lists no models
_LOADING = 503  # llama.cpp's status while it loads the model


def key_from_environment() -> str | None:
    """The API key, or None; the only place that reads it."""
    return os.environ.get(KEY_VARIABLE, "").strip() or None


@dataclass(frozen=True, kw_only=True)
class ChatServer:
    """An address and how to talk to it.

    Args:
        url: as a user types it: with or without /v1 and /chat/completions.
        key: sent as a bearer token; None for servers without keys.
        timeout_s: seconds for a whole answer.

    Raises:
        UsageError: `url` is not an HTTP address.
    """

    url: str
    key: str | None = field(default=None, repr=False)
    timeout_s: float = ANSWER_TIMEOUT_S

    def __post_init__(self) -> None:
        object.__setattr__(self, "url", base_url(self.url))
        if self.key and not (self.key.isascii() and self.key.isprintable()):
            raise UsageError(f"{KEY_VARIABLE} holds more than a key", remedy="set it to the key alone, on one line")

    def models(self) -> tuple[str, ...]:
        """Names of the models that the server lists, in its order.

        Raises:
            UsageError, EnvironmentFailure: as `ask`.
        """
        listed = self._json("/models", None)
        entries = listed.get("data") if isinstance(listed, Mapping) else None
        names = [entry.get("id") for entry in entries or () if isinstance(entry, Mapping)]
        return tuple(name for name in names if isinstance(name, str) and name.strip())

    def pick_model(self) -> str:
        """The first listed model that is not one for embeddings, which cannot answer.

        Raises:
            UsageError: there is none. Also as `ask`.
        """
        try:
            names = self.models()
        except UsageError as exc:
            cause = exc.__cause__
            if not (isinstance(cause, httpx.HTTPStatusError) and cause.response.status_code in _NO_LIST):
                raise
            names = ()
        chatting = [name for name in names if "embed" not in name.casefold()]
        if not chatting:
            what = f"{self.url} lists no model" + (f" that can answer, only {', '.join(names[:5])}" if names else "")
            raise UsageError(what, remedy="name one: --model NAME")
        return chatting[0]

    def ask(self, model: str, messages: Sequence[Mapping[str, str]]) -> str:
        """One answer, as text; empty when the model said nothing.

        Args:
            model: a name the server knows.
            messages: `role` and `content` of each.

        Raises:
            UsageError: wrong address, key or model.
            EnvironmentFailure: the server cannot be reached, fails, takes too long or answers without end.
        """
        # no temperature and no token limit: some models refuse one or the other
        body = {"model": model, "messages": list(messages), "stream": False}
        try:
            answer = self._json("/chat/completions", body)
        except UsageError as exc:
            raise self._unknown_model(model, exc) from exc.__cause__
        problem = _error_text(answer)
        if problem is not None:  # some servers report errors with status 200
            what = f"{self.url} refuses: {problem}"
            raise self._unknown_model(model, UsageError(what, remedy="see its log; pass another --model"))
        try:
            content = answer["choices"][0]["message"]["content"]
        except (KeyError, IndexError, TypeError) as exc:
            raise _no_chat_server(self.url, f"its answer has no choices[0].message.content: {_short(answer)}") from exc
        return _text_of(content)

    def _unknown_model(self, model: str, error: UsageError) -> UsageError:
        """The same error, with the models there are when it seems to be about the model."""
        if not re.search(r"model|404", error.what):
            return error
        try:
            names = self.models()
        except StpromptEdgeError:
            names = ()
        if not names or model in names:
            return error
        return UsageError(f"{self.url} has no model '{model}'", remedy=f"--model NAME; {nearest(model, names)}")

    def _json(self, path: str, body: Mapping[str, Any] | None) -> Any:
        content = self._fetch(httpx.Request("GET" if body is None else "POST", self.url + path, json=body))
        try:
            return json.loads(content)
        except (ValueError, RecursionError) as exc:
            kind = "HTML" if content.lstrip()[:1] == b"<" else "something else" if content.strip() else "nothing"
            raise _no_chat_server(self.url, f"it answers with {kind} instead of JSON") from exc

    def _fetch(self, request: httpx.Request) -> bytes:
        """The body of a successful answer. The proxy is the environment's, but for this very machine none."""
        request.headers.update({"Accept": "application/json", "User-Agent": "stprompt-edge"})
        if self.key:
            request.headers["Authorization"] = f"Bearer {self.key}"
        content = bytearray()
        timeout = httpx.Timeout(self.timeout_s, connect=min(self.timeout_s, CONNECT_TIMEOUT_S))
        request.extensions["timeout"] = timeout.as_dict()
        try:
            with _client(request.url.host) as client:
                deadline = time.monotonic() + self.timeout_s
                response = client.send(request, stream=True)
                for chunk in response.iter_bytes():
                    content += chunk
                    if len(content) > MAX_ANSWER_BYTES:
                        what = f"{self.url} answers without end: over {MAX_ANSWER_BYTES >> 20} MiB"
                        raise EnvironmentFailure(what, remedy="pass another --model")
                    if time.monotonic() > deadline:
                        raise httpx.ReadTimeout("")
                response.raise_for_status()
        except httpx.HTTPStatusError as exc:
            raise _refused(self.url, exc.response, bytes(content)) from exc
        except httpx.HTTPError as exc:
            raise _unreachable(self.url, exc, self.timeout_s) from exc
        return bytes(content)


def base_url(url: str) -> str:
    """What stands before /models and /chat/completions.

    >>> base_url("localhost:11434")
    'http://localhost:11434/v1'
    >>> base_url("https://api.openai.com/v1/chat/completions")
    'https://api.openai.com/v1'

    Raises:
        UsageError: not an HTTP address, or one with a password or a query in it.
    """
    text = url.strip()
    if not re.match(r"[A-Za-z]+:/", text):
        text = f"http://{text}"
    if "@" in text or "?" in text:  # not repeated here: it may be a secret
        what = "--url holds a user name, a password or a query"
        raise UsageError(what, remedy=f"give the address alone, and a key in the variable {KEY_VARIABLE}")
    shown = masked_address(text)
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:  # it repeats what seems to be the port
        remedy = "for example http://localhost:11434"
        raise UsageError(f"--url '{shown}' is not an address: no port or host", remedy=remedy) from None
    if parts.scheme not in ("http", "https") or not host or not text.isascii() or not text.isprintable() or " " in text:
        raise UsageError(f"--url '{shown}' is not an HTTP address", remedy="for example http://localhost:11434")
    return urlunsplit(parts._replace(path=_base_path(parts), fragment=""))


def _base_path(parts: SplitResult) -> str:
    path = parts.path.rstrip("/")
    for end in ("/chat/completions", "/models"):
        if path.endswith(end):
            return path.removesuffix(end)
    has_version = any(re.fullmatch(r"v\d\w*", part) for part in path.split("/"))
    return path if has_version else f"{path}/v1"


_system_certificates = functools.cache(ssl.create_default_context)


def _client(host: str) -> httpx.Client:
    """Follows no redirect: the key must not go elsewhere."""
    try:
        local = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = False
    try:
        return httpx.Client(verify=_system_certificates(), trust_env=not local)
    except (ImportError, ValueError, httpx.InvalidURL) as exc:
        what = f"the proxy that the environment names cannot be used: {_short(str(exc))}"
        raise EnvironmentFailure(what, remedy="correct or unset http_proxy, https_proxy and all_proxy") from exc


def _refused(url: str, response: httpx.Response, content: bytes) -> StpromptEdgeError:
    """The error for a status that is not success, with what the server says of it."""
    try:
        said = _error_text(json.loads(content)) or ""
    except ValueError:  # an HTML page
        said = ""
    code = response.status_code
    status = f"{url} answers {code} {_short(response.reason_phrase)}".rstrip() + (f": {said}" if said else "")
    if code in (401, 403):
        return UsageError(status, remedy=f"put a key that this server takes into the variable {KEY_VARIABLE}")
    if 300 <= code < 400:
        target = _short(response.headers.get("Location", "nowhere"))
        return UsageError(f"{status} (to {target})", remedy="pass that as --url")
    if code == 429 or code >= 500:
        again = "wait until the model is loaded" if code == _LOADING else "see the server's log"
        return EnvironmentFailure(status, remedy=f"{again}, then run again")
    return UsageError(status, remedy="check --url and --model: it must be the address of an OpenAI-compatible server")


def _unreachable(url: str, exc: httpx.HTTPError, timeout_s: float) -> EnvironmentFailure:
    if isinstance(exc, httpx.TimeoutException):
        what = f"{url} gives no whole answer in {timeout_s:g} s"
        return EnvironmentFailure(what, remedy="check the address, try a smaller model, or raise --timeout")
    text = _short(re.sub(r"^\[Errno -?\d+\] ", "", str(exc))) or type(exc).__name__
    return EnvironmentFailure(
        f"cannot reach {url}: {text}", remedy="start the server (for Ollama: `ollama serve`), or correct --url"
    )


def _error_text(answer: Any) -> str | None:
    """The message of an error in any of the forms that servers use; None when it is none."""
    if not isinstance(answer, Mapping) or "choices" in answer:
        return None
    for key in ("error", "detail", "message"):  # OpenAI and llama.cpp, or Ollama; FastAPI's; vLLM's old one
        found = answer.get(key)
        if isinstance(found, Mapping):
            found = found.get("message", found)
        if found:
            return _short(found)
    return None


def _short(found: Any) -> str:
    text = " ".join((found if isinstance(found, str) else json.dumps(found)).split())
    return "".join(c for c in text if c.isprintable())[:200]


def _text_of(content: Any) -> str:
    if isinstance(content, list):  # parts
        content = "".join(str(part.get("text", "")) for part in content if isinstance(part, Mapping))
    return content if isinstance(content, str) else ""


def _no_chat_server(url: str, found: str) -> UsageError:
    return UsageError(f"{url} is no OpenAI-compatible server: {found}", remedy="check --url, its port and path")
