"""adapter.cu in NumPy, on the fake driver's memory: what `CudaAdapter` launches there."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stprompt_edge.runtime.backends.cuda.kernels.adapter import ADAPTER_JOB
from stprompt_edge.runtime.motion import aggregate, softmax
from tests.fakes.pycuda_driver import FakeDriver


def adapter(driver: FakeDriver, argument: bytes) -> None:
    """One frame: its features and its context."""
    job: Any = np.frombuffer(argument, ADAPTER_JOB)[0]
    width, selected, slots = (int(job[name]) for name in ("width", "selected", "slots"))

    def array(name: str, *shape: int, kind: Any = np.float32) -> NDArray[Any]:
        return driver.bytes_at(int(job[name]), 4 * int(np.prod(shape))).view(kind).reshape(shape)

    state, ring = array("state", 2, kind=np.uint32), array("ring", slots, width)
    x = array("frame", width) + aggregate(array("windows", selected, width), softmax(array("motion", selected)))
    held, slot = min(int(state[0]) + 1, slots), (int(state[1]) + 1) % slots
    ring[slot] = x
    weights = array("weights", slots)[:held].astype(np.float64)
    array("context", width)[:] = weights @ ring[(slot - np.arange(held)) % slots] / weights.sum()
    array("features", width)[:] = x
    state[:] = held, slot
