"""The checker finds nothing in a good graph, and each rule where that rule is broken."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from stprompt_edge.calibration.layers import find_layers
from stprompt_edge.calibration.qdq import quantize_static_int8
from stprompt_edge.calibration.rules import broken_rules, quantized_layers
from tests.calibration.graphs import LAYERS, encoder


def quantized(layers: tuple[str, ...] = LAYERS) -> onnx.ModelProto:
    model = encoder()
    found = [layer for layer in find_layers(model.graph) if layer.node in layers]
    return quantize_static_int8(model, found, {layer.activation: 3.0 for layer in found})


def node(graph: onnx.GraphProto, name: str) -> onnx.NodeProto:
    return next(node for node in graph.node if node.name == name)


def replace(graph: onnx.GraphProto, name: str, value: np.ndarray) -> None:
    tensor = next(tensor for tensor in graph.initializer if tensor.name == name)
    tensor.CopyFrom(numpy_helper.from_array(value, name))


def scale(name: str, value: object) -> Callable[[onnx.GraphProto], None]:
    return lambda graph: replace(graph, f"{name}_scale", np.asarray(value, np.float16))


def zero(name: str, value: np.ndarray) -> Callable[[onnx.GraphProto], None]:
    return lambda graph: replace(graph, f"{name}_zero_point", value)


def computed(graph: onnx.GraphProto) -> None:
    graph.node.insert(0, helper.make_node("Identity", ["fc_activation_scale"], ["computed"], name="computing"))
    for name in ("fc_activation_q", "fc_activation_dq"):
        node(graph, name).input[1] = "computed"


def without_zero_point(graph: onnx.GraphProto) -> None:
    del node(graph, "fc_activation_q").input[2]


def read_twice(graph: onnx.GraphProto) -> None:
    graph.node.append(helper.make_node("Identity", ["fc_activation_int8"], ["second"], name="second"))


def without_quantize(graph: onnx.GraphProto) -> None:
    node(graph, "fc_activation_dq").input[0] = "elsewhere"


def other_grid(graph: onnx.GraphProto) -> None:
    node(graph, "fc_activation_dq").input[1] = "out_activation_scale"


def feeds_layer_norm(graph: onnx.GraphProto) -> None:
    graph.node.append(helper.make_node("Softmax", ["fc_activation_dq"], ["odd"], name="odd"))


def feeds_bias(graph: onnx.GraphProto) -> None:
    conv = node(graph, "conv")
    conv.input[0] = "image_fp16"
    conv.input.append("conv_activation_dq")


def half_quantized(graph: onnx.GraphProto) -> None:
    node(graph, "fc").input[1] = "fc.weight"


def two_activations(graph: onnx.GraphProto) -> None:
    node(graph, "fc_weight_q").input[0] = "normed2"


def constant_activation(graph: onnx.GraphProto) -> None:
    node(graph, "fc_activation_q").input[0] = "out.weight"


def wrong_axis(graph: onnx.GraphProto) -> None:
    for name in ("out_weight_q", "out_weight_dq"):
        node(graph, name).attribute[0].i = 0


def dynamic(graph: onnx.GraphProto) -> None:
    graph.node.append(helper.make_node("DynamicQuantizeLinear", ["x"], ["a", "b", "c"], name="dynamic"))


def fp32_scale(graph: onnx.GraphProto) -> None:
    replace(graph, "fc_activation_scale", np.array(0.1, np.float32))


def per_tensor_weight(graph: onnx.GraphProto) -> None:
    scale("fc_weight", 0.1)(graph)
    zero("fc_weight", np.zeros((), np.int8))(graph)


@pytest.mark.parametrize("layers", [LAYERS, LAYERS[1:3], LAYERS[:1]])
def test_a_good_graph(layers: tuple[str, ...]) -> None:
    model = quantized(layers)
    assert broken_rules(model) == []
    assert (quantized_layers(model), len(find_layers(model.graph))) == (len(layers), len(LAYERS) - len(layers))


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (scale("fc_activation", [0.1, 0.2]), "2 scales and 1 zero points"),
        (scale("fc_activation", 0), "a scale is not a number of at least 6.1e-05"),
        (scale("fc_activation", -0.1), "a scale is not a number"),
        (scale("fc_activation", np.nan), "a scale is not a number"),
        (scale("fc_activation", np.inf), "a scale is not a number"),
        (scale("fc_activation", 1e-6), "a scale is not a number"),
        (fp32_scale, "its scale is float32, not float16"),
        (zero("fc_activation", np.array(3, np.int8)), "its zero point is not int8 and 0"),
        (zero("fc_activation", np.array(0, np.uint8)), "its zero point is not int8 and 0"),
        (computed, "its scale or zero point is not constant"),
        (without_zero_point, "it has 2 inputs, not data, scale and zero point"),
        (read_twice, "its int8 is not read by one DequantizeLinear alone"),
        (without_quantize, "it does not follow a QuantizeLinear"),
        (other_grid, "its scale, zero point or axis is not that of its QuantizeLinear"),
        (feeds_layer_norm, "it does not feed one MatMul, Gemm, Conv alone"),
        (feeds_bias, "it feeds a bias, which stays in float"),
        (half_quantized, "only one of activation and weight is quantized"),
        (two_activations, "products of two activations stay in float"),
        (constant_activation, "it quantizes a constant where the activation should be"),
        (wrong_axis, "a weight of 48 output channels on axis 1 has 48 scales on axis 0"),
        (per_tensor_weight, "a weight of 96 output channels on axis 1 has 1 scales"),
        (dynamic, "TensorRT has no such operator"),
    ],
)
def test_each_broken_rule_is_told_with_its_node(damage: Callable[[onnx.GraphProto], None], told: str) -> None:
    model = quantized()
    damage(model.graph)
    assert any(told in line and "'" in line for line in broken_rules(model)), broken_rules(model)


def test_two_scales_for_an_activation() -> None:
    model = quantized()
    scale("fc_activation", np.full(48, 0.1))(model.graph)
    zero("fc_activation", np.zeros(48, np.int8))(model.graph)
    assert any("an activation has 48 scales, not one" in line for line in broken_rules(model))


def test_a_graph_of_another_opset_or_without_int8() -> None:
    model = quantized()
    model.opset_import[0].version = 21
    assert broken_rules(model) == ["opset ai.onnx 21 is not ai.onnx 19 to 20"]
    assert "no layer is quantized" in broken_rules(encoder())


def test_an_int8_output_of_the_graph() -> None:
    model = quantized()
    model.graph.output.append(helper.make_tensor_value_info("fc_activation_int8", TensorProto.INT8, None))
    assert any("not read by one DequantizeLinear alone" in line for line in broken_rules(model))
