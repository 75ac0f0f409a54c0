"""Standard output and error that are full, closed, not read or of a narrow encoding."""

from __future__ import annotations

import errno
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from stprompt_edge.streams import GuardedStream, guarded_streams, print_json
from tests import videos

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
COMMAND = f"{sys.executable} -W error -m stprompt_edge"
FOUR = {"scores.csv", "events.json", "report.html", "summary.json"}
RUN = "run clip.mp4 --no-save-video --out out --json"
NOT_WRITTEN = "error: cannot write to standard output: "

linux = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")


def shell(line: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """What a shell of a user does; `{}` is the command."""
    return subprocess.run(
        ["bash", "-c", line.replace("{}", COMMAND)], cwd=cwd, env={**ENVIRONMENT, **environment},
        stdin=subprocess.DEVNULL, capture_output=True, timeout=120, check=False,
    )  # fmt: skip


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    pytest.importorskip("onnxruntime")
    videos.write_video(tmp_path / "clip.mp4")
    return tmp_path


@linux
@pytest.mark.parametrize(
    ("line", "code", "told"),
    [
        ("{} " + RUN + " >/dev/full", 5, NOT_WRITTEN + os.strerror(errno.ENOSPC)),
        ("{} " + RUN + " >&-", 5, NOT_WRITTEN + "it is closed"),
        ("{} " + RUN + " | head -0; exit ${PIPESTATUS[0]}", 141, ""),
        ("{} " + RUN + " 2>/dev/full", 5, ""),
        ("{} " + RUN + " >/dev/full 2>/dev/full", 5, ""),
        ("{} " + RUN + " 2>&-", 0, ""),
        ("{} " + RUN + " <&- >&- 2>&-", 5, ""),
        ("{} " + RUN + " 2>&1 >/dev/null | head -0; exit ${PIPESTATUS[0]}", 141, ""),
    ],
)
def test_a_run_whose_streams_fail_keeps_its_files(clip: Path, line: str, code: int, told: str) -> None:
    done = shell(line, clip)
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr
    assert done.returncode == code, done.stderr
    assert told in done.stderr.decode()
    assert (NOT_WRITTEN in done.stderr.decode()) == bool(told)
    assert {path.name for path in (clip / "out").iterdir()} == FOUR
    assert json.loads((clip / "out" / "summary.json").read_text(encoding="utf-8"))["camera_frames"] == 20


@linux
@pytest.mark.parametrize(
    ("arguments", "to", "code"),
    [
        ("--help", ">/dev/full", 5),
        ("run --help", ">&-", 5),
        ("bench --help", "| head -0; exit ${PIPESTATUS[0]}", 141),
        ("--version", ">/dev/full", 5),
        ("--version", "| head -0; exit ${PIPESTATUS[0]}", 141),
        ("doctor --json", ">&-", 5),
        ("doctor", ">/dev/full", 5),
    ],
)
def test_whatever_prints(tmp_path: Path, arguments: str, to: str, code: int) -> None:
    done = shell(f"{{}} {arguments} {to}", tmp_path)
    lines = done.stderr.decode().splitlines()
    assert done.returncode in ({5, code} if arguments.startswith("doctor") else {code}), lines  # a check may fail too
    assert b"Traceback" not in done.stderr
    assert any(line.startswith(NOT_WRITTEN) for line in lines) == (code == 5)


@linux
@pytest.mark.parametrize("to", ["2>/dev/full", "2>&-"])
def test_an_error_that_nobody_can_be_told_of_keeps_its_exit_code(tmp_path: Path, to: str) -> None:
    assert shell(f"{{}} run missing.mp4 {to}", tmp_path).returncode == 4
    assert shell(f"{{}} frobnicate {to}", tmp_path).returncode == 2


def test_nothing_is_printed_into_our_files(clip: Path) -> None:
    """With standard output closed the first file that is opened would be standard output."""
    script = "import os; from stprompt_edge import streams; streams._fill_closed_descriptors(); print(os.dup(2))"
    done = shell(f"{sys.executable} -c '{script}' 2>&- <&-", clip)
    assert int(done.stdout) > 2


@pytest.mark.parametrize("encoding", ["latin-1", "ascii:strict", "utf-8", "shift_jis"])
def test_json_parses_to_the_same_text_in_any_encoding(clip: Path, encoding: str) -> None:
    name = "日本 café 🎥 \N{LATIN SMALL LETTER O WITH STROKE}.mp4"
    (clip / "clip.mp4").rename(clip / name)
    done = shell(f"{{}} run '{name}' --no-save-video --out öut --json", clip, PYTHONIOENCODING=encoding)
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout.decode(encoding.partition(":")[0]))
    assert printed == json.loads((clip / "öut" / "summary.json").read_text(encoding="utf-8"))
    assert printed["source"]["name"] == name
    assert b"wrote" in done.stderr


@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_json_and_lines_in_any_locale(clip: Path, locale: str) -> None:
    name = "日本.mp4"
    (clip / "clip.mp4").rename(clip / name)
    plain = {"LC_ALL": locale, "LANG": locale, "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    done = shell(f"{{}} run '{name}' --out 'out' --json", clip, **plain)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.decode("utf-8"))["camera_frames"] == 20
    assert shell("{} run 'né.mp4'", clip, **plain).returncode == 4


@pytest.mark.parametrize(
    ("arguments", "encoding"),
    [("doctor", "ascii"), ("doctor --json", "latin-1"), ("run --help", "ascii"), ("run né日.mp4", "latin-1")],
)
def test_what_is_printed_in_a_narrow_encoding(tmp_path: Path, arguments: str, encoding: str) -> None:
    done = shell(f"{{}} {arguments}", tmp_path, PYTHONIOENCODING=encoding)
    assert b"Traceback" not in done.stderr
    assert done.returncode in ({4} if "mp4" in arguments else {0, 5})
    done.stdout.decode(encoding)
    if "--json" in arguments:
        assert json.loads(done.stdout)


class Failing(io.StringIO):
    """A stream of a full disk."""

    calls = 0

    def write(self, text: str) -> int:
        self.calls += 1
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    flush = write  # type: ignore[assignment]


def test_a_stream_is_mute_after_its_first_failure() -> None:
    stream = Failing()
    guarded = GuardedStream(stream)
    assert guarded.write("one") == 3
    guarded.writelines(["two", "three"])
    guarded.flush()
    assert stream.calls == 1
    assert guarded.failure is not None
    assert guarded.failure.errno == errno.ENOSPC


def test_streams_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    out, err = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    with guarded_streams() as streams:
        print("seen")
        print("told", file=sys.stderr)
    assert (sys.stdout, sys.stderr) == (out, err)
    assert (out.getvalue(), err.getvalue()) == ("seen\n", "told\n")
    assert (streams.failure(), streams.exit_code(0), streams.exit_code(3)) == (None, 0, 3)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8", "utf-16"])
@pytest.mark.parametrize("text", ["plain", "é", "日本", "🎥", "\\udce9", 'quote " and \\ and \n'])
def test_json_is_escaped_only_as_far_as_it_must(monkeypatch: pytest.MonkeyPatch, encoding: str, text: str) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding, write_through=True))
    written = json.dumps({text: [text]}, ensure_ascii=False)
    print_json(written)
    assert json.loads(raw.getvalue().decode(encoding)) == {text: [text]}
    if encoding.startswith("utf"):
        assert raw.getvalue().decode(encoding) == written
