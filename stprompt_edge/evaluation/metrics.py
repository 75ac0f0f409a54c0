"""The field's metrics and those of an alarm, as pure functions on arrays.

Suffixes and letters: F camera frames of a video, T its sampled frames, N anything scored, K boxes, H height, W width.
Scores are anomaly scores 0..1; labels are bool, True = abnormal. Camera frame f has the score of sampled frame
f // stride: a score is held for its `stride` frames. scikit-learn computes areas under curves.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stprompt_edge.errors import UsageError
from stprompt_edge.imports import import_failure
from stprompt_edge.runtime.alarm import AlarmSettings, Hysteresis

TIOU_SCORE = 0.5  # Liu & Ma 2019: a frame counts where its score reaches this
SECONDS_PER_HOUR = 3600.0


@dataclass(frozen=True, kw_only=True)
class RocCurve:
    """Points of the curve, from (0, 0) to (1, 1)."""

    false_positive_rate: NDArray[np.float64]
    true_positive_rate: NDArray[np.float64]
    thresholds: NDArray[np.float64]  # a score >= this is abnormal; the first is inf


def hold_scores(scores: ArrayLike, stride: int, frame_count: int) -> NDArray[np.float64]:
    """Scores of sampled frames 0, stride, 2 stride, ... -> scores of all camera frames.

    Args:
        scores: [T] float, with T = ceil(F / stride).
        stride: camera frames per sampled frame.
        frame_count: F.

    Returns:
        [F] float64.

    Raises:
        UsageError: T is another number than the frames give.
    """
    scores_T = _checked_scores(scores)
    expected = -(-frame_count // stride)
    if len(scores_T) != expected:
        what = f"{len(scores_T)} scores for {frame_count} frames at stride {stride}, expected {expected}"
        raise UsageError(what, remedy="score the same file that is annotated, with the same stride")
    return np.repeat(scores_T, stride)[:frame_count]


def auc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Area under the ROC curve (scikit-learn's roc_auc_score).

    Args:
        labels: [N] bool.
        scores: [N] float.

    Returns:
        0..1; the probability that an abnormal one scores higher than a normal one, ties counting half.

    Raises:
        UsageError: other shapes, scores that are not finite, nothing normal or nothing abnormal.
        EnvironmentFailure: scikit-learn is missing.
    """
    labels_N, scores_N = _checked_pair(labels, scores)
    return float(import_sklearn_metrics().roc_auc_score(labels_N, scores_N))


def average_precision(labels: ArrayLike, scores: ArrayLike) -> float:
    """Area under the precision-recall curve, as the step-wise sum (scikit-learn's average_precision_score).

    Arguments and errors as `auc`.
    """
    labels_N, scores_N = _checked_pair(labels, scores)
    return float(import_sklearn_metrics().average_precision_score(labels_N, scores_N))


def roc(labels: ArrayLike, scores: ArrayLike) -> RocCurve:
    """The ROC curve, for plots (scikit-learn's roc_curve). Arguments and errors as `auc`."""
    labels_N, scores_N = _checked_pair(labels, scores)
    false_positive, true_positive, thresholds = import_sklearn_metrics().roc_curve(labels_N, scores_N)
    return RocCurve(false_positive_rate=false_positive, true_positive_rate=true_positive, thresholds=thresholds)


def precision_recall(labels: ArrayLike, scores: ArrayLike) -> tuple[NDArray, NDArray, NDArray]:
    """Precision, recall and thresholds, for plots (scikit-learn's own order). Arguments and errors as `auc`."""
    return import_sklearn_metrics().precision_recall_curve(*_checked_pair(labels, scores))


def frame_auc(labels: Sequence[ArrayLike], scores: Sequence[ArrayLike]) -> float:
    """AUC over the frames of all videos together (Sultani et al. 2018).

    Args:
        labels: per video [F] bool.
        scores: per video [F] float, held by `hold_scores`.

    Raises as `auc`.
    """
    return auc(*_together(labels, scores))


def frame_ap(labels: Sequence[ArrayLike], scores: Sequence[ArrayLike]) -> float:
    """Average precision over the frames of all videos together (Wu et al. 2020). Else as `frame_auc`."""
    return average_precision(*_together(labels, scores))


def class_auc(
    classes: Sequence[str], labels: Sequence[ArrayLike], scores: Sequence[ArrayLike], normal: str = "normal"
) -> dict[str, float]:
    """Frame AUC per class: over the frames of the videos of that class and of all normal videos.

    Args:
        classes: per video, its class.
        labels, scores: as in `frame_auc`.
        normal: the class of normal videos; it has no entry of its own.

    Returns:
        AUC by class, in alphabetical order.

    Raises:
        UsageError: as `auc`, naming the class.
    """
    if not len(classes) == len(labels) == len(scores):
        what = f"{len(classes)} classes, {len(labels)} label arrays and {len(scores)} score arrays"
        raise UsageError(what, remedy="give one of each per video")
    found: dict[str, float] = {}
    for name in sorted(set(classes) - {normal}):
        rows = [row for row, label in enumerate(classes) if label in (name, normal)]
        try:
            found[name] = frame_auc([labels[row] for row in rows], [scores[row] for row in rows])
        except UsageError as exc:
            raise UsageError(f"class '{name}': {exc.what}", remedy=exc.remedy) from exc
    return found


def scale_boxes(boxes_xyxy: ArrayLike, from_wh: tuple[int, int], to_wh: tuple[int, int]) -> NDArray[np.float64]:
    """Boxes in pixels of one picture size -> of another: [K, 4] float64, for any K."""
    factor = np.array([to_wh[0] / from_wh[0], to_wh[1] / from_wh[1]] * 2)
    return _checked_boxes(boxes_xyxy) * factor


def box_iou(predicted_xyxy: ArrayLike, true_xyxy: ArrayLike) -> float:
    """IoU of two areas, each the union of its boxes (Liu & Ma 2019). Exact: boxes are not drawn on pixels.

    Args:
        predicted_xyxy: [K, 4] (x0, y0, x1, y1), x1 and y1 exclusive; K = 0 is an empty area.
        true_xyxy: [K', 4], in pixels of the same picture.

    Returns:
        0..1.

    Raises:
        UsageError: not [K, 4], not finite, a reversed box, or no true area: such a frame is not annotated.
    """
    predicted, true = _checked_boxes(predicted_xyxy), _checked_boxes(true_xyxy)
    both = np.concatenate((predicted, true))
    xs, ys = np.unique(both[:, [0, 2]]), np.unique(both[:, [1, 3]])
    cells = np.outer(np.diff(ys), np.diff(xs))  # [rows, columns] area between neighbouring edges
    return _iou(_covered(predicted, xs, ys), _covered(true, xs, ys), cells)


def mask_iou(predicted: ArrayLike, true: ArrayLike) -> float:
    """IoU of two pixel masks.

    Args:
        predicted, true: [H, W] bool of the same size.

    Returns:
        0..1.

    Raises:
        UsageError: other shapes, or no true pixel.
    """
    predicted_HW, true_HW = np.asarray(predicted, bool), np.asarray(true, bool)
    if predicted_HW.ndim != 2 or predicted_HW.shape != true_HW.shape:
        what = f"masks of {predicted_HW.shape} and {true_HW.shape}, expected two of the same [H, W]"
        raise UsageError(what, remedy="resize the predicted mask to the size of the true one")
    return _iou(predicted_HW, true_HW, np.ones(true_HW.shape))


def video_tiou(ious: ArrayLike, scores: ArrayLike, threshold: float = TIOU_SCORE) -> float:
    """TIoU of one video: the mean over its annotated frames of the IoU, 0 where the score is under the threshold.

    Args:
        ious: [N] 0..1, of the annotated frames, by `box_iou` or `mask_iou`.
        scores: [N] float, of the same frames.
        threshold: the frame counts where score >= threshold.

    Raises:
        UsageError: other shapes, values that are not finite, no annotated frame.
    """
    ious_N, scores_N = _checked_scores(ious), _checked_scores(scores)
    if ious_N.shape != scores_N.shape or not len(ious_N):
        what = f"TIoU of {len(ious_N)} IoUs and {len(scores_N)} scores"
        raise UsageError(what, remedy="give one IoU and one score per annotated frame, of at least one frame")
    return float(np.where(scores_N >= threshold, ious_N, 0.0).mean())


def tiou(videos: Sequence[tuple[ArrayLike, ArrayLike]], threshold: float = TIOU_SCORE) -> float:
    """TIoU of a test set (Liu & Ma 2019, "Exploring background-bias for anomaly detection"): the mean over its videos.

        TIoU = 1/V sum_v 1/N_v sum_n IoU_vn [score_vn >= threshold]

    Args:
        videos: per annotated video its (ious [N], scores [N]), as in `video_tiou`.

    Raises:
        UsageError: as `video_tiou`, or no video.
    """
    if not videos:
        raise UsageError("no video has boxes or masks", remedy="TIoU needs test videos with annotated areas")
    return float(np.mean([video_tiou(ious, scores, threshold) for ious, scores in videos]))


def alarm_states(scores: ArrayLike, seconds: ArrayLike, settings: AlarmSettings) -> NDArray[np.bool_]:
    """Is the alarm on, by the alarm that ships: [T] bool.

    Args:
        scores: [T] float, of sampled frames.
        seconds: [T] float, their times from the start of the video, rising.

    Raises:
        UsageError: other shapes, values that are not finite, times that do not rise.
    """
    scores_T, seconds_T = _checked_scores(scores), _checked_scores(seconds)
    if scores_T.shape != seconds_T.shape or (np.diff(seconds_T) <= 0).any():
        what = f"{len(scores_T)} scores at {len(seconds_T)} times, or times that do not rise"
        raise UsageError(what, remedy="give one rising time per score")
    alarm = Hysteresis(settings)
    return np.array(
        [alarm.update(at, score) for at, score in zip(seconds_T.tolist(), scores_T.tolist(), strict=True)], bool
    )


def time_to_alarm(
    scores: ArrayLike,
    seconds: ArrayLike,
    settings: AlarmSettings,
    *,
    start_seconds: float,
    end_seconds: float = math.inf,
    known_seconds: ArrayLike | None = None,
) -> float:
    """Seconds from the first abnormal frame to the first sampled frame at or after it with the alarm on.

    An alarm that was on before (a false one) and still is counts from the first sampled frame of the anomaly.

    Args:
        scores, seconds, settings: as in `alarm_states`.
        start_seconds: time of the first true abnormal frame.
        end_seconds: an alarm that is known at or after this time is too late; the anomaly's end, plus any grace given.
        known_seconds: [T] float, when each score is known: later than its frame where it needs later frames. None
            for at once.

    Returns:
        >= 0; inf if the anomaly was missed.

    Raises:
        UsageError: as `alarm_states`, or an end that does not come after the start.
    """
    if not start_seconds < end_seconds:
        what = f"anomaly from {start_seconds} to {end_seconds} s"
        raise UsageError(what, remedy="the end must come after the start")
    on_T, seconds_T = alarm_states(scores, seconds, settings), np.asarray(seconds, np.float64)
    return alarm_delay(
        on_T, seconds_T, seconds_T if known_seconds is None else known_seconds, start_seconds, end_seconds
    )


def alarm_delay(
    states: ArrayLike, seconds: ArrayLike, known_seconds: ArrayLike, start_seconds: float, end_seconds: float
) -> float:
    """`time_to_alarm` of states that `alarm_states` gave: [T] bool and [T] float; nothing is checked."""
    known_T = np.asarray(known_seconds)  # never before its frame
    hits = np.flatnonzero(np.asarray(states) & (np.asarray(seconds) >= start_seconds) & (known_T < end_seconds))
    return float(known_T[hits[0]] - start_seconds) if len(hits) else math.inf


def alarm_count(states: ArrayLike) -> int:
    """How often an alarm goes on: [T] bool, off before the first."""
    on_T = np.asarray(states, bool)
    return int(on_T[:1].sum() + (on_T[1:] & ~on_T[:-1]).sum())


def false_alarms_per_hour(
    scores: Sequence[ArrayLike],
    seconds: Sequence[ArrayLike],
    duration_seconds: Sequence[float],
    settings: Sequence[AlarmSettings],
) -> NDArray[np.float64]:
    """How often the alarm goes on in normal footage, for each of several settings.

    Args:
        scores, seconds: per normal video [T], as in `alarm_states`; the alarm starts anew with each video.
        duration_seconds: per normal video.
        settings: the points of the curve, for example from `settings_over`.

    Returns:
        [len(settings)] float64, alarms per hour.

    Raises:
        UsageError: as `alarm_states`; no footage, or lists of different length.
    """
    hours = float(np.sum(np.asarray(duration_seconds, np.float64))) / SECONDS_PER_HOUR
    if not len(scores) == len(seconds) == len(duration_seconds) or not (0 < hours < math.inf):
        what = f"{hours:.4g} hours of normal footage in {len(scores)} videos"
        raise UsageError(what, remedy="give scores, times and duration of at least one normal video")
    counts = []
    for point in settings:
        states = [alarm_states(video, at, point) for video, at in zip(scores, seconds, strict=True)]
        counts.append(sum(alarm_count(on) for on in states))
    return np.array(counts, np.float64) / hours


def settings_over(
    thresholds: ArrayLike, *, off_ratio: float = 1.0, min_seconds: float = 0.0
) -> tuple[AlarmSettings, ...]:
    """Alarm settings at each threshold, going off at `off_ratio` of it. Raises UsageError as `AlarmSettings`."""
    return tuple(
        AlarmSettings(threshold_on=on, threshold_off=on * off_ratio, min_seconds=min_seconds)
        for on in np.asarray(thresholds, np.float64).tolist()
    )


def import_sklearn_metrics() -> ModuleType:
    """scikit-learn's metrics, or one line that says how to install it. Raises EnvironmentFailure if it is missing."""
    try:
        from sklearn import metrics
    except ImportError as exc:
        raise import_failure("scikit-learn", exc, remedy='pip install "stprompt-edge[train]"') from exc
    return metrics


def _checked_scores(values: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(values, np.float64)
    if array.ndim != 1 or not np.isfinite(array).all():
        what = f"values of shape {array.shape}" + ("" if array.ndim != 1 else " that are not all finite")
        raise UsageError(what, remedy="give one finite number per frame")
    return array


def _checked_pair(labels: ArrayLike, scores: ArrayLike) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    labels_N, scores_N = np.asarray(labels, bool), _checked_scores(scores)
    if labels_N.shape != scores_N.shape:
        what = f"{labels_N.shape} labels and {scores_N.shape} scores"
        raise UsageError(what, remedy="give one label and one score per frame")
    abnormal = int(labels_N.sum())
    if abnormal in (0, len(labels_N)):
        what = f"{abnormal} abnormal and {len(labels_N) - abnormal} normal frames: no curve is defined"
        raise UsageError(what, remedy="test on videos that have both normal and abnormal frames")
    return labels_N, scores_N


def _together(
    labels: Sequence[ArrayLike], scores: Sequence[ArrayLike]
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Per-video arrays -> one, checked video by video so that two wrong lengths cannot make up for each other."""
    if len(labels) != len(scores) or not len(labels):
        what = f"labels of {len(labels)} videos and scores of {len(scores)}"
        raise UsageError(what, remedy="give both for each test video, of at least one")
    for row, (video_labels, video_scores) in enumerate(zip(labels, scores, strict=True)):
        if np.shape(video_labels) != np.shape(video_scores):
            what = f"video {row}: labels {np.shape(video_labels)} and scores {np.shape(video_scores)}"
            raise UsageError(what, remedy="hold the scores with `hold_scores` for all frames of the video")
    return np.concatenate([np.asarray(v, bool) for v in labels]), np.concatenate([_checked_scores(v) for v in scores])


def _checked_boxes(boxes_xyxy: ArrayLike) -> NDArray[np.float64]:
    boxes = np.asarray(boxes_xyxy, np.float64)
    boxes = boxes.reshape(0, 4) if boxes.size == 0 else boxes
    if boxes.ndim != 2 or boxes.shape[1] != 4 or not np.isfinite(boxes).all() or (boxes[:, :2] > boxes[:, 2:]).any():
        what = f"boxes of shape {boxes.shape}, not finite or reversed"
        raise UsageError(what, remedy="give [K, 4] with x0 <= x1 and y0 <= y1")
    return boxes


def _covered(boxes: NDArray[np.float64], xs: NDArray[np.float64], ys: NDArray[np.float64]) -> NDArray[np.bool_]:
    """[len(ys) - 1, len(xs) - 1] bool: the cells between edges that some box covers."""
    cells = np.zeros((max(len(ys) - 1, 0), max(len(xs) - 1, 0)), bool)
    left, right = np.searchsorted(xs, boxes[:, 0]), np.searchsorted(xs, boxes[:, 2])
    top, bottom = np.searchsorted(ys, boxes[:, 1]), np.searchsorted(ys, boxes[:, 3])
    for x0, x1, y0, y1 in zip(left, right, top, bottom, strict=True):
        cells[y0:y1, x0:x1] = True
    return cells


def _iou(predicted: NDArray[np.bool_], true: NDArray[np.bool_], areas: NDArray[np.float64]) -> float:
    if not (true * areas).sum() > 0:
        remedy = "leave this frame out: IoU is defined on annotated frames"
        raise UsageError("the true area is empty", remedy=remedy)
    return float((areas * (predicted & true)).sum() / (areas * (predicted | true)).sum())
