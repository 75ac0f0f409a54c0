"""A real HTTP server in this process that answers as its test says, and remembers what it was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = Callable[["Handler"], None]


def reply(body: Any, status: int = 200, content_type: str = "application/json", **headers: str) -> Reply:
    """A whole answer; a body that is not bytes is sent as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()

    def send(handler: Handler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Type", content_type)
        handler.send_header("Content-Length", str(len(content)))
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(content)

    return send


def says(content: Any) -> Reply:
    """A chat completion."""
    return reply({"choices": [{"message": {"role": "assistant", "content": content}}]})


def lists(*names: Any) -> Reply:
    """GET /models."""
    return reply({"object": "list", "data": [{"id": name, "object": "model"} for name in names]})


class Server(ThreadingHTTPServer):
    """`replies` by path; a list is used up one by one, its last reply for ever."""

    daemon_threads = True

    def __init__(self, replies: dict[str, Reply | list[Reply]]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.replies = {path: list(entry) if isinstance(entry, list) else [entry] for path, entry in replies.items()}
        self.asked: list[tuple[str, Any, dict[str, str]]] = []  # path, body, headers
        self.over = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.asked.append((self.path, json.loads(body) if body else None, dict(self.headers)))
        replies = self.server.replies.get(self.path, [reply(b"404 page not found", 404, "text/plain")])
        try:
            (replies.pop(0) if len(replies) > 1 else replies[0])(self)
        except OSError:  # the client has had enough
            self.close_connection = True

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        """Silence."""


@contextmanager
def serving(replies: dict[str, Reply | list[Reply]]) -> Iterator[Server]:
    with Server(replies) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.over.set()
            server.shutdown()
            thread.join()
