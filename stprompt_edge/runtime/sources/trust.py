"""Which decoded frames show what the camera saw. Pure: no I/O.

FFmpeg flags a packet that came incomplete, and a frame whose errors it concealed; it says nothing of the frames that
are predicted from those, which are just as wrong until the next key frame. So damage is followed in coded order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

LONGEST_DISTRUST = 300  # packets: a stream without key frames (intra refresh) heals by itself, in 10 s at most
JOINT_PACKETS = 3  # so near before time is set back
REORDER = 4  # frames wait for one that was decoded before them and is shown after them


class Verdict(Enum):
    """What a decoded frame is."""

    WHOLE = "whole"
    CORRUPT = "corrupt"  # its own data came damaged
    CONCEALED = "concealed"  # the decoder made up for damage, in it or in what it is predicted from


@dataclass(frozen=True)
class Mark:
    """A packet's place in the order of decoding; travels with it to its frame (`Packet.opaque`)."""

    number: int
    group: int  # counts key frames
    leading: bool  # shown before its group's key frame, predicted from the group before too
    corrupt: bool
    arrived_s: float  # monotonic


class Trust:
    """Marks packets, and judges the frames that come out in order of presentation."""

    def __init__(self) -> None:
        self._number = self._group = 0
        self._key_pts: int | None = None
        self._broken: dict[int, int] = {}  # group -> the first packet of it that is not to be trusted
        self._undecided: set[int] = set()  # numbers of the last packets, without those whose frame came out
        self._waiting: deque[Any] = deque()
        self._latest: deque[Mark] = deque(maxlen=JOINT_PACKETS)
        self._last_dts: int | None = None
        self._joints: set[int] = set()  # numbers of packets that were flagged where two recordings were joined

    def mark(self, *, key: bool, corrupt: bool, pts: int | None, dts: int | None, arrived_s: float) -> Mark:
        """The next packet.

        Where two recordings were joined, counters begin anew and FFmpeg flags one of the last packets of the first,
        which is whole: time is set back soon behind it.
        """
        if dts is not None and self._last_dts is not None and dts < self._last_dts:
            self._believe_latest()
        self._last_dts = dts if dts is not None else self._last_dts
        self._number += 1
        if key:
            self._group, self._key_pts = self._group + 1, pts
            self._broken = {group: since for group, since in self._broken.items() if group >= self._group - 2}
        leading = not key and pts is not None and self._key_pts is not None and pts < self._key_pts
        made = Mark(self._number, self._group, leading, corrupt, arrived_s)
        if corrupt:
            self.distrust(made)
        self._latest.append(made)
        self._undecided.add(self._number)
        self._undecided.discard(self._number - 4 * REORDER)
        return made

    def distrust(self, mark: Mark) -> None:
        """This packet could not be decoded, or not without errors: nothing after it is to be trusted."""
        since = self._broken.get(mark.group)
        if since is None or since + LONGEST_DISTRUST < mark.number:
            self._broken[mark.group] = mark.number
        else:
            self._broken[mark.group] = min(since, mark.number)

    def _believe_latest(self) -> None:
        for mark in self._latest:
            if mark.corrupt:
                self._joints = {mark.number}
                if self._broken.get(mark.group) == mark.number:
                    del self._broken[mark.group]

    def judge(self, frame: Any) -> Iterator[tuple[Any, Verdict]]:
        """Takes the next frame out of the decoder; gives those that can be judged now, in order."""
        mark = frame.opaque
        if isinstance(mark, Mark):
            self._undecided.discard(mark.number)
            if frame.is_corrupt:
                self.distrust(mark)
        self._waiting.append(frame)
        while self._waiting and (len(self._waiting) > REORDER or self._is_decided(self._waiting[0])):
            yield self._judged(self._waiting.popleft())

    def flush(self) -> Iterator[tuple[Any, Verdict]]:
        """The stream has ended."""
        while self._waiting:
            yield self._judged(self._waiting.popleft())

    def _is_decided(self, frame: Any) -> bool:
        """Has every frame that was decoded before it come out, of which one may yet turn out to be damaged?

        And can no joint follow its own packet any more?
        """
        mark = frame.opaque
        if not isinstance(mark, Mark):
            return True
        if mark.corrupt and self._number < mark.number + JOINT_PACKETS:
            return False
        return not any(number < mark.number for number in self._undecided)

    def _judged(self, frame: Any) -> tuple[Any, Verdict]:
        mark = frame.opaque
        if not isinstance(mark, Mark):
            return frame, Verdict.CONCEALED if frame.is_corrupt else Verdict.WHOLE
        if mark.corrupt and mark.number not in self._joints:
            return frame, Verdict.CORRUPT
        broken = self._is_broken(mark.group, mark.number) or (mark.leading and mark.group - 1 in self._broken)
        return frame, Verdict.CONCEALED if broken else Verdict.WHOLE

    def _is_broken(self, group: int, number: int) -> bool:
        since = self._broken.get(group)
        return since is not None and since <= number <= since + LONGEST_DISTRUST
