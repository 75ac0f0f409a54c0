"""A URL that does not open says why, and what to do."""

from __future__ import annotations

import errno
import os
import socket
from typing import Any

import av.error
import pytest

from stprompt_edge.errors import SourceError
from stprompt_edge.runtime.sources import open_source
from stprompt_edge.runtime.sources.connecting import connection_failure, without_address
from tests.camera_servers import BASIC, HttpCamera, RtspCamera, closed_port, serving

CAMERAS = pytest.mark.parametrize(("scheme", "camera"), [("http", HttpCamera), ("rtsp", RtspCamera)])
REFUSED = "user name or password refused"


@CAMERAS
@pytest.mark.parametrize(
    ("typed", "settings", "what", "remedy"),
    [
        ("", {"challenge": BASIC}, f"{REFUSED}: there are none in the address", "write them as ://USER:PASSWORD@host/"),
        ("me:no@", {"challenge": BASIC, "status": 401}, REFUSED, "an account of their own"),
        ("me:50%25@", {"challenge": BASIC, "status": 401}, REFUSED, "write a % itself as %25"),
        ("", {"status": 403}, r"the server forbids it \(403\)", "the right to watch the stream"),
        ("", {"status": 404}, r"the server has nothing at this path \(404\)", "check what follows the host"),
        ("", {"status": 500}, r"the server fails \(5XX\)", "few viewers"),
        ("", {"status": 418}, r"the server refuses the request \(4XX\)", "the camera's manual"),
    ],
)
def test_what_the_server_says(
    scheme: str, camera: Any, typed: str, settings: dict[str, Any], what: str, remedy: str
) -> None:
    with serving(camera, **settings) as server, pytest.raises(SourceError) as caught:
        open_source(f"{scheme}://{typed}{server.host}/1", open_timeout_s=5)
    assert caught.value.exit_code == 4
    caught.match(rf"cannot open {scheme}://.*: .*{what}\n  fix: .*{remedy}")


@CAMERAS
def test_a_closed_port(scheme: str, camera: Any) -> None:
    with closed_port() as host, pytest.raises(SourceError, match=r"connection refused\n  fix: check the port"):
        open_source(f"{scheme}://{host}/1")


def test_a_web_page() -> None:
    with (
        serving(HttpCamera, body=b"<html>hello</html>") as server,
        pytest.raises(SourceError, match=r"answers, but not with a video .*\n  fix: .*not of a web page"),
    ):
        open_source(f"http://{server.host}/1")


def unknown(*_: object) -> None:
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


def failure(number: int, url: str = "rtsp://cam/1") -> av.error.FFmpegError:
    try:
        av.error.err_check(-number, url)
    except av.error.FFmpegError as exc:
        return exc
    raise AssertionError(number)


@pytest.mark.parametrize(
    ("number", "url", "what", "remedy"),
    [
        (errno.EHOSTUNREACH, "rtsp://cam/1", "no route to the host", "that the device is on"),
        (errno.ENETUNREACH, "http://cam/1", "no route to the host", "the network"),
        (errno.EIO, "rtsp://cam:554/1", "no such host name", "check its spelling, or write the IP address"),
        (errno.EIO, "http://me:1/2@cam/1", "no such host name", "if a part of it belongs to the password, .*%2F for /"),
        (errno.EIO, "https://127.0.0.1/1", "the encrypted connection fails", "this port speaks TLS"),
        (errno.EIO, "rtsp://[::1]:554/1", "Input/output error", "check the address"),
        (errno.ECONNRESET, "rtsp://127.0.0.1/1", "Connection reset by peer", "check the address"),
    ],
)
def test_what_the_network_says(monkeypatch: pytest.MonkeyPatch, number: int, url: str, what: str, remedy: str) -> None:
    if "cam" in url:
        monkeypatch.setattr(socket, "getaddrinfo", unknown)
    found = connection_failure("NAME", url, failure(number, url))
    assert isinstance(found, SourceError)
    assert found.what == f"cannot open NAME: {what}"
    with pytest.raises(SourceError, match=f"fix: .*{remedy}"):
        raise found


def test_a_protocol_that_this_ffmpeg_lacks() -> None:
    lacks = av.error.ProtocolNotFoundError(1, "Protocol not found", "srt://h:9")
    found = connection_failure("NAME", "srt://h:9", lacks)
    assert found is not None
    assert (found.what, found.remedy[:16]) == ("cannot open NAME: this FFmpeg has no srt", "use RTSP or HTTP")


def test_a_file_is_no_connection() -> None:
    assert connection_failure("a.mp4", "file:/a.mp4", failure(errno.ENOENT)) is None


@pytest.mark.parametrize("number", [errno.ECONNREFUSED, errno.EIO, errno.EINVAL])
def test_the_cause_in_a_traceback_has_no_address(number: int) -> None:
    cause = without_address(failure(number, "rtsp://me:Secret@h/1"), "rtsp://me:***@h/1")
    assert isinstance(cause, av.error.FFmpegError)
    assert os.strerror(number) in str(cause)
    assert "Secret" not in f"{cause} {cause!r} {cause.args}"
    assert "Secret" not in repr(without_address(ValueError("rtsp://me:Secret@h/1"), "x"))
