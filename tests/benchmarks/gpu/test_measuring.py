"""Timings, budgets and reasons; CUDA's events stood in for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from benchmarks.gpu.measuring import Budget, CpuDevice, CudaDevice, Timing, attempt, clocked, measured
from benchmarks.gpu.reasons import NotMeasured, first_line


def test_a_timing_is_of_one_call() -> None:
    timing = Timing.of([1.0, 2.0, 3.0], calls=10)
    assert (timing.p50_us, timing.p95_us, timing.repeats, timing.calls) == (200.0, 290.0, 3, 10)


@pytest.mark.parametrize(
    ("fails", "reason"),
    [
        (NotMeasured("no time"), "no time"),
        (ModuleNotFoundError("No module named 'tensorrt'"), "a package is missing: No module named 'tensorrt'"),
        (RuntimeError("CUDA error: out of memory\nmore"), "failed: RuntimeError: CUDA error: out of memory"),
    ],
)
def test_what_fails_gives_its_reason(fails: Exception, reason: str) -> None:
    def measure() -> Any:
        raise fails

    found = attempt(measure)
    assert found == {"not_measured": reason}
    assert not measured(found)
    assert measured(attempt(dict))
    assert not measured(None)


def test_a_budget_runs_out() -> None:
    now = [100.0]
    budget = Budget(60, clock=lambda: now[0])
    budget.need(60, "compiling")
    now[0] = 130
    assert budget.left_s == 30
    with pytest.raises(NotMeasured, match="no time left: compiling may take 31 s, 30 s are left"):
        budget.need(31, "compiling")
    now[0] = 999
    assert budget.left_s == 0


def test_warm_up_is_not_timed() -> None:
    runs: list[int] = []
    assert clocked(lambda: runs.append(1), repeats=3, warm_up=2).repeats == 3
    assert len(runs) == 5


def test_a_cpu_has_no_graphs() -> None:
    with pytest.raises(NotMeasured, match="no CUDA graphs"):
        CpuDevice().graph(lambda: None)


def test_a_first_line_is_short_and_never_empty() -> None:
    assert first_line(ValueError("x" * 999)) == "x" * 300
    assert first_line(ValueError()) == "ValueError()"


class FakeCuda:
    """`torch.cuda` on a device whose clock is a counter of events."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.now = 0.0
        fake = self

        class Event:
            def __init__(self, enable_timing: bool) -> None:
                assert enable_timing

            def record(self) -> None:
                fake.log.append("event")
                self.at = fake.now

            def elapsed_time(self, end: Any) -> float:
                assert fake.log[-1] == "wait", "read before the device was done"
                return float(end.at - self.at)

        self.Event = Event

    def install(self, patch: pytest.MonkeyPatch) -> None:
        properties = SimpleNamespace(name="Fake", major=9, minor=0, L2_cache_size=50 << 20)
        for name, value in {
            "is_available": lambda: True, "get_device_properties": lambda index: properties, "Event": self.Event,
            "Stream": lambda device: "stream", "set_stream": lambda stream: None,
            "current_stream": lambda: SimpleNamespace(cuda_stream=77), "synchronize": lambda: self.log.append("wait"),
        }.items():  # fmt: skip
            patch.setattr(torch.cuda, name, value)

    def run(self) -> None:
        self.log.append("run")
        self.now += 4.0


def test_events_lie_around_each_repeat_and_nothing_waits_between(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = FakeCuda()
    cuda.install(monkeypatch)
    device = CudaDevice()
    assert (device.name, device.capability, device.stream, device.l2_bytes) == ("Fake", (9, 0), 77, 50 << 20)
    timing = device.time(cuda.run, repeats=3, warm_up=2, calls=2)
    assert cuda.log == ["run"] * 2 + ["wait"] + ["event", "run", "event"] * 3 + ["wait"]
    assert (timing.p50_us, timing.repeats) == (2000.0, 3)


def test_what_cannot_be_recorded_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = FakeCuda()
    cuda.install(monkeypatch)

    def refuse(graph: Any, capture_error_mode: str) -> Any:
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(torch.cuda, "CUDAGraph", object)
    monkeypatch.setattr(torch.cuda, "graph", refuse)
    with pytest.raises(NotMeasured, match=r"cannot be recorded as a CUDA graph: operation not permitted"):
        CudaDevice().graph(cuda.run)
    assert cuda.log.count("run") == 3  # warm-up before the recording


def test_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(NotMeasured, match="torch finds no CUDA GPU"):
        CudaDevice()
