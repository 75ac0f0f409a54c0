"""`pycuda.driver` without a GPU: device memory is NumPy memory, and wrong use (no current context, freed memory) fails.

Its names and arguments are compared with PyCUDA's own source in tests/vendor_api.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray


class FakeDriver(ModuleType):
    """The module, its memory, and a record of what was called."""

    def __init__(self, *, name: str = "Orin", capability: tuple[int, int] = (8, 7), devices: int = 1) -> None:
        super().__init__("pycuda.driver")
        driver = self
        self.calls: list[str] = []
        self.current = 0  # depth of the stack of contexts
        self.contexts = 0  # retained
        self.memory: dict[int, NDArray[np.uint8]] = {}
        self.kernels: dict[str, Callable[[FakeDriver, bytes], None]] = {}  # what a cubin holds; each takes its argument
        self.limit_bytes = 1 << 40
        self._next = 1 << 20
        self.recorded: list[Callable[[], None]] | None = None  # while a stream is being captured

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

            @staticmethod
            def synchronize() -> None:
                driver.need_context()

        class Stream:
            handle = 77

            def __init__(self, flags: int = 0) -> None:
                driver.need_context()

            def synchronize(self) -> None:
                driver.need_context()
                if driver.recorded is not None:
                    raise driver.Error("cuStreamSynchronize failed: operation not permitted when stream is capturing")
                driver.calls.append("synchronize")

        class DeviceAllocation:
            def __init__(self, address: int) -> None:
                self._address = address

            def __int__(self) -> int:
                return self._address

            def free(self) -> None:
                driver.need_context()
                del driver.memory[self._address]

        class PagelockedHostAllocation:
            def __init__(self, array: NDArray[Any]) -> None:
                self.array = array

            def free(self) -> None:
                driver.need_context()

        class Pinned(np.ndarray):
            memory: Any = None

            @property
            def base(self) -> Any:
                return self.memory

        class Function:
            def __init__(self, kernel: Callable[[FakeDriver, bytes], None]) -> None:
                self._kernel = kernel

            def prepare(self, arg_types: Any) -> Function:
                (only,) = arg_types
                self._size = int(only.removesuffix("s"))
                return self

            def prepared_async_call(self, grid: Any, block: Any, stream: Any, argument: bytes) -> None:
                driver.need_context()
                assert len(argument) == self._size
                driver.enqueue(lambda: self._kernel(driver, argument))

        class Module:
            def get_function(self, name: str) -> Function:
                if name not in driver.kernels:
                    raise driver.Error("cuModuleGetFunction failed: named symbol not found")
                return Function(driver.kernels[name])

        self.Error, self.MemoryError = Error, MemoryError
        self.Device, self.Context, self.Stream, self.DeviceAllocation = Device, Context, Stream, DeviceAllocation
        self._allocation, self._pinned, self._module = PagelockedHostAllocation, Pinned, Module

    def init(self, flags: int = 0) -> None:
        self.calls.append("init")

    def get_driver_version(self) -> int:
        return 12060

    def get_version(self) -> tuple[int, int, int]:
        return 12, 6, 0

    def need_context(self) -> None:
        assert self.current > 0, "no current context"

    def mem_alloc(self, size: int) -> Any:
        self.need_context()
        assert size > 0
        if sum(block.nbytes for block in self.memory.values()) + size > self.limit_bytes:
            raise self.MemoryError("cuMemAlloc failed: out of memory")
        address, self._next = self._next, self._next + (size + 511) // 256 * 256
        self.memory[address] = np.full(size, 0xAB, np.uint8)
        return self.DeviceAllocation(address)

    def pagelocked_empty(self, shape: Any, dtype: Any, order: str = "C", mem_flags: int = 0) -> NDArray[Any]:
        self.need_context()
        memory = np.full(shape, 99, dtype)
        assert memory.size > 0  # cuMemHostAlloc refuses 0 bytes
        array = memory.view(self._pinned)
        array.memory = self._allocation(memory)
        return array

    def module_from_buffer(self, buffer: bytes, options: Any = (), message_handler: Any = None) -> Any:
        self.need_context()
        assert buffer.startswith(b"cubin")
        return self._module()

    def bytes_at(self, address: int, size: int) -> NDArray[np.uint8]:
        """Device memory; it must lie in one allocation."""
        for start, block in self.memory.items():
            if start <= address and address + size <= start + block.nbytes:
                return block[address - start : address - start + size]
        raise AssertionError(f"{size} bytes at {address} are in no allocation")

    def memset_d32(self, dest: Any, data: int, size: int) -> None:
        self.need_context()
        self.bytes_at(int(dest), 4 * size).view(np.uint32)[:] = data

    def memcpy_htod(self, dest: Any, src: NDArray[Any]) -> None:
        self.need_context()
        self.bytes_at(int(dest), src.nbytes)[:] = np.ascontiguousarray(src).reshape(-1).view(np.uint8)

    def enqueue(self, work: Callable[[], None]) -> None:
        """Do it now, or keep it for the graph that is being recorded."""
        if self.recorded is None:
            work()
        else:
            self.recorded.append(work)

    def memcpy_htod_async(self, dest: Any, src: NDArray[Any], stream: Any = None) -> None:
        self.need_context()
        address = int(dest)

        def copy() -> None:
            self.bytes_at(address, src.nbytes)[:] = np.ascontiguousarray(src).reshape(-1).view(np.uint8)
            self.calls.append("htod")

        self.enqueue(copy)

    def memcpy_dtoh_async(self, dest: NDArray[Any], src: Any, stream: Any = None) -> None:
        self.need_context()
        address = int(src)

        def copy() -> None:
            dest[...] = self.bytes_at(address, dest.nbytes).view(dest.dtype).reshape(dest.shape)
            self.calls.append("dtoh")

        self.enqueue(copy)
