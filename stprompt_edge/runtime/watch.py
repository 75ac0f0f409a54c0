"""`run`: source -> sampler -> track -> batcher -> backend -> track -> alarm -> sinks, for one camera.

The sampler picks frames, the observer holds track, batcher and hysteresis, `EventLife` makes changes of what it says,
and the sinks, of which the output folder is one, are told of both.
"""

from __future__ import annotations

import dataclasses
import platform
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TypeVar

from stprompt_edge import __version__
from stprompt_edge.bundle import Bundle, cautions, describe_bundle
from stprompt_edge.errors import SourceError, UsageError
from stprompt_edge.masking import masked
from stprompt_edge.overwriting import Input
from stprompt_edge.runtime.alarm import AlarmSettings, EventLife
from stprompt_edge.runtime.backends.base import Backend
from stprompt_edge.runtime.cameras import CameraConfig
from stprompt_edge.runtime.frames import CameraFrame
from stprompt_edge.runtime.observer import LocalizeWhen, Observer
from stprompt_edge.runtime.reader import FrameReader
from stprompt_edge.runtime.recording import OutputFolder
from stprompt_edge.runtime.records import AlarmChange, Detection, Event, RunFacts, RunSummary
from stprompt_edge.runtime.sampler import Sampler, default_stride, stride_warning
from stprompt_edge.runtime.sinks import Sink
from stprompt_edge.runtime.source_files import source_files
from stprompt_edge.runtime.sources import Source, open_source
from stprompt_edge.runtime.timing import StageTimer, peak_rss_mib
from stprompt_edge.runtime.track import TrackedFrame

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
    threshold_on: float  # that raises the alarm
    alarm: bool
    events: int


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """What a run left behind."""

    facts: RunFacts
    summary: RunSummary
    events: tuple[Event, ...]  # the latest of a long run, without their boxes
    files: tuple[Path, ...]


class Watch:
    """One camera's frames in, its sinks told.

    Args:
        camera: its name.
        observer: of this camera.
        sampler: picks the frames that are judged.
        sinks: told of each detection, then of what it changed, in order.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        camera: str,
        observer: Observer,
        sampler: Sampler,
        sinks: Sequence[Sink] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._observer = observer
        self._sampler = sampler
        self._sinks = sinks
        self._clock = clock
        self._life = EventLife(camera)
        self._waiting: deque[CameraFrame] = deque()  # sampled, not judged yet
        self._seconds = 0.0  # of the last detection

    def take(self, frame: CameraFrame) -> list[Detection]:
        """The next camera frame; give the detections that it completes, already told to the sinks."""
        if not self._sampler.takes(frame.index):
            return []
        self._waiting.append(frame)
        return self._tell(self._observer.push(frame))

    def finish(self) -> list[Detection]:
        """The source has ended: the detections that were held back; an open event is closed."""
        detections = self._tell(self._observer.flush())
        self._tell_changes(self._life.finish(self._seconds, self._clock()))
        return detections

    def _tell(self, tracked: Sequence[TrackedFrame]) -> list[Detection]:
        detections = [one.detection for one in tracked]
        for detection in detections:
            self._seconds = detection.seconds
            frame = self._waiting.popleft()
            for sink in self._sinks:
                sink.detection(detection, frame)
            self._tell_changes(self._life.update(detection, self._clock()))
        return detections

    def _tell_changes(self, changes: Sequence[AlarmChange]) -> None:
        for change in changes:
            for sink in self._sinks:
                sink.change(change)


def run(
    camera: CameraConfig,
    bundle: Bundle,
    backend: Backend,
    settings: RunSettings,
    *,
    stop: threading.Event | None = None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    warn: Callable[[str], None] = lambda line: None,
    sinks: Sequence[Sink] = (),
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
        sinks: told of detections and alarms besides the output folder.

    Raises:
        SourceError: the source cannot be opened, or broke off and is none that heals (see `sources.live`): a recording
            over the network; then the outputs are finished first.
        UsageError: a setting or the output folder does not fit, or an output would take the place of an input.
        EnvironmentFailure: disk full; nothing half-written is left.
    """
    stop = stop or threading.Event()
    alarm = AlarmSettings.from_bundle(bundle.manifest.alarm, first_given(settings.threshold, camera.threshold))
    stream, live = first_given(settings.stream, camera.stream), first_given(settings.live, camera.live)
    fps = first_given(settings.fps, camera.fps)
    with open_source(camera.source, stream=stream, live=live, fps=fps, times=settings.times) as source:
        sampler = choose_sampler(bundle, source, first_given(settings.stride, camera.stride))
        save_video = not source.info.live if settings.save_video is None else settings.save_video
        facts = _facts(source, bundle, backend, alarm, sampler)
        observer = Observer(bundle, backend, alarm=alarm, localize=settings.localize)
        if observer.on_device:
            source.planar = sampler.takes
        inputs = _inputs(camera, bundle, settings)
        with OutputFolder(settings.out, facts, save_video=save_video, inputs=inputs) as outputs:
            known = known_warnings(source, sampler, bundle)
            for line in known:
                warn(line)
            wanted = (lambda index: True) if save_video else sampler.takes
            reader = FrameReader(source, wanted, stop, settings.max_frames)
            loop = _Loop(reader, outputs, source, alarm, on_progress)
            failure = loop.follow(Watch(camera.name, observer, sampler, (loop, *sinks)), save_video)
            warnings = _all_warnings(known, source, sampler, reader.dropped_frames, failure)
            summary = loop.summary(observer, stop.is_set(), warnings)
            files = outputs.finish(summary)
            summary = dataclasses.replace(summary, warnings=(*summary.warnings, *outputs.warnings))
    if failure:
        raise SourceError(f"{failure.what}; results so far are in {settings.out}", remedy=failure.remedy) from failure
    return RunResult(facts=facts, summary=summary, events=tuple(loop.latest_events), files=files)


class _Loop:
    """From the reader through a watch into the output folder, whose sink it is; and what is counted on the way."""

    def __init__(
        self,
        reader: FrameReader,
        outputs: OutputFolder,
        source: Source,
        alarm: AlarmSettings,
        on_progress: Callable[[Progress], None],
    ) -> None:
        self._reader = reader
        self._outputs = outputs
        self._source = source
        self._threshold_on = alarm.threshold_on
        self._on_progress = on_progress
        self._events = 0
        self._detections = 0
        self._start = time.monotonic()
        self._writing = StageTimer()
        self.latest_events: deque[Event] = deque(maxlen=100)

    def follow(self, watch: Watch, save_video: bool) -> SourceError | None:
        """Read to the end; give back the failure of a source that broke off instead of raising it."""
        failure = None
        with self._reader:
            try:
                for frame in self._reader:
                    if save_video:
                        with self._writing.measure("write"):
                            self._outputs.frame(frame)
                    watch.take(frame)
            except SourceError as exc:
                failure = exc
        watch.finish()
        return failure

    def detection(self, detection: Detection, frame: CameraFrame) -> None:
        """See `Sink`."""
        self._detections += 1
        with self._writing.measure("write"):
            self._outputs.detection(detection, frame)
        seconds = time.monotonic() - self._start
        self._on_progress(
            Progress(
                camera_frame=detection.frame_index,
                camera_frames=self._source.info.frame_count,
                frames_per_second=self._reader.camera_frames / seconds if seconds else 0.0,
                score=detection.score,
                threshold_on=self._threshold_on,
                alarm=detection.alarm,
                events=self._events + detection.alarm,
            )
        )

    def change(self, change: AlarmChange) -> None:
        """See `Sink`."""
        with self._writing.measure("write"):
            self._outputs.change(change)
        if change.kind == "closed":
            self._events += 1
            self.latest_events.append(dataclasses.replace(change.event, frames=()))

    def summary(self, observer: Observer, interrupted: bool, warnings: tuple[str, ...]) -> RunSummary:
        """Counts and latencies."""
        return RunSummary(
            camera_frames=self._reader.camera_frames,
            sampled_frames=self._detections,
            events=self._events,
            dropped_frames=self._reader.dropped_frames,
            **dataclasses.asdict(self._source.losses),
            warnings=warnings,
            interrupted=interrupted,
            wall_seconds=round(time.monotonic() - self._start, 3),
            peak_rss_mib=round(peak_rss_mib(), 1),
            latencies=self._reader.timer.summary() | observer.timer.summary() | self._writing.summary(),
            versions=versions(),
        )


def choose_sampler(bundle: Bundle, source: Source, stride: int | None) -> Sampler:
    """With the stride that was asked for, or the one that comes closest to the bundle's training."""
    return Sampler(default_stride(bundle.manifest.method, source.info.known_fps) if stride is None else stride)


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


def first_given(*values: _Setting | None) -> _Setting | None:
    """The first value that is not None."""
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


def known_warnings(source: Source, sampler: Sampler, bundle: Bundle) -> tuple[str, ...]:
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
