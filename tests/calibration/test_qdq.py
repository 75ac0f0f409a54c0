"""The int8 graph: exact grids, types that TensorRT 10.3 reads, and the arithmetic of ONNX Runtime's own tool."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, numpy_helper

from stprompt_edge.calibration.costs import smallest_cosine
from stprompt_edge.calibration.layers import find_layers
from stprompt_edge.calibration.qdq import (
    SMALLEST_SCALE,
    activation_scale,
    quantize_static_int8,
    rounded,
    weight_scales,
)
from stprompt_edge.calibration.ranges import measure_ranges
from tests.calibration.graphs import encoder, feeds, run
from tests.export.engine.graph_rules import refusals


def ranges_of(model: onnx.ModelProto) -> dict[str, float]:
    names = sorted({layer.activation for layer in find_layers(model.graph)})
    return measure_ranges(model, names, feeds(), "minmax", lambda: None)


@given(st.floats(0, 1e5))
def test_a_scale_is_an_fp16_number_and_holds_the_range(largest: float) -> None:
    scale = activation_scale(largest)
    assert scale.shape == ()
    assert scale == np.float16(scale)
    assert scale >= SMALLEST_SCALE
    assert largest / scale < 127.5  # it rounds to 127: nothing is clipped


def test_each_output_channel_has_its_scale() -> None:
    weight = np.array([[1, 0], [-2, 0]], np.float32)
    np.testing.assert_array_equal(weight_scales(weight, 1), np.array([2 / 127, SMALLEST_SCALE], np.float16))
    np.testing.assert_array_equal(weight_scales(weight, 0), np.array([1 / 127, 2 / 127], np.float16))
    assert weight_scales(np.ones((5, 3, 2, 2), np.float32), 0).shape == (5,)


def test_rounding_saturates_and_is_by_channel() -> None:
    values = np.array([[0.24, -9.0], [200.0, 4.0]], np.float32)
    np.testing.assert_array_equal(
        rounded(values, np.array([0.5, 1], np.float32), 1), np.array([[0, -9], [63.5, 4]], np.float32)
    )
    np.testing.assert_array_equal(rounded(values, np.array(1, np.float32)), [[0, -9], [127, 4]])


def test_the_graph_is_typed_and_read_by_tensorrt() -> None:
    fp32 = encoder()
    before = fp32.SerializeToString(deterministic=True)
    model = quantize_static_int8(fp32, find_layers(fp32.graph), ranges_of(fp32))
    assert fp32.SerializeToString(deterministic=True) == before
    assert refusals(model) == []
    kinds = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    assert all(kinds[name] == TensorProto.FLOAT16 for name in ("fc.weight", "fc_weight_scale", "fc.bias"))
    assert [value.type.tensor_type.elem_type for value in model.graph.output] == [TensorProto.FLOAT] * 3
    norms = [node for node in model.graph.node if node.op_type in ("LayerNormalization", "Softmax")]
    casts = {node.output[0]: node for node in model.graph.node if node.op_type == "Cast"}
    assert all(casts[node.input[0]].attribute[0].i == TensorProto.FLOAT for node in norms)


@pytest.mark.parametrize(("batch", "fine", "coarse"), [(1, 12, 0), (1, 49, 16), (3, 0, 1), (2, 12, 1)])
def test_it_runs_at_every_shape_and_stays_close(batch: int, fine: int, coarse: int) -> None:
    fp32 = encoder()
    model = quantize_static_int8(fp32, find_layers(fp32.graph), ranges_of(fp32))
    feed: dict[str, Any] = {
        "image": np.concatenate([one["image"] for one in feeds(batch)]),
        "fine": np.tile(np.arange(fine), (batch, 1)),
        "coarse": np.tile(np.arange(coarse), (batch, 1)),
    }
    assert smallest_cosine(run(model, [feed]), run(fp32, [feed])) > 0.995


def test_it_computes_what_onnxruntime_quantizes(tmp_path: Path) -> None:
    """The same ranges through `quantize_static`'s own quantizer, in fp32."""
    from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._left = iter(feeds())

        def get_next(self) -> Any:
            return next(self._left, None)

    fp32 = encoder()
    layers = [layer for layer in find_layers(fp32.graph) if layer.op_type == "MatMul"]
    onnx.save(fp32, tmp_path / "fp32.onnx")
    quantize_static(
        tmp_path / "fp32.onnx", tmp_path / "theirs.onnx", Reader(), activation_type=QuantType.QInt8,
        weight_type=QuantType.QInt8, per_channel=True, calibrate_method=CalibrationMethod.MinMax,
        nodes_to_quantize=[layer.node for layer in layers],
        extra_options={
            "ActivationSymmetric": True, "WeightSymmetric": True, "DedicatedQDQPair": True, "QuantizeBias": False,
            "AddQDQPairToWeight": True, "OpTypesToExcludeOutputQuantization": ["MatMul"],
        },
    )  # fmt: skip
    theirs = onnx.load(tmp_path / "theirs.onnx")
    kinds = [node.op_type for node in theirs.graph.node]
    ours = quantize_static_int8(fp32, layers, ranges_of(fp32))
    assert kinds.count("QuantizeLinear") == [node.op_type for node in ours.graph.node].count("QuantizeLinear")
    assert smallest_cosine(run(ours, feeds()), run(theirs, feeds())) > 0.9995  # fp16 rounds elsewhere too
    scales = {tensor.name: numpy_helper.to_array(tensor) for tensor in theirs.graph.initializer}
    expected = next(value for name, value in scales.items() if "fc.weight" in name and name.endswith("scale"))
    weight = numpy_helper.to_array(next(tensor for tensor in fp32.graph.initializer if tensor.name == "fc.weight"))
    np.testing.assert_allclose(weight_scales(weight, 1), expected, rtol=1e-2)  # some ONNX Runtimes divide by 127.5
