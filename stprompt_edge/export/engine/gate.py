"""An engine through the parity gate, and its latency: both on real frames, both before it is kept."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from stprompt_edge.bundle import Bundle, ParityFigures
from stprompt_edge.errors import CheckFailed, StpromptEdgeError
from stprompt_edge.export.parity import (
    MAX_SCORE_DIFFERENCE,
    MIN_COSINE,
    Trace,
    compare,
    trace_backend,
    within_limits,
)
from stprompt_edge.preprocess import Preprocessor
from stprompt_edge.progress import StepProgress
from stprompt_edge.runtime.backends.base import Backend
from stprompt_edge.runtime.backends.cuda.engines.sidecar import LatencyFigures
from stprompt_edge.runtime.backends.onnx import OnnxBackend
from stprompt_edge.runtime.backends.tensorrt import TensorRTBackend
from stprompt_edge.runtime.batcher import Batcher
from stprompt_edge.runtime.frames import CameraFrame
from stprompt_edge.runtime.observer import Observer
from stprompt_edge.runtime.track import EncodeRequest

FRAMES = 8
WARM_UP_STEPS, TIMED_STEPS = 10, 100


def compare_engine(
    bundle: Bundle,
    backend: TensorRTBackend,
    frames: Sequence[CameraFrame],
    source: str,
    *,
    batch: int,
    force: bool,
    progress: StepProgress,
) -> ParityFigures:
    """Embeddings and scores of an engine against fp32 ONNX on the CPU: both profiles, one frame and `batch` at once.

    Raises:
        CheckFailed: a limit is missed, unless `force`.
    """
    with OnnxBackend(bundle, precision="fp32") as reference:
        found = trace_engine(bundle, backend, frames, batch, _counted(progress, "parity gate: engine", 0.0, 0.3))
        expected = trace_engine(bundle, reference, frames, batch, _counted(progress, "parity gate: fp32", 0.3, 1.0))
    figures = compare(found, expected, source)
    missed = not within_limits(figures)
    if missed and not force:
        raise CheckFailed(
            f"the {backend.precision} engine missed parity with fp32 on {figures.frames} scores of {source}: smallest "
            f"cosine {figures.min_cosine:.5f} (limit {MIN_COSINE}), largest score difference "
            f"{figures.max_score_difference:.4f} (limit {MAX_SCORE_DIFFERENCE})",
            remedy="build another --precision, or keep it all the same with --force; the engine before stays in place",
        )
    return figures.model_copy(update={"accepted_by_force": missed})


def trace_engine(
    bundle: Bundle, backend: Backend, frames: Sequence[CameraFrame], batch: int, progress: StepProgress
) -> Trace:
    """What a backend says of frames: windows all and picked, one frame at a time and `batch` together."""
    traces = []
    for part, localize in enumerate(("always", "never")):
        progress(localize, part / 3)
        traces.append(trace_backend(bundle, backend, frames, lambda: None, localize))  # type: ignore[arg-type]
    embeddings = [trace.embeddings for trace in traces]
    if batch > 1:
        progress("batch", 2 / 3)
        preprocess = Preprocessor(bundle.preprocessing)
        requests = [
            EncodeRequest(
                image=preprocess(frames[i % len(frames)].image_bgr).image,
                fine=np.random.default_rng(i).permutation(bundle.geometry.fine_count)[: bundle.manifest.method.windows],
                coarse=np.zeros(1, np.int64),
            )
            for i in range(batch)
        ]
        for found in Batcher(backend).encode(requests):
            embeddings += [found.frame_D[None], found.fine_KD, found.coarse_LD]
    return Trace(embeddings=np.concatenate(embeddings), scores=np.concatenate([trace.scores for trace in traces]))


def compare_frames(bundle: Bundle, backend: TensorRTBackend, frames: Sequence[CameraFrame]) -> str:
    """Whether the device's own preprocessing may be used: its embeddings and scores against those of the CPU's.

    Returns:
        Why not; empty if it may.
    """
    if bundle.manifest.method.motion != "pixel":
        return "frames are preprocessed on the CPU: the method compares embeddings, not pixels"
    if not bundle.manifest.method.windows:
        return "frames are preprocessed on the CPU: the method looks at no windows"
    sidecar, backend.sidecar = backend.sidecar, backend.sidecar.model_copy(update={"device_frames": True})
    try:
        found = _trace_frames(bundle, backend, frames, device_frames=True)
    except StpromptEdgeError as exc:
        return f"frames are preprocessed on the CPU: {exc.what}"
    finally:
        backend.sidecar = sidecar
    figures = compare(found, _trace_frames(bundle, backend, frames, device_frames=False), "")
    if within_limits(figures):
        return ""
    return (
        f"frames are preprocessed on the CPU: the device's give cosine {figures.min_cosine:.4f}, "
        f"score difference {figures.max_score_difference:.4f}"
    )


def _trace_frames(
    bundle: Bundle, backend: TensorRTBackend, frames: Sequence[CameraFrame], *, device_frames: bool
) -> Trace:
    """Scores of frames, and what they are made of: their embeddings, and the vectors to smooth."""
    observer = Observer(bundle, backend, localize="always", device_frames=device_frames)
    found = [tracked for frame in frames for tracked in observer.push(frame)] + observer.flush()
    rows = [row for tracked in found for row in (tracked.embedded.x_clip_D, tracked.features)]
    width = max(len(row) for row in rows)
    return Trace(
        embeddings=np.stack([np.pad(row, (0, width - len(row))) for row in rows]),
        scores=np.array([tracked.detection.score for tracked in found], np.float32),
    )


def measure_latency(bundle: Bundle, backend: Backend, frames: Sequence[CameraFrame]) -> LatencyFigures:
    """The encoder on one frame and the method's windows, from host memory to host memory."""
    preprocess = Preprocessor(bundle.preprocessing)
    fine = np.arange(bundle.manifest.method.windows, dtype=np.int64)
    requests = [EncodeRequest(image=preprocess(frame.image_bgr).image, fine=fine, coarse=fine[:0]) for frame in frames]
    batcher, seconds = Batcher(backend), []
    for step in range(WARM_UP_STEPS + TIMED_STEPS):
        started = time.perf_counter()
        batcher.encode([requests[step % len(requests)]])
        seconds.append(time.perf_counter() - started)
    p50, p95 = np.percentile(seconds[WARM_UP_STEPS:], [50, 95]) * 1e3
    return LatencyFigures(p50_ms=round(float(p50), 3), p95_ms=round(float(p95), 3), steps=TIMED_STEPS)


def _counted(progress: StepProgress, name: str, start: float, stop: float) -> StepProgress:
    return lambda what, done: progress(f"{name}, {what}", start + (stop - start) * done)
