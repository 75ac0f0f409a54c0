"""`pycuda.driver`, as far as our code uses it, over cuda-python: for machines that have torch but not PyCUDA.

    CudaPreprocessor(cubin, ..., driver=CudaPythonDriver())

PyCUDA is compiled when it is installed; cuda-python comes as wheels and with CUDA's images. Whoever uses this makes a
context current first: torch does, or `CudaPythonDriver.use_first_device`.

Calls: cuda-python's documentation of `cuda.bindings.driver`; each gives its status first. Kernel arguments are passed
as the address of an array of their addresses, as in its overview.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.gpu.reasons import NotMeasured, first_line


class Error(Exception):
    """`pycuda.driver.Error`: the driver refused."""


class MemoryError_(Error):
    """`pycuda.driver.MemoryError`."""


def import_cuda_driver() -> Any:
    """`cuda.bindings.driver`.

    Raises:
        NotMeasured: cuda-python is missing, or finds no driver.
    """
    try:
        from cuda.bindings import driver
    except (ImportError, OSError, RuntimeError) as exc:
        raise NotMeasured(f"neither PyCUDA nor cuda-python can launch a kernel here: {first_line(exc)}") from exc
    return driver


class Memory:
    """Device memory, or pinned host memory that NumPy can look at."""

    def __init__(
        self, cudriver: Any, address: Any, free: Any, array: tuple[tuple[int, ...], str] | None = None
    ) -> None:
        self._cudriver, self._address, self._free = cudriver, address, free
        if array is not None:
            shape, typestr = array
            self.__array_interface__ = {"version": 3, "shape": shape, "typestr": typestr, "data": (int(self), False)}

    def __int__(self) -> int:
        return int(self._address)

    def free(self) -> None:
        """Once."""
        _checked(self._cudriver, self._free(self._address))


class Stream:
    """A stream: a new one, or one of somebody else's by its handle."""

    def __init__(self, handle: int | None = None) -> None:
        self._cudriver = import_cuda_driver()
        self._owned = None if handle is not None else _checked(self._cudriver, self._cudriver.cuStreamCreate(0))
        self.handle = int(self._owned) if handle is None else handle

    def synchronize(self) -> None:
        """Wait for it."""
        _checked(self._cudriver, self._cudriver.cuStreamSynchronize(self.handle))


class Event:
    """An event without timing."""

    def __init__(self) -> None:
        self._cudriver = import_cuda_driver()
        flags = int(self._cudriver.CUevent_flags.CU_EVENT_DISABLE_TIMING)
        self._event = _checked(self._cudriver, self._cudriver.cuEventCreate(flags))

    def record(self, stream: Stream) -> Event:
        """On a stream."""
        _checked(self._cudriver, self._cudriver.cuEventRecord(self._event, stream.handle))
        return self

    def synchronize(self) -> Event:
        """Wait for it; at once if it was never recorded."""
        _checked(self._cudriver, self._cudriver.cuEventSynchronize(self._event))
        return self


class Function:
    """A kernel that takes one argument by value."""

    def __init__(self, cudriver: Any, function: Any) -> None:
        self._cudriver, self._function = cudriver, function

    def prepare(self, types: list[str]) -> Function:
        """As PyCUDA's: `["160s"]` is one argument of 160 bytes."""
        (only,) = types
        self._bytes = int(only.removesuffix("s"))
        return self

    def prepared_async_call(
        self, grid: tuple[int, int], block: tuple[int, int, int], stream: Stream, argument: bytes
    ) -> None:
        """Launch; the driver copies the argument before this returns."""
        if len(argument) != self._bytes:
            raise Error(f"the kernel takes {self._bytes} bytes, got {len(argument)}")
        held = np.frombuffer(argument, np.uint8)
        addresses = np.array([held.ctypes.data], np.uint64)
        result = self._cudriver.cuLaunchKernel(
            self._function,
            grid[0],
            grid[1],
            1,
            block[0],
            block[1],
            block[2],
            0,
            stream.handle,
            addresses.ctypes.data,
            0,
        )
        _checked(self._cudriver, result)


class Module:
    """A loaded cubin; unloaded with the context."""

    def __init__(self, cudriver: Any, module: Any) -> None:
        self._cudriver, self._module = cudriver, module

    def get_function(self, name: str) -> Function:
        """A kernel by its C name."""
        return Function(
            self._cudriver, _checked(self._cudriver, self._cudriver.cuModuleGetFunction(self._module, name.encode()))
        )


class CudaPythonDriver:
    """Give it where `pycuda.driver` is expected.

    Raises:
        NotMeasured: there is no cuda-python.
    """

    Error, MemoryError, Event, Stream = Error, MemoryError_, Event, Stream

    def __init__(self) -> None:
        self._cudriver: Any = import_cuda_driver()
        self.Context = _Context(self._cudriver)

    def use_first_device(self) -> tuple[int, int]:
        """Make the primary context of device 0 current; gives its compute capability.

        Raises:
            Error: there is no driver or no device.
        """
        cudriver = self._cudriver
        _checked(cudriver, cudriver.cuInit(0))
        device = _checked(cudriver, cudriver.cuDeviceGet(0))
        _checked(cudriver, cudriver.cuCtxPushCurrent(_checked(cudriver, cudriver.cuDevicePrimaryCtxRetain(device))))
        attribute = cudriver.CUdevice_attribute
        major, minor = (
            _checked(cudriver, cudriver.cuDeviceGetAttribute(which, device))
            for which in (
                attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR,
                attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR,
            )
        )
        return int(major), int(minor)

    def module_from_buffer(self, cubin: bytes) -> Module:
        """Load a cubin into the current context."""
        return Module(self._cudriver, _checked(self._cudriver, self._cudriver.cuModuleLoadData(cubin)))

    def mem_alloc(self, size: int) -> Memory:
        """Device memory."""
        return Memory(
            self._cudriver, _checked(self._cudriver, self._cudriver.cuMemAlloc(size)), self._cudriver.cuMemFree
        )

    def pagelocked_empty(self, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        """Pinned host memory as an array whose `base` frees it."""
        kind = np.dtype(dtype)
        address = _checked(self._cudriver, self._cudriver.cuMemAllocHost(int(np.prod(shape)) * kind.itemsize))
        memory = Memory(self._cudriver, address, self._cudriver.cuMemFreeHost, (tuple(shape), kind.str))
        return np.asarray(memory)

    def memset_d32(self, address: int, value: int, count: int) -> None:
        """Fill device memory with a word."""
        _checked(self._cudriver, self._cudriver.cuMemsetD32(int(address), value, count))

    def memset_d32_async(self, address: int, value: int, count: int, stream: Stream) -> None:
        """The same on a stream."""
        _checked(self._cudriver, self._cudriver.cuMemsetD32Async(int(address), value, count, stream.handle))

    def memcpy_htod_async(self, target: Any, source: NDArray[Any], stream: Stream) -> None:
        """From pinned memory to the device."""
        _checked(
            self._cudriver,
            self._cudriver.cuMemcpyHtoDAsync(int(target), source.ctypes.data, source.nbytes, stream.handle),
        )

    def memcpy_dtoh_async(self, target: NDArray[Any], source: Any, stream: Stream) -> None:
        """From the device to pinned memory."""
        _checked(
            self._cudriver,
            self._cudriver.cuMemcpyDtoHAsync(target.ctypes.data, int(source), target.nbytes, stream.handle),
        )

    def memcpy_htod(self, target: Any, source: NDArray[Any]) -> None:
        """From any memory to the device; waits."""
        _checked(self._cudriver, self._cudriver.cuMemcpyHtoD(int(target), source.ctypes.data, source.nbytes))

    def memcpy_dtoh(self, target: NDArray[Any], source: Any) -> None:
        """From the device to any memory; waits."""
        _checked(self._cudriver, self._cudriver.cuMemcpyDtoH(target.ctypes.data, int(source), target.nbytes))

    def memcpy_async(self, target: int, source: int, size: int, stream: int) -> None:
        """Between any two addresses, on a stream by its handle; what is on the host is pinned."""
        _checked(self._cudriver, self._cudriver.cuMemcpyAsync(target, source, size, stream))


class _Context:
    """`pycuda.driver.Context`, of which we use one method."""

    def __init__(self, cudriver: Any) -> None:
        self._cudriver = cudriver

    def synchronize(self) -> None:
        """Wait for everything in the current context."""
        _checked(self._cudriver, self._cudriver.cuCtxSynchronize())


def _checked(cudriver: Any, result: tuple[Any, ...]) -> Any:
    """What a call gave, without its status.

    Raises:
        Error: the status is not success; memory has a kind of its own.
    """
    status, *values = result
    if int(status) != 0:
        out_of_memory = int(status) == int(cudriver.CUresult.CUDA_ERROR_OUT_OF_MEMORY)
        raise (MemoryError_ if out_of_memory else Error)(getattr(status, "name", str(status)))
    return values[0] if values else None
