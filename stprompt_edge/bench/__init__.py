"""Latency, throughput and memory of the runtime."""

from __future__ import annotations

from collections.abc import Callable

from stprompt_edge.bench.latency import BenchResult, Reference, bench, read_sampled_frames
from stprompt_edge.bundle import Bundle
from stprompt_edge.runtime.backends.opening import open_backend

__all__ = ["BenchResult", "bench", "bench_bundle", "read_sampled_frames"]


def bench_bundle(
    bundle: Bundle,
    backend: str,
    source: str,
    frames: int,
    *,
    load_reference: Callable[[], Reference] | None = None,
) -> BenchResult:
    """Open a backend and a video, and measure.

    Args:
        bundle: checked by `load_bundle`.
        backend: name for `open_backend`.
        source: as for `open_source`, to take frames from.
        frames: sampled frames to measure on.
        load_reference: see `bench`.

    Raises:
        SourceError: if the video cannot be read.
        UsageError, EnvironmentFailure: as `open_backend`.
    """
    sampled = read_sampled_frames(source, bundle.manifest.method.stride, frames)
    with open_backend(backend, bundle).backend as engine:
        return bench(bundle, engine, sampled, source=source, load_reference=load_reference)
