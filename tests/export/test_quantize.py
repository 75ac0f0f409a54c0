"""cpu8: products with constant weights become int8 of 7 bits, everything else stays as it was."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from stprompt_edge.bundle import ENCODER_NAMES, Bundle
from stprompt_edge.export.activations import find_products
from stprompt_edge.export.quantize import fold_weights, quantize_dynamic_int8, quantize_weight
from stprompt_edge.model.clip import Clip
from tests.export.outliers import outlier_graph, real_feeds, run


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


def test_the_encoder_keeps_the_rules(small_bundle: Bundle) -> None:
    check_encoder(small_bundle)


def check_encoder(bundle: Bundle) -> None:
    """The rules, of a bundle's cpu8 encoder."""
    fp32, cpu8 = (onnx.load(bundle.file(ENCODER_NAMES[precision])) for precision in ("fp32", "cpu8"))
    check_rules(fold_weights(fp32).graph, cpu8.graph)


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


def test_it_computes_what_onnxruntime_quantizes(demo_clip: Clip, tmp_path: Path) -> None:
    """The recipe is ONNX Runtime's; its own tool takes ten times longer."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    fp32 = outlier_graph(demo_clip, ())
    quantize_dynamic_int8(fp32, tmp_path / "ours.onnx")
    quantize_dynamic(
        fp32, tmp_path / "theirs.onnx", op_types_to_quantize=["MatMul"], per_channel=True, reduce_range=True,
        weight_type=QuantType.QInt8,
        extra_options={"MatMulConstBOnly": True, "DefaultTensorType": onnx.TensorProto.FLOAT},
    )  # fmt: skip
    ours, theirs = (run(onnx.load(tmp_path / name), real_feeds()) for name in ("ours.onnx", "theirs.onnx"))
    cosines = (ours * theirs).sum(1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(theirs, axis=1)
    assert cosines.min() > 0.9999  # a weight on the edge between two steps may be rounded to the other one


def test_products_kept_in_float_stay_as_they_were(demo_clip: Clip, tmp_path: Path) -> None:
    fp32 = outlier_graph(demo_clip, ())
    names = [product.node for product in find_products(fp32.graph)]
    quantize_dynamic_int8(fp32, tmp_path / "q.onnx", names[3:6])
    kept = find_products(onnx.load(tmp_path / "q.onnx").graph)
    assert [product.node for product in kept] == names[3:6]
    quantize_dynamic_int8(fp32, tmp_path / "q.onnx", names)
    np.testing.assert_allclose(run(onnx.load(tmp_path / "q.onnx"), real_feeds()), run(fp32, real_feeds()), atol=3e-5)


def test_a_silent_output_channel_stays_silent() -> None:
    integers, scales = quantize_weight(np.array([[0, 1], [0, -2]], np.float32))
    np.testing.assert_array_equal(integers, [[0, 32], [0, -64]])
    np.testing.assert_array_equal(scales, np.array([1, 2 / 64], np.float32))
