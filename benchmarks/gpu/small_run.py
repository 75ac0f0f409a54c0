"""A few frames through the real kernel and nothing else: what compute-sanitizer looks at, without torch around it.

compute-sanitizer --tool memcheck python -m benchmarks.gpu.small_run preprocess.cubin
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.gpu.driver import CudaPythonDriver, Stream
from stprompt_edge.geometry import Geometry
from stprompt_edge.preprocess import Preprocessing
from stprompt_edge.runtime.backends.cuda.kernels import CudaPreprocessor
from stprompt_edge.runtime.frames import Nv12Frame

SIZES = [(1, 1), (7, 5), (227, 225), (641, 359), (640, 360)]


def frames() -> list[Any]:
    """BGR and NV12 of each size."""
    rng = np.random.default_rng(0)
    found: list[Any] = []
    for width, height in SIZES:
        found.append(rng.integers(0, 256, (height, width, 3), np.uint8))
        chroma = rng.integers(0, 256, ((height + 1) // 2, (width + 1) // 2, 2), np.uint8)
        found.append(Nv12Frame(luma=rng.integers(0, 256, (height, width), np.uint8), chroma=chroma))
    return found


def run(cubin: bytes, driver: Any, stream: Any) -> int:
    """Every frame through a centered and a causal stream; gives how many were looked at."""
    looked_at = 0
    for timing, image_type in (("centered", "float32"), ("causal", "float16")):
        with CudaPreprocessor(
            cubin, spec=Preprocessing(), geometry=Geometry(), windows=12, timing=timing,
            image_type=image_type, driver=driver,  # type: ignore[arg-type]
        ) as preprocessor:  # fmt: skip
            for frame in frames():
                if preprocessor.push(frame, stream):
                    looked_at += len(set(preprocessor.selection(stream).indices.tolist())) == 12
                    preprocessor.read_image(stream)
            looked_at += preprocessor.flush(stream)
            preprocessor.motion(stream)
    return looked_at


def main(arguments: Sequence[str]) -> None:
    """One argument: the cubin."""
    driver = CudaPythonDriver()
    driver.use_first_device()
    print(f"{run(Path(arguments[0]).read_bytes(), driver, Stream())} frames")


if __name__ == "__main__":
    main(sys.argv[1:])
