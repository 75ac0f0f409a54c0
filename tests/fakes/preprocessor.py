"""`CudaPreprocessor` in NumPy, on the fake driver's memory; its methods are compared with the real one's in a test."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stprompt_edge.errors import EnvironmentFailure
from stprompt_edge.geometry import Geometry
from stprompt_edge.preprocess import Preprocessing, Preprocessor
from stprompt_edge.runtime.backends.cuda.kernels.job import FrameLayout, layout_of
from stprompt_edge.runtime.backends.cuda.kernels.reference import nv12_to_bgr
from stprompt_edge.runtime.frames import Nv12Frame
from stprompt_edge.runtime.motion import SecondDifference, Selection, pixel_motion, select_windows


class FakePreprocessor:
    """See `CudaPreprocessor`. `brighter` makes its images differ from the CPU's."""

    brighter = 0.0
    refuses = False

    def __init__(
        self,
        cubin: bytes,
        *,
        spec: Preprocessing,
        geometry: Geometry,
        windows: int,
        timing: str,
        image_type: str = "float16",
        driver: Any = None,
    ) -> None:
        if self.refuses:
            raise EnvironmentFailure(
                "CUDA failed while loading preprocess.cubin: no kernel image", remedy="build again"
            )
        assert cubin.startswith(b"cubin")
        assert image_type == "float32"
        driver.need_context()
        self._driver, self._geometry, self._windows = driver, geometry, windows
        self._definition = Preprocessor(spec)
        self._difference = SecondDifference(timing)
        sizes = (3 * spec.size**2 * 4, windows * 8, windows * 4)
        self._buffers = [driver.mem_alloc(size) for size in sizes]
        self.image_pointer, self.fine_pointer, self.motion_pointer = map(int, self._buffers)
        self.delay = self._difference.delay
        self._layout: FrameLayout | None = None
        self._staged = 0
        self._held: list[Any] = []

    def stage(self, frame: NDArray[np.uint8] | Nv12Frame) -> bool:
        layout = layout_of(frame)
        changed, self._layout = layout != self._layout, layout
        self._frame = nv12_to_bgr(frame) if isinstance(frame, Nv12Frame) else frame.copy()
        self._staged += 1
        return changed

    @property
    def complete(self) -> bool:
        return self._staged > self.delay

    def enqueue(self, stream: Any, *, results: bool = True) -> None:
        self._driver.enqueue(self._run)
        if results:
            self._driver.enqueue(lambda: self._driver.calls.append("dtoh"))

    def flush(self, stream: Any) -> bool:
        for difference in self._difference.flush():
            self._give(difference)
            return True
        return False

    def selection(self, stream: Any) -> Selection:
        stream.synchronize()
        return self._selection

    def reset(self, stream: Any) -> None:
        self._staged = 0

    def close(self) -> None:
        while self._buffers:
            self._buffers.pop().free()

    def _run(self) -> None:
        frame = self._definition(self._frame)
        self._held.append(frame)
        difference = self._difference.push(frame.luma)
        if difference is not None:
            self._give(difference)

    def _give(self, difference: NDArray[np.float32]) -> None:
        image = self._held.pop(0).image + np.float32(self.brighter)
        motion = pixel_motion(difference, self._geometry)
        self._selection = select_windows(motion, self._windows)
        for pointer, values in (
            (self.image_pointer, image),
            (self.fine_pointer, self._selection.indices),
            (self.motion_pointer, motion[self._selection.indices]),
        ):
            self._driver.memory[pointer][:] = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
