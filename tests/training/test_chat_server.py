"""Against a real HTTP server in this process, well and badly behaved."""

from __future__ import annotations

import socket

import pytest

from stprompt_edge.errors import EnvironmentFailure, StpromptEdgeError, UsageError
from stprompt_edge.training import chat_server
from stprompt_edge.training.chat_server import ChatServer, base_url, key_from_environment
from tests.training.chat import Handler, Reply, lists, reply, says, serving

CHAT, MODELS = "/v1/chat/completions", "/v1/models"
MESSAGES = [{"role": "user", "content": "hello"}]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("localhost:11434", "http://localhost:11434/v1"),
        (" http://h/ ", "http://h/v1"),
        ("HTTPS://h/v1", "https://h/v1"),
        ("http://h/v1/", "http://h/v1"),
        ("http://h/v1/chat/completions", "http://h/v1"),
        ("http://h/chat/completions/", "http://h"),
        ("http://h/v1/models", "http://h/v1"),
        ("http://h/api", "http://h/api/v1"),
        ("https://h/v1beta/openai/", "https://h/v1beta/openai"),
        ("http://[::1]:8080/v1", "http://[::1]:8080/v1"),
    ],
)
def test_addresses(url: str, expected: str) -> None:
    assert base_url(url) == expected


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", "not an HTTP address"),
        ("http://", "not an HTTP address"),
        ("http:/localhost", "not an HTTP address"),
        ("file:///etc/passwd", "not an HTTP address"),
        ("ftp://h", "not an HTTP address"),
        ("http://h\n/v1", "not an HTTP address"),
        ("http://a b/v1", "not an HTTP address"),
        ("http://bücher/v1", "not an HTTP address"),
        ("http://h:port", "not an address"),
        ("http://[::1", "not an address"),
        ("http://me:secret@h", "holds a user name, a password or a query"),
        ("http://h/v1?key=secret", "holds a user name, a password or a query"),
    ],
)
def test_what_is_no_address(url: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        ChatServer(url=url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("path", ["", "/", "/v1", "/v1/chat/completions"])
def test_asks_with_the_key(path: str) -> None:
    with serving({CHAT: says("hello you"), MODELS: lists("m")}) as server:
        chat = ChatServer(url=server.url + path, key="k-1")
        assert chat.models() == ("m",)
        assert chat.ask("m", MESSAGES) == "hello you"
    (_, _, first), (asked_path, body, headers) = server.asked
    assert asked_path == CHAT
    assert body == {"model": "m", "messages": MESSAGES, "stream": False}
    assert first["Authorization"] == headers["Authorization"] == "Bearer k-1"
    assert "k-1" not in repr(chat)


def test_without_a_key_none_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    assert key_from_environment() is None
    with serving({CHAT: says("x")}) as server:
        ChatServer(url=server.url).ask("m", MESSAGES)
    assert "Authorization" not in server.asked[0][2]
    monkeypatch.setenv("OPENAI_API_KEY", " k \n")
    assert key_from_environment() == "k"


@pytest.mark.parametrize("key", ["a\nb", "schlüssel"])
def test_a_key_that_no_header_takes(key: str) -> None:
    with pytest.raises(UsageError, match="OPENAI_API_KEY holds more than a key"):
        ChatServer(url="h", key=key)


@pytest.mark.parametrize(
    ("content", "expected"),
    [("", ""), (None, ""), ([{"type": "text", "text": "a"}, {"text": "b"}, 3], "ab"), (7, "")],
)
def test_forms_of_an_answer(content: object, expected: str) -> None:
    with serving({CHAT: says(content)}) as server:
        assert ChatServer(url=server.url).ask("m", MESSAGES) == expected


def endless(handler: Handler) -> None:
    handler.send_response(200)
    handler.end_headers()
    while not handler.server.over.is_set():
        handler.wfile.write(b" " * 65536)


def dripping(handler: Handler) -> None:
    handler.send_response(200)
    handler.end_headers()
    while not handler.server.over.wait(0.02):
        handler.wfile.write(b" ")


def silent(handler: Handler) -> None:
    handler.server.over.wait(5)


def cut_off(handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"choices": [')


def hanging_up(handler: Handler) -> None:
    handler.close_connection = True


def no_http(handler: Handler) -> None:
    handler.wfile.write(b"SSH-2.0-OpenSSH_9.6\r\n")


UNKNOWN = {"error": {"message": "model 'x' not found", "type": "not_found_error"}}


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (
            reply({"error": {"message": "Incorrect API key"}}, 401),
            UsageError,
            r"401.*Incorrect API key\n.*OPENAI_API_KEY",
        ),
        (reply({"error": "no"}, 403), UsageError, r"403.*: no\n.*OPENAI_API_KEY"),
        (reply(b"404 page not found", 404), UsageError, r"answers 404 Not Found\n.*check --url and --model"),
        (reply(UNKNOWN, 404), UsageError, r"404.*model 'x' not found"),
        (reply({"detail": "model x is not here"}, 400), UsageError, r"400.*model x is not here"),
        (reply(b"<html>no</html>", 405, "text/html"), UsageError, r"answers 405 Method Not Allowed\n"),
        (reply(b"", 302, Location="http://elsewhere/v1"), UsageError, r"302.*to http://elsewhere/v1.*\n.*pass that"),
        (reply(b"", 308, Location="/v2"), UsageError, r"308.*to /v2.*\n.*pass that as --url"),
        (reply({"error": "slow down"}, 429), EnvironmentFailure, r"429.*slow down\n.*then run again"),
        (reply({"error": {"message": "Loading model"}}, 503), EnvironmentFailure, r"503.*Loading model\n.*is loaded"),
        (reply({"error": {"code": 1}}, 500), EnvironmentFailure, r"500.*\{\"code\": 1\}\n.*server's log"),
        (reply(b"\xff" * 9000, 500), EnvironmentFailure, r"answers 500 Internal Server Error\n"),
        (reply({"message": "The model `x` does not exist.", "object": "error"}), UsageError, r"refuses: The model"),
        (reply(b"<!doctype html><html>", 200, "text/html"), UsageError, "no OpenAI-compatible server: .* HTML instead"),
        (reply(b"hello"), UsageError, "something else instead of JSON"),
        (reply(b"[" * 100_000), UsageError, "something else instead of JSON"),
        (reply(b""), UsageError, "nothing instead of JSON"),
        (cut_off, EnvironmentFailure, "cannot reach .*without sending complete message body"),
        (reply({}), UsageError, r"no choices\[0\].message.content: \{\}"),
        (reply({"choices": []}), UsageError, r"no choices\[0\]"),
        (reply([1]), UsageError, r"no choices\[0\].*\[1\]"),
        (reply("text"), UsageError, r"no choices\[0\].*text"),
        (hanging_up, EnvironmentFailure, "cannot reach .*: Server disconnected"),
        (no_http, EnvironmentFailure, "cannot reach .*: Server disconnected"),
        (endless, EnvironmentFailure, r"answers without end: over 0 MiB\n.*--model"),
        (dripping, EnvironmentFailure, r"no whole answer in 0.3 s\n.*--timeout"),
        (silent, EnvironmentFailure, r"no whole answer in 0.3 s\n.*--timeout"),
    ],
)
def test_bad_answers(
    answer: Reply, error: type[StpromptEdgeError], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat_server, "MAX_ANSWER_BYTES", 200_000)
    with serving({CHAT: answer}) as server, pytest.raises(error, match=message) as caught:
        ChatServer(url=server.url, key="k-1", timeout_s=0.3).ask("x", MESSAGES)
    assert len(str(caught.value).splitlines()) == 2
    assert "k-1" not in str(caught.value)


def test_an_unknown_model_is_answered_with_the_known_ones() -> None:
    replies: dict = {CHAT: reply(UNKNOWN, 404), MODELS: lists("llama3.2:3b", "qwen3")}
    with serving(replies) as server, pytest.raises(UsageError, match=r"no model 'llama3'\n.*mean 'llama3.2:3b'"):
        ChatServer(url=server.url).ask("llama3", MESSAGES)
    with serving(replies) as server, pytest.raises(UsageError, match="model 'x' not found"):  # listed, yet refused
        ChatServer(url=server.url).ask("qwen3", MESSAGES)


def test_an_error_about_something_else_stays_as_it_is() -> None:
    with serving({CHAT: reply({"error": "too long"}, 400), MODELS: lists("m")}) as server:
        with pytest.raises(UsageError, match="400 Bad Request: too long"):
            ChatServer(url=server.url).ask("x", MESSAGES)
        assert [path for path, _, _ in server.asked] == [CHAT]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [(lists("a", "b"), "a"), (lists("nomic-embed-text", "", None, "qwen3"), "qwen3")],
)
def test_the_first_model_that_can_answer(answer: Reply, expected: str) -> None:
    with serving({MODELS: answer}) as server:
        assert ChatServer(url=server.url).pick_model() == expected


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lists(), r"lists no model\n.*--model NAME"),
        (lists("bge-embedding"), r"lists no model that can answer, only bge-embedding\n"),
        (reply([]), "lists no model"),
        (reply({"data": [3]}), "lists no model"),
        (reply(b"404 page not found", 404), r"lists no model\n.*--model NAME"),
        (reply({"error": "key"}, 401), "401 Unauthorized: key"),
    ],
)
def test_no_model_to_pick(answer: Reply, message: str) -> None:
    with serving({MODELS: answer}) as server, pytest.raises(UsageError, match=message):
        ChatServer(url=server.url).pick_model()


def test_nobody_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(EnvironmentFailure, match=r"cannot reach .*Connection refused\n.*start the server"):
            ChatServer(url=url).models()


def test_a_host_that_does_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    def lookup(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    with pytest.raises(EnvironmentFailure, match="cannot reach http://nowhere/v1: Name or service not known"):
        ChatServer(url="nowhere").models()


def test_plain_http_where_tls_is_spoken() -> None:
    with serving({MODELS: lists("m")}) as server, pytest.raises(EnvironmentFailure, match=r"cannot reach .*SSL"):
        ChatServer(url=server.url.replace("http:", "https:")).models()


def test_connecting_has_a_short_time_out_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def connect(address: object, timeout: float, **_: object) -> None:
        seen.append(timeout)
        raise TimeoutError

    monkeypatch.setattr(socket, "create_connection", connect)
    with pytest.raises(EnvironmentFailure, match="no whole answer"):
        ChatServer(url="https://h", timeout_s=300).models()
    assert seen == [chat_server.CONNECT_TIMEOUT_S]


def test_no_proxy_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    with serving({MODELS: lists("m")}) as server:
        assert ChatServer(url=server.url).models() == ("m",)
        assert ChatServer(url=server.url.replace("127.0.0.1", "localhost")).models() == ("m",)
    with pytest.raises(
        EnvironmentFailure, match="cannot reach http://nowhere"
    ):  # through the proxy, which is not there
        ChatServer(url="http://nowhere").models()
    monkeypatch.setenv("http_proxy", "gopher://127.0.0.1:9")
    with pytest.raises(EnvironmentFailure, match=r"proxy that the environment names cannot be used.*\n.*http_proxy"):
        ChatServer(url="http://nowhere").models()
