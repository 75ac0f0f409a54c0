"""Smoothing: the function stays, outliers leave the activations, quantized embeddings return to fp32's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from benchmarks.outliers import smallest_cosine
from stprompt_edge.export.activations import Activation, find_products, measure_activations, noise_to_signal
from stprompt_edge.export.parity import MIN_COSINE
from stprompt_edge.export.quantize import quantize_dynamic_int8
from stprompt_edge.export.smoothing import migration, smooth
from stprompt_edge.model.clip import Clip, load_clip
from tests.export.outliers import outlier_graph, real_feeds, run

KINDS = [(), ("norms", "mlp")]


@pytest.fixture(scope="module")
def demo_clip() -> Clip:
    """One of its own, which no other test has had in its hands: these are figures of its weights."""
    clip = load_clip("stprompt-demo-16", "none", 0)
    del clip.model.visual.transformer.resblocks[2:]
    return clip


def describe(values_NW: np.ndarray) -> Activation:
    return Activation(low_W=values_NW.min(0), high_W=values_NW.max(0), power_W=np.square(values_NW).mean(0))


@pytest.mark.parametrize("kinds", KINDS, ids=["none", "norms and mlp"])
def test_the_function_stays_and_cpu8_passes(demo_clip: Clip, kinds: tuple[str, ...], tmp_path: Path) -> None:
    fp32, feeds = outlier_graph(demo_clip, kinds), real_feeds()
    before = fp32.SerializeToString(deterministic=True)
    expected = run(fp32, feeds)
    smoothed = smooth(fp32, measure_activations(fp32, feeds))
    assert fp32.SerializeToString(deterministic=True) == before
    np.testing.assert_allclose(run(smoothed.model, feeds), expected, atol=3e-5)

    cosines = {}
    for name, model in {"plain": fp32, "smoothed": smoothed.model}.items():
        quantize_dynamic_int8(model, tmp_path / "q.onnx")
        cosines[name] = smallest_cosine(run(onnx.load(tmp_path / "q.onnx"), feeds), expected)
    assert cosines["smoothed"] > MIN_COSINE, cosines
    if kinds:
        assert cosines["plain"] < MIN_COSINE, cosines
    else:
        assert cosines["smoothed"] > cosines["plain"] - 1e-4, cosines


def test_the_figures_of_the_smoothed_graph_are_those_that_it_has(demo_clip: Clip) -> None:
    fp32, feeds = outlier_graph(demo_clip, ("norms", "mlp")), real_feeds()
    smoothed = smooth(fp32, measure_activations(fp32, feeds))
    measured = measure_activations(smoothed.model, feeds)
    assert set(measured) == set(smoothed.activations)
    for name, figures in smoothed.activations.items():
        np.testing.assert_allclose(measured[name].reach_W, figures.reach_W, rtol=1e-2, atol=1e-4, err_msg=name)


def test_quick_gelu_stays_fusible_without_outliers(demo_clip: Clip) -> None:
    for kinds, unfused in [((), 0), (("norms", "mlp"), len(demo_clip.model.visual.transformer.resblocks))]:
        fp32 = outlier_graph(demo_clip, kinds)
        model = smooth(fp32, measure_activations(fp32, real_feeds())).model
        assert sum(tensor.name.startswith("node_mul") for tensor in model.graph.initializer) == unfused


@pytest.mark.parametrize("bias", [False, True])
def test_a_layer_norm_with_two_products_and_shared_constants(bias: bool) -> None:
    """Both products share one scale, and the second layer norm, which reads the same gain, keeps it."""
    rng = np.random.default_rng(0)
    gain = np.array([1, 1, 80, 1, 1, 1, 1, 1], np.float32)
    known = {"gain": gain, "bias": gain / 9, "w": rng.standard_normal((8, 5)), "v": rng.standard_normal((8, 3))}
    norm = ["gain", "bias"] if bias else ["gain"]
    nodes = [
        helper.make_node("LayerNormalization", ["x", *norm], ["n"], name="norm"),
        helper.make_node("MatMul", ["n", "w"], ["a"], name="first"),
        helper.make_node("MatMul", ["n", "v"], ["b"], name="second"),
        helper.make_node("LayerNormalization", ["x", *norm], ["c"], name="other"),  # an output: cannot be scaled
        helper.make_node("MatMul", ["c", "w"], ["d"], name="third"),
    ]
    model = small_model(nodes, known, {"a": 5, "b": 3, "c": 8, "d": 5})
    feeds = [{"x": rng.standard_normal((40, 8)).astype(np.float32)}]
    smoothed = smooth(model, measure_activations(model, feeds))
    for got, want in zip(outputs(smoothed.model, feeds[0]), outputs(model, feeds[0]), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)
    reads = {node.name: list(node.input) for node in smoothed.model.graph.node}
    assert reads["other"] == ["x", *norm]
    assert reads["third"] == ["c", "w"]
    assert reads["norm"][1] != "gain"
    reach_W = smoothed.activations["n"].reach_W
    assert reach_W[2] < 20 * np.median(reach_W) < 80 * np.median(reach_W)


def test_what_is_not_a_product_stops_it() -> None:
    nodes = [
        helper.make_node("LayerNormalization", ["x", "gain"], ["n"], name="norm"),
        helper.make_node("MatMul", ["n", "w"], ["a"], name="product"),
        helper.make_node("Abs", ["n"], ["b"], name="abs"),
    ]
    known = {"gain": np.array([1, 90, 1], np.float32), "w": np.ones((3, 2))}
    model = small_model(nodes, known, {"a": 2, "b": 3})
    feeds = [{"x": np.eye(3, dtype=np.float32)}]
    assert list(smooth(model, measure_activations(model, feeds)).model.graph.node) == list(model.graph.node)


def test_migration_by_hand() -> None:
    values_NW = np.array([[1.0, -100.0, 0.0, 4.0], [-1.0, 50.0, 0.0, 1.0]])
    weight_WK = np.array([[1, 0.5], [0.25, 0.1], [1, 1], [0, 0]], np.float32)
    # s = sqrt(reach / strongest); the silent third channel counts as a tenth of the median (2.5); the fourth is unread
    np.testing.assert_allclose(migration(describe(values_NW), [weight_WK]), [1, 20, 0.5, 1], rtol=1e-6)


def test_nothing_flows_nothing_moves() -> None:
    weight_WK = np.ones((2, 2), np.float32)
    silent = describe(np.zeros((4, 2)))
    np.testing.assert_array_equal(migration(silent, [weight_WK]), [1, 1])
    assert noise_to_signal(silent, weight_WK) == float("inf")


def test_noise_to_signal_predicts_the_error_of_an_integer_product(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    plain_x, plain_weight = rng.standard_normal((2000, 64)), rng.standard_normal((64, 32))
    for factor in (1, 5, 20):
        spread = np.where(np.arange(64) == 5, factor, 1)
        x, weight = (plain_x * spread).astype(np.float32), (plain_weight / spread[:, None]).astype(np.float32)
        nodes = [helper.make_node("MatMul", ["x", "w"], ["y"], name="product")]
        model = small_model(nodes, {"w": weight}, {"y": 32})
        activations = measure_activations(model, [{"x": x}])
        quantize_dynamic_int8(model, tmp_path / "q.onnx")
        exact = outputs(model, {"x": x})[0]
        error = outputs(onnx.load(tmp_path / "q.onnx"), {"x": x})[0] - exact
        predicted = noise_to_signal(activations[find_products(model.graph)[0].activation], weight)
        assert np.square(error).mean() / np.square(exact).mean() == pytest.approx(predicted, rel=0.2)


def small_model(nodes: list[onnx.NodeProto], known: dict[str, np.ndarray], widths: dict[str, int]) -> onnx.ModelProto:
    tensors = [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in known.items()]
    made = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", width]) for name, width in widths.items()]
    taken = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", None])]
    graph = helper.make_graph(nodes, "small", taken, made, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def outputs(model: onnx.ModelProto, feed: dict[str, np.ndarray]) -> list[np.ndarray]:
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, feed)
