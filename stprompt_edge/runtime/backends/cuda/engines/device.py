"""The NVIDIA device through PyCUDA: what it is, its primary context, and memory that frees itself with it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from stprompt_edge.errors import EnvironmentFailure
from stprompt_edge.runtime.backends.cuda.kernels.driver import import_pycuda_driver

_REMEDY = "see `stprompt-edge doctor`"
_OUT_OF_MEMORY = "close what else uses the GPU (nvidia-smi, or tegrastats on a Jetson), or build with a smaller --batch"


@dataclass(frozen=True, kw_only=True)
class Device:
    """What an engine is tied to."""

    name: str
    compute_capability: tuple[int, int]
    cuda_driver: str  # highest CUDA version that the driver supports
    cuda_toolkit: str  # that PyCUDA was built with
    memory_bytes: int

    @property
    def architecture(self) -> str:
        """`87` of compute capability 8.7."""
        return "".join(map(str, self.compute_capability))

    @property
    def capability_text(self) -> str:
        """`8.7`."""
        return ".".join(map(str, self.compute_capability))


class CudaSession:
    """The primary context of device 0, which TensorRT and CUDA graphs use too, and one stream in it.

    Args:
        cuda: stands in for `pycuda.driver` in tests.

    Attributes:
        cuda: the driver module.
        device: what it is.
        stream: everything is ordered on it.

    Raises:
        EnvironmentFailure: no PyCUDA, no driver, no device.
    """

    def __init__(self, cuda: Any = None) -> None:
        self.cuda: Any = cuda or import_pycuda_driver()
        with cuda_errors(self.cuda, "starting the driver"):
            self.cuda.init()
            if self.cuda.Device.count() == 0:
                raise EnvironmentFailure("the driver lists no NVIDIA GPU", remedy=_REMEDY)
            gpu = self.cuda.Device(0)
            self.device = Device(
                name=gpu.name(),
                compute_capability=tuple(gpu.compute_capability()),
                cuda_driver=version_text(self.cuda.get_driver_version()),
                cuda_toolkit=".".join(map(str, self.cuda.get_version()[:2])),
                memory_bytes=gpu.total_memory(),
            )
            self._context: Any = gpu.retain_primary_context()
        with self.current("making a stream"):
            self.stream: Any = self.cuda.Stream()

    @contextlib.contextmanager
    def current(self, doing: str) -> Iterator[None]:
        """The context is current inside; what CUDA refuses there becomes our error.

        Raises:
            EnvironmentFailure: says what was being done.
        """
        with cuda_errors(self.cuda, doing):
            self._context.push()
            try:
                yield
            finally:
                self._context.pop()

    def close(self) -> None:
        """Give the context back; may be called twice."""
        context, self._context = self._context, None
        if context is not None:
            self.stream = None
            with cuda_errors(self.cuda, "releasing the context"):
                context.detach()


@contextlib.contextmanager
def cuda_errors(cuda: Any, doing: str) -> Iterator[None]:
    """PyCUDA raises for each status that is not success; here it becomes one line.

    Raises:
        EnvironmentFailure: for any of them.
    """
    try:
        yield
    except cuda.MemoryError as exc:
        raise EnvironmentFailure(f"GPU memory ran out while {doing} ({exc})", remedy=_OUT_OF_MEMORY) from exc
    except cuda.Error as exc:
        raise EnvironmentFailure(f"CUDA failed while {doing}: {exc}", remedy=_REMEDY) from exc


def version_text(number: int) -> str:
    """CUDA's version number in words.

    >>> version_text(12060)
    '12.6'
    """
    return f"{number // 1000}.{number % 1000 // 10}"
