"""Decoded frames in their decoder's planes: the same colours as the picture that a CPU sees, whatever was recorded."""

from __future__ import annotations

import ctypes
import dataclasses
import sys
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from stprompt_edge.preprocess import resize_to_square
from stprompt_edge.runtime.backends.cuda.kernels.reference import nv12_to_bgr
from stprompt_edge.runtime.frames import CameraFrame, Nv12Frame
from stprompt_edge.runtime.planes import (
    PlanarFrame,
    camera_frame,
    nv12_from_decoded,
    picture_from_nv12,
    upright_bgr,
    upright_size,
)
from stprompt_edge.runtime.sources import open_source
from tests import videos
from tests.runtime.backends.cuda.kernels.host import HostStream
from tests.runtime.backends.cuda.kernels.pictures import nv12_picture

DATA = Path(__file__).parents[2] / "../shared/data"
LEVELS = 3  # how far a pixel of FFmpeg's is from the reference: see kernels/reference.py
BT709, BT601, UNSPECIFIED, BT2020, FCC = 1, 6, 2, 9, 4
LIMITED, FULL = 1, 2


def decoded(size_wh: tuple[int, int] = (32, 24), kind: str = "yuv420p", **tags: int) -> av.VideoFrame:
    """A frame whose bytes are all different, as a decoder would give it."""
    frame = av.VideoFrame(*size_wh, kind)
    for number, plane in enumerate(frame.planes):
        values = np.random.default_rng(number).integers(40, 210, plane.buffer_size, np.uint8)
        np.frombuffer(plane, np.uint8)[:] = values
    for name, value in tags.items():
        setattr(frame, name, value)
    return frame


def read(path: Path, *, planar: bool) -> list[CameraFrame]:
    with open_source(str(path)) as source:
        source.planar = lambda index: planar
        return list(source.frames(lambda index: True))


@pytest.mark.parametrize(
    ("kind", "tags", "matrix", "full_range"),
    [
        ("yuv420p", {}, "bt601", False),
        ("yuv420p", {"colorspace": BT709}, "bt709", False),
        ("yuv420p", {"colorspace": BT709, "color_range": FULL}, "bt709", True),
        ("yuv420p", {"colorspace": 5, "color_range": LIMITED}, "bt601", False),
        ("yuv420p", {"colorspace": BT601, "color_range": FULL}, "bt601", True),
        ("yuvj420p", {"colorspace": UNSPECIFIED, "color_range": LIMITED}, "bt601", True),
        ("yuvj420p", {"colorspace": BT709}, "bt709", True),
    ],
)
@pytest.mark.parametrize("size_wh", [(32, 24), (1280, 720)])
def test_matrix_and_range_are_those_of_the_picture(
    kind: str, tags: dict[str, int], matrix: str, full_range: bool, size_wh: tuple[int, int]
) -> None:
    frame = decoded(size_wh, kind, **tags)
    planes = nv12_from_decoded(frame)
    assert planes is not None
    assert (planes.matrix, planes.full_range) == (matrix, full_range)
    theirs = frame.to_ndarray(format="bgr24")
    assert np.abs(nv12_to_bgr(planes).astype(int) - theirs).max() <= LEVELS


@pytest.mark.parametrize(
    ("kind", "tags"),
    [
        ("yuv422p", {}),
        ("yuv444p", {}),
        ("yuv420p10le", {}),
        ("p010le", {}),
        ("gray", {}),
        ("bgr24", {}),
        ("rgba", {}),
        ("nv21", {}),
        ("yuv420p", {"colorspace": BT2020}),
        ("yuv420p", {"colorspace": FCC}),
        ("nv12", {"colorspace": BT2020}),
    ],
)
def test_what_nv12_cannot_say_becomes_a_picture(kind: str, tags: dict[str, int]) -> None:
    frame = decoded(kind=kind, **tags)
    assert nv12_from_decoded(frame) is None
    given = camera_frame(frame, index=3, seconds=0.5, planar=True)
    assert type(given) is CameraFrame
    assert given.pixels is given.image_bgr
    np.testing.assert_array_equal(given.image_bgr, frame.to_ndarray(format="bgr24"))


@pytest.mark.parametrize("kind", ["nv12", "yuv420p"])
@pytest.mark.parametrize("size_wh", [(1, 1), (2, 1), (5, 3), (641, 361), (640, 360)])
def test_every_value_is_in_its_place(kind: str, size_wh: tuple[int, int]) -> None:
    frame = decoded(size_wh, kind)
    planes = nv12_from_decoded(frame)
    assert planes is not None
    (width, height), (half_width, half_height) = size_wh, ((size_wh[0] + 1) // 2, (size_wh[1] + 1) // 2)
    rows = [np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size) for plane in frame.planes]
    np.testing.assert_array_equal(planes.luma, rows[0][:height, :width])
    if kind == "nv12":
        pairs = rows[1][:half_height, : 2 * half_width].reshape(half_height, half_width, 2)
    else:
        pairs = np.stack([part[:half_height, :half_width] for part in rows[1:]], axis=2)
    np.testing.assert_array_equal(planes.chroma, pairs)


def test_planes_are_the_decoders_own_and_outlive_its_frame() -> None:
    frame = decoded(kind="nv12")
    given = camera_frame(frame, index=0, seconds=0.0, planar=True)
    assert isinstance(given.pixels, Nv12Frame)
    address = given.pixels.luma.__array_interface__["data"][0]
    assert address == np.frombuffer(frame.planes[0], np.uint8).__array_interface__["data"][0]
    expected = given.pixels.luma.copy()
    del frame
    for _ in range(20):
        decoded(kind="nv12")
    np.testing.assert_array_equal(given.pixels.luma, expected)
    with pytest.raises(ValueError, match="read-only"):
        given.pixels.luma[:] = 0


def test_a_picture_is_made_once_and_only_when_asked_for() -> None:
    made = []
    picture = np.zeros((4, 6, 3), np.uint8)
    planes = Nv12Frame(luma=np.zeros((4, 6), np.uint8), chroma=np.zeros((2, 3, 2), np.uint8))
    frame = PlanarFrame(index=7, seconds=0.25, planes=planes, convert=lambda: made.append(1) or picture)
    assert (frame.index, frame.seconds, frame.size_wh, frame.pixels) == (7, 0.25, (6, 4), planes)
    assert made == []
    assert frame.image_bgr is picture
    assert frame.image_bgr is picture
    assert made == [1]
    with pytest.raises(dataclasses.FrozenInstanceError):
        frame.index = 8  # type: ignore[misc]


@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("matrix", ["bt601", "bt709"])
def test_a_picture_from_planes_is_ffmpegs(matrix: Any, full_range: bool) -> None:
    planes = nv12_picture(320, 240, matrix=matrix, full_range=full_range)
    assert np.abs(picture_from_nv12(planes).astype(int) - nv12_to_bgr(planes)).max() <= LEVELS


@pytest.mark.parametrize("size_wh", [(1, 1), (3, 5), (641, 361)])
def test_a_picture_of_odd_size(size_wh: tuple[int, int]) -> None:
    width, height = size_wh
    flat = Nv12Frame(
        luma=np.full((height, width), 120, np.uint8),
        chroma=np.full(((height + 1) // 2, (width + 1) // 2, 2), (90, 200), np.uint8),
    )
    picture = picture_from_nv12(flat)
    assert picture.shape == (height, width, 3)
    assert np.abs(picture.astype(int) - nv12_to_bgr(flat)).max() <= LEVELS


CLIPS: dict[str, dict[str, Any]] = {
    "plain": {},
    "upside down": {"rotated": 180},
    "on its side": {"rotated": 90},
    "odd": {"name": "a.webm", "codec": "libvpx-vp9", "size_wh": (641, 361)},
    "full range": {"name": "a.mkv", "codec": "mjpeg", "pixel_format": "yuvj420p"},
    "ten bits": {"name": "a.mkv", "pixel_format": "yuv420p10le"},
    "4:4:4": {"name": "a.mkv", "pixel_format": "yuv444p"},
    "gif": {"name": "a.gif", "codec": "gif", "pixel_format": "rgb8"},
}
IN_PLANES = {"plain", "odd", "full range"}


@pytest.mark.parametrize("name", CLIPS)
def test_colours_of_a_clip_are_right_on_both_ways(name: str, tmp_path: Path, library: ctypes.CDLL) -> None:
    """Through the picture and the definition, and through the planes and the kernel compiled for the host."""
    clip = dict(CLIPS[name])
    if degrees := clip.pop("rotated", 0):
        path = videos.write_rotated(tmp_path / "a.mp4", degrees, size_wh=(320, 240))
    else:
        size_wh = clip.pop("size_wh", (320, 240))
        path = videos.write_video(tmp_path / clip.pop("name", "a.mp4"), frames=3, size_wh=size_wh, **clip)
    for picture, planes in zip(read(path, planar=False), read(path, planar=True), strict=True):
        assert isinstance(planes.pixels, Nv12Frame) == (name in IN_PLANES)
        assert planes.size_wh == picture.size_wh == (picture.image_bgr.shape[1], picture.image_bgr.shape[0])
        np.testing.assert_array_equal(planes.image_bgr, picture.image_bgr)
        stream = HostStream(library, timing="causal")
        stream.push(planes.pixels)
        theirs = resize_to_square(picture.image_bgr, 224).astype(int)
        assert np.abs(stream.newest - theirs).mean() <= 1.5
        corners = stream.newest[[10, -10], [10, -10]].astype(int)
        assert np.abs(corners - theirs[[10, -10], [10, -10]]).max() <= LEVELS
        green = picture.index * 8
        upright = [(255, green, 0), (0, green, 255)]  # blue above red, as `videos.picture` draws
        expected = {"upside down": upright[::-1], "on its side": [(0, green, 255), (255, green, 0)]}.get(name, upright)
        assert np.abs(corners - expected).max() <= 24, name


@pytest.mark.parametrize(
    "path", ["videos/one-by-one-person-detection.mp4", "fire/house6.mp4", "ped2/test/01.mp4", "falls"]
)
def test_real_footage_in_planes(path: str, library: ctypes.CDLL) -> None:
    found = DATA / path
    if not found.exists():
        pytest.skip(f"{found} is not there")
    if found.is_dir():
        found = sorted(found.rglob("*.mp4"))[0]
    with open_source(str(found)) as source:
        source.planar = lambda index: True
        frame = next(iter(source.frames(lambda index: index == 20)))
    assert isinstance(frame.pixels, Nv12Frame)
    stream = HostStream(library, timing="causal")
    stream.push(frame.pixels)
    difference = np.abs(stream.newest - resize_to_square(frame.image_bgr, 224).astype(int))
    assert difference.mean() <= 1.5


@pytest.mark.parametrize("look", [upright_size, upright_bgr, lambda frame: nv12_from_decoded(frame) and None])
def test_a_frame_that_was_looked_at_is_free_at_once(look):
    """Not with the next garbage collection: tens of decoded pictures would wait for it."""
    frame = decoded()
    before = sys.getrefcount(frame)
    result = look(frame)
    del result
    assert sys.getrefcount(frame) == before
