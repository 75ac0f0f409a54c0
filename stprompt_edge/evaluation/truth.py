"""What is annotated in a video, frame by frame, and how well a localization fits it.

A sampled frame stands for the `stride` camera frames from it on, so it is compared with the first annotated one among
them. Boxes are compared with the predicted boxes; masks with the pixels whose heat is above the bundle's threshold.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from stprompt_edge.datasets import LabelledVideo
from stprompt_edge.evaluation.metrics import box_iou, mask_iou, scale_boxes
from stprompt_edge.runtime.records import Localization


@dataclass(frozen=True, kw_only=True)
class Area:
    """What is truly abnormal in one frame: boxes in pixels of the camera frame, or a mask."""

    boxes_xyxy: NDArray[np.float64] | None = None  # [K, 4]
    mask: NDArray[np.bool_] | None = None  # [H, W]

    def iou(self, found: Localization, heat_threshold: float) -> float:
        """IoU of a localization with this area, 0..1."""
        if self.mask is None:
            predicted = [(box.x0, box.y0, box.x1, box.y1) for box in found.boxes]
            return box_iou(predicted, self.boxes_xyxy if self.boxes_xyxy is not None else ())
        return mask_iou(hot_pixels(found.heat_map, self.mask.shape, heat_threshold), self.mask)

    def share(self, size_wh: tuple[int, int]) -> float:
        """Of the frame's pixels, 0..1."""
        if self.mask is not None:
            return float(self.mask.mean())
        width, height = size_wh
        return box_iou(self.boxes_xyxy if self.boxes_xyxy is not None else (), [(0, 0, width, height)])


class AnnotatedFrames:
    """The sampled frames of a video that are annotated with boxes or masks.

    Args:
        video: its annotation.
        stride: camera frames per sampled frame.
    """

    def __init__(self, video: LabelledVideo, stride: int) -> None:
        self._video = video
        self._masks: dict[int, NDArray[np.bool_]] = {}  # those of a file, which is read at once
        self.first_of: dict[int, int] = {}  # sampled frame -> first annotated frame that it stands for
        for frame in _annotated_frames(video, stride):
            self.first_of.setdefault(frame - frame % stride, frame)

    @property
    def truth(self) -> str:
        """`boxes` or `masks`."""
        return "boxes" if self._video.boxes is not None else "masks"

    def area(self, sampled: int, size_wh: tuple[int, int]) -> Area | None:
        """What is annotated for a sampled frame; None where it is an empty area after all.

        Args:
            sampled: a key of `first_of`.
            size_wh: of the camera frame, in pixels.

        Raises:
            UsageError: its mask cannot be read.
        """
        frame, video = self.first_of[sampled], self._video
        if video.boxes is None:
            mask = self._mask(frame)
            return Area(mask=mask) if mask.any() else None
        assert video.boxes_size_wh is not None  # checked by LabelledVideo
        return Area(boxes_xyxy=scale_boxes(video.boxes[frame], video.boxes_size_wh, size_wh))

    def _mask(self, frame: int) -> NDArray[np.bool_]:
        video = self._video
        if video.masks is not None and video.masks.is_dir():
            return video.load_masks([frame])[0]
        if not self._masks:
            frames = sorted(self.first_of.values())
            self._masks = dict(zip(frames, video.load_masks(frames), strict=True))
        return self._masks[frame]


def hot_pixels(heat_GG: NDArray[np.float32], shape_hw: tuple[int, ...], threshold: float) -> NDArray[np.bool_]:
    """[H, W] bool: where the heat map [G, G], resized bilinearly, is above the threshold."""
    heat: Any = cv2.resize(heat_GG, (shape_hw[1], shape_hw[0]), interpolation=cv2.INTER_LINEAR)
    return heat > threshold


def _annotated_frames(video: LabelledVideo, stride: int) -> Iterator[int]:
    """In order; of masks only the frames that `AnnotatedFrames` may need, because each must be read."""
    if video.boxes is not None:
        yield from (frame for frame in sorted(video.boxes) if video.boxes[frame])
    elif video.masks is not None:
        for first, last in video.frame_ranges or ():
            yield first
            yield from range(first - first % stride + stride, last, stride)
