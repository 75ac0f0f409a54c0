"""Stands in for `pycuda.driver`: "device memory" is the host's, and kernels are the ones compiled for the host.

As strict as the real one: addresses must have been allocated, copies must fit, what must be pinned is pinned.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Error(Exception):
    """`pycuda.driver.Error`."""


class Memory:
    """`DeviceAllocation` or `PagelockedHostAllocation`."""

    def __init__(self, driver: FakeDriver, array: NDArray[Any]) -> None:
        self.driver, self.array, self.freed = driver, array, False
        self.guard: NDArray[Any] = array[:0]  # what lies behind, and nobody may write

    def __int__(self) -> int:
        return self.array.ctypes.data

    def free(self) -> None:
        assert not self.freed, "freed twice"
        assert (self.guard == 0xA5).all(), "somebody has written behind it"
        self.freed = True


class Pinned(np.ndarray):
    """What `pagelocked_empty` gives: an array whose `base` is the allocation."""

    memory: Memory | None = None

    @property
    def base(self) -> Any:
        return self.memory


class Stream:
    def __init__(self) -> None:
        self.waits = 0

    def synchronize(self) -> None:
        self.waits += 1


class Event:
    def record(self, stream: Stream) -> Event:
        assert isinstance(stream, Stream)
        return self

    def synchronize(self) -> Event:
        return self


class Function:
    def __init__(self, driver: FakeDriver, name: str) -> None:
        self._driver, self._name = driver, name

    def prepare(self, types: list[str]) -> Function:
        (only,) = types
        self._size = int(only.removesuffix("s"))
        return self

    def prepared_async_call(
        self, grid: tuple[int, int], block: tuple[int, int, int], stream: Stream, job: bytes
    ) -> None:
        self._driver.fail_if("launch")
        assert len(job) == self._size
        assert block == (256, 1, 1)
        assert isinstance(stream, Stream)
        self._driver.launches.append(self._name)
        if self._name == "adapter":
            assert grid == (1, 1)
            self._driver.library.launch_adapter(job, ctypes.c_bool(self._driver.backwards))
            return
        kernel = getattr(self._driver.library, self._name)
        self._driver.library.launch(kernel, job, *grid, ctypes.c_bool(self._driver.backwards))


class Module:
    def __init__(self, driver: FakeDriver) -> None:
        self._driver = driver

    def get_function(self, name: str) -> Function:
        self._driver.fail_if("get_function")
        return Function(self._driver, name)


class FakeDriver:
    """Give it to `CudaPreprocessor` as `driver`; `failing` names the call that is to fail."""

    Error = Error
    Event = Event
    Stream = Stream

    class Context:
        @staticmethod
        def synchronize() -> None: ...

    def __init__(self, library: ctypes.CDLL, failing: str = "", *, backwards: bool = False) -> None:
        self.library, self.failing, self.backwards = library, failing, backwards
        self.launches: list[str] = []
        self.memory: list[Memory] = []

    def fail_if(self, call: str) -> None:
        if call == self.failing:
            raise Error(f"{call} failed: of this test's wish")

    @property
    def held(self) -> int:
        """Allocations that have not been freed."""
        return sum(not memory.freed for memory in self.memory)

    def module_from_buffer(self, cubin: bytes) -> Module:
        self.fail_if("module_from_buffer")
        assert isinstance(cubin, bytes)
        return Module(self)

    def mem_alloc(self, size: int) -> Memory:
        self.fail_if("mem_alloc")
        raw = np.full(size + 256, 0xA5, np.uint8)  # never cleared by the driver
        start = -raw.ctypes.data % 256
        memory = self._keep(raw[start : start + size])
        memory.guard = raw[start + size :]
        return memory

    def pagelocked_empty(self, shape: tuple[int, ...], dtype: Any) -> Any:
        self.fail_if("pagelocked_empty")
        memory = self._keep(np.full(shape, 0xA5, dtype))
        array = memory.array.view(Pinned)
        array.memory = memory
        return array

    def memset_d32(self, address: int, value: int, count: int) -> None:
        self.at(address, 4 * count).view(np.uint32)[:] = value

    def memset_d32_async(self, address: int, value: int, count: int, stream: Stream) -> None:
        self.memset_d32(address, value, count)

    def memcpy_htod_async(self, target: Any, source: Any, stream: Stream) -> None:
        assert isinstance(source, Pinned)
        assert isinstance(stream, Stream)
        self.at(int(target), source.nbytes)[:] = source

    def memcpy_dtoh_async(self, target: Any, source: Any, stream: Stream) -> None:
        assert isinstance(target, Pinned)
        assert isinstance(stream, Stream)
        target[:] = self.at(int(source), target.nbytes)

    def memcpy_htod(self, target: Any, source: NDArray[Any]) -> None:
        self.at(int(target), source.nbytes)[:] = source.reshape(-1).view(np.uint8)

    def memcpy_dtoh(self, target: NDArray[Any], source: Any) -> None:
        target.view(np.uint8).reshape(-1)[:] = self.at(int(source), target.nbytes)

    def _keep(self, array: NDArray[Any]) -> Memory:
        self.memory.append(Memory(self, array))
        return self.memory[-1]

    def at(self, address: int, size: int) -> NDArray[np.uint8]:
        for memory in self.memory:
            start = address - int(memory)
            if not memory.freed and start >= 0 and start + size <= memory.array.nbytes:
                return memory.array[start : start + size]
        raise AssertionError(f"{size} bytes at {address:#x} are in no allocation")
