"""Latency of stages, in bounded memory, and the process's peak memory."""

from __future__ import annotations

import sys
import time
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from stprompt_edge.runtime.records import StageLatency

_KEPT = 8192  # latest samples of each stage that percentiles are taken from


class StageTimer:
    """Collects durations by stage name."""

    def __init__(self) -> None:
        self._seconds: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=_KEPT))
        self._counts: dict[str, int] = defaultdict(int)

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Time the body."""
        start = time.perf_counter()
        yield
        self.add(stage, time.perf_counter() - start)

    def add(self, stage: str, seconds: float) -> None:
        """Record a duration measured elsewhere."""
        self._seconds[stage].append(seconds)
        self._counts[stage] += 1

    def clear(self) -> None:
        """Forget everything, for example after a warm-up."""
        self._seconds.clear()
        self._counts.clear()

    def summary(self) -> dict[str, StageLatency]:
        """Percentiles of the latest samples of each stage, in milliseconds, in order of first use."""
        return {stage: summarize(np.asarray(kept), self._counts[stage]) for stage, kept in self._seconds.items()}


def summarize(seconds: np.ndarray, count: int | None = None) -> StageLatency:
    """Percentiles of durations in seconds, as milliseconds."""
    p50, p95, p99 = np.percentile(seconds, [50, 95, 99]) * 1e3
    return StageLatency(
        count=len(seconds) if count is None else count,
        p50_ms=round(float(p50), 3),
        p95_ms=round(float(p95), 3),
        p99_ms=round(float(p99), 3),
        mean_ms=round(float(seconds.mean() * 1e3), 3),
    )


def peak_rss_mib() -> float:
    """Largest resident size of this process so far, in MiB; 0 where the system does not say."""
    try:
        import resource
    except ImportError:  # not on Windows
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB on Linux, bytes on macOS
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)
