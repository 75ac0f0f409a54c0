"""Settings of the demo bundle that are chosen on calibration videos, which are neither trained nor tested on.

Suffixes: G tokens on one side of the image.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from stprompt_edge.bundle import AlarmSection, Bundle, LocalizationSection, MethodSection
from stprompt_edge.datasets import LabelledVideo
from stprompt_edge.errors import UsageError
from stprompt_edge.evaluation.figures import motion_delay
from stprompt_edge.evaluation.metrics import box_iou
from stprompt_edge.evaluation.operating import Footage, best_point, goodness
from stprompt_edge.evaluation.records import ScoredVideo
from stprompt_edge.preprocess import Preprocessor
from stprompt_edge.runtime.backends.base import Backend
from stprompt_edge.runtime.batcher import Batcher
from stprompt_edge.runtime.boxes import find_boxes
from stprompt_edge.runtime.methods.phrases import PhraseLocalizer
from stprompt_edge.runtime.sources import open_source
from stprompt_edge.runtime.track import EncodeRequest

FINE_WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)
MIN_SECONDS = (0.0, 1.0, 2.0)  # that a score stays high before it is an alarm
HEAT_THRESHOLDS = tuple(np.round(np.arange(0.1, 0.95, 0.05), 2).tolist())


@dataclass(frozen=True, kw_only=True)
class LocatedWindows:
    """Abnormal probabilities of all windows of an annotated frame, and what is true there."""

    video: str
    fine: NDArray[np.float32]  # [49]
    coarse: NDArray[np.float32]  # [16]
    size_wh: tuple[int, int]
    true_xyxy: NDArray[np.float64]  # [K, 4] pixels of the camera frame


def located_windows(video: LabelledVideo, bundle: Bundle, backend: Backend) -> Iterator[LocatedWindows]:
    """Each annotated sampled frame of a video."""
    boxes = video.boxes or {}
    stride = bundle.manifest.method.stride
    preprocess, batcher, localizer = Preprocessor(bundle.preprocessing), Batcher(backend), PhraseLocalizer(bundle)
    with open_source(str(video.path)) as source:
        for frame in source.frames(lambda index: index % stride == 0 and index in boxes):
            (found,) = batcher.encode([EncodeRequest.of_all(preprocess(frame.image_bgr).image, bundle.geometry)])
            yield LocatedWindows(
                video=video.name,
                fine=localizer.abnormal(found.fine_KD),
                coarse=localizer.abnormal(found.coarse_LD),
                size_wh=frame.size_wh,
                true_xyxy=np.asarray(boxes[frame.index], np.float64),
            )


def choose_localization(bundle: Bundle, frames: Sequence[LocatedWindows]) -> tuple[LocalizationSection, float]:
    """The weight of the fine windows and the heat threshold with the highest mean IoU, and that IoU (mean over videos).

    Raises:
        UsageError: no annotated frame.
    """
    if not frames:
        raise UsageError("no calibration video has boxes", remedy="render calibration videos with anomalies")
    settings = bundle.manifest.localization
    scored = {
        (weight, threshold): _mean_iou(bundle, frames, weight, threshold)
        for weight, threshold in product(FINE_WEIGHTS, HEAT_THRESHOLDS)
    }
    weight, threshold = max(scored, key=lambda key: scored[key])
    chosen = settings.model_copy(update={"fine_weight": weight, "threshold": threshold})
    return chosen, scored[weight, threshold]


def _mean_iou(bundle: Bundle, frames: Sequence[LocatedWindows], weight: float, threshold: float) -> float:
    by_video: dict[str, list[float]] = {}
    for frame in frames:
        heat = bundle.geometry.heat_map(frame.fine, frame.coarse, weight)
        boxes = [(box.x0, box.y0, box.x1, box.y1) for box in find_boxes(heat, frame.size_wh, threshold)]
        by_video.setdefault(frame.video, []).append(box_iou(np.array(boxes).reshape(-1, 4), frame.true_xyxy))
    return float(np.mean([np.mean(ious) for ious in by_video.values()]))


def choose_alarm(videos: Sequence[ScoredVideo], method: MethodSection) -> AlarmSection:
    """Threshold and least duration that detect most within the budget of false alarms, then soonest.

    Args:
        videos: calibration videos, scored as at the edge.
        method: of the bundle.

    Raises:
        UsageError: no threshold is within the budget.
    """
    footage = Footage(videos, 0, motion_delay(method))
    found = [
        (point, seconds)
        for seconds in MIN_SECONDS
        if (point := best_point(footage.curve(AlarmSection(min_seconds=seconds)))) is not None
    ]
    if not found:
        raise UsageError("no threshold keeps the false alarms within the budget", remedy="train longer")
    point, seconds = max(found, key=lambda pair: goodness(pair[0]))
    return AlarmSection(
        threshold_on=point.threshold_on,  # not rounded: the next peak may be in the fifth decimal
        threshold_off=point.threshold_off,
        min_seconds=seconds,
    )
