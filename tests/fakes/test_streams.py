"""The fake device is as late as CUDA may be, and refuses what CUDA leaves undefined."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.fakes.cudart_module import FakeCudart
from tests.fakes.pycuda_driver import FakeDriver
from tests.fakes.streams import NON_BLOCKING


class Device:
    """A driver with a stream, and four bytes on each side of a copy."""

    def __init__(self, flags: int = 0) -> None:
        self.driver = FakeDriver(current=1)
        self.stream = self.driver.Stream(flags)
        self.memory = self.driver.mem_alloc(4)
        self.up, self.down = (self.driver.pagelocked_empty((1,), np.float32) for _ in range(2))
        self.up[:] = self.down[:] = 1

    def there_and_back(self) -> None:
        self.driver.memcpy_htod_async(self.memory, self.up, self.stream)
        self.driver.memcpy_dtoh_async(self.down, self.memory, self.stream)


WAITS: dict[str, Callable[[Device], Any]] = {
    "stream": lambda device: device.stream.synchronize(),
    "context": lambda device: device.driver.Context.synchronize(),
    "event": lambda device: device.driver.Event().record(device.stream).synchronize(),
    "copy": lambda device: device.driver.memcpy_dtoh(np.zeros(1, np.float32), device.memory),
}


@pytest.mark.parametrize("wait", WAITS.values(), ids=WAITS)
def test_copies_read_and_write_when_they_are_waited_for(wait: Callable[[Device], Any]) -> None:
    device = Device()
    device.there_and_back()
    assert np.isnan(device.down).all()
    device.up[:] = 7  # too early
    assert device.driver.calls == []
    wait(device)
    assert device.down == 7
    assert not device.driver.streams.pending


def test_an_event_covers_what_was_before_it_alone() -> None:
    device = Device()
    event = device.driver.Event().record(device.stream)
    device.there_and_back()
    event.synchronize()
    assert np.isnan(device.down).all()


@pytest.mark.parametrize("flags", [0, NON_BLOCKING])
def test_the_default_stream_is_ordered_with_blocking_streams_alone(flags: int) -> None:
    device = Device(flags)
    device.driver.memset_d32(device.memory, 0, 1)
    device.driver.memcpy_dtoh_async(device.down, device.memory, device.stream)
    if flags:
        with pytest.raises(AssertionError, match="races with another stream"):
            device.stream.synchronize()
    else:
        device.stream.synchronize()
        assert device.down == 0


def test_what_goes_up_from_pageable_memory_is_staged_at_once_and_arrives_later() -> None:
    device, source = Device(NON_BLOCKING), np.float32([3])
    device.driver.memcpy_htod(device.memory, source)
    source[:] = 4
    assert len(device.driver.streams.pending) == 1
    device.driver.Context.synchronize()
    device.driver.memcpy_dtoh(device.down, device.memory)
    assert device.down == 3


@pytest.mark.parametrize("ordered", [True, False])
def test_an_event_orders_two_streams(ordered: bool) -> None:
    device = Device()
    other = device.driver.Stream()
    device.driver.memcpy_htod_async(device.memory, device.up, device.stream)
    if ordered:
        other.wait_for_event(device.driver.Event().record(device.stream))
    device.driver.memcpy_dtoh_async(device.down, device.memory, other)
    if ordered:
        other.synchronize()
        assert device.down == 1
    else:
        with pytest.raises(AssertionError, match="races with another stream"):
            other.synchronize()


@pytest.mark.parametrize("freed", ["memory", "up", "down"])
def test_what_queued_work_uses_cannot_be_freed(freed: str) -> None:
    device = Device()
    device.there_and_back()
    held = getattr(device, freed)
    allocation = held.base if freed != "memory" else held
    with pytest.raises(AssertionError, match="freed while queued work uses it"):
        allocation.free()
    device.stream.synchronize()
    allocation.free()
    with pytest.raises(AssertionError, match="was freed"):
        device.there_and_back()


def test_a_graph_is_one_piece_of_work_and_keeps_no_memory_alive() -> None:
    device = Device()
    cudart = FakeCudart(device.driver)
    cudart.cudaStreamBeginCapture(device.stream.handle, None)
    device.there_and_back()
    for refused in (device.stream.synchronize, device.driver.Context.synchronize, lambda: device.driver.mem_alloc(4)):
        with pytest.raises(device.driver.Error, match="not permitted when stream is capturing"):
            refused()
    _, graph = cudart.cudaStreamEndCapture(device.stream.handle)
    assert device.down == 1  # recording does nothing
    cudart.cudaGraphLaunch(graph, device.stream.handle)
    assert np.isnan(device.down).all()
    device.up[:] = 5
    device.stream.synchronize()
    assert device.down == 5
    device.memory.free()
    with pytest.raises(AssertionError, match="memory that was freed"):
        cudart.cudaGraphLaunch(graph, device.stream.handle)


@pytest.mark.parametrize("missing", ["context", "pinned", "room"])
def test_wrong_use(missing: str) -> None:
    device = Device()
    source = np.zeros(1, np.float32) if missing == "pinned" else device.up
    device.driver.current = missing != "context"
    target = int(device.memory) + 2 * (missing == "room")
    with pytest.raises(AssertionError):
        device.driver.memcpy_htod_async(target, source, device.stream)


def test_writing_behind_an_allocation_is_found_when_it_is_freed() -> None:
    device = Device()
    device.memory._behind[0] = 0
    with pytest.raises(AssertionError, match="written behind it"):
        device.memory.free()
