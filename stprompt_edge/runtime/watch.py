"""`stprompt-edge run`: a source through a detector into the output folder."""

from __future__ import annotations

import dataclasses
import platform
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TypeVar

from stprompt_edge import __version__
from stprompt_edge.bundle import Bundle, cautions, describe_bundle
from stprompt_edge.errors import SourceError, UsageError
from stprompt_edge.masking import masked
from stprompt_edge.overwriting import Input
from stprompt_edge.runtime.alarm import AlarmSettings, EventBuilder
from stprompt_edge.runtime.backends.base import Backend
from stprompt_edge.runtime.cameras import CameraConfig
from stprompt_edge.runtime.detector import DetectedFrame, Detector, LocalizeWhen
from stprompt_edge.runtime.frames import CameraFrame
from stprompt_edge.runtime.reader import FrameReader
from stprompt_edge.runtime.recording import OutputFolder
from stprompt_edge.runtime.records import Event, RunFacts, RunSummary
from stprompt_edge.runtime.sampler import Sampler, default_stride, stride_warning
from stprompt_edge.runtime.source_files import source_files
from stprompt_edge.runtime.sources import Source, open_source
from stprompt_edge.runtime.timing import StageTimer, peak_rss_mib

_Setting = TypeVar("_Setting", int, float, bool)


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """What the user asked for; None means the camera's or the bundle's own value.

    Raises:
        UsageError: if `max_frames` is under 1.
    """

    out: Path
    localize: LocalizeWhen = "alarm"
    save_video: bool | None = None  # None: for files, not for live sources, which have no end
    max_frames: int | None = None
    stride: int | None = None  # None also where the bundle's seconds between samples and the source's rate make it
    threshold: float | None = None
    stream: int | None = None  # None: the one that a player would show
    live: bool | None = None  # None: as the source's protocol says
    also_read: tuple[Path, ...] = ()  # files besides source and bundle that must not be written over: cameras.toml
    fps: float | None = None  # of an image folder, or a recording without time stamps
    times: str | None = None  # of an image folder, see `sources.image_times`

    def __post_init__(self) -> None:
        if self.max_frames is not None and self.max_frames < 1:
            raise UsageError(f"--max-frames must be at least 1, got {self.max_frames}", remedy="leave it out for all")


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where a run is."""

    camera_frame: int
    camera_frames: int | None  # None when unknown
    frames_per_second: float  # camera frames, since the start
    score: float
    alarm: bool
    events: int


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """What a run left behind."""

    facts: RunFacts
    summary: RunSummary
    events: tuple[Event, ...]  # the latest of a long run, without their boxes
    files: tuple[Path, ...]


def run(
    camera: CameraConfig,
    bundle: Bundle,
    backend: Backend,
    settings: RunSettings,
    *,
    stop: threading.Event | None = None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    warn: Callable[[str], None] = lambda line: None,
) -> RunResult:
    """Watch one source to its end, or until `stop` is set, and write the output folder.

    Args:
        camera: source, and what differs from the bundle for this camera.
        bundle: model and settings.
        backend: the bundle's graphs, open.
        settings: what the user asked for.
        stop: set it to end early; the outputs are finished all the same and the summary says `interrupted`.
        on_progress: called after each detection.
        warn: told what to know before any result, once the source is open; the summary has it too.

    Raises:
        SourceError: the source cannot be opened, or a live one failed; then the outputs are finished first.
        UsageError: a setting or the output folder does not fit, or an output would take the place of an input.
        EnvironmentFailure: disk full; nothing half-written is left.
    """
    stop = stop or threading.Event()
    alarm = AlarmSettings.from_bundle(bundle.manifest.alarm, _first(settings.threshold, camera.threshold))
    stream, live = _first(settings.stream, camera.stream), _first(settings.live, camera.live)
    fps = _first(settings.fps, camera.fps)
    with open_source(camera.source, stream=stream, live=live, fps=fps, times=settings.times) as source:
        stride = _first(settings.stride, camera.stride)
        sampler = Sampler(default_stride(bundle.manifest.method, source.info.known_fps) if stride is None else stride)
        save_video = not source.info.live if settings.save_video is None else settings.save_video
        facts = _facts(source, bundle, backend, alarm, sampler)
        detector = Detector(bundle, backend, alarm=alarm, localize=settings.localize)
        if detector.on_device:
            source.planar = sampler.takes
        inputs = _inputs(camera, bundle, settings)
        with OutputFolder(settings.out, facts, save_video=save_video, inputs=inputs) as outputs:
            known = _known_warnings(source, sampler, bundle)
            for line in known:
                warn(line)
            watch = _Watch(detector, outputs, source, on_progress)
            failure = watch.follow(sampler, stop, settings.max_frames, save_video)
            warnings = _all_warnings(known, source, sampler, watch.dropped_frames, failure)
            summary = watch.summary(stop.is_set(), warnings)
            files = outputs.finish(summary)
            summary = dataclasses.replace(summary, warnings=(*summary.warnings, *outputs.warnings))
    if failure:
        raise SourceError(f"{failure.what}; results so far are in {settings.out}", remedy=failure.remedy) from failure
    return RunResult(facts=facts, summary=summary, events=tuple(watch.latest_events), files=files)


class _Watch:
    """The loop of a run, and what it counts."""

    def __init__(
        self, detector: Detector, outputs: OutputFolder, source: Source, on_progress: Callable[[Progress], None]
    ) -> None:
        self._detector = detector
        self._outputs = outputs
        self._source = source
        self._on_progress = on_progress
        self._events = EventBuilder()
        self._event_count = 0
        self._detections = 0
        self._start = time.monotonic()
        self._writing = StageTimer()
        self.latest_events: list[Event] = []

    def follow(
        self, sampler: Sampler, stop: threading.Event, max_frames: int | None, save_video: bool
    ) -> SourceError | None:
        """Read to the end; give back the failure of a live source instead of raising it."""
        failure = None
        self._reader = FrameReader(
            self._source, (lambda index: True) if save_video else sampler.takes, stop, max_frames
        )
        with self._reader:
            try:
                for frame in self._reader:
                    self._take(frame, sampler, save_video)
            except SourceError as exc:
                failure = exc
        for detected in self._detector.flush():
            self._publish(detected)
        self._close_event(self._events.finish())
        return failure

    def _take(self, frame: CameraFrame, sampler: Sampler, save_video: bool) -> None:
        if save_video:
            with self._writing.measure("write"):
                self._outputs.frame(frame)
        if sampler.takes(frame.index):
            for detected in self._detector.push(frame):
                self._publish(detected)

    def _publish(self, detected: DetectedFrame) -> None:
        detection = detected.detection
        self._detections += 1
        with self._writing.measure("write"):
            self._outputs.detection(detection, detected.frame)
            self._close_event(self._events.update(detection))
        seconds = time.monotonic() - self._start
        self._on_progress(
            Progress(
                camera_frame=detection.frame_index,
                camera_frames=self._source.info.frame_count,
                frames_per_second=self._reader.camera_frames / seconds if seconds else 0.0,
                score=detection.score,
                alarm=detection.alarm,
                events=self._event_count + detection.alarm,
            )
        )

    def _close_event(self, event: Event | None) -> None:
        if event is None:
            return
        self._event_count += 1
        self._outputs.event(event)
        self.latest_events = [*self.latest_events[-99:], dataclasses.replace(event, frames=())]

    @property
    def dropped_frames(self) -> int:
        """Of a live source, so far."""
        return self._reader.dropped_frames

    def summary(self, interrupted: bool, warnings: tuple[str, ...]) -> RunSummary:
        """Counts and latencies."""
        return RunSummary(
            camera_frames=self._reader.camera_frames,
            sampled_frames=self._detections,
            events=self._event_count,
            dropped_frames=self.dropped_frames,
            **dataclasses.asdict(self._source.losses),
            warnings=warnings,
            interrupted=interrupted,
            wall_seconds=round(time.monotonic() - self._start, 3),
            peak_rss_mib=round(peak_rss_mib(), 1),
            latencies=self._reader.timer.summary() | self._detector.timer.summary() | self._writing.summary(),
            versions=versions(),
        )


def versions() -> dict[str, str]:
    """Versions of what a result depends on."""
    found = {"stprompt-edge": __version__, "Python": platform.python_version()}
    for package in ("onnxruntime", "onnxruntime-gpu", "numpy", "opencv-python-headless", "av"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _inputs(camera: CameraConfig, bundle: Bundle, settings: RunSettings) -> list[Input]:
    """What a run reads."""
    sources: list[Input] = [("source", file) for file in source_files(camera.source)]
    return [*sources, ("bundle", bundle.path), *(("file", path) for path in settings.also_read)]


def _first(*values: _Setting | None) -> _Setting | None:
    """The first value that is given."""
    return next((value for value in values if value is not None), None)


def _facts(source: Source, bundle: Bundle, backend: Backend, alarm: AlarmSettings, sampler: Sampler) -> RunFacts:
    return RunFacts(
        source=source.info,
        class_names=bundle.vocabulary.class_names,
        stride=sampler.stride,
        threshold_on=alarm.threshold_on,
        threshold_off=alarm.threshold_off,
        backend=backend.description,
        bundle=describe_bundle(bundle),
    )


def assumed_rate(fps: float) -> str:
    """The warning where a source has no rate of its own, as a folder of images, and nobody said it."""
    return f"the source has no rate of its own, {fps:g} fps assumed: give --fps"


def _known_warnings(source: Source, sampler: Sampler, bundle: Bundle) -> tuple[str, ...]:
    """Those that are known before the first frame."""
    info, trained = source.info, bundle.manifest.method.seconds_between_samples or 0.0
    unlike = stride_warning(sampler.stride, info.known_fps, trained)
    assumed = assumed_rate(info.fps) if info.fps_assumed else None
    return (*cautions(bundle, info.name), *(line for line in (assumed, unlike) if line))


def _all_warnings(
    known: tuple[str, ...], source: Source, sampler: Sampler, dropped: int, failure: SourceError | None
) -> tuple[str, ...]:
    late = f"{dropped} frames dropped: they came faster than this machine takes them at stride {sampler.stride}"
    found = [*known, *source.warnings, late if dropped else None, failure.what if failure else None]
    return tuple(masked(warning) for warning in found if warning)
