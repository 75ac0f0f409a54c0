"""Time on a device, what was not measured and why, and how much time is left. A CPU stands in for a dry run.

A `Timing` is of one call: on a GPU between two CUDA events around `calls` calls, after warm-up, with nothing waited for
in between; on a CPU by the clock.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

from benchmarks.gpu.reasons import NotMeasured, first_line

Run = Callable[[], object]
GRAPH_WARM_UP = 3  # runs before a recording: libraries choose and allocate what cannot be recorded


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Microseconds of one call."""

    p50_us: float
    p95_us: float
    repeats: int
    calls: int = 1  # of each repeat, one behind the other

    @classmethod
    def of(cls, milliseconds: Sequence[float], calls: int = 1) -> Timing:
        """From the milliseconds of each repeat."""
        p50, p95 = np.percentile(np.asarray(milliseconds, np.float64) / calls * 1e3, [50, 95])
        return cls(p50_us=round(float(p50), 3), p95_us=round(float(p95), 3), repeats=len(milliseconds), calls=calls)


class Device(Protocol):
    """Where everything runs."""

    kind: str  # `cuda` or `cpu`
    name: str
    torch: torch.device
    l2_bytes: int  # of the cache that frames must not sit in

    @property
    def stream(self) -> int:
        """Handle of the stream that work goes to now."""

    def synchronize(self) -> None:
        """Wait until all of it is done."""

    def time(self, run: Run, *, repeats: int, warm_up: int, calls: int = 1) -> Timing:
        """Time `run`, which makes `calls` calls of what is measured."""

    def graph(self, run: Run) -> Run:
        """`run` as one recorded launch.

        Raises:
            NotMeasured: it cannot be recorded; says why.
        """


class CudaDevice:
    """GPU 0 on a stream of its own.

    Raises:
        NotMeasured: torch finds no GPU.
    """

    kind = "cuda"

    def __init__(self) -> None:
        if not torch.cuda.is_available():
            raise NotMeasured("torch finds no CUDA GPU here")
        properties = torch.cuda.get_device_properties(0)
        self.name = properties.name
        self.torch = torch.device("cuda", 0)
        self.l2_bytes = int(getattr(properties, "L2_cache_size", 0)) or 64 << 20
        self.capability = (properties.major, properties.minor)
        torch.cuda.set_stream(torch.cuda.Stream(self.torch))

    @property
    def stream(self) -> int:
        """While a graph is recorded this is the stream that it is recorded on."""
        return int(torch.cuda.current_stream().cuda_stream)

    def synchronize(self) -> None:
        """See `Device.synchronize`."""
        torch.cuda.synchronize()

    def time(self, run: Run, *, repeats: int, warm_up: int, calls: int = 1) -> Timing:
        """See `Device.time`."""
        for _ in range(warm_up):
            run()
        pairs = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(repeats)]
        self.synchronize()
        for start, end in pairs:
            start.record()
            run()
            end.record()
        self.synchronize()
        return Timing.of([start.elapsed_time(end) for start, end in pairs], calls)

    def graph(self, run: Run) -> Run:
        """See `Device.graph`."""
        for _ in range(GRAPH_WARM_UP):
            run()
        self.synchronize()
        recorded = torch.cuda.CUDAGraph()
        try:
            # thread_local: what other threads do meanwhile (compilers' workers) does not spoil the recording
            with torch.cuda.graph(recorded, capture_error_mode="thread_local"):
                kept = run()  # its outputs live in the graph's memory
        except Exception as exc:  # torch and the libraries inside raise many kinds
            self.synchronize()
            raise NotMeasured(f"cannot be recorded as a CUDA graph: {first_line(exc)}") from exc

        def replay(kept: object = kept) -> object:
            recorded.replay()
            return kept

        return replay


class CpuDevice:
    """For a dry run: the same flow, figures that mean nothing."""

    kind, name, l2_bytes, stream = "cpu", "CPU (dry run)", 0, 0

    def __init__(self) -> None:
        self.torch = torch.device("cpu")

    def synchronize(self) -> None:
        """Nothing to wait for."""

    def time(self, run: Run, *, repeats: int, warm_up: int, calls: int = 1) -> Timing:
        """See `Device.time`."""
        return clocked(run, repeats=repeats, warm_up=warm_up, calls=calls)

    def graph(self, run: Run) -> Run:
        """See `Device.graph`."""
        raise NotMeasured("a CPU has no CUDA graphs")


class Budget:
    """What is left of the time that the whole check may take.

    Args:
        limit_s: seconds from now on.
        clock: stands in for the monotonic clock in tests.
    """

    def __init__(self, limit_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._end = clock() + limit_s

    @property
    def left_s(self) -> float:
        """Never below 0."""
        return max(self._end - self._clock(), 0.0)

    def need(self, seconds: float, what: str) -> None:
        """Go on only if so much time is left.

        Raises:
            NotMeasured: it is not.
        """
        if self.left_s < seconds:
            raise NotMeasured(f"no time left: {what} may take {seconds:.0f} s, {self.left_s:.0f} s are left")


def clocked(run: Run, *, repeats: int, warm_up: int, calls: int = 1) -> Timing:
    """Time on the host, from call to return."""
    for _ in range(warm_up):
        run()
    milliseconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        run()
        milliseconds.append((time.perf_counter() - started) * 1e3)
    return Timing.of(milliseconds, calls)


def attempt(measure: Callable[[], Any]) -> Any:
    """What `measure` gives, or `{"not_measured": reason}`: one part that fails takes no other with it."""
    try:
        return measure()
    except NotMeasured as exc:
        return {"not_measured": str(exc)}
    except ImportError as exc:
        return {"not_measured": f"a package is missing: {first_line(exc)}"}
    except Exception as exc:  # the report says what it was, and the log where
        traceback.print_exc()
        return {"not_measured": f"failed: {type(exc).__name__}: {first_line(exc)}"}


def measured(part: Any) -> bool:
    """Is there something in this part of a result?"""
    return part is not None and not (isinstance(part, dict) and "not_measured" in part)
