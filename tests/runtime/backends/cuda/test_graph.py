"""Recording launches, and every way in which that can fail without harm to the stream."""

from __future__ import annotations

import sys

import pytest

from stprompt_edge.errors import EnvironmentFailure
from stprompt_edge.runtime.backends.cuda.graph import CudaGraph
from tests.fakes.device import FakeMachine, install
from tests.fakes.streams import Work


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> FakeMachine:
    machine = install(monkeypatch)
    machine.driver.current = 1
    machine.driver.Stream()
    return machine


def test_what_is_recorded_runs_at_each_launch(machine: FakeMachine) -> None:
    ran: list[int] = []
    graph = CudaGraph(77, lambda: machine.driver.streams.put(77, Work(run=lambda: ran.append(1))) and None)
    assert ran == []
    graph.launch()
    graph.launch()
    assert ran == []
    machine.driver.Context.synchronize()
    assert ran == [1, 1]
    graph.close()
    graph.close()
    assert machine.cudart.alive == 0


@pytest.mark.parametrize(
    ("function", "told"),
    [
        ("cudaStreamBeginCapture", "beginning to record"),
        ("cudaStreamEndCapture", "recording"),
        ("cudaGraphInstantiate", "instantiating"),
    ],
)
def test_what_cuda_refuses(machine: FakeMachine, function: str, told: str) -> None:
    machine.cudart.failing = {function}
    with pytest.raises(EnvironmentFailure, match=f"failed while {told}: cudaErrorStreamCaptureUnsupported"):
        CudaGraph(77, lambda: None)
    assert machine.cudart.alive == 0
    assert machine.driver.streams.recorded is None


@pytest.mark.parametrize("error", [RuntimeError('Function "f" not found'), ValueError("977 is not a cudaError_t")])
@pytest.mark.parametrize("function", ["cudaStreamBeginCapture", "cudaStreamEndCapture", "cudaGraphInstantiate"])
def test_what_cuda_python_raises(machine: FakeMachine, function: str, error: Exception) -> None:
    machine.cudart.raising = {function: error}
    with pytest.raises(EnvironmentFailure, match=f"a CUDA graph failed while .*: {error}"):
        CudaGraph(77, lambda: None)
    assert machine.cudart.alive == 0


def test_a_sequence_that_fails_leaves_the_stream_usable(machine: FakeMachine) -> None:
    def wait() -> None:
        raise machine.driver.Error("operation not permitted when stream is capturing")

    with pytest.raises(machine.driver.Error, match="not permitted"):
        CudaGraph(77, wait)
    assert machine.driver.streams.recorded is None
    assert machine.cudart.alive == 0
    CudaGraph(77, lambda: None).close()


def test_a_graph_that_does_not_launch(machine: FakeMachine) -> None:
    graph = CudaGraph(77, lambda: None)
    machine.cudart.failing = {"cudaGraphLaunch"}
    with pytest.raises(EnvironmentFailure, match="failed while launching"):
        graph.launch()


def test_a_missing_package_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    with pytest.raises(EnvironmentFailure, match=r"(?s)cuda-python cannot be imported.*stprompt-edge\[tensorrt\]"):
        CudaGraph(77, lambda: None)
