"""The preprocessing kernel through PyCUDA: a frame goes up, the network's image and window indices stay on the device.

SIGNATURE FIRST: the bodies follow in the next commits; the names, arguments and promises below are meant to stay.

    with the context current on this thread:
    preprocessor = CudaPreprocessor(cubin, spec=..., geometry=..., windows=12, timing="centered", image_type="float16")
    if preprocessor.push(frame, stream):          # False only for the first frame of a centered stream
        engine.enqueue(image=preprocessor.image_pointer, fine=preprocessor.fine_pointer, stream)
        selection = preprocessor.selection(stream)   # K indices and their attention: a few hundred bytes, and it waits

Suffixes: S side of the image, K selected windows, N all fine windows.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from stprompt_edge.geometry import Geometry
from stprompt_edge.preprocess import Preprocessing
from stprompt_edge.runtime.motion import Selection

ImageType = Literal["float16", "float32"]


class CudaPreprocessor:
    """Preprocessing, pixel motion and window selection of ONE camera stream on the device, one launch a frame.

    The context that is current when it is made must be current at every call. Device buffers belong to the object and
    keep their addresses for life, so an engine may bind them once and a CUDA graph may be captured over `enqueue`.

    Args:
        cubin: the compiled kernel, bytes of `preprocess.cubin`, already checked against its sha256.
        spec: size, mean and standard deviation.
        geometry: image, patch and fine windows.
        windows: K, how many windows are selected.
        timing: `centered` (results are of the frame before the pushed one) or `causal` (of the pushed one).
        image_type: of the image on the device, the engine's input type.
        driver: stands in for `pycuda.driver` in tests.
    """

    image_pointer: int  # device address of [1, 3, S, S] RGB, normalised, `image_type`; 256-byte aligned
    fine_pointer: int  # device address of [1, K] int64, most motion first; 256-byte aligned
    delay: int  # frames between a push and the frame that image and indices are of: 1 for centered, 0 for causal

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
        raise NotImplementedError

    def push(self, frame: NDArray[np.uint8], stream: Any) -> bool:
        """`stage` and `enqueue`; True when image and indices will be of a frame, False when none is complete yet.

        Args:
            frame: [H, W, 3] uint8 BGR, or an `Nv12Frame`; copied before this returns.
            stream: a `pycuda.driver.Stream`.
        """
        raise NotImplementedError

    def stage(self, frame: NDArray[np.uint8]) -> bool:
        """Copy a frame into the pinned buffer. True when its size or format is not the last one's: a captured graph
        over `enqueue` is then void."""
        raise NotImplementedError

    def enqueue(self, stream: Any) -> None:
        """Upload what was staged and launch; nothing but this touches the stream, and it may be captured."""
        raise NotImplementedError

    def flush(self, stream: Any) -> bool:
        """The stream of frames has ended: for `centered`, launch once more with the last frame repeated. True when
        image and indices will be of a frame."""
        raise NotImplementedError

    def selection(self, stream: Any) -> Selection:
        """Wait for the stream and give the selected windows, as `motion.select_windows` would."""
        raise NotImplementedError

    def read_image(self, stream: Any) -> NDArray[np.float32]:
        """Wait for the stream and give a copy of the image, [1, 3, S, S] float32; for parity checks and late frames."""
        raise NotImplementedError

    def reset(self, stream: Any) -> None:
        """Forget the frames seen: the next push begins a new stream of frames."""
        raise NotImplementedError

    def close(self) -> None:
        """Free the device's and the pinned memory; may be called twice."""
        raise NotImplementedError
