"""fp16: layer norm and softmax alone stay in float32, and each crossing is one Cast."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from stprompt_edge.bundle import ENCODER_NAMES, Bundle
from stprompt_edge.export.half import KEPT_IN_FP32, to_half

FLOAT, HALF, INT64 = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.INT64


def small_graph(*extra: onnx.NodeProto) -> onnx.ModelProto:
    """y = softmax(layer_norm(x @ w)) * c, with x and y float32."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("LayerNormalization", ["a", "scale", "shift"], ["b"], axis=-1),
        helper.make_node("Softmax", ["b"], ["s"], axis=-1),
        helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(np.float32([2.0]))),
        helper.make_node("Mul", ["s", "c"], ["y"]),
        *extra,
    ]
    rng = np.random.default_rng(0)
    tensors = {"w": rng.standard_normal((4, 4)), "scale": rng.random(4), "shift": rng.random(4)}
    initializers = [numpy_helper.from_array(array.astype(np.float32), name) for name, array in tensors.items()]
    inputs, outputs = ([helper.make_tensor_value_info(name, FLOAT, ["N", 4])] for name in "xy")
    graph = helper.make_graph(nodes, "small", inputs, outputs, initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def tensor_types(model: onnx.ModelProto) -> dict[str, int]:
    """Type of every tensor, as ONNX's own strict inference finds it."""
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True, check_type=True).graph
    values = (*graph.input, *graph.output, *graph.value_info)
    return {
        **{value.name: value.type.tensor_type.elem_type for value in values},
        **{tensor.name: tensor.data_type for tensor in graph.initializer},
    }


def check_rules(model: onnx.ModelProto) -> None:
    graph, types = model.graph, tensor_types(model)
    boundary = {tensor.name for tensor in (*graph.input, *graph.output)}
    produced_by = {name: node for node in graph.node for name in node.output}
    readers = Counter(name for node in graph.node for name in node.input)
    for node in graph.node:
        floats = {types[name] for name in (*node.input, *node.output) if types[name] in (FLOAT, HALF)}
        if node.op_type in KEPT_IN_FP32:
            assert floats == {FLOAT}, node.name
        elif node.op_type == "Cast":
            assert floats == {FLOAT, HALF}, node.name
        else:
            assert floats <= {HALF}, (node.name, node.op_type)
    for node in (node for node in graph.node if node.op_type == "Cast"):
        source, target = node.input[0], node.output[0]
        feeds_kept = any(target in other.input for other in graph.node if other.op_type in KEPT_IN_FP32)
        from_kept = source in produced_by and produced_by[source].op_type in KEPT_IN_FP32
        assert source in boundary or target in boundary or feeds_kept or from_kept, node.name
        assert target in boundary or readers[target], f"{node.name} is read by nothing"
    for tensor in (*graph.input, *graph.output):
        assert types[tensor.name] in (FLOAT, INT64)
    used = set(readers)
    assert {tensor.name for tensor in graph.initializer} <= used


def run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(["y"], {"x": x})[0]


def test_a_small_graph_keeps_the_rules_and_its_values() -> None:
    model = small_graph()
    half = to_half(model)
    check_rules(half)
    x = np.random.default_rng(1).standard_normal((3, 4)).astype(np.float32)
    got = run(half, x)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, run(model, x), atol=0.01)


def test_the_fp32_graph_is_not_changed() -> None:
    model = small_graph()
    before = model.SerializeToString(deterministic=True)
    to_half(model)
    assert model.SerializeToString(deterministic=True) == before


def test_a_tensor_that_both_kinds_read_exists_in_both_types() -> None:
    model = small_graph(helper.make_node("Add", ["s", "scale"], ["unread"]))
    half = to_half(model)
    check_rules(half)
    types = tensor_types(half)
    assert (types["scale"], types["scale_fp32"]) == (HALF, FLOAT)


def test_the_encoder_keeps_the_rules(small_bundle: Bundle) -> None:
    check_encoder(small_bundle)


def check_encoder(bundle: Bundle) -> None:
    """The rules, of a bundle's fp16 encoder."""
    half = onnx.load(bundle.file(ENCODER_NAMES["fp16"]))
    check_rules(half)
    fp32 = onnx.load(bundle.file(ENCODER_NAMES["fp32"]))
    kinds, original = (Counter(node.op_type for node in model.graph.node) for model in (half, fp32))
    kept = sum(original[kind] for kind in KEPT_IN_FP32)
    assert kinds - original == {"Cast": 2 * kept + 4}  # around each kept node, one input, three outputs
    assert not original - kinds


@pytest.mark.parametrize(
    "node",
    [
        helper.make_node("Cast", ["y"], ["z"], to=TensorProto.DOUBLE),
        helper.make_node("ConstantOfShape", ["n"], ["z"]),
        helper.make_node("EyeLike", ["y"], ["z"]),
        helper.make_node("RandomNormal", [], ["z"], shape=[1]),
    ],
    ids=lambda node: node.op_type,
)
def test_refuses_operators_that_state_a_type(node: onnx.NodeProto) -> None:
    with pytest.raises(ValueError, match=rf"cannot turn a graph with \['{node.op_type}'\] into fp16"):
        to_half(small_graph(node))
