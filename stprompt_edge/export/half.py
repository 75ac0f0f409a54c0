"""fp32 ONNX graph -> typed fp16 graph: layer norm and softmax stay fp32, inputs and outputs of the graph too.

Every tensor has one type that the graph itself states (casts are nodes), which is what a strongly typed TensorRT
network reads; nothing is left to a builder's precision flags.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

KEPT_IN_FP32 = {"LayerNormalization", "Softmax"}  # sums over many values, where fp16 loses digits
_TYPED_ATTRIBUTES = {"Cast", "ConstantOfShape", "EyeLike", "RandomNormal"}  # ops that name a type themselves


def to_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of `model` in fp16.

    Args:
        model: fp32, one graph without subgraphs, float32 and integer tensors only.

    Returns:
        The fp16 graph with float32 inputs and outputs under the same names.

    Raises:
        ValueError: if the graph holds an operator that states a type of its own.
    """
    graph = model.graph
    if unknown := _TYPED_ATTRIBUTES & {node.op_type for node in graph.node}:
        raise ValueError(f"cannot turn a graph with {sorted(unknown)} into fp16")
    floats = {tensor.name: tensor for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT}
    kept = {name for node in graph.node if node.op_type in KEPT_IN_FP32 for name in node.input if name in floats}
    nodes = list(_HalfGraph(graph, set(floats)).nodes())
    read = {name for node in nodes for name in node.input}
    initializers = [_half_tensor(t) if t.name in floats else t for t in graph.initializer if t.name in read]
    initializers += [_renamed_tensor(floats[name], f"{name}_fp32") for name in sorted(kept)]
    new_graph = helper.make_graph(nodes, graph.name, list(graph.input), list(graph.output), initializers)
    result = helper.make_model(
        new_graph, opset_imports=list(model.opset_import), ir_version=model.ir_version, producer_name="stprompt-edge"
    )
    onnx.checker.check_model(result)
    return result


class _HalfGraph:
    """Rewrites nodes so that all floats between them are fp16 under their old names."""

    def __init__(self, graph: onnx.GraphProto, float_initializers: set[str]) -> None:
        self._graph = graph
        self._initializers = float_initializers
        self._float_inputs = {i.name for i in graph.input if i.type.tensor_type.elem_type == TensorProto.FLOAT}
        self._float_outputs = {o.name for o in graph.output if o.type.tensor_type.elem_type == TensorProto.FLOAT}

    def nodes(self) -> Iterator[onnx.NodeProto]:
        for name in sorted(self._float_inputs):
            yield _cast(name, f"{name}_fp16", TensorProto.FLOAT16)
        for node in self._graph.node:
            if node.op_type == "Constant":
                yield _half_constant(node)
            elif node.op_type in KEPT_IN_FP32:
                yield from self._kept_node(node)
            else:
                yield _renamed(node, [self._half_name(name) for name in node.input], self._half_outputs(node))
        for name in sorted(self._float_outputs):
            yield _cast(f"{name}_fp16", name, TensorProto.FLOAT)

    def _half_name(self, name: str) -> str:
        return f"{name}_fp16" if name in self._float_inputs | self._float_outputs else name

    def _half_outputs(self, node: onnx.NodeProto) -> list[str]:
        return [f"{name}_fp16" if name in self._float_outputs else name for name in node.output]

    def _kept_node(self, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
        inputs = []
        for position, name in enumerate(node.input):
            if name in self._initializers:  # a copy of its own: the exporter shares equal tensors between nodes
                inputs.append(f"{name}_fp32")
                continue
            fp32_name = f"{node.output[0]}_in{position}_fp32"
            yield _cast(self._half_name(name), fp32_name, TensorProto.FLOAT)
            inputs.append(fp32_name)
        fp32_output = f"{node.output[0]}_fp32"
        yield _renamed(node, inputs, [fp32_output])
        yield _cast(fp32_output, self._half_outputs(node)[0], TensorProto.FLOAT16)


def _cast(source: str, target: str, to: int) -> onnx.NodeProto:
    return helper.make_node("Cast", [source], [target], name=f"{target}_cast", to=to)


def _renamed(node: onnx.NodeProto, inputs: list[str], outputs: list[str]) -> onnx.NodeProto:
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    del copy.input[:], copy.output[:]
    copy.input.extend(inputs)
    copy.output.extend(outputs)
    return copy


def _half_tensor(tensor: TensorProto) -> TensorProto:
    return numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name)


def _renamed_tensor(tensor: TensorProto, name: str) -> TensorProto:
    copy = TensorProto()
    copy.CopyFrom(tensor)
    copy.name = name
    return copy


def _half_constant(node: onnx.NodeProto) -> onnx.NodeProto:
    for attribute in node.attribute:
        if attribute.name == "value" and attribute.t.data_type == TensorProto.FLOAT:
            return helper.make_node("Constant", [], list(node.output), name=node.name, value=_half_tensor(attribute.t))
    return node
