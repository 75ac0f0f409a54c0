"""The timeline is bounded and keeps every peak."""

from __future__ import annotations

import pytest

from stprompt_edge.runtime.recording.timeline import MAX_POINTS, Timeline, TimelinePoint


def filled(count: int, limit: int = MAX_POINTS, peak_at: int = 0) -> Timeline:
    timeline = Timeline(limit)
    for i in range(count):
        score = 0.99 if i == peak_at else (i % 7) / 10
        timeline.add(TimelinePoint(frame_index=i, seconds=float(i), score=score, top_class="x"))
    return timeline


@pytest.mark.parametrize("count", [0, 1, 4, 5, 8, 9, 17])
def test_short_runs(count: int) -> None:
    points = filled(count, limit=4).points
    assert len(points) <= 4
    assert len(points) >= min(count, 3)
    assert [p.seconds for p in points] == sorted(p.seconds for p in points)
    assert not points or points[0].score == 0.99


@pytest.mark.parametrize("peak_at", [0, 54_321, 99_999])
def test_a_long_run_stays_bounded_and_keeps_its_peak(peak_at: int) -> None:
    timeline = filled(100_000, peak_at=peak_at)
    assert MAX_POINTS // 2 <= len(timeline.points) <= MAX_POINTS
    assert timeline.samples_per_point == 32
    assert [p.frame_index for p in timeline.points if p.score == 0.99] == [peak_at]


@pytest.mark.parametrize("limit", [1, 5])
def test_odd_limits_are_a_bug(limit: int) -> None:
    with pytest.raises(AssertionError, match=str(limit)):
        Timeline(limit)
