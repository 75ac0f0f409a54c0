"""`pycuda.driver` without a GPU: device memory is the host's, and kernels are ours, compiled for the host.

What is done when is `streams`' matter. Wrong use fails: no current context, memory that is freed or was never given,
copies of what is not pinned on a stream, writing behind an allocation. Names and arguments are compared with PyCUDA's
own source in tests/vendor_api.
"""

from __future__ import annotations

import ctypes
import functools
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.fakes.streams import DEFAULT, POISON, Queued, Streams, Work
from tests.runtime.backends.cuda.kernels.host import build_library

ALIGNMENT, GUARD = 256, 0xA5


@functools.cache
def compiled_kernels() -> ctypes.CDLL:
    """The kernels for the host, once in a process."""
    with tempfile.TemporaryDirectory() as folder:
        return build_library(Path(folder))


class Memory:
    """An allocation, of the device or pinned on the host; its bytes stay until the driver goes, so none is reused."""

    def __init__(self, driver: FakeDriver, size: int) -> None:
        raw = np.full(size + 2 * ALIGNMENT, GUARD, np.uint8)
        start = -raw.ctypes.data % ALIGNMENT
        self._driver, self.bytes, self._behind = driver, raw[start : start + size], raw[start + size :]
        self.bytes[:] = POISON  # never cleared by the driver
        self.address, self.nbytes, self.freed = self.bytes.ctypes.data, size, False
        driver.everything.append(self)

    def __int__(self) -> int:
        return self.address

    def free(self) -> None:
        self._driver.need_context()
        assert not self.freed, "freed twice"
        self._driver.streams.check_unused(self)
        assert (self._behind == GUARD).all(), "somebody has written behind it"
        self.freed = True
        self._driver.memory.pop(self.address, None)


class Pinned(np.ndarray):
    """What `pagelocked_empty` gives: an array whose `base` is the allocation."""

    memory: Memory | None = None

    def __array_finalize__(self, origin: Any) -> None:
        self.memory = getattr(origin, "memory", None)

    @property
    def base(self) -> Any:
        return self.memory


class FakeDriver(ModuleType):
    """The module, its memory, and a record of what was called.

    Args:
        name, capability, devices: of the device.
        current: contexts that are current from the beginning.
        failing: the call that is refused.
        backwards: blocks and threads run in the opposite order.
    """

    def __init__(
        self,
        *,
        name: str = "Orin",
        capability: tuple[int, int] = (8, 7),
        devices: int = 1,
        current: int = 0,
        failing: str = "",
        backwards: bool = False,
    ) -> None:
        super().__init__("pycuda.driver")
        driver = self
        self.calls: list[str] = []
        self.launches: list[str] = []  # of kernels, as they run
        self.current, self.failing, self.backwards = current, failing, backwards
        self.contexts = 0  # retained
        self.memory: dict[int, Memory] = {}  # the device's
        self.everything: list[Memory] = []  # freed or not, pinned too
        self.kernels = {"preprocess_plain", "preprocess_fast", "adapter"}  # what a cubin holds
        self.limit_bytes = 1 << 40
        self.streams = Streams()

        class Error(Exception):
            pass

        class MemoryError(Error):
            pass

        class Device:
            def __init__(self, index: int) -> None:
                assert index < devices

            @staticmethod
            def count() -> int:
                return devices

            def name(self) -> str:
                return name

            def compute_capability(self) -> tuple[int, int]:
                return capability

            def total_memory(self) -> int:
                return 8 << 30

            def retain_primary_context(self) -> Context:
                driver.contexts += 1
                return Context()

        class Context:
            def push(self) -> None:
                driver.current += 1

            @staticmethod
            def pop() -> None:
                driver.current -= 1

            def detach(self) -> None:
                driver.contexts -= 1
                assert not driver.streams.pending, "nobody has waited for what is queued"

            @staticmethod
            def synchronize() -> None:
                driver.need_context()
                driver.refuse_while_recording("cuCtxSynchronize")
                driver.streams.run(driver.streams.pending)

        class Stream:
            def __init__(self, flags: int = 0) -> None:
                driver.need_context()
                self.handle = driver.streams.add(flags)

            def synchronize(self) -> None:
                driver.need_context()
                if self.handle == driver.streams.recording:
                    driver.refuse_while_recording("cuStreamSynchronize")
                driver.streams.wait(self.handle)
                driver.calls.append("synchronize")

            def wait_for_event(self, evt: Event) -> None:
                driver.streams.put(self.handle, Work(run=lambda: None), evt.recorded)

        class Event:
            def __init__(self, flags: int = 0) -> None:
                self.recorded: list[Queued] = []

            def record(self, stream: Stream) -> Event:
                self.recorded = [driver.streams.put(stream.handle, Work(run=lambda: None))]
                return self

            def synchronize(self) -> Event:
                driver.streams.run(self.recorded)
                return self

        class Function:
            def __init__(self, name: str) -> None:
                self._name = name

            def prepare(self, arg_types: Any) -> Function:
                (only,) = arg_types
                self._size = int(only.removesuffix("s"))
                return self

            def prepared_async_call(self, grid: Any, block: Any, stream: Stream, argument: bytes) -> None:
                driver.need_context("launch")
                assert len(argument) == self._size
                assert block == (256, 1, 1)
                run = functools.partial(driver.launch, self._name, grid, argument)
                driver.streams.put(stream.handle, Work(run=run, uses=driver.pointed_at(argument)))

        class Module:
            def get_function(self, name: str) -> Function:
                driver.need_context("get_function")
                if name not in driver.kernels:
                    raise driver.Error("cuModuleGetFunction failed: named symbol not found")
                return Function(name)

        self.Error, self.MemoryError, self.DeviceAllocation = Error, MemoryError, Memory
        self.Device, self.Context, self.Stream, self.Event = Device, Context, Stream, Event
        self._module = Module

    @property
    def held(self) -> int:
        """Allocations that have not been freed."""
        return sum(not memory.freed for memory in self.everything)

    def init(self, flags: int = 0) -> None:
        self.calls.append("init")

    def get_driver_version(self) -> int:
        return 12060

    def get_version(self) -> tuple[int, int, int]:
        return 12, 6, 0

    def mem_alloc(self, size: int) -> Memory:
        self.need_context("mem_alloc")
        self.refuse_while_recording("cuMemAlloc")
        assert size > 0
        if sum(block.nbytes for block in self.memory.values()) + size > self.limit_bytes:
            raise self.MemoryError("cuMemAlloc failed: out of memory")
        memory = Memory(self, size)
        self.memory[memory.address] = memory
        return memory

    def pagelocked_empty(self, shape: Any, dtype: Any, order: str = "C", mem_flags: int = 0) -> NDArray[Any]:
        self.need_context("pagelocked_empty")
        self.refuse_while_recording("cuMemHostAlloc")
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        assert size > 0  # cuMemHostAlloc refuses 0 bytes
        memory = Memory(self, size)
        array = memory.bytes.view(dtype).reshape(shape).view(Pinned)
        array.memory = memory
        return array

    def module_from_buffer(self, buffer: bytes, options: Any = (), message_handler: Any = None) -> Any:
        self.need_context("module_from_buffer")
        assert buffer.startswith(b"cubin")
        return self._module()

    def memset_d32(self, dest: Any, data: int, size: int) -> None:
        self._fill(dest, data, size, DEFAULT)

    def memset_d32_async(self, dest: Any, data: int, size: int, stream: Any = None) -> None:
        self._fill(dest, data, size, stream.handle)

    def memcpy_htod(self, dest: Any, src: NDArray[Any]) -> None:
        self.refuse_while_recording("cuMemcpyHtoD")
        self.streams.wait(DEFAULT)
        self._upload(dest, src.copy(), DEFAULT)

    def memcpy_dtoh(self, dest: NDArray[Any], src: Any) -> None:
        self.refuse_while_recording("cuMemcpyDtoH")
        self._download(dest, src, DEFAULT)
        self.streams.wait(DEFAULT)

    def memcpy_htod_async(self, dest: Any, src: NDArray[Any], stream: Any = None) -> None:
        assert isinstance(src, Pinned)
        self._upload(dest, src, stream.handle)

    def memcpy_dtoh_async(self, dest: NDArray[Any], src: Any, stream: Any = None) -> None:
        assert isinstance(dest, Pinned)
        self._download(dest, src, stream.handle)

    def need_context(self, call: str = "") -> None:
        assert self.current > 0, "no current context"
        if call and call == self.failing:
            raise self.Error(f"{call} failed: of this test's wish")

    def refuse_while_recording(self, call: str) -> None:
        if self.streams.recorded is not None:
            raise self.Error(f"{call} failed: operation not permitted when stream is capturing")

    def bytes_at(self, address: int, size: int) -> NDArray[np.uint8]:
        """Device memory; it must lie in one allocation."""
        memory = self.allocation(address)
        start = address - memory.address
        assert start + size <= memory.nbytes, f"{size} bytes at {address:#x} go beyond an allocation"
        return memory.bytes[start : start + size]

    def allocation(self, address: int) -> Memory:
        """The one that an address lies in."""
        for memory in self.everything:
            if 0 <= address - memory.address < memory.nbytes:
                assert not memory.freed, f"{address:#x} is in memory that was freed"
                return memory
        raise AssertionError(f"{address:#x} is in no allocation")

    def pointed_at(self, argument: bytes) -> frozenset[Memory]:
        """Allocations that a kernel's argument points into."""
        words = np.frombuffer(argument[: len(argument) // 8 * 8], np.uint64).tolist()
        inside = lambda word: any(0 <= word - memory.address < memory.nbytes for memory in self.everything)  # noqa: E731
        return frozenset(self.allocation(word) for word in words if inside(word))

    def launch(self, name: str, grid: tuple[int, int], argument: bytes) -> None:
        """Run a kernel now."""
        self.launches.append(name)
        library, backwards = compiled_kernels(), ctypes.c_bool(self.backwards)
        if name == "adapter":
            assert grid == (1, 1)
            library.launch_adapter(argument, backwards)
        else:
            library.launch(getattr(library, name), argument, *grid, backwards)

    def _fill(self, dest: Any, data: int, size: int, stream: int) -> None:
        self.need_context()
        target = self.bytes_at(int(dest), 4 * size).view(np.uint32)
        work = Work(run=lambda: target.fill(data), uses=frozenset({self.allocation(int(dest))}))
        self.streams.put(stream, work)

    def _upload(self, dest: Any, src: NDArray[Any], stream: int) -> None:
        self.need_context()
        target = self.bytes_at(int(dest), src.nbytes)

        def copy() -> None:
            target[:] = np.ascontiguousarray(src).reshape(-1).view(np.uint8)
            self.calls.append("htod")

        self.streams.put(stream, Work(run=copy, uses=self._used(int(dest), src)))

    def _download(self, dest: NDArray[Any], src: Any, stream: int) -> None:
        self.need_context()
        source = self.bytes_at(int(src), dest.nbytes)

        def copy() -> None:
            dest.view(np.uint8).reshape(-1)[:] = source
            self.calls.append("dtoh")

        self.streams.put(stream, Work(run=copy, uses=self._used(int(src), dest), writes=(dest,)))

    def _used(self, address: int, array: NDArray[Any]) -> frozenset[Memory]:
        """Both ends of a copy."""
        ends = {self.allocation(address), array.memory if isinstance(array, Pinned) else None}
        return frozenset(memory for memory in ends if memory is not None)
