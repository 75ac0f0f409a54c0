"""One camera on the device: a frame goes up, and preprocessing, motion, selection and the watch step are one launch.

The image and the indices of its selected windows stay on the device; what comes back are embeddings and a few hundred
bytes of the selection. Everything that is enqueued for a frame is recorded as one CUDA graph, until the camera's frames
change their size or format.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stprompt_edge.bundle import Bundle
from stprompt_edge.runtime.backends.base import Encoded, WatchedFrame
from stprompt_edge.runtime.engines.device import CudaSession
from stprompt_edge.runtime.engines.execution import BoundContext, Engine
from stprompt_edge.runtime.kernels import CudaPreprocessor, Nv12Frame


class DeviceStream:
    """A stream of sampled frames of one camera; see `FrameStream`.

    Args:
        session: of the engine.
        encoder: loaded, with an input of one frame in its profiles.
        cubin: checked against its sha256.
        bundle: whose method selects windows by pixel motion.

    Raises:
        EnvironmentFailure: the kernel does not load, or memory is short.
    """

    def __init__(self, session: CudaSession, encoder: Engine, cubin: Path, bundle: Bundle) -> None:
        method, geometry = bundle.manifest.method, bundle.geometry
        self._session, self._windows = session, method.windows
        self._all = {
            "fine": np.arange(geometry.fine_count, dtype=np.int64)[None],
            "coarse": np.arange(geometry.coarse_count, dtype=np.int64)[None],
        }
        self._contexts: list[BoundContext] = []
        with session.current("starting preprocessing on the device"):
            self._preprocessor: Any = CudaPreprocessor(
                cubin.read_bytes(), spec=bundle.preprocessing, geometry=geometry, windows=method.windows,
                timing=method.motion_timing, image_type="float32", driver=session.cuda,
            )  # fmt: skip
            try:
                self._watch, self._locate = self._bind(encoder, (1, 3, geometry.image_size, geometry.image_size))
            except BaseException:
                self.close()
                raise

    def push(self, frame: NDArray[np.uint8] | Nv12Frame) -> WatchedFrame | None:
        """See `FrameStream.push`."""
        with self._session.current("watching a frame"):
            if self._preprocessor.stage(frame):
                self._watch.forget_recording()
            if not self._preprocessor.complete:
                self._preprocessor.enqueue(self._session.stream)
                self._session.stream.synchronize()
                return None
            return self._watched(self._watch.run({"coarse": self._all["coarse"][:, :0]}))

    def flush(self) -> WatchedFrame | None:
        """See `FrameStream.flush`."""
        with self._session.current("watching the last frame"):
            complete = self._preprocessor.flush(self._session.stream)
            return self._watched(self._watch.run_without_before()) if complete else None

    def locate(self) -> Encoded:
        """See `FrameStream.locate`."""
        with self._session.current("locating"):
            found = self._locate.run(self._all)
        return Encoded(frame=found["frame"], fine=found["fine_embeddings"], coarse=found["coarse_embeddings"])

    def close(self) -> None:
        """Free the device; may be called twice."""
        with self._session.current("closing a stream"):
            for context in self._contexts:
                context.close()
            self._contexts = []
            self._preprocessor.close()

    def _bind(self, encoder: Engine, image: tuple[int, ...]) -> tuple[BoundContext, BoundContext]:
        """Contexts of both steps; their image, and the watch step's windows, are where the kernel writes them."""
        addresses = {"image": self._preprocessor.image_pointer, "fine": self._preprocessor.fine_pointer}
        shapes = {name: indices.shape for name, indices in self._all.items()}
        watch = {"image": image, "fine": (1, self._windows), "coarse": (1, 0)}
        self._contexts.append(encoder.bind(watch, addresses, lambda: self._preprocessor.enqueue(self._session.stream)))
        self._contexts.append(encoder.bind({"image": image, **shapes}, {"image": addresses["image"]}))
        return self._contexts[0], self._contexts[1]

    def _watched(self, found: dict[str, NDArray[Any]]) -> WatchedFrame:
        selection = self._preprocessor.selection(self._session.stream)
        return WatchedFrame(
            frame_D=found["frame"][0], selected_KD=found["fine_embeddings"][0, : self._windows], selection=selection
        )
