"""One file per engine; `open_backend` picks."""

from __future__ import annotations

from dataclasses import dataclass

from stprompt_edge.bundle import Bundle
from stprompt_edge.errors import EnvironmentFailure, UsageError, nearest
from stprompt_edge.runtime.backends.base import Backend
from stprompt_edge.runtime.backends.onnx import CPU, CUDA, OnnxBackend, import_onnxruntime

__all__ = ["BACKENDS", "Choice", "open_backend"]

BACKENDS = ("auto", "onnx")


@dataclass(frozen=True, kw_only=True)
class Choice:
    """An open backend, and why it was the one."""

    backend: Backend
    reason: str


def open_backend(name: str, bundle: Bundle) -> Choice:
    """Open a bundle's graphs.

    Args:
        name: `onnx` for ONNX Runtime, on CUDA where it starts and else on the CPU; `auto` for the fastest backend.
        bundle: checked by `load_bundle`.

    Raises:
        UsageError: unknown name.
        EnvironmentFailure: the backend's package is missing.
        CheckFailed: a graph does not load.
    """
    if name not in BACKENDS:
        raise UsageError(f"unknown backend '{name}'", remedy=nearest(name, BACKENDS))
    if CUDA not in import_onnxruntime().get_available_providers():
        return Choice(backend=OnnxBackend(bundle, provider=CPU), reason="this ONNX Runtime has no CUDA provider")
    try:
        return Choice(backend=OnnxBackend(bundle, provider=CUDA), reason="CUDA started")
    except EnvironmentFailure as exc:
        return Choice(backend=OnnxBackend(bundle, provider=CPU), reason=exc.what)
