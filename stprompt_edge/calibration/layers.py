"""The layers that int8 is for: products and convolutions with constant weights. Nothing else is quantized."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import onnx

_WEIGHT_RANK = {"MatMul": 2, "Gemm": 2, "Conv": 4}


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A MatMul, Gemm or Conv of an activation with an initializer."""

    node: str
    op_type: str
    activation: str  # name of the first input
    weight: str  # name of the second
    shape: tuple[int, ...]  # of the weight
    axis: int  # the weight's output channels


def find_layers(graph: onnx.GraphProto) -> list[Layer]:
    """In the graph's order. Products of two activations, as attention's, are none."""
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    return [
        Layer(
            node=node.name,
            op_type=node.op_type,
            activation=node.input[0],
            weight=node.input[1],
            shape=shapes[node.input[1]],
            axis=output_axis(node),
        )
        for node in graph.node
        if len(shapes.get(node.input[1], ()) if node.op_type in _WEIGHT_RANK else ()) == _WEIGHT_RANK.get(node.op_type)
        and node.input[0] not in shapes
    ]


def output_axis(node: onnx.NodeProto) -> int:
    """Which axis of its weight counts the output channels of a MatMul, Gemm or Conv."""
    transposed = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
    return 0 if node.op_type == "Conv" or transposed else 1


def layer_labels(graph: onnx.GraphProto) -> dict[str, str]:
    """What people call each layer, by node: the name of its parameter in torch, which its weight or bias still has.

    A layer whose parameters the exporter has cut or renamed keeps its node's name, as does one whose bias others share:
    the exporter makes one constant of equal ones.
    """
    readers = Counter(name for node in graph.node for name in node.input)
    constants = {tensor.name for tensor in graph.initializer if readers[tensor.name] == 1}
    adds = {name: node for node in graph.node if node.op_type == "Add" for name in node.input}
    outputs = {node.name: node.output[0] for node in graph.node}
    labels = {}
    for layer in find_layers(graph):
        bias = adds.get(outputs[layer.node])
        named = [layer.weight, *(name for name in (bias.input if bias else ()) if name in constants)]
        parameter = next((name for name in named if "." in name), layer.node)
        for ending in (".weight", ".bias", "_bias"):
            parameter = parameter.removesuffix(ending)
        labels[layer.node] = parameter.removeprefix("visual.").removeprefix("transformer.")
    return labels
