"""preprocess.cu compiled with g++ through shim.h, and one stream of frames through it."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import stprompt_edge.runtime.backends.cuda.kernels.job as jobs
from stprompt_edge.geometry import Geometry
from stprompt_edge.preprocess import Preprocessing
from stprompt_edge.runtime.backends.cuda.kernels.job import FrameLayout, ImageType
from stprompt_edge.runtime.frames import Nv12Frame
from tests.needs import lacking

SOURCES = Path(jobs.__file__).parent
HARNESS = Path(__file__).with_name("host.cpp")
PLAIN, FAST = "preprocess_plain", "preprocess_fast"


def build_library(folder: Path) -> ctypes.CDLL:
    """Compile into `folder` and load; skips where there is no g++."""
    compiler = shutil.which("g++")
    if compiler is None:
        lacking("no g++ to compile preprocess.cu for the host")
    library = folder / "preprocess.so"
    flags = ["-O2", "-std=c++17", "-fno-strict-aliasing", "-fPIC", "-shared"]
    command = [compiler, *flags, "-I", str(SOURCES), str(HARNESS), "-o", str(library)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return ctypes.CDLL(str(library))


class HostStream:
    """One stream of frames; its buffers are arrays, guarded by canaries on both sides."""

    def __init__(
        self,
        library: ctypes.CDLL,
        *,
        spec: Preprocessing | None = None,
        geometry: Geometry | None = None,
        windows: int = 12,
        timing: str = "centered",
        image_type: ImageType = "float32",
        kernel: str | None = None,
        backwards: bool = False,
    ) -> None:
        self._library, self._kernel, self._backwards = library, kernel, backwards
        self.geometry = geometry or Geometry()
        spec = spec or Preprocessing(size=self.geometry.image_size)
        self.job = jobs.make_job(
            spec=spec, geometry=self.geometry, windows=windows, timing=timing, image_type=image_type
        )
        sizes = jobs.buffer_sizes(self.geometry, windows, image_type)
        self._buffers = {name: guarded(size) for name, size in sizes.items()}
        views = {name: buffer[CANARY:-CANARY] for name, buffer in self._buffers.items()}
        views["state"][:] = 0
        jobs.set_buffers(self.job, {n: v.ctypes.data for n, v in views.items()}, self.geometry, windows)
        size = self.geometry.image_size
        self.image = views["image"].view(image_type).reshape(3, size, size)
        self.ring = views["ring"].view(np.uint8).reshape(3, size, size, 4)
        self.state = views["state"].view(np.uint32)
        self.result = views["result"].view(jobs.result_type(self.geometry, windows))[0]

    def push(self, frame: NDArray[np.uint8] | Nv12Frame, *, pitch: int | None = None, shift: int = 0) -> None:
        """A frame in, with rows `pitch` bytes apart, beginning `shift` bytes after a word."""
        layout = jobs.layout_of(frame, pitch=pitch)
        buffer = guarded(layout.nbytes + 4)
        start = CANARY + shift
        content = buffer[start : start + layout.nbytes]
        jobs.pack_frame(frame, layout, content)
        self.launch(layout, content.ctypes.data)
        del content

    def launch(self, layout: FrameLayout, address: int) -> None:
        jobs.set_source(self.job, layout, address)
        self._run(self._kernel or jobs.kernel_name(self.job))

    def repeat(self) -> None:
        """The newest frame once more."""
        self.job["source"] = 0
        self._run(PLAIN)

    def _run(self, kernel: str) -> None:
        grid = jobs.launch_grid(self.job)
        function = getattr(self._library, kernel)
        self._library.launch(function, ctypes.c_void_p(self.job.ctypes.data), *grid, ctypes.c_bool(self._backwards))
        for name, buffer in self._buffers.items():
            assert (buffer[:CANARY] == FILL).all(), name
            assert (buffer[-CANARY:] == FILL).all(), name

    @property
    def newest(self) -> NDArray[np.uint8]:
        """[S, S, 3] BGR: the frame pushed last, resized."""
        return self.ring[self.state[2], :, :, :3]


CANARY, FILL = 64, 0xA5


def guarded(size: int) -> NDArray[Any]:
    """`size` bytes between canaries, the first of them on a multiple of 64."""
    raw = np.full(size + 2 * CANARY + 64, FILL, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size + 2 * CANARY]
