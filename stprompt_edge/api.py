"""The front door for Python: `load` a bundle, then `watch` a source, `score` a file, or `stream` frames of your own.

Reached as `import stprompt_edge as se`; nothing of the runtime is imported before the first call.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self  # in `typing` from Python 3.11 on

from stprompt_edge.bundle import Bundle, load_bundle
from stprompt_edge.errors import StpromptEdgeWarning, UsageError, nearest
from stprompt_edge.runtime.alarm import AlarmSettings
from stprompt_edge.runtime.backends.base import Backend
from stprompt_edge.runtime.backends.opening import open_backend
from stprompt_edge.runtime.frames import CameraFrame
from stprompt_edge.runtime.observer import LocalizeWhen, Observer
from stprompt_edge.runtime.reader import FrameReader
from stprompt_edge.runtime.records import Detection
from stprompt_edge.runtime.sampler import Sampler, default_stride
from stprompt_edge.runtime.sinks import Sink
from stprompt_edge.runtime.sources import open_source, resolve_source
from stprompt_edge.runtime.watch import Watch, choose_sampler, first_given, known_warnings


@dataclass(frozen=True, kw_only=True)
class Scores:
    """The scores of a whole source, one row for each of its T sampled frames."""

    frames: NDArray[np.int64]  # [T] 0-based camera frames
    seconds: NDArray[np.float64]  # [T] from the start of the source
    scores: NDArray[np.float32]  # [T] anomaly scores, 0..1
    class_probabilities: NDArray[np.float32]  # [T, 1+C], column 0 is `normal`; rows sum to 1
    class_names: tuple[str, ...]  # [1+C]


class Model:
    """A bundle with its graphs open; a context manager. One model serves any number of sources and streams in turn.

    Attributes:
        bundle: what was loaded.
        backend: what runs it, and its `description`.
    """

    def __init__(self, bundle: Bundle, backend: Backend) -> None:
        self.bundle = bundle
        self.backend = backend

    def watch(
        self,
        source: str | Path,
        *,
        localize: LocalizeWhen = "alarm",
        stride: int | None = None,
        threshold: float | None = None,
        fps: float | None = None,
        stream: int | None = None,
        live: bool | None = None,
        max_frames: int | None = None,
        sinks: Sequence[Sink] = (),
        stop: threading.Event | None = None,
    ) -> Iterator[Detection]:
        """Detections of a source as they come, exactly those of `stprompt-edge run`; leave the loop to end early.

        Args:
            source: a file, an image folder, a URL, `/dev/videoN`, a GStreamer pipeline, or a name in cameras.toml.
            localize: boxes and heat map of every frame (`always`), while the alarm is on (`alarm`), or never.
            stride: camera frames per sampled frame; by default as many seconds as in training.
            threshold: score that raises the alarm, 0..1; by default the camera's or the bundle's.
            fps: frames per second of an image folder, or of a recording without time stamps.
            stream: which stream of a file or URL, from 0 as ffprobe counts.
            live: may frames be dropped to keep up; by default as the source says.
            max_frames: camera frames to look at; None for all.
            sinks: told of each detection and of what it changes.
            stop: set it, from any thread, to end the loop soon.

        Raises:
            SourceError: there is no such source; or it cannot be opened, when the first detection is asked for.
            UsageError: an argument does not fit.
        """
        _check(localize, max_frames)
        camera = resolve_source(str(source))
        alarm = self._alarm(first_given(threshold, camera.threshold))

        def detections() -> Iterator[Detection]:
            with open_source(
                camera.source,
                stream=first_given(stream, camera.stream),
                live=first_given(live, camera.live),
                fps=first_given(fps, camera.fps),
            ) as opened:
                sampler = choose_sampler(self.bundle, opened, first_given(stride, camera.stride))
                observer = Observer(self.bundle, self.backend, alarm=alarm, localize=localize)
                if observer.on_device:
                    opened.planar = sampler.takes
                for line in known_warnings(opened, sampler, self.bundle):
                    warnings.warn(line, StpromptEdgeWarning, stacklevel=2)
                watch = Watch(camera.name, observer, sampler, sinks)
                with FrameReader(opened, sampler.takes, stop or threading.Event(), max_frames) as frames:
                    for frame in frames:
                        yield from watch.take(frame)
                yield from watch.finish()

        return detections()

    def score(self, source: str | Path, *, stride: int | None = None, fps: float | None = None) -> Scores:
        """The scores of a whole source as arrays, those of `watch`.

        Args:
            source, stride, fps: as in `watch`.

        Raises:
            SourceError: the source cannot be opened, or has no frame that can be decoded.
            UsageError: an argument does not fit.
        """
        found = list(self.watch(source, localize="never", stride=stride, fps=fps))
        classes = len(self.bundle.vocabulary.class_names)
        return Scores(
            frames=np.array([one.frame_index for one in found], np.int64),
            seconds=np.array([one.seconds for one in found], np.float64),
            scores=np.array([one.score for one in found], np.float32),
            class_probabilities=np.array([one.class_probabilities for one in found], np.float32).reshape(-1, classes),
            class_names=self.bundle.vocabulary.class_names,
        )

    def stream(
        self,
        *,
        fps: float,
        name: str = "stream",
        localize: LocalizeWhen = "alarm",
        stride: int | None = None,
        threshold: float | None = None,
        sinks: Sequence[Sink] = (),
    ) -> Stream:
        """A camera whose frames the application has itself.

        Args:
            fps: camera frames per second: from it follow the times of frames, and the stride where none is given.
            name: of the camera, in events.
            localize, stride, threshold, sinks: as in `watch`.

        Raises:
            UsageError: an argument does not fit.
        """
        _check(localize, None)
        if not 0 < fps < float("inf"):
            raise UsageError(f"fps must be a number over 0, got {fps}", remedy="e.g. fps=25")
        sampler = Sampler(default_stride(self.bundle.manifest.method, fps) if stride is None else stride)
        observer = Observer(self.bundle, self.backend, alarm=self._alarm(threshold), localize=localize)
        return Stream(Watch(name, observer, sampler, sinks), sampler, fps)

    def close(self) -> None:
        """Free the device; streams of this model cannot be used afterwards."""
        self.backend.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _alarm(self, threshold: float | None) -> AlarmSettings:
        return AlarmSettings.from_bundle(self.bundle.manifest.alarm, threshold)


class Stream:
    """One camera's own frames in, detections out; a context manager. Made by `Model.stream`."""

    def __init__(self, watch: Watch, sampler: Sampler, fps: float) -> None:
        self._watch = watch
        self._sampler = sampler
        self._fps = fps
        self._pushed = 0
        self._last_seconds = -1.0
        self._ended = False

    def push(self, image_bgr: NDArray[np.uint8], seconds: float | None = None) -> list[Detection]:
        """Take the next camera frame, in order; give the detections that it completes: for most frames none.

        Args:
            image_bgr: [H, W, 3] uint8, BGR, upright; a sampled one is copied, so the buffer is free again. The size may
                change.
            seconds: since the start of the stream, rising; by default the frame's number over `fps`.

        Raises:
            UsageError: the picture has another shape or type, its time does not rise, or the stream has ended.
        """
        if self._ended:
            raise UsageError("the stream was flushed: it takes no more frames", remedy="open another: model.stream()")
        image = np.asarray(image_bgr)
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
            raise UsageError(
                f"a frame must be [H, W, 3] uint8, got {list(image.shape)} {image.dtype}", remedy="BGR, as OpenCV reads"
            )
        at = self._pushed / self._fps if seconds is None else float(seconds)
        if not self._last_seconds < at < float("inf"):
            raise UsageError(f"seconds must rise, got {at} after {self._last_seconds}", remedy="push frames in order")
        index, self._pushed, self._last_seconds = self._pushed, self._pushed + 1, at
        if not self._sampler.takes(index):
            return []
        return self._watch.take(CameraFrame(index=index, seconds=at, image_bgr=image.copy()))

    def flush(self) -> list[Detection]:
        """The stream has ended: the detections that were held back. A second time there are none."""
        if self._ended:
            return []
        self._ended = True
        return self._watch.finish()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.flush()


def load(bundle: str | Path, backend: str = "auto") -> Model:
    """Open a bundle: every file is checked, then its graphs are opened.

    Args:
        bundle: folder that `stprompt-edge export` wrote.
        backend: `auto` for the fastest that starts here, `tensorrt`, `onnx`, `onnx-cuda` or `onnx-cpu`.

    Raises:
        UsageError: no bundle there, or an unknown backend.
        CheckFailed: the bundle is damaged, or of a newer version.
        EnvironmentFailure: what the backend needs is missing.
    """
    loaded = load_bundle(bundle)
    return Model(loaded, open_backend(backend, loaded).backend)


def _check(localize: str, max_frames: int | None) -> None:
    known = get_args(LocalizeWhen)
    if localize not in known:
        raise UsageError(f"unknown localize '{localize}'", remedy=nearest(localize, known))
    if max_frames is not None and max_frames < 1:
        raise UsageError(f"max_frames must be at least 1, got {max_frames}", remedy="leave it out for all")
