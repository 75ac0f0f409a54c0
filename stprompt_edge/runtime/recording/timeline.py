"""The score over time in bounded memory: when full, neighbours are merged and the higher score stays."""

from __future__ import annotations

from dataclasses import dataclass

MAX_POINTS = 4000  # four per pixel column of a wide screen, 100 kB in the report


@dataclass(frozen=True, kw_only=True)
class TimelinePoint:
    """The highest score among the sampled frames that it stands for."""

    frame_index: int
    seconds: float
    score: float
    top_class: str


class Timeline:
    """Keeps at most `limit` points whatever the length of the run; no peak is ever lost."""

    def __init__(self, limit: int = MAX_POINTS) -> None:
        assert limit >= 2, limit
        assert limit % 2 == 0, limit
        self._limit = limit
        self._per_point = 1  # sampled frames per point
        self._in_last = 0  # sampled frames in the last point
        self._points: list[TimelinePoint] = []

    @property
    def points(self) -> tuple[TimelinePoint, ...]:
        """Ordered by time."""
        return tuple(self._points)

    @property
    def samples_per_point(self) -> int:
        """1 until the run outgrows the limit, then doubling."""
        return self._per_point

    def add(self, point: TimelinePoint) -> None:
        """Takes the next sampled frame, in order of time."""
        if self._points and self._in_last < self._per_point:
            self._points[-1] = _higher(self._points[-1], point)
            self._in_last += 1
            return
        if len(self._points) == self._limit:
            pairs = zip(self._points[::2], self._points[1::2], strict=True)
            self._points = [_higher(a, b) for a, b in pairs]
            self._per_point *= 2
        self._points.append(point)
        self._in_last = 1


def _higher(a: TimelinePoint, b: TimelinePoint) -> TimelinePoint:
    return b if b.score > a.score else a
