"""From a heat map to boxes in the camera frame.

Suffixes: G tokens on one side of the image.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from stprompt_edge.runtime.records import Box

_MAX_SIDE = 640  # boxes are found on a map of at most this many pixels a side, then scaled: heat is 14 x 14 anyway


def find_boxes(heat_GG: NDArray[np.float32], size_wh: tuple[int, int], threshold: float) -> tuple[Box, ...]:
    """Boxes around the connected regions whose heat is above the threshold, hottest first.

    Args:
        heat_GG: [G, G] float32, 0..1; resized bilinearly to the frame.
        size_wh: width and height of the frame in pixels.
        threshold: heat.
    """
    width, height = size_wh
    scale = min(1.0, _MAX_SIDE / max(width, height))
    map_wh = max(round(width * scale), 1), max(round(height * scale), 1)
    heat: Any = cv2.resize(heat_GG, map_wh, interpolation=cv2.INTER_LINEAR)
    hot = (heat > threshold).astype(np.uint8)
    contours, _ = cv2.findContours(hot, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    boxes = [_box(heat, tuple(cv2.boundingRect(contour)), map_wh, size_wh) for contour in contours]
    return tuple(sorted(boxes, key=lambda box: -box.probability))


def _box(
    heat: NDArray[np.float32], rectangle: tuple[int, ...], map_wh: tuple[int, int], size_wh: tuple[int, int]
) -> Box:
    x, y, w, h = rectangle
    scale_x, scale_y = size_wh[0] / map_wh[0], size_wh[1] / map_wh[1]
    return Box(
        x0=int(x * scale_x),
        y0=int(y * scale_y),
        x1=min(round((x + w) * scale_x), size_wh[0]),
        y1=min(round((y + h) * scale_y), size_wh[1]),
        probability=float(heat[y : y + h, x : x + w].max()),
    )
