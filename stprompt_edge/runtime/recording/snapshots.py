"""Pictures for the report: the peak of each event, or of the whole run, in bounded memory."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from stprompt_edge.runtime.drawing import draw_boxes, overlay_heat
from stprompt_edge.runtime.frames import CameraFrame
from stprompt_edge.runtime.records import AlarmChange, Detection

LONG_SIDE = 640  # pixels; two stand side by side in the report
_JPEG_QUALITY = 82


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """One sampled frame as the report shows it."""

    detection: Detection
    plain_jpeg: bytes
    marked_jpeg: bytes | None  # with heat and boxes; None when the frame was not localized


@dataclass(frozen=True, kw_only=True)
class _Candidate:
    detection: Detection
    image_bgr: NDArray[np.uint8]  # [h, w, 3], long side at most LONG_SIDE; our own copy
    scale: float  # pixels of image_bgr per camera pixel


class PeakKeeper:
    """Holds three pictures at most: the peak of the run, that of the open event, and the latest sampled frame."""

    def __init__(self) -> None:
        self._best: _Candidate | None = None
        self._event: _Candidate | None = None
        self._latest: tuple[Detection, CameraFrame] | None = None

    def add(self, detection: Detection, frame: CameraFrame) -> None:
        """Takes the next sampled frame; its picture is asked for and copied only if it is a new peak."""
        self._latest = detection, frame
        if self._best is None or detection.score > self._best.detection.score:
            self._best = _candidate(detection, frame.image_bgr)

    def change(self, change: AlarmChange) -> Snapshot | None:
        """Takes what the latest sampled frame changed; gives the peak of an event that is over."""
        if change.kind == "closed":
            event, self._event = self._event, None
            return None if event is None else _snapshot(event)
        assert self._latest is not None
        detection, frame = self._latest
        is_best = self._best is not None and self._best.detection is detection
        self._event = self._best if is_best else _candidate(detection, frame.image_bgr)
        return None

    def best(self) -> Snapshot | None:
        """The highest score of the run; None before the first sampled frame."""
        return _snapshot(self._best) if self._best is not None else None


def _candidate(detection: Detection, image_bgr: NDArray[np.uint8]) -> _Candidate:
    height, width = image_bgr.shape[:2]
    scale = min(1.0, LONG_SIDE / max(height, width))
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    image = cv2.resize(image_bgr, size, interpolation=cv2.INTER_AREA) if scale < 1.0 else image_bgr.copy()
    return _Candidate(detection=detection, image_bgr=np.asarray(image, np.uint8), scale=scale)


def _snapshot(candidate: _Candidate) -> Snapshot:
    detection, marked = candidate.detection, None
    if detection.localization is not None:
        marked = overlay_heat(candidate.image_bgr, detection.localization.heat_map)
        marked = draw_boxes(marked, detection.localization.boxes, detection.top_class, scale=candidate.scale)
    return Snapshot(
        detection=detection,
        plain_jpeg=_jpeg(candidate.image_bgr),
        marked_jpeg=_jpeg(marked) if marked is not None else None,
    )


def _jpeg(image_bgr: NDArray[np.uint8]) -> bytes:
    done, data = cv2.imencode(".jpg", image_bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    assert done
    return data.tobytes()
