"""Which picture is kept for which event."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import pytest

from stprompt_edge.runtime.alarm import EventLife
from stprompt_edge.runtime.recording.snapshots import LONG_SIDE, PeakKeeper, Snapshot
from stprompt_edge.runtime.records import Detection

from .synthetic import detection, detections, frame, picture


def told(peaks: PeakKeeper, found: Sequence[Detection]) -> list[Snapshot | None]:
    """What the keeper gives for each event that ends, of detections with their alarm said."""
    life, kept = EventLife("cam"), []
    for one in found:
        peaks.add(one, frame(one.frame_index))
        for change in life.update(one, 0.0):
            snapshot = peaks.change(change)
            kept += [snapshot] if change.kind == "closed" else []
    return kept + [peaks.change(change) for change in life.finish(0.0, 0.0)]


@pytest.mark.parametrize("count", [7, 8])  # the run ends with the last alarmed frame, or after the calm one behind it
def test_the_peak_of_an_event(count: int) -> None:
    (kept,) = told(PeakKeeper(), detections()[:count])
    assert kept is not None
    assert kept.detection.frame_index == 20
    assert kept.marked_jpeg is not None
    plain = cv2.imdecode(np.frombuffer(kept.plain_jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert np.abs(plain.astype(int) - picture(20)).mean() < 2


def test_a_higher_score_before_the_alarm_is_not_its_peak() -> None:
    peaks = PeakKeeper()
    (kept,) = told(peaks, [detection(0, 0.95), detection(4, 0.7, alarm=True)])
    best = peaks.best()
    assert kept is not None
    assert best is not None
    assert (kept.detection.frame_index, best.detection.frame_index) == (4, 0)
    assert best.marked_jpeg is None


def test_each_event_has_its_own_peak() -> None:
    scores = (0.7, 0.9, 0.1, 0.8, 0.75, 0.2, 0.95)
    found = [detection(4 * i, score, alarm=score > 0.6) for i, score in enumerate(scores)]
    kept = told(PeakKeeper(), found)
    assert [one.detection.frame_index for one in kept if one] == [4, 12, 24]


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
