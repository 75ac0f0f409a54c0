"""`cuda.bindings.runtime` without CUDA: a graph is the list of what was enqueued while its stream was captured.

Launching it queues all of it on a stream, as one piece of work: see `streams`.

Its names and arguments are compared with NVIDIA's bindings in tests/vendor_api.
"""

from __future__ import annotations

import enum
from types import ModuleType
from typing import Any

from tests.fakes.pycuda_driver import FakeDriver
from tests.fakes.streams import Work


class cudaError_t(enum.IntEnum):
    cudaSuccess = 0
    cudaErrorStreamCaptureUnsupported = 900


class cudaStreamCaptureMode(enum.IntEnum):
    cudaStreamCaptureModeGlobal = 0
    cudaStreamCaptureModeThreadLocal = 1


class FakeCudart(ModuleType):
    """The module; `failing` names functions that give an error."""

    def __init__(self, driver: FakeDriver) -> None:
        super().__init__("cuda.bindings.runtime")
        self.driver = driver
        self.failing: set[str] = set()
        self.raising: dict[str, Exception] = {}  # what cuda-python raises where it has no status to give
        self.alive = 0  # graphs, recorded or executable
        self.launches = 0
        self.cudaStreamCaptureMode = cudaStreamCaptureMode

    def _status(self, name: str) -> cudaError_t:
        if name in self.raising:
            raise self.raising[name]
        failed = name in self.failing
        return cudaError_t.cudaErrorStreamCaptureUnsupported if failed else cudaError_t.cudaSuccess

    def cudaStreamBeginCapture(self, stream: int, mode: Any) -> tuple[Any]:
        status = self._status("cudaStreamBeginCapture")
        if not status:
            assert self.driver.streams.recorded is None
            self.driver.streams.recording, self.driver.streams.recorded = stream, []
        return (status,)

    def cudaStreamEndCapture(self, stream: int) -> tuple[Any, Any]:
        graph, self.driver.streams.recorded = self.driver.streams.recorded, None
        status = self._status("cudaStreamEndCapture")
        self.alive += not status
        return status, None if status else graph

    def cudaGraphInstantiate(self, graph: Any, flags: int) -> tuple[Any, Any]:
        status = self._status("cudaGraphInstantiate")
        self.alive += not status
        return status, None if status else list(graph)

    def cudaGraphLaunch(self, graphExec: Any, stream: int) -> tuple[Any]:
        status = self._status("cudaGraphLaunch")
        if not status:
            self.driver.need_context()
            self.launches += 1
            self.driver.streams.put(stream, joined(graphExec))
        return (status,)

    def cudaGraphDestroy(self, graph: Any) -> tuple[Any]:
        self.alive -= 1
        return (self._status(""),)

    def cudaGraphExecDestroy(self, graphExec: Any) -> tuple[Any]:
        self.alive -= 1
        return (self._status(""),)


def joined(graph: list[Work]) -> Work:
    """All nodes of a graph as one."""

    def run() -> None:
        for work in graph:
            work.run()

    uses = frozenset().union(*(work.uses for work in graph))
    return Work(run=run, uses=uses, writes=tuple(array for work in graph for array in work.writes))
