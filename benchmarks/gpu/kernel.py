"""preprocess.cu on buffers that torch owns: on a GPU through cuda-python, in a dry run compiled for the host.

Suffixes: S side of the image, K selected windows, N all fine windows.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.gpu.driver import CudaPythonDriver, Stream
from benchmarks.gpu.measuring import Device
from benchmarks.gpu.reasons import NotMeasured
from stprompt_edge.geometry import Geometry
from stprompt_edge.preprocess import Preprocessing
from stprompt_edge.runtime.backends.cuda.kernels.compile import SOURCE
from stprompt_edge.runtime.backends.cuda.kernels.job import (
    THREADS,
    FrameLayout,
    ImageType,
    buffer_sizes,
    kernel_name,
    launch_grid,
    layout_of,
    make_job,
    pack_frame,
    result_type,
    set_buffers,
    set_source,
)
from stprompt_edge.runtime.frames import Nv12Frame

WINDOWS = 12
HOST_HARNESS = Path(__file__).parents[2] / "tests" / "runtime" / "backends" / "cuda" / "kernels" / "host.cpp"
Frame = NDArray[np.uint8] | Nv12Frame


@dataclass(frozen=True, kw_only=True)
class Launch:
    """A kernel with its arguments, ready to go."""

    kernel: str
    grid: tuple[int, int]
    job: bytes


class Launcher(Protocol):
    """What runs a kernel and copies memory."""

    def launch(self, launch: Launch) -> None:
        """Enqueue on the device's stream of now."""

    def copy(self, target: torch.Tensor, source: torch.Tensor) -> None:
        """Enqueue a copy between tensors of equal size, on the host (pinned) or the device; may be recorded."""


class CudaLauncher:
    """A cubin through cuda-python, in torch's context and on torch's stream.

    Raises:
        NotMeasured: there is no cuda-python.
        Error: the cubin is not for this device.
    """

    def __init__(self, cubin: bytes, device: Device) -> None:
        self._driver, self._device = CudaPythonDriver(), device
        self._module = self._driver.module_from_buffer(cubin)
        self._functions: dict[str, Any] = {}

    def launch(self, launch: Launch) -> None:
        """See `Launcher.launch`."""
        if launch.kernel not in self._functions:
            self._functions[launch.kernel] = self._module.get_function(launch.kernel).prepare([f"{len(launch.job)}s"])
        stream = Stream(self._device.stream)
        self._functions[launch.kernel].prepared_async_call(launch.grid, (THREADS, 1, 1), stream, launch.job)

    def copy(self, target: torch.Tensor, source: torch.Tensor) -> None:
        """See `Launcher.copy`."""
        self._driver.memcpy_async(target.data_ptr(), source.data_ptr(), source.nbytes, self._device.stream)


class HostLauncher:
    """The same source compiled with g++ through its shim, for the dry run.

    Args:
        folder: for the library.

    Raises:
        NotMeasured: there is no g++.
    """

    def __init__(self, folder: Path) -> None:
        compiler = shutil.which("g++")
        if compiler is None:
            raise NotMeasured("there is no g++ to compile preprocess.cu for the host")
        library = folder / "preprocess.so"
        flags = ["-O2", "-std=c++17", "-fno-strict-aliasing", "-fPIC", "-shared", "-I", str(SOURCE.parent)]
        subprocess.run([compiler, *flags, str(HOST_HARNESS), "-o", str(library)], check=True, timeout=300)
        self._library = ctypes.CDLL(str(library))

    def launch(self, launch: Launch) -> None:
        """See `Launcher.launch`."""
        kernel = getattr(self._library, launch.kernel)
        self._library.launch(kernel, launch.job, *launch.grid, ctypes.c_bool(False))

    def copy(self, target: torch.Tensor, source: torch.Tensor) -> None:
        """See `Launcher.copy`."""
        target.copy_(source)


@dataclass(frozen=True, kw_only=True)
class DeviceFrame:
    """A frame as it lies on the device."""

    layout: FrameLayout
    memory: torch.Tensor  # [layout.nbytes] uint8


def upload(frame: Frame, device: Device) -> DeviceFrame:
    """A frame packed as the runtime packs it, on the device."""
    layout = layout_of(frame)
    buffer = np.zeros(layout.nbytes, np.uint8)
    pack_frame(frame, layout, buffer)
    return DeviceFrame(layout=layout, memory=torch.from_numpy(buffer).to(device.torch))


class KernelStream:
    """One stream of frames through the kernel.

    Args:
        launcher: of the device.
        device: where the buffers are.
        timing: `causal`, so that image and windows are of the frame that was launched last, or `centered`.
        image_type: of the image.
        geometry: image, patch and windows.

    Attributes:
        image: [1, 3, S, S] `image_type`, on the device.
        fine: [1, K] int64, on the device.
        result: [bytes] uint8 on the device: one record of `result_type`.
    """

    def __init__(
        self,
        launcher: Launcher,
        device: Device,
        *,
        timing: str = "causal",
        image_type: ImageType = "float32",
        geometry: Geometry | None = None,
    ) -> None:
        self._launcher, self._geometry = launcher, geometry or Geometry()
        size = self._geometry.image_size
        self._job = make_job(
            spec=Preprocessing(size=size),
            geometry=self._geometry,
            windows=WINDOWS,
            timing=timing,
            image_type=image_type,
        )
        sizes = buffer_sizes(self._geometry, WINDOWS, image_type)
        self._buffers = {name: torch.zeros(n, dtype=torch.uint8, device=device.torch) for name, n in sizes.items()}
        set_buffers(self._job, {name: t.data_ptr() for name, t in self._buffers.items()}, self._geometry, WINDOWS)
        kind = torch.float16 if image_type == "float16" else torch.float32
        self.image = self._buffers["image"].view(kind).reshape(1, 3, size, size)
        self.result = self._buffers["result"]
        self.fine = self.result[: 8 * WINDOWS].view(torch.int64).reshape(1, WINDOWS)

    def prepare(self, frame: DeviceFrame) -> Launch:
        """The launch for a frame that stays where it is."""
        set_source(self._job, frame.layout, frame.memory.data_ptr())
        return Launch(kernel=kernel_name(self._job), grid=launch_grid(self._job), job=self._job.tobytes())

    def launch(self, launches: Sequence[Launch]) -> None:
        """Enqueue one behind the other."""
        for launch in launches:
            self._launcher.launch(launch)

    def read(self, result: torch.Tensor | None = None) -> Any:
        """The record of selected windows and all motions; waits if it is on the device."""
        held = (self.result if result is None else result).cpu().numpy()
        return held.view(result_type(self._geometry, WINDOWS))[0]

    def newest(self) -> NDArray[np.uint8]:
        """[S, S, 3] BGR: the last frame, resized; waits."""
        size = self._geometry.image_size
        ring = self._buffers["ring"].cpu().numpy().reshape(3, size, size, 4)
        return ring[self._buffers["state"].cpu().numpy().view(np.uint32)[2], :, :, :3]


def moved_bytes(layout: FrameLayout, image_type: ImageType, geometry: Geometry | None = None) -> int:
    """Bytes that a launch has to move: the frame once, the ring once in and twice out, the image."""
    pixels = (geometry or Geometry()).image_size ** 2
    row = (layout.width + 1) // 2 * 2 if layout.colour else 3 * layout.width
    frame = row * layout.height + (row * ((layout.height + 1) // 2) if layout.colour else 0)
    return frame + 3 * 4 * pixels + 3 * pixels * np.dtype(image_type).itemsize
