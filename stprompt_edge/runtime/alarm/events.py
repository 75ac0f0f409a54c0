"""The life of an event: the only place that finds where an alarm opens and closes."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import datetime, timezone
from uuid import UUID

from stprompt_edge.runtime.records import AlarmChange, AlarmChangeKind, Detection, Event, FrameBoxes

MAX_EVENT_FRAMES = 4096  # sampled frames; an alarm that stays on for days becomes many events, not one endless one


@dataclass
class EventLife:
    """Detections of one camera -> changes: an event lasts from the first sampled frame with the alarm on to the last.

    Args:
        camera: its name.
    """

    camera: str
    _id: str = ""
    _started_at: datetime | None = None
    _last_ms: int = 0  # of the newest id
    _frames: list[FrameBoxes] = field(default_factory=list)
    _peak: Detection | None = None

    def update(self, detection: Detection, wall_seconds: float) -> list[AlarmChange]:
        """Take the next detection; give what it changes: `updated` is a new peak.

        Args:
            detection: its alarm and boxes said.
            wall_seconds: since 1970, now.
        """
        if not detection.alarm:
            return self.finish(detection.seconds, wall_seconds)
        opens, peaks = not self._frames, self._peak is None or detection.score > self._peak.score
        if opens:
            self._id, self._started_at = self._new_id(wall_seconds), _utc(wall_seconds)
        if peaks:
            self._peak = detection
        boxes = detection.localization.boxes if detection.localization else ()
        self._frames.append(
            FrameBoxes(frame_index=detection.frame_index, seconds=detection.seconds, score=detection.score, boxes=boxes)
        )
        changes = []
        if opens or peaks:
            changes.append(self._change("opened" if opens else "updated", detection.seconds, wall_seconds))
        if len(self._frames) == MAX_EVENT_FRAMES:
            changes += self.finish(detection.seconds, wall_seconds)
        return changes

    def finish(self, seconds: float, wall_seconds: float) -> list[AlarmChange]:
        """The event that is open, if any, is over.

        Args:
            seconds: of the stream, now.
            wall_seconds: since 1970, now.
        """
        if self._peak is None:
            return []
        change = self._change("closed", seconds, wall_seconds)
        self._frames, self._peak = [], None
        return [change]

    def _change(self, kind: AlarmChangeKind, seconds: float, wall_seconds: float) -> AlarmChange:
        first, last, peak = self._frames[0], self._frames[-1], self._peak
        assert peak is not None
        assert self._started_at is not None
        event = Event(
            id=self._id,
            camera=self.camera,
            started_at=self._started_at,
            start_frame=first.frame_index,
            start_seconds=first.seconds,
            end_frame=last.frame_index,
            end_seconds=last.seconds,
            peak_frame=peak.frame_index,
            peak_seconds=peak.seconds,
            peak_score=peak.score,
            top_class=peak.top_class,
            top_probability=peak.top_probability,
            frames=tuple(self._frames) if kind == "closed" else (),
        )
        return AlarmChange(kind=kind, event=event, seconds=seconds, at=_utc(wall_seconds))

    def _new_id(self, wall_seconds: float) -> str:
        """A UUID of version 7 (RFC 9562, section 5.7): 48 bits of milliseconds, then random ones.

        Ids of a camera sort by time even where the wall clock is set back.
        """
        self._last_ms = max(int(wall_seconds * 1e3), self._last_ms + 1)
        random = secrets.randbits(74)
        return str(UUID(int=self._last_ms << 80 | 7 << 76 | random >> 62 << 64 | 2 << 62 | random & (1 << 62) - 1))


def _utc(wall_seconds: float) -> datetime:
    return datetime.fromtimestamp(wall_seconds, timezone.utc)
