"""The figures in words, the same on the console and on the page."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from stprompt_edge import files
from stprompt_edge.evaluation.records import ALARM_BUDGET, AlarmFigures, Evaluation, OperatingPoint

NOTHING = "–"

_Record = TypeVar("_Record")


@dataclass(frozen=True, kw_only=True)
class Headline:
    """One figure and what it rests on."""

    label: str
    value: str
    note: str


def printable(record: _Record) -> _Record:
    """The same record with every text in it as `files.printable` makes it."""
    value: Any = record
    if isinstance(value, str):
        return files.printable(value)  # type: ignore[return-value]
    if isinstance(value, (list, tuple)):
        return type(value)(map(printable, value))  # type: ignore[return-value]
    if isinstance(value, Mapping):
        return {printable(key): printable(item) for key, item in value.items()}  # type: ignore[return-value]
    if dataclasses.is_dataclass(value):
        fields = {field.name: printable(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return dataclasses.replace(value, **fields)  # type: ignore[type-var,return-value]
    return record


def headlines(evaluation: Evaluation) -> Iterator[Headline]:
    """The figures that people look for first."""
    figures, dataset = evaluation.figures, evaluation.dataset
    ranking, what = (figures.frames, "frames") if figures.frames else (figures.videos, "videos")
    if ranking is not None:
        yield Headline(label="AUC", value=f"{ranking.auc:.4f}", note=f"{ranking.abnormal + ranking.normal:,} {what}")
        yield Headline(label="AP", value=f"{ranking.ap:.4f}", note=f"{ranking.abnormal:,} of them abnormal")
    if figures.localization is not None:
        found = figures.localization
        note = f"{found.truth}, {found.frames:,} frames of {found.videos} videos"
        yield Headline(label="TIoU", value=f"{found.tiou:.4f}", note=note)
    if figures.alarm is not None:
        yield from _alarm_headlines(figures.alarm)
    if figures.frames is not None and figures.videos is not None:
        note = f"highest score of each of {figures.videos.abnormal + figures.videos.normal} videos"
        yield Headline(label="Video AUC", value=f"{figures.videos.auc:.4f}", note=note)
    videos = dataset.normal_videos + dataset.abnormal_videos
    yield Headline(
        label="Footage", value=hours(dataset.hours), note=f"{videos} videos, {dataset.sampled_frames:,} frames scored"
    )


def _alarm_headlines(alarm: AlarmFigures) -> Iterator[Headline]:
    own = alarm.own
    if alarm.anomalies:
        value = seconds(own.median_seconds) if alarm.timed else share(own.detected_share)
        note = f"{own.missed} of {alarm.anomalies} missed, at threshold {own.threshold_on:.2f}"
        yield Headline(label="Time to alarm" if alarm.timed else "Detected", value=value, note=note)
    if own.false_alarms_per_hour is not None:
        note = f"{own.false_alarms} in {hours(alarm.normal_hours)} of normal footage"
        yield Headline(label="False alarms", value=f"{rate(own.false_alarms_per_hour)}/h", note=note)


def marked_points(alarm: AlarmFigures) -> Iterator[tuple[str, OperatingPoint]]:
    """The points that have a name."""
    yield "the bundle's own", alarm.own
    if alarm.best is not None:
        yield f"best with at most {ALARM_BUDGET:g} per hour", alarm.best


def listed_points(alarm: AlarmFigures, count: int = 8) -> list[OperatingPoint]:
    """A few points of the curve, spread over their thresholds, highest first; equal ones are told once."""
    different: dict[tuple, OperatingPoint] = {}
    for point in reversed(alarm.curve):
        different.setdefault((point.false_alarms, point.detected, point.median_seconds), point)
    points = list(different.values())
    rows = sorted({round(i * (len(points) - 1) / max(count - 1, 1)) for i in range(min(count, len(points)))})
    return [points[row] for row in rows]


def point_cells(point: OperatingPoint) -> tuple[str, ...]:
    """Threshold, false alarms per hour, detected, median and quartiles of the time to alarm, normal time in alarm."""
    quartiles = f"{seconds(point.lower_quartile_seconds)} – {seconds(point.upper_quartile_seconds)}"
    total = point.detected + point.missed
    return (
        f"{point.threshold_on:.3f}",
        NOTHING if point.false_alarms_per_hour is None else rate(point.false_alarms_per_hour),
        f"{point.detected} of {total} ({share(point.detected_share)})" if total else NOTHING,
        seconds(point.median_seconds),
        NOTHING if point.lower_quartile_seconds is None else quartiles,
        share(point.normal_alarm_share),
    )


POINT_COLUMNS = ("threshold", "false alarms/h", "detected", "median time", "quartiles", "normal time in alarm")


def lookahead_name(lookahead: int | None) -> str:
    """How many later sampled frames."""
    return "all" if lookahead is None else str(lookahead)


def number(value: float | None) -> str:
    """An AUC or AP."""
    return NOTHING if value is None else f"{value:.4f}"


def seconds(value: float | None) -> str:
    """A time to alarm; inf is `missed`."""
    if value is None:
        return NOTHING
    return f"{value:.2f} s" if math.isfinite(value) else "missed"


def share(value: float | None) -> str:
    """Per cent, as many decimals as it takes."""
    return NOTHING if value is None else f"{value:.1%}" if 0 < value < 0.1 else f"{value:.0%}"


def rate(value: float) -> str:
    """Alarms per hour."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def hours(value: float) -> str:
    """Minutes where it is less than an hour."""
    return f"{value:.1f} h" if value >= 1 else f"{value * 60:.1f} min"
