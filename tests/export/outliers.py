"""The small encoder with outlier channels in its activations, as an fp32 graph, and its inputs."""

from __future__ import annotations

import copy
import functools

import numpy as np
import onnx
from numpy.typing import NDArray

from benchmarks.outliers import add_outliers
from stprompt_edge.assets import DEMO_CLIP
from stprompt_edge.export import exporting
from stprompt_edge.export.activations import Feed
from stprompt_edge.export.parity import read_parity_frames
from stprompt_edge.export.quantize import fold_weights
from stprompt_edge.geometry import Geometry
from stprompt_edge.model.clip import Clip
from stprompt_edge.model.encoder import PackedEncoder
from stprompt_edge.preprocess import Preprocessing, Preprocessor


@functools.cache
def outlier_graph(clip: Clip, kinds: tuple[str, ...]) -> onnx.ModelProto:
    """fp32, weights folded; see `add_outliers` for the kinds. Shared: do not change it."""
    visual = copy.deepcopy(clip.model.visual)
    add_outliers(visual, kinds)
    return fold_weights(exporting.export_encoder(PackedEncoder(visual, Geometry(image_size=224, patch_size=16)).eval()))


@functools.cache
def real_feeds(count: int = 2) -> list[Feed]:
    preprocess = Preprocessor(Preprocessing())
    windows = {"fine": np.arange(49)[None], "coarse": np.arange(16)[None]}
    frames = read_parity_frames(DEMO_CLIP, count)
    return [{"image": preprocess(frame.image_bgr).image[None], **windows} for frame in frames]


def run(model: onnx.ModelProto, feeds: list[Feed]) -> NDArray[np.float64]:
    """All embeddings, [frames * 66, D]."""
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    outputs = [output[0] for feed in feeds for output in session.run(None, dict(feed))]
    return np.concatenate([output.reshape(-1, output.shape[-1]) for output in outputs]).astype(np.float64)
