"""cpu8: products with constant weights become int8 of 7 bits, everything else stays as it was."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from stprompt_edge.bundle import ENCODER_NAMES, Bundle
from stprompt_edge.export.quantize import quantize_dynamic_int8


def count_products(graph: onnx.GraphProto) -> tuple[int, int]:
    """MatMul nodes with a constant second factor (a parameter, or one cut or turned), and with two activations."""
    known = {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        if set(node.input) <= known:
            known |= set(node.output)
    products = [node for node in graph.node if node.op_type == "MatMul"]
    constant = sum(node.input[1] in known for node in products)
    return constant, len(products) - constant


def check_rules(fp32: onnx.GraphProto, cpu8: onnx.GraphProto) -> None:
    (constant, between_activations), (kept, still_between) = count_products(fp32), count_products(cpu8)
    assert still_between == between_activations
    tensors = {tensor.name: tensor for tensor in cpu8.initializer}
    integer = [node for node in cpu8.node if node.op_type == "MatMulInteger"]
    assert len(integer) == constant - kept
    assert len(integer) > 0.8 * constant
    for node in integer:
        weight = numpy_helper.to_array(tensors[node.input[1]])
        assert weight.dtype == np.int8
        assert np.abs(weight.astype(int)).max() <= 64, node.name  # 7 bits: the sums fit AVX2's 16 bits
        assert np.unique(numpy_helper.to_array(tensors[node.input[3]])).tolist() == [0]  # symmetric
    kinds, original = (Counter(node.op_type for node in graph.node) for graph in (cpu8, fp32))
    for kind in ("LayerNormalization", "Softmax", "Conv"):
        assert kinds[kind] == original[kind]


@pytest.mark.parametrize("bundle_name", ["small_bundle", "vit_bundle"])
def test_the_encoder_keeps_the_rules(request: pytest.FixtureRequest, bundle_name: str) -> None:
    bundle: Bundle = request.getfixturevalue(bundle_name)
    check_rules(*(onnx.load(bundle.file(ENCODER_NAMES[precision])).graph for precision in ("fp32", "cpu8")))


def test_each_output_channel_has_its_own_scale(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    weight = (rng.standard_normal((16, 3)) * [0.01, 1, 100]).astype(np.float32)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"], name="product")]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 16])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 3])]
    graph = helper.make_graph(nodes, "one", inputs, outputs, [numpy_helper.from_array(weight, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    before, level = model.SerializeToString(deterministic=True), logging.getLogger().level
    quantize_dynamic_int8(model, tmp_path / "q.onnx")
    assert model.SerializeToString(deterministic=True) == before
    assert logging.getLogger().level == level
    quantized = onnx.load(tmp_path / "q.onnx").graph
    check_rules(graph, quantized)
    scales = [numpy_helper.to_array(t) for t in quantized.initializer if t.name.endswith("_scale")]
    np.testing.assert_allclose(scales[0], np.abs(weight).max(axis=0) / 64, rtol=0.02)
