"""The TensorRT backend on a TensorRT that is not there: every copy, shape, profile and address is real."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stprompt_edge.bundle import Bundle
from stprompt_edge.errors import CheckFailed, EnvironmentFailure
from stprompt_edge.runtime.backends.cuda.engines.execution import fill
from stprompt_edge.runtime.backends.onnx import CPU, OnnxBackend
from stprompt_edge.runtime.backends.tensorrt import TensorRTBackend
from tests.bundles import WIDTH
from tests.fakes.device import FakeMachine, engine_bundle, install, write_engine
from tests.fakes.tensorrt_module import FakeContext

pytest.importorskip("onnxruntime")
FIRST = (0, {"image": (1, 3, 224, 224), "fine": (1, 12), "coarse": (1, 0)})  # the warm-up's


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> FakeMachine:
    return install(monkeypatch)


@pytest.fixture
def bundle(machine: FakeMachine, tmp_path: Path) -> Bundle:
    """With an engine beside, as the fake TensorRT understands it."""
    bundle = engine_bundle(tmp_path / "b")
    write_engine(bundle, machine)
    return bundle


def inputs(batch: int, fine: int, coarse: int, seed: int = 0) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(seed)
    return (
        rng.random((batch, 3, 224, 224), dtype=np.float32),
        rng.integers(0, 49, (batch, fine)),
        rng.integers(0, 16, (batch, coarse)),
    )


@pytest.mark.parametrize(
    ("shape", "executed"),
    [
        ((1, 12, 0), [(0, (1, 12), (1, 0))]),
        ((1, 12, 1), [(0, (1, 12), (1, 1))]),
        ((1, 49, 16), [(1, (1, 49), (1, 16))]),
        ((1, 49, 0), [(1, (1, 49), (1, 0))]),
        ((1, 0, 0), [(0, (1, 12), (1, 0))]),
        ((1, 3, 2), [(1, (1, 49), (1, 16))]),
        ((3, 12, 0), [(0, (4, 12), (4, 0))]),
        ((5, 12, 0), [(0, (4, 12), (4, 0)), (0, (1, 12), (1, 0))]),
        ((9, 7, 5), [(1, (4, 49), (4, 16)), (1, (4, 49), (4, 16)), (1, (1, 49), (1, 16))]),
    ],
)
def test_it_agrees_with_onnx_whatever_the_shape(
    machine: FakeMachine, bundle: Bundle, shape: Any, executed: Any
) -> None:
    arguments = inputs(*shape)
    with OnnxBackend(bundle, precision="fp32", provider=CPU, threads=1) as reference:
        expected = reference.encode(*arguments)
    with TensorRTBackend(bundle) as backend:
        got = backend.encode(*arguments)
    for name in ("frame", "fine", "coarse"):
        np.testing.assert_allclose(getattr(got, name), getattr(expected, name), atol=1e-6)
    warm_up = [FIRST, (0, {"context": (1, 8), "clip": (1, 8)})]
    ran = [what for name, what in machine.trt.calls if name == "execute"]
    assert ran[:2] == warm_up
    assert [(profile, shapes["fine"], shapes["coarse"]) for profile, shapes in ran[2:]] == executed


@pytest.mark.parametrize("rows", [1, 2, 64, 65, 130])
def test_heads_of_any_number_of_rows(bundle: Bundle, rows: int) -> None:
    context, clip = np.random.default_rng(0).normal(size=(2, rows, WIDTH)).astype(np.float32)
    with OnnxBackend(bundle, precision="fp32", threads=1) as reference:
        expected = reference.heads(context=context, clip=clip)
    with TensorRTBackend(bundle) as backend:
        got = backend.heads(context=context, clip=clip)
    assert expected.similarity is not None
    assert got.similarity is not None
    np.testing.assert_allclose(got.anomaly_logit, expected.anomaly_logit, atol=1e-6)
    np.testing.assert_allclose(got.similarity, expected.similarity, atol=1e-6)


def test_results_are_the_receivers_own(bundle: Bundle) -> None:
    with TensorRTBackend(bundle) as backend:
        first = backend.encode(*inputs(1, 12, 0, seed=1))
        kept = first.frame.copy()
        backend.encode(*inputs(1, 12, 0, seed=2))
        np.testing.assert_array_equal(first.frame, kept)


def test_memory_does_not_grow_and_all_of_it_is_given_back(machine: FakeMachine, bundle: Bundle) -> None:
    with TensorRTBackend(bundle) as backend:
        held = []
        for _ in range(2):
            for batch in range(1, 6):
                for fine, coarse in ((12, 0), (12, 1), (49, 16), (5, 3)):
                    backend.encode(*inputs(batch, fine, coarse))
            held.append(len(machine.driver.memory))
        assert held[0] == held[1]
    assert (machine.driver.memory, machine.driver.contexts, machine.driver.current) == ({}, 0, 0)
    backend.close()


def test_it_says_what_it_runs(bundle: Bundle) -> None:
    with TensorRTBackend(bundle) as backend:
        assert backend.description == "TensorRT 10.3.0 on Orin, orin-sm87-trt10.3.0-fp16, CUDA graph"
        assert backend.precision == "fp16"


def test_a_bundle_without_heads(machine: FakeMachine, tmp_path: Path) -> None:
    bundle = engine_bundle(tmp_path / "b")
    write_engine(bundle, machine)
    files = {name: entry for name, entry in bundle.manifest.files.items() if name != "heads.onnx"}
    headless = dataclasses.replace(bundle, manifest=bundle.manifest.model_copy(update={"files": files}))
    folder = next((bundle.path / "engines").iterdir())
    sidecar = json.loads((folder / "engine.json").read_text())
    (folder / "engine.json").write_text(
        json.dumps({**sidecar, "engines": {"encoder.engine": sidecar["engines"]["encoder.engine"]}})
    )
    with TensorRTBackend(headless) as backend:
        assert backend.encode(*inputs(1, 12, 0)).frame.shape == (1, WIDTH)


def test_nothing_is_loaded_before_the_sidecar_was_checked(machine: FakeMachine, bundle: Bundle) -> None:
    engine = next((bundle.path / "engines").iterdir()) / "encoder.engine"
    engine.write_bytes(engine.read_bytes() + b"x")
    with pytest.raises(
        CheckFailed, match=r"(?s)was changed: encoder\.engine.*stprompt-edge build-engine .* --precision fp16"
    ):
        TensorRTBackend(bundle)
    assert machine.trt.calls == []
    assert machine.driver.contexts == 0


@pytest.mark.parametrize(
    ("replace", "told"),
    [
        ({"name": "NVIDIA Thor"}, "built for GPU Orin, here is NVIDIA Thor"),
        ({"capability": (8, 6)}, r"compute capability 8\.7, here is 8\.6"),
        ({"version": "10.16.1"}, r"TensorRT 10\.3\.0, here is 10\.16\.1"),
    ],
)
def test_on_another_machine_nothing_is_loaded(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, replace: dict[str, Any], told: str
) -> None:
    other = install(monkeypatch, **replace)
    with pytest.raises(CheckFailed, match=told):
        TensorRTBackend(bundle)
    assert other.trt.calls == []


def edited(bundle: Bundle, change: Callable[[dict[str, Any]], object]) -> None:
    file = next((bundle.path / "engines").iterdir()) / "engine.json"
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda s: s["engines"]["encoder.engine"]["profiles"].pop(), "has 2 profiles, its sidecar says 1"),
        (
            lambda s: s["engines"]["encoder.engine"]["profiles"][0]["inputs"]["fine"].update(max=[4, 13]),
            r"profile watch of fine is \[\(1, 12\)",
        ),
    ],
)
def test_an_engine_whose_profiles_are_not_those_of_its_sidecar(
    machine: FakeMachine, bundle: Bundle, change: Callable[[dict[str, Any]], object], told: str
) -> None:
    edited(bundle, change)
    with pytest.raises(CheckFailed, match=rf"(?s)encoder\.engine: {told}.*fix: build it again: stprompt-edge"):
        TensorRTBackend(bundle)
    assert (machine.driver.memory, machine.driver.contexts) == ({}, 0)


def test_engines_of_another_kind(machine: FakeMachine, bundle: Bundle) -> None:
    folder = next((bundle.path / "engines").iterdir())
    (folder / "encoder.engine").write_bytes((folder / "heads.engine").read_bytes())
    edited(bundle, lambda s: s["files"].update({"encoder.engine": s["files"]["heads.engine"]}))
    with pytest.raises(CheckFailed, match=r"has inputs \['clip', 'context'\], expected \['coarse', 'fine', 'image'\]"):
        TensorRTBackend(bundle)


def test_an_engine_of_another_width(bundle: Bundle) -> None:
    clip = bundle.manifest.clip.model_copy(update={"embedding_width": 64})
    other = dataclasses.replace(bundle, manifest=bundle.manifest.model_copy(update={"clip": clip}))
    with pytest.raises(CheckFailed, match=r"frame has shape \[-1, 8\], expected \['any', 64\]"):
        TensorRTBackend(other)


@pytest.mark.parametrize(
    ("method", "told"),
    [
        ("create_execution_context", "making an execution context"),
        ("set_optimization_profile_async", "choosing a profile"),
        ("set_input_shape", "setting the shape of image"),
        ("set_tensor_address", "binding image"),
        ("execute_async_v3", "enqueueing the engine"),
    ],
)
def test_every_result_is_looked_at(machine: FakeMachine, bundle: Bundle, method: str, told: str) -> None:
    with TensorRTBackend(bundle) as backend:
        machine.trt.failing = {method}
        with pytest.raises(EnvironmentFailure, match=rf"(?s)TensorRT failed while {told}.*`build-engine` again"):
            backend.encode(*inputs(1, 12, 1))
    with pytest.raises(EnvironmentFailure, match=f"TensorRT failed while {told}"):
        TensorRTBackend(bundle)
    assert (machine.driver.memory, machine.driver.contexts) == ({}, 0)


def test_steps_are_launched_as_graphs(machine: FakeMachine, bundle: Bundle) -> None:
    with TensorRTBackend(bundle) as backend:
        assert machine.cudart.launches == 0  # the warm-up is not one, but was recorded
        first, second = (backend.encode(*inputs(1, 12, 0, seed)) for seed in (1, 2))
        assert machine.cudart.launches == 2
        assert not np.allclose(first.frame, second.frame)
        assert machine.cudart.alive == 2  # one for the encoder's shapes, one for the heads'
    assert machine.cudart.alive == 0


@pytest.mark.parametrize("function", ["cudaStreamBeginCapture", "cudaStreamEndCapture", "cudaGraphInstantiate"])
def test_what_cannot_be_recorded_is_launched_plainly(machine: FakeMachine, bundle: Bundle, function: str) -> None:
    machine.cudart.failing = {function}
    with TensorRTBackend(bundle) as backend:
        assert "plain launches (a CUDA graph failed while" in backend.description
        assert "cudaErrorStreamCaptureUnsupported" in backend.description
        assert np.isfinite(backend.encode(*inputs(1, 12, 0)).frame).all()
    assert (machine.cudart.launches, machine.cudart.alive) == (0, 0)


def test_without_cuda_python_launches_are_plain(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    with TensorRTBackend(bundle) as backend:
        assert "plain launches (cuda-python cannot be imported" in backend.description
        backend.encode(*inputs(1, 12, 0))


def test_graphs_can_be_switched_off(machine: FakeMachine, bundle: Bundle) -> None:
    with TensorRTBackend(bundle, cuda_graph=False) as backend:
        assert backend.description.endswith("-fp16, plain launches")
        backend.encode(*inputs(1, 12, 0))
    assert machine.cudart.launches == 0


def test_a_graph_that_does_not_launch(machine: FakeMachine, bundle: Bundle) -> None:
    with TensorRTBackend(bundle) as backend:
        machine.cudart.failing = {"cudaGraphLaunch"}
        with pytest.raises(EnvironmentFailure, match="a CUDA graph failed while launching: cudaErrorStreamCapture"):
            backend.encode(*inputs(1, 12, 0))


def test_an_engine_that_does_not_load(machine: FakeMachine, bundle: Bundle) -> None:
    machine.trt.failing = {"deserialize_cuda_engine"}
    with pytest.raises(EnvironmentFailure, match=r"TensorRT failed while loading encoder\.engine: IRuntime.*magic tag"):
        TensorRTBackend(bundle)
    assert machine.driver.contexts == 0


def test_memory_that_runs_out(machine: FakeMachine, bundle: Bundle) -> None:
    with TensorRTBackend(bundle) as backend:
        machine.driver.limit_bytes = sum(block.nbytes for block in machine.driver.memory.values())
        with pytest.raises(EnvironmentFailure, match="GPU memory ran out while running the engine"):
            backend.encode(*inputs(1, 12, 1))
    for limit, told in ((10_000, "warming up"), (100, r"loading encoder\.engine")):
        machine.driver.limit_bytes = limit
        with pytest.raises(EnvironmentFailure, match=f"GPU memory ran out while {told}"):
            TensorRTBackend(bundle)
    assert (machine.driver.memory, machine.driver.contexts) == ({}, 0)


def test_a_shape_that_the_engine_does_not_know(
    machine: FakeMachine, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeContext, "get_tensor_shape", lambda self, name: (-1, 8))
    with pytest.raises(CheckFailed, match="the engine does not know the shape of frame"):
        TensorRTBackend(bundle)
    assert machine.driver.memory == {}


def test_more_windows_than_there_are(bundle: Bundle) -> None:
    with TensorRTBackend(bundle) as backend, pytest.raises(ValueError, match="no profile of the engine holds"):
        backend.encode(np.zeros((1, 3, 224, 224), np.float32), np.zeros((1, 50), np.int64), np.zeros((1, 0), np.int64))


@pytest.mark.parametrize(("source", "target"), [((1, 2), (1, 2)), ((1, 2), (3, 4)), ((1, 0), (1, 2)), ((2, 0), (2, 0))])
def test_what_is_padded_is_zero(source: tuple[int, int], target: tuple[int, int]) -> None:
    buffer = np.full(target, 9)
    fill(buffer, np.ones(source, np.int64))
    assert buffer.sum() == np.prod(source)
    assert (buffer[: source[0], : source[1]] == 1).all()
