"""The packed encoder in torch behind the interface of the edge's backends: the fast way to embed videos on a GPU.

Its weights come from where the bundle's came from, and are compared with the bundle's graph before the first video:
features of other weights would look right and train heads that never fit.

Suffixes: B frames, K fine windows, L coarse windows, D width of the embedding.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from stprompt_edge.assets import DEMO_CLIP
from stprompt_edge.bundle import Bundle
from stprompt_edge.errors import CheckFailed, EnvironmentFailure, UsageError, nearest
from stprompt_edge.model.clip import NO_WEIGHTS, Clip, load_clip
from stprompt_edge.model.encoder import PackedEncoder
from stprompt_edge.preprocess import preprocess
from stprompt_edge.runtime.backends.base import Backend, Encoded, HeadsOutput
from stprompt_edge.runtime.backends.onnx import OnnxBackend
from stprompt_edge.runtime.batcher import Batcher
from stprompt_edge.runtime.sources import open_source
from stprompt_edge.runtime.track import EncodeRequest

MIN_COSINE = 0.99  # an int8 graph stays above 0.999, half precision above 0.9999; other weights fall far below
TYPES = {"fp32": torch.float32, "fp16": torch.float16}


class TorchBackend(Backend):
    """A bundle's encoder in torch. The heads are the bundle's own graph: they cost microseconds.

    Args:
        bundle: checked by `load_bundle`.
        pretrained: a tag of open_clip or a weights file; None for what the bundle names.
        precision: fp32, or fp16 for weights and activations; nothing is cast automatically.
        device: torch's name of it; None for the GPU if there is one, else the CPU.
        threads: on a CPU; None for all cores. Of the whole process.

    Raises:
        UsageError: unknown precision, or weights that do not fit the model.
        EnvironmentFailure: open_clip or ONNX Runtime is missing, or the weights cannot be fetched.
        CheckFailed: the weights are not those of the bundle.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        pretrained: str | None = None,
        precision: str = "fp32",
        device: str | None = None,
        threads: int | None = None,
    ) -> None:
        if precision not in TYPES:
            raise UsageError(f"unknown precision '{precision}' for torch", remedy=nearest(precision, TYPES))
        if threads is not None:
            torch.set_num_threads(threads)
        self._bundle = bundle
        self._device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self._type = TYPES[precision]
        self.precision = precision
        clip = load_bundle_clip(bundle, pretrained)
        self.weights_sha256 = clip.weights_sha256  # before the next lines round and move them
        encoder = PackedEncoder(clip.model.visual, bundle.geometry).eval()
        with gpu_memory("the model", "--processes 1, --precision fp16, or --backend onnx"):
            self._encoder: Any = encoder.to(self._device, self._type)
        self._graphs: Backend | None = None
        self.is_cuda = self._device.type == "cuda"
        name = torch.cuda.get_device_name(self._device) if self.is_cuda else "CPU"
        self.description = f"PyTorch {torch.__version__.partition('+')[0]} {name}, {precision}"
        with OnnxBackend(bundle) as graphs:
            check_same_encoder(bundle, self, graphs)

    @torch.inference_mode()
    def encode(self, image: NDArray[np.float32], fine: NDArray[np.int64], coarse: NDArray[np.int64]) -> Encoded:
        """See `Backend.encode`.

        Raises:
            EnvironmentFailure: the GPU's memory is too small for the batch.
        """
        device = self._device
        with (
            gpu_memory(f"{len(image)} frames at once", f"--batch {max(len(image) // 2, 1)}, or fewer --processes"),
            torch.autocast(device.type, enabled=False),
            torch.backends.cudnn.flags(enabled=True, allow_tf32=False),  # else fp32 patches would be embedded in TF32
        ):
            found = self._encoder(
                torch.from_numpy(image).to(device, self._type),
                torch.from_numpy(fine).to(device),
                torch.from_numpy(coarse).to(device),
            )
        frame, fine_embeddings, coarse_embeddings = (tensor.float().cpu().numpy() for tensor in found)
        return Encoded(frame=frame, fine=fine_embeddings, coarse=coarse_embeddings)

    def heads(self, **inputs: NDArray[np.float32]) -> HeadsOutput:
        """See `Backend.heads`."""
        if self._graphs is None:
            self._graphs = OnnxBackend(self._bundle)
        return self._graphs.heads(**inputs)

    def close(self) -> None:
        """Free the model. Harmless when it is free already."""
        self._encoder = None
        if self.is_cuda:
            torch.cuda.empty_cache()  # for the processes that follow
        if self._graphs is not None:
            self._graphs.close()


@contextmanager
def gpu_memory(what: str, remedy: str) -> Iterator[None]:
    """Raises EnvironmentFailure when the GPU has no room for `what`."""
    try:
        yield
    except torch.OutOfMemoryError as exc:
        raise EnvironmentFailure(f"the GPU has not enough memory for {what}", remedy=remedy) from exc


def load_bundle_clip(bundle: Bundle, pretrained: str | None = None) -> Clip:
    """The CLIP that the bundle was exported from, fp32 on the CPU.

    Args:
        bundle: its clip section names model, weights and seed.
        pretrained: weights instead of the named ones, which may be a file's name without its folder.

    Raises:
        UsageError, EnvironmentFailure: as `load_clip`, with what to pass instead.
    """
    section = bundle.manifest.clip
    try:
        return load_clip(section.model, pretrained or section.pretrained, section.seed)
    except (UsageError, EnvironmentFailure) as exc:
        if pretrained is not None or section.pretrained == NO_WEIGHTS:
            raise
        raise type(exc)(
            f"the weights that {bundle.path} was made with are not here: {exc.what}",
            remedy="pass their file: --pretrained PATH; or --backend onnx, whose graph holds them",
        ) from exc


def check_same_encoder(bundle: Bundle, backend: Backend, graphs: Backend) -> None:
    """Compare two backends on one real frame with all its fine windows.

    Args:
        bundle: preprocessing and geometry.
        backend: to check.
        graphs: the bundle's own.

    Raises:
        CheckFailed: an embedding points elsewhere.
    """
    with open_source(str(DEMO_CLIP)) as source:
        frame = next(source.frames(lambda index: True))
    request = EncodeRequest.of_all(preprocess(frame.image_bgr, bundle.preprocessing).image, bundle.geometry)
    rows = []
    for each in (backend, graphs):
        (found,) = Batcher(each).encode([request])
        rows.append(np.concatenate([found.frame_D[None], found.fine_KD]))  # [1+N, D]
    ours, theirs = (row / np.linalg.norm(row, axis=1, keepdims=True) for row in rows)
    cosine = float((ours * theirs).sum(axis=1).min())
    if not cosine >= MIN_COSINE:  # also refuses a NaN
        raise CheckFailed(
            f"these CLIP weights are not those of {bundle.path}: smallest cosine {cosine:.4f} to its graph, "
            f"expected {MIN_COSINE}",
            remedy="pass the weights that it was exported with: --pretrained PATH; or use --backend onnx",
        )
