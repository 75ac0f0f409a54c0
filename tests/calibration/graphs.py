"""An encoder of five quantizable layers, written by hand: patches, attention between them, an MLP and a projection.

It has the encoder's inputs and outputs; a window's embedding is that of one of 49 patches. No torch, nothing to trace.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save

from stprompt_edge.bundle import ENCODER_NAMES, HEADS_NAME, TEXT_NAME, Bundle
from tests.bundles import unit_rows, write_fake_bundle

WIDTH, DIM = 48, 32
LAYERS = ("conv", "out", "fc", "c_proj", "proj")
OUTLIERS = 3  # channels


def encoder(*, outliers: float = 1.0, seed: int = 0) -> onnx.ModelProto:
    """fp32, opset 18.

    Args:
        outliers: how many times larger a few channels behind attention are, and their weights smaller: nothing that
            smoothing can take away, and no change of what is computed but for attention's own weights.
        seed: of the weights.
    """
    rng = np.random.default_rng(seed)
    gain = np.ones(WIDTH, np.float32)
    gain[:OUTLIERS] = outliers
    tensors = {
        "conv.weight": weights(rng, WIDTH, 3, 32, 32, fan_in=3 * 32 * 32),
        "norm.gain": gain,
        "norm.bias": np.zeros(WIDTH, np.float32),
        "norm2.gain": np.ones(WIDTH, np.float32),
        "norm2.bias": np.full(WIDTH, 0.1, np.float32),
        "out.weight": weights(rng, WIDTH, WIDTH, fan_in=WIDTH) / gain[:, None],
        "out.bias": weights(rng, WIDTH, fan_in=100),
        "fc.weight": weights(rng, WIDTH, 2 * WIDTH, fan_in=WIDTH),
        "fc.bias": weights(rng, 2 * WIDTH, fan_in=100),
        "c_proj.weight": weights(rng, 2 * WIDTH, WIDTH, fan_in=WIDTH),
        "proj.weight": weights(rng, WIDTH, DIM, fan_in=WIDTH),
        "temperature": np.array(0.02 / outliers, np.float32),
        "slope": np.array(1.702, np.float32),
        "shape": np.array([0, WIDTH, 49]),
        "last": np.array([-1]),
        "patches": np.array([1]),
    }
    nodes = [
        node("Conv", "image", "conv.weight", out="grid", name="conv", strides=[32, 32]),
        node("Reshape", "grid", "shape", out="flat"),
        node("Transpose", "flat", out="tokens", perm=[0, 2, 1]),
        node("LayerNormalization", "tokens", "norm.gain", "norm.bias", out="normed"),
        node("Transpose", "normed", out="turned", perm=[0, 2, 1]),
        node("MatMul", "normed", "turned", out="products"),
        node("Mul", "products", "temperature", out="cooled"),
        node("Softmax", "cooled", out="attention"),
        node("MatMul", "attention", "normed", out="mixed"),
        node("MatMul", "mixed", "out.weight", out="out_plain", name="out"),
        node("Add", "out_plain", "out.bias", out="attended"),
        node("Add", "tokens", "attended", out="x"),
        node("LayerNormalization", "x", "norm2.gain", "norm2.bias", out="normed2"),
        node("MatMul", "normed2", "fc.weight", out="fc_plain", name="fc"),
        node("Add", "fc_plain", "fc.bias", out="hidden"),
        node("Mul", "hidden", "slope", out="sloped"),
        node("Sigmoid", "sloped", out="gate"),
        node("Mul", "hidden", "gate", out="gelu"),
        node("MatMul", "gelu", "c_proj.weight", out="mlp", name="c_proj"),
        node("Add", "x", "mlp", out="y"),
        node("MatMul", "y", "proj.weight", out="embedded", name="proj"),
        node("ReduceMean", "embedded", "patches", out="frame", keepdims=0),
        node("Unsqueeze", "fine", "last", out="fine_at"),
        node("GatherND", "embedded", "fine_at", out="fine_embeddings", batch_dims=1),
        node("Unsqueeze", "coarse", "last", out="coarse_at"),
        node("GatherND", "embedded", "coarse_at", out="coarse_embeddings", batch_dims=1),
    ]
    graph = helper.make_graph(
        nodes,
        "encoder",
        [
            helper.make_tensor_value_info("image", TensorProto.FLOAT, ["B", 3, 224, 224]),
            helper.make_tensor_value_info("fine", TensorProto.INT64, ["B", "K"]),
            helper.make_tensor_value_info("coarse", TensorProto.INT64, ["B", "L"]),
        ],
        [
            helper.make_tensor_value_info("frame", TensorProto.FLOAT, ["B", DIM]),
            helper.make_tensor_value_info("fine_embeddings", TensorProto.FLOAT, ["B", "K", DIM]),
            helper.make_tensor_value_info("coarse_embeddings", TensorProto.FLOAT, ["B", "L", DIM]),
        ],
        [numpy_helper.from_array(value, name) for name, value in tensors.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    return model


def node(kind: str, *inputs: str, out: str, name: str = "", **attributes: Any) -> onnx.NodeProto:
    """One output; named after it where no name is given."""
    return helper.make_node(kind, list(inputs), [out], name=name or f"node_{out}", **attributes)


def weights(rng: np.random.Generator, *shape: int, fan_in: int) -> NDArray[np.float32]:
    return (rng.standard_normal(shape) / np.sqrt(fan_in)).astype(np.float32)


def make_bundle(path: Path, model: onnx.ModelProto, **files: bytes | None) -> Bundle:
    """A zero-shot bundle of the graph alone; `files` by precision."""
    text = {
        "label_prompts": unit_rows(3, DIM),
        "normal_phrases": unit_rows(2, DIM, seed=1),
        "abnormal_phrases": unit_rows(3, DIM, seed=2),
    }
    names = {ENCODER_NAMES[precision]: content for precision, content in files.items()}
    return write_fake_bundle(
        path,
        files={
            ENCODER_NAMES["fp32"]: model.SerializeToString(), ENCODER_NAMES["cpu8"]: None, HEADS_NAME: None,
            TEXT_NAME: save(text), **names,
        },
        clip={"model": "hand-made", "embedding_width": DIM},
        method={"name": "zero-shot", "stride": 4},
        localization={"tau": 0.2},  # random embeddings say little: at CLIP's 0.01 rounding alone would decide
    )  # fmt: skip


def feeds(count: int = 3, *, seed: int = 0) -> list[dict[str, NDArray]]:
    """All windows of blurred noise."""
    rng = np.random.default_rng(seed)
    windows = {"fine": np.arange(49)[None], "coarse": np.arange(16)[None]}
    return [
        {"image": np.kron(rng.standard_normal((1, 3, 28, 28)), np.ones((8, 8))).astype(np.float32), **windows}
        for _ in range(count)
    ]


def run(model: onnx.ModelProto, inputs: list[dict[str, NDArray]]) -> NDArray[np.float64]:
    """All embeddings, [N, D], Q and DQ as they are written."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    outputs = [output for feed in inputs for output in session.run(None, feed)]
    return np.concatenate([output.reshape(-1, output.shape[-1]) for output in outputs]).astype(np.float64)
