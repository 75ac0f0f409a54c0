"""The front door: the same numbers as `run`, arrays of the promised shapes, one clear error for what does not fit."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import stprompt_edge as se
from stprompt_edge.api import Model
from stprompt_edge.assets import DEMO_BUNDLE
from stprompt_edge.bundle import AlarmSection, Bundle, load_bundle
from stprompt_edge.errors import SourceError, StpromptEdgeWarning, UsageError
from stprompt_edge.runtime.backends.fake import FakeBackend
from stprompt_edge.runtime.cameras import CameraConfig
from stprompt_edge.runtime.frames import CameraFrame
from stprompt_edge.runtime.records import AlarmChange, Detection
from stprompt_edge.runtime.watch import RunSettings, run
from tests import videos
from tests.runtime.tiny import random_frames, tiny_bundle

CAUTION = "ignore:the CLIP weights are random:stprompt_edge.errors.StpromptEdgeWarning"
pytestmark = pytest.mark.filterwarnings(CAUTION)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return videos.write_video(tmp_path_factory.mktemp("clip") / "clip.mp4", frames=23, fps=10, noise=60)


def loud(**method: object) -> Bundle:
    """Every frame alarms."""
    return tiny_bundle(alarm=AlarmSection(threshold_on=0.0, threshold_off=0.0), **method)


def model(bundle: Bundle | None = None) -> Model:
    bundle = bundle or loud()
    return Model(bundle, FakeBackend(bundle))


class Told:
    """A sink that keeps what it is told."""

    def __init__(self) -> None:
        self.all: list[object] = []

    def detection(self, detection: Detection, frame: CameraFrame) -> None:
        assert detection.frame_index == frame.index
        self.all.append(detection)

    def change(self, change: AlarmChange) -> None:
        self.all.append(change)


def test_what_is_exported_is_there_typed_and_lazy() -> None:
    for name in se.__all__:
        assert getattr(se, name).__name__ == name
    assert set(se.__all__) <= set(dir(se))
    with pytest.raises(AttributeError, match="has no attribute 'lod'"):
        _ = se.lod  # type: ignore[attr-defined]
    script = (
        "import sys, stprompt_edge as se; heavy = {'numpy', 'cv2', 'av', 'onnxruntime', 'pydantic', 'torch'}; "
        "print(sorted(heavy & set(sys.modules))); se.load; print('torch' in sys.modules, 'pydantic' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["[]", "False True"]


@pytest.mark.parametrize("localize", ["never", "alarm", "always"])
def test_watch_gives_what_run_writes(clip: Path, tmp_path: Path, localize: str) -> None:
    bundle = tiny_bundle(alarm=AlarmSection(threshold_on=0.7, threshold_off=0.6), score="mean")
    settings = RunSettings(out=tmp_path / "out", localize=localize, save_video=False, stride=3)  # type: ignore[arg-type]
    run(CameraConfig(source=str(clip)), bundle, FakeBackend(bundle), settings)
    found = list(model(bundle).watch(clip, localize=localize, stride=3))  # type: ignore[arg-type]
    with (tmp_path / "out" / "scores.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [one.frame_index for one in found] == [int(row["frame"]) for row in rows] == list(range(0, 23, 3))
    assert [f"{one.score:.4f}" for one in found] == [f"{float(row['score']):.4f}" for row in rows]
    events = json.loads((tmp_path / "out" / "events.json").read_text(encoding="utf-8"))["events"]
    boxes = {frame["frame"]: frame["boxes"] for event in events for frame in event["frames"]}
    assert [one.frame_index for one in found if one.alarm] == list(boxes)
    assert 0 < len(boxes) < len(found)
    for one in found:
        if one.alarm:
            assert one.boxes_xyxy.tolist() == [box[:4] for box in boxes[one.frame_index]]


def test_boxes_are_pixels_of_the_camera_frame(clip: Path) -> None:
    for one in model().watch(clip, localize="always"):
        assert one.boxes_xyxy.dtype == np.int64
        assert one.boxes_xyxy.shape == (len(one.localization.boxes), 4)  # type: ignore[union-attr]
        assert (one.boxes_xyxy >= 0).all()
        assert (one.boxes_xyxy[:, 2] <= 64).all()
        assert (one.boxes_xyxy[:, 3] <= 48).all()
    (first, *_) = model().watch(clip, localize="never")
    assert first.boxes_xyxy.shape == (0, 4)


def test_score_gives_arrays_of_the_whole_file(clip: Path) -> None:
    found = model().score(clip, stride=5)
    watched = list(model().watch(clip, stride=5, localize="never"))
    assert found.frames.tolist() == [0, 5, 10, 15, 20]
    assert found.seconds.tolist() == pytest.approx([0, 0.5, 1.0, 1.5, 2.0])
    assert found.scores.tolist() == pytest.approx([one.score for one in watched])
    assert found.class_probabilities.shape == (5, 3)
    np.testing.assert_allclose(found.class_probabilities.sum(axis=1), 1, atol=1e-5)
    assert found.class_names == ("normal", "fighting", "fire")


def test_leaving_the_loop_ends_the_reading(clip: Path) -> None:
    for _ in model().watch(clip, stride=1):
        break
    stop = threading.Event()
    found = []
    for one in model().watch(clip, stride=1, stop=stop):
        found.append(one)
        stop.set()
    assert len(found) <= 3  # one more may be under way, and motion holds one back
    assert not [thread for thread in threading.enumerate() if thread.name == "decode"]


@pytest.mark.parametrize("max_frames", [1, 9, 99])
def test_max_frames(clip: Path, max_frames: int) -> None:
    assert len(list(model().watch(clip, stride=4, max_frames=max_frames))) == -(-min(max_frames, 23) // 4)


def test_a_camera_by_name_has_its_own_settings(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cameras.toml").write_text(
        f'[cameras.door]\nsource = "{clip}"\nstride = 6\nthreshold = 1.0\n', encoding="utf-8"
    )
    monkeypatch.chdir(tmp_path)
    told = Told()
    assert [one.frame_index for one in model().watch("door", sinks=[told])] == [0, 6, 12, 18]
    assert not any(isinstance(one, AlarmChange) for one in told.all)  # 1.0 is never reached
    assert [one.frame_index for one in model().watch("door", stride=10, threshold=0.0, sinks=[told])] == [0, 10, 20]
    assert {one.event.camera for one in told.all if isinstance(one, AlarmChange)} == {"door"}


def test_a_sink_is_told_each_detection_and_then_what_it_changes(clip: Path) -> None:
    told = Told()
    detections = list(model().watch(clip, stride=4, sinks=[told]))
    assert [one for one in told.all if isinstance(one, Detection)] == detections
    kinds = [one.kind for one in told.all if isinstance(one, AlarmChange)]
    assert (kinds[0], kinds[-1]) == ("opened", "closed")
    assert isinstance(told.all[0], Detection)
    assert isinstance(told.all[1], AlarmChange)
    assert kinds.count("opened") == kinds.count("closed") == 1


def test_cautions_are_python_warnings(clip: Path) -> None:
    with pytest.warns(StpromptEdgeWarning, match="the CLIP weights are random"):
        next(iter(model().watch(clip)))


@pytest.mark.parametrize("timing", ["centered", "causal"])
def test_a_stream_of_own_frames_gives_what_the_file_gives(clip: Path, timing: str) -> None:
    bundle = loud(motion_timing=timing)
    every = random_frames(20)
    with model(bundle).stream(fps=10, stride=4) as camera:
        given, buffer = [], np.empty_like(every[0].image_bgr)
        for frame in every:
            buffer[:] = frame.image_bgr  # an application that has one buffer
            found = camera.push(buffer)
            assert len(found) <= 1
            given += found
        given += camera.flush()
        assert camera.flush() == []
        with pytest.raises(UsageError, match="takes no more frames"):
            camera.push(buffer)
    assert [one.frame_index for one in given] == [0, 4, 8, 12, 16]
    assert [one.seconds for one in given] == pytest.approx([0, 0.4, 0.8, 1.2, 1.6])
    with model(bundle).stream(fps=10, stride=1) as camera:
        alone = [one for frame in every[::4] for one in camera.push(frame.image_bgr)] + camera.flush()
    assert [one.score for one in given] == pytest.approx([one.score for one in alone])


def test_a_streams_stride_follows_its_rate() -> None:
    bundle = loud(seconds_between_samples=0.2)
    with model(bundle).stream(fps=25) as camera:
        found = [one for frame in random_frames(20) for one in camera.push(frame.image_bgr)] + camera.flush()
    assert [one.frame_index for one in found] == [0, 5, 10, 15]


def test_leaving_a_stream_closes_its_event() -> None:
    told = Told()
    with model().stream(fps=10, name="robot", stride=1, sinks=[told]) as camera:
        camera.push(random_frames(1)[0].image_bgr, seconds=7.5)
    last = told.all[-1]
    assert isinstance(last, AlarmChange)
    assert (last.kind, last.event.camera, last.event.start_seconds) == ("closed", "robot", 7.5)


@pytest.mark.parametrize(
    ("image", "seconds", "told"),
    [
        (np.zeros((4, 4), np.uint8), None, r"a frame must be \[H, W, 3\] uint8, got \[4, 4\] uint8"),
        (np.zeros((4, 4, 4), np.uint8), None, r"got \[4, 4, 4\]"),
        (np.zeros((4, 4, 3), np.float32), None, "float32"),
        (np.zeros((0, 4, 3), np.uint8), None, r"got \[0, 4, 3\]"),
        (np.zeros((4, 4, 3), np.uint8), 1.0, "seconds must rise, got 1.0 after 1.0"),
        (np.zeros((4, 4, 3), np.uint8), float("nan"), "seconds must rise"),
        (np.zeros((4, 4, 3), np.uint8), float("inf"), "seconds must rise"),
    ],
)
def test_frames_that_do_not_fit(image: np.ndarray, seconds: float | None, told: str) -> None:
    camera = model().stream(fps=10)
    camera.push(np.zeros((4, 4, 3), np.uint8), seconds=1.0)
    with pytest.raises(UsageError, match=told):
        camera.push(image, seconds)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"localize": "alway"}, "unknown localize 'alway'"),
        ({"stride": 0}, "stride must be 1 or more"),
        ({"threshold": 2.0}, "alarm thresholds must be"),
        ({"max_frames": 0}, "max_frames must be at least 1"),
    ],
)
def test_arguments_that_do_not_fit(clip: Path, options: dict, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        list(model().watch(clip, **options))
    if "max_frames" not in options:
        with pytest.raises(UsageError, match=told):
            model().stream(fps=25, **options)


@pytest.mark.parametrize("fps", [0, -1, float("nan"), float("inf")])
def test_a_stream_needs_a_rate(fps: float) -> None:
    with pytest.raises(UsageError, match="fps must be a number over 0"):
        model().stream(fps=fps)


def test_a_source_that_is_not_there_is_told_at_once() -> None:
    with pytest.raises(SourceError, match="no such file or camera: 'nowhere'"):
        model().watch("nowhere")


def test_load_opens_a_bundle_and_closes_its_backend() -> None:
    pytest.importorskip("onnxruntime")
    with se.load(DEMO_BUNDLE, backend="onnx-cpu") as loaded:
        assert loaded.bundle.manifest == load_bundle(DEMO_BUNDLE).manifest
        assert "encoder.cpu8.onnx" in loaded.backend.description
    for wrong, told in (
        (lambda: se.load("nowhere"), "no bundle at nowhere"),
        (lambda: se.load(DEMO_BUNDLE, "gpu"), "unknown backend 'gpu'"),
    ):
        with pytest.raises(UsageError, match=told):
            wrong()
