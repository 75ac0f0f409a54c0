"""Recording or broadcast: what the protocol says decides, and a broadcast without stamps keeps the time of arrival."""

from __future__ import annotations

import contextlib
import http.server
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import takewhile
from pathlib import Path

import cv2
import pytest

from stprompt_edge.runtime.sources import open_source
from tests import videos
from tests.ffmpeg import ffmpeg, made, needs_ffmpeg

H264 = ("-c:v", "libx264", "-g", "50")


class Files(http.server.SimpleHTTPRequestHandler):
    """A folder over HTTP; what lies under /endless/ comes without its length."""

    def send_header(self, keyword: str, value: str) -> None:
        if keyword != "Content-Length" or "/endless/" not in self.path:
            super().send_header(keyword, value)

    def translate_path(self, path: str) -> str:
        return super().translate_path(path.replace("/endless/", "/"))

    def copyfile(self, source: object, outputfile: object) -> None:
        with contextlib.suppress(ConnectionError):  # the client went away
            super().copyfile(source, outputfile)  # type: ignore[misc]

    def log_message(self, *_: object) -> None:
        """Silence."""


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """The address of `tmp_path`."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Files, directory=str(tmp_path))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def without_duration(path: Path) -> Path:
    """A Matroska file as an interrupted recorder leaves it: written to a pipe, so its head was never completed."""
    command = ["-f", "lavfi", "-i", "testsrc2=size=160x120:rate=25:duration=6", *H264, "-f", "matroska", "-live", "1"]
    return ffmpeg(*command, path)


def playlist(path: Path, *, ended: bool) -> Path:
    whole = made(path.with_name("whole.ts"), *H264)
    ffmpeg("-i", whole, "-c", "copy", "-f", "hls", "-hls_time", "2", "-hls_list_size", "0", path)
    if not ended:
        path.write_text(path.read_text().replace("#EXT-X-ENDLIST\n", ""))
    return path


@needs_ffmpeg
@pytest.mark.parametrize(
    ("name", "write", "live"),
    [
        ("a.mkv", without_duration, False),
        ("endless/a.mkv", without_duration, True),
        ("a.mp4", lambda path: made(path, *H264, "-movflags", "faststart"), False),
        ("endless/a.mp4", lambda path: made(path, *H264, "-movflags", "faststart"), False),  # it has a duration
        ("endless/a.ts", lambda path: made(path, *H264), True),
        ("a.ts", lambda path: made(path, *H264), False),
        ("a.mjpeg", lambda path: made(path, "-c:v", "mjpeg"), False),
        ("a.h264", lambda path: made(path, *H264), False),
        ("a.m3u8", partial(playlist, ended=True), False),
    ],
)
def test_the_protocol_says_whether_it_ends(
    tmp_path: Path, served: str, name: str, write: Callable[[Path], Path], live: bool
) -> None:
    write(tmp_path / name.rpartition("/")[2])
    with open_source(f"{served}/{name}") as source:
        assert source.info.live is live
        if not live:
            assert len(list(source.frames(lambda index: True))) == 150
            assert source.warnings == []
    for asked in (True, False):
        with open_source(f"{served}/{name}", live=asked) as source:
            assert source.info.live is asked


@needs_ffmpeg
def test_a_playlist_without_an_end_is_a_broadcast(tmp_path: Path, served: str) -> None:
    playlist(tmp_path / "a.m3u8", ended=False)
    with open_source(f"{served}/a.m3u8") as source:
        assert source.info.live


@needs_ffmpeg
def test_a_broadcast_whose_playlist_gets_an_end_is_over(tmp_path: Path, served: str) -> None:
    """It is opened again, as if it were lost; what opens then is a recording."""
    path = playlist(tmp_path / "a.m3u8", ended=False)
    with open_source(f"{served}/a.m3u8") as source:
        with path.open("a") as file:
            file.write("#EXT-X-ENDLIST\n")
        assert len(list(source.frames(lambda index: True))) in range(50, 151)
        assert (source.reopened, source.warnings) == (0, [])


def test_a_file_on_disk_is_a_file_unless_asked(tmp_path: Path) -> None:
    path = videos.write_video(tmp_path / "a.mp4", frames=3)
    for asked, live in ((None, False), (False, False), (True, True)):
        with open_source(str(path), live=asked) as source:
            assert source.info.live is live


@pytest.mark.parametrize("fps", [5.0, 12.0])
def test_motion_jpeg_of_a_camera_keeps_the_time_of_arrival(fps: float) -> None:
    """FFmpeg would count 25 pictures a second."""
    pictures = [cv2.imencode(".jpg", videos.picture(n, 64, 48))[1].tobytes() for n in range(15)]

    class Camera(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            started = time.monotonic()
            for number, data in enumerate(pictures):
                time.sleep(max(0.0, started + number / fps - time.monotonic()))
                head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
                self.wfile.write(head.encode() + data + b"\r\n")

        def log_message(self, *_: object) -> None:
            """Silence."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Camera) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with open_source(f"http://127.0.0.1:{server.server_address[1]}/video.mjpg") as source:
            frames = source.frames(lambda index: True)  # the camera hangs up, and is called again
            seconds = [frame.seconds for frame in takewhile(lambda frame: frame.index != source.restarted_at, frames)]
            assert source.info.live
            assert source.info.fps == pytest.approx(fps, rel=0.3)
        server.shutdown()
    assert len(seconds) >= 14
    assert seconds[-1] == pytest.approx((len(seconds) - 1) / fps, rel=0.15)
    assert source.losses.missing_frames == 0
