"""The folder as a whole: five files together or none, and an earlier run's files survive a failed one."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import av
import pytest

from stprompt_edge.errors import EnvironmentFailure, UsageError
from stprompt_edge.files import PartialText
from stprompt_edge.runtime.recording import OutputFolder

from .synthetic import FIVE, detection, facts, frame, frames, run, summary


def names(folder: Path) -> tuple[str, ...]:
    return tuple(sorted(path.name for path in folder.iterdir()))


def test_five_files(tmp_path: Path) -> None:
    written = run(tmp_path / "out" / "deep")
    assert names(tmp_path / "out" / "deep") == FIVE
    assert tuple(sorted(path.name for path in written)) == FIVE


def test_without_video_there_are_four(tmp_path: Path) -> None:
    written = run(tmp_path, save_video=False)
    assert names(tmp_path) == FIVE[1:]
    assert len(written) == 4
    assert json.loads((tmp_path / "summary.json").read_text())["warnings"] == []


def test_nothing_is_visible_before_finish(tmp_path: Path) -> None:
    with OutputFolder(tmp_path, facts(), save_video=False) as out:
        out.detection(detection(0, 0.1), frame(0))
        assert names(tmp_path) == ("events.json.partial", "scores.csv.partial")
        assert len((tmp_path / "scores.csv.partial").read_text().splitlines()) == 2  # already on the disk
    assert names(tmp_path) == ()


def test_a_second_run_replaces_the_first(tmp_path: Path) -> None:
    run(tmp_path)
    run(tmp_path, about=facts(name="second.mp4"))
    assert names(tmp_path) == FIVE
    assert json.loads((tmp_path / "events.json").read_text())["source"] == "second.mp4"


def test_an_older_video_is_named_as_such(tmp_path: Path) -> None:
    run(tmp_path)
    with OutputFolder(tmp_path, facts(), save_video=False) as out:
        out.finish(summary())
    assert len(out.warnings) == 1
    kept = json.loads((tmp_path / "summary.json").read_text())
    assert kept["warnings"] == ["annotated.mp4 in this folder is of an earlier run: this run wrote no video"]
    assert "annotated.mp4" not in kept["files"]
    assert "of an earlier run" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_exception_in_the_middle_leaves_the_older_files(tmp_path: Path, error: type[BaseException]) -> None:
    run(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(error, match="pulled"), OutputFolder(tmp_path, facts(), save_video=True) as out:  # noqa: PT012
        for given in frames(20):
            out.frame(given)
        out.detection(detection(16, 0.9, alarm=True), frame(16))
        assert "annotated.mp4.partial" in names(tmp_path)
        raise error("pulled")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_an_exception_removes_the_folder_that_it_made(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="pulled"), OutputFolder(tmp_path / "new", facts(), save_video=True):
        raise RuntimeError("pulled")
    assert names(tmp_path) == ()


def test_interrupted_run_is_whole_up_to_there(tmp_path: Path) -> None:
    with OutputFolder(tmp_path, facts(), save_video=True) as out:
        for given in frames(10):
            out.frame(given)
        out.detection(detection(0, 0.1), frame(0))
        out.finish(summary(interrupted=True))
    assert names(tmp_path) == FIVE
    assert json.loads((tmp_path / "summary.json").read_text())["interrupted"] is True
    assert "Interrupted" in (tmp_path / "report.html").read_text()
    with av.open(str(tmp_path / "annotated.mp4")) as video:
        assert sum(1 for _ in video.decode(video=0)) == 10


def test_no_frames_and_no_detections(tmp_path: Path) -> None:
    with OutputFolder(tmp_path, facts(), save_video=True) as out:
        out.finish(summary())
    assert names(tmp_path) == FIVE[1:]
    assert json.loads((tmp_path / "events.json").read_text())["events"] == []
    assert len((tmp_path / "scores.csv").read_text().splitlines()) == 1
    assert "Nothing scored" in (tmp_path / "report.html").read_text()


def test_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with (
        pytest.raises(UsageError, match=r"the output folder .*out is a file"),
        OutputFolder(tmp_path / "out", facts(), save_video=False),
    ):
        pass
    assert (tmp_path / "out").read_text() == "mine"


def test_folder_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("mine")
    with (
        pytest.raises(UsageError, match=r"cannot write .*Not a directory"),
        OutputFolder(tmp_path / "a" / "b", facts(), save_video=False),
    ):
        pass


def test_frames_without_save_video_are_a_bug(tmp_path: Path) -> None:
    with OutputFolder(tmp_path, facts(), save_video=False) as out, pytest.raises(AssertionError, match="save_video"):
        out.frame(next(frames()))


def test_nan_is_a_bug_and_never_written(tmp_path: Path) -> None:
    with OutputFolder(tmp_path, facts(), save_video=False) as out, pytest.raises(AssertionError, match="score=nan"):
        out.detection(detection(0, float("nan")), frame(0))


@pytest.mark.parametrize("fails_at", [1, 2, 3, 8])
def test_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails_at: int) -> None:
    calls, write = iter(range(1, 999)), PartialText.write

    def full(self: PartialText, text: str) -> None:
        if next(calls) == fails_at:
            self._file.close()
            self._file = FullFile()  # type: ignore[assignment]
        write(self, text)

    class FullFile:
        def write(self, text: str) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        def close(self) -> None:
            pass

    monkeypatch.setattr(PartialText, "write", full)
    with pytest.raises(EnvironmentFailure, match="disk full while writing"):
        run(tmp_path / "out", save_video=False)
    assert names(tmp_path) == ()


@pytest.mark.skipif(sys.platform == "win32", reason="needs RLIMIT_FSIZE")
@pytest.mark.parametrize("limit", [5_000, 9_000])
def test_a_video_that_does_not_fit(tmp_path: Path, limit: int) -> None:
    code = (
        "import resource, sys; from pathlib import Path; from recording.synthetic import run\n"
        "from stprompt_edge.errors import EnvironmentFailure\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n"
        "try:\n  run(Path(sys.argv[1]))\n"
        "except EnvironmentFailure as exc:\n  print(exc.what)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, str(tmp_path / "out")],
        capture_output=True, text=True, check=True, env=environment,
    )  # fmt: skip
    assert "disk full while writing" in done.stdout
    assert "annotated.mp4" in done.stdout
    assert done.stderr == ""
    assert names(tmp_path) == ()
