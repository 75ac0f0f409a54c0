"""Embeddings through `CudaAdapter` step by step, and what the host's definitions say of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stprompt_edge.runtime.backends.cuda.kernels.adapter import CudaAdapter
from stprompt_edge.runtime.motion import aggregate, softmax
from stprompt_edge.runtime.temporal import StreamingKernel


@dataclass(frozen=True, kw_only=True)
class Embeddings:
    """A stream as an encoder leaves it, T frames."""

    frame_TD: NDArray[np.float32]
    windows_TKD: NDArray[np.float32]
    motion_TK: NDArray[np.float32]


def random_embeddings(count: int, windows: int, width: int, seed: int = 0, scale: float = 1.0) -> Embeddings:
    """Motion as large as luma allows, 0..4, so that attention is not flat."""
    rng = np.random.default_rng(seed)
    return Embeddings(
        frame_TD=(scale * rng.normal(size=(count, width))).astype(np.float32),
        windows_TKD=(scale * rng.normal(size=(count, windows, width))).astype(np.float32),
        motion_TK=rng.uniform(0, 4, (count, windows)).astype(np.float32),
    )


def defined(given: Embeddings, sigma: float) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Features and context of each frame."""
    kernel = StreamingKernel(given.frame_TD.shape[1], sigma)
    for frame_D, windows_KD, motion_K in zip(given.frame_TD, given.windows_TKD, given.motion_TK, strict=True):
        features = frame_D + aggregate(windows_KD, softmax(motion_K))
        context = kernel.push(features)
        assert context is not None
        yield features, context


class AdapterStream:
    """A `CudaAdapter` fed from the host, where an encoder and the preprocessing kernel would."""

    def __init__(
        self, driver: Any, cubin: bytes, *, windows: int, width: int, sigma: float, stream: Any = None
    ) -> None:
        self._driver, self._stream, self._width = driver, stream or driver.Stream(), width
        self._motion = driver.mem_alloc(4 * windows)
        sizes = {"frame": width, "fine_embeddings": windows * width, "motion": windows}
        self._given = {name: driver.pagelocked_empty((size,), np.float32) for name, size in sizes.items()}
        self.adapter = CudaAdapter(
            cubin, motion=int(self._motion), width=width, windows=windows, classes=14, sigma=sigma, driver=driver
        )

    def run(self, given: Embeddings) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """Features and context of each frame, as the device computes them."""
        targets, context = {**self.adapter.encoder_outputs, "motion": self._motion}, np.empty(self._width, np.float32)
        for frame_D, windows_KD, motion_K in zip(given.frame_TD, given.windows_TKD, given.motion_TK, strict=True):
            for (name, pinned), values in zip(self._given.items(), (frame_D, windows_KD, motion_K), strict=True):
                pinned[:] = values.ravel()
                self._driver.memcpy_htod_async(targets[name], pinned, self._stream)
            self.adapter.enqueue(self._stream)
            self.adapter.enqueue_results(self._stream)
            self._stream.synchronize()
            found = self.adapter.results()
            np.testing.assert_array_equal(found["frame"], frame_D)
            self._driver.memcpy_dtoh(context, self.adapter.heads_inputs["context"])
            yield found["features"], context.copy()

    def close(self) -> None:
        self.adapter.close()
        self._motion.free()
        for pinned in self._given.values():
            pinned.base.free()
