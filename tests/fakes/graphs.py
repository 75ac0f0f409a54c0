"""Graphs with the inputs and outputs of a bundle's, and next to nothing in between."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def tiny_encoder(width: int, *, size: int = 224, fine: int = 49, coarse: int = 16, seed: int = 0) -> bytes:
    """A frame's embedding is a projection of its mean colour; a window's is a row of a table plus the frame's."""
    rng = np.random.default_rng(seed)
    tensors = {
        "projection": rng.normal(size=(3, width)).astype(np.float32),
        "fine_table": rng.normal(size=(fine, width)).astype(np.float32),
        "coarse_table": rng.normal(size=(coarse, width)).astype(np.float32),
        "axes": np.array([2, 3], np.int64),
        "one": np.array([1], np.int64),
    }
    nodes = [
        helper.make_node("ReduceMean", ["image", "axes"], ["colour"], keepdims=0),
        helper.make_node("MatMul", ["colour", "projection"], ["frame"]),
        helper.make_node("Unsqueeze", ["frame", "one"], ["rows"]),
    ]
    for windows in ("fine", "coarse"):
        nodes.append(helper.make_node("Gather", [f"{windows}_table", windows], [f"{windows}_rows"]))
        nodes.append(helper.make_node("Add", [f"{windows}_rows", "rows"], [f"{windows}_embeddings"]))
    return _model(
        nodes,
        tensors,
        {
            "image": (TensorProto.FLOAT, ["B", 3, size, size]),
            "fine": (TensorProto.INT64, ["B", "K"]),
            "coarse": (TensorProto.INT64, ["B", "L"]),
        },
        {
            "frame": ["B", width],
            "fine_embeddings": ["B", "K", width],
            "coarse_embeddings": ["B", "L", width],
        },
    )


def tiny_heads(width: int, classes: int, *, seed: int = 1) -> bytes:
    """The logit is the mean of the context; similarity is a projection of context plus clip."""
    projection = np.random.default_rng(seed).normal(size=(width, classes)).astype(np.float32) / width
    nodes = [
        helper.make_node("ReduceMean", ["context", "last"], ["anomaly_logit"], keepdims=0),
        helper.make_node("Add", ["context", "clip"], ["sum"]),
        helper.make_node("MatMul", ["sum", "projection"], ["similarity"]),
    ]
    return _model(
        nodes,
        {"projection": projection, "last": np.array([1], np.int64)},
        {name: (TensorProto.FLOAT, ["N", width]) for name in ("context", "clip")},
        {"anomaly_logit": ["N"], "similarity": ["N", classes]},
    )


def _model(nodes: list[onnx.NodeProto], tensors: dict, inputs: dict, outputs: dict) -> bytes:
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(value, name) for name, value in tensors.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()
