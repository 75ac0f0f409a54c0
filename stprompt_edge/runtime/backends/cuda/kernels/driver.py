"""PyCUDA's driver module as the kernels use it: imported here, its errors translated here, its memory freed here."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from stprompt_edge.errors import EnvironmentFailure
from stprompt_edge.imports import import_failure

_REMEDY = "see `stprompt-edge doctor`; if the driver or the device has changed, run `stprompt-edge build-engine` again"


def import_pycuda_driver() -> Any:
    """`pycuda.driver`, or one line that says how to install it.

    Raises:
        EnvironmentFailure: it is missing, or finds no NVIDIA driver.
    """
    try:
        import pycuda.driver
    except (ImportError, OSError) as exc:
        remedy = 'pip install "stprompt-edge[tensorrt]" on a machine with an NVIDIA driver'
        raise import_failure("PyCUDA", exc, remedy=remedy) from exc
    return pycuda.driver


@contextlib.contextmanager
def driver_errors(driver: Any, doing: str) -> Iterator[None]:
    """PyCUDA raises for each status that is not success; here it becomes our error.

    Raises:
        EnvironmentFailure: says what was being done.
    """
    try:
        yield
    except driver.Error as exc:
        raise EnvironmentFailure(f"CUDA failed while {doing}: {exc}", remedy=_REMEDY) from exc


class DeviceMemory:
    """Memory of one owner, on the device and pinned on the host, that is freed together."""

    def __init__(self, driver: Any) -> None:
        self._driver = driver
        self._held: list[Any] = []

    def device(self, size: int) -> Any:
        """`size` bytes; 256-byte aligned, their content is anything."""
        self._held.append(self._driver.mem_alloc(size))
        return self._held[-1]

    def pinned(self, size: int) -> Any:
        """[size] uint8 on the host, that copies of a stream may touch."""
        array = self._driver.pagelocked_empty((size,), np.uint8)
        self._held.append(array.base)
        return array

    def free(self, memory: Any) -> None:
        """One of `device` or `pinned`, before its time, once nothing uses it."""
        self._driver.Context.synchronize()
        allocation: Any = memory.base if isinstance(memory, np.ndarray) else memory
        self._held.remove(allocation)
        allocation.free()

    def close(self) -> None:
        """Free the rest, once nothing uses it; may be called twice."""
        held, self._held = self._held, []
        with driver_errors(self._driver, "freeing memory"):
            if held:
                self._driver.Context.synchronize()  # a step that failed half-way has left work on its stream
            for allocation in held:
                allocation.free()
