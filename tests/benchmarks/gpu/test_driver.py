"""The look-alike of PyCUDA: its calls against cuda-python's own signatures, and what it makes of refusals."""

from __future__ import annotations

import ast
import ctypes
import enum
import inspect
import re
import sys
from typing import Any

import numpy as np
import pytest

from benchmarks.gpu import driver
from benchmarks.gpu.driver import CudaPythonDriver, Error, Memory, Stream
from benchmarks.gpu.reasons import NotMeasured


def test_every_call_is_cuda_pythons() -> None:
    bindings = pytest.importorskip("cuda.bindings.driver", reason="no cuda-python")
    calls = [
        node
        for node in ast.walk(ast.parse(inspect.getsource(driver)))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr.startswith("cu")
    ]
    assert len({call.func.attr for call in calls}) > 12  # type: ignore[attr-defined]
    for call in calls:
        name = call.func.attr  # type: ignore[attr-defined]
        signature = re.match(rf"{name}\((.*)\)", (getattr(bindings, name).__doc__ or "").strip())
        assert signature, name
        wanted = [part for part in signature[1].split(",") if part.strip()]
        assert len(call.args) == len(wanted), f"{name}({signature[1]})"
    for kind, members in {
        "CUevent_flags": ["CU_EVENT_DISABLE_TIMING"],
        "CUresult": ["CUDA_ERROR_OUT_OF_MEMORY"],
    }.items():
        assert all(hasattr(getattr(bindings, kind), member) for member in members)
    for part in ("MAJOR", "MINOR"):
        assert hasattr(bindings.CUdevice_attribute, f"CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_{part}")


class Status(enum.IntEnum):
    CUDA_ERROR_NO_BINARY_FOR_GPU = 209


class FakeCuda:
    """`cuda.bindings.driver` whose device is this host; `status` is what every call gives."""

    class CUresult:
        CUDA_ERROR_OUT_OF_MEMORY = 2

    def __init__(self) -> None:
        self.status: Any = 0
        self.launched: list[Any] = []
        self.freed: list[int] = []
        self.held: list[Any] = []

    def cuMemAllocHost(self, size: int) -> tuple[Any, ...]:
        self.held.append(np.zeros(size, np.uint8))
        return self.status, self.held[-1].ctypes.data

    def cuMemFreeHost(self, address: int) -> tuple[Any, ...]:
        self.freed.append(address)
        return (self.status,)

    def cuModuleLoadData(self, cubin: bytes) -> tuple[Any, ...]:
        return self.status, cubin

    def cuModuleGetFunction(self, module: bytes, name: bytes) -> tuple[Any, ...]:
        return self.status, name

    def cuLaunchKernel(self, function: bytes, *rest: int) -> tuple[Any, ...]:
        *sizes, shared, stream, arguments, extra = rest
        address = ctypes.c_uint64.from_address(arguments).value
        self.launched.append((function, sizes, stream, ctypes.string_at(address, 4)))
        assert (shared, extra) == (0, 0)
        return (self.status,)


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    fake = FakeCuda()
    monkeypatch.setattr(driver, "import_cuda_driver", lambda: fake)
    return fake


def test_pinned_memory_is_an_array_whose_base_frees_it(cuda: FakeCuda) -> None:
    array = CudaPythonDriver().pagelocked_empty((2, 3), np.float32)
    assert (array.shape, array.dtype) == ((2, 3), np.float32)
    assert isinstance(array.base, Memory)
    array.base.free()
    assert cuda.freed == [array.ctypes.data]


def test_a_kernel_gets_its_argument_by_value(cuda: FakeCuda) -> None:
    function = CudaPythonDriver().module_from_buffer(b"cubin").get_function("kernel").prepare(["4s"])
    function.prepared_async_call((14, 14), (256, 1, 1), Stream(77), b"jobs")
    assert cuda.launched == [(b"kernel", [14, 14, 1, 256, 1, 1], 77, b"jobs")]
    with pytest.raises(Error, match="the kernel takes 4 bytes, got 2"):
        function.prepared_async_call((1, 1), (1, 1, 1), Stream(77), b"no")


def test_refusals_are_pycudas_errors(cuda: FakeCuda) -> None:
    made = CudaPythonDriver()
    cuda.status = Status.CUDA_ERROR_NO_BINARY_FOR_GPU
    with pytest.raises(made.Error, match="CUDA_ERROR_NO_BINARY_FOR_GPU"):
        made.module_from_buffer(b"other")
    cuda.status = 2
    with pytest.raises(made.MemoryError, match="2"):
        made.pagelocked_empty((1,), np.uint8)
    assert issubclass(made.MemoryError, made.Error)


def test_no_cuda_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    with pytest.raises(NotMeasured, match="neither PyCUDA nor cuda-python"):
        driver.import_cuda_driver()
