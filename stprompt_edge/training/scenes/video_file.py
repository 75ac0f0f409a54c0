"""Writes rendered frames as H.264, as a camera would compress them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from stprompt_edge.errors import EnvironmentFailure

KEYFRAME_S = 2  # the usual distance between key frames of an IP camera


def write_video(
    frames: Iterable[np.ndarray], to: Path, *, fps: int, size_wh: tuple[int, int], crf: int, preset: str = "veryfast"
) -> None:
    """Encodes frames [H, W, 3] uint8 BGR; the file appears under its name only when it is complete.

    Args:
        crf: x264's quality, 18 nearly transparent to 40 ruined. One thread, so that equal frames give equal bytes.

    Raises:
        EnvironmentFailure: this build of PyAV has no libx264.
    """
    partial = to.with_name(f".{to.name}.partial")
    try:
        with av.open(str(partial), "w", format="mp4") as container:
            try:
                stream = container.add_stream("libx264", rate=fps)
            except av.FFmpegError as exc:
                raise EnvironmentFailure("PyAV here has no libx264 encoder", remedy="pip install --force av") from exc
            stream.width, stream.height, stream.pix_fmt = *size_wh, "yuv420p"
            stream.time_base = Fraction(1, fps)
            stream.options = {
                "crf": str(crf), "preset": preset, "threads": "1", "g": str(KEYFRAME_S * fps), "movflags": "+faststart",
            }  # fmt: skip
            for image in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
            container.mux(stream.encode())
        with partial.open("rb+") as written:
            os.fsync(written.fileno())
        partial.replace(to)
    finally:
        partial.unlink(missing_ok=True)
