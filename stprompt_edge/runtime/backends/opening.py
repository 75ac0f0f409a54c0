"""Which engine runs a bundle, and why."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass

from stprompt_edge.bundle import Bundle
from stprompt_edge.errors import EnvironmentFailure, StpromptEdgeError, UsageError, nearest
from stprompt_edge.runtime.backends.base import Backend
from stprompt_edge.runtime.backends.cuda.engines.sidecar import engine_folders
from stprompt_edge.runtime.backends.onnx import CPU, CUDA, OnnxBackend, import_onnxruntime
from stprompt_edge.runtime.backends.onnx_cuda import OnnxCudaBackend
from stprompt_edge.runtime.backends.tensorrt import TensorRTBackend

BACKENDS = ("auto", "tensorrt", "onnx", "onnx-cuda", "onnx-cpu")


@dataclass(frozen=True, kw_only=True)
class Choice:
    """An open backend, and why it was the one."""

    backend: Backend
    reason: str


def open_backend(name: str, bundle: Bundle) -> Choice:
    """Open a bundle's graphs.

    Args:
        name: `auto` for the first that starts: an engine in the bundle that `build-engine` made for this device, ONNX
            Runtime on CUDA, ONNX Runtime on the CPU. `onnx` for ONNX Runtime, on CUDA where it starts and else on the
            CPU. `tensorrt`, `onnx-cuda` and `onnx-cpu` for that alone: what is asked for by name is never replaced.
            `onnx-cuda` by name also records CUDA graphs, where ONNX Runtime can.
        bundle: checked by `load_bundle`.

    Raises:
        UsageError: unknown name.
        EnvironmentFailure: a package, the device or an engine is missing.
        CheckFailed: a graph does not load, or the engine is not of this device and bundle.
    """
    if name not in BACKENDS:
        raise UsageError(f"unknown backend '{name}'", remedy=nearest(name, BACKENDS))
    if name == "tensorrt":
        return Choice(backend=TensorRTBackend(bundle), reason="asked for")
    if name in ("onnx-cuda", "onnx-cpu"):
        named = OnnxCudaBackend(bundle, cuda_graph=True) if name == "onnx-cuda" else OnnxBackend(bundle, provider=CPU)
        return Choice(backend=named, reason="asked for")
    without = _why_not_tensorrt(bundle) if name == "auto" else ""
    if isinstance(without, Choice):
        return without
    choice = _open_onnx(bundle)
    return Choice(backend=choice.backend, reason=f"{without}; {choice.reason}" if without else choice.reason)


def _why_not_tensorrt(bundle: Bundle) -> Choice | str:
    """The engine, or why there is none; empty where nobody expects one."""
    if not any(engine_folders(bundle)):
        return "no TensorRT engine in the bundle" if importlib.util.find_spec("tensorrt") else ""
    try:
        return Choice(backend=TensorRTBackend(bundle), reason="built for this device")
    except StpromptEdgeError as exc:
        return exc.what


def _open_onnx(bundle: Bundle) -> Choice:
    if CUDA not in import_onnxruntime().get_available_providers():
        return Choice(backend=OnnxBackend(bundle, provider=CPU), reason="this ONNX Runtime has no CUDA provider")
    try:
        return Choice(backend=OnnxCudaBackend(bundle), reason="CUDA started")
    except EnvironmentFailure as exc:
        return Choice(backend=OnnxBackend(bundle, provider=CPU), reason=exc.what)
