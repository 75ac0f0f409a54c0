"""The preprocessing kernel through PyCUDA: a frame goes up, the network's image and window indices stay on the device.

    preprocessor = CudaPreprocessor(cubin, spec=..., geometry=..., windows=12, timing="centered", image_type="float16")
    if preprocessor.push(frame, stream):          # False only for the first frame of a centered stream
        ...                                       # an engine reads image_pointer and fine_pointer on the same stream
        selection = preprocessor.selection(stream)   # K indices and their attention: a few hundred bytes, and it waits

Suffixes: S side of the image, K selected windows, N all fine windows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stprompt_edge.errors import EnvironmentFailure
from stprompt_edge.geometry import Geometry
from stprompt_edge.preprocess import Preprocessing
from stprompt_edge.runtime.backends.cuda.kernels.driver import DeviceMemory, driver_errors, import_pycuda_driver
from stprompt_edge.runtime.backends.cuda.kernels.job import (
    JOB,
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
from stprompt_edge.runtime.closing import Closing
from stprompt_edge.runtime.frames import Nv12Frame
from stprompt_edge.runtime.motion import Selection, softmax

KERNELS = ("preprocess_plain", "preprocess_fast")


class CudaPreprocessor(Closing):
    """Preprocessing, pixel motion and window selection of ONE camera stream on the device, one launch a frame.

    The context that is current when it is made must be current at every call. Image and indices keep their addresses
    for life, so an engine may bind them once; a CUDA graph may be captured over `enqueue` (see `stage`).

    Args:
        cubin: the compiled kernel: the bytes of `preprocess.cubin`, already checked against their sha256.
        spec: size, mean and standard deviation.
        geometry: image, patch and fine windows.
        windows: K, how many windows are selected.
        timing: `centered` (results are of the frame before the pushed one) or `causal` (of the pushed one).
        image_type: of the image on the device, the engine's input type.
        driver: stands in for `pycuda.driver` in tests.

    Attributes:
        image_pointer: device address of [1, 3, S, S] RGB, normalised, `image_type`; 256-byte aligned.
        fine_pointer: device address of [1, K] int64, most motion first; 256-byte aligned.
        motion_pointer: device address of [K] float32, the motion of those windows.
        delay: frames between a push and the frame that image and indices are of: 1 for centered, 0 for causal.

    Raises:
        EnvironmentFailure: PyCUDA is missing, the cubin is not for this device, or memory is short.
        UsageError: the settings ask for what the kernel cannot do.
    """

    def __init__(
        self,
        cubin: bytes,
        *,
        spec: Preprocessing,
        geometry: Geometry,
        windows: int,
        timing: str,
        image_type: ImageType = "float16",
        driver: Any = None,
    ) -> None:
        self._driver: Any = driver or import_pycuda_driver()
        self._job = make_job(spec=spec, geometry=geometry, windows=windows, timing=timing, image_type=image_type)
        self._image = np.empty((1, 3, spec.size, spec.size), image_type)
        self.delay = 1 if timing == "centered" else 0
        self._layout: FrameLayout | None = None
        self._staged = 0
        self._memory = DeviceMemory(self._driver)
        self._pinned_frame: Any = None
        self._device_frame: Any = None
        try:
            with driver_errors(self._driver, "loading preprocess.cubin"):
                self._module = self._driver.module_from_buffer(cubin)  # unloads its code when it goes
                self._functions = {name: self._prepared(name) for name in KERNELS}
            with driver_errors(self._driver, "allocating device memory"):
                self._allocate(geometry, windows, image_type)
        except EnvironmentFailure:
            self.close()
            raise

    def _prepared(self, name: str) -> Any:
        return self._module.get_function(name).prepare([f"{JOB.itemsize}s"])  # one argument: the job, by value

    def _allocate(self, geometry: Geometry, windows: int, image_type: ImageType) -> None:
        sizes = buffer_sizes(geometry, windows, image_type)
        buffers = {name: self._memory.device(size) for name, size in sizes.items()}
        addresses = {name: int(buffer) for name, buffer in buffers.items()}
        set_buffers(self._job, addresses, geometry, windows)
        self.image_pointer, self.fine_pointer = addresses["image"], addresses["result"]
        self.motion_pointer = int(self._job["fine_motion"])
        self._state, self._state_words = addresses["state"], sizes["state"] // 4
        self._driver.memset_d32(self._state, 0, self._state_words)
        self._driver.Context.synchronize()  # the caller's stream need not wait for this one
        self._pinned_result = self._memory.pinned(sizes["result"])
        self._result = self._pinned_result.view(result_type(geometry, windows))[0]
        self._finished = self._driver.Event()

    def push(self, frame: NDArray[np.uint8] | Nv12Frame, stream: Any) -> bool:
        """Take a frame: `stage`, then `enqueue`.

        Args:
            frame: [H, W, 3] uint8 BGR, or NV12, of any size, which may change; copied before this returns.
            stream: a `pycuda.driver.Stream`; everything is ordered on it, nothing waits for it.

        Returns:
            True when image and indices will be of a frame, False when none is complete yet.

        Raises:
            ValueError: not such a frame.
            EnvironmentFailure: the driver refused.
        """
        with driver_errors(self._driver, "waiting for the last frame"):
            self._finished.synchronize()
        self.stage(frame)
        self.enqueue(stream)
        with driver_errors(self._driver, "recording an event"):
            self._finished.record(stream)
        return self.complete

    def stage(self, frame: NDArray[np.uint8] | Nv12Frame) -> bool:
        """Copy a frame into the pinned buffer; whoever does not use `push` waits for the last `enqueue` before.

        Returns:
            True when size or format are not the last frame's: a graph captured over `enqueue` is then void.
        """
        layout = layout_of(frame)
        changed = layout != self._layout
        if changed:
            self._use(layout)
        pack_frame(frame, layout, self._pinned_frame)
        self._staged += 1
        return changed

    @property
    def complete(self) -> bool:
        """Are image and indices of a frame, once the staged one has been launched?"""
        return self._staged > self.delay

    def enqueue(self, stream: Any, *, results: bool = True) -> None:
        """Upload what was staged, launch, bring the small results down if wanted; touches only this stream."""
        with driver_errors(self._driver, "uploading a frame"):
            self._driver.memcpy_htod_async(self._device_frame, self._pinned_frame, stream)
        self._launch(self._job, stream, results)

    def flush(self, stream: Any) -> bool:
        """The stream of frames has ended: for `centered`, launch with the last frame repeated. `reset` comes next.

        Returns:
            True when image and indices will be of a frame.
        """
        if not self.delay or not self._staged:
            return False
        job = self._job.copy()
        job["source"] = 0
        self._launch(job, stream, True, name="preprocess_plain")
        return True

    def selection(self, stream: Any) -> Selection:
        """Wait for the stream; the selected windows, as `motion.select_windows` gives them, owned by the receiver."""
        with driver_errors(self._driver, "waiting for the device"):
            stream.synchronize()
        return Selection(indices=self._result["fine"].copy(), attention=softmax(self._result["fine_motion"]))

    def motion(self, stream: Any) -> NDArray[np.float32]:
        """Wait for the stream; [N] motion of all fine windows, owned by the receiver."""
        with driver_errors(self._driver, "waiting for the device"):
            stream.synchronize()
        motion: NDArray[np.float32] = self._result["motion"].copy()
        return motion

    def read_image(self, stream: Any) -> NDArray[np.float32]:
        """Wait for the stream; [1, 3, S, S] float32 of the image, owned by the receiver."""
        with driver_errors(self._driver, "reading the image"):
            stream.synchronize()
            self._driver.memcpy_dtoh(self._image, self.image_pointer)
        return self._image.astype(np.float32)

    def reset(self, stream: Any) -> None:
        """Forget the frames seen: the next push begins a new stream of frames."""
        with driver_errors(self._driver, "resetting"):
            self._driver.memset_d32_async(self._state, 0, self._state_words, stream)
        self._staged = 0

    def close(self) -> None:
        """Free device and pinned memory, once nothing uses it; may be called twice."""
        self._memory.close()

    def _launch(self, job: NDArray[Any], stream: Any, results: bool, name: str | None = None) -> None:
        function = self._functions[name or kernel_name(job)]
        with driver_errors(self._driver, "launching preprocess.cu"):
            function.prepared_async_call(launch_grid(job), (THREADS, 1, 1), stream, job.tobytes())
            if results:
                self._driver.memcpy_dtoh_async(self._pinned_result, self.fine_pointer, stream)

    def _use(self, layout: FrameLayout) -> None:
        """Buffers for frames of this layout: new ones if it takes another number of bytes."""
        if self._pinned_frame is None or len(self._pinned_frame) != layout.nbytes:
            with driver_errors(self._driver, "allocating memory for frames"):
                for memory in (self._device_frame, self._pinned_frame):
                    if memory is not None:
                        self._memory.free(memory)
                self._device_frame = self._pinned_frame = self._layout = None
                self._device_frame = self._memory.device(layout.nbytes)
                self._pinned_frame = self._memory.pinned(layout.nbytes)
        set_source(self._job, layout, int(self._device_frame))
        self._layout = layout
