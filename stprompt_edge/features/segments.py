"""A video of any length as a fixed number of segments, as Sultani et al. (CVPR 2018) make their bags.

Suffixes: T sampled frames, S segments, N fine windows (49), D width of the embedding.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray


def segment_bounds(length: int, segments: int) -> list[tuple[int, int]]:
    """First frame and end of each of `segments` equal parts of a video; a short one's frames are repeated.

    >>> segment_bounds(5, 2), segment_bounds(2, 4)
    ([(0, 2), (2, 5)], [(0, 1), (0, 1), (1, 2), (1, 2)])
    """
    edges = [length * part // segments for part in range(segments + 1)]
    return [(start, max(stop, start + 1)) for start, stop in pairwise(edges)]


def segment_means(windows_TND: Any, length: int, segments: int) -> NDArray[np.float16]:
    """Each fine window's embedding averaged over each segment.

    Args:
        windows_TND: [T, N, D] float; an array, or an open file that gives frames a to b as `windows_TND[a:b]`.
        length: T.
        segments: S.

    Returns:
        [S, N, D] float16, as features are stored: 32 segments of ViT-B/16 take 1.6 MB.
    """
    bounds = segment_bounds(length, segments)
    means = [windows_TND[start:stop].mean(axis=0, dtype=np.float32) for start, stop in bounds]
    return np.stack(means).astype(np.float16)
