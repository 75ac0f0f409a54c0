"""Cameras of this machine: servers that want a user name and a password, and remember what arrived."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.server
import os
import re
import socketserver
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

Kind = Callable[..., Any]
BASIC, DIGEST = 'Basic realm="cam"', 'Digest realm="cam", nonce="abc"'


class CameraServer(socketserver.ThreadingTCPServer):
    """`asked` holds request line and Authorization of each request; `answer` is given to who is authorized."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, handler: type[socketserver.BaseRequestHandler], **settings: Any) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.asked: list[tuple[str, str | None]] = []
        self.challenge: str | None = settings.pop("challenge", None)
        self.status: int = settings.pop("status", 200)
        self.body: bytes = settings.pop("body", b"")
        self.headers: dict[str, str] = settings.pop("headers", {})
        assert not settings

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"

    def handle_error(self, *_: object) -> None:
        """A client that went away."""

    @property
    def credentials(self) -> str | None:
        """What arrived last of Basic's user and password."""
        sent = self.asked[-1][1]
        return base64.b64decode(sent.removeprefix("Basic ")).decode() if sent else None


class HttpCamera(http.server.BaseHTTPRequestHandler):
    server: CameraServer

    def do_GET(self) -> None:
        sent = self.headers.get("Authorization")
        self.server.asked.append((self.requestline, sent))
        wanted = self.server.challenge is not None and sent is None
        self.send_response(401 if wanted else self.server.status)
        if wanted:
            self.send_header("WWW-Authenticate", str(self.server.challenge))
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        body = b"" if wanted else self.server.body
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Silence."""


class RtspCamera(socketserver.StreamRequestHandler):
    """As far as DESCRIBE, which it answers with its status."""

    server: CameraServer

    def handle(self) -> None:
        while request := self.rfile.readline().decode().strip():
            lines = list(iter(lambda: self.rfile.readline().decode().strip(), ""))
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            sent = headers.get("authorization")
            self.server.asked.append((request, sent))
            status, more = self.server.status, ""
            if request.startswith("OPTIONS"):
                status, more = 200, "Public: DESCRIBE\r\n"
            elif self.server.challenge is not None and sent is None:
                status, more = 401, f"WWW-Authenticate: {self.server.challenge}\r\n"
            answer = f"RTSP/1.0 {status} Answer\r\nCSeq: {headers.get('cseq')}\r\n{more}\r\n"
            self.wfile.write(answer.encode())


@contextmanager
def serving(handler: type[socketserver.BaseRequestHandler], **settings: Any) -> Iterator[CameraServer]:
    with CameraServer(handler, **settings) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def digest_fits(request: str, authorization: str, user: str, password: str) -> bool:
    """Is the digest (RFC 2617, without qop) of this user and password, for the path that was really asked for?"""
    fields = dict(re.findall(r'(\w+)="([^"]*)"', authorization))
    method, path, _ = request.split(" ")
    first = _md5(f"{user}:{fields['realm']}:{password}")
    wanted = _md5(f"{first}:{fields['nonce']}:{_md5(f'{method}:{path}')}")
    return (fields["username"], fields["uri"], fields["response"]) == (user, path, wanted)


def _md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()


@contextmanager
def closed_port() -> Iterator[str]:
    """`host:port` of a port that refuses."""
    with contextlib.closing(socketserver.socket.socket()) as unused:
        unused.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{unused.getsockname()[1]}"


_RTSP_SERVER = """
import sys
import gi
gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer
Gst.init(None)
factory = GstRtspServer.RTSPMediaFactory()
factory.set_launch(
    "( videotestsrc is-live=true ! video/x-raw,width=160,height=120,framerate=20/1 "
    "! x264enc tune=zerolatency key-int-max=5 speed-preset=ultrafast ! rtph264pay name=pay0 pt=96 )"
)
server = GstRtspServer.RTSPServer()
server.set_address("127.0.0.1")
server.set_service(sys.argv[1])
server.get_mount_points().add_factory("/cam", factory)
server.attach(None)
print(server.get_bound_port(), flush=True)
GLib.MainLoop().run()
"""
SYSTEM_PYTHON = (
    "/usr/bin/python3"  # which has PyGObject: apt install gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-ugly
)


class RtspServer:
    """A real one, 20 frames a second, in a process of its own that can die, come back and fall silent."""

    def __init__(self) -> None:
        self._port = 0
        self.start()

    @property
    def url(self) -> str:
        return f"rtsp://127.0.0.1:{self._port}/cam"

    def start(self) -> None:
        """On the port that it had before."""
        command = [SYSTEM_PYTHON, "-c", _RTSP_SERVER, str(self._port)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self.process.stdout is not None
        line = self.process.stdout.readline().strip()
        if not line:
            self.kill()
            pytest.skip("the system's Python has no GStreamer RTSP server")
        self._port = int(line)

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def rtsp_server() -> Iterator[RtspServer]:
    if not os.path.exists(SYSTEM_PYTHON):
        pytest.skip(f"no {SYSTEM_PYTHON}")
    server = RtspServer()
    yield server
    server.kill()
