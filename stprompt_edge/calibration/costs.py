"""What each layer costs: how far embeddings move if this one layer runs in int8 and all others in fp32.

One graph with a switch at each layer serves all of them. Where a switch is on, the activation goes through Q and DQ and
the weight is the rounded one; both are overridable initializers, so that a run names only what differs from fp32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from stprompt_edge.calibration.layers import Layer
from stprompt_edge.calibration.qdq import activation_scale, rounded, weight_scales
from stprompt_edge.export.activations import Feed, constants
from stprompt_edge.runtime.backends.onnx import CPU, EXACT_QDQ, import_onnxruntime, session_options


def layer_costs(
    model: onnx.ModelProto,
    layers: Sequence[Layer],
    ranges: Mapping[str, float],
    feeds: Sequence[Feed],
    each: Callable[[], None],
) -> dict[str, float]:
    """1 - the smallest cosine of any embedding to fp32, with one layer in int8.

    Args:
        model: fp32, weights folded; not changed.
        layers: of the graph.
        ranges: largest magnitude to hold, by the name of a layer's activation.
        feeds: of real frames.
        each: called after each layer.

    Returns:
        By node; 0 or more, and 2 where an embedding is not a number.
    """
    known = constants(model.graph)
    session = _session(with_switches(model, layers, ranges))
    expected = _embeddings(session, feeds, {})
    costs = {}
    for layer in layers:
        weight = known[layer.weight]
        changes = {
            _switch(layer): np.array(True),
            layer.weight: rounded(weight, weight_scales(weight, layer.axis), layer.axis),
        }
        costs[layer.node] = 1 - smallest_cosine(_embeddings(session, feeds, changes), expected)
        each()
    return costs


def with_switches(model: onnx.ModelProto, layers: Sequence[Layer], ranges: Mapping[str, float]) -> onnx.ModelProto:
    """The graph with a boolean input for each layer, off by default, and the layers' weights as inputs too."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    by_node = {layer.node: layer for layer in layers}
    nodes = []
    zero = numpy_helper.from_array(np.zeros((), np.int8), "int8_zero_point")
    graph.initializer.append(zero)
    for node in graph.node:
        if layer := by_node.get(node.name):
            scale = numpy_helper.from_array(activation_scale(ranges[layer.activation]), f"{node.name}_scale")
            off = numpy_helper.from_array(np.array(False), _switch(layer))
            graph.initializer.extend([scale, off])
            grid = [scale.name, zero.name]
            q, dq, chosen = (f"{node.name}_{part}" for part in ("q", "dq", "chosen"))
            nodes += [
                helper.make_node("QuantizeLinear", [layer.activation, *grid], [q], name=q),
                helper.make_node("DequantizeLinear", [q, *grid], [dq], name=dq),
                helper.make_node("Where", [off.name, dq, layer.activation], [chosen], name=chosen),
            ]
            node.input[0] = chosen
            graph.input.extend([
                helper.make_tensor_value_info(off.name, TensorProto.BOOL, []),
                helper.make_tensor_value_info(layer.weight, TensorProto.FLOAT, layer.shape),
            ])  # fmt: skip
        nodes.append(node)
    ordered = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(ordered)
    return result


def smallest_cosine(a_ND: NDArray, b_ND: NDArray) -> float:
    """Over the rows of two arrays; -1 where one is not a number."""
    a, b = a_ND.astype(np.float64), b_ND.astype(np.float64)
    cosine_N = (a * b).sum(axis=1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))
    return min(float(np.nan_to_num(cosine_N, nan=-1.0).min()), 1.0)


def _switch(layer: Layer) -> str:
    return f"{layer.node}_in_int8"


def _session(model: onnx.ModelProto) -> Any:
    options = session_options(None)
    options.add_session_config_entry(*EXACT_QDQ)
    return import_onnxruntime().InferenceSession(model.SerializeToString(), options, providers=[CPU])


def _embeddings(session: Any, feeds: Sequence[Feed], changes: Mapping[str, NDArray]) -> NDArray[np.float32]:
    """[N, D] of all feeds."""
    outputs = [output for feed in feeds for output in session.run(None, {**feed, **changes})]
    return np.concatenate([output.reshape(-1, output.shape[-1]) for output in outputs])
