"""The alarm: hysteresis over scores, and the events it makes."""

from __future__ import annotations

from dataclasses import dataclass, field

from stprompt_edge.bundle import AlarmSection
from stprompt_edge.errors import UsageError
from stprompt_edge.runtime.records import Detection, Event, FrameBoxes


@dataclass(frozen=True, kw_only=True)
class AlarmSettings:
    """When the alarm goes on and off; scores 0..1.

    Raises:
        UsageError: if a threshold is outside 0..1 or the off threshold is above the on threshold.
    """

    threshold_on: float
    threshold_off: float
    min_seconds: float = 0.0  # the score must stay above threshold_on this long before the alarm goes on

    def __post_init__(self) -> None:
        if not 0 <= self.threshold_off <= self.threshold_on <= 1:
            raise UsageError(
                f"alarm thresholds must be 0 <= off <= on <= 1, got on {self.threshold_on}, off {self.threshold_off}",
                remedy="pass a --threshold between 0 and 1",
            )

    @classmethod
    def from_bundle(cls, section: AlarmSection, threshold: float | None = None) -> AlarmSettings:
        """The bundle's settings; a threshold of the user's moves both, at the bundle's ratio of off to on."""
        on, off = section.threshold_on, section.threshold_off
        if threshold is not None:
            on, off = threshold, threshold * (off / on if on else 1.0)
        return cls(threshold_on=on, threshold_off=off, min_seconds=section.min_seconds)


@dataclass
class Alarm:
    """On above `threshold_on` for `min_seconds`, off below `threshold_off`."""

    settings: AlarmSettings
    on: bool = False
    _above_since: float | None = None

    def update(self, seconds: float, score: float) -> bool:
        """Take the score of a sampled frame at `seconds`; say whether the alarm is on now."""
        if self.on:
            self.on = score >= self.settings.threshold_off
        elif score < self.settings.threshold_on:
            self._above_since = None
        else:
            self._above_since = seconds if self._above_since is None else self._above_since
            self.on = seconds - self._above_since >= self.settings.min_seconds
        if self.on:
            self._above_since = None
        return self.on


MAX_EVENT_FRAMES = 4096  # sampled frames; an alarm that stays on for days becomes many events, not one endless one


@dataclass
class EventBuilder:
    """Detections -> events: from the first sampled frame with the alarm on to the last one, at most 4096."""

    _detections: list[FrameBoxes] = field(default_factory=list)
    _peak: Detection | None = None

    def update(self, detection: Detection) -> Event | None:
        """Take the next detection; give the event that it ended, if any."""
        if not detection.alarm:
            return self.finish()
        boxes = detection.localization.boxes if detection.localization else ()
        self._detections.append(
            FrameBoxes(frame_index=detection.frame_index, seconds=detection.seconds, score=detection.score, boxes=boxes)
        )
        if self._peak is None or detection.score > self._peak.score:
            self._peak = detection
        return self.finish() if len(self._detections) == MAX_EVENT_FRAMES else None

    def finish(self) -> Event | None:
        """End the event that is open, if any."""
        if self._peak is None:
            return None
        first, last, peak = self._detections[0], self._detections[-1], self._peak
        event = Event(
            start_frame=first.frame_index,
            start_seconds=first.seconds,
            end_frame=last.frame_index,
            end_seconds=last.seconds,
            peak_frame=peak.frame_index,
            peak_seconds=peak.seconds,
            peak_score=peak.score,
            top_class=peak.top_class,
            top_probability=peak.top_probability,
            frames=tuple(self._detections),
        )
        self._detections, self._peak = [], None
        return event
