"""Motion prior and spatial attention aggregation, SA² (eq. 1-3), on whole videos.

The runtime has the same equations in NumPy, one frame at a time; a test keeps the two equal.

Suffixes: T sampled frames, N windows (49), K selected windows (12), D width of the embedding, H and W pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor


def second_difference(x_T: Tensor, timing: str) -> Tensor:
    """Second-order difference in time, x[next] - 2 x[middle] + x[previous]; edges repeat the nearest frame.

    Args:
        x_T: [T, ...] float.
        timing: `centered` uses frames i-1, i, i+1; `causal` uses i-2, i-1, i.

    Returns:
        [T, ...], one for each frame i.
    """
    shift = 1 if timing == "centered" else 0
    last = x_T.shape[0] - 1
    index = torch.arange(x_T.shape[0])
    following, middle, previous = ((index + shift - step).clamp(0, last) for step in (0, 1, 2))
    return x_T[following] - 2 * x_T[middle] + x_T[previous]


def feature_motion(windows_TND: Tensor, timing: str) -> Tensor:
    """Eq. 1: length of the second-order difference of each window's embedding. [T, N, D] -> [T, N]."""
    return second_difference(windows_TND, timing).norm(dim=-1)


def pixel_motion(luma_THW: Tensor, windows_xyxy: Tensor, timing: str) -> Tensor:
    """Eq. 1 on luma: mean absolute second-order difference inside each window.

    Args:
        luma_THW: [T, H, W] float, 0..1, of the preprocessed frames.
        windows_xyxy: [N, 4] int, corners in pixels.
        timing: as `second_difference`.

    Returns:
        [T, N] float, 0..2.
    """
    change_THW = second_difference(luma_THW, timing).abs()
    return torch.stack([change_THW[:, y0:y1, x0:x1].mean(dim=(1, 2)) for x0, y0, x1, y1 in windows_xyxy.tolist()], 1)


def select_windows(motion_TN: Tensor, count: int) -> Tensor:
    """Eq. 2: the `count` windows with most motion, most first; ties go to the lower index. [T, N] -> [T, K] int64."""
    return motion_TN.sort(dim=-1, descending=True, stable=True).indices[..., :count]


def aggregate(selected_TKD: Tensor, motion_TK: Tensor) -> Tensor:
    """Eq. 3: x_as, mean of the selected windows weighted by the softmax of their motion. -> [T, D]."""
    attention_TK = motion_TK.softmax(dim=-1)
    return (attention_TK[..., None] * selected_TKD).sum(dim=-2)
