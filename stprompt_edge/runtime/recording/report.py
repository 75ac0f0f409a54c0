"""report.html: the run on one page, in one file that needs nothing else.

`report.html` beside this file is its template; here is gathered what it shows.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jinja2.utils import htmlsafe_json_dumps

from stprompt_edge.reports.page import render
from stprompt_edge.runtime.drawing import clock
from stprompt_edge.runtime.frames import CameraFrame
from stprompt_edge.runtime.recording.plain_json import json_text
from stprompt_edge.runtime.recording.snapshots import PeakKeeper, Snapshot
from stprompt_edge.runtime.recording.timeline import Timeline, TimelinePoint
from stprompt_edge.runtime.records import AlarmChange, Detection, Event, RunFacts, RunSummary, SourceInfo, StageLatency

MAX_PICTURED_EVENTS = 12  # two JPEGs each: the page stays under a few megabytes
MAX_LISTED_EVENTS = 500  # rows of the table; events.json has them all
_TOP_CLASSES = 5
_CHART = 1000.0  # units of the SVG's width and height; it is stretched to its place
_TICK_STEPS_S = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400)


@dataclass(frozen=True, kw_only=True)
class _Listed:
    number: int  # 1-based, in order of time
    event: Event  # without its frames


class Report:
    """Collects what the page shows while the run goes on, in bounded memory, then writes it out."""

    def __init__(self, facts: RunFacts) -> None:
        self._facts = facts
        self._timeline = Timeline()
        self._peaks = PeakKeeper()
        self._last: Detection | None = None
        self._listed: list[_Listed] = []
        self._snapshots: dict[int, Snapshot] = {}  # event number -> its peak
        self._event_count = 0

    def add_detection(self, detection: Detection, frame: CameraFrame) -> None:
        """Takes the next sampled frame (its picture is copied if it is kept)."""
        self._last = detection
        self._peaks.add(detection, frame)
        self._timeline.add(
            TimelinePoint(
                frame_index=detection.frame_index,
                seconds=detection.seconds,
                score=detection.score,
                top_class=detection.top_class,
            )
        )

    def add_change(self, change: AlarmChange) -> None:
        """Takes what the latest sampled frame changed.

        Pictures and rows of the weakest events that are over make room for stronger ones.
        """
        snapshot = self._peaks.change(change)
        if change.kind != "closed":
            return
        self._event_count += 1
        event = change.event
        self._listed.append(_Listed(number=self._event_count, event=dataclasses.replace(event, frames=())))
        if len(self._listed) > MAX_LISTED_EVENTS:
            self._listed.remove(min(self._listed, key=lambda listed: listed.event.peak_score))
        if snapshot is not None:
            self._snapshots[self._event_count] = snapshot
        if len(self._snapshots) > MAX_PICTURED_EVENTS:
            del self._snapshots[min(self._snapshots, key=lambda number: self._snapshots[number].detection.score)]

    def html(self, summary: RunSummary) -> str:
        """The whole page."""
        facts, points, name = self._facts, self._timeline.points, self._facts.source.name
        watched = self._watched_seconds(summary)
        return render(
            "runtime/recording/report.html",
            title=name if "://" in name else name.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1] or name,
            made=time.strftime("%Y-%m-%d %H:%M"),
            pills=list(_pills(self._event_count, bool(points), summary.interrupted)),
            verdict=_verdict(points, summary, watched),
            tiles=_tiles(self._event_count, points, summary, watched, live=facts.source.live),
            notes=summary.warnings,
            samples_per_point=self._timeline.samples_per_point,
            chart=_chart(points, self._listed, facts, watched) if points else None,
            points=htmlsafe_json_dumps(
                [[round(p.seconds, 3), round(p.score, 4), p.top_class] for p in points], dumps=json_text
            ),
            event_count=self._event_count,
            event_rows=[_event_row(one, pictured=one.number in self._snapshots) for one in self._listed],
            cards=list(self._cards()),
            latencies=[_latency_row(stage, of) for stage, of in summary.latencies.items()],
            facts=_fact_groups(facts, summary, watched),
        )

    def _watched_seconds(self, summary: RunSummary) -> float:
        """Up to the end of the last camera frame, as far as the frame rate is known."""
        if self._last is None:
            return 0.0
        fps, rest = self._facts.source.fps, max(summary.camera_frames - self._last.frame_index, 0)
        return self._last.seconds + (rest / fps if fps > 0 and not self._facts.source.live else 0.0)

    def _cards(self) -> Iterator[dict[str, Any]]:
        """The pictures of each event, or of the highest-scored frame when there was none."""
        names, best = self._facts.class_names, self._peaks.best()
        for listed in self._listed:
            if listed.number in self._snapshots:
                event = listed.event
                yield _card(self._snapshots[listed.number], names) | {
                    "anchor": f"event-{listed.number}",
                    "head": f"Event {listed.number}: {event.top_class}",
                    "span": f"{clock(event.start_seconds)} – {clock(event.end_seconds)}",
                }
        if not self._event_count and best is not None:
            yield _card(best, names) | {"anchor": "peak", "head": "Highest-scored frame", "span": ""}


def _pills(events: int, scored: bool, interrupted: bool) -> Iterator[tuple[str, str]]:
    if not scored:
        yield "quiet", "Nothing scored"
    elif events:
        yield "alarm", f"{events} event{'s' if events > 1 else ''}"
    else:
        yield "calm", "No events"
    if interrupted:
        yield "warn", "Interrupted"


def _verdict(points: Sequence[TimelinePoint], summary: RunSummary, watched: float) -> str:
    words = []
    if points:
        peak = max(points, key=lambda p: p.score)
        words.append(f"Highest score {peak.score:.2f} at {clock(peak.seconds)}, closest to {peak.top_class}.")
    if summary.interrupted:
        words.append(f"Results up to {clock(watched)}.")
    return " ".join(words)


def _tiles(
    events: int, points: Sequence[TimelinePoint], summary: RunSummary, watched: float, *, live: bool
) -> list[tuple[str, str, str]]:
    wall = summary.wall_seconds
    step = summary.latencies.get("step")
    peak = f"{max(p.score for p in points):.2f}" if points else "–"
    speed = f"{watched / wall:.1f}×" if wall > 0 and not live else "–"
    rate = f"{summary.camera_frames / wall:.1f}/s" if wall > 0 else "–"
    return [
        ("Events", str(events), "alarm from on to off"),
        ("Peak score", peak, "between 0 and 1"),
        ("Watched", clock(watched), f"{summary.camera_frames:,} frames, {summary.sampled_frames:,} scored"),
        ("Frame rate", rate, "camera frames per second of work") if live else ("Speed", speed, "of real time"),
        ("Step, p95", _ms(step.p95_ms) if step else "–", "per scored frame"),
        ("Peak memory", f"{summary.peak_rss_mib:,.0f} MiB", "resident"),
    ]


def _chart(
    points: Sequence[TimelinePoint], listed: Sequence[_Listed], facts: RunFacts, watched: float
) -> dict[str, Any]:
    """Paths in units of the SVG, places of HTML in per cent."""
    span = max([watched, points[-1].seconds, *(one.event.end_seconds for one in listed), 0.001])

    def x(seconds: float) -> float:
        return round(seconds / span * _CHART, 2)

    def y(score: float) -> float:
        return round((1 - min(max(score, 0.0), 1.0)) * _CHART, 1)

    line = " L".join(f"{x(p.seconds)} {y(p.score)}" for p in points) + f" L{x(span)} {y(points[-1].score)}"
    on, off = y(facts.threshold_on), y(facts.threshold_off)
    labels = [(f"{on / 10:.1f}", f"alarm {facts.threshold_on:.2f}")]
    if off - on > 90:  # under 9 % of the height the two labels would touch
        labels.append((f"{off / 10:.1f}", f"off {facts.threshold_off:.2f}"))
    return {
        "span": span,
        "line": f"M{line}",
        "area": f"M{x(points[0].seconds)} {_CHART} L{line} V{_CHART} Z",
        "on": on,
        "off": off,
        "labels": labels,
        "events": [_event_span(one, span) for one in listed],
        "ticks": list(_ticks(span)),
    }


def _event_span(listed: _Listed, span: float) -> dict[str, Any]:
    start, end = listed.event.start_seconds, listed.event.end_seconds
    return {
        "number": listed.number,
        "left": f"{start / span * 100:.3f}",
        "width": f"{(end - start) / span * 100:.3f}",
    }


def _ticks(span: float) -> Iterator[tuple[str, str]]:
    step = next((s for s in _TICK_STEPS_S if span / s <= 8), span / 8)
    for i in range(int(span / step * (1 + 1e-9)) + 1):
        text = clock(i * step)
        yield f"{i * step / span * 100:.3f}", text[:-2] if step >= 1 and "." in text else text


def _event_row(listed: _Listed, *, pictured: bool) -> dict[str, Any]:
    event = listed.event
    return {
        "number": listed.number,
        "pictured": pictured,
        "start": clock(event.start_seconds),
        "end": clock(event.end_seconds),
        "lasted": f"{event.end_seconds - event.start_seconds:.1f} s",
        "peak": f"{event.peak_score:.2f} at {clock(event.peak_seconds)}",
        "top_class": event.top_class,
        "probability": f"{event.top_probability:.0%}",
    }


def _card(snapshot: Snapshot, class_names: Sequence[str]) -> dict[str, Any]:
    detection = snapshot.detection
    probabilities = detection.class_probabilities
    order = np.argsort(-probabilities, kind="stable")[:_TOP_CLASSES]  # `normal` among them
    return {
        "score": f"{detection.score:.2f}",
        "where": f"{clock(detection.seconds)}, frame {detection.frame_index:,}",
        "plain_jpeg": snapshot.plain_jpeg,
        "marked_jpeg": snapshot.marked_jpeg,
        "boxes": len(detection.localization.boxes) if detection.localization else 0,
        "classes": [(class_names[i], float(probabilities[i]), f"{float(probabilities[i]):.0%}") for i in order],
    }


def _latency_row(stage: str, of: StageLatency) -> tuple[str, ...]:
    return stage, *map(_ms, (of.p50_ms, of.p95_ms, of.p99_ms, of.mean_ms)), f"{of.count:,}"


def _fact_groups(facts: RunFacts, summary: RunSummary, watched: float) -> Iterator[tuple[str, Any]]:
    source = facts.source
    frames = f"{summary.camera_frames:,}"
    if source.frame_count is not None and not source.live:
        frames += f" read of {source.frame_count:,}"
    groups: list[tuple[str, dict[str, str]]] = [
        (
            "Source",
            {
                "Name": source.name,
                "Picture": f"{source.width} × {source.height}, {source.codec}",
                "Frame rate": _rate(source),
                "Frames": frames,
                "Kind": "live" if source.live else "recording",
                "Dropped frames": f"{summary.dropped_frames:,}",
                "Undecodable packets": f"{summary.undecodable_packets:,}",
                "Missing frames": f"{summary.missing_frames:,}",
                "Damaged, not scored": f"{summary.corrupt_frames:,} corrupt, {summary.concealed_frames:,} concealed",
            },
        ),
        (
            "Run",
            {
                "Backend": facts.backend,
                "Scored": f"1 of every {facts.stride} frames, {summary.sampled_frames:,} in all",
                "Alarm": f"on above {facts.threshold_on:.2f}, off below {facts.threshold_off:.2f}",
                "Watched": clock(watched),
                "Took": f"{summary.wall_seconds:.1f} s",
                "Peak memory": f"{summary.peak_rss_mib:,.0f} MiB",
            },
        ),
        ("Bundle", facts.bundle),
        ("Versions", summary.versions),
    ]
    return ((title, entries.items()) for title, entries in groups)


def _rate(source: SourceInfo) -> str:
    if source.fps <= 0:
        return "unknown"
    return f"{source.fps:.2f} per second" + (", assumed" if source.fps_assumed else "")


def _ms(milliseconds: float) -> str:
    """As many decimals as it takes to compare stages."""
    if milliseconds != milliseconds:  # NaN: never timed
        return "–"
    return f"{milliseconds:.{2 if milliseconds < 10 else 1 if milliseconds < 100 else 0}f} ms"
