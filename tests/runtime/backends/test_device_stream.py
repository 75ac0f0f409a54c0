"""A camera on the device gives what the CPU's definition gives, frame by frame; the kernel is NumPy here."""

from __future__ import annotations

import inspect
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from stprompt_edge.bundle import Bundle
from stprompt_edge.errors import EnvironmentFailure
from stprompt_edge.runtime import pipeline
from stprompt_edge.runtime import planes as planes_module
from stprompt_edge.runtime.backends import device_stream, open_frame_stream
from stprompt_edge.runtime.backends.fake import FakeBackend
from stprompt_edge.runtime.backends.tensorrt import TensorRTBackend
from stprompt_edge.runtime.cameras import CameraConfig
from stprompt_edge.runtime.detector import DetectedFrame, Detector
from stprompt_edge.runtime.kernels import CudaPreprocessor, Nv12Frame, nv12_to_bgr
from stprompt_edge.runtime.pipeline import RunSettings
from stprompt_edge.runtime.planes import PlanarFrame
from stprompt_edge.runtime.records import CameraFrame
from tests import videos
from tests.fakes.device import FakeMachine, engine_bundle, install, write_engine
from tests.fakes.preprocessor import FakePreprocessor
from tests.runtime.kernels.pictures import nv12_picture

pytest.importorskip("onnxruntime")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> FakeMachine:
    monkeypatch.setattr(device_stream, "CudaPreprocessor", FakePreprocessor)
    return install(monkeypatch)


def make(machine: FakeMachine, path: Path, *, device_frames: bool = True, **method: str) -> Bundle:
    bundle = engine_bundle(path / "b", method=method)
    write_engine(bundle, machine, device_frames=device_frames)
    return bundle


def frames(count: int, sizes: tuple[tuple[int, int], ...] = ((24, 32),)) -> list[CameraFrame]:
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (*sizes[i % len(sizes)], 3), dtype=np.uint8) for i in range(count)]
    return [CameraFrame(index=i, seconds=i / 25, image_bgr=picture) for i, picture in enumerate(pictures)]


def detect(
    bundle: Bundle, backend: TensorRTBackend, given: list[CameraFrame], **settings: object
) -> list[DetectedFrame]:
    detector = Detector(bundle, backend, **settings)  # type: ignore[arg-type]
    return [found for frame in given for found in detector.push(frame)] + detector.flush()


@pytest.mark.parametrize("timing", ["centered", "causal"])
@pytest.mark.parametrize("count", [1, 2, 7])
@pytest.mark.parametrize("localize", ["always", "never"])
def test_it_agrees_with_the_cpu(machine: FakeMachine, tmp_path: Path, timing: str, count: int, localize: str) -> None:
    bundle = make(machine, tmp_path, motion_timing=timing)
    with TensorRTBackend(bundle) as backend:
        ours = detect(bundle, backend, frames(count), localize=localize)
        theirs = detect(bundle, backend, frames(count), localize=localize, device_frames=False)
    assert len(ours) == len(theirs) == count
    for got, want in zip(ours, theirs, strict=True):
        assert got.frame.index == want.frame.index
        assert got.detection.score == pytest.approx(want.detection.score, abs=1e-6)
        assert (got.detection.localization is None) == (localize == "never")
        if want.detection.localization and got.detection.localization:
            np.testing.assert_allclose(
                got.detection.localization.heat_map, want.detection.localization.heat_map, atol=1e-5
            )


def test_each_step_is_one_launch(machine: FakeMachine, tmp_path: Path) -> None:
    bundle = make(machine, tmp_path, motion_timing="causal")
    with TensorRTBackend(bundle) as backend:
        stream = open_frame_stream(bundle, backend)
        assert stream is not None
        for position, frame in enumerate(frames(5)):
            machine.driver.calls.clear()
            launches = machine.cudart.launches
            assert stream.push(frame.image_bgr) is not None
            assert machine.cudart.launches - launches == (position > 0)  # the first one is made piece by piece
            assert "htod" not in machine.driver.calls  # no image goes up but through the kernel


def test_frames_that_change_their_size_are_recorded_again(machine: FakeMachine, tmp_path: Path) -> None:
    bundle = make(machine, tmp_path)
    given = frames(6, sizes=((24, 32), (24, 32), (48, 20)))
    with TensorRTBackend(bundle) as backend:
        ours = detect(bundle, backend, given, localize="never")
        theirs = detect(bundle, backend, given, localize="never", device_frames=False)
    assert [found.detection.score for found in ours] == pytest.approx(
        [found.detection.score for found in theirs], abs=1e-6
    )
    assert machine.cudart.alive == 0


def in_planes(count: int) -> tuple[list[CameraFrame], list[int]]:
    """Frames as a decoder leaves them, and the indices of those that somebody wanted as pictures."""
    made: list[int] = []

    def convert(index: int, planes: Nv12Frame) -> NDArray[np.uint8]:
        made.append(index)
        return nv12_to_bgr(planes)

    given: list[CameraFrame] = []
    for i in range(count):
        planes = nv12_picture(32, 24, seed=i)
        given.append(PlanarFrame(index=i, seconds=i / 25, planes=planes, convert=partial(convert, i, planes)))
    return given, made


def test_planes_go_up_as_they_are(machine: FakeMachine, tmp_path: Path) -> None:
    bundle = make(machine, tmp_path)
    planes, made = in_planes(5)
    with TensorRTBackend(bundle) as backend:
        ours = detect(bundle, backend, planes, localize="always")
        assert made == []
        theirs = detect(bundle, backend, planes, localize="always", device_frames=False)
        assert made == [0, 1, 2, 3, 4]
    for got, want in zip(ours, theirs, strict=True):
        assert got.detection.score == pytest.approx(want.detection.score, abs=1e-6)
        assert got.detection.localization is not None
        assert want.detection.localization is not None
        assert got.detection.localization.boxes == want.detection.localization.boxes


def test_planes_and_pictures_in_one_stream(machine: FakeMachine, tmp_path: Path) -> None:
    bundle = make(machine, tmp_path)
    planes, _ = in_planes(6)
    mixed = [frame if frame.index % 3 else replace_by_picture(frame) for frame in planes]
    with TensorRTBackend(bundle) as backend:
        ours = detect(bundle, backend, mixed, localize="never")
        theirs = detect(bundle, backend, planes, localize="never")
    assert [found.detection.score for found in ours] == pytest.approx([found.detection.score for found in theirs])


def replace_by_picture(frame: CameraFrame) -> CameraFrame:
    return CameraFrame(index=frame.index, seconds=frame.seconds, image_bgr=frame.image_bgr)


@pytest.mark.parametrize(("device_frames", "save_video"), [(True, False), (True, True), (False, False)])
def test_a_run_hands_out_planes_where_the_device_takes_them(
    machine: FakeMachine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device_frames: bool, save_video: bool
) -> None:
    pictures, staged = [], []
    upright, stage = planes_module.upright_bgr, FakePreprocessor.stage
    monkeypatch.setattr(planes_module, "upright_bgr", lambda frame: pictures.append(frame.pts) or upright(frame))
    monkeypatch.setattr(FakePreprocessor, "stage", lambda self, frame: staged.append(type(frame)) or stage(self, frame))
    bundle = make(machine, tmp_path, device_frames=device_frames)
    clip = videos.write_video(tmp_path / "a.mp4", frames=16)
    settings = RunSettings(out=tmp_path / "out", localize="never", save_video=save_video, stride=4)
    with TensorRTBackend(bundle) as backend:
        done = pipeline.run(CameraConfig(source=str(clip)), bundle, backend, settings)
    assert done.summary.sampled_frames == 4
    assert staged == [Nv12Frame] * 4 * device_frames
    if save_video:
        assert len(pictures) == 16  # each once, though the report takes some of them too
    else:
        assert 1 <= len(pictures) <= 4  # the peaks; on the CPU all four
        assert device_frames or len(pictures) == 4


def test_an_alarm_that_goes_on_later_is_located_all_the_same(machine: FakeMachine, tmp_path: Path) -> None:
    bundle = make(machine, tmp_path)
    with TensorRTBackend(bundle) as backend:
        detector = Detector(bundle, backend, localize="never", localize_also=lambda frame: frame.index == 2)
        found = [item for frame in frames(4) for item in detector.push(frame)] + detector.flush()
    assert [item.detection.localization is not None for item in found] == [False, False, True, False]


def test_nothing_is_left_on_the_device(machine: FakeMachine, tmp_path: Path) -> None:
    bundle = make(machine, tmp_path)
    with TensorRTBackend(bundle) as backend:
        for _ in range(2):  # two cameras
            stream = open_frame_stream(bundle, backend)
            assert stream is not None
            assert stream.flush() is None
            stream.push(frames(1)[0].image_bgr)
    assert (machine.driver.memory, machine.driver.contexts, machine.cudart.alive) == ({}, 0, 0)


def test_where_frames_stay_on_the_cpu(machine: FakeMachine, tmp_path: Path) -> None:
    for name, bundle in (
        ("the gate said no", make(machine, tmp_path / "1", device_frames=False)),
        ("embeddings are compared", make(machine, tmp_path / "2", motion="feature")),
    ):
        with TensorRTBackend(bundle) as backend:
            assert open_frame_stream(bundle, backend) is None, name
    assert open_frame_stream(bundle, FakeBackend(bundle)) is None


def test_a_kernel_that_does_not_load(machine: FakeMachine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = make(machine, tmp_path)
    monkeypatch.setattr(FakePreprocessor, "refuses", True)
    with TensorRTBackend(bundle) as backend, pytest.raises(EnvironmentFailure, match=r"loading preprocess\.cubin"):
        open_frame_stream(bundle, backend)
    assert machine.driver.memory == {}


def test_memory_that_runs_out_leaves_nothing(machine: FakeMachine, tmp_path: Path) -> None:
    bundle = make(machine, tmp_path)
    with TensorRTBackend(bundle) as backend:
        held = sum(block.nbytes for block in machine.driver.memory.values())
        machine.driver.limit_bytes = held + 3 * 224 * 224 * 4 + 12 * 8
        with pytest.raises(EnvironmentFailure, match="GPU memory ran out while starting preprocessing"):
            open_frame_stream(bundle, backend)
        assert sum(block.nbytes for block in machine.driver.memory.values()) == held


@pytest.mark.parametrize("name", ["__init__", "stage", "enqueue", "flush", "selection", "reset", "close"])
def test_the_fake_kernel_is_called_as_the_real_one(name: str) -> None:
    real, fake = (
        list(inspect.signature(getattr(kind, name)).parameters) for kind in (CudaPreprocessor, FakePreprocessor)
    )
    assert fake == real
