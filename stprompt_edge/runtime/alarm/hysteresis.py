"""When the alarm is on: hysteresis over scores."""

from __future__ import annotations

from dataclasses import dataclass

from stprompt_edge.bundle import AlarmSection
from stprompt_edge.errors import UsageError


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
class Hysteresis:
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
