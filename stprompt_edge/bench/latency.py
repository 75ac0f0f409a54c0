"""Latency of the step, stage by stage, on real frames; ratios against a reference in the same run."""

from __future__ import annotations

import dataclasses
import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stprompt_edge.bundle import Bundle
from stprompt_edge.doctor.parsers import parse_cpu_flags
from stprompt_edge.errors import SourceError
from stprompt_edge.masking import masked_source
from stprompt_edge.preprocess import Preprocessor
from stprompt_edge.runtime.backends.base import Backend
from stprompt_edge.runtime.batcher import Batcher
from stprompt_edge.runtime.frames import CameraFrame
from stprompt_edge.runtime.observer import LocalizeWhen, Observer
from stprompt_edge.runtime.records import StageLatency
from stprompt_edge.runtime.sampler import default_stride
from stprompt_edge.runtime.sources import open_source
from stprompt_edge.runtime.timing import StageTimer, peak_rss_mib
from stprompt_edge.runtime.track import EncodeRequest, FrameEmbeddings
from stprompt_edge.runtime.watch import versions

CAMERA_FPS = 25.0  # a common camera, for "how many cameras is that"
WARM_UP_STEPS = 3
REFERENCE_STEPS = 2  # one takes seconds
MAX_FRAME_BYTES = 512 << 20  # of frames held in memory: 8K ones have 100 MB
Reference = Callable[[NDArray[np.float32]], None]  # encodes one preprocessed frame [3, S, S] and all its fine windows


@dataclass(frozen=True, kw_only=True)
class BenchResult:
    """What a benchmark measured; milliseconds."""

    backend: str
    frames: int
    source: str
    watch: dict[str, StageLatency]  # stages of the step with K windows picked by pixel motion
    watch_all: dict[str, StageLatency]  # the same with all fine windows encoded, picked by feature motion
    locate: dict[str, StageLatency]  # the same with all windows encoded, heat map and boxes
    bare_encode: StageLatency  # the encoder alone, on the very inputs of the watch step
    reference: StageLatency | None  # literal step: frame and each fine window resized and encoded alone
    sampled_frames_per_second: float
    cameras: float  # of 25 fps at the stride that `run` takes for those
    stride: int
    peak_rss_mib: float  # before the reference, which needs far more, was run
    machine: dict[str, str]
    versions: dict[str, str]
    watch_device: dict[str, StageLatency] | None = None  # the watch step where the device preprocesses frames itself

    @property
    def ratios(self) -> dict[str, float]:
        """Medians over medians."""
        found = {"whole watch step / bare encoder": self.watch["step"].p50_ms / self.bare_encode.p50_ms}
        if self.reference:
            for name, stages in (("watch", self.watch), ("watch, all windows", self.watch_all)):
                found[f"literal step / {name} step"] = self.reference.p50_ms / stages["step"].p50_ms
        return {name: round(value, 3) for name, value in found.items()}

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {**dataclasses.asdict(self), "ratios": self.ratios}


def read_sampled_frames(source: str, stride: int, count: int) -> list[CameraFrame]:
    """Up to `count` sampled frames from the start of a video; denser than `stride` where it is too short for that.

    Raises:
        SourceError: if the source cannot be read.
    """
    with open_source(source) as opened:
        if opened.info.frame_count:
            stride = max(min(stride, opened.info.frame_count // count), 1)
        frames: list[CameraFrame] = []
        for frame in opened.frames(lambda index: index % stride == 0):
            frames.append(frame)
            if len(frames) == count or len(frames) * frame.image_bgr.nbytes > MAX_FRAME_BYTES:
                break
    if len(frames) < WARM_UP_STEPS + 2:
        raise SourceError(
            f"{masked_source(source)} has only {len(frames)} frames to measure on", remedy="use a longer video"
        )
    return frames


def bench(
    bundle: Bundle,
    backend: Backend,
    frames: Sequence[CameraFrame],
    *,
    source: str,
    load_reference: Callable[[], Reference] | None = None,
) -> BenchResult:
    """Measure every stage of the step on frames that are in memory.

    Args:
        bundle: with its own K, motion kind and stride.
        backend: the bundle's graphs, open.
        frames: sampled frames of real footage.
        source: their name, for the report.
        load_reference: loads what ours is compared with, after ours was measured.
    """
    feature = _with_motion(bundle, "feature")
    recorder = _Recorder(backend)
    watch = _measure(_with_motion(bundle, "pixel"), backend, frames, "never", recorder=recorder)
    bare = recorder.timer.summary()["bare"]
    watch_all = _measure(feature, backend, frames, "never")
    locate = _measure(feature, backend, frames, "always")
    on_device = _measure_device(_with_motion(bundle, "pixel"), backend, frames)
    rss = peak_rss_mib()
    per_second = 1e3 / (on_device or watch)["step"].p50_ms
    stride = default_stride(bundle.manifest.method, CAMERA_FPS)
    return BenchResult(
        backend=backend.description,
        frames=len(frames),
        source=masked_source(source),
        watch=watch,
        watch_all=watch_all,
        locate=locate,
        bare_encode=bare,
        reference=_measure_reference(bundle, frames, load_reference()) if load_reference else None,
        sampled_frames_per_second=round(per_second, 2),
        cameras=round(per_second * stride / CAMERA_FPS, 1),
        stride=stride,
        peak_rss_mib=round(rss, 1),
        machine=describe_machine(),
        versions=versions(),
        watch_device=on_device,
    )


class _Recorder(Batcher):
    """Can repeat the last call of the encoder, timed alone."""

    def __init__(self, backend: Backend) -> None:
        super().__init__(backend)
        self._requests: Sequence[EncodeRequest] = ()
        self.timer = StageTimer()

    def encode(self, requests: Sequence[EncodeRequest]) -> list[FrameEmbeddings]:
        """See `Batcher.encode`."""
        self._requests = requests
        return super().encode(requests)

    def repeat(self) -> None:
        """Once for each step that has encoded."""
        if self._requests:
            with self.timer.measure("bare"):
                super().encode(self._requests)
            self._requests = ()


def _measure(
    bundle: Bundle,
    backend: Backend,
    frames: Sequence[CameraFrame],
    localize: LocalizeWhen,
    *,
    recorder: _Recorder | None = None,
    device_frames: bool = False,
) -> dict[str, StageLatency]:
    observer = Observer(bundle, backend, localize=localize, batcher=recorder, device_frames=device_frames)
    for position, frame in enumerate(frames):
        if position == WARM_UP_STEPS:
            observer.timer.clear()
            if recorder:
                recorder.timer.clear()
        observer.push(frame)
        if recorder:
            recorder.repeat()
    return observer.timer.summary()


def _measure_device(bundle: Bundle, backend: Backend, frames: Sequence[CameraFrame]) -> dict[str, StageLatency] | None:
    """The watch step with preprocessing on the device; None where that is not to be had."""
    if not Observer(bundle, backend, localize="never").on_device:
        return None
    return _measure(bundle, backend, frames, "never", device_frames=True)


def _with_motion(bundle: Bundle, motion: str) -> Bundle:
    """The bundle with another motion kind: for timing only, since its heads know their own."""
    method = bundle.manifest.method.model_copy(update={"motion": motion})
    return dataclasses.replace(bundle, manifest=bundle.manifest.model_copy(update={"method": method}))


def _measure_reference(bundle: Bundle, frames: Sequence[CameraFrame], reference: Reference) -> StageLatency:

    preprocess = Preprocessor(bundle.preprocessing)
    timer = StageTimer()
    for frame in frames[:REFERENCE_STEPS]:
        with timer.measure("reference"):
            reference(preprocess(frame.image_bgr).image)
    return timer.summary()["reference"]


def describe_machine() -> dict[str, str]:
    """Processor, cores and the instruction sets that decide how fast int8 is."""

    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            cpu = parse_cpu_flags(file.read())
    except OSError:
        return {"processor": platform.processor() or platform.machine(), "cores": str(os.cpu_count())}
    return {
        "processor": cpu.model,
        "cores": str(os.cpu_count()),
        "int8 instructions": ", ".join(cpu.int8_features) or "none",
    }


def timestamp() -> str:
    """UTC date and time of a measurement."""
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
