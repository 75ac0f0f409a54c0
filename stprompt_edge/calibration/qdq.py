"""fp32 graph -> static Q/DQ graph for TensorRT: int8 where a layer is quantized, fp16 elsewhere.

Around each quantized layer stand two pairs, x -> Q -> DQ -> layer and w -> Q -> DQ -> layer: one scale for the
activation, one for each output channel of the weight, all zero points 0. TensorRT fuses the four nodes into an int8
layer; biases, layer norms, softmax, GELU and attention's products stay as they are.

The float parts are fp16, as in the fp16 graph: in a strongly typed network they keep the type that the graph states,
and in fp32 they would take longer than int8 saves. Scales are fp16 then as well, since DequantizeLinear gives the type
of its scale; that needs opset 19, and TensorRT 10 (8.6 still read scales as fp32). The weights stay fp16 behind a Q of
their own, which TensorRT folds at build time. The nodes are those of ONNX Runtime's `quantize_static` (a test compares
the two); writing them here leaves the float layers free to choose again and again in seconds.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from stprompt_edge.calibration.layers import Layer
from stprompt_edge.export.activations import Rounding, constants
from stprompt_edge.export.half import to_half

OPSET = 19  # first whose Q and DQ take fp16
LARGEST = 127  # -128 is left out: TensorRT's int8 weights are symmetric
SMALLEST_SCALE = float(np.finfo(np.float16).tiny)  # 6e-5; below it fp16 loses digits, and 0 is refused
ROUNDING = Rounding(largest_weight=LARGEST, symmetric=True)


def quantize_static_int8(
    model: onnx.ModelProto, layers: Collection[Layer], ranges: Mapping[str, float]
) -> onnx.ModelProto:
    """The typed int8 graph of an fp32 one.

    Args:
        model: fp32, weights folded; not changed.
        layers: of the graph, those to quantize.
        ranges: largest magnitude to hold, by the name of a layer's activation.

    Returns:
        int8 and fp16, with float32 inputs and outputs under the same names.
    """
    graph = model.graph
    known = constants(graph)
    by_node = {layer.node: layer for layer in layers}
    nodes: list[onnx.NodeProto] = []
    initializers = list(graph.initializer)
    for node in graph.node:
        layer = by_node.get(node.name)
        if layer is not None:
            copy = onnx.NodeProto()
            copy.CopyFrom(node)
            scales = activation_scale(ranges[layer.activation]), weight_scales(known[layer.weight], layer.axis)
            for position, (scale, axis) in enumerate(zip(scales, (None, layer.axis), strict=True)):
                pair, tensors = _pair(node, position, scale, axis)
                nodes += pair
                initializers += tensors
                copy.input[position] = pair[-1].output[0]
            node = copy
        nodes.append(node)
    result = helper.make_model(
        helper.make_graph(nodes, graph.name, list(graph.input), list(graph.output), initializers),
        opset_imports=[helper.make_opsetid("", OPSET)], ir_version=model.ir_version, producer_name="stprompt-edge",
    )  # fmt: skip
    return to_half(result)


def activation_scale(largest: float) -> NDArray[np.float32]:
    """One step of the grid that reaches to the largest magnitude: a scalar that fp16 holds exactly."""
    return _as_scale(np.array(largest))


def weight_scales(weight: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """One step for each output channel, [channels]; each is a number that fp16 holds exactly."""
    others = tuple(other for other in range(weight.ndim) if other != axis)
    return _as_scale(np.abs(weight).max(axis=others))


def rounded(values: NDArray[np.float32], scale: NDArray[np.float32], axis: int | None = None) -> NDArray[np.float32]:
    """What Q and DQ leave of values; `axis` is that of a scale for each channel."""
    if axis is not None:
        scale = scale.reshape([-1 if position == axis else 1 for position in range(values.ndim)])
    return (np.rint(values / scale).clip(-LARGEST - 1, LARGEST) * scale).astype(np.float32)


def _as_scale(largest: NDArray) -> NDArray[np.float32]:
    return np.maximum(largest / LARGEST, SMALLEST_SCALE).astype(np.float16).astype(np.float32)


def _pair(
    node: onnx.NodeProto, position: int, scale: NDArray[np.float32], axis: int | None
) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """Q and DQ of one input of a node, and their constants."""
    name = f"{node.name}_{'weight' if position else 'activation'}"
    tensors: dict[str, NDArray] = {f"{name}_scale": scale, f"{name}_zero_point": np.zeros(scale.shape, np.int8)}
    attributes: dict[str, Any] = {} if axis is None else {"axis": axis}
    quantize = helper.make_node(
        "QuantizeLinear", [node.input[position], *tensors], [f"{name}_int8"], name=f"{name}_q", **attributes
    )
    dequantize = helper.make_node(
        "DequantizeLinear", [f"{name}_int8", *tensors], [f"{name}_dq"], name=f"{name}_dq", **attributes
    )
    return [quantize, dequantize], [numpy_helper.from_array(value, key) for key, value in tensors.items()]
