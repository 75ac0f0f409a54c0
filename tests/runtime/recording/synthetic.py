"""A made-up run: a 40-frame clip with a moving square, one alarm, and everything the sinks are told about it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stprompt_edge.runtime.alarm import EventLife
from stprompt_edge.runtime.frames import CameraFrame
from stprompt_edge.runtime.recording import OutputFolder
from stprompt_edge.runtime.recording.report import Report
from stprompt_edge.runtime.records import (
    AlarmChange,
    Box,
    Detection,
    Event,
    FrameBoxes,
    Localization,
    RunFacts,
    RunSummary,
    SourceInfo,
    StageLatency,
)

CLASSES = ("normal", "Fighting", "Road accident")
STRIDE = 4
FPS = 10.0
MADE_AT = datetime(2026, 9, 1, 12, 0, tzinfo=timezone.utc)
FIVE = ("annotated.mp4", "events.json", "report.html", "scores.csv", "summary.json")


def facts(*, name: str = "cam/clip.mp4", size_wh: tuple[int, int] = (320, 240), live: bool = False) -> RunFacts:
    return RunFacts(
        source=SourceInfo(
            name=name, width=size_wh[0], height=size_wh[1], fps=FPS, frame_count=40, live=live, codec="h264"
        ),
        class_names=CLASSES,
        stride=STRIDE,
        threshold_on=0.6,
        threshold_off=0.4,
        backend="fake",
        bundle={"Method": "STPrompt"},
    )


def summary(*, interrupted: bool = False, warnings: tuple[str, ...] = ()) -> RunSummary:
    return RunSummary(
        camera_frames=40,
        sampled_frames=10,
        events=1,
        dropped_frames=0,
        undecodable_packets=0,
        warnings=warnings,
        interrupted=interrupted,
        wall_seconds=2.0,
        peak_rss_mib=100.5,
        latencies={"step": StageLatency(count=10, p50_ms=1.5, p95_ms=20.25, p99_ms=300.0, mean_ms=float("nan"))},
        versions={"stprompt-edge": "0.1.0"},
    )


def picture(index: int, size_wh: tuple[int, int] = (320, 240)) -> NDArray[np.uint8]:
    """[H, W, 3] BGR: a white square that moves right on dark grey."""
    width, height = size_wh
    image = np.full((height, width, 3), 40, np.uint8)
    x = index * max(width // 50, 1) % width
    image[height // 3 : height // 2 + 1, x : x + max(width // 8, 1)] = 255
    return image


def frame(index: int, image: NDArray[np.uint8] | None = None) -> CameraFrame:
    """One frame; its picture unless another is given."""
    return CameraFrame(index=index, seconds=index / FPS, image_bgr=picture(index) if image is None else image)


def frames(
    count: int = 40, *, size_wh: tuple[int, int] = (320, 240), seconds: Sequence[float] | None = None
) -> Iterator[CameraFrame]:
    for index in range(count):
        time = index / FPS if seconds is None else seconds[index]
        yield CameraFrame(index=index, seconds=time, image_bgr=picture(index, size_wh))


def detection(index: int, score: float, *, alarm: bool = False, seconds: float | None = None) -> Detection:
    heat = np.zeros((14, 14), np.float32)
    heat[4:8, 4:8] = score
    where = Localization(heat_map=heat, boxes=(Box(x0=80, y0=60, x1=160, y1=120, probability=0.75),))
    return Detection(
        frame_index=index,
        seconds=index / FPS if seconds is None else seconds,
        score=score,
        class_probabilities=np.array([1 - score, 0.7 * score, 0.3 * score], np.float32),
        top_class="Fighting",
        top_probability=0.7 * score,
        alarm=alarm,
        localization=where if alarm else None,
    )


def event(detections: Sequence[Detection]) -> Event:
    """From the first to the last of them."""
    first, last, peak = detections[0], detections[-1], max(detections, key=lambda d: d.score)
    return Event(
        id="0199a1b2-0000-7000-8000-000000000000",
        camera="cam",
        started_at=MADE_AT,
        start_frame=first.frame_index,
        start_seconds=first.seconds,
        end_frame=last.frame_index,
        end_seconds=last.seconds,
        peak_frame=peak.frame_index,
        peak_seconds=peak.seconds,
        peak_score=peak.score,
        top_class=peak.top_class,
        top_probability=peak.top_probability,
        frames=tuple(
            FrameBoxes(
                frame_index=d.frame_index,
                seconds=d.seconds,
                score=d.score,
                boxes=d.localization.boxes if d.localization else (),
            )
            for d in detections
        ),
    )


def changes(detections: Sequence[Detection]) -> list[AlarmChange]:
    """An event that opens and is over at once."""
    found, kinds = event(detections), ("opened", "closed")
    return [AlarmChange(kind=kind, event=found, seconds=found.end_seconds, at=MADE_AT) for kind in kinds]  # type: ignore[arg-type]


def detections() -> list[Detection]:
    """Ten sampled frames; the alarm is on for frames 16, 20 and 24."""
    scores = (0.1, 0.2, 0.15, 0.3, 0.7, 0.9, 0.65, 0.2, 0.1, 0.05)
    return [detection(i * STRIDE, score, alarm=score > 0.6) for i, score in enumerate(scores)]


def tell(out: OutputFolder | Report, life: EventLife, one: Detection) -> None:
    """A detection and what it changes, to the folder or to its report alone."""
    taken, changed = (out.add_detection, out.add_change) if isinstance(out, Report) else (out.detection, out.change)
    taken(one, frame(one.frame_index))
    for change in life.update(one, MADE_AT.timestamp()):
        changed(change)


def run(
    path: Path,
    *,
    about: RunFacts | None = None,
    save_video: bool = True,
    delay: int = STRIDE,
    end: RunSummary | None = None,
) -> tuple[Path, ...]:
    """One whole run; each result comes `delay` camera frames late, as with centered motion."""
    found = detections()
    life = EventLife("cam")
    with OutputFolder(path, about or facts(), save_video=save_video) as out:
        due = list(found)
        for given in frames():
            if save_video:
                out.frame(given)
            while due and due[0].frame_index + delay <= given.index:
                tell(out, life, due.pop(0))
        for late in due:
            tell(out, life, late)
        return out.finish(end or summary())
