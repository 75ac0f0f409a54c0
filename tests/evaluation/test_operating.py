"""The alarm over thresholds, worked by hand: one second a frame, two normal videos of half an hour in all."""

from __future__ import annotations

import math

import numpy as np
import pytest

from stprompt_edge.bundle import AlarmSection
from stprompt_edge.evaluation.operating import (
    Footage,
    as_columns,
    best_point,
    frontier,
    normal_hours,
    quartiles,
)
from stprompt_edge.evaluation.records import OperatingPoint
from stprompt_edge.runtime.alarm import AlarmSettings

from .scored import scored

INF = math.inf


def half(threshold: float) -> AlarmSettings:
    return AlarmSettings(threshold_on=threshold, threshold_off=threshold)


def footage(late: int = 0) -> Footage:
    return Footage(
        [
            scored("n0", [0.6, 0.2, 0.9, 0.9], duration_seconds=1200.0),
            scored("n1", [0.1, 0.7], duration_seconds=600.0),
            scored("x0", [0.1, 0.1, 0.8, 0.9, 0.1], "fire", abnormal=[(1, 4)]),
            scored("x1", [0.1, 0.3, 0.1, 0.9], "fire", abnormal=[(0, 2), (2, 4)]),
        ],
        None,
        late,
    )


def test_a_point_by_hand() -> None:
    point = footage().point(half(0.65))
    assert (point.false_alarms, point.false_alarms_per_hour) == (2, 4.0)
    assert point.normal_alarm_share == 3 / 6  # 0.9, 0.9 and 0.7 of six frames
    assert (point.detected, point.missed) == (2, 1)  # x0 after 1 s, x1 not, x1 after 1 s
    assert point.detected_share == 2 / 3
    assert point.missed_share == pytest.approx(1 / 3)
    assert (point.lower_quartile_seconds, point.median_seconds, point.upper_quartile_seconds) == (1.0, 1.0, INF)


def test_the_median_is_infinite_where_more_than_half_are_missed() -> None:
    point = footage().point(half(0.95))
    assert (point.detected, point.median_seconds, point.false_alarms_per_hour) == (0, INF, 0.0)


def test_a_score_that_waits_for_later_frames_is_later() -> None:
    waiting = footage(late=1).point(half(0.65))  # x0 after 2 s; of x1 the alarm is known when it is over
    assert (waiting.detected, waiting.lower_quartile_seconds, waiting.median_seconds) == (1, 2.0, INF)
    assert footage(late=1).point(half(0.05)).median_seconds == 1.0
    assert footage(late=3).point(half(0.05)).detected == 0  # every score is known behind the end of its anomaly


def test_thresholds_are_at_scores_that_are_known_in_time() -> None:
    videos = [scored("n", [0.1]), scored("x", [0.1, 0.3, 0.2, 0.9], "fire", abnormal=[(1, 4)])]
    curve = Footage(videos, None, 1).curve(AlarmSection(threshold_on=0.5, threshold_off=0.5))
    assert max(point.threshold_on for point in curve if point.detected) == 0.3


def test_whole_videos_stand_for_anomalies_where_none_is_annotated() -> None:
    videos = [scored("n", [0.1]), scored("x", [0.1, 0.9], "fire", abnormal=None)]
    point = Footage(videos, None, 0).point(half(0.5))
    assert (point.detected, point.missed, point.median_seconds) == (1, 0, None)
    assert Footage(videos, None, 1).point(half(0.5)).detected == 1  # they have no end before which it must be known


def test_no_normal_footage_and_no_anomaly() -> None:
    alone = Footage([scored("x", [0.1, 0.9], "fire", abnormal=[(1, 2)])], None, 0).point(half(0.5))
    assert (alone.false_alarms_per_hour, alone.normal_alarm_share, alone.detected) == (None, None, 1)
    quiet = Footage([scored("n", [0.1, 0.9])], None, 0).point(half(0.5))
    assert (quiet.false_alarms, quiet.detected_share, quiet.missed_share, quiet.median_seconds) == (1, None, None, None)


def test_thresholds_of_the_curve_hold_every_change() -> None:
    """From the first that detects all to the first without a false alarm, whatever the spacing of the scores."""
    curve = footage().curve(AlarmSection(threshold_on=0.5, threshold_off=0.5))
    assert [p.threshold_on for p in curve] == sorted(p.threshold_on for p in curve)
    assert {point.false_alarms for point in curve} >= {0, 2, 3}
    assert max(point.detected for point in curve) == 3
    assert curve[-1].false_alarms == 0
    assert curve[-1].threshold_on > 0.9


def test_the_curve_keeps_the_bundles_ratio_and_duration() -> None:
    curve = footage().curve(AlarmSection(threshold_on=0.8, threshold_off=0.4, min_seconds=1.0))
    assert [p.threshold_off for p in curve] == pytest.approx([p.threshold_on / 2 for p in curve])
    assert all(point.detected <= 2 for point in curve if point.threshold_on > 0.5)  # one second must be held first


@pytest.mark.parametrize(
    ("delays", "expected"),
    [
        ([], (None, None, None)),
        ([2.0], (2.0, 2.0, 2.0)),
        ([3.0, 1.0], (1.0, 1.0, 3.0)),
        ([1.0, INF], (1.0, 1.0, INF)),  # half of them were alarmed
        ([1.0, INF, INF], (1.0, INF, INF)),
        ([4.0, 1.0, 3.0, 2.0], (1.0, 2.0, 3.0)),
    ],
)
def test_quartiles_are_the_delays_within_which_that_share_was_alarmed(delays: list, expected: tuple) -> None:
    assert quartiles(delays) == expected


def point(threshold: float, rate: float | None, detected: int, median: float = 1.0) -> OperatingPoint:
    return OperatingPoint(
        threshold_on=threshold, threshold_off=threshold, false_alarms=int(rate or 0), false_alarms_per_hour=rate,
        normal_alarm_share=0.0, detected=detected, missed=4 - detected, detected_share=detected / 4,
        missed_share=1 - detected / 4, median_seconds=median, lower_quartile_seconds=None, upper_quartile_seconds=None,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("curve", "threshold"),
    [
        ([], None),
        ([point(0.9, None, 4)], None),
        ([point(0.9, 2.5, 4)], None),
        ([point(0.5, 5.0, 4), point(0.7, 2.0, 3), point(0.9, 0.0, 1)], 0.7),
        ([point(0.6, 1.0, 3), point(0.7, 1.0, 3), point(0.9, 0.0, 1)], 0.7),  # as good and higher
        ([point(0.6, 1.0, 3, 1.0), point(0.7, 0.0, 3, 4.0)], 0.6),  # as many, sooner
        ([point(0.1, 1.0, 4), point(0.5, 9.0, 4), point(0.9, 0.0, 2)], 0.9),  # 0.1: an alarm that never goes off
    ],
)
def test_the_best_point_within_the_budget(curve: list[OperatingPoint], threshold: float | None) -> None:
    best = best_point(curve, budget=2.0)
    assert (best and best.threshold_on) == threshold


@pytest.mark.parametrize(
    ("curve", "thresholds"),
    [
        ([], []),
        ([point(0.5, 9.0, 4), point(0.7, 2.0, 3), point(0.9, 0.0, 1)], [0.9, 0.7, 0.5]),
        ([point(0.1, 1.0, 4), point(0.5, 9.0, 4), point(0.9, 0.0, 2)], [0.9, 0.5]),  # 0.1: alarms have merged
        ([point(0.5, 9.0, 4), point(0.6, 3.0, 3), point(0.7, 5.0, 2)], [0.6, 0.5]),  # 0.7: more of one, less of other
        ([point(0.5, 9.0, 4, 1.0), point(0.6, 3.0, 4, 2.0), point(0.7, 3.0, 4, 3.0)], [0.6, 0.5]),  # sooner counts
    ],
)
def test_the_frontier_is_what_no_other_point_beats(curve: list[OperatingPoint], thresholds: list[float]) -> None:
    assert [p.threshold_on for p in frontier(curve)] == thresholds


def test_columns_have_nan_where_there_is_no_figure() -> None:
    np.testing.assert_array_equal(
        as_columns([point(0.5, None, 1), point(0.6, 2.0, 1)], "false_alarms_per_hour"), [np.nan, 2]
    )


def test_hours_are_of_normal_videos_only() -> None:
    assert normal_hours(footage().videos) == 0.5
