"""The alarm that ships, over thresholds: what each costs in false alarms and brings in time.

False alarms are counted in normal videos only. The time to an alarm runs from the first abnormal frame to the moment
at which the score that raised the alarm was known; an anomaly without an alarm known before its end is missed, its
time is inf. Quartiles are of all anomalies, missed ones included: the median is the time within which half of them were
alarmed.

Letters: T sampled frames, N numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stprompt_edge.bundle import AlarmSection
from stprompt_edge.evaluation.lookahead import known_seconds
from stprompt_edge.evaluation.metrics import SECONDS_PER_HOUR, alarm_count, alarm_delay, alarm_states
from stprompt_edge.evaluation.records import ALARM_BUDGET, Anomaly, OperatingPoint, ScoredVideo
from stprompt_edge.runtime.alarm import AlarmSettings

_SPREAD = 41  # thresholds at quantiles of all scores
_PEAKS = 21  # and at quantiles of the peaks of normal videos and of anomalies, where counts change


@dataclass(frozen=True)
class Footage:
    """Scores at one lookahead with what is true of them.

    Args:
        videos: scored as at the edge.
        lookahead: which of their scores.
        late: later sampled frames that these wait for, the motion's delay included.
    """

    videos: Sequence[ScoredVideo]
    lookahead: int | None
    late: int

    @property
    def timed(self) -> bool:
        """Does any abnormal video say when its anomaly is?"""
        return any(video.anomalies for video in self.videos)

    @property
    def normal(self) -> list[ScoredVideo]:
        """The normal videos."""
        return [video for video in self.videos if video.is_normal]

    def anomalies(self, video: ScoredVideo) -> tuple[Anomaly, ...]:
        """Its annotated intervals; the whole video, without an end, where no video of the data set is annotated."""
        if self.timed or video.is_normal:
            return video.anomalies
        return (Anomaly(start_seconds=0.0, end_seconds=math.inf),)

    def point(self, settings: AlarmSettings) -> OperatingPoint:
        """What the alarm does with these settings."""
        alarms, on_count, normal_count = 0, 0, 0
        delays: list[float] = []
        for video in self.videos:
            on_T = alarm_states(video.scores[self.lookahead], video.seconds, settings)
            if video.is_normal:
                alarms += alarm_count(on_T)
                on_count += int(on_T.sum())
                normal_count += len(on_T)
            known_T = known_seconds(video.seconds, self.late)
            delays += [
                alarm_delay(on_T, video.seconds, known_T, anomaly.start_seconds, anomaly.end_seconds)
                for anomaly in self.anomalies(video)
            ]
        hours = normal_hours(self.videos)
        detected = sum(map(math.isfinite, delays))
        lower, median, upper = quartiles(delays) if self.timed else (None, None, None)
        return OperatingPoint(
            threshold_on=settings.threshold_on,
            threshold_off=settings.threshold_off,
            false_alarms=alarms,
            false_alarms_per_hour=alarms / hours if hours > 0 else None,
            normal_alarm_share=on_count / normal_count if normal_count else None,
            detected=detected,
            missed=len(delays) - detected,
            detected_share=detected / len(delays) if delays else None,
            missed_share=1 - detected / len(delays) if delays else None,
            median_seconds=median,
            lower_quartile_seconds=lower,
            upper_quartile_seconds=upper,
        )

    def curve(self, section: AlarmSection) -> tuple[OperatingPoint, ...]:
        """A point per threshold, rising; the ratio of off to on and the minimum duration are the bundle's."""
        return tuple(self.point(AlarmSettings.from_bundle(section, threshold)) for threshold in self.thresholds())

    def thresholds(self) -> list[float]:
        """Thresholds at which something changes, rising: quantiles of the scores and of their peaks."""
        scores = [video.scores[self.lookahead] for video in self.videos]
        peaks_normal = [float(video.scores[self.lookahead].max()) for video in self.normal]
        peaks_abnormal = [peak for video in self.videos for peak in self._peaks(video)]
        chosen = [np.quantile(np.concatenate(scores), np.linspace(0, 1, _SPREAD))]
        if peaks_normal:  # just above one, its video's alarms are gone
            chosen.append(np.nextafter(np.quantile(peaks_normal, np.linspace(0, 1, _PEAKS), method="higher"), 2))
        if peaks_abnormal:  # at one, its anomaly is still detected
            chosen.append(np.quantile(peaks_abnormal, np.linspace(0, 1, _PEAKS), method="higher"))
        every = np.unique(np.concatenate(chosen))
        return every[(every >= 0) & (every <= 1)].tolist()

    def _peaks(self, video: ScoredVideo) -> list[float]:
        peaks = []
        for anomaly in self.anomalies(video):
            known_T = known_seconds(video.seconds, self.late)
            inside = (video.seconds >= anomaly.start_seconds) & (known_T < anomaly.end_seconds)
            if inside.any():
                peaks.append(float(video.scores[self.lookahead][inside].max()))
        return peaks


def best_point(curve: Sequence[OperatingPoint], budget: float = ALARM_BUDGET) -> OperatingPoint | None:
    """The point within the budget of false alarms per hour that detects most, then soonest.

    Thresholds are tried from the highest down to the first that exceeds the budget. Those below do not count even
    where their number is small again: an alarm that never goes off is one alarm.

    Args:
        curve: thresholds rising.
        budget: false alarms per hour.

    Returns:
        None if there is no normal footage, or the highest threshold already exceeds the budget.
    """
    within: list[OperatingPoint] = []
    for point in reversed(curve):
        if point.false_alarms_per_hour is None or point.false_alarms_per_hour > budget:
            break
        within.append(point)
    return max(within, key=goodness) if within else None


def quartiles(delays: Sequence[float]) -> tuple[float | None, float | None, float | None]:
    """The smallest delays within which a quarter, half and three quarters of all anomalies were alarmed, or inf."""
    if not delays:
        return None, None, None
    ordered = sorted(delays)
    lower, median, upper = (ordered[math.ceil(share * len(ordered)) - 1] for share in (0.25, 0.5, 0.75))
    return lower, median, upper


def normal_hours(videos: Sequence[ScoredVideo]) -> float:
    """Hours of normal footage."""
    return sum(video.duration_seconds for video in videos if video.is_normal) / SECONDS_PER_HOUR


def goodness(point: OperatingPoint) -> tuple[float, ...]:
    """More detected, these sooner, fewer false alarms, a higher threshold: the largest is the best."""
    return (*_gain(point), -float(point.false_alarms), point.threshold_on)


def frontier(curve: Sequence[OperatingPoint]) -> list[OperatingPoint]:
    """The points that no other beats with as few false alarms, fewest first; for charts.

    As in `best_point`, thresholds under the one with most false alarms do not count: below it alarms only merge.

    Args:
        curve: thresholds rising.
    """
    if not curve:
        return []
    counts = np.array([point.false_alarms for point in curve])
    rising = curve[len(curve) - 1 - int(np.argmax(counts[::-1])) :]
    kept: list[OperatingPoint] = []
    for point in sorted(rising, key=lambda point: (point.false_alarms, *(-value for value in _gain(point)))):
        if not kept or _gain(point) > _gain(kept[-1]):
            kept.append(point)
    return kept


def as_columns(points: Sequence[OperatingPoint], name: str) -> NDArray[np.float64]:
    """One figure of each point: [N] float64, nan where there is none."""
    return np.array([np.nan if getattr(point, name) is None else getattr(point, name) for point in points], np.float64)


def _gain(point: OperatingPoint) -> tuple[float, float]:
    """More detected, and these sooner."""
    return float(point.detected), -(math.inf if point.median_seconds is None else point.median_seconds)
