"""preprocess.cu, compiled for the host, against the definitions in preprocess.py and motion.py.

The kernel and OpenCV may round a pixel differently, by one level; from the rounded pixels on nothing may differ.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from stprompt_edge.geometry import Geometry, WindowGrid
from stprompt_edge.preprocess import LUMA_BGR, Preprocessing, preprocess, resize_to_square
from stprompt_edge.runtime.backends.cuda.kernels.job import JOB, buffer_sizes, kernel_name, layout_of, set_source
from stprompt_edge.runtime.backends.cuda.kernels.reference import nv12_to_bgr
from stprompt_edge.runtime.frames import Nv12Frame
from stprompt_edge.runtime.motion import SecondDifference, pixel_motion, select_windows
from tests.runtime.backends.cuda.kernels.host import FAST, PLAIN, HostStream
from tests.runtime.backends.cuda.kernels.pictures import nv12_picture, picture

SMALL = [(1, 1), (7, 5), (1, 300), (500, 100), (100, 500)]
LARGE = [(224, 224), (225, 449), (640, 360), (768, 432), (1920, 1080)]


def geometry(size: int, patch: int, window: int, stride: int) -> Geometry:
    return Geometry(
        image_size=size,
        patch_size=patch,
        fine=WindowGrid(size=window, stride=stride),
        coarse=WindowGrid(size=size, stride=size),
    )


GEOMETRIES = {
    "ViT-B/16": Geometry(),
    "overlapping windows": geometry(96, 16, 48, 16),
    "ViT-B/32": geometry(224, 32, 64, 32),
    "ViT-L/14": geometry(224, 14, 28, 28),
    "64 px patches": geometry(128, 64, 64, 64),
    "one window": geometry(32, 16, 32, 32),
}


def resized(library: ctypes.CDLL, kernel: str, frame: NDArray[np.uint8] | Nv12Frame, **how: int) -> NDArray[np.uint8]:
    stream = HostStream(library, kernel=kernel)
    stream.push(frame, **how)
    return stream.newest.copy()


def largest_difference(found: NDArray[np.uint8], expected: NDArray[np.uint8]) -> int:
    return int(np.abs(found.astype(int) - expected).max())


@pytest.mark.parametrize("size", [*SMALL, *LARGE, (3840, 2160)], ids=str)
def test_pixels_equal_the_definition_within_one_level(library: ctypes.CDLL, size: tuple[int, int]) -> None:
    frame = picture(*size)
    expected = resize_to_square(frame, 224)
    plain = resized(library, PLAIN, frame)
    assert largest_difference(plain, expected) <= 1
    if min(size) >= 224:
        np.testing.assert_array_equal(resized(library, FAST, frame), plain)
        assert (plain != expected).mean() < 0.003, "rounding differs here and there, not everywhere"


@pytest.mark.parametrize("kernel", [PLAIN, FAST])
@pytest.mark.parametrize(("pitch", "shift"), [(1923, 0), (1924, 0), (1924, 1), (2048, 0), (2049, 3)])
def test_rows_may_lie_anywhere(library: ctypes.CDLL, kernel: str, pitch: int, shift: int) -> None:
    frame = picture(641, 359)
    np.testing.assert_array_equal(
        resized(library, kernel, frame, pitch=pitch, shift=shift), resized(library, PLAIN, frame)
    )


@pytest.mark.parametrize("kernel", [PLAIN, FAST])
@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("matrix", ["bt601", "bt709"])
@pytest.mark.parametrize("size", [(640, 360), (227, 225)], ids=str)
def test_nv12_equals_its_reference_in_bgr(
    library: ctypes.CDLL, kernel: str, full_range: bool, matrix: Any, size: tuple[int, int]
) -> None:
    frame = nv12_picture(*size, matrix=matrix, full_range=full_range)
    expected = resized(library, kernel, nv12_to_bgr(frame))
    np.testing.assert_array_equal(resized(library, kernel, frame), expected)
    np.testing.assert_array_equal(resized(library, kernel, frame, pitch=size[0] + 3, shift=1), expected)


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (100, 500), (1280, 720)], ids=str)
def test_nv12_of_unusual_sizes(library: ctypes.CDLL, size: tuple[int, int]) -> None:
    frame = nv12_picture(*size)
    stream = HostStream(library)
    stream.push(frame)
    assert largest_difference(stream.newest, resize_to_square(nv12_to_bgr(frame), 224)) <= 1


@given(st.integers(1, 500), st.integers(1, 500), st.integers(0, 9), st.booleans(), st.integers(0, 999))
@settings(max_examples=40, deadline=None)
def test_any_size(library: ctypes.CDLL, width: int, height: int, slack: int, nv12: bool, seed: int) -> None:
    frame = nv12_picture(width, height, seed=seed) if nv12 else picture(width, height, seed)
    pitch = ((width + 1) // 2 * 2 if nv12 else 3 * width) + slack
    plain = resized(library, PLAIN, frame, pitch=pitch)
    bgr = nv12_to_bgr(frame) if isinstance(frame, Nv12Frame) else frame
    assert largest_difference(plain, resize_to_square(bgr, 224)) <= 1
    if min(width, height) >= 224:
        np.testing.assert_array_equal(resized(library, FAST, frame, pitch=pitch), plain)


@given(st.sampled_from(sorted(GEOMETRIES)), st.integers(1, 300), st.integers(1, 300), st.integers(1, 4))
@settings(max_examples=25, deadline=None)
def test_any_geometry(library: ctypes.CDLL, name: str, width: int, height: int, frames: int) -> None:
    geometry = GEOMETRIES[name]
    stream = HostStream(library, geometry=geometry, windows=geometry.fine_count)
    difference = SecondDifference("causal")
    for seed in range(frames):
        stream.push(picture(width, height, seed))
        expected = difference.push(luma(stream.newest))
    assert expected is not None
    np.testing.assert_allclose(stream.result["motion"], pixel_motion(expected, geometry), atol=1e-6)
    np.testing.assert_array_equal(stream.result["fine"], select_windows(stream.result["motion"], 999).indices)


@pytest.mark.parametrize("kernel", [PLAIN, FAST])
def test_the_image_is_the_definitions(library: ctypes.CDLL, kernel: str) -> None:
    frame = picture(224, 224)
    stream = HostStream(library, kernel=kernel, timing="causal")
    stream.push(frame)
    np.testing.assert_allclose(stream.image, preprocess(frame, Preprocessing()).image, atol=1e-6, rtol=0)


def test_half_images_are_the_rounded_float_ones(library: ctypes.CDLL) -> None:
    streams = [HostStream(library, image_type=kind) for kind in ("float32", "float16")]  # type: ignore[arg-type]
    for stream in streams:
        stream.push(picture(300, 300))
    np.testing.assert_array_equal(streams[1].image, streams[0].image.astype(np.float16))


def test_the_shims_half_is_numpys(library: ctypes.CDLL) -> None:
    library.half_of.argtypes, library.half_of.restype = [ctypes.c_float], ctypes.c_ushort
    every_half = np.arange(0x7C00, dtype=np.uint16).view(np.float16).astype(np.float32)
    between = (every_half[:-1] + every_half[1:]) / 2  # ties
    numbers = np.concatenate([every_half[::7], between[::5], between[::11] * np.float32(1.0001), [65519, 65520, 1e30]])
    numbers = np.concatenate([numbers, -numbers]).astype(np.float32)
    found = [library.half_of(float(number)) for number in numbers]
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(found, numbers.astype(np.float16).view(np.uint16))


def luma(bgr: NDArray[np.uint8]) -> NDArray[np.float32]:
    return (bgr @ np.asarray(LUMA_BGR) / 255).astype(np.float32)


@pytest.mark.parametrize("count", [1, 2, 3, 5])
@pytest.mark.parametrize("timing", ["centered", "causal"])
def test_a_stream_of_frames_equals_the_definition(library: ctypes.CDLL, timing: str, count: int) -> None:
    """Pixels, luma, second difference, motion, selection and the image they belong to, from the first to the last.

    Frames that need no resize, so that no pixel is rounded and the motions must agree to 1e-5.
    """
    frames = [picture(224, 224, seed) for seed in range(count)]
    expected = [preprocess(frame, Preprocessing()) for frame in frames]
    difference = SecondDifference(timing)
    stream = HostStream(library, timing=timing)
    seen = 0

    def check(expected_difference: NDArray[np.float32]) -> None:
        motion = pixel_motion(expected_difference, Geometry())
        np.testing.assert_allclose(stream.result["motion"], motion, atol=1e-5, rtol=0)
        np.testing.assert_array_equal(stream.result["fine"], select_windows(stream.result["motion"], 12).indices)
        np.testing.assert_array_equal(stream.result["fine_motion"], stream.result["motion"][stream.result["fine"]])
        np.testing.assert_allclose(stream.image, expected[seen].image, atol=1e-6, rtol=0)

    for frame, one in zip(frames, expected, strict=True):
        stream.push(frame)
        complete = difference.push(one.luma)
        if complete is not None:
            check(complete)
            seen += 1
    for complete in difference.flush():
        stream.repeat()
        check(complete)
        seen += 1
    assert seen == count


def test_a_stream_may_change_size_and_format(library: ctypes.CDLL) -> None:
    stream = HostStream(library)
    difference = SecondDifference("causal")
    for frame in (picture(640, 360), nv12_picture(100, 80), picture(1, 1), nv12_picture(1280, 720), picture(300, 224)):
        stream.push(frame)
        expected = difference.push(luma(stream.newest))
        assert expected is not None
        np.testing.assert_allclose(stream.result["motion"], pixel_motion(expected, Geometry()), atol=1e-6)


def test_a_stream_begins_anew_when_its_state_is_zero(library: ctypes.CDLL) -> None:
    stream, fresh = HostStream(library), HostStream(library)
    for seed in range(4):
        stream.push(picture(224, 224, seed))
    stream.state[:] = 0
    for seed in (7, 8):
        for one in (stream, fresh):
            one.push(picture(224, 224, seed))
    np.testing.assert_array_equal(stream.result["motion"], fresh.result["motion"])
    np.testing.assert_array_equal(stream.image, fresh.image)


def moved(windows: dict[int, int]) -> list[NDArray[np.uint8]]:
    """A grey frame, and the same with some windows brighter by so many levels."""
    still = np.full((224, 224, 3), 100, np.uint8)
    changed = still.copy()
    for window, levels in windows.items():
        x0, y0, x1, y1 = Geometry().windows_xyxy(Geometry().fine)[window]
        changed[y0:y1, x0:x1] += np.uint8(levels)
    return [still, still, changed]


@pytest.mark.parametrize(
    ("windows", "count", "expected"),
    [
        ({}, 12, list(range(12))),  # nothing moves: all are equal
        ({48: 9}, 3, [48, 0, 1]),
        ({5: 4, 40: 9, 2: 4, 30: 4}, 6, [40, 2, 5, 30, 0, 1]),
        ({0: 1, 48: 255 - 100}, 1, [48]),
        ({17: 3}, 49, [17, *range(17), *range(18, 49)]),
    ],
)
@pytest.mark.parametrize("kernel", [PLAIN, FAST])
def test_selects_the_most_motion_and_of_equals_the_first(
    library: ctypes.CDLL, kernel: str, windows: dict[int, int], count: int, expected: list[int]
) -> None:
    stream = HostStream(library, kernel=kernel, windows=count)
    for frame in moved(windows):
        stream.push(frame)
    assert stream.result["fine"].tolist() == expected
    for window, levels in windows.items():
        assert stream.result["motion"][window] == pytest.approx(levels / 255, abs=1e-6)


@pytest.mark.parametrize(("kernel", "size"), [(PLAIN, (300, 100)), (FAST, (900, 700))])
def test_no_block_or_thread_depends_on_another_s_turn(library: ctypes.CDLL, kernel: str, size: tuple[int, int]) -> None:
    streams = [HostStream(library, kernel=kernel, backwards=backwards) for backwards in (False, True)]
    for stream in streams:
        for seed in range(3):
            stream.push(picture(*size, seed))
        stream.repeat()
    for name in ("ring", "image", "state"):
        np.testing.assert_array_equal(getattr(streams[0], name), getattr(streams[1], name))
    assert streams[0].result == streams[1].result


def test_the_record_is_the_struct(library: ctypes.CDLL) -> None:
    offsets = (ctypes.c_int * 8)()
    assert library.job_layout(offsets) == JOB.itemsize
    assert JOB.fields is not None
    names = ["source", "state", "width", "causal", "blue_u", "inverse_area", "scale", "offset"]
    assert list(offsets) == [JOB.fields[name][1] for name in names]


def test_the_widest_frame_of_the_fast_kernel(library: ctypes.CDLL) -> None:
    """Its groups just fit the block; one pixel more per tile and the plain kernel is chosen."""
    stream = HostStream(library, kernel=FAST)
    widest = max(w for w in range(14000, 14400) if chosen(stream, w) == FAST)
    assert chosen(stream, widest + 1) == PLAIN
    frame = picture(widest, 224)
    stream.push(frame)
    np.testing.assert_array_equal(stream.newest, resized(library, PLAIN, frame))


def chosen(stream: HostStream, width: int) -> str:
    set_source(stream.job, layout_of(np.broadcast_to(np.uint8(0), (224, width, 3))), 1)
    return kernel_name(stream.job)


def test_buffers_are_as_large_as_written_to(library: ctypes.CDLL) -> None:
    """`HostStream` checks the canaries on both sides of each buffer; here that they would be noticed."""
    sizes = buffer_sizes(Geometry(), 12, "float16")
    assert sizes == {"ring": 602112, "image": 301056, "tile_sums": 784, "result": 12 * 12 + 49 * 4, "state": 12}
    stream = HostStream(library, windows=12)
    stream.job["selected"] = 49  # writes more than it has room for
    with pytest.raises(AssertionError, match="result"):
        stream.push(picture(224, 224))
