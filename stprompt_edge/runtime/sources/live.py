"""Live sources that heal: what is lost is closed and opened again, for ever.

A camera restarts, a switch loses power, a network chokes: none of it ends a watch. A live source that fails, ends, or
gives no frame for `Stall.seconds` is closed and reopened after a wait, see `Backoff`. Only the first opening fails at
once: then the address is more likely wrong than the camera away.

A clean end is a loss too where it comes from a camera or a network (RTSP, V4L2, HTTP, a pipeline with such a source):
cameras say goodbye when they restart. What can end is never wrapped (`Source.finite`): a recording played as live, a
pipeline of test pictures, of files or of `num-buffers`. A broadcast that comes back as a recording is over: an HLS
playlist that has got its end. A recording without a length over HTTP looks like a broadcast; `--file` says it is none.

Time-outs: a read that blocks fails after the source's own time-out (10 s unless told), so a silent camera is given up
after that; one that sends, but nothing that becomes a frame, after `Stall.seconds`. An opening ends after its own
time-outs: to connect, to look into the stream, and for the first frame. `interrupt` ends a wait at once, and a read
or an opening that blocks when its time-out has passed. A V4L2 driver may block without any; an unplugged one fails.
"""

from __future__ import annotations

import copy
import dataclasses
import random
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import cast

from stprompt_edge.errors import SourceError
from stprompt_edge.runtime.frames import CameraFrame
from stprompt_edge.runtime.records import Losses
from stprompt_edge.runtime.sources.base import Source
from stprompt_edge.runtime.sources.clock import ASSUMED_FPS

NAMED_LOSSES, NAMED_WARNINGS = 3, 8  # so many are told, the others counted: a watch may go on for years
LONGEST_REASON = 100  # characters


@dataclass(frozen=True, kw_only=True)
class Stall:
    """When a stream that is open has fallen silent."""

    seconds: float = 20.0  # without a frame; twice as long as a read may block

    def is_over(self, *, last_s: float, now_s: float) -> bool:
        """Has the last frame, or the opening, been too long ago?"""
        return now_s - last_s >= self.seconds


@dataclass(frozen=True, kw_only=True)
class Backoff:
    """How long to wait before the next opening: twice as long each time, up to `longest_s`, give or take `jitter`.

    The jitter keeps the cameras behind one switch from coming back in step.
    """

    first_s: float = 1.0
    longest_s: float = 30.0
    jitter: float = 0.2

    def wait_s(self, failures: int, chance: float) -> float:
        """Seconds to wait after so many failures in a row; `chance` is even in 0..1."""
        doubled = self.first_s * 2.0 ** min(failures, 60)
        return min(doubled, self.longest_s) * (1 + self.jitter * (2 * chance - 1))

    def has_settled(self, *, opened_s: float, now_s: float) -> bool:
        """Has a connection held so long that its loss is the first of a new row?"""
        return now_s - opened_s >= self.longest_s


@dataclass(kw_only=True)
class Reports:
    """What the user is told of all connections together, in bounded length."""

    lost: int = 0
    causes: list[str] = field(default_factory=list)  # of the first losses
    lines: dict[str, str] = field(default_factory=dict)  # a connection's own warnings -> what is told
    more: int = 0

    def lose(self, seconds: float, reason: str) -> None:
        """The stream was lost at this time."""
        self.lost += 1
        self.causes += [f"at {seconds:.1f} s: {reason[:LONGEST_REASON]}"] if self.lost <= NAMED_LOSSES else []

    def retract(self) -> None:
        """The last loss was none."""
        self.lost -= 1
        del self.causes[self.lost :]

    def hear(self, warnings: Sequence[str], since_s: float) -> None:
        """What a connection has to say, whose times begin at `since_s`."""
        for line in warnings:
            if line not in self.lines and len(self.lines) < NAMED_WARNINGS:
                self.lines[line] = f"{line}, counted from {since_s:.1f} s" if since_s else line
            elif line not in self.lines:
                self.more += 1

    def told(self, reopened: int) -> list[str]:
        """Lines for the user."""
        lines = list(self.lines.values())
        lines += [f"{self.more} more warnings of later connections"] if self.more else []
        if self.lost:
            again = "reopened" if reopened == self.lost else f"reopened {_times(reopened)}"
            causes = "; ".join([*self.causes, *(["..."] if self.lost > len(self.causes) else [])])
            lines.append(f"the source was lost {_times(self.lost)} and {again} ({causes})")
        return lines


def healing(opener: Callable[[], Source]) -> Source:
    """What `opener` opens, which heals if it is live and has no end of its own.

    Raises:
        StpromptEdgeError: as `opener`, of the first opening.
    """
    first = opener()
    return LiveSource(first, opener) if first.info.live and not first.finite else first


class LiveSource(Source):
    """One live source over all its connections, see the head of this module.

    `info` is the first connection's, and a frame has the size that it came with. `CameraFrame.index` counts on from
    one connection to the next. `CameraFrame.seconds` goes on where the clock has got to since the first opening, in
    any case after the last frame.

    Args:
        first: open; live.
        opener: opens it anew.
        stall: see there.
        backoff: see there.
        clock: seconds, monotonic.
        wait: for so many seconds, True if the wait was interrupted; None for a real one, which `interrupt` ends.
        chance: even in 0..1.
    """

    def __init__(
        self,
        first: Source,
        opener: Callable[[], Source],
        *,
        stall: Stall = Stall(),
        backoff: Backoff = Backoff(),
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], bool] | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        super().__init__()
        self.info, self.finite = first.info, False
        self.warnings = list(first.warnings)
        self._inner, self._opener = first, opener
        self._stall, self._backoff, self._clock, self._chance = stall, backoff, clock, chance
        self._wait = wait or self.interrupted.wait
        self._handover = threading.Lock()  # of a new connection, to whoever closes it
        self._began_s = self._opened_s = self._heard_s = clock()
        self._offset_s = 0.0  # of this connection's first frame
        self._last_s = 0.0  # of the last frame
        self._next_index = self._failures = 0
        self._past, self._reports = Losses(), Reports()

    def frames(self, wanted: Callable[[int], bool]) -> Iterator[CameraFrame]:
        """See `Source.frames`. Ends when the broadcast is over, or after `interrupt`; never raises SourceError."""
        while True:
            reason = yield from self._connection(wanted)
            if self.interrupted.is_set() or not self._reconnect(reason):
                break

    def close(self) -> None:
        """Also ends `frames`, from any thread."""
        self.interrupt()
        with self._handover:
            self._inner.close()

    def _connection(self, wanted: Callable[[int], bool]) -> Generator[CameraFrame, None, str]:
        """The frames of one connection; gives back why there are no more."""
        inner, start = self._inner, self._next_index
        self._heard_s = self._clock()
        inner.planar = lambda index: self.planar(start + index)
        inner.check = self._check

        def heard(index: int) -> bool:
            self._heard_s, self._next_index = self._clock(), start + index + 1
            return wanted(start + index)

        try:
            with closing(cast("Generator[CameraFrame]", inner.frames(heard))) as frames:
                for frame in frames:
                    self._last_s = self._offset_s + frame.seconds
                    self.losses = _sum(self._past, inner.losses)
                    yield _moved(frame, start + frame.index, self._last_s)
                    self._heard_s = self._clock()  # while the receiver was busy, nobody listened
        except SourceError as exc:
            return exc.what.removeprefix(f"{self.info.name}: ")
        finally:
            self._settle(inner)
        return "it ended"

    def _check(self) -> None:
        if self.interrupted.is_set() or self._stall.is_over(last_s=self._heard_s, now_s=self._clock()):
            reason = f"no frame for {self._stall.seconds:g} s"
            raise SourceError(reason, remedy="check the camera and its network")

    def _settle(self, inner: Source) -> None:
        """A connection has ended: keep what it lost, and what it has to say."""
        self.losses = self._past = _sum(self._past, inner.losses)
        self._reports.hear(inner.warnings, self._offset_s)
        self.warnings = self._reports.told(self.reopened)

    def _reconnect(self, reason: str) -> bool:
        """Close it, and open it anew as often as it takes; False if it is over, or somebody interrupts."""
        self._inner.close()
        self._reports.lose(self._last_s, reason)
        self.warnings = self._reports.told(self.reopened)
        if self._backoff.has_settled(opened_s=self._opened_s, now_s=self._clock()):
            self._failures = 0
        opened = None
        while opened is None:
            if self._wait(self._backoff.wait_s(self._failures, self._chance())):
                return False
            self._failures += 1
            with suppress(SourceError):  # it is still away
                opened = self._opener()
        with self._handover:
            self._inner = opened
            if self.interrupted.is_set():
                opened.close()
                return False
        return self._begin(opened)

    def _begin(self, opened: Source) -> bool:
        """Where the frames of a new connection stand; False if it turns out to be a recording."""
        is_over = opened.finite or not opened.info.live
        if is_over:
            self._reports.retract()
        else:
            self.reopened += 1
            self.restarted_at = self._next_index
            self._opened_s = self._clock()
            after_last_s = self._last_s + 1 / (self.info.fps or ASSUMED_FPS)
            self._offset_s = max(self._opened_s - self._began_s, after_last_s)
        self.warnings = self._reports.told(self.reopened)
        return not is_over


def _sum(one: Losses, other: Losses) -> Losses:
    first, second = dataclasses.asdict(one), dataclasses.asdict(other)
    return Losses(**{name: count + second[name] for name, count in first.items()})


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _moved(frame: CameraFrame, index: int, seconds: float) -> CameraFrame:
    """The same frame elsewhere in the stream; a planar one stays planar."""
    moved = copy.copy(frame)
    vars(moved).update(index=index, seconds=seconds)  # the class is frozen, the copy is ours
    return moved
