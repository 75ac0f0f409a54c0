"""Writes rendered frames as H.264, as a camera would compress them."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from stprompt_edge.errors import EnvironmentFailure
from stprompt_edge.files import atomic_path

KEYFRAME_S = 2  # the usual distance between key frames of an IP camera


def write_video(
    frames: Iterable[np.ndarray], to: Path, *, fps: int, size_wh: tuple[int, int], crf: int, preset: str = "veryfast"
) -> None:
    """Encodes frames [H, W, 3] uint8 BGR; the file appears under its name only when it is complete.

    Args:
        crf: x264's quality, 18 nearly transparent to 40 ruined. One thread, so that equal frames give equal bytes.

    Raises:
        EnvironmentFailure: this build of PyAV has no libx264, or the disk is full.
        UsageError: the folder cannot be written.
    """
    if "libx264" not in av.codecs_available:
        raise EnvironmentFailure(
            "this PyAV has no libx264 encoder",
            remedy="use PyAV's own wheel: pip install --force-reinstall --only-binary :all: av",
        )
    with atomic_path(to) as temporary, av.open(str(temporary), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.width, stream.height = size_wh
        stream.pix_fmt = "yuv420p"
        stream.time_base = Fraction(1, fps)
        stream.options = {"crf": str(crf), "preset": preset, "threads": "1", "g": str(KEYFRAME_S * fps)}
        for image in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        container.mux(stream.encode())
