"""Figures in words."""

from __future__ import annotations

import math

import pytest

from stprompt_edge.evaluation import wording as w

from .scored import evaluation, scored, small_set

pytest.importorskip("sklearn")


@pytest.mark.parametrize(("value", "text"), [(None, "–"), (0.0, "0.00 s"), (1.256, "1.26 s"), (math.inf, "missed")])
def test_seconds(value: float | None, text: str) -> None:
    assert w.seconds(value) == text


@pytest.mark.parametrize(("value", "text"), [(None, "–"), (0.0, "0%"), (0.004, "0.4%"), (0.5, "50%"), (1.0, "100%")])
def test_share(value: float | None, text: str) -> None:
    assert w.share(value) == text


@pytest.mark.parametrize(("value", "text"), [(0.0, "0"), (3.2787, "3.28"), (99.95, "100"), (1149.94, "1,150")])
def test_rate(value: float, text: str) -> None:
    assert w.rate(value) == text


@pytest.mark.parametrize(("value", "text"), [(0.005, "0.3 min"), (0.5, "30.0 min"), (12.34, "12.3 h")])
def test_hours(value: float, text: str) -> None:
    assert w.hours(value) == text


def test_numbers_and_lookaheads() -> None:
    assert (w.number(None), w.number(0.51239)) == ("–", "0.5124")
    assert (w.lookahead_name(None), w.lookahead_name(3)) == ("all", "3")


def test_headlines_of_streaming() -> None:
    labels = [line.label for line in w.headlines(evaluation(small_set()))]
    assert labels == ["AUC", "AP", "TIoU", "Time to alarm", "False alarms", "Video AUC", "Footage"]


def test_headlines_offline_and_without_frame_labels() -> None:
    offline = evaluation(small_set(streaming=False), streaming=False)
    assert [line.label for line in w.headlines(offline)] == ["AUC", "AP", "Video AUC", "Footage"]
    plain = [scored("n", [0.1], others={None: [0.1]}), scored("x", [0.9], "fire", abnormal=None, others={None: [0.9]})]
    lines = {line.label: line for line in w.headlines(evaluation(plain))}
    assert list(lines) == ["AUC", "AP", "Detected", "False alarms", "Footage"]
    assert lines["AUC"].note == "2 videos"
    assert lines["Detected"].value == "100%"


def test_points_have_a_cell_for_each_column() -> None:
    alarm = evaluation(small_set()).figures.alarm
    assert alarm is not None
    for _, point in w.marked_points(alarm):
        assert len(w.point_cells(point)) == len(w.POINT_COLUMNS)
    assert w.point_cells(alarm.own)[:3] == ("0.500", "180", "2 of 3 (67%)")


def test_listed_points_are_few_and_different() -> None:
    alarm = evaluation(small_set()).figures.alarm
    assert alarm is not None
    listed = w.listed_points(alarm, 4)
    assert len(listed) == 4
    assert [p.threshold_on for p in listed] == sorted((p.threshold_on for p in listed), reverse=True)
    assert len({(p.false_alarms, p.detected, p.median_seconds) for p in listed}) == 4
