"""What is asked of TensorRT's builder, and what becomes of its refusals."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import helper

from stprompt_edge.errors import CheckFailed, EnvironmentFailure
from stprompt_edge.export.engine import network
from stprompt_edge.export.engine.network import PlanSettings, build_plan
from stprompt_edge.runtime.backends.cuda.engines import tensorrt_api
from stprompt_edge.runtime.backends.cuda.engines.profiles import BatchSizes, encoder_profiles
from tests.bundles import write_fake_bundle
from tests.fakes import tensorrt_module
from tests.fakes.device import FakeMachine, install
from tests.fakes.graphs import tiny_encoder


@pytest.fixture(params=["10.3.0", "11.4.0.106"])
def machine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> FakeMachine:
    return install(monkeypatch, request.param)


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    path = tmp_path / "encoder.fp16.onnx"
    path.write_bytes(tiny_encoder(8))
    return path


def build(graph: Path, **changes: Any) -> Any:
    profiles = encoder_profiles(write_fake_bundle(graph.parent / "b"), BatchSizes(1, 2, 4))
    settings = {"workspace_gib": 0.5, "stop": threading.Event(), **changes}
    return build_plan(graph, profiles, PlanSettings(**settings), lambda what, done: None)


def config_of(machine: FakeMachine) -> Any:
    return next(what for name, what in machine.trt.calls if name == "build")


def test_what_the_builder_is_told(machine: FakeMachine, graph: Path) -> None:
    plan = build(graph)
    config = config_of(machine)
    assert config.pools == {machine.trt.MemoryPoolType.WORKSPACE: 1 << 29}
    assert config.cleared == []
    watch, locate = config.profiles
    assert watch["fine"] == [(1, 12), (2, 12), (4, 12)]
    assert locate["coarse"] == [(1, 0), (2, 16), (4, 16)]
    assert plan.engine.startswith(b"PLAN")
    assert plan.timing_cache == b"+"


def test_fp32_is_exact_if_asked_for(machine: FakeMachine, graph: Path) -> None:
    build(graph, exact_fp32=True)
    assert config_of(machine).cleared == [machine.trt.BuilderFlag.TF32]


@pytest.mark.parametrize(("given", "kept"), [(b"", b"+"), (b"earlier", b"earlier+"), (b"other device's timings", b"+")])
def test_a_timing_cache_goes_on_unless_it_is_of_another_device(
    machine: FakeMachine, graph: Path, given: bytes, kept: bytes
) -> None:
    assert build(graph, timing_cache=given).timing_cache == kept


def test_a_refused_timing_cache_is_not_told_as_the_reason_of_a_later_failure(
    machine: FakeMachine, graph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[network.Messages] = []
    take = tensorrt_module.FakeConfig.set_timing_cache

    def collect() -> network.Messages:
        held.append(tensorrt_api.Messages())
        return held[-1]

    def take_and_log(self: Any, cache: Any, ignore_mismatch: bool) -> bool:
        if not (taken := take(self, cache, ignore_mismatch)):
            held[-1].errors.append("Error Code 1: the timing cache is of another device")
        return taken

    monkeypatch.setattr(network, "Messages", collect)
    monkeypatch.setattr(tensorrt_module.FakeConfig, "set_timing_cache", take_and_log)
    machine.trt.build_error = "Error Code 10: strange"
    with pytest.raises(CheckFailed, match="Error Code 10: strange"):
        build(graph, timing_cache=b"other device's timings")


def test_no_timing_cache_at_all_is_a_failure(machine: FakeMachine, graph: Path) -> None:
    machine.trt.failing = {"set_timing_cache"}
    with pytest.raises(CheckFailed, match="failed while attaching a timing cache"):
        build(graph)
    machine.trt.failing = {"get_timing_cache"}
    assert build(graph).timing_cache == b""


def test_a_graph_with_an_unsupported_node(machine: FakeMachine, tmp_path: Path) -> None:
    path = tmp_path / "encoder.onnx"
    model = onnx.load_from_string(tiny_encoder(8))
    model.graph.node.append(helper.make_node("NonMaxSuppression", ["image", "image"], ["boxes"], name="/nms"))
    path.write_bytes(model.SerializeToString())
    with pytest.raises(CheckFailed, match=r"cannot read encoder\.onnx: node 7, NonMaxSuppression '/nms': Assertion"):
        build(path)


def test_a_file_that_is_no_graph(machine: FakeMachine, tmp_path: Path) -> None:
    path = tmp_path / "encoder.onnx"
    path.write_bytes(b"not a graph")
    with pytest.raises(CheckFailed, match=r"(?s)cannot read encoder\.onnx: the model: Failed to parse.*damaged"):
        build(path)


@pytest.mark.parametrize(
    ("log", "told"),
    [
        ("CUDA initialization failure with error: 35", "the NVIDIA driver is too old"),
        ("", "CUDA cannot be initialised: CUDA initialization failure: pybind11::init"),
    ],
)
def test_a_machine_without_a_usable_gpu(machine: FakeMachine, graph: Path, log: str, told: str) -> None:
    machine.trt.started = log
    if not log:
        machine.trt.Builder.__new__ = staticmethod(refuse_silently)
    with pytest.raises(EnvironmentFailure, match=told):
        build(graph)


def refuse_silently(cls: type, logger: object) -> None:
    raise TypeError("pybind11::init(): factory function returned nullptr")


@pytest.mark.parametrize(
    ("log", "kind", "told"),
    [
        ("Error Code 2: OutOfMemory", EnvironmentFailure, "GPU memory ran out while building"),
        ("Target GPU SM 61 is not supported", EnvironmentFailure, "does not support the GPU"),
        ("Error Code 10: strange", CheckFailed, r"failed while building encoder\.fp16\.onnx: Error Code 10"),
    ],
)
def test_a_build_that_fails(machine: FakeMachine, graph: Path, log: str, kind: Any, told: str) -> None:
    machine.trt.build_error = log
    with pytest.raises(kind, match=told):
        build(graph)


@pytest.mark.parametrize(
    ("method", "told"),
    [("create_network", "making a network"), ("add_optimization_profile", "adding the profile watch")],
)
def test_every_result_is_looked_at(machine: FakeMachine, graph: Path, method: str, told: str) -> None:
    machine.trt.failing = {method}
    with pytest.raises(EnvironmentFailure, match=f"TensorRT failed while {told}"):
        build(graph)


def test_it_can_be_stopped(machine: FakeMachine, graph: Path) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(KeyboardInterrupt):
        build(graph, stop=stop)
