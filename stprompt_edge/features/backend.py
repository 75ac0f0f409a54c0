"""Which engine embeds the frames of an extraction. Torch is imported only where it is used."""

from __future__ import annotations

from dataclasses import dataclass

from stprompt_edge.bundle import Bundle
from stprompt_edge.errors import EnvironmentFailure, UsageError
from stprompt_edge.features.records import FeatureOrigin
from stprompt_edge.features.settings import (
    CPU_BATCH,
    CUDA_BATCH,
    TORCH_PRECISIONS,
    ExtractionSettings,
)
from stprompt_edge.imports import import_failure
from stprompt_edge.runtime.backends.base import Backend
from stprompt_edge.runtime.backends.onnx import OnnxBackend


@dataclass(frozen=True, kw_only=True)
class Engine:
    """An open backend, why it was the one, how many frames it takes at once, and what its features will say."""

    name: str  # onnx or torch
    backend: Backend
    reason: str
    batch: int
    origin: FeatureOrigin


def open_engine(bundle: Bundle, settings: ExtractionSettings, threads: int | None = None) -> Engine:
    """Open the asked backend; `auto` is torch where it has a CUDA GPU and the weights, else ONNX Runtime on the CPU.

    Raises:
        As `OnnxBackend` and `TorchBackend`.
    """
    if settings.backend == "torch":
        return _torch(bundle, settings, threads, "asked for")
    if settings.backend == "onnx":
        return _onnx(bundle, settings, threads, "asked for")
    if settings.precision not in (None, *TORCH_PRECISIONS):
        return _onnx(bundle, settings, threads, f"{settings.precision} is a graph of the bundle")
    missing = _no_cuda()
    if missing:
        return _onnx(bundle, settings, threads, missing)
    try:
        return _torch(bundle, settings, threads, "it has a CUDA GPU")
    except (UsageError, EnvironmentFailure) as exc:
        if settings.pretrained is not None:
            raise
        return _onnx(bundle, settings, threads, exc.what)


def _no_cuda() -> str | None:
    """Why torch cannot use a GPU here; None if it can."""
    try:
        import torch
    except (ImportError, OSError) as exc:  # OSError: a library of its CUDA build is missing
        return f"PyTorch cannot be imported ({exc})"
    return None if torch.cuda.is_available() else "PyTorch has no CUDA GPU here"


def _onnx(bundle: Bundle, settings: ExtractionSettings, threads: int | None, reason: str) -> Engine:
    backend = OnnxBackend(bundle, precision=settings.precision, threads=threads)
    origin = FeatureOrigin.of(bundle, settings.stride, precision=backend.precision)
    return Engine(name="onnx", backend=backend, reason=reason, batch=settings.batch or CPU_BATCH, origin=origin)


def _torch(bundle: Bundle, settings: ExtractionSettings, threads: int | None, reason: str) -> Engine:
    try:
        from stprompt_edge.export.torch_backend import TorchBackend
    except (ImportError, OSError) as exc:
        remedy = 'pip install "stprompt-edge[train]", or use --backend onnx'
        raise import_failure("PyTorch", exc, remedy=remedy) from exc
    backend = TorchBackend(
        bundle, pretrained=settings.pretrained, precision=settings.precision or "fp32", threads=threads
    )
    batch = settings.batch or (CUDA_BATCH if backend.is_cuda else CPU_BATCH)
    origin = FeatureOrigin.of(
        bundle, settings.stride, precision=backend.precision, torch_weights=backend.weights_sha256
    )
    return Engine(name="torch", backend=backend, reason=reason, batch=batch, origin=origin)
