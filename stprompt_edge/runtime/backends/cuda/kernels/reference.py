"""NV12 -> BGR by the rule of `runtime.frames`: the reference that the CUDA kernel is held to, bit for bit.

The CPU path sees FFmpeg's conversion of what software decoders give, yuv420p: nearest as well, but its tables truncate.
Measured on three videos, a pixel of it is 1.1 to 1.4 levels darker on average and never further than 3 levels away.
(FFmpeg interpolates the chroma of NV12 itself, and at colour edges is then up to 60 levels away from its own yuv420p.)

Suffixes: H height, W width.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stprompt_edge.runtime.frames import FRACTION_BITS, Nv12Frame


def nv12_to_bgr(frame: Nv12Frame) -> NDArray[np.uint8]:
    """The rule at the head of `runtime.frames`.

    Args:
        frame: not changed.

    Returns:
        [H, W, 3] BGR uint8, owned by the receiver.
    """
    height, width = frame.luma.shape
    rule = frame.colour
    chroma = frame.chroma.repeat(2, axis=0).repeat(2, axis=1)[:height, :width]  # [H, W, 2]
    u, v = (chroma[:, :, part].astype(np.int32) - 128 for part in (0, 1))
    luma = rule.luma_gain * (frame.luma.astype(np.int32) - rule.luma_offset) + 2 ** (FRACTION_BITS - 1)
    blue = luma + rule.blue_u * u
    green = luma + rule.green_u * u + rule.green_v * v
    red = luma + rule.red_v * v
    bgr = np.stack([blue, green, red], axis=2) >> FRACTION_BITS  # [H, W, 3]
    return bgr.clip(0, 255).astype(np.uint8)
