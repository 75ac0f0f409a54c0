"""The graphs of a bundle, in one table: file names, inputs and outputs, and their shapes.

Axes: B frames, K fine windows, L coarse windows and N rows may have any size; S the image's side, D width of the
embedding, F all fine windows and C the classes with `normal` are the bundle's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stprompt_edge.bundle.manifest import MethodName

ENCODER_NAMES = {  # by precision
    "fp32": "encoder.onnx",
    "fp16": "encoder.fp16.onnx",
    "int8": "encoder.int8.onnx",  # static Q/DQ for TensorRT
    "cpu8": "encoder.cpu8.onnx",  # dynamic int8 for ONNX Runtime on a CPU
}
HEADS_NAME = "heads.onnx"

ANY_SIZE = ("B", "K", "L", "N")  # the axes whose size a call decides

Axes = tuple[int | str, ...]
Shapes = dict[str, list[int | None]]  # tensor name -> shape; None is any size


@dataclass(frozen=True, kw_only=True)
class GraphShapes:
    """A graph's tensors with the sizes of one bundle."""

    inputs: Shapes
    outputs: Shapes


@dataclass(frozen=True, kw_only=True)
class Graph:
    """Inputs and outputs by name, in the order of the traced function's arguments and results."""

    inputs: dict[str, Axes]
    outputs: dict[str, Axes]

    def shapes(self, sizes: Mapping[str, int]) -> GraphShapes:
        """With `sizes` for the axes that have a name; any other may have any size."""

        def known(tensors: dict[str, Axes]) -> Shapes:
            return {
                name: [axis if isinstance(axis, int) else sizes.get(axis) for axis in axes]
                for name, axes in tensors.items()
            }

        return GraphShapes(inputs=known(self.inputs), outputs=known(self.outputs))

    def input_shapes(self, sizes: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
        """Of all inputs; every axis that has a name is in `sizes`."""
        return _fixed(self.inputs, sizes)

    def output_shapes(self, sizes: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
        """Of all outputs; every axis that has a name is in `sizes`."""
        return _fixed(self.outputs, sizes)

    def feed(self, *inputs: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Arrays by the names of the inputs."""
        return dict(zip(self.inputs, inputs, strict=True))


ENCODER = Graph(
    inputs={"image": ("B", 3, "S", "S"), "fine": ("B", "K"), "coarse": ("B", "L")},
    outputs={"frame": ("B", "D"), "fine_embeddings": ("B", "K", "D"), "coarse_embeddings": ("B", "L", "D")},
)
HEADS = Graph(  # context: rows of A (x_clip + x_as); clip: x_clip
    inputs={"context": ("N", "D"), "clip": ("N", "D")},
    outputs={"anomaly_logit": ("N",), "similarity": ("N", "C")},
)
RANKING_HEADS = Graph(
    inputs={"windows": ("N", "F", "D")},
    outputs={"anomaly_logit": ("N",), "window_logits": ("N", "F")},
)


@dataclass(frozen=True, kw_only=True)
class MethodTraits:
    """What its bundle must hold, and what of a frame it looks at."""

    heads: Graph = HEADS  # of heads.onnx
    needs_heads: bool = True
    least_windows: int = 0  # that SA² selects
    all_windows: bool = False  # its heads judge every fine window; their motion is not used
    judged_on_device: bool = False  # aggregation, kernel and heads run on a device that has a stream of its own


METHOD_TRAITS: dict[MethodName, MethodTraits] = {
    "stprompt": MethodTraits(judged_on_device=True),
    "mil-ranking": MethodTraits(heads=RANKING_HEADS, all_windows=True),
    "zero-shot": MethodTraits(needs_heads=False, least_windows=1),
}


def tensor_type(name: str) -> np.dtype[Any]:
    """Of an input or output: indices of windows are integers, all else is float32."""
    return np.dtype(np.int64 if name in ("fine", "coarse") else np.float32)


def _fixed(tensors: dict[str, Axes], sizes: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
    return {
        name: tuple(axis if isinstance(axis, int) else sizes[axis] for axis in axes) for name, axes in tensors.items()
    }
