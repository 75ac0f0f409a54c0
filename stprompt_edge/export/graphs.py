"""torch -> fp32 ONNX; names and shapes are those of `bundle.graphs`.

Letters: B batch, K fine windows, L coarse windows, N rows.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Mapping
from typing import Any

import onnx
import torch
from torch import Tensor, nn
from torch.export import Dim

from stprompt_edge.bundle import ANY_SIZE, ENCODER, Graph
from stprompt_edge.geometry import Geometry
from stprompt_edge.model.encoder import PackedEncoder

OPSET = 18  # first one whose reductions and splits TensorRT 10.3 and ONNX Runtime 1.18 both read without conversion


def export_encoder(encoder: PackedEncoder) -> onnx.ModelProto:
    """The `encoder` graph: B, K and L are dynamic, K = 0 and L = 0 included."""
    size = encoder.geometry.image_size
    fine, coarse = window_examples(encoder.geometry)
    return _export(encoder, (torch.zeros(2, 3, size, size), fine, coarse), ENCODER)


def export_heads(heads: nn.Module, graph: Graph, sizes: Mapping[str, int]) -> onnx.ModelProto:
    """The `heads` graph of a method, with `sizes` for the axes that have a name: N is dynamic."""
    examples = graph.input_shapes({**sizes, "N": 3}).values()
    return _export(heads, tuple(map(torch.zeros, examples)), graph)


def window_examples(geometry: Geometry) -> tuple[Tensor, Tensor]:
    """Window indices to trace with, two frames with different windows: fine [2, 5] and coarse [2, 3]."""
    fine = torch.stack([torch.arange(5), torch.arange(5) + 7]) % geometry.fine_count
    coarse = torch.stack([torch.arange(3), torch.arange(3) + 4]) % geometry.coarse_count
    return fine, coarse


def _export(module: nn.Module, examples: tuple[Tensor, ...], graph: Graph) -> onnx.ModelProto:
    dims = {axis: Dim(axis) for axis in ANY_SIZE}
    shapes = {
        name: {place: dims[axis] for place, axis in enumerate(axes) if isinstance(axis, str) and axis in dims}
        for name, axes in graph.inputs.items()
    }
    with _quiet_exporter(), torch.no_grad():
        program: Any = torch.onnx.export(
            module.eval(),
            examples,
            dynamo=True,
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
            dynamic_shapes=shapes,
            opset_version=OPSET,
            external_data=False,
            verbose=False,
        )
    model = program.model_proto
    for node in model.graph.node:  # traces of our own source files would end up in every bundle
        del node.metadata_props[:]
        node.doc_string = ""
    onnx.checker.check_model(model)
    return model


@contextlib.contextmanager
def _quiet_exporter() -> Any:
    """The exporter prints its steps and warns of axis names that two inputs share, as ours do on purpose."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
