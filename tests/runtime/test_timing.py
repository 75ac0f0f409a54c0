"""Stage latencies: counts, percentiles, bounded memory."""

from __future__ import annotations

import sys
import time

import numpy as np
import pytest

from stprompt_edge.runtime import timing
from stprompt_edge.runtime.records import StageLatency
from stprompt_edge.runtime.timing import StageTimer, peak_rss_mib, summarize


def test_a_timer_without_samples_has_an_empty_summary() -> None:
    assert StageTimer().summary() == {}


def test_one_sample_is_every_percentile() -> None:
    timer = StageTimer()
    timer.add("decode", 0.002)
    assert timer.summary() == {"decode": StageLatency(count=1, p50_ms=2, p95_ms=2, p99_ms=2, mean_ms=2)}


def test_percentiles_are_in_milliseconds() -> None:
    latency = summarize(np.arange(101) / 1e3)
    assert latency == StageLatency(count=101, p50_ms=50, p95_ms=95, p99_ms=99, mean_ms=50)


def test_stages_come_in_order_of_first_use() -> None:
    timer = StageTimer()
    for stage in ("b", "a", "b"):
        timer.add(stage, 1.0)
    assert [(stage, latency.count) for stage, latency in timer.summary().items()] == [("b", 2), ("a", 1)]


def test_measure_takes_the_time_of_its_body(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([10.0, 10.25])
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    timer = StageTimer()
    with timer.measure("work"):
        pass
    assert timer.summary()["work"].p50_ms == 250


def test_a_body_that_fails_is_not_a_sample() -> None:
    timer = StageTimer()
    with pytest.raises(ZeroDivisionError), timer.measure("work"):
        _ = 1 / 0
    assert timer.summary() == {}


def test_only_the_latest_samples_are_kept_but_all_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "_KEPT", 3)
    timer = StageTimer()
    for seconds in (9, 9, 1, 2, 3):
        timer.add("work", seconds)
    assert timer.summary()["work"] == StageLatency(count=5, p50_ms=2000, p95_ms=2900, p99_ms=2980, mean_ms=2000)


def test_clear_forgets_everything() -> None:
    timer = StageTimer()
    timer.add("warm-up", 1.0)
    timer.clear()
    assert timer.summary() == {}


def test_peak_memory_is_that_of_a_python_process() -> None:
    assert 10 < peak_rss_mib() < 1 << 20


def test_peak_memory_is_zero_where_the_system_does_not_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "resource", None)
    assert peak_rss_mib() == 0
