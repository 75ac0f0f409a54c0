"""Nothing that a run leaves or prints holds a password of its source: files, stdout, stderr, tracebacks."""

from __future__ import annotations

import re
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from stprompt_edge.assets import DEMO_BUNDLE
from stprompt_edge.cli import main
from stprompt_edge.errors import StpromptEdgeError
from tests import videos
from tests.calibration.graphs import encoder, make_bundle
from tests.camera_servers import BASIC, CameraServer, HttpCamera, RtspCamera, closed_port, serving

pytest.importorskip("onnxruntime")
S = "Zq7Secret"
FIVE = {"scores.csv", "events.json", "report.html", "summary.json", "annotated.mp4"}
ADDRESSES = [
    "http://admin:{S}@{host}/a.mp4",
    "http://admin:pa#{S}@{host}/a.mp4",
    "http://admin:a/b@{S}@{host}/a.mp4",
    "http://ad%3Amin:{S}%40@{host}/a.mp4",
    "http://{host}/x?user=admin&password={S}",
    "http://{host}/a.mp4?{S}&token=%20{S}&channel=1#{S}",
    "http://{host}/user=admin_password={S}_channel=1_stream=0.mp4",
    "http://{host}/user=admin&password=a/{S}&channel=1",
    "http://{host}/0/admin:{S}/main.mp4",
]
Run = Callable[..., tuple[int, str]]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs a command in `tmp_path`; gives its exit code, and everything printed and written as one text."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "400")

    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["stprompt-edge", *arguments])
        code, trace = 0, ""
        try:
            main()
        except SystemExit as exc:
            code = int(exc.code or 0)
        except StpromptEdgeError as exc:  # --debug
            code, trace = exc.exit_code, "".join(traceback.format_exception(exc))
        files = [path.read_bytes().decode("utf-8", "replace") for path in tmp_path.rglob("*") if path.is_file()]
        return code, "\n".join([*capfd.readouterr(), trace, *files])

    return run


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("footage") / "a.mp4"
    return videos.write_video(path, frames=120, container_options=videos.FASTSTART, noise=40).read_bytes()


def address_of(template: str, server: CameraServer) -> str:
    return template.format(S=S, host=server.host)


@pytest.mark.parametrize("template", ADDRESSES)
def test_a_run_leaves_no_secret(command: Run, footage: bytes, tmp_path: Path, template: str) -> None:
    with serving(HttpCamera, challenge=BASIC if "@" in template else None, body=footage) as server:
        code, left = command("run", address_of(template, server), "--json", "--out", "out")
    assert (code, {path.name for path in (tmp_path / "out").iterdir()}) == (0, FIVE)
    assert S not in left
    assert "***" in (tmp_path / "out" / "report.html").read_text()
    if "@" in template:
        assert S in str(server.credentials)  # it did arrive
    else:
        assert S in server.asked[0][0]


def test_a_damaged_stream_leaves_no_secret(command: Run, footage: bytes) -> None:
    cut = footage[: len(footage) // 2]
    with serving(HttpCamera, body=cut) as server:
        code, left = command("run", address_of("http://{host}/a.mp4?pwd={S}", server))
    assert code == 0
    assert "warning: " in left
    assert S not in left


def test_a_stream_that_breaks_off_leaves_no_secret(command: Run, footage: bytes) -> None:
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nhttp://HOST/1.ts?token={S}\n#EXT-X-ENDLIST\n"
    with serving(HttpCamera) as server:
        server.body = playlist.replace("HOST", server.host).encode()
        for flags in ((), ("--debug",)):
            code, left = command("run", address_of("http://{host}/live.m3u8?sig={S}", server), *flags)
            assert code == 4
            assert S not in left


FAILURES: list[tuple[str, dict[str, Any], str]] = [
    ("401", {"challenge": BASIC, "status": 401}, "user name or password refused"),
    ("403", {"status": 403}, r"the server forbids it (403)"),
    ("404", {"status": 404}, r"nothing at this path (404)"),
    ("503", {"status": 503}, "the server fails (5XX)"),
    ("no video", {"body": b"<html>no</html>"}, "not with a video"),
    ("moved", {"status": 302, "headers": {"Location": f"http://u:{S}@127.0.0.1:1/x?key={S}"}}, "refused"),
]


@pytest.mark.parametrize("flags", [(), ("--debug",)], ids=["", "debug"])
@pytest.mark.parametrize("template", [ADDRESSES[1], ADDRESSES[4], ADDRESSES[6]])
@pytest.mark.parametrize(("settings", "said"), [row[1:] for row in FAILURES], ids=[row[0] for row in FAILURES])
def test_a_server_that_says_no(
    command: Run, template: str, settings: dict[str, Any], said: str, flags: tuple[str, ...]
) -> None:
    with serving(HttpCamera, **settings) as server:
        code, left = command("run", address_of(template, server), *flags)
    assert code == 4
    assert said in left
    assert S not in left
    assert ("Traceback" in left) == bool(flags)


@pytest.mark.parametrize("flags", [(), ("--debug",)], ids=["", "debug"])
@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("rtsp://admin:{S}@{closed}/1", "connection refused"),
        ("rtsp://admin:pa/{S}@{closed}/1", "connection refused"),
        ("http://{closed}/x?user=admin&pwd={S}", "connection refused"),
        ("rtsp://{closed}/user=admin_password={S}_channel=1_stream=0.sdp", "connection refused"),
        ("http://admin:{S}@no-such-host.invalid/1", "no such host name"),
        ("srt://{closed}?passphrase={S}", "this FFmpeg has no srt"),
        ("rstp://admin:{S}@{closed}/1", "did you mean 'rtsp'"),
        ("rtsp:/admin:{S}@{closed}/1", "no"),
        ("admin:{S}@{closed}/1", "put the protocol before"),
        ("192.0.2.1/x?user=admin&password={S}", "put the protocol before"),
        ("rtsp://admin:{S}/1", "%2F for /"),
        ("rtsp://admin:1/{S}@192.0.2.1:99999/1", "%2F for /"),
        ("rtsp://me:{S}@[::zz]/1", "brackets"),
        ("rtspsrc location=rtsp://me:{S}@h user-pw='{S}' ! nothing proxy-pw={S} ! identity", ""),
    ],
)
def test_a_source_that_does_not_open(command: Run, source: str, said: str, flags: tuple[str, ...]) -> None:
    with closed_port() as closed:
        code, left = command("run", source.format(S=S, closed=closed), *flags)
    assert code in (4, 5)
    assert said in left
    assert S not in left
    assert ("Traceback" in left) == bool(flags)


@pytest.mark.parametrize("status", [401, 404, 454])
def test_an_rtsp_camera_that_says_no(command: Run, status: int) -> None:
    with serving(RtspCamera, challenge=BASIC, status=status) as server:
        code, left = command("run", address_of("rtsp://admin:a#{S}@{host}/1?token={S}", server), "--debug")
    assert code == 4
    assert server.credentials == f"admin:a#{S}"
    assert S not in left


def test_cameras_toml(command: Run, tmp_path: Path) -> None:
    with closed_port() as closed:
        (tmp_path / "cameras.toml").write_text(f'[cameras.door]\nsource = "rtsp://me:{S}@{closed}/1"\n')
        assert "connection refused" in command("run", "door")[1]
        (tmp_path / "cameras.toml").write_text(f'[cameras.door]\nsource = ["rtsp://me:{S} x@{closed}/1"]\n')
        code, left = command("run", "door", "--debug")
    assert code == 2
    assert left.count(S) == 1  # the file itself


def test_bench(command: Run, footage: bytes) -> None:
    with serving(HttpCamera, challenge=BASIC, body=footage) as server:
        source = address_of("http://admin:{S}@{host}/a.mp4?token={S}", server)
        code, left = command("bench", "--source", source, "--frames", "5", "--json", "bench.json")
    assert code == 0
    assert '"source": "http://admin:***@127.0.0.1' in left
    assert S not in left


def test_calibrate(command: Run, footage: bytes, tmp_path: Path) -> None:
    make_bundle(tmp_path / "bundle", encoder())
    with serving(HttpCamera, body=footage) as server:
        source = address_of("http://{host}/a.mp4?token={S}", server)
        code, left = command("calibrate", "int8", "bundle", "--footage", source, "--frames", "8", "--force")
        lasting = "\n".join(line for line in left.split("\n") if not re.match(r"\[\d+:\d+\] ", line))  # but progress
        assert (code, lasting.count("a.mp4?token=***")) == (
            0,
            1 + 8 + 12 + 2,
        )  # frames; parity
        again = command("calibrate", "int8", "bundle", "--footage", source.replace("http:", "rtsp:"), "--debug")
        assert again[0] == 4
        assert S not in again[1]
    assert S not in left


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("bench", "--source", "{url}"), 4),
        (("bench", "--source", "me:{S}@h/1"), 4),
        (("evaluate", str(DEMO_BUNDLE), "{url}"), 2),
        (("evaluate", str(DEMO_BUNDLE), "list.csv"), 2),
        (("extract", "{url}", "--out", "features"), 2),
        (("extract", "list.csv", "--out", "features"), 2),
        (("prompts", "Fire", "--url", "http://me:{S}@h"), 2),
        (("prompts", "Fire", "--url", "me:{S}@h"), 2),
        (("prompts", "Fire", "--url", "http://me:{S}"), 2),
        (("prompts", "Fire", "--url", "http://h/v1?key={S}"), 2),
        (("prompts", "Fire", "--url", "ftp://me:{S}@h"), 2),
        (("run", "{url}", "--bundle", "http://me:{S}@h/bundle"), 2),
    ],
)
@pytest.mark.parametrize("flags", [(), ("--debug",)], ids=["", "debug"])
def test_other_commands(command: Run, tmp_path: Path, arguments: tuple[str, ...], code: int, flags: Any) -> None:
    with closed_port() as closed:
        url = f"rtsp://me:{S}@{closed}/1"
        (tmp_path / "list.csv").write_text(f"video,label,split\n{quote(url, safe=':/@')},normal,test\n")
        got, left = command(*(argument.format(S=S, url=url) for argument in arguments), *flags)
    (tmp_path / "list.csv").unlink()
    assert got == code, left
    assert left.count(S) == 1  # the list itself
    assert "error: " in left or flags
