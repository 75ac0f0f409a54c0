"""CudaPreprocessor, with a driver whose device is this CPU, against the detector's own preprocessing.

Streams are non-blocking: nothing but what the class waits for orders them with the driver's default stream.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from stprompt_edge.errors import EnvironmentFailure, UsageError
from stprompt_edge.geometry import Geometry
from stprompt_edge.preprocess import Preprocessing, preprocess
from stprompt_edge.runtime.backends.cuda.kernels.driver import import_pycuda_driver
from stprompt_edge.runtime.backends.cuda.kernels.launch import CudaPreprocessor
from stprompt_edge.runtime.backends.cuda.kernels.reference import nv12_to_bgr
from stprompt_edge.runtime.motion import SecondDifference, pixel_motion, select_windows
from tests.fakes.pycuda_driver import FakeDriver
from tests.fakes.streams import NON_BLOCKING
from tests.runtime.backends.cuda.kernels.pictures import nv12_picture, picture

LEVEL = 1.001 / 255 / 0.26
ROUNDED = 5e-5  # of a motion: one level of one pixel, rounded differently by OpenCV, moves it by 4e-6
FRAMES = [picture(640, 360, seed) for seed in range(4)]


def fresh() -> tuple[FakeDriver, Any]:
    driver = FakeDriver(current=1)
    return driver, driver.Stream(NON_BLOCKING)


def make(driver: FakeDriver, **change: Any) -> CudaPreprocessor:
    settings: dict[str, Any] = {
        "spec": Preprocessing(),
        "geometry": Geometry(),
        "windows": 12,
        "timing": "centered",
        "image_type": "float32",
    }
    return CudaPreprocessor(b"cubin", driver=driver, **{**settings, **change})


def steps(preprocessor: CudaPreprocessor, stream: Any, frames: list[Any]) -> Iterator[int]:
    """The index of each frame that image and indices are of, in turn."""
    for index, frame in enumerate(frames):
        if preprocessor.push(frame, stream):
            yield index - preprocessor.delay
    if preprocessor.flush(stream):
        yield len(frames) - 1


def definition(frames: list[NDArray[np.uint8]], timing: str) -> list[NDArray[np.float32]]:
    """Window motions of each frame."""
    difference = SecondDifference(timing)
    found = [difference.push(preprocess(frame, Preprocessing()).luma) for frame in frames]
    return [pixel_motion(one, Geometry()) for one in (*found, *difference.flush()) if one is not None]


@pytest.mark.parametrize("timing", ["centered", "causal"])
def test_a_stream_of_frames_equals_the_detectors(timing: str) -> None:
    motions = definition(FRAMES, timing)
    driver, stream = fresh()
    with make(driver, timing=timing) as preprocessor:
        for turn, index in enumerate(steps(preprocessor, stream, FRAMES)):
            assert turn == index
            motion = preprocessor.motion(stream)
            np.testing.assert_allclose(motion, motions[index], atol=ROUNDED, rtol=0)
            selection, expected = preprocessor.selection(stream), select_windows(motion, 12)
            np.testing.assert_array_equal(selection.indices, expected.indices)
            np.testing.assert_allclose(selection.attention, expected.attention)
            image = preprocess(FRAMES[index], Preprocessing()).image
            np.testing.assert_allclose(preprocessor.read_image(stream)[0], image, atol=LEVEL, rtol=0)
    assert index == len(FRAMES) - 1


def test_addresses_stay_while_sizes_change() -> None:
    driver, stream = fresh()
    with make(driver, image_type="float16", timing="causal") as preprocessor:
        addresses = preprocessor.image_pointer, preprocessor.fine_pointer
        assert all(address % 256 == 0 for address in addresses)
        held = []
        for frame in (FRAMES[0], nv12_picture(300, 250), picture(7, 5), nv12_picture(9, 9)):
            assert preprocessor.push(frame, stream)
            bgr = frame if isinstance(frame, np.ndarray) else nv12_to_bgr(frame)
            image = preprocess(bgr, Preprocessing()).image
            np.testing.assert_allclose(preprocessor.read_image(stream)[0], image, atol=LEVEL + 2e-3, rtol=0)
            held.append(driver.held)
        assert (preprocessor.image_pointer, preprocessor.fine_pointer) == addresses
    assert driver.launches == ["preprocess_fast"] * 2 + ["preprocess_plain"] * 2
    assert len(set(held)) == 1, "buffers of former sizes are freed"


def test_the_device_holds_what_the_engine_binds() -> None:
    driver, stream = fresh()
    with make(driver, image_type="float16", timing="causal") as preprocessor:
        preprocessor.push(FRAMES[0], stream)
        at = (ctypes.c_char * (3 * 224 * 224 * 2)).from_address(preprocessor.image_pointer)
        image = np.frombuffer(at, np.float16).reshape(1, 3, 224, 224)
        np.testing.assert_array_equal(image, preprocessor.read_image(stream))
        fine = np.frombuffer((ctypes.c_char * (12 * 8)).from_address(preprocessor.fine_pointer), np.int64)
        np.testing.assert_array_equal(fine, preprocessor.selection(stream).indices)
        motion = np.frombuffer((ctypes.c_char * (12 * 4)).from_address(preprocessor.motion_pointer), np.float32)
        np.testing.assert_array_equal(motion, preprocessor.motion(stream)[fine])


def test_results_stay_on_the_device_if_nobody_wants_them() -> None:
    driver, stream = fresh()
    with make(driver, timing="causal") as preprocessor:
        preprocessor.push(FRAMES[0], stream)
        before = preprocessor.motion(stream)
        preprocessor.stage(FRAMES[1])
        preprocessor.enqueue(stream, results=False)
        np.testing.assert_array_equal(preprocessor.motion(stream), before)
        preprocessor.stage(FRAMES[1])
        preprocessor.enqueue(stream)
        assert (preprocessor.motion(stream) != before).any()


def test_staging_tells_when_a_captured_graph_is_void() -> None:
    driver, _ = fresh()
    with make(driver) as preprocessor:
        found = [preprocessor.stage(f) for f in (FRAMES[0], FRAMES[1], picture(360, 640), nv12_picture(360, 640))]
        assert found == [True, False, True, True]
        assert [preprocessor.stage(nv12_picture(360, 640, full_range=full)) for full in (False, True)] == [False, True]


def test_complete_counts_frames_since_the_reset() -> None:
    driver, stream = fresh()
    with make(driver) as preprocessor:
        assert not preprocessor.flush(stream), "nothing to repeat"
        assert [preprocessor.push(frame, stream) for frame in FRAMES] == [False, True, True, True]
        preprocessor.reset(stream)
        assert not preprocessor.flush(stream)
        assert [preprocessor.push(frame, stream) for frame in FRAMES[:2]] == [False, True]
        np.testing.assert_allclose(preprocessor.motion(stream), definition(FRAMES[:2], "centered")[0], atol=ROUNDED)
    with make(driver, timing="causal") as preprocessor:
        assert preprocessor.push(FRAMES[0], stream)
        assert not preprocessor.flush(stream), "causal holds nothing back"


def test_nothing_but_reading_results_waits() -> None:
    driver, stream = fresh()
    with make(driver) as preprocessor:
        for frame in FRAMES:
            preprocessor.push(frame, stream)
        assert driver.calls.count("synchronize") == 0
        selection = preprocessor.selection(stream)
        assert driver.calls.count("synchronize") == 1
        expected = select_windows(preprocessor.motion(stream), 12)
    np.testing.assert_array_equal(selection.indices, expected.indices)
    np.testing.assert_allclose(selection.attention, expected.attention)


def test_closing_frees_everything_once() -> None:
    driver, stream = fresh()
    preprocessor = make(driver)
    preprocessor.push(FRAMES[0], stream)
    preprocessor.push(picture(5, 5), stream)
    assert driver.held == 8  # five buffers and their results' copy, two of the frame
    preprocessor.close()
    preprocessor.close()
    assert driver.held == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("module_from_buffer", r"CUDA failed while loading preprocess\.cubin: module_from_buffer failed"),
        ("mem_alloc", "CUDA failed while allocating device memory"),
        ("pagelocked_empty", "CUDA failed while allocating device memory"),
        ("launch", r"CUDA failed while launching preprocess\.cu"),
    ],
)
def test_what_the_driver_refuses_is_one_line(call: str, message: str) -> None:
    driver = FakeDriver(current=1, failing=call)

    def run() -> None:
        with make(driver) as preprocessor:
            preprocessor.push(FRAMES[0], driver.Stream(NON_BLOCKING))

    with pytest.raises(EnvironmentFailure, match=message) as caught:
        run()
    assert "build-engine" in caught.value.remedy
    assert driver.held == 0


def test_a_launch_that_failed_leaves_no_copy_behind_its_buffers() -> None:
    driver, stream = fresh()
    with make(driver, timing="causal") as preprocessor:
        driver.failing = "launch"
        with pytest.raises(EnvironmentFailure, match="launch failed"):
            preprocessor.push(FRAMES[0], stream)
        driver.failing = ""
        assert preprocessor.push(picture(5, 5), stream)  # in buffers of another size
        image = preprocess(picture(5, 5), Preprocessing()).image
        np.testing.assert_allclose(preprocessor.read_image(stream)[0], image, atol=LEVEL, rtol=0)


def test_memory_that_runs_out_at_a_larger_frame_is_no_half_state() -> None:
    driver, stream = fresh()
    with make(driver, timing="causal") as preprocessor:
        preprocessor.push(picture(5, 5), stream)
        driver.failing = "pagelocked_empty"
        with pytest.raises(EnvironmentFailure, match="allocating memory for frames"):
            preprocessor.push(FRAMES[0], stream)
        driver.failing = ""
        assert preprocessor.push(picture(5, 5), stream)
    assert driver.held == 0


def test_refuses_settings_and_frames_before_the_device() -> None:
    driver = FakeDriver(current=1)
    with pytest.raises(UsageError, match="99 windows"):
        make(driver, windows=99)
    with make(driver) as preprocessor, pytest.raises(ValueError, match="must be"):
        preprocessor.push(FRAMES[0][:, :, 0], driver.Stream(NON_BLOCKING))
    assert driver.held == 0


def test_without_pycuda_one_line_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycuda", None)
    monkeypatch.setitem(sys.modules, "pycuda.driver", None)
    with pytest.raises(EnvironmentFailure, match="PyCUDA cannot be imported") as caught:
        import_pycuda_driver()
    assert "stprompt-edge[tensorrt]" in caught.value.remedy
