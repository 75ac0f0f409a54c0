"""A sequence of launches as one CUDA graph: recorded once, launched with one call.

PyCUDA has no graphs, so this is the CUDA runtime through cuda-python; both use the device's primary context. What is
recorded must lie on one stream, between buffers that keep their addresses, with pinned host memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from stprompt_edge.errors import EnvironmentFailure
from stprompt_edge.imports import import_failure

_REMEDY = "nothing: launches are made one by one, which costs a fraction of a millisecond each step"


class CudaGraph:
    """An executable graph.

    Args:
        stream: handle of the stream that `enqueue` works on; idle.
        enqueue: makes the launches. It must have run for real before: TensorRT finishes what a new shape has left to do
            at the first enqueue, and that cannot be recorded.

    Raises:
        EnvironmentFailure: cuda-python is missing, or the sequence cannot be recorded; the stream stays usable.
    """

    def __init__(self, stream: int, enqueue: Callable[[], None]) -> None:
        cudart = import_cuda_runtime()
        # ThreadLocal: what other threads do meanwhile (decoding, another camera) does not spoil the recording
        mode = cudart.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        _call("beginning to record", lambda: cudart.cudaStreamBeginCapture(stream, mode))
        try:
            enqueue()
        except BaseException:
            _, graph = cudart.cudaStreamEndCapture(stream)  # else the stream would stay in capture mode
            if graph is not None:
                cudart.cudaGraphDestroy(graph)
            raise
        graph = _call("recording", lambda: cudart.cudaStreamEndCapture(stream))
        try:
            self._executable: Any = _call("instantiating", lambda: cudart.cudaGraphInstantiate(graph, 0))
        finally:
            cudart.cudaGraphDestroy(graph)
        self._stream = stream

    def launch(self) -> None:
        """Put the whole sequence on the stream.

        Raises:
            EnvironmentFailure: CUDA refused.
        """
        cudart = import_cuda_runtime()
        _call("launching", lambda: cudart.cudaGraphLaunch(self._executable, self._stream))

    def close(self) -> None:
        """Free it; may be called twice."""
        executable, self._executable = self._executable, None
        if executable is not None:
            import_cuda_runtime().cudaGraphExecDestroy(executable)


def import_cuda_runtime() -> Any:
    """`cuda.bindings.runtime`, or one line that says how to get it.

    Raises:
        EnvironmentFailure: it is missing.
    """
    try:
        from cuda.bindings import runtime
    except (ImportError, OSError, RuntimeError) as exc:
        raise import_failure("cuda-python", exc, remedy='pip install "stprompt-edge[tensorrt]"') from exc
    return runtime


def _call(doing: str, function: Callable[[], tuple[Any, ...]]) -> Any:
    """What a call gave, without its status.

    Raises:
        EnvironmentFailure: the status is not success, or cuda-python does not get as far as a status: it raises
            RuntimeError where the driver lacks the function and ValueError for a status that it does not know.
    """
    try:
        status, *values = function()
        said = "" if int(status) == 0 else status.name
    except (RuntimeError, ValueError) as exc:
        said = str(exc).splitlines()[0] if str(exc) else repr(exc)
    if said:
        raise EnvironmentFailure(f"a CUDA graph failed while {doing}: {said}", remedy=_REMEDY)
    return values[0] if values else None
