"""The kernel's arguments and the layout of frames, without any compiler."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from stprompt_edge.errors import UsageError
from stprompt_edge.geometry import Geometry
from stprompt_edge.preprocess import Preprocessing
from stprompt_edge.runtime.backends.cuda.kernels.job import (
    kernel_name,
    launch_grid,
    layout_of,
    make_job,
    pack_frame,
    set_source,
)
from tests.runtime.backends.cuda.kernels.pictures import nv12_picture, picture

SETTINGS: dict[str, Any] = {"spec": Preprocessing(), "geometry": Geometry(), "windows": 12, "timing": "centered"}


@pytest.mark.parametrize(
    ("size", "nv12", "pitch", "nbytes"),
    [
        ((1, 1), False, 4, 4),
        ((1, 1), True, 4, 8),
        ((5, 3), False, 16, 48),
        ((5, 3), True, 8, 8 * (3 + 2)),
        ((1920, 1080), False, 5760, 1920 * 1080 * 3),
        ((1920, 1080), True, 1920, 1920 * 1080 * 3 // 2),
    ],
)
def test_rows_begin_on_words(size: tuple[int, int], nv12: bool, pitch: int, nbytes: int) -> None:
    layout = layout_of(nv12_picture(*size) if nv12 else picture(*size))
    assert (layout.pitch, layout.nbytes) == (pitch, nbytes)


def test_a_frame_is_packed_row_by_row() -> None:
    frame = picture(5, 3)[:, ::-1]  # not contiguous
    layout = layout_of(frame)
    buffer = np.full(layout.nbytes, 7, np.uint8)
    pack_frame(frame, layout, buffer)
    rows = buffer.reshape(3, 16)
    np.testing.assert_array_equal(rows[:, :15].reshape(3, 5, 3), frame)
    assert (rows[:, 15] == 7).all()


def test_chroma_follows_luma() -> None:
    frame = nv12_picture(5, 3)
    layout = layout_of(frame)
    buffer = np.zeros(layout.nbytes, np.uint8)
    pack_frame(frame, layout, buffer)
    rows = buffer.reshape(5, 8)
    np.testing.assert_array_equal(rows[:3, :5], frame.luma)
    np.testing.assert_array_equal(rows[3:, :6].reshape(2, 3, 2), frame.chroma)
    job = make_job(**SETTINGS)
    set_source(job, layout, 1000)
    assert (int(job["source"]), int(job["chroma"])) == (1000, 1024)
    set_source(job, layout_of(picture(5, 3)), 1000)
    assert int(job["chroma"]) == 0


@pytest.mark.parametrize(
    ("size", "kernel"),
    [
        ((223, 1080), "preprocess_plain"),
        ((1920, 223), "preprocess_plain"),
        ((224, 224), "preprocess_fast"),
        ((3840, 2160), "preprocess_fast"),
        ((14000, 300), "preprocess_fast"),
        ((20000, 300), "preprocess_plain"),
    ],
)
def test_the_fast_kernel_where_it_can(size: tuple[int, int], kernel: str) -> None:
    job = make_job(**SETTINGS)
    set_source(job, layout_of(np.broadcast_to(np.uint8(0), (size[1], size[0], 3))), 1)
    assert kernel_name(job) == kernel
    assert launch_grid(job) == (14, 14)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"windows": 0}, "0 windows to select, but there are 49"),
        ({"windows": 50}, "50 windows to select, but there are 49"),
        ({"spec": Preprocessing(size=240)}, "240 px in preprocessing and 224 px in the geometry"),
    ],
)
def test_refuses_settings(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make_job(**{**SETTINGS, **change})


@pytest.mark.parametrize(
    ("shape", "dtype", "message"),
    [
        ((4, 4), np.uint8, r"must be \[H, W, 3\] uint8 BGR or NV12, got \(4, 4\) uint8"),
        ((4, 4, 4), np.uint8, r"got \(4, 4, 4\)"),
        ((4, 4, 3), np.float32, "float32"),
        ((0, 4, 3), np.uint8, "sides must be 1..65535, got 4x0"),
        ((1, 65536, 3), np.uint8, "got 65536x1"),
    ],
)
def test_refuses_what_is_no_frame(shape: tuple[int, ...], dtype: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        layout_of(np.broadcast_to(np.zeros((), dtype), shape))
