"""Motion prior and spatial attention aggregation, SA² (eq. 1-3), one sampled frame at a time.

The same equations as `model.aggregation`, streaming; a test keeps the two equal.

Suffixes: N windows (49), K selected windows (12), D width of the embedding, H and W pixels.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stprompt_edge.geometry import Geometry


class SecondDifference:
    """x[next] - 2 x[middle] + x[previous] of a stream; edges repeat the nearest frame.

    Args:
        timing: `centered` looks one sampled frame ahead, so results come one push late; `causal` looks back only.
    """

    def __init__(self, timing: str) -> None:
        self.delay = 1 if timing == "centered" else 0
        self._recent: deque[NDArray[np.float32]] = deque(maxlen=3)  # oldest first

    def push(self, x: NDArray[np.float32]) -> NDArray[np.float32] | None:
        """Take frame i's array; give the difference of frame i - delay, or None while there is none."""
        first = not self._recent
        self._recent.append(x)
        if first and self.delay:
            return None
        return self._difference()

    def flush(self) -> Iterator[NDArray[np.float32]]:
        """The stream has ended: give what was held back, with the last frame repeated."""
        for _ in range(self.delay if self._recent else 0):
            self._recent.append(self._recent[-1])
            yield self._difference()

    def _difference(self) -> NDArray[np.float32]:
        following = self._recent[-1]
        middle = self._recent[max(len(self._recent) - 2, 0)]
        previous = self._recent[max(len(self._recent) - 3, 0)]
        return following - 2 * middle + previous


def window_means(image_HW: NDArray[np.float32], geometry: Geometry) -> NDArray[np.float32]:
    """Mean of an image inside each fine window: [H, W] -> [N] float32."""
    grid = geometry.fine
    side = geometry.windows_per_side(grid)
    if grid.size == grid.stride:
        means: NDArray[np.float32] = image_HW.reshape(side, grid.size, side, grid.size).mean((1, 3), np.float32)
        return means.ravel()
    return np.array(
        [image_HW[y0:y1, x0:x1].mean(dtype=np.float32) for x0, y0, x1, y1 in geometry.windows_xyxy(grid)], np.float32
    )


def pixel_motion(luma_difference_HW: NDArray[np.float32], geometry: Geometry) -> NDArray[np.float32]:
    """Eq. 1 on luma: mean absolute second-order difference inside each fine window. [H, W] -> [N]."""
    return window_means(np.abs(luma_difference_HW), geometry)


def feature_motion(difference_ND: NDArray[np.float32]) -> NDArray[np.float32]:
    """Eq. 1: length of the second-order difference of each window's embedding. [N, D] -> [N]."""
    lengths: NDArray[np.float32] = np.linalg.norm(difference_ND, axis=-1)
    return lengths.astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The windows that a sampled frame is judged by (eq. 2)."""

    indices: NDArray[np.int64]  # [K], most motion first
    attention: NDArray[np.float32]  # [K], softmax of their motion, sums to 1


def select_windows(motion_N: NDArray[np.float32], count: int) -> Selection:
    """Eq. 2: the `count` windows with most motion; ties go to the lower index."""
    indices = np.argsort(-motion_N, kind="stable")[:count].astype(np.int64)
    return Selection(indices=indices, attention=softmax(motion_N[indices]))


def aggregate(selected_KD: NDArray[np.float32], attention_K: NDArray[np.float32]) -> NDArray[np.float32]:
    """Eq. 3: x_as, the attention-weighted mean of the selected windows. [K, D], [K] -> [D]; zero where K is 0."""
    return attention_K @ selected_KD


def softmax(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Over the last axis; same shape, float32, sums to 1. Of nothing (K = 0) it is nothing."""
    exponentials = np.exp(x - x.max(axis=-1, keepdims=True, initial=-np.inf))
    shares: NDArray[np.float32] = exponentials / exponentials.sum(axis=-1, keepdims=True)
    return shares.astype(np.float32)
