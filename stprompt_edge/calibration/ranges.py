"""How large an activation may get before int8 clips it, by one of ONNX Runtime's three calibration methods.

- `minmax`: the largest magnitude seen; nothing is clipped.
- `percentile`: what 99.999 % of the values stay under.
- `entropy`: the threshold whose int8 histogram loses least information (Kullback-Leibler).

The histograms and thresholds are those of `onnxruntime.quantization`; its calibrators themselves are not used, because
they also watch attention's products, keep every tensor in memory, and run the graph unoptimized.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from stprompt_edge.export.activations import Feed, watch_tensors

PERCENTILE = 99.999  # ONNX Runtime's default
# of a histogram: of the default of 128 entropy could take only all, and its search takes time with their square
BINS = {"percentile": 2048, "entropy": 512}
LEVELS = 255  # of a symmetric int8


def measure_ranges(
    model: onnx.ModelProto, names: Sequence[str], feeds: Iterable[Feed], method: str, each: Callable[[], None]
) -> dict[str, float]:
    """Run a graph over feeds and look at some of its tensors.

    Args:
        model: fp32; not changed.
        names: of the tensors.
        feeds: at least one; all inputs of the graph.
        method: entropy, percentile or minmax.
        each: called after each feed.

    Returns:
        The largest magnitude that int8 should hold, by tensor name; 0 for a tensor that is always 0.
    """
    collector = _LargestMagnitudes() if method == "minmax" else _Histograms(method)
    for tensors in watch_tensors(model, names, feeds):
        collector.collect(dict(zip(names, tensors, strict=True)))
        each()
    return collector.ranges()


class _LargestMagnitudes:
    def __init__(self) -> None:
        self._largest: dict[str, float] = {}

    def collect(self, tensors: dict[str, NDArray]) -> None:
        for name, values in tensors.items():
            seen = float(np.abs(values).max(initial=0.0))
            self._largest[name] = max(self._largest.get(name, 0.0), seen)

    def ranges(self) -> dict[str, float]:
        return self._largest


class _Histograms:
    """ONNX Runtime's collector, without what it prints."""

    def __init__(self, method: str) -> None:
        from onnxruntime.quantization.calibrate import HistogramCollector

        self._collector: Any = HistogramCollector(
            method=method,
            symmetric=True,
            num_bins=BINS[method],
            num_quantized_bins=LEVELS,
            percentile=PERCENTILE,
            scenario="same",
        )

    def collect(self, tensors: dict[str, NDArray]) -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            self._collector.collect({name: values.astype(np.float32) for name, values in tensors.items()})

    def ranges(self) -> dict[str, float]:
        with contextlib.redirect_stdout(io.StringIO()):
            found = self._collector.compute_collection_result()
        return {name: float(max(abs(low), abs(high))) for name, (low, high, *_) in found.items()}
