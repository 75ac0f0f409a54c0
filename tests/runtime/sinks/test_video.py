"""annotated.mp4: every frame, at its time, with the result that holds for it."""

from __future__ import annotations

import doctest
from pathlib import Path
from types import ModuleType

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from stprompt_edge.runtime import drawing
from stprompt_edge.runtime.drawing import ALARM, strip_height
from stprompt_edge.runtime.records import CameraFrame
from stprompt_edge.runtime.sinks import video
from stprompt_edge.runtime.sinks.video import AnnotatedVideo, picture_size

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


@pytest.mark.parametrize("module", [video, drawing])
def test_examples_in_docstrings(module: ModuleType) -> None:
    done = doctest.testmod(module)
    assert done.attempted > 0
    assert done.failed == 0
