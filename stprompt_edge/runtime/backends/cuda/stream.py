"""One camera on the device: a frame goes up, and everything up to the heads' outputs is one launch.

Preprocessing, motion, selection, encoder, SA², adapter and heads follow each other on one stream, and none of them
copies what the next one reads. What comes back, in one copy, is the frame's embedding before and after SA² and what the
heads say. Where the host has to smooth (a lookahead, or a method other than stprompt) the launch ends with the
encoder, and embeddings and selection come back. Everything that is enqueued for a frame is recorded as one CUDA graph,
until the camera's frames change their size or format.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stprompt_edge.bundle import ENCODER, Bundle
from stprompt_edge.runtime.backends.base import Encoded, HeadsOutput, JudgedFrame, WatchedFrame
from stprompt_edge.runtime.backends.cuda.engines.execution import BoundContext, Engine
from stprompt_edge.runtime.backends.cuda.engines.launches import Launches, Runtime
from stprompt_edge.runtime.backends.cuda.kernels import CudaAdapter, CudaPreprocessor
from stprompt_edge.runtime.frames import Nv12Frame


class DeviceStream:
    """A stream of sampled frames of one camera; see `FrameStream`.

    Args:
        runtime: of the engines.
        encoder: loaded, with an input of one frame in its profiles.
        heads: loaded; None to end with the embeddings.
        cubin: the kernels, checked against their sha256.
        bundle: whose method selects windows by pixel motion; with `heads`, stprompt.

    Raises:
        EnvironmentFailure: a kernel does not load, the engine takes no single frame, or memory is short.
    """

    def __init__(self, runtime: Runtime, encoder: Engine, heads: Engine | None, cubin: bytes, bundle: Bundle) -> None:
        method, geometry = bundle.manifest.method, bundle.geometry
        self._session, self._windows = runtime.session, method.windows
        self._all = {
            "fine": np.arange(geometry.fine_count, dtype=np.int64)[None],
            "coarse": np.arange(geometry.coarse_count, dtype=np.int64)[None],
        }
        self._owned: list[Any] = []  # closed in the opposite order
        self._adapter: CudaAdapter | None = None
        self._heads: BoundContext | None = None
        self._launches = Launches(runtime, self._enqueue)
        with runtime.session.current("starting a stream on the device"):
            try:
                self._preprocessor = self._own(CudaPreprocessor(
                    cubin, spec=bundle.preprocessing, geometry=geometry, windows=method.windows,
                    timing=method.motion_timing, image_type="float32", driver=runtime.session.cuda,
                ))  # fmt: skip
                if heads is not None:
                    self._adapter, self._heads = self._bind_heads(heads, cubin, bundle)
                self._watch, self._locate = self._bind_encoder(encoder, geometry.image_size)
            except BaseException:
                self._free()
                raise

    def push(self, frame: NDArray[np.uint8] | Nv12Frame) -> WatchedFrame | JudgedFrame | None:
        """See `FrameStream.push`."""
        with self._session.current("watching a frame"):
            if self._preprocessor.stage(frame):
                self._launches.forget()
            if not self._preprocessor.complete:
                self._preprocessor.enqueue(self._session.stream)
                self._session.stream.synchronize()
                return None
            self._launches.run()
            return self._found()

    def flush(self) -> WatchedFrame | JudgedFrame | None:
        """See `FrameStream.flush`."""
        with self._session.current("watching the last frame"):
            if not self._preprocessor.flush(self._session.stream):
                return None
            self._enqueue_engines()
            self._session.stream.synchronize()
            return self._found()

    def locate(self) -> Encoded:
        """See `FrameStream.locate`."""
        with self._session.current("locating"):
            found = self._locate.run(self._all)
        return Encoded.from_outputs(found, *(indices.shape[1] for indices in self._all.values()))

    def close(self) -> None:
        """Free the device; may be called twice."""
        with self._session.current("closing a stream"):
            self._free()

    def _bind_heads(self, heads: Engine, cubin: bytes, bundle: Bundle) -> tuple[CudaAdapter, BoundContext]:
        """The adapter, and heads that read and write its buffers."""
        width, method = bundle.manifest.clip.embedding_width, bundle.manifest.method
        adapter = self._own(CudaAdapter(
            cubin, motion=self._preprocessor.motion_pointer, width=width, windows=method.windows,
            classes=len(bundle.vocabulary.class_names), sigma=method.sigma, driver=self._session.cuda,
        ))  # fmt: skip
        shapes = dict.fromkeys(adapter.heads_inputs, (1, width))
        return adapter, self._own(heads.bind(shapes, {**adapter.heads_inputs, **adapter.heads_outputs}))

    def _bind_encoder(self, encoder: Engine, size: int) -> tuple[BoundContext, BoundContext]:
        """Contexts of both steps; their image, and the watch step's windows, are where the kernel writes them."""
        image = {"image": self._preprocessor.image_pointer}
        shapes = ENCODER.input_shapes({"S": size, "B": 1, "K": self._windows, "L": 0})
        kept = self._adapter.encoder_outputs if self._adapter else {}
        watch = self._own(encoder.bind(shapes, {**image, "fine": self._preprocessor.fine_pointer, **kept}))
        every = {name: indices.shape for name, indices in self._all.items()}
        return watch, self._own(encoder.bind({**shapes, **every}, image))

    def _enqueue(self) -> None:
        """All launches of one frame."""
        self._preprocessor.enqueue(self._session.stream, results=self._adapter is None)
        self._enqueue_engines()

    def _enqueue_engines(self) -> None:
        """Those on an image and windows that lie on the device."""
        self._watch.enqueue()
        if self._adapter and self._heads:
            self._adapter.enqueue(self._session.stream)
            self._heads.enqueue()
            self._adapter.enqueue_results(self._session.stream)

    def _found(self) -> WatchedFrame | JudgedFrame:
        if self._adapter:
            row = self._adapter.results()
            heads = HeadsOutput(anomaly_logit=row["anomaly_logit"], similarity=row["similarity"][None])
            return JudgedFrame(frame_D=row["frame"], features_D=row["features"], heads=heads)
        found = self._watch.results()
        return WatchedFrame(
            frame_D=found["frame"][0],
            selected_KD=found["fine_embeddings"][0, : self._windows],
            selection=self._preprocessor.selection(self._session.stream),
        )

    def _own(self, part: Any) -> Any:
        self._owned.append(part)
        return part

    def _free(self) -> None:
        self._launches.forget()
        while self._owned:
            self._owned.pop().close()
