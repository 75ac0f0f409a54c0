"""annotated.mp4: every frame, at its time, with the result that holds for it."""

from __future__ import annotations

import doctest
import errno
import json
import os
import shutil
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import av
import av.error
import numpy as np
import pytest
from numpy.typing import NDArray

from stprompt_edge.errors import EnvironmentFailure
from stprompt_edge.runtime import drawing
from stprompt_edge.runtime.drawing import ALARM, strip_height
from stprompt_edge.runtime.frames import CameraFrame
from stprompt_edge.runtime.recording import video
from stprompt_edge.runtime.recording.video import AnnotatedVideo, picture_size

from .synthetic import STRIDE, detection, facts, frames, run


def decoded(path: Path) -> tuple[list[float], list[NDArray[np.uint8]]]:
    """Seconds and pictures, BGR."""
    with av.open(str(path)) as container:
        shown = list(container.decode(video=0))
    return [float(f.time) for f in shown], [f.to_ndarray(format="bgr24") for f in shown]


def alarmed(picture: NDArray[np.uint8]) -> bool:
    """Is the strip's upper edge red?"""
    edge = picture[-strip_height(picture.shape[1]), 100:].astype(int)
    return bool(np.abs(edge - np.array(ALARM)).mean() < 60)


def written(tmp_path: Path, size_wh: tuple[int, int], count: int = 5) -> Path:
    part = AnnotatedVideo(tmp_path / "annotated.mp4", facts(size_wh=size_wh))
    for frame in frames(count, size_wh=size_wh):
        part.add_frame(frame)
    part.add_detection(detection(0, 0.9, alarm=True))
    part.close()
    part.publish()
    return part.target


def test_every_frame_at_its_time(tmp_path: Path) -> None:
    run(tmp_path)
    with av.open(str(tmp_path / "annotated.mp4")) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert stream.frames == 40
        assert float(stream.duration * stream.time_base) == pytest.approx(4.0, abs=0.02)
        assert (stream.width, stream.height) == (320, 240 + strip_height(320))
    seconds, pictures = decoded(tmp_path / "annotated.mp4")
    assert seconds == pytest.approx([i / 10 for i in range(40)], abs=1e-3)
    assert len(pictures) == 40


@pytest.mark.parametrize("delay", [0, STRIDE, 5 * STRIDE])
def test_a_result_holds_from_its_frame_until_the_next_one(tmp_path: Path, delay: int) -> None:
    run(tmp_path, delay=delay)
    _, pictures = decoded(tmp_path / "annotated.mp4")
    assert [i for i, picture in enumerate(pictures) if alarmed(picture)] == list(range(16, 28))


def test_the_index_stands_in_front(tmp_path: Path) -> None:
    run(tmp_path)
    data = (tmp_path / "annotated.mp4").read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat")


def test_variable_frame_rate_keeps_its_times(tmp_path: Path) -> None:
    times = [0.0, 0.1, 0.5, 0.6, 2.0, 2.0, 1.9, 2.5]  # two that do not advance: one tick on
    part = AnnotatedVideo(tmp_path / "annotated.mp4", facts())
    for frame in frames(8, seconds=times):
        part.add_frame(frame)
    part.close()
    part.publish()
    seconds, _ = decoded(part.target)
    assert seconds == pytest.approx([0.0, 0.1, 0.5, 0.6, 2.0, 2.0, 2.0, 2.5], abs=1e-3)
    assert seconds == sorted(set(seconds))


@pytest.mark.parametrize("size_wh", [(1, 1), (2, 2), (17, 3), (321, 241), (5, 400), (64, 48)])
def test_odd_and_tiny_sources(tmp_path: Path, size_wh: tuple[int, int]) -> None:
    seconds, pictures = decoded(written(tmp_path, size_wh))
    assert len(seconds) == 5
    height, width = pictures[0].shape[:2]
    assert (height % 2, width % 2) == (0, 0)
    assert min(height, width) >= 16


@pytest.mark.parametrize("size_wh", [(1920, 1080), (1080, 1920), (4000, 40)])
def test_large_sources_are_reduced_to_960(tmp_path: Path, size_wh: tuple[int, int]) -> None:
    _, pictures = decoded(written(tmp_path, size_wh, count=1))
    assert 950 <= max(pictures[0].shape[:2]) <= 960


def test_picture_size_never_vanishes() -> None:
    assert picture_size(10_000, 1) == (960, 1)
    assert picture_size(1, 10_000) == (1, 944)


def test_a_camera_that_changes_its_size(tmp_path: Path) -> None:
    part = AnnotatedVideo(tmp_path / "annotated.mp4", facts())
    for index, size_wh in enumerate([(320, 240), (640, 480), (161, 97)]):
        image = np.full((size_wh[1], size_wh[0], 3), 90, np.uint8)
        part.add_frame(CameraFrame(index=index, seconds=index / 10, image_bgr=image))
    part.close()
    part.publish()
    _, pictures = decoded(part.target)
    assert {picture.shape for picture in pictures} == {(240 + strip_height(320), 320, 3)}


def test_waiting_frames_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video, "_MAX_PENDING_BYTES", 10 * 320 * 240 * 3)
    part = AnnotatedVideo(tmp_path / "annotated.mp4", facts())
    for frame in frames(40):
        part.add_frame(frame)
        assert len(part._pending) <= 10
    part.close()
    assert part.warnings == ["annotated.mp4: 30 frames were drawn before their own score was known"]
    part.discard()


def test_history_is_bounded(tmp_path: Path) -> None:
    part = AnnotatedVideo(tmp_path / "annotated.mp4", facts())
    for index in range(5000):
        part.add_detection(detection(index, 0.5))
    assert len(part._history) <= 2 * 30 * 10 + 1
    assert not part.started
    part.discard()


def test_without_libx264_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(av, "codecs_available", {"mpeg4"})
    part = AnnotatedVideo(tmp_path / "annotated.mp4", facts())
    for frame in frames(5):
        part.add_frame(frame)
    part.close()
    part.publish()
    assert "no libx264" in part.warnings[0]
    with av.open(str(part.target)) as container:
        assert container.streams.video[0].codec_context.name == "mpeg4"
    seconds, _ = decoded(part.target)
    assert seconds == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4], abs=1e-3)


@pytest.mark.parametrize("fps", [0.0, float("nan"), 1e9, 29.97])
def test_a_source_without_a_sane_rate(tmp_path: Path, fps: float) -> None:
    about = facts()
    object.__setattr__(about.source, "fps", fps)
    part = AnnotatedVideo(tmp_path / "annotated.mp4", about)
    for frame in frames(3):
        part.add_frame(frame)
    part.close()
    part.publish()
    assert decoded(part.target)[0] == pytest.approx([0.0, 0.1, 0.2], abs=1e-3)


def ffprobe(path: Path) -> tuple[float, int]:
    """Seconds and decoded frames as FFmpeg's own program finds them, and nothing to complain of."""
    if shutil.which("ffprobe") is None:
        pytest.skip("needs ffprobe, the judge")
    ask = ["ffprobe", "-v", "error", "-count_frames", "-select_streams", "v", "-show_entries"]
    ask += ["format=duration:stream=nb_read_frames", "-of", "json", str(path)]
    done = subprocess.run(ask, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    found = json.loads(done.stdout)
    return float(found["format"]["duration"]), int(found["streams"][0]["nb_read_frames"])


JUMP = 24_300.0  # seconds; MP4 holds no gap over 2**31 / 90000 = 23 861


@pytest.mark.parametrize(
    ("times", "seconds"),
    [
        ([0.0, 0.1, JUMP, JUMP + 0.1], 10.3),
        ([0.0, 0.1, JUMP, JUMP + 0.1, 9 * JUMP, 9 * JUMP + 0.1], 20.4),  # twice
        ([JUMP, JUMP + 0.1], 10.2),  # a source that does not begin at 0
        ([0.0, 9.9, 19.8], 19.9),  # a slow source keeps its time
        ([0.0, 60.0, 120.0], 20.1),  # one picture a minute
        ([0.0, 0.1, JUMP, 0.1, 0.2], 10.4),  # and back
        ([0.0, JUMP, 0.0, JUMP, 0.0], 20.3),
        ([0.0, 1e12, 1e12 + 0.1], 10.2),  # no clock of MP4 counts so far
    ],
)
def test_time_follows_the_frames_that_are_played(tmp_path: Path, times: list[float], seconds: float) -> None:
    part = AnnotatedVideo(tmp_path / "annotated.mp4", facts())
    for frame in frames(len(times), seconds=times):
        part.add_frame(frame)
    part.close()
    part.publish()
    assert part.warnings == []
    assert ffprobe(part.target) == (pytest.approx(seconds, abs=0.05), len(times))
    shown, _ = decoded(part.target)
    assert shown == sorted(set(shown))


def refuse(where: str, error: Exception) -> tuple[str, Any]:
    """A method of the encoder that fails at its third call, or at its only one."""
    calls, method = iter(range(1, 99)), getattr(video._Encoder, where)

    def failing(self: Any, *arguments: Any, **options: Any) -> Any:
        if next(calls) >= (1 if where in ("close", "__init__") else 3):
            raise error
        return method(self, *arguments, **options)

    return where, failing


@pytest.mark.parametrize("where", ["__init__", "write", "_mux", "close"])
@pytest.mark.parametrize(
    "error",
    [
        av.error.PatchWelcomeError(1163346256, "Not yet implemented in FFmpeg, patches welcome"),
        av.error.InvalidDataError(1094995529, "Invalid data found when processing input"),
        av.error.OSError(errno.EIO, "Input/output error"),
        av.error.PermissionError(errno.EACCES, "Permission denied"),
        FileNotFoundError(errno.ENOENT, "No such file or directory"),
        ValueError("unknown codec"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_video_that_fails_costs_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, error: Exception
) -> None:
    monkeypatch.setattr(video._Encoder, *refuse(where, error))
    written = run(tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {path.name for path in written} == {"scores.csv", "events.json", "report.html", "summary.json"}
    found = json.loads((tmp_path / "summary.json").read_text())
    reason = getattr(error, "strerror", None) or str(error)
    assert found["warnings"] == [f"no annotated.mp4, its encoder failed: {reason}; the other files are whole"]
    assert "annotated.mp4" not in found["files"]
    assert f"encoder failed: {reason}" in (tmp_path / "report.html").read_text()
    assert len((tmp_path / "scores.csv").read_text().splitlines()) == 11
    assert len(json.loads((tmp_path / "events.json").read_text())["events"]) == 1


@pytest.mark.parametrize("where", ["__init__", "write", "close"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_no_fault_of_the_video(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, number: int
) -> None:
    monkeypatch.setattr(video._Encoder, *refuse(where, av.error.OSError(number, os.strerror(number))))
    with pytest.raises(EnvironmentFailure, match=r"disk full while writing .*annotated\.mp4"):
        run(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_without_any_encoder_there_is_no_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video, "_codec", lambda: ("no-such-codec", {}))
    assert len(run(tmp_path)) == 4
    assert "no-such-codec" in json.loads((tmp_path / "summary.json").read_text())["warnings"][0]


def test_no_frame_waits_for_a_video_that_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video._Encoder, *refuse("__init__", ValueError("no")))
    part = AnnotatedVideo(tmp_path / "annotated.mp4", facts())
    for frame in frames(3):
        part.add_frame(frame)
    part.add_detection(detection(2, 0.1))
    for frame in frames(40):
        part.add_frame(frame)
    assert (len(part._pending), part.started) == (0, False)
    part.close()


@pytest.mark.parametrize("left", ["file", "link", "hard link"])
def test_what_a_killed_run_left_is_no_way_to_another_file(tmp_path: Path, left: str) -> None:
    partial, other = tmp_path / "annotated.mp4.partial", tmp_path / "mine.mp4"
    other.write_text("mine")
    {"file": partial.touch, "link": lambda: partial.symlink_to(other), "hard link": lambda: partial.hardlink_to(other)}[
        left
    ]()
    written(tmp_path, (64, 48))
    assert other.read_text() == "mine"
    assert not partial.exists()


def test_a_partial_file_that_this_run_did_not_begin_stays(tmp_path: Path) -> None:
    (tmp_path / "annotated.mp4.partial").write_text("somebody's video")
    run(tmp_path, save_video=False)
    assert (tmp_path / "annotated.mp4.partial").read_text() == "somebody's video"


@pytest.mark.parametrize("module", [video, drawing])
def test_examples_in_docstrings(module: ModuleType) -> None:
    done = doctest.testmod(module)
    assert done.attempted > 0
    assert done.failed == 0
