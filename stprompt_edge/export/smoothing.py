"""Outlier channels out of the activations and into the weights, without changing what the graph computes.

A few channels of CLIP's activations are far larger than the rest. One 8-bit grid for the whole tensor then leaves the
rest a handful of values. SmoothQuant (Xiao et al., ICML 2023, eq. 3-4) divides channel j of a product's input by

    s_j = max|x_j|^a / max_k|w_jk|^(1-a),   a = 0.5

and multiplies row j of the weights by it: the product stays the same, and both factors become easy to quantize. The
division costs nothing where what comes before can absorb it:

- layer norm: its scale and bias are divided;
- QuickGELU, u * sigmoid(1.702 u) behind a linear layer (CLIP's MLP): the columns and bias of the linear layer are
  divided, and the factor 1.702 becomes the vector 1.702 s. Columns have a grid each, so they quantize as before.
  ONNX Runtime fuses QuickGELU only with a single factor (about 1 % of the time), so this is done only where it pays.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from stprompt_edge.export.activations import CPU8_ROUNDING, Activation, Rounding, constants, noise_to_signal

STRENGTH = 0.5  # a; the paper's default
QUIET = 0.1  # of the median channel: one that was quieter on a few frames may be louder on the next
WORTH_UNFUSING = 2.0  # times less predicted noise; measured on the small model: 0.8 to 1.1, with outliers 70 to 440


@dataclass(frozen=True, kw_only=True)
class Smoothed:
    """A graph that computes the same, and how its products' inputs look now."""

    model: onnx.ModelProto
    activations: dict[str, Activation]  # by tensor name


def smooth(
    model: onnx.ModelProto, activations: Mapping[str, Activation], rounding: Rounding = CPU8_ROUNDING
) -> Smoothed:
    """Move scale from activation channels into weights where that lowers the rounding noise to expect.

    Args:
        model: fp32; not changed.
        activations: [W] figures of every product's input, from `measure_activations`.
        rounding: the grids that the products will have.
    """
    graph = _Editor(model)
    after = dict(activations)
    for place in [*_layer_norms(graph), *_quick_gelus(graph)]:
        before = activations[place.activation]
        weights_WK = [graph.constant(node, 1) for node in place.products]
        scale_W = migration(before, weights_WK)
        scaled = before.divided_by(scale_W)
        noise = sum(noise_to_signal(before, weight, rounding) for weight in weights_WK)
        smoothed = sum(noise_to_signal(scaled, weight * scale_W[:, None], rounding) for weight in weights_WK)
        if noise < place.worthwhile * smoothed:
            continue
        for node, position in place.divided:
            graph.set_constant(node, position, graph.constant(node, position) / scale_W)
        for node, position in place.multiplied:
            graph.set_constant(node, position, graph.constant(node, position) * scale_W)
        for node, weight_WK in zip(place.products, weights_WK, strict=True):
            graph.set_constant(node, 1, weight_WK * scale_W[:, None])
        after[place.activation] = scaled
    return Smoothed(model=graph.finish(), activations=after)


def migration(activation: Activation, weights_WK: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """s of SmoothQuant's eq. 4, positive.

    Args:
        activation: [W] figures of the input that the products share.
        weights_WK: [W, K] of each product; K may differ.

    Returns:
        [W] float32; 1 for channels that are always zero or that no weight reads.
    """
    reach_W = activation.reach_W
    reach_W = np.maximum(reach_W, QUIET * np.median(reach_W))
    strongest_W = np.max([np.abs(weight).max(axis=1) for weight in weights_WK], axis=0).astype(np.float64)
    used = (reach_W > 0) & (strongest_W > 0)
    scale_W = np.where(used, reach_W, 1.0) ** STRENGTH / np.where(used, strongest_W, 1.0) ** (1 - STRENGTH)
    return np.where(used, scale_W, 1.0).astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class _Place:
    """An activation that can be scaled: what reads it, and the constants (node, input) that absorb the scale."""

    activation: str
    products: list[onnx.NodeProto]
    divided: list[tuple[onnx.NodeProto, int]]  # last axis is W
    multiplied: list[tuple[onnx.NodeProto, int]]
    worthwhile: float  # do it if the noise falls by this factor


class _Editor:
    """A copy of a graph whose constants can be replaced one reader at a time: the exporter shares equal ones."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._model = onnx.ModelProto()
        self._model.CopyFrom(model)
        self._constants = constants(self._model.graph)
        self._changed: dict[str, NDArray] = {}
        self._readers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in self._model.graph.node:
            for name in node.input:
                self._readers[name].append(node)
        self._makers = {name: node for node in self._model.graph.node for name in node.output}
        self._outputs = {output.name for output in self._model.graph.output}

    def nodes(self, op_type: str) -> list[onnx.NodeProto]:
        return [node for node in self._model.graph.node if node.op_type == op_type]

    def maker(self, name: str) -> onnx.NodeProto | None:
        return self._makers.get(name)

    def readers(self, name: str) -> list[onnx.NodeProto]:
        """Nodes that read a tensor; none for an output of the graph, which others read too."""
        return [] if name in self._outputs else self._readers[name]

    def constant_inputs(self, node: onnx.NodeProto) -> list[int]:
        return [position for position, name in enumerate(node.input) if name in self._constants]

    def constant(self, node: onnx.NodeProto, position: int) -> NDArray:
        return self._constants[node.input[position]]

    def set_constant(self, node: onnx.NodeProto, position: int, value: NDArray) -> None:
        name = f"{node.name}_smoothed_{position}"
        node.input[position] = name
        self._constants[name] = self._changed[name] = value.astype(np.float32)

    def finish(self) -> onnx.ModelProto:
        graph = self._model.graph
        read = {name for node in graph.node for name in node.input}
        kept = [tensor for tensor in graph.initializer if tensor.name in read]
        kept += [numpy_helper.from_array(value, name) for name, value in self._changed.items()]
        del graph.initializer[:]
        graph.initializer.extend(kept)
        return self._model


def _products(graph: _Editor, activation: str) -> list[onnx.NodeProto]:
    """The products that read the activation, if nothing else does and all have constant weights."""
    readers = graph.readers(activation)
    fit = all(node.op_type == "MatMul" and graph.constant_inputs(node) == [1] for node in readers)
    return readers if fit else []


def _layer_norms(graph: _Editor) -> Iterator[_Place]:
    for norm in graph.nodes("LayerNormalization"):
        if products := _products(graph, norm.output[0]):
            absorbing = [(norm, position) for position in graph.constant_inputs(norm)]
            yield _Place(activation=norm.output[0], products=products, divided=absorbing, multiplied=[], worthwhile=1.0)


def _quick_gelus(graph: _Editor) -> Iterator[_Place]:
    """MatMul -> Add -> u; u -> Mul(constant) -> Sigmoid; u * that -> products."""
    for sigmoid in graph.nodes("Sigmoid"):
        inner = graph.maker(sigmoid.input[0])
        gates = graph.readers(sigmoid.output[0])
        if inner is None or inner.op_type != "Mul" or len(gates) != 1 or gates[0].op_type != "Mul":
            continue
        factor = graph.constant_inputs(inner)
        bias = graph.maker(inner.input[1 - factor[0]]) if len(factor) == 1 else None
        if bias is None or bias.op_type != "Add" or len(graph.constant_inputs(bias)) != 1:
            continue
        linear = graph.maker(bias.input[1 - graph.constant_inputs(bias)[0]])
        gelu_reads = {inner.name, gates[0].name} == {node.name for node in graph.readers(bias.output[0])}
        whole = linear is not None and linear.op_type == "MatMul" and graph.constant_inputs(linear) == [1]
        products = _products(graph, gates[0].output[0])
        if linear is not None and whole and gelu_reads and len(graph.readers(linear.output[0])) == 1 and products:
            yield _Place(
                activation=gates[0].output[0],
                products=products,
                divided=[(linear, 1), (bias, graph.constant_inputs(bias)[0])],
                multiplied=[(inner, factor[0])],
                worthwhile=WORTH_UNFUSING,
            )
