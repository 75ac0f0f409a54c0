"""SA² and the temporal adapter on the device, between encoder's outputs and heads' inputs: adapter.cu by PyCUDA.

    adapter = CudaAdapter(cubin, motion=preprocessor.motion_pointer, width=512, windows=12, classes=14, sigma=1.0)
    encoder -> adapter.encoder_outputs      # an engine writes there, on the same stream
    adapter.enqueue(stream)
    heads: adapter.heads_inputs -> adapter.heads_outputs
    adapter.enqueue_results(stream)         # all that leaves the device of a frame, in one copy
    stream.synchronize()
    found = adapter.results()

Suffixes: K selected windows, D width of the embedding, C abnormal classes, W frames in the ring.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stprompt_edge.errors import EnvironmentFailure
from stprompt_edge.runtime.backends.cuda.kernels.driver import DeviceMemory, driver_errors, import_pycuda_driver
from stprompt_edge.runtime.backends.cuda.kernels.job import THREADS
from stprompt_edge.runtime.temporal import kernel_weights

KERNEL = "adapter"
ALIGNMENT = 256  # bytes; of TensorRT's addresses
POINTERS = ("frame", "windows", "motion", "weights", "ring", "features", "context", "state")
ADAPTER_JOB = np.dtype(
    [(name, np.uint64) for name in POINTERS] + [(name, np.int32) for name in ("width", "selected", "slots")],
    align=True,
)


def result_type(width: int, classes: int) -> np.dtype[Any]:
    """What comes back of a frame, in one piece; each part begins where TensorRT may write it.

    Args:
        width: D.
        classes: 1+C.
    """
    fields = {"frame": width, "features": width, "anomaly_logit": 1, "similarity": classes}
    sizes = [-(-4 * count // ALIGNMENT) * ALIGNMENT for count in fields.values()]
    return np.dtype(
        {
            "names": list(fields),
            "formats": [(np.float32, (count,)) for count in fields.values()],
            "offsets": [sum(sizes[:index]) for index in range(len(sizes))],
            "itemsize": sum(sizes),
        }
    )


class CudaAdapter:
    """Eq. 2-4 of ONE camera stream on the device, without lookahead.

    The context that is current when it is made must be current at every call. All addresses stay for life, so engines
    may bind them once; a CUDA graph may be captured over `enqueue` and `enqueue_results`.

    Args:
        cubin: the compiled kernels, already checked against their sha256.
        motion: device address of [K] float32, the motion of the selected windows.
        width: D.
        windows: K.
        classes: 1+C.
        sigma: of the adapter's kernel, in sampled frames.
        driver: stands in for `pycuda.driver` in tests.

    Attributes:
        encoder_outputs: by the encoder's name, device addresses of [1, D] and [1, K, D] float32.
        heads_inputs, heads_outputs: the same of the heads, [1, D] twice, [1] and [1, 1+C]. `clip` is where the encoder
            writes the frame: nothing is copied between the engines.

    Raises:
        EnvironmentFailure: PyCUDA is missing, the cubin is not for this device or older, or memory is short.
    """

    def __init__(
        self, cubin: bytes, *, motion: int, width: int, windows: int, classes: int, sigma: float, driver: Any = None
    ) -> None:
        self._driver: Any = driver or import_pycuda_driver()
        self._memory = DeviceMemory(self._driver)
        kind, weights = result_type(width, classes), kernel_weights(sigma).astype(np.float32)
        self._job = np.zeros((), ADAPTER_JOB)
        self._job["width"], self._job["selected"], self._job["slots"] = width, windows, len(weights)
        sizes = {"windows": 4 * windows * width, "weights": weights.nbytes, "ring": 4 * len(weights) * width}
        try:
            with driver_errors(self._driver, "loading adapter.cu of preprocess.cubin"):
                self._module = self._driver.module_from_buffer(cubin)  # unloads its code when it goes
                self._function = self._module.get_function(KERNEL).prepare([f"{ADAPTER_JOB.itemsize}s"])
            with driver_errors(self._driver, "allocating device memory"):
                self._place(motion, {**sizes, "context": 4 * width, "state": 8, "result": kind.itemsize}, kind)
                self._pinned_result = self._memory.pinned(kind.itemsize)
                self._prepare(weights)
        except EnvironmentFailure:
            self.close()
            raise
        self._result = self._pinned_result.view(kind)[0]

    def _place(self, motion: int, sizes: dict[str, int], kind: np.dtype[Any]) -> None:
        """Buffers, and who reads and writes which."""
        addresses = {name: int(self._memory.device(size)) for name, size in sizes.items()}
        assert kind.fields is not None
        parts = {name: addresses["result"] + offset for name, (_, offset, *_) in kind.fields.items()}
        for name in POINTERS:
            self._job[name] = {**addresses, **parts, "motion": motion}[name]
        self._result_pointer = addresses["result"]
        self.encoder_outputs = {"frame": parts["frame"], "fine_embeddings": addresses["windows"]}
        self.heads_inputs = {"clip": parts["frame"], "context": addresses["context"]}
        self.heads_outputs = {name: parts[name] for name in ("anomaly_logit", "similarity")}

    def _prepare(self, weights: NDArray[np.float32]) -> None:
        """The kernel's weights go up, and the stream has not begun."""
        self._driver.memcpy_htod(int(self._job["weights"]), weights)
        self._driver.memset_d32(int(self._job["state"]), 0, 2)
        self._driver.Context.synchronize()  # the caller's stream need not wait for this one

    def enqueue(self, stream: Any) -> None:
        """Take the frame whose embeddings and motion lie on the device: x and its context; touches only this stream."""
        with driver_errors(self._driver, "launching adapter.cu"):
            self._function.prepared_async_call((1, 1), (THREADS, 1, 1), stream, self._job.tobytes())

    def enqueue_results(self, stream: Any) -> None:
        """Bring down what `results` gives."""
        with driver_errors(self._driver, "copying results"):
            self._driver.memcpy_dtoh_async(self._pinned_result, self._result_pointer, stream)

    def results(self) -> Any:
        """What was brought down, one record of `result_type`, owned by the receiver; the stream has been waited for."""
        return self._result.copy()

    def close(self) -> None:
        """Free device and pinned memory, once nothing uses it; may be called twice."""
        self._memory.close()
