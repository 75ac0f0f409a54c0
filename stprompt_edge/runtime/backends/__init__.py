"""One file per engine; `open_backend` picks."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass

from stprompt_edge.bundle import Bundle
from stprompt_edge.errors import EnvironmentFailure, StpromptEdgeError, UsageError, nearest
from stprompt_edge.runtime.backends.base import Backend, FrameStream
from stprompt_edge.runtime.backends.onnx import CPU, CUDA, OnnxBackend, import_onnxruntime
from stprompt_edge.runtime.backends.onnx_cuda import OnnxCudaBackend

__all__ = ["BACKENDS", "Choice", "open_backend", "open_frame_stream"]

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
        return Choice(backend=_open_tensorrt(bundle), reason="asked for")
    if name in ("onnx-cuda", "onnx-cpu"):
        named = OnnxCudaBackend(bundle, cuda_graph=True) if name == "onnx-cuda" else OnnxBackend(bundle, provider=CPU)
        return Choice(backend=named, reason="asked for")
    without = _why_not_tensorrt(bundle) if name == "auto" else ""
    if isinstance(without, Choice):
        return without
    choice = _open_onnx(bundle)
    return Choice(backend=choice.backend, reason=f"{without}; {choice.reason}" if without else choice.reason)


def open_frame_stream(bundle: Bundle, backend: Backend, *, lookahead: int) -> FrameStream | None:
    """The device's own watch step for one camera; None where frames are preprocessed on the CPU.

    That is: the backend has none, the method compares embeddings instead of pixels or looks at no windows, or
    `build-engine` found that this device's results are not those of the CPU. For stprompt without lookahead the step
    goes on to the heads' outputs, else it ends with embeddings.

    Args:
        bundle: the backend's.
        backend: open.
        lookahead: later frames that the adapter uses.

    Raises:
        EnvironmentFailure: the device refuses.
    """
    sidecar = getattr(backend, "sidecar", None)
    method = bundle.manifest.method
    if sidecar is None or not sidecar.device_frames or method.motion != "pixel" or not method.windows:
        return None
    judge = method.name == "stprompt" and lookahead == 0
    return backend.open_stream(judge=judge)  # type: ignore[attr-defined]  # only a backend with a sidecar has it


def _why_not_tensorrt(bundle: Bundle) -> Choice | str:
    """The engine, or why there is none; empty where nobody expects one."""
    from stprompt_edge.runtime.backends.cuda.engines.sidecar import engine_folders

    if not any(engine_folders(bundle)):
        return "no TensorRT engine in the bundle" if importlib.util.find_spec("tensorrt") else ""
    try:
        return Choice(backend=_open_tensorrt(bundle), reason="built for this device")
    except StpromptEdgeError as exc:
        return exc.what


def _open_tensorrt(bundle: Bundle) -> Backend:
    from stprompt_edge.runtime.backends.tensorrt import TensorRTBackend  # imports this package

    return TensorRTBackend(bundle)


def _open_onnx(bundle: Bundle) -> Choice:
    if CUDA not in import_onnxruntime().get_available_providers():
        return Choice(backend=OnnxBackend(bundle, provider=CPU), reason="this ONNX Runtime has no CUDA provider")
    try:
        return Choice(backend=OnnxCudaBackend(bundle), reason="CUDA started")
    except EnvironmentFailure as exc:
        return Choice(backend=OnnxBackend(bundle, provider=CPU), reason=exc.what)
