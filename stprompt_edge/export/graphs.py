"""torch -> fp32 ONNX: the wrapper that owns the forward pass to trace; names and shapes are those of `bundle.graphs`.

Suffixes: B batch, K fine windows, L coarse windows, N rows, D width of the embedding.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from typing import Any

import onnx
import torch
from torch import Tensor, nn
from torch.export import Dim

from stprompt_edge.bundle import ANY_SIZE, ENCODER, HEADS, RANKING_HEADS, Graph
from stprompt_edge.geometry import Geometry
from stprompt_edge.model.encoder import PackedEncoder
from stprompt_edge.model.mil_ranking import MilRanking
from stprompt_edge.model.stprompt import Heads, Logits, STPrompt

OPSET = 18  # first one whose reductions and splits TensorRT 10.3 and ONNX Runtime 1.18 both read without conversion


class HeadsGraph(nn.Module):
    """`Heads` with the label prompts as constants.

    Args:
        heads: trained.
        label_prompts: [1+C, D].
    """

    label_prompts: Tensor

    def __init__(self, heads: Heads, label_prompts: Tensor) -> None:
        super().__init__()
        self.heads = heads
        self.register_buffer("label_prompts", label_prompts)

    def forward(self, context: Tensor, clip: Tensor) -> Logits:
        """Rows of A (x_clip + x_as) [N, D] and x_clip [N, D] -> logits [N] and similarity [N, 1+C]."""
        return self.heads(context, clip, self.label_prompts)


def export_encoder(encoder: PackedEncoder) -> onnx.ModelProto:
    """The `encoder` graph: B, K and L are dynamic, K = 0 and L = 0 included."""
    size = encoder.geometry.image_size
    fine, coarse = window_examples(encoder.geometry)
    return _export(encoder, (torch.zeros(2, 3, size, size), fine, coarse), ENCODER)


def export_heads(trained: STPrompt | MilRanking, label_prompts: Tensor, geometry: Geometry) -> onnx.ModelProto:
    """The `heads` graph of either method: N is dynamic."""
    width = label_prompts.shape[1]
    if isinstance(trained, MilRanking):
        return _export(trained.heads, (torch.zeros(3, geometry.fine_count, width),), RANKING_HEADS)
    return _export(HeadsGraph(trained.heads, label_prompts), (torch.zeros(3, width), torch.zeros(3, width)), HEADS)


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
