"""When frames are shown: seconds from the time stamps of a stream, and what is missing between them. Pure: no I/O.

A stamp that stands alone is a fault of the stamp; a jump that the next frames follow is a jump of time. So a frame that
does not follow the one before it waits for the next ones, three at most; all others are known at once.
"""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Sequence
from itertools import pairwise

ASSUMED_FPS = 25.0  # where nothing tells the rate: PAL's
SUDDEN_SECONDS, SUDDEN_FRAMES = 1.0, 5  # a step forward over both waits to be confirmed
CONFIRMING_FRAMES = 2  # so many must follow a jump
LONGEST_GAP_SECONDS = 60.0  # what is longer is no lost data but another time: a pause, a clock that was set
LAST_STEP_SECONDS = 10.0  # the last frame of all, which nothing confirms, may come so much after the one before it
CUT_FRAMES = 4  # a cut leaves small gaps between the last frames, which are not coded in the order that they are shown
VARIABLE_RATE_FACTOR = 5  # of what 19 of 20 frames keep to: in a million frames at random times none comes later
NAMED_GAPS = 3  # of all gaps, the longest are named


class Clock:
    """Seconds of frames in order of presentation, always increasing.

    A missing or repeated stamp becomes the previous time plus a frame. A stamp on its own that is far ahead of its
    neighbours, or behind them, is placed between them. Time follows a jump ahead; where stamps go back and stay there
    (a stream that began anew) time goes on from where it was.

    Args:
        frame_s: seconds from frame to frame, where stamps do not tell.
        start_s: the stamp that is 0 seconds; None for the first frame's.
    """

    def __init__(self, frame_s: float, start_s: float | None = None) -> None:
        self._frame_s = frame_s
        self._origin_s = start_s  # the stamp of 0 seconds
        self._stamp_s: float | None = None  # the last one that was believed
        self._seconds: float | None = None  # the last time given
        self._held: list[float] = []  # stamps that wait; the first of them does not follow `_stamp_s`

    def push(self, stamp_s: float | None) -> list[float]:
        """The next frame's stamp in seconds, None if it has none; gives the times that this makes known, in order."""
        if stamp_s is None or not self._held:
            given = self.flush()
            if stamp_s is not None and self._is_sudden(stamp_s):
                self._held = [stamp_s]
                return given
            return [*given, self._next(stamp_s)]
        if self._returns(stamp_s):
            given = self._between(len(self._held), stamp_s)
            self._held = []
            return [*given, *self.push(stamp_s)]
        self._held.append(stamp_s)
        return self._follow_jump() if len(self._held) > CONFIRMING_FRAMES else []

    def flush(self) -> list[float]:
        """The stream has ended: the times that were held back."""
        if len(self._held) == 1 and self._stamp_s is not None:
            step = abs(self._held[0] - self._stamp_s)
            if step > max(LAST_STEP_SECONDS, SUDDEN_FRAMES * self._frame_s):
                self._held = []
                return self._between(1, None)
        return self._follow_jump()

    def _is_sudden(self, stamp_s: float) -> bool:
        if self._stamp_s is None:
            return False
        step = stamp_s - self._stamp_s
        return step < 0 or step > max(SUDDEN_SECONDS, SUDDEN_FRAMES * self._frame_s)

    def _returns(self, stamp_s: float) -> bool:
        """Is time back on the believed line? Then the stamps that are held stood alone."""
        assert self._stamp_s is not None
        ahead = self._held[0] > self._stamp_s
        return stamp_s <= self._held[0] if ahead else stamp_s > self._stamp_s

    def _follow_jump(self) -> list[float]:
        held, self._held = self._held, []
        if held and self._stamp_s is not None and self._seconds is not None and held[0] < self._stamp_s:
            self._origin_s = held[0] - self._seconds - self._frame_s  # set back: time goes on from where it was
        return [self._next(stamp_s) for stamp_s in held]

    def _between(self, count: int, next_stamp_s: float | None) -> list[float]:
        """Times of frames whose stamps say nothing, evenly up to the next one that does."""
        assert self._seconds is not None
        step = self._frame_s
        if next_stamp_s is not None and self._origin_s is not None:
            room = next_stamp_s - self._origin_s - self._seconds
            step = min(step, room / (count + 1)) if room > 0 else step
        given = [self._seconds + step * (place + 1) for place in range(count)]
        self._seconds = given[-1]
        return given

    def _next(self, stamp_s: float | None) -> float:
        before = self._seconds
        if before is None:
            self._seconds = self._first(stamp_s)
        else:
            if stamp_s is not None and self._origin_s is None:  # the first frame had no stamp
                self._origin_s = stamp_s - before - self._frame_s
            now = before if stamp_s is None or self._origin_s is None else stamp_s - self._origin_s
            self._seconds = now if now > before else before + self._frame_s
        self._stamp_s = self._stamp_s if stamp_s is None else stamp_s
        return self._seconds

    def _first(self, stamp_s: float | None) -> float:
        if stamp_s is None:
            return 0.0
        if self._origin_s is None or stamp_s < self._origin_s:
            self._origin_s = stamp_s
        return stamp_s - self._origin_s


class FrameDistances:
    """How far apart the frames of a stream are, and where some are missing; in bounded memory.

    A rate is what most frames keep to; a gap is a distance well over nearly all others, so that a stream of variable
    rate has none.
    """

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()  # of distances in milliseconds, up to LONGEST_GAP_SECONDS
        self._longest: list[tuple[float, float]] = []  # heap of distance and the second where it begins
        self._jumps: list[tuple[float, float]] = []  # the first over LONGEST_GAP_SECONDS
        self._jump_count = 0
        self._last_s: float | None = None
        self._newest: deque[tuple[float, float]] = deque()  # as `_longest`

    def add(self, seconds: float) -> None:
        """Takes the time of the next frame."""
        if self._last_s is not None:
            self._newest.append((seconds - self._last_s, self._last_s))
        self._last_s = seconds
        if len(self._newest) > CUT_FRAMES:
            self._count(*self._newest.popleft())

    def end(self, distance: float) -> None:
        """There are packets for so many seconds after the last frame, up to the last packet, of which none came."""
        if self._last_s is not None:
            self._count(distance + self._usual_ms() / 1000, self._last_s)

    def _count(self, distance: float, since_s: float) -> None:
        if distance > LONGEST_GAP_SECONDS:
            self._jump_count += 1
            self._jumps = [*self._jumps, (since_s, since_s + distance)][:NAMED_GAPS]
            return
        self._counts[round(distance * 1000)] += 1
        heapq.heappush(self._longest, (distance, since_s))
        if len(self._longest) > NAMED_GAPS:
            heapq.heappop(self._longest)

    @property
    def missing_frames(self) -> int:
        """Frames that the gaps would hold at the usual rate."""
        usual, limit = self._usual_ms(), self._limit_ms()
        within = sum(count * (round(ms / usual) - 1) for ms, count in self._counts.items() if ms > limit)
        return within + sum(round(distance * 1000 / usual) - 1 for distance, _ in self._gaps_at_the_end())

    @property
    def gaps(self) -> list[tuple[float, float]]:
        """The longest gaps, NAMED_GAPS at most, in order of time: last frame before and first frame after, seconds."""
        limit = self._limit_ms()
        found = [(length, since) for length, since in self._longest if length * 1000 > limit]
        longest = sorted([*found, *self._gaps_at_the_end()])[-NAMED_GAPS:]
        return sorted((since, since + length) for length, since in longest)

    def _gaps_at_the_end(self) -> list[tuple[float, float]]:
        if not self._counts:  # too few frames to say
            return []
        limit = max(self._limit_ms(), (CUT_FRAMES + 1) * self._usual_ms())
        return [
            (length, since) for length, since in self._newest if limit < length * 1000 <= LONGEST_GAP_SECONDS * 1000
        ]

    @property
    def jumps(self) -> list[tuple[float, float]]:
        """The first steps of time over LONGEST_GAP_SECONDS, NAMED_GAPS at most; none where most steps are so long."""
        return list(self._jumps) if self._jump_count <= self._counts.total() + len(self._newest) else []

    def _usual_ms(self) -> float:
        return max(self._quantile(0.5), 1)

    def _limit_ms(self) -> float:
        """What no distance between two frames that follow each other exceeds."""
        steady = self._quantile(0.9) <= 1.5 * self._usual_ms()  # half a frame more than usual: stamps are rounded
        return (1.5 if steady else VARIABLE_RATE_FACTOR) * max(self._quantile(0.95), self._usual_ms())

    def _quantile(self, share: float) -> int:
        rest = share * self._counts.total()
        for ms in sorted(self._counts):
            rest -= self._counts[ms]
            if rest <= 0:
                return ms
        return 0


def median_rate(stamps_s: Sequence[float]) -> float:
    """Frames per second of stamps in any order, from the median distance; 0.0 under three distinct ones."""
    ordered = sorted(set(stamps_s))
    distances = sorted(after - before for before, after in pairwise(ordered))
    return 1 / distances[len(distances) // 2] if len(distances) > 1 else 0.0
