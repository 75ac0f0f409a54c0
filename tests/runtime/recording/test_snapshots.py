"""Which picture is kept for which event."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from stprompt_edge.runtime.recording.snapshots import LONG_SIDE, PeakKeeper

from .synthetic import detection, detections, event, frame, picture


@pytest.mark.parametrize("told_after", [6, 7])  # with the last alarmed frame, or with the calm one after it
def test_the_peak_of_an_event(told_after: int) -> None:
    peaks, found = PeakKeeper(), detections()
    for d in found[: told_after + 1]:
        peaks.add(d, frame(d.frame_index))
    kept = peaks.of_event(event(found[4:7]))
    assert kept is not None
    assert kept.detection.frame_index == 20
    assert kept.marked_jpeg is not None
    plain = cv2.imdecode(np.frombuffer(kept.plain_jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert np.abs(plain.astype(int) - picture(20)).mean() < 2


def test_a_higher_score_before_the_alarm_is_not_its_peak() -> None:
    peaks = PeakKeeper()
    early, alarmed = detection(0, 0.95), detection(4, 0.7, alarm=True)
    for d in (early, alarmed):
        peaks.add(d, frame(d.frame_index))
    kept, best = peaks.of_event(event([alarmed])), peaks.best()
    assert kept is not None
    assert best is not None
    assert (kept.detection.frame_index, best.detection.frame_index) == (4, 0)
    assert best.marked_jpeg is None


def test_a_stand_in_inside_the_event_or_nothing() -> None:
    peaks = PeakKeeper()
    peaks.add(detection(4, 0.7, alarm=True), frame(4))
    stand_in = peaks.of_event(event([detection(0, 0.6), detection(8, 0.8)]))
    assert stand_in is not None
    assert stand_in.detection.frame_index == 4
    assert peaks.of_event(event([detection(100, 0.9)])) is None


def test_pictures_are_small_copies() -> None:
    peaks, image = PeakKeeper(), np.zeros((2160, 3840, 3), np.uint8)
    peaks.add(detection(0, 0.7, alarm=True), frame(0, image))
    kept = peaks.best()
    assert kept is not None
    assert kept.marked_jpeg is not None
    assert cv2.imdecode(np.frombuffer(kept.marked_jpeg, np.uint8), cv2.IMREAD_COLOR).shape == (360, LONG_SIDE, 3)
    small = np.zeros((1, 1, 3), np.uint8)
    peaks.add(detection(4, 0.9), frame(4, small))
    small[:] = 255
    kept = peaks.best()
    assert kept is not None
    assert cv2.imdecode(np.frombuffer(kept.plain_jpeg, np.uint8), cv2.IMREAD_COLOR).max() < 10


def test_nothing_yet() -> None:
    assert PeakKeeper().best() is None
