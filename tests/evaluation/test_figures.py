"""Figures from scored videos, worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

pytest.importorskip("sklearn")

from stprompt_edge.evaluation import figures as f
from stprompt_edge.evaluation.records import Anomaly
from tests.runtime.tiny import tiny_bundle

from .scored import located, scored

MANIFEST = tiny_bundle(motion_timing="centered").manifest


def test_frames_are_ranked_together_and_scores_are_held() -> None:
    videos = [
        scored("n", [0.1, 0.4], stride=2),  # frames 0.1 0.1 0.4 0.4, all normal
        scored("x", [0.2, 0.8], "fire", stride=2, abnormal=[(1, 4)]),  # 0.2 is normal, 0.2 0.8 0.8 abnormal
    ]
    ranking = f.frame_ranking(videos, None)
    assert ranking is not None
    # of 3 x 5 pairs: 0.8 wins all five, twice; 0.2 wins two, ties one, loses two
    assert ranking.auc == pytest.approx((5 + 5 + 2.5) / 15)
    assert (ranking.abnormal, ranking.normal) == (3, 5)


def test_videos_are_ranked_by_their_highest_score() -> None:
    videos = [scored("a", [0.9, 0.1]), scored("b", [0.2]), scored("x", [0.1, 0.5], "fire", abnormal=None)]
    ranking = f.video_ranking(videos, None)
    assert ranking is not None
    assert (ranking.auc, ranking.abnormal, ranking.normal) == (0.5, 1, 2)


@pytest.mark.parametrize(
    "videos",
    [
        [scored("n", [0.1])],
        [scored("n", [0.1]), scored("x", [0.5], "fire", abnormal=None)],
        [scored("x", [0.5], "fire", abnormal=[(0, 1)])],
    ],
)
def test_no_curve_where_a_kind_of_frame_is_missing(videos: list) -> None:
    assert f.frame_ranking(videos, None) is None
    assert f.class_aucs(videos, None) == {}


def test_a_video_without_annotation_is_left_out_of_the_frames() -> None:
    videos = [
        scored("n", [0.1]),
        scored("x", [0.5], "fire", abnormal=[(0, 1)]),
        scored("y", [0.0], "fire", abnormal=None),
    ]
    ranking = f.frame_ranking(videos, None)
    assert ranking is not None
    assert (ranking.auc, ranking.abnormal) == (1.0, 1)


def test_classes_are_compared_with_all_normal_frames() -> None:
    videos = [
        scored("n", [0.3]),
        scored("x", [0.5, 0.9], "fire", abnormal=[(1, 2)]),
        scored("y", [0.2], "fall", abnormal=[(0, 1)]),
    ]
    assert f.class_aucs(videos, None) == {"fall": 0.0, "fire": 1.0}


def test_localization_is_the_mean_over_videos() -> None:
    videos = [
        scored("x", [0.9], "fire", abnormal=[(0, 1)], located=(located(0.8, 0.9), located(0.4, 0.3))),
        scored("y", [0.9], "fire", abnormal=[(0, 1)], located=(located(0.2, 0.5),)),
        scored("n", [0.1]),
    ]
    found = f.localization(videos, "boxes")
    assert found is not None
    assert found.tiou == pytest.approx((0.4 + 0.2) / 2)  # 0.3 is under 0.5 and counts 0
    assert found.mean_iou == pytest.approx((0.6 + 0.2) / 2)
    assert (found.videos, found.frames, found.scored_share) == (2, 3, pytest.approx(2 / 3))
    assert f.localization([videos[2]], "boxes") is None


def test_alarms_wait_for_the_motion() -> None:
    videos = [
        scored("n", [0.1] * 4, others={None: [0.1] * 4}),
        scored("x", [0.1, 0.1, 0.9, 0.9], "fire", abnormal=[(1, 4)], others={None: [0.9] * 4}),
    ]
    figures = f.alarm_figures(videos, MANIFEST.method, MANIFEST.alarm)
    assert (figures.score_delay_samples, figures.anomalies, figures.timed) == (1, 1, True)
    assert figures.normal_hours == pytest.approx(4 / 3600)
    assert figures.own.threshold_on == MANIFEST.alarm.threshold_on
    assert figures.own.median_seconds == 2.0  # one to the frame, one to the next sampled frame
    assert figures.best is not None
    assert figures.best.detected == 1


def test_lookahead_gives_later_and_other_scores() -> None:
    ends = Anomaly(start_seconds=0.0, end_seconds=2.5)  # after the score of row 1 is known with no lookahead
    x: dict[int | None, list[float]] = {1: [0.1, 0.3], None: [0.6, 0.9]}
    videos = [
        scored("n", [0.4, 0.4], others={1: [0.1, 0.1], None: [0.1, 0.1]}),
        scored("x", [0.1, 0.5], "fire", abnormal=[(0, 2)], others=x, anomalies=(ends,)),
    ]
    points = f.lookahead_points(videos, MANIFEST.method, MANIFEST.alarm)
    reach = 13  # of sigma 1
    assert [point.lookahead for point in points] == [0, 1, None]
    assert [point.delay_seconds for point in points] == [1.0, 2.0, 1.0 + reach]
    assert [point.auc for point in points] == [0.5, 0.75, 1.0]
    assert [point.median_seconds_to_alarm for point in points] == [2.0, math.inf, math.inf]  # all: after it is over
    assert [point.false_alarms_per_hour for point in points] == [0, 0, 0]


def test_spacing_is_the_median() -> None:
    assert f.median_spacing([]) == 0.0
    videos = [scored("a", [0.1], fps=1.0), scored("b", [0.1], fps=2.0), scored("c", [0.1], fps=4.0)]
    assert f.median_spacing(videos) == 0.5


def test_held_scores_cover_the_last_part_of_a_stride() -> None:
    video = scored("a", [0.1, 0.2], stride=3, frame_count=4)
    np.testing.assert_array_equal(f.held(video, None), [0.1, 0.1, 0.1, 0.2])
