"""Decoded frames as pictures, BGR, or as their decoder left them, NV12: all that knows FFmpeg's pixel formats.

A device that preprocesses frames itself takes NV12: half the bytes of BGR, and nothing to convert on the CPU but the
order of the chroma. A picture is then made only of frames that are drawn, and is the one that a CPU would have seen.

Matrix and range are those that FFmpeg converts with, so that both ways agree: what the stream says, and where it says
nothing BT.601 and limited range, whatever the size of the picture. Everything else (10 bits, 4:2:2, BT.2020, a picture
that is stored turned or mirrored) becomes BGR.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property
from typing import Any

import av
import cv2
import numpy as np
from av.sidedata.sidedata import SideDataContainer
from av.video.reformatter import ColorRange
from numpy.typing import NDArray

from stprompt_edge.runtime.frames import CameraFrame, Matrix, Nv12Frame

# AVColorSpace of FFmpeg's libavutil/pixfmt.h: BT.709, unspecified, BT.470 BG (the same numbers as BT.601), BT.601
MATRICES: dict[int, Matrix] = {1: "bt709", 2: "bt601", 5: "bt601", 6: "bt601"}
COLOR_SPACES: dict[Matrix, int] = {"bt709": 1, "bt601": 6}


class PlanarFrame(CameraFrame):
    """A camera frame in its decoder's planes; `image_bgr` is made once, when somebody asks for it.

    Args:
        index, seconds: see `CameraFrame`.
        planes: not changed by anyone: the decoder may still predict from them.
        convert: makes the picture.
    """

    def __init__(self, *, index: int, seconds: float, planes: Nv12Frame, convert: Callable[[], NDArray[np.uint8]]):
        self.__dict__.update(index=index, seconds=seconds, _planes=planes, _convert=convert)  # the class is frozen

    @cached_property
    def image_bgr(self) -> NDArray[np.uint8]:
        """See `CameraFrame`."""
        image: NDArray[np.uint8] = self.__dict__["_convert"]()
        return image

    @property
    def pixels(self) -> Nv12Frame:
        """The planes."""
        planes: Nv12Frame = self.__dict__["_planes"]
        return planes

    @property
    def size_wh(self) -> tuple[int, int]:
        """See `CameraFrame`."""
        return self.pixels.luma.shape[1], self.pixels.luma.shape[0]


def camera_frame(frame: av.VideoFrame, *, index: int, seconds: float, planar: bool) -> CameraFrame:
    """A decoded frame, in planes if that is wanted and possible."""
    planes = nv12_from_decoded(frame) if planar else None
    if planes is None:
        return CameraFrame(index=index, seconds=seconds, image_bgr=upright_bgr(frame))
    return PlanarFrame(index=index, seconds=seconds, planes=planes, convert=lambda: upright_bgr(frame))


def orientation(frame: av.VideoFrame) -> tuple[bool, int]:
    """How the stored picture becomes upright: mirror it left to right or not, then so many quarter turns, 0..3.

    Quarter turns are counter-clockwise, as `np.rot90` counts. From the display matrix, whose rows a b u, c d v, x y w
    (16.16 fixed point) put the stored pixel (x, y) to (a x + c y, b x + d y); its angle counts to the nearest quarter.
    """
    side_data: Any = SideDataContainer  # `frame.side_data` would keep the frame until a gc; the stubs lack the argument
    stored: Any = side_data(frame).get("DISPLAYMATRIX")
    if stored is None:
        return False, 0
    a, b, _, c, d = (int(value) for value in np.frombuffer(bytes(stored)[:20], np.int32))
    mirrored = a * d < b * c
    if mirrored:  # of the matrix after a mirroring, what is left is a turn
        a, b = -a, -b
    return mirrored, round(-math.degrees(math.atan2(b, a)) / 90) % 4


def upright_size(frame: av.VideoFrame) -> tuple[int, int]:
    """Width and height of the upright picture in pixels."""
    turned = orientation(frame)[1] % 2
    return (frame.height, frame.width) if turned else (frame.width, frame.height)


def upright_bgr(frame: av.VideoFrame) -> NDArray[np.uint8]:
    """The picture of a decoded frame: [H, W, 3] BGR uint8, owned by the receiver."""
    image = frame.to_ndarray(format="bgr24")  # [h, w, 3], a view into FFmpeg's buffer
    mirrored, turns = orientation(frame)
    turned = np.rot90(image[:, ::-1] if mirrored else image, turns)  # [H, W, 3]
    if frame.format.name == "bgr24":  # nothing was converted: the decoder may predict from this very buffer
        return np.array(turned, np.uint8, order="C")
    return np.ascontiguousarray(turned, np.uint8)


def nv12_from_decoded(frame: av.VideoFrame) -> Nv12Frame | None:
    """A decoded frame's planes, or None where NV12 cannot say what it is.

    Luma, and the chroma of nv12, are views that keep the decoder's buffer; yuv420p has its chroma interleaved.
    """
    matrix, kind = MATRICES.get(int(frame.colorspace)), frame.format.name
    if matrix is None or kind not in ("nv12", "yuv420p", "yuvj420p") or orientation(frame) != (False, 0):
        return None
    if min(plane.line_size for plane in frame.planes) <= 0:  # stored bottom up
        return None
    half_width = (frame.width + 1) // 2
    luma, *chroma = (_rows(plane) for plane in frame.planes)
    if kind == "nv12":
        pairs = chroma[0][:, : 2 * half_width].reshape(-1, half_width, 2)  # [h, w, 2], a view
    else:
        pairs = np.asarray(cv2.merge([part[:, :half_width] for part in chroma]), np.uint8)  # [h, w, 2]
    full_range = kind == "yuvj420p" or int(frame.color_range) == ColorRange.JPEG
    return Nv12Frame(luma=luma[:, : frame.width], chroma=pairs, matrix=matrix, full_range=full_range)


def picture_from_nv12(frame: Nv12Frame) -> NDArray[np.uint8]:
    """What FFmpeg makes of yuv420p with these values: [H, W, 3] BGR uint8, owned by the receiver.

    Not of NV12, whose chroma FFmpeg interpolates: nearly all footage, that for training too, is decoded as yuv420p.
    """
    height, width = frame.luma.shape
    decoded = av.VideoFrame(width, height, "yuv420p")
    values = (frame.luma, frame.chroma[:, :, 0], frame.chroma[:, :, 1])
    for plane, value in zip(decoded.planes, values, strict=True):
        _rows(plane, writeable=True)[:, : value.shape[1]] = value
    decoded.colorspace = COLOR_SPACES[frame.matrix]
    decoded.color_range = ColorRange.JPEG if frame.full_range else ColorRange.MPEG
    return upright_bgr(decoded)


def _rows(plane: Any, *, writeable: bool = False) -> NDArray[np.uint8]:
    """[h, bytes from row to row] uint8, a view into FFmpeg's buffer."""
    rows = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
    rows.flags.writeable = writeable
    return rows
