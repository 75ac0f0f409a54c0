"""What flows into the matrix products of a graph: channel by channel, measured on real frames.

Suffixes: N tokens (any leading axes), W input channels, K output channels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from stprompt_edge.runtime.backends.onnx import CPU, import_onnxruntime, session_options

Feed = Mapping[str, NDArray]  # inputs of the graph by name


@dataclass(frozen=True, kw_only=True)
class Product:
    """A MatMul whose second factor is constant."""

    node: str
    activation: str  # name of the first factor, [..., W]
    weight: str  # name of the initializer, [W, K]


@dataclass(frozen=True, kw_only=True)
class Rounding:
    """The 8-bit grids of a product: one of 256 values for the activation, one for each output channel of the weights.

    Args:
        largest_weight: the weights' grid reaches from minus this to this.
        symmetric: the activation's grid lies around 0, as TensorRT wants it; else it spans low to high.
    """

    largest_weight: int
    symmetric: bool

    def activation_step(self, activation: Activation) -> float:
        """Distance of two values of the activation's grid."""
        if self.symmetric:
            return float(activation.reach_W.max()) / 127
        return float(max(activation.high_W.max(), 0.0) - min(activation.low_W.min(), 0.0)) / 255


CPU8_ROUNDING = Rounding(largest_weight=64, symmetric=False)  # what `quantize_dynamic_int8` makes


@dataclass(frozen=True, kw_only=True)
class Activation:
    """One tensor over all tokens of all feeds: float64, [W] each."""

    low_W: NDArray[np.float64]
    high_W: NDArray[np.float64]
    power_W: NDArray[np.float64]  # mean of the squares

    @property
    def reach_W(self) -> NDArray[np.float64]:
        """Largest absolute value of each channel."""
        return np.maximum(np.abs(self.low_W), np.abs(self.high_W))

    def divided_by(self, scale_W: NDArray) -> Activation:
        """The figures after dividing each channel by a positive number."""
        return Activation(
            low_W=self.low_W / scale_W, high_W=self.high_W / scale_W, power_W=self.power_W / np.square(scale_W)
        )


def find_products(graph: onnx.GraphProto) -> list[Product]:
    """The products with constant [W, K] weights, in the graph's order."""
    matrices = {tensor.name for tensor in graph.initializer if len(tensor.dims) == 2}
    return [
        Product(node=node.name, activation=node.input[0], weight=node.input[1])
        for node in graph.node
        if node.op_type == "MatMul" and node.input[1] in matrices and node.input[0] not in matrices
    ]


def watch_tensors(model: onnx.ModelProto, names: Sequence[str], feeds: Iterable[Feed]) -> Iterator[list[NDArray]]:
    """Run a float graph and look into it.

    Args:
        model: fp32; not changed.
        names: of tensors between its nodes, or outputs.
        feeds: all inputs of the graph.

    Yields:
        The tensors for each feed.
    """
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    own = {output.name for output in model.graph.output}
    watched.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in own)
    content = watched.SerializeToString()
    session = import_onnxruntime().InferenceSession(content, session_options(None), providers=[CPU])
    del watched, content
    for feed in feeds:
        yield session.run(names, dict(feed))


def measure_activations(model: onnx.ModelProto, feeds: Iterable[Feed]) -> dict[str, Activation]:
    """Run a float graph and watch the inputs of its products.

    Args:
        model: fp32; not changed.
        feeds: at least one; all inputs of the graph.

    Returns:
        By tensor name, over all feeds.
    """
    names = sorted({product.activation for product in find_products(model.graph)})
    totals: dict[str, list[Activation]] = {name: [] for name in names}
    for tensors in watch_tensors(model, names, feeds):
        for name, values in zip(names, tensors, strict=True):
            totals[name].append(_describe(values.reshape(-1, values.shape[-1])))
    return {name: _merge(parts) for name, parts in totals.items()}


def noise_to_signal(activation: Activation, weight_WK: NDArray, rounding: Rounding = CPU8_ROUNDING) -> float:
    """How much an 8-bit product would err: power of the rounding errors in its output over the output's own power.

    Rounding to a grid of step d adds noise of power d^2 / 12 (Widrow & Kollar, Quantization Noise, 2008). Channels are
    taken as uncorrelated.

    Args:
        activation: [W] figures of the product's input.
        weight_WK: [W, K].
        rounding: the grids.

    Returns:
        0 or more; infinite for a product that gives only zeros.
    """
    squares_W = np.square(weight_WK, dtype=np.float64).sum(axis=1)
    weight_step_K = np.abs(weight_WK).max(axis=0).astype(np.float64) / rounding.largest_weight
    activation_noise = rounding.activation_step(activation) ** 2 * squares_W.sum()
    noise = activation_noise + np.square(weight_step_K).sum() * activation.power_W.sum()
    signal = float(activation.power_W @ squares_W)
    return float(noise / 12 / signal) if signal else float("inf")


def worst_first(model: onnx.ModelProto, activations: Mapping[str, Activation]) -> list[str]:
    """Names of the products, by falling `noise_to_signal`."""
    known = constants(model.graph)
    noise = {
        product.node: noise_to_signal(activations[product.activation], known[product.weight])
        for product in find_products(model.graph)
    }
    return sorted(noise, key=noise.__getitem__, reverse=True)


def constants(graph: onnx.GraphProto) -> dict[str, NDArray]:
    """All initializers by name."""
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}


def _describe(values_NW: NDArray[np.float32]) -> Activation:
    return Activation(
        low_W=values_NW.min(axis=0).astype(np.float64),
        high_W=values_NW.max(axis=0).astype(np.float64),
        power_W=np.einsum("nw,nw->w", values_NW, values_NW).astype(np.float64) / len(values_NW),
    )


def _merge(parts: list[Activation]) -> Activation:
    return Activation(
        low_W=np.min([part.low_W for part in parts], axis=0),
        high_W=np.max([part.high_W for part in parts], axis=0),
        power_W=np.mean([part.power_W for part in parts], axis=0),
    )
