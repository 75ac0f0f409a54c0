"""report.html: the run on one page, in one file that needs nothing else.

Every text that comes from outside (source, classes, bundle, warnings) passes `_text` or, in the script, `_script_json`.
"""

from __future__ import annotations

import base64
import dataclasses
import html
import importlib.resources
import string
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

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
        facts, points = self._facts, self._timeline.points
        name = facts.source.name
        watched = self._watched_seconds(summary)
        return string.Template(page_part("report.html")).substitute(
            style=page_part("house.css"),
            title=_text(name if "://" in name else name.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1] or name),
            when=_text(time.strftime("%Y-%m-%d %H:%M")),
            verdict=_verdict(self._event_count, points, summary, watched),
            tiles=_tiles(self._event_count, points, summary, watched, live=facts.source.live),
            warnings=_warnings(summary.warnings),
            chart=_chart(points, self._listed, facts, watched),
            chart_note=_chart_note(self._timeline),
            chart_data=_script_json([[round(p.seconds, 3), round(p.score, 4), p.top_class] for p in points]),
            events=self._events_html(),
            latencies=_latencies(summary.latencies),
            facts=_facts_html(facts, summary, name, watched),
        )

    def _watched_seconds(self, summary: RunSummary) -> float:
        """Up to the end of the last camera frame, as far as the frame rate is known."""
        if self._last is None:
            return 0.0
        fps, rest = self._facts.source.fps, max(summary.camera_frames - self._last.frame_index, 0)
        return self._last.seconds + (rest / fps if fps > 0 and not self._facts.source.live else 0.0)

    def _events_html(self) -> str:
        if self._event_count:
            cards = [
                _card(self._snapshots[listed.number], self._facts.class_names, listed)
                for listed in self._listed
                if listed.number in self._snapshots
            ]
            return _event_table(self._listed, self._event_count, set(self._snapshots)) + "".join(cards)
        best = self._peaks.best()
        if best is None:
            return '<p class="dim">No frame was scored, so there is nothing to show.</p>'
        return _card(best, self._facts.class_names, None)


def page_part(name: str) -> str:
    """A file of this folder, as text: `house.css` is the style of every page."""
    return importlib.resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _verdict(events: int, points: Sequence[TimelinePoint], summary: RunSummary, watched: float) -> str:
    pills, words = [], ""
    if not points:
        pills.append('<span class="pill quiet">Nothing scored</span>')
    elif events:
        pills.append(f'<span class="pill alarm">{events} event{"s" if events > 1 else ""}</span>')
    else:
        pills.append('<span class="pill calm">No events</span>')
    if points:
        peak = max(points, key=lambda p: p.score)
        words = f"Highest score {peak.score:.2f} at {clock(peak.seconds)}, closest to {_text(peak.top_class)}."
    if summary.interrupted:
        pills.append('<span class="pill warn">Interrupted</span>')
        words += f" Results up to {clock(watched)}."
    return f"<p>{' '.join(pills)} {words}</p>"


def _tiles(events: int, points: Sequence[TimelinePoint], summary: RunSummary, watched: float, *, live: bool) -> str:
    wall = summary.wall_seconds
    step = summary.latencies.get("step")
    peak = f"{max(p.score for p in points):.2f}" if points else "–"
    speed = f"{watched / wall:.1f}×" if wall > 0 and not live else "–"
    rate = f"{summary.camera_frames / wall:.1f}/s" if wall > 0 else "–"
    tiles = [
        ("Events", str(events), "alarm from on to off"),
        ("Peak score", peak, "between 0 and 1"),
        ("Watched", clock(watched), f"{summary.camera_frames:,} frames, {summary.sampled_frames:,} scored"),
        ("Frame rate", rate, "camera frames per second of work") if live else ("Speed", speed, "of real time"),
        ("Step, p95", _ms(step.p95_ms) if step else "–", "per scored frame"),
        ("Peak memory", f"{summary.peak_rss_mib:,.0f} MiB", "resident"),
    ]
    return "".join(
        f'<div class="tile"><span>{label}</span><b>{_text(value)}</b><small>{_text(note)}</small></div>'
        for label, value, note in tiles
    )


def _warnings(warnings: Sequence[str]) -> str:
    if not warnings:
        return ""
    items = "".join(f"<li>{_text(warning)}</li>" for warning in warnings)
    return f'<section class="warnings"><h2>Warnings</h2><ul>{items}</ul></section>'


def _chart(points: Sequence[TimelinePoint], listed: Sequence[_Listed], facts: RunFacts, watched: float) -> str:
    """SVG for lines and areas, stretched to its place; HTML for the words, which must not be stretched."""
    if not points:
        return '<p class="dim">No frame was scored.</p>'
    span = max([watched, points[-1].seconds, *(item.event.end_seconds for item in listed), 0.001])
    x, y = (lambda s: round(s / span * _CHART, 2)), (lambda v: round((1 - min(max(v, 0.0), 1.0)) * _CHART, 1))
    line = " L".join(f"{x(p.seconds)} {y(p.score)}" for p in points) + f" L{x(span)} {y(points[-1].score)}"
    area = f"M{x(points[0].seconds)} {_CHART} L{line} V{_CHART} Z"
    spans = "".join(_event_span(item, span) for item in listed)
    on, off = y(facts.threshold_on), y(facts.threshold_off)
    lines = f'<path class="on" d="M0 {on} H{_CHART}"/>'
    labels = f'<span class="yl" style="top:{on / 10:.1f}%">alarm {facts.threshold_on:.2f}</span>'
    if off != on:
        lines += f'<path class="off" d="M0 {off} H{_CHART}"/>'
    if off - on > 90:  # under 9 % of the height the two labels would touch
        labels += f'<span class="yl" style="top:{off / 10:.1f}%">off {facts.threshold_off:.2f}</span>'
    curve = f'<path class="area" d="{area}"/><path class="line" d="M{line}"/>'
    return (
        f'<div class="plot" id="plot" data-span="{span:.4f}">{spans}'
        f'<svg viewBox="0 0 {_CHART:.0f} {_CHART:.0f}" preserveAspectRatio="none" role="img" '
        'aria-label="score over time">'
        f'<clipPath id="hot"><rect x="0" y="-10" width="{_CHART}" height="{on + 10}"/></clipPath>'
        f'<path class="grid" d="M0 250 H1000 M0 500 H1000 M0 750 H1000"/>{lines}'
        f'<g class="cold">{curve}</g><g class="hot" clip-path="url(#hot)">{curve}</g></svg>'
        f'{labels}<i id="cross" hidden></i><b id="dot" hidden></b><output id="tip" hidden></output></div>'
        f"{_ticks(span)}"
    )


def _event_span(item: _Listed, span: float) -> str:
    left = item.event.start_seconds / span * 100
    width = (item.event.end_seconds - item.event.start_seconds) / span * 100
    return (
        f'<a class="span" href="#event-{item.number}" style="left:{left:.3f}%;width:{width:.3f}%" '
        f'aria-label="event {item.number}"></a>'
    )


def _ticks(span: float) -> str:
    step = next((s for s in _TICK_STEPS_S if span / s <= 8), span / 8)
    count = int(span / step * (1 + 1e-9))
    ticks = "".join(
        f'<span style="left:{i * step / span * 100:.3f}%">{_tick_text(i * step, step)}</span>' for i in range(count + 1)
    )
    return f'<div class="ticks{" many" if count > 4 else ""}">{ticks}</div>'


def _tick_text(seconds: float, step: float) -> str:
    text = clock(seconds)
    return text[:-2] if step >= 1 and "." in text else text


def _chart_note(timeline: Timeline) -> str:
    if timeline.samples_per_point == 1:
        return "One point per scored frame."
    return f"Each point is the highest of {timeline.samples_per_point} scored frames."


def _event_table(listed: Sequence[_Listed], count: int, pictured: set[int]) -> str:
    rows = "".join(_event_row(item, linked=item.number in pictured) for item in listed)
    note = f" The {len(listed)} strongest of {count:,} are listed; events.json has all." if count > len(listed) else ""
    more = f" {len(pictured)} of them pictured below." if len(pictured) < count else ""
    return (
        '<div class="scroll"><table><thead><tr><th>#</th><th>Start</th><th>End</th><th class="n">Lasted</th>'
        '<th class="n">Peak</th><th>Class at the peak</th><th class="n">Probability</th></tr></thead>'
        f'<tbody>{rows}</tbody></table></div><p class="dim">{note}{more}</p>'
    )


def _event_row(item: _Listed, *, linked: bool) -> str:
    event, number = item.event, str(item.number)
    anchor = f'<a href="#event-{number}">{number}</a>' if linked else f'<span id="event-{number}">{number}</span>'
    return (
        f"<tr><td>{anchor}</td><td>{clock(event.start_seconds)}</td><td>{clock(event.end_seconds)}</td>"
        f'<td class="n">{event.end_seconds - event.start_seconds:.1f} s</td>'
        f'<td class="n">{event.peak_score:.2f} at {clock(event.peak_seconds)}</td>'
        f"<td>{_text(event.top_class)}</td>"
        f'<td class="n">{event.top_probability:.0%}</td></tr>'
    )


def _card(snapshot: Snapshot, class_names: Sequence[str], listed: _Listed | None) -> str:
    """The pictures of one event, or of the highest-scored frame when there was none."""
    detection = snapshot.detection
    where = f"{clock(detection.seconds)}, frame {detection.frame_index:,}"
    if listed is None:
        head, anchor = "Highest-scored frame", "peak"
    else:
        event, anchor = listed.event, f"event-{listed.number}"
        when = f"{clock(event.start_seconds)} – {clock(event.end_seconds)}"
        head = f"Event {listed.number}: {_text(event.top_class)} <small>{when}</small>"
    pictures = _picture(snapshot.plain_jpeg, f"camera, {where}")
    if snapshot.marked_jpeg is not None:
        boxes = len(detection.localization.boxes) if detection.localization else 0
        pictures += _picture(snapshot.marked_jpeg, f"where: {boxes} box{'' if boxes == 1 else 'es'}")
    else:
        pictures += '<figure class="none"><figcaption>not localized</figcaption></figure>'
    bars = _class_bars(detection.class_probabilities, class_names)
    note = f"score <b>{detection.score:.2f}</b> at {where}"
    return (
        f'<article class="card" id="{anchor}"><h3>{head}</h3><p class="dim">{note}</p>'
        f'<div class="pair">{pictures}</div>{bars}</article>'
    )


def _picture(jpeg: bytes, caption: str) -> str:
    data = base64.b64encode(jpeg).decode("ascii")
    return (
        f'<figure><img alt="{_text(caption)}" src="data:image/jpeg;base64,{data}">'
        f"<figcaption>{_text(caption)}</figcaption></figure>"
    )


def _class_bars(probabilities: np.ndarray, class_names: Sequence[str]) -> str:
    """The most probable classes, `normal` among them, as bars."""
    order = np.argsort(-probabilities, kind="stable")[:_TOP_CLASSES]
    bars = "".join(
        f'<li><span>{_text(class_names[i])}</span><i><u style="width:{float(probabilities[i]):.1%}"></u></i>'
        f"<b>{float(probabilities[i]):.0%}</b></li>"
        for i in order
    )
    return f'<ul class="bars">{bars}</ul>'


def _latencies(latencies: dict[str, StageLatency]) -> str:
    if not latencies:
        return '<p class="dim">Nothing was timed.</p>'
    rows = "".join(
        f"<tr{' class=whole' if stage == 'step' else ''}><td>{_text(stage)}</td>"
        + "".join(f'<td class="n">{_ms(v)}</td>' for v in (of.p50_ms, of.p95_ms, of.p99_ms, of.mean_ms))
        + f'<td class="n">{of.count:,}</td></tr>'
        for stage, of in latencies.items()
    )
    return (
        '<div class="scroll"><table><thead><tr><th>Stage</th><th class="n">p50</th><th class="n">p95</th>'
        f'<th class="n">p99</th><th class="n">mean</th><th class="n">times</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _facts_html(facts: RunFacts, summary: RunSummary, name: str, watched: float) -> str:
    source = facts.source
    frames = f"{summary.camera_frames:,}"
    if source.frame_count is not None and not source.live:
        frames += f" read of {source.frame_count:,}"
    groups: list[tuple[str, dict[str, str]]] = [
        (
            "Source",
            {
                "Name": name,
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
    return "".join(_fact_group(title, entries) for title, entries in groups if entries)


def _rate(source: SourceInfo) -> str:
    if source.fps <= 0:
        return "unknown"
    return f"{source.fps:.2f} per second" + (", assumed" if source.fps_assumed else "")


def _fact_group(title: str, entries: dict[str, str]) -> str:
    rows = "".join(f"<dt>{_text(label)}</dt><dd>{_text(value)}</dd>" for label, value in entries.items())
    return f'<div class="facts"><h3>{title}</h3><dl>{rows}</dl></div>'


def _ms(milliseconds: float) -> str:
    """As many decimals as it takes to compare stages."""
    if milliseconds != milliseconds:  # NaN: never timed
        return "–"
    return f"{milliseconds:.{2 if milliseconds < 10 else 1 if milliseconds < 100 else 0}f} ms"


def _text(value: str) -> str:
    return html.escape(str(value), quote=True)


def _script_json(value: Iterable[object]) -> str:
    """JSON that cannot end the script element it stands in."""
    return json_text(value).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
