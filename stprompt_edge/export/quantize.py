"""fp32 ONNX graph -> `cpu8`: dynamic int8 for ONNX Runtime on a CPU.

Weights of the matrix products become int8, one scale for each output channel; activations are quantized as they
come, one scale for the tensor. `cpu8` uses 7 of the 8 bits of a weight: with all 8, the AVX2 kernels of CPUs that have
no VNNI instructions saturate their 16-bit sums, and the same file would give good embeddings on one machine and poor
ones on another (measured with ViT-B/16 on AVX2: smallest cosine to fp32 0.983 with 8-bit weights, 0.9996 with 7-bit).

The nodes are those of ONNX Runtime's `quantize_dynamic`, which its optimizer fuses; that takes 10 s for ViT-B/16 where
this takes one, and the parity gate may need several tries.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from stprompt_edge.export.activations import constants, find_products

LARGEST_WEIGHT = 64  # of an int8 that uses 7 bits, as `reduce_range` in ONNX Runtime
_WEIGHT_OPS = {"Slice", "Transpose"}  # what the exporter leaves between a parameter and its product


def quantize_dynamic_int8(model: onnx.ModelProto, path: Path, keep_float: Collection[str] = ()) -> None:
    """Write the dynamic int8 graph of an fp32 one.

    Args:
        model: fp32; not changed.
        path: of the file to write.
        keep_float: names of products to leave as they are.
    """
    graph = model.graph
    known = constants(graph)
    products = {product.node: product for product in find_products(graph) if product.node not in keep_float}
    weights = {product.weight for product in products.values()}
    initializers: dict[str, NDArray] = {}
    for name in sorted(weights):
        initializers[f"{name}_quantized"], initializers[f"{name}_scale"] = quantize_weight(known[name])
        initializers[f"{name}_zero_point"] = np.zeros(known[name].shape[1], np.int8)
    nodes: list[onnx.NodeProto] = []
    quantized: set[str] = set()  # activations: two products may share one
    for node in graph.node:
        if node.name not in products:
            nodes.append(node)
            continue
        if node.input[0] not in quantized:
            nodes.append(_quantize_activation(node.input[0]))
            quantized.add(node.input[0])
        nodes += _integer_product(node)
    read = {name for node in nodes for name in node.input}
    tensors = [tensor for tensor in graph.initializer if tensor.name in read]
    tensors += [numpy_helper.from_array(value, name) for name, value in initializers.items()]
    result = helper.make_model(
        helper.make_graph(nodes, graph.name, list(graph.input), list(graph.output), tensors),
        opset_imports=list(model.opset_import), ir_version=model.ir_version, producer_name="stprompt-edge",
    )  # fmt: skip
    onnx.checker.check_model(result)
    onnx.save(result, path)


def quantize_weight(weight_WK: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Symmetric, one scale for each output channel.

    Args:
        weight_WK: [W, K] float32.

    Returns:
        [W, K] int8 in -64..64, and [K] float32 scales: their product is the weight but for rounding.
    """
    largest_K = np.abs(weight_WK).max(axis=0)
    scale_K = np.where(largest_K > 0, largest_K / LARGEST_WEIGHT, 1).astype(np.float32)
    return np.rint(weight_WK / scale_K).clip(-LARGEST_WEIGHT, LARGEST_WEIGHT).astype(np.int8), scale_K


def fold_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose sliced and transposed parameters are constants: the exporter leaves the last block's as nodes."""
    folded = onnx.ModelProto()
    folded.CopyFrom(model)
    graph = folded.graph
    known = constants(graph)
    for node in list(graph.node):
        if node.op_type in _WEIGHT_OPS and all(name in known for name in node.input):
            (value,) = ReferenceEvaluator(node).run(None, {name: known[name] for name in node.input})
            known[node.output[0]] = np.ascontiguousarray(value)
            graph.initializer.append(numpy_helper.from_array(known[node.output[0]], node.output[0]))
            graph.node.remove(node)
    read = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in read]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    return folded


def _quantize_activation(name: str) -> onnx.NodeProto:
    outputs = [f"{name}_quantized", f"{name}_scale", f"{name}_zero_point"]
    return helper.make_node("DynamicQuantizeLinear", [name], outputs, name=f"{name}_quantize")


def _integer_product(node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    activation, weight = node.input
    product, scale, as_float = (f"{node.name}_{part}" for part in ("int32", "scale", "float"))
    yield helper.make_node("Mul", [f"{activation}_scale", f"{weight}_scale"], [scale], name=scale)
    yield helper.make_node(
        "MatMulInteger",
        [f"{activation}_quantized", f"{weight}_quantized", f"{activation}_zero_point", f"{weight}_zero_point"],
        [product],
        name=product,
    )
    yield helper.make_node("Cast", [product], [as_float], name=as_float, to=TensorProto.FLOAT)
    yield helper.make_node("Mul", [as_float, scale], list(node.output), name=f"{node.name}_scaled")
