"""The most telling frames of a test set: where the anomaly was found best, and where worst at a high score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from stprompt_edge.evaluation.metrics import TIOU_SCORE
from stprompt_edge.evaluation.records import LocatedFrame, Picture
from stprompt_edge.evaluation.truth import Area
from stprompt_edge.runtime.drawing import draw_boxes, overlay_heat
from stprompt_edge.runtime.frames import CameraFrame
from stprompt_edge.runtime.records import Detection

TRUE = (129, 209, 79)  # BGR, the green of the pages in the dark
_SIDE = 480  # pixels of the long side of each half
_GAP = 6  # pixels between the halves
_JPEG_QUALITY = 82
_SHOWN = 4  # of each kind


@dataclass(frozen=True, kw_only=True)
class _Candidate:
    located: LocatedFrame
    detection: Detection
    frame: CameraFrame
    area: Area


class TellingFrames:
    """Holds the best and the worst localized frame of a video, at most two camera frames at a time."""

    def __init__(self, video: str, label: str) -> None:
        self._video = video
        self._label = label
        self._best: _Candidate | None = None
        self._worst: _Candidate | None = None

    def add(self, located: LocatedFrame, detection: Detection, frame: CameraFrame, area: Area) -> None:
        """The next localized frame."""
        rest: _Candidate | None = _Candidate(located=located, detection=detection, frame=frame, area=area)
        if self._best is None or located.iou > self._best.located.iou:
            self._best, rest = rest, self._best
        if rest and (self._worst is None or _badness(rest.located) > _badness(self._worst.located)):
            self._worst = rest

    def pictures(self) -> tuple[Picture, ...]:
        """None, one or two, best first."""
        return tuple(self._draw(candidate) for candidate in (self._best, self._worst) if candidate is not None)

    def _draw(self, candidate: _Candidate) -> Picture:
        detection = candidate.detection
        return Picture(
            video=self._video,
            label=self._label,
            seconds=detection.seconds,
            located=candidate.located,
            jpeg=_jpeg(draw_pair(detection, candidate.frame, candidate.area)),
        )


def choose_pictures(pictures: Sequence[Picture]) -> tuple[tuple[Picture, ...], tuple[Picture, ...]]:
    """Of all videos: the best ones, best first, and the worst ones, worst first; no frame is in both."""
    best = sorted(pictures, key=lambda p: (-p.located.iou, p.video, p.located.frame))
    best = _one_of_each_video(best)[: min(_SHOWN, (len(pictures) + 1) // 2)]
    left = [picture for picture in pictures if not any(picture is chosen for chosen in best)]
    worst = sorted(left, key=lambda p: ([-value for value in _badness(p.located)], p.video, p.located.frame))
    return tuple(best), tuple(_one_of_each_video(worst)[:_SHOWN])


def draw_pair(detection: Detection, frame: CameraFrame, area: Area) -> NDArray[np.uint8]:
    """What is true on the left, the heat map with the predicted boxes on the right: [h, w, 3] BGR uint8."""
    image = frame.image_bgr
    height, width = image.shape[:2]
    scale = _SIDE / max(height, width)  # small videos are enlarged, so that lines and words fit all sizes
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    small = np.asarray(
        cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR), np.uint8
    )
    localization = detection.localization
    assert localization is not None  # only localized frames are added
    right = overlay_heat(small, localization.heat_map)
    right = draw_boxes(right, localization.boxes, "", scale=scale)
    gap = np.full((size[1], _GAP, 3), 127, np.uint8)
    return np.concatenate([draw_truth(small, area, scale), gap, right], axis=1)


def draw_truth(image_bgr: NDArray[np.uint8], area: Area, scale: float) -> NDArray[np.uint8]:
    """Outlines what is truly abnormal; `scale`: pixels of `image_bgr` per pixel of the boxes. A new picture."""
    canvas: Any = image_bgr.copy()
    height, width = canvas.shape[:2]
    thickness = max(2, round(min(height, width) / 120))
    if area.mask is not None:
        mask = cv2.resize(area.mask.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
        contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        return np.asarray(cv2.drawContours(canvas, contours, -1, TRUE, thickness), np.uint8)
    boxes_xyxy = area.boxes_xyxy if area.boxes_xyxy is not None else np.zeros((0, 4))
    for x0, y0, x1, y1 in np.rint(boxes_xyxy * scale).astype(int).tolist():
        cv2.rectangle(canvas, (x0, y0), (x1 - 1, y1 - 1), TRUE, thickness, cv2.LINE_8)
    return np.asarray(canvas, np.uint8)


def _badness(located: LocatedFrame) -> tuple[float, ...]:
    """The runtime was sure of it, found little of it, and there was much to find."""
    return float(located.score >= TIOU_SCORE), -located.iou, located.true_share


def _one_of_each_video(pictures: Sequence[Picture]) -> list[Picture]:
    chosen: dict[str, Picture] = {}
    for picture in pictures:
        chosen.setdefault(picture.video, picture)
    return list(chosen.values())


def _jpeg(image_bgr: NDArray[np.uint8]) -> bytes:
    done, data = cv2.imencode(".jpg", image_bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    assert done
    return data.tobytes()
