"""From scored videos to figures.

Letters: T sampled frames, F camera frames.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from stprompt_edge.bundle import AlarmSection, MethodSection
from stprompt_edge.evaluation import metrics
from stprompt_edge.evaluation.operating import Footage, best_point, normal_hours
from stprompt_edge.evaluation.records import (
    AlarmFigures,
    Figures,
    LocalizationFigures,
    LookaheadPoint,
    Ranking,
    ScoredVideo,
)
from stprompt_edge.runtime.alarm import AlarmSettings
from stprompt_edge.runtime.motion import SecondDifference
from stprompt_edge.runtime.temporal import kernel_reach


def offline_figures(videos: Sequence[ScoredVideo]) -> Figures:
    """What whole-video scores allow."""
    return Figures(
        frames=frame_ranking(videos, None), videos=video_ranking(videos, None), classes=class_aucs(videos, None)
    )


def streaming_figures(videos: Sequence[ScoredVideo], method: MethodSection, alarm: AlarmSection, truth: str) -> Figures:
    """What the runtime's scores, alarms and localizations allow.

    Args:
        videos: scored as at the edge.
        method: of the bundle.
        alarm: its default thresholds.
        truth: what annotated frames are compared with: boxes or masks.
    """
    return Figures(
        frames=frame_ranking(videos, 0),
        videos=video_ranking(videos, 0),
        classes=class_aucs(videos, 0),
        localization=localization(videos, truth),
        alarm=alarm_figures(videos, method, alarm),
        lookahead=tuple(lookahead_points(videos, method, alarm)),
    )


def frame_ranking(videos: Sequence[ScoredVideo], lookahead: int | None) -> Ranking | None:
    """AUC and AP over the camera frames of all annotated videos together; None where one kind is missing."""
    annotated = [video for video in videos if video.labels is not None]
    if not any(not video.is_normal for video in annotated):
        return None
    return _ranking(*frames_together(annotated, lookahead))


def frames_together(
    videos: Sequence[ScoredVideo], lookahead: int | None
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Labels and held scores of all camera frames of annotated videos, one after the other."""
    labels = [video.labels for video in videos if video.labels is not None]
    scores = [held(video, lookahead) for video in videos if video.labels is not None]
    return np.concatenate(labels), np.concatenate(scores)


def videos_together(
    videos: Sequence[ScoredVideo], lookahead: int | None
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Is each video abnormal, and its highest score."""
    labels = np.array([not video.is_normal for video in videos], bool)
    return labels, np.array([video.scores[lookahead].max() for video in videos], np.float64)


def video_ranking(videos: Sequence[ScoredVideo], lookahead: int | None) -> Ranking | None:
    """AUC and AP over videos by their highest score; None where one kind is missing."""
    return _ranking(*videos_together(videos, lookahead))


def class_aucs(videos: Sequence[ScoredVideo], lookahead: int | None) -> Mapping[str, float]:
    """Frame AUC by class; a class is left out where its frames are all abnormal and there is no normal video."""
    annotated = [video for video in videos if video.labels is not None]
    found: dict[str, float] = {}
    for name in sorted({video.label for video in annotated if not video.is_normal}):
        of_class = [video for video in annotated if video.is_normal or video.label == name]
        ranking = _ranking(*frames_together(of_class, lookahead))
        if ranking is not None:
            found[name] = ranking.auc
    return found


def held(video: ScoredVideo, lookahead: int | None) -> NDArray[np.float64]:
    """[F] the scores of all camera frames."""
    return metrics.hold_scores(video.scores[lookahead], video.stride, video.frame_count)


def localization(videos: Sequence[ScoredVideo], truth: str) -> LocalizationFigures | None:
    """TIoU, and the IoU behind it; None without annotated frames."""
    located = [video.located for video in videos if video.located]
    if not located:
        return None
    pairs = [([one.iou for one in frames], [one.score for one in frames]) for frames in located]
    scores = np.concatenate([scores for _, scores in pairs])
    return LocalizationFigures(
        truth=truth,
        tiou=metrics.tiou(pairs),
        mean_iou=float(np.mean([np.mean(ious) for ious, _ in pairs])),
        videos=len(pairs),
        frames=len(scores),
        scored_share=float((scores >= metrics.TIOU_SCORE).mean()),
    )


def alarm_figures(videos: Sequence[ScoredVideo], method: MethodSection, alarm: AlarmSection) -> AlarmFigures:
    """The operating curve of the runtime's alarm, the bundle's own point on it and the best one within the budget."""
    late = motion_delay(method)
    footage = Footage(videos, 0, late)
    curve = footage.curve(alarm)
    return AlarmFigures(
        normal_hours=normal_hours(videos),
        normal_videos=len(footage.normal),
        anomalies=sum(len(footage.anomalies(video)) for video in videos),
        timed=footage.timed,
        score_delay_samples=late,
        own=footage.point(AlarmSettings.from_bundle(alarm)),
        best=best_point(curve),
        curve=curve,
    )


def lookahead_points(videos: Sequence[ScoredVideo], method: MethodSection, alarm: AlarmSection) -> list[LookaheadPoint]:
    """AUC, and what the bundle's own alarm does, for each lookahead that was scored."""
    settings, spacing = AlarmSettings.from_bundle(alarm), median_spacing(videos)
    points = []
    for lookahead in videos[0].scores:
        late = motion_delay(method) + (kernel_reach(method.sigma) if lookahead is None else lookahead)
        point = Footage(videos, lookahead, late).point(settings)
        ranking = frame_ranking(videos, lookahead) or video_ranking(videos, lookahead)
        points.append(
            LookaheadPoint(
                lookahead=lookahead,
                delay_seconds=late * spacing,
                auc=ranking.auc if ranking else None,
                ap=ranking.ap if ranking else None,
                false_alarms_per_hour=point.false_alarms_per_hour,
                median_seconds_to_alarm=point.median_seconds,
            )
        )
    return points


def motion_delay(method: MethodSection) -> int:
    """Later sampled frames that every score waits for, because the motion of a frame needs them."""
    return SecondDifference(method.motion_timing).delay


def median_spacing(videos: Sequence[ScoredVideo]) -> float:
    """Seconds between sampled frames, the median of the videos; 0.0 where nothing is sampled twice."""
    return float(np.median([video.stride / video.fps for video in videos])) if videos else 0.0


def _ranking(labels: NDArray[np.bool_], scores: NDArray[np.float64]) -> Ranking | None:
    abnormal = int(labels.sum())
    normal = len(labels) - abnormal
    if not abnormal or not normal:
        return None
    auc, ap = metrics.auc(labels, scores), metrics.average_precision(labels, scores)
    return Ranking(auc=auc, ap=ap, abnormal=abnormal, normal=normal)
