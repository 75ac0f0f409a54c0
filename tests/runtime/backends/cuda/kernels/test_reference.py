"""nv12_to_bgr: known colours, and FFmpeg's converter."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import av
import numpy as np
import pytest
from av.video.reformatter import ColorRange, Colorspace

from stprompt_edge.preprocess import resize_to_square
from stprompt_edge.runtime.backends.cuda.kernels.reference import nv12_to_bgr
from stprompt_edge.runtime.frames import Nv12Frame
from tests.runtime.backends.cuda.kernels.pictures import nv12_picture

FFMPEG_LEVELS = 3  # swscale's tables hold 8-bit steps


def one_colour(y: int, u: int, v: int, **how: Any) -> Nv12Frame:
    return Nv12Frame(luma=np.full((2, 3), y, np.uint8), chroma=np.full((1, 2, 2), (u, v), np.uint8), **how)


@pytest.mark.parametrize(
    ("yuv", "how", "bgr"),
    [
        ((16, 128, 128), {}, (0, 0, 0)),
        ((235, 128, 128), {}, (255, 255, 255)),
        ((0, 128, 128), {}, (0, 0, 0)),  # below black
        ((255, 128, 128), {}, (255, 255, 255)),  # above white
        ((81, 90, 240), {}, (0, 0, 254)),  # BT.601 red as codecs round it
        ((63, 102, 240), {"matrix": "bt709"}, (0, 1, 255)),
        ((0, 128, 128), {"full_range": True}, (0, 0, 0)),
        ((255, 128, 128), {"full_range": True}, (255, 255, 255)),
        ((76, 85, 255), {"full_range": True}, (0, 0, 254)),
        ((126, 128, 128), {"matrix": "bt709"}, (128, 128, 128)),
    ],
)
def test_known_colours(yuv: tuple[int, int, int], how: dict[str, Any], bgr: tuple[int, int, int]) -> None:
    image = nv12_to_bgr(one_colour(*yuv, **how))
    assert image.shape == (2, 3, 3)
    assert np.unique(image.reshape(-1, 3), axis=0).tolist() == [list(bgr)]


def test_chroma_belongs_to_blocks_of_two_by_two() -> None:
    frame = nv12_picture(5, 3)
    image = nv12_to_bgr(replace(frame, luma=np.full((3, 5), 120, np.uint8)))
    for y in range(3):
        for x in range(5):
            assert image[y, x].tolist() == image[y // 2 * 2, x // 2 * 2].tolist()


@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("matrix", ["bt601", "bt709"])
def test_fast_arithmetic_equals_the_standards_formula(matrix: Any, full_range: bool) -> None:
    frame = nv12_picture(64, 64, matrix=matrix, full_range=full_range)
    red, blue = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722)}[matrix]
    u, v = np.moveaxis(frame.chroma.repeat(2, 0).repeat(2, 1).astype(float) - 128, 2, 0)
    y = frame.luma.astype(float)
    if not full_range:
        y, u, v = (y - 16) * 255 / 219, u * 255 / 224, v * 255 / 224
    r, b = y + 2 * (1 - red) * v, y + 2 * (1 - blue) * u
    g = (y - red * r - blue * b) / (1 - red - blue)
    expected = np.stack([b, g, r], axis=2).clip(0, 255)
    np.testing.assert_allclose(nv12_to_bgr(frame), expected, atol=0.51)


@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("matrix", ["bt601", "bt709"])
def test_ffmpeg_gives_nearly_the_same(matrix: Any, full_range: bool) -> None:
    """What the CPU path sees of a decoded frame (PyAV's bgr24), within 3 levels a pixel and 1.5 after the resize."""
    frame = nv12_picture(320, 240, matrix=matrix, full_range=full_range)
    planes = [frame.luma.ravel(), frame.chroma[:, :, 0].ravel(), frame.chroma[:, :, 1].ravel()]
    decoded = av.VideoFrame.from_ndarray(np.concatenate(planes).reshape(360, 320), format="yuv420p")
    decoded.colorspace = Colorspace.ITU709 if matrix == "bt709" else Colorspace.SMPTE170M
    decoded.color_range = ColorRange.JPEG if full_range else ColorRange.MPEG
    theirs, ours = decoded.to_ndarray(format="bgr24"), nv12_to_bgr(frame)
    assert np.abs(theirs.astype(int) - ours).max() <= FFMPEG_LEVELS
    small = [resize_to_square(image, 224).astype(float) for image in (theirs, ours)]
    assert np.abs(small[0] - small[1]).mean() <= 1.5
