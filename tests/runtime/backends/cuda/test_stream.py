"""A camera on the device gives what the CPU's definition gives, frame by frame; kernels are compiled for the host.

Frames are as large as the network's image, or three times as wide: there both sides round to the same pixels.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from stprompt_edge.bundle import Bundle
from stprompt_edge.errors import EnvironmentFailure
from stprompt_edge.runtime import planes as planes_module
from stprompt_edge.runtime import watch as pipeline
from stprompt_edge.runtime.backends.base import JudgedFrame, WatchedFrame
from stprompt_edge.runtime.backends.cuda.engines.profiles import BatchSizes
from stprompt_edge.runtime.backends.cuda.kernels import CudaPreprocessor, nv12_to_bgr
from stprompt_edge.runtime.backends.cuda.kernels.job import buffer_sizes
from stprompt_edge.runtime.backends.fake import FakeBackend
from stprompt_edge.runtime.backends.tensorrt import TensorRTBackend
from stprompt_edge.runtime.cameras import CameraConfig
from stprompt_edge.runtime.frames import CameraFrame, Nv12Frame
from stprompt_edge.runtime.observer import Observer
from stprompt_edge.runtime.planes import PlanarFrame
from stprompt_edge.runtime.track import TrackedFrame
from stprompt_edge.runtime.watch import RunSettings
from tests import videos
from tests.fakes.device import FakeMachine, engine_bundle, install, write_engine
from tests.runtime.backends.cuda.kernels.pictures import nv12_picture

pytest.importorskip("onnxruntime")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> FakeMachine:
    return install(monkeypatch)


def make(machine: FakeMachine, path: Path, *, device_frames: bool = True, **method: str | float) -> Bundle:
    bundle = engine_bundle(path / "b", method=method)
    write_engine(bundle, machine, device_frames=device_frames)
    return bundle


def frames(count: int, sizes: tuple[tuple[int, int], ...] = ((224, 224),)) -> list[CameraFrame]:
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (*sizes[i % len(sizes)], 3), dtype=np.uint8) for i in range(count)]
    return [CameraFrame(index=i, seconds=i / 25, image_bgr=picture) for i, picture in enumerate(pictures)]


def detect(
    bundle: Bundle, backend: TensorRTBackend, given: list[CameraFrame], **settings: object
) -> list[TrackedFrame]:
    observer = Observer(bundle, backend, **settings)  # type: ignore[arg-type]
    return [found for frame in given for found in observer.push(frame)] + observer.flush()


@pytest.mark.parametrize("timing", ["centered", "causal"])
@pytest.mark.parametrize("count", [1, 2, 7])
@pytest.mark.parametrize("localize", ["always", "never"])
@pytest.mark.parametrize("lookahead", [0, 2])
def test_it_agrees_with_the_cpu(
    machine: FakeMachine, tmp_path: Path, timing: str, count: int, localize: str, lookahead: int
) -> None:
    bundle = make(machine, tmp_path, motion_timing=timing)
    with TensorRTBackend(bundle) as backend:
        ours = detect(bundle, backend, frames(count), localize=localize, lookahead=lookahead)
        theirs = detect(bundle, backend, frames(count), localize=localize, lookahead=lookahead, device_frames=False)
    assert len(ours) == len(theirs) == count
    for got, want in zip(ours, theirs, strict=True):
        assert got.detection.frame_index == want.detection.frame_index
        assert got.detection.score == pytest.approx(want.detection.score, abs=1e-6)
        np.testing.assert_allclose(got.detection.class_probabilities, want.detection.class_probabilities, atol=1e-6)
        assert (got.detection.localization is None) == (localize == "never")
        if want.detection.localization and got.detection.localization:
            np.testing.assert_allclose(
                got.detection.localization.heat_map, want.detection.localization.heat_map, atol=1e-5
            )


@pytest.mark.parametrize(("lookahead", "kind", "copies"), [(0, JudgedFrame, 1), (1, WatchedFrame, 3)])
def test_each_step_is_one_launch_and_one_wait(
    machine: FakeMachine, tmp_path: Path, lookahead: int, kind: type, copies: int
) -> None:
    bundle = make(machine, tmp_path, motion_timing="causal")
    with TensorRTBackend(bundle) as backend:
        stream = backend.open_stream(lookahead=lookahead)
        assert stream is not None
        for position, frame in enumerate(frames(5)):
            machine.driver.calls.clear()
            launches = machine.cudart.launches
            assert isinstance(stream.push(frame.image_bgr), kind)
            assert machine.cudart.launches - launches == (position > 0)  # the first one is made piece by piece
            calls = machine.driver.calls
            assert calls[: copies + 2] == ["htod"] + ["dtoh"] * copies + ["synchronize"]
            assert calls.count("htod") == 1  # the frame; no image goes up but through the kernel


def test_a_long_stream_and_what_is_told_of_it(machine: FakeMachine, tmp_path: Path) -> None:
    """More frames than the adapter's ring holds, with a size that changes on the way."""
    bundle = make(machine, tmp_path, sigma=0.4)
    given = frames(20, sizes=((224, 224),) * 9 + ((224, 672),))
    told: dict[bool, list[NDArray[np.float32]]] = {True: [], False: []}
    scores = {}
    with TensorRTBackend(bundle) as backend:
        for on_device, rows in told.items():
            found = detect(bundle, backend, given, localize="never", device_frames=on_device)
            rows += [row for item in found for row in (item.embedded.x_clip_D, item.features)]
            scores[on_device] = [item.detection.score for item in found]
    assert scores[True] == pytest.approx(scores[False], abs=1e-6)
    np.testing.assert_allclose(told[True], told[False], atol=1e-5)


def test_other_methods_go_on_on_the_host(machine: FakeMachine, tmp_path: Path) -> None:
    with TensorRTBackend(make(machine, tmp_path, name="zero-shot")) as backend:
        stream = backend.open_stream(lookahead=0)
        assert stream is not None
        assert stream.push(frames(1)[0].image_bgr) is None
        assert isinstance(stream.flush(), WatchedFrame)


def test_without_windows_frames_are_preprocessed_on_the_host(machine: FakeMachine, tmp_path: Path) -> None:
    bundle = make(machine, tmp_path, windows=0)
    with TensorRTBackend(bundle) as backend:
        assert backend.open_stream(lookahead=0) is None
        assert len(detect(bundle, backend, frames(3), localize="never")) == 3


def test_a_recording_that_fails_later_is_told_of(machine: FakeMachine, tmp_path: Path) -> None:
    bundle = make(machine, tmp_path)
    with TensorRTBackend(bundle) as backend:
        assert backend.description.endswith("CUDA graph")
        machine.cudart.failing = {"cudaStreamEndCapture"}
        ours = detect(bundle, backend, frames(4), localize="never")
        assert "plain launches (a CUDA graph failed while recording" in backend.description
        theirs = detect(bundle, backend, frames(4), localize="never", device_frames=False)
    scores = [[found.detection.score for found in run] for run in (ours, theirs)]
    assert scores[0] == pytest.approx(scores[1], abs=1e-6)


@pytest.mark.parametrize("batch", [BatchSizes(2, 2, 4), BatchSizes(4, 4, 4)])
def test_an_engine_for_no_single_frame(machine: FakeMachine, tmp_path: Path, batch: BatchSizes) -> None:
    bundle = engine_bundle(tmp_path / "b")
    write_engine(bundle, machine, device_frames=True, batch=batch)
    with TensorRTBackend(bundle) as backend:
        told = rf"the engine takes image as \({batch.min}, 3, 224, 224\), one frame has \(1, 3, 224, 224\)"
        with pytest.raises(EnvironmentFailure, match=told):
            backend.open_stream(lookahead=0)


def test_a_cubin_without_the_adapter(machine: FakeMachine, tmp_path: Path) -> None:
    bundle = make(machine, tmp_path)
    machine.driver.kernels.remove("adapter")
    with TensorRTBackend(bundle) as backend:
        held = len(machine.driver.memory)
        with pytest.raises(EnvironmentFailure, match=r"(?s)loading adapter\.cu of preprocess\.cubin.*build-engine"):
            backend.open_stream(lookahead=0)
        assert len(machine.driver.memory) == held


def test_frames_that_change_their_size_are_recorded_again(machine: FakeMachine, tmp_path: Path) -> None:
    bundle = make(machine, tmp_path)
    given = frames(6, sizes=((224, 224), (224, 224), (224, 672)))
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
        planes = nv12_picture(224, 224, seed=i)
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
        for box, expected in zip(got.detection.localization.boxes, want.detection.localization.boxes, strict=True):
            assert dataclasses.astuple(box) == pytest.approx(dataclasses.astuple(expected), abs=1e-6)


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
    upright, stage = planes_module.upright_bgr, CudaPreprocessor.stage
    monkeypatch.setattr(planes_module, "upright_bgr", lambda frame: pictures.append(frame.pts) or upright(frame))
    monkeypatch.setattr(CudaPreprocessor, "stage", lambda self, frame: staged.append(type(frame)) or stage(self, frame))
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
        observer = Observer(bundle, backend, localize="never")
        found = [item for frame in frames(4) for item in observer.push(frame)] + observer.flush()
        assert all(item.embedded.fine_ND is None for item in found)
        expected = detect(bundle, backend, frames(4), localize="always", device_frames=False)
        for got, want in zip(found, expected, strict=True):
            assert want.detection.localization is not None
            heat = observer.localize(got).heat_map
            np.testing.assert_allclose(heat, want.detection.localization.heat_map, atol=1e-5)


def test_nothing_is_left_on_the_device(machine: FakeMachine, tmp_path: Path) -> None:
    bundle = make(machine, tmp_path)
    with TensorRTBackend(bundle) as backend:
        for _ in range(2):  # two cameras
            stream = backend.open_stream(lookahead=0)
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
            assert backend.open_stream(lookahead=0) is None, name
    assert FakeBackend(bundle).open_stream(lookahead=0) is None


def test_a_kernel_that_does_not_load(machine: FakeMachine, tmp_path: Path) -> None:
    bundle = make(machine, tmp_path)
    machine.driver.failing = "module_from_buffer"
    with TensorRTBackend(bundle) as backend, pytest.raises(EnvironmentFailure, match=r"loading preprocess\.cubin"):
        backend.open_stream(lookahead=0)
    assert machine.driver.memory == {}


def test_memory_that_runs_out_leaves_nothing(machine: FakeMachine, tmp_path: Path) -> None:
    bundle = make(machine, tmp_path)
    with TensorRTBackend(bundle) as backend:
        held = sum(block.nbytes for block in machine.driver.memory.values())
        preprocessor = sum(buffer_sizes(bundle.geometry, 12, "float32").values())
        for more in (0, 700, 2000):  # the adapter's buffers, the heads' and the encoder's
            machine.driver.limit_bytes = held + preprocessor + more
            with pytest.raises(EnvironmentFailure, match=r"memory ran out|allocating device memory: .* out of memory"):
                backend.open_stream(lookahead=0)
        assert sum(block.nbytes for block in machine.driver.memory.values()) == held
