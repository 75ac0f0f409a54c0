"""What is enqueued on the stream step after step: made piece by piece at first, then recorded and launched as one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from stprompt_edge.errors import EnvironmentFailure
from stprompt_edge.runtime.backends.cuda.engines.device import CudaSession, cuda_errors
from stprompt_edge.runtime.backends.cuda.engines.tensorrt_api import Messages
from stprompt_edge.runtime.backends.cuda.graph import CudaGraph


@dataclass
class Recording:
    """Whether launches are recorded; the first that cannot be ends it for all, and is the reason shown."""

    wanted: bool
    problem: str = ""

    def __str__(self) -> str:
        if self.problem:
            return f"plain launches ({self.problem})"
        return "CUDA graph" if self.wanted else "plain launches"


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """What all engines and streams of a backend share."""

    session: CudaSession
    messages: Messages
    recording: Recording


class Launches:
    """One sequence of launches, always with the same addresses.

    Its first run makes them one by one, since TensorRT finishes then what a new shape has left to do; after it they are
    recorded, and launched as one from the second run on.

    Args:
        runtime: shared. Its session's context must be current at every call.
        enqueue: makes the launches on the session's stream, and waits for nothing.
    """

    def __init__(self, runtime: Runtime, enqueue: Callable[[], None]) -> None:
        self._runtime, self._enqueue = runtime, enqueue
        self._graph: CudaGraph | None = None

    def run(self) -> None:
        """Enqueue, and wait for the stream.

        Raises:
            EnvironmentFailure: CUDA or TensorRT refuses.
        """
        if self._graph:
            self._graph.launch()
            self._runtime.session.stream.synchronize()
            return
        self._enqueue()
        self._runtime.session.stream.synchronize()
        self._record()

    def forget(self) -> None:
        """What `enqueue` does has changed: record again after the next run."""
        if self._graph:
            self._graph.close()
        self._graph = None

    def _record(self) -> None:
        recording, session = self._runtime.recording, self._runtime.session
        if not recording.wanted or recording.problem:
            return
        try:
            with cuda_errors(session.cuda, "recording a CUDA graph"):
                self._graph = CudaGraph(session.stream.handle, self._enqueue)
        except EnvironmentFailure as exc:
            recording.problem = exc.what
