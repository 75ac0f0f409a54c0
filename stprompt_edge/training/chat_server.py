"""A language model behind the OpenAI chat protocol: Ollama, vLLM, llama.cpp, or OpenAI itself. Standard library only.

What the caller can correct (address, key, model) is a UsageError; a server that cannot be reached, fails, or answers
without end is an EnvironmentFailure.
"""

from __future__ import annotations

import http.client
import ipaddress
import json
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, urlsplit, urlunsplit

from stprompt_edge.errors import EnvironmentFailure, StpromptEdgeError, UsageError, nearest
from stprompt_edge.masking import masked_address

KEY_VARIABLE = "OPENAI_API_KEY"
MAX_ANSWER_BYTES = 8 * 2**20  # a catalogue of hundreds of models is 1 MB, an answer some kB
MAX_ERROR_BYTES = 4096  # of an error page, for the message
CONNECT_TIMEOUT_S = 10.0  # a wrong address is known soon, however long an answer may take
ANSWER_TIMEOUT_S = 300.0  # a model on a slow CPU thinks for minutes
_CHUNK_BYTES = 65536
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
            if not isinstance(exc.__cause__, urllib.error.HTTPError) or exc.__cause__.code not in (404, 405, 501):
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
        headers = {"Accept": "application/json", "User-Agent": "stprompt-edge"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        parts = urlsplit(self.url)
        request = urllib.request.Request(urlunsplit(parts._replace(path=parts.path + path)), data, headers)
        content = _fetch(self.url, request, self.timeout_s)
        try:
            return json.loads(content)
        except (ValueError, RecursionError) as exc:
            kind = "HTML" if content.lstrip()[:1] == b"<" else "something else" if content.strip() else "nothing"
            raise _no_chat_server(self.url, f"it answers with {kind} instead of JSON") from exc


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


def _fetch(url: str, request: urllib.request.Request, timeout_s: float) -> bytes:
    """The body of a successful answer."""
    deadline = time.monotonic() + timeout_s
    try:
        with _opener(url).open(request, timeout=timeout_s) as response:
            content = bytearray()
            while chunk := response.read1(_CHUNK_BYTES):
                content += chunk
                if len(content) > MAX_ANSWER_BYTES:
                    raise EnvironmentFailure(
                        f"{url} answers without end: over {MAX_ANSWER_BYTES >> 20} MiB", remedy="pass another --model"
                    )
                if time.monotonic() > deadline:
                    raise TimeoutError
            return bytes(content)
    except urllib.error.HTTPError as exc:
        with exc:
            raise _refused(url, exc) from exc
    except (OSError, http.client.HTTPException) as exc:  # URLError, timeouts and resets are OSErrors
        raise _unreachable(url, exc, timeout_s) from exc


def _refused(url: str, exc: urllib.error.HTTPError) -> StpromptEdgeError:
    """The error for a status that is not success, with what the server says of it."""
    said = _said(exc)
    status = f"{url} answers {exc.code} {_short(exc.reason)}".rstrip() + (f": {said}" if said else "")
    if exc.code in (401, 403):
        return UsageError(status, remedy=f"put a key that this server takes into the variable {KEY_VARIABLE}")
    if 300 <= exc.code < 400:  # not followed: the key must not go elsewhere
        target = _short(exc.headers.get("Location", "nowhere"))
        return UsageError(f"{status} (to {target})", remedy="pass that as --url")
    if exc.code == 429 or exc.code >= 500:
        again = "wait until the model is loaded" if exc.code == _LOADING else "see the server's log"
        return EnvironmentFailure(status, remedy=f"{again}, then run again")
    return UsageError(status, remedy="check --url and --model: it must be the address of an OpenAI-compatible server")


def _unreachable(url: str, exc: Exception, timeout_s: float) -> EnvironmentFailure:
    reason = exc.reason if isinstance(exc, urllib.error.URLError) else exc
    if isinstance(reason, TimeoutError):
        what = f"{url} gives no whole answer in {timeout_s:g} s"
        return EnvironmentFailure(what, remedy="check the address, try a smaller model, or raise --timeout")
    text = _short(getattr(reason, "strerror", None) or str(reason)) or type(reason).__name__
    return EnvironmentFailure(
        f"cannot reach {url}: {text}", remedy="start the server (for Ollama: `ollama serve`), or correct --url"
    )


def _said(exc: urllib.error.HTTPError) -> str:
    try:
        body = exc.read(MAX_ERROR_BYTES)
    except (OSError, http.client.HTTPException):
        return ""
    try:
        answer = json.loads(body)
    except ValueError:
        return ""  # an HTML page, or cut off
    return _error_text(answer) or ""


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


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """Followed by none: a redirect ends as an HTTPError."""


class _QuickConnect(http.client.HTTPConnection):
    """Connects within `CONNECT_TIMEOUT_S`, then has the whole time-out for the answer."""

    def connect(self) -> None:
        answer_s = self.timeout
        self.timeout = min(answer_s or CONNECT_TIMEOUT_S, CONNECT_TIMEOUT_S)
        super().connect()
        self.sock.settimeout(answer_s)


class _QuickConnectTls(_QuickConnect, http.client.HTTPSConnection):
    """The same through TLS."""


class _Http(urllib.request.HTTPHandler):
    def http_open(self, request: urllib.request.Request) -> Any:
        return self.do_open(_QuickConnect, request)


class _Https(urllib.request.HTTPSHandler):
    def https_open(self, request: urllib.request.Request) -> Any:
        return self.do_open(_QuickConnectTls, request)


def _opener(url: str) -> urllib.request.OpenerDirector:
    """Follows no redirect; goes through the environment's proxy, but not to this very machine."""
    proxies = [urllib.request.ProxyHandler({})] if _is_local(urlsplit(url).hostname or "") else []
    return urllib.request.build_opener(_NoRedirect, _Http, _Https, *proxies)


def _is_local(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
