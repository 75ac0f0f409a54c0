"""Frames for the kernel tests: seeded, with detail and with flat parts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stprompt_edge.runtime.frames import Matrix, Nv12Frame


def picture(width: int, height: int, seed: int = 0) -> NDArray[np.uint8]:
    """[height, width, 3] BGR: a gradient along each axis, and noise that repeats after 67 x 61 pixels."""
    noise = np.random.default_rng(seed).integers(0, 80, (67, 61, 3), np.uint8)
    tiled = np.tile(noise, (height // 67 + 1, width // 61 + 1, 1))[:height, :width]
    x, y = np.linspace(0, 87, width).astype(np.uint8), np.linspace(0, 88, height).astype(np.uint8)
    return tiled + x[None, :, None] + y[:, None, None]


def nv12_picture(
    width: int, height: int, *, seed: int = 0, matrix: Matrix = "bt601", full_range: bool = False
) -> Nv12Frame:
    """Every value of all three planes occurs, so many pixels are clipped."""
    rng = np.random.default_rng(seed)
    luma = rng.integers(0, 256, (height, width), np.uint8)
    chroma = rng.integers(0, 256, ((height + 1) // 2, (width + 1) // 2, 2), np.uint8)
    return Nv12Frame(luma=luma, chroma=chroma, matrix=matrix, full_range=full_range)
