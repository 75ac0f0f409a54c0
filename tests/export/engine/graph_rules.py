"""What TensorRT 10.3's ONNX parser would refuse of a graph, told without TensorRT."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

RULES: dict[str, Any] = tomllib.loads(Path(__file__).with_name("operators.toml").read_text(encoding="utf-8"))
KINDS: dict[str, str] = {operator: kind for kind, names in RULES["operators"].items() for operator in names}
# the first input decides; an output of another kind is the operator's own (a shape, a mask, a quantized tensor)
OWN_OUTPUT = {
    "Shape",
    "Size",
    "Cast",
    "QuantizeLinear",
    "DequantizeLinear",
    "Equal",
    "Greater",
    "Less",
    "ArgMax",
    "ArgMin",
}


def refusals(model: onnx.ModelProto) -> list[str]:
    """Every node that breaks a rule: operator, type of its data, restrictions; and the opset."""
    low, high = RULES["opsets"]
    opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    found = [] if low <= opset <= high else [f"opset {opset} is not in {low}..{high}"]
    found += [f"domain {entry.domain}" for entry in model.opset_import if entry.domain not in ("", "ai.onnx")]
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    types = {value.name: value.type.tensor_type.elem_type for value in (*graph.input, *graph.value_info, *graph.output)}
    types.update({tensor.name: tensor.data_type for tensor in graph.initializer})
    constants = {tensor.name: tensor for tensor in graph.initializer}
    constants.update({node.output[0]: node.attribute[0].t for node in graph.node if node.op_type == "Constant"})
    for node in graph.node:
        found += [f"{node.op_type} '{node.name}': {what}" for what in node_refusals(node, types, constants)]
    return found


def node_refusals(node: onnx.NodeProto, types: dict[str, int], constants: dict[str, TensorProto]) -> list[str]:
    """See `refusals`."""
    if node.op_type not in KINDS:
        return ["no such operator"]
    allowed = RULES["types"][KINDS[node.op_type]]
    watched = [*node.input[:1], *([] if node.op_type in OWN_OUTPUT else node.output)]
    names = {name: TensorProto.DataType.Name(types.get(name, 0)) for name in watched if name}
    # what shape inference does not know is no fault of the graph, except for a node's own data
    found = [f"{name} is {kind}" for name, kind in names.items() if kind not in allowed and kind != "UNDEFINED"]
    restrictions = RULES["restrictions"]
    position = restrictions["constant_input"].get(node.op_type)
    if position is not None and len(node.input) > position and node.input[position] not in constants:
        found.append(f"input {position} is not constant")
    used = len([name for name in node.output if name])
    if used > restrictions["outputs"].get(node.op_type, used):
        found.append(f"{used} outputs are used")
    position = restrictions["zero_input"].get(node.op_type)
    if position is not None and len(node.input) > position and node.input[position]:
        zero = constants.get(node.input[position])
        if zero is None or np.any(numpy_helper.to_array(zero)):
            found.append(f"input {position} is not zero")
    return found
