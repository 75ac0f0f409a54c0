"""What is quantizable, and how people call it."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from stprompt_edge.calibration.layers import find_layers, layer_labels, output_axis
from tests.calibration.graphs import LAYERS, encoder


def test_layers_with_constant_weights_and_no_others() -> None:
    layers = find_layers(encoder().graph)
    assert tuple(layer.node for layer in layers) == LAYERS
    assert layers[0].shape == (48, 3, 32, 32)
    assert [(layer.axis, layer.shape[layer.axis]) for layer in layers] == [(0, 48), (1, 48), (1, 96), (1, 48), (1, 32)]


@pytest.mark.parametrize(("kind", "attributes", "axis"), [("Gemm", {}, 1), ("Gemm", {"transB": 1}, 0), ("Conv", {}, 0)])
def test_output_axis(kind: str, attributes: dict[str, int], axis: int) -> None:
    assert output_axis(helper.make_node(kind, ["x", "w"], ["y"], **attributes)) == axis


def test_labels_are_those_of_torch_where_the_graph_still_has_them() -> None:
    graph = encoder().graph
    assert layer_labels(graph) == {name: name for name in LAYERS}
    names = {"fc.weight": "val_1", "fc.bias": "visual.transformer.resblocks.3.mlp.c_fc.bias", "c_proj.weight": "val_2"}
    for tensor in graph.initializer:
        tensor.name = names.get(tensor.name, tensor.name)
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
    labels = layer_labels(graph)
    assert labels["fc"] == "resblocks.3.mlp.c_fc"
    assert labels["c_proj"] == "c_proj"  # its node's name: it has no bias


def test_a_bias_that_layers_share_names_none_of_them() -> None:
    nodes: list[onnx.NodeProto] = []
    for name in ("a", "b"):
        nodes.append(helper.make_node("MatMul", ["x", f"w{name}"], [f"{name}_plain"], name=name))
        nodes.append(helper.make_node("Add", [f"{name}_plain", "ln_pre.bias"], [name], name=f"add_{name}"))
    tensors = {"wa": np.eye(2, dtype=np.float32), "wb": np.ones((2, 2), np.float32), "ln_pre.bias": np.zeros(2)}
    initializers = [numpy_helper.from_array(value, name) for name, value in tensors.items()]
    graph = helper.make_graph(nodes, "g", [], [], initializers)
    assert layer_labels(graph) == {"a": "a", "b": "b"}
