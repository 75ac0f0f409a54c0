"""What TensorRT wants of a static Q/DQ graph, proven on the graph itself before it is kept.

Sources: onnx-tensorrt's importer of QuantizeLinear and DequantizeLinear (constant positive scales, as many zero points,
all zero, a scale for each output channel), and NVIDIA's "Explicit Quantization" (symmetric, per-tensor activations,
per-channel weights, biases in float). The rest is our own choice of what is quantized: products and convolutions with
constant weights, both inputs of each, nothing else.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from stprompt_edge.calibration.layers import output_axis
from stprompt_edge.calibration.qdq import OPSET, SMALLEST_SCALE
from stprompt_edge.export.activations import constants

NEWEST_OPSET = 20  # that TensorRT 10.3 reads
QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
LAYERS = ("MatMul", "Gemm", "Conv")
_OTHER_INTEGER_OPS = {
    "DynamicQuantizeLinear", "MatMulInteger", "ConvInteger", "QLinearMatMul", "QLinearConv", "QGemm",
}  # fmt: skip


def broken_rules(model: onnx.ModelProto) -> list[str]:
    """Every rule that a graph breaks, with the node; none for a good one."""
    return list(_Checker(model).findings())


def quantized_layers(model: onnx.ModelProto) -> int:
    """How many layers of a good graph run in int8."""
    makers = {name: node for node in model.graph.node for name in node.output}
    data = [makers.get(node.input[0]) for node in model.graph.node if node.op_type in LAYERS]
    return sum(maker is not None and maker.op_type == DEQUANTIZE for maker in data)


class _Checker:
    def __init__(self, model: onnx.ModelProto) -> None:
        self._model = model
        self._graph = model.graph
        self._constants = constants(model.graph)
        self._types = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
        self._makers = {name: node for node in model.graph.node for name in node.output}
        self._readers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in model.graph.node:
            for name in node.input:
                self._readers[name].append(node)
        self._outputs = {output.name for output in model.graph.output}

    def findings(self) -> Iterator[str]:
        for entry in self._model.opset_import:
            if entry.domain not in ("", "ai.onnx") or not OPSET <= entry.version <= NEWEST_OPSET:
                yield f"opset {entry.domain or 'ai.onnx'} {entry.version} is not ai.onnx {OPSET} to {NEWEST_OPSET}"
        if not quantized_layers(self._model):
            yield "no layer is quantized"
        checks = {QUANTIZE: self._quantize, DEQUANTIZE: self._dequantize}
        for node in self._graph.node:
            for what in checks.get(node.op_type, self._any_other)(node):
                yield f"{node.op_type} '{node.name}': {what}"

    def _quantize(self, node: onnx.NodeProto) -> Iterator[str]:
        yield from self._scale_and_zero_point(node)
        readers = self._readers[node.output[0]]
        if node.output[0] in self._outputs or [reader.op_type for reader in readers] != [DEQUANTIZE]:
            yield "its int8 is not read by one DequantizeLinear alone"

    def _dequantize(self, node: onnx.NodeProto) -> Iterator[str]:
        yield from self._scale_and_zero_point(node)
        maker = self._makers.get(node.input[0])
        if maker is None or maker.op_type != QUANTIZE:
            yield "it does not follow a QuantizeLinear"
        elif list(maker.input[1:]) != list(node.input[1:]) or _axis(maker) != _axis(node):
            yield "its scale, zero point or axis is not that of its QuantizeLinear"
        readers = self._readers[node.output[0]]
        if node.output[0] in self._outputs or len(readers) != 1 or readers[0].op_type not in LAYERS:
            yield f"it does not feed one {', '.join(LAYERS)} alone"
        elif node.output[0] not in readers[0].input[:2]:
            yield "it feeds a bias, which stays in float"
        else:
            yield from self._granularity(node, readers[0])

    def _scale_and_zero_point(self, node: onnx.NodeProto) -> Iterator[str]:
        if len(node.input) != 3:
            yield f"it has {len(node.input)} inputs, not data, scale and zero point"
            return
        scale, zero = (self._constants.get(name) for name in node.input[1:])
        if scale is None or zero is None:
            yield "its scale or zero point is not constant"
            return
        if self._types[node.input[1]] != TensorProto.FLOAT16:
            yield f"its scale is {scale.dtype}, not float16"
        if not np.all(np.isfinite(scale)) or not np.all(scale.astype(np.float64) >= SMALLEST_SCALE):
            yield f"a scale is not a number of at least {SMALLEST_SCALE:.2g}"
        if self._types[node.input[2]] != TensorProto.INT8 or np.any(zero):
            yield "its zero point is not int8 and 0"
        if scale.shape != zero.shape:
            yield f"{scale.size} scales and {zero.size} zero points"

    def _granularity(self, node: onnx.NodeProto, layer: onnx.NodeProto) -> Iterator[str]:
        """One scale for an activation, one for each output channel of a weight."""
        maker = self._makers.get(node.input[0])
        scale = self._constants.get(node.input[1]) if len(node.input) > 1 else None
        if maker is None or scale is None:
            return  # told already
        weight = self._constants.get(maker.input[0])
        if node.output[0] == layer.input[0]:
            if weight is not None:
                yield "it quantizes a constant where the activation should be"
            elif scale.ndim != 0:
                yield f"an activation has {scale.size} scales, not one"
        elif weight is None:
            yield "it quantizes an activation where the weight should be: products of two activations stay in float"
        else:
            yield from _per_channel(weight, scale, _axis(node), output_axis(layer))

    def _any_other(self, node: onnx.NodeProto) -> Iterator[str]:
        if node.op_type in _OTHER_INTEGER_OPS:
            yield "TensorRT has no such operator"
        makers = [self._makers.get(name) for name in node.input]
        quantized = [maker is not None and maker.op_type == DEQUANTIZE for maker in makers]
        if node.op_type in LAYERS and any(quantized) and not all(quantized[:2]):
            yield "only one of activation and weight is quantized"


def _per_channel(weight: NDArray, scale: NDArray, axis: int, expected: int) -> Iterator[str]:
    if axis != expected or scale.shape != (weight.shape[expected],):
        yield (
            f"a weight of {weight.shape[expected]} output channels on axis {expected} "
            f"has {scale.size} scales on axis {axis}"
        )


def _axis(node: onnx.NodeProto) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 1)  # ONNX's default
