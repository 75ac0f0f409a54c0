"""Our graphs keep to what TensorRT 10.3's ONNX parser reads, and the profiles to what the graphs take."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from stprompt_edge.assets import DEMO_BUNDLE
from stprompt_edge.bundle import ENCODER_NAMES, Bundle, load_bundle
from stprompt_edge.runtime.backends.cuda.engines.profiles import (
    BatchSizes,
    encoder_profiles,
    heads_profiles,
    pick_variant,
)
from stprompt_edge.runtime.backends.onnx import OnnxBackend
from tests.export.engine.graph_rules import KINDS, RULES, refusals


def graph_of(*nodes: onnx.NodeProto, opset: int = 18, domain: str = "", **tensors: np.ndarray) -> onnx.ModelProto:
    """x [2, 3] float32 -> y."""
    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 3])],
        [helper.make_empty_tensor_value_info("y")],
        [numpy_helper.from_array(value, name) for name, value in tensors.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid(domain, opset)])


def node(kind: str, *inputs: str, outputs: tuple[str, ...] = ("y",), **attributes: object) -> onnx.NodeProto:
    return helper.make_node(kind, list(inputs), list(outputs), name=kind.lower(), **attributes)


SCALE, ZERO, ONE = np.float32(0.1), np.int8(0), numpy_helper.from_array(np.array([1]))


@pytest.mark.parametrize(
    "model",
    [
        graph_of(node("Add", "x", "x")),
        graph_of(node("LayerNormalization", "x", "s"), s=np.ones(3, np.float32)),
        graph_of(node("Squeeze", "x", "a"), a=np.array([0])),
        graph_of(node("QuantizeLinear", "x", "s", "z"), s=np.array(SCALE), z=np.array(ZERO)),
        graph_of(
            node("QuantizeLinear", "x", "s", "z", outputs=("q",)), node("DequantizeLinear", "q", "s", "z"),
            s=np.array(SCALE), z=np.array(ZERO),
        ),
        graph_of(node("Cast", "x", to=TensorProto.FLOAT16)),
        graph_of(node("Constant", outputs=("a",), value=ONE), node("Squeeze", "x", "a")),
    ],
)  # fmt: skip
def test_what_it_reads(model: onnx.ModelProto) -> None:
    assert refusals(model) == []


@pytest.mark.parametrize(
    ("model", "told"),
    [
        (graph_of(node("NonZero", "x")), ["NonZero 'nonzero': no such operator"]),
        (graph_of(node("DynamicQuantizeLinear", "x", outputs=("y", "s", "z"))), ["DynamicQuantizeLinear"]),
        (graph_of(node("Add", "x", "x"), opset=21), ["opset 21 is not in 9..20"]),
        (
            graph_of(node("Cast", "x", outputs=("c",), to=TensorProto.INT64), node("Sigmoid", "c")),
            ["Sigmoid 'sigmoid': c is INT64"],
        ),
        (graph_of(node("Cast", "x", outputs=("c",), to=TensorProto.DOUBLE), node("Add", "c", "c")), ["c is DOUBLE"]),
        (
            graph_of(node("Shape", "x", outputs=("a",)), node("ReduceSum", "x", "a")),
            ["ReduceSum 'reducesum': input 1 is not constant"],
        ),
        (
            graph_of(node("LayerNormalization", "x", "s", outputs=("y", "mean")), s=np.ones(3, np.float32)),
            ["2 outputs are used"],
        ),
        (
            graph_of(node("QuantizeLinear", "x", "s", "z"), s=np.array(SCALE), z=np.array(np.int8(3))),
            ["QuantizeLinear 'quantizelinear': input 2 is not zero"],
        ),
        (
            graph_of(node("Abs", "x", outputs=("s",)), node("QuantizeLinear", "x", "s")),
            ["QuantizeLinear 'quantizelinear': input 1 is not constant"],
        ),
    ],
)
def test_what_it_refuses(model: onnx.ModelProto, told: list[str]) -> None:
    found = refusals(model)
    for what in told:
        assert any(what in line for line in found), found


def test_the_list_names_its_source_and_nothing_twice() -> None:
    assert "onnx-tensorrt" in RULES["source"]
    assert len(KINDS) == sum(len(names) for names in RULES["operators"].values())


def test_the_demo_heads_are_read() -> None:
    assert refusals(onnx.load(DEMO_BUNDLE / "heads.onnx")) == []


@pytest.mark.parametrize("name", [ENCODER_NAMES["fp32"], ENCODER_NAMES["fp16"], "heads.onnx"])
def test_what_export_writes_is_read(small_bundle: Bundle, name: str) -> None:
    assert refusals(onnx.load(small_bundle.file(name))) == []


def test_cpu8_is_not_for_tensorrt(small_bundle: Bundle) -> None:
    assert any("DynamicQuantizeLinear" in line for line in refusals(onnx.load(small_bundle.file("encoder.cpu8.onnx"))))


def test_every_bundle_at_hand_is_read() -> None:
    bundle = load_bundle(DEMO_BUNDLE)
    for precision in set(bundle.precisions) - {"cpu8"}:
        assert refusals(onnx.load(bundle.path / ENCODER_NAMES[precision])) == []


def static_dims(path: Path) -> dict[str, list[int | None]]:
    graph = onnx.load(path, load_external_data=False).graph
    return {
        tensor.name: [None if dim.dim_param else dim.dim_value for dim in tensor.type.tensor_type.shape.dim]
        for tensor in graph.input
    }


@pytest.mark.parametrize("engine", ["encoder", "heads"])
def test_profiles_fit_the_graphs(small_bundle: Bundle, engine: str) -> None:
    if engine == "encoder":
        path, profiles = small_bundle.file("encoder.fp16.onnx"), encoder_profiles(small_bundle, BatchSizes(1, 4, 8))
    else:
        path, profiles = small_bundle.file("heads.onnx"), heads_profiles(small_bundle)
    dims = static_dims(path)
    for profile in profiles:
        assert set(profile.inputs) == set(dims)
        for name, held in profile.inputs.items():
            for low, usual, high, fixed in zip(held.min, held.opt, held.max, dims[name], strict=True):
                assert 0 <= low <= usual <= high
                assert fixed is None or low == usual == high == fixed  # TensorRT's rule 3 of set_shape


def test_both_steps_run_at_the_ends_of_their_profiles(small_bundle: Bundle) -> None:
    """On ONNX Runtime, whose shapes are the graph's: no coarse window, one, and all."""
    profiles = encoder_profiles(small_bundle, BatchSizes(1, 1, 2))
    rng = np.random.default_rng(0)
    image = rng.random((2, 3, 224, 224), dtype=np.float32)
    with OnnxBackend(small_bundle, precision="fp32", threads=1) as backend:
        for profile in profiles:
            for shape in (profile.inputs["coarse"].min, profile.inputs["coarse"].max):
                batch, coarse = shape
                fine = profile.inputs["fine"].max[1]
                encoded = backend.encode(image[:batch], np.zeros((batch, fine), np.int64), np.zeros(shape, np.int64))
                assert encoded.fine.shape[:2] == (batch, fine)
                assert encoded.coarse.shape[:2] == (batch, coarse)
                wanted = {"image": (batch, 3, 224, 224), "fine": (batch, fine), "coarse": shape}
                assert pick_variant(profiles, wanted) is not None
