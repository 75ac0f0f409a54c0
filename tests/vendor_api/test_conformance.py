"""Our calls into native libraries against the libraries' own descriptions."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.fakes import cudart_module, pycuda_driver, tensorrt_module
from tests.vendor_api.checker import Description, faults, uses
from tests.vendor_api.wheels import CUDA_BINDINGS, ROOT, TENSORRT, describe_cuda_runtime, describe_tensorrt

ALIASES = {"tensorrt": {"trt", "tensorrt"}, "pycuda": {"cuda", "_driver"}, "cudart": {"cudart"}}
SOURCES = sorted(
    path for folder in ("runtime", "export", "doctor") for path in (ROOT / "stprompt_edge" / folder).rglob("*.py")
)
PYCUDA: Description = json.loads(Path(__file__).with_name("pycuda.json").read_text(encoding="utf-8"))


def using(library: str) -> list[Path]:
    """Our modules that touch a library."""
    return [path for path in SOURCES if uses(path.read_text(encoding="utf-8"), ALIASES[library])]


def short(path: Path) -> str:
    return str(path.relative_to(ROOT / "stprompt_edge"))


@pytest.fixture(scope="session")
def cache(request: pytest.FixtureRequest) -> Path:
    """Kept between runs."""
    return request.config.cache.mkdir("vendor_api")  # type: ignore[union-attr]


@pytest.fixture(scope="session", params=sorted(TENSORRT))
def tensorrt(request: pytest.FixtureRequest, cache: Path) -> Description:
    return describe_tensorrt(request.param, cache)


@pytest.fixture(scope="session", params=CUDA_BINDINGS)
def cudart(request: pytest.FixtureRequest, cache: Path) -> Description:
    return describe_cuda_runtime(request.param, cache)


def test_the_modules_that_use_tensorrt_are_found() -> None:
    found = {short(path) for path in using("tensorrt")}
    assert {
        "export/engine/network.py",
        "export/engine/monitor.py",
        "runtime/backends/tensorrt.py",
        "runtime/backends/cuda/engines/execution.py",
        "runtime/backends/cuda/engines/tensorrt_api.py",
    } <= found


@pytest.mark.parametrize("path", using("tensorrt"), ids=short)
def test_every_use_of_tensorrt_is_nvidias(tensorrt: Description, path: Path) -> None:
    assert faults(path.read_text(encoding="utf-8"), tensorrt, ALIASES["tensorrt"]) == []


@pytest.mark.parametrize("path", using("pycuda"), ids=short)
def test_every_use_of_pycuda_is_its_own(path: Path) -> None:
    assert faults(path.read_text(encoding="utf-8"), PYCUDA, ALIASES["pycuda"]) == []


@pytest.mark.parametrize("path", using("cudart"), ids=short)
def test_every_use_of_the_cuda_runtime_is_nvidias(cudart: Description, path: Path) -> None:
    assert faults(path.read_text(encoding="utf-8"), cudart, ALIASES["cudart"]) == []


@pytest.mark.parametrize(
    ("right", "wrong", "told"),
    [
        ("builder.create_network(", "builder.make_network(", "Builder has no make_network"),
        ("NetworkDefinitionCreationFlag.STRONGLY_TYPED", "NetworkDefinitionCreationFlag.STRONG", "has no STRONG"),
        ("network, config)", "network)", "takes (network, config)"),
        (
            "tensorrt.MemoryPoolType.WORKSPACE, int",
            "pool=tensorrt.MemoryPoolType.WORKSPACE, size=int",
            "takes (pool, pool_size)",
        ),
        ("tensorrt.OnnxParser(network, logger)", "tensorrt.OnnxParser(network)", "OnnxParser takes (network, logger)"),
        ("config.progress_monitor = monitor", "config.monitor = monitor", "IBuilderConfig has no monitor"),
        ("config.clear_flag(tensorrt.BuilderFlag.TF32)", "config.set_flag(tensorrt.BuilderFlag.FP17)", "has no FP17"),
        ("cache.serialize()", "cache.serialise()", "ITimingCache has no serialise"),
        ("-> trt.Builder:", "-> trt.Bilder:", "there is no class Bilder"),
        ("config: trt.IBuilderConfig)", "config: object)", "annotate config"),
    ],
)
def test_a_wrong_use_is_caught(tensorrt: Description, right: str, wrong: str, told: str) -> None:
    source = (ROOT / "stprompt_edge" / "export" / "engine" / "network.py").read_text(encoding="utf-8")
    assert right in source
    found = faults(source.replace(right, wrong), tensorrt, ALIASES["tensorrt"])
    assert any(told in fault for fault in found), found


def test_what_tensorrt_11_took_away_is_caught(cache: Path) -> None:
    source = "def f(builder: trt.Builder): return builder.platform_has_fast_fp16, trt.BuilderFlag.FP16"
    older, newer = (describe_tensorrt(version, cache) for version in ("10.3.0", "11.4.0"))
    assert faults(source, older, {"trt"}) == []
    assert faults(source, newer, {"trt"}) == ["1: Builder has no platform_has_fast_fp16", "1: BuilderFlag has no FP16"]


@pytest.mark.parametrize(
    ("right", "wrong", "told"),
    [
        ("def phase_finish(self, phase_name: str)", "def phase_end(self, phase_name: str)", "no method phase_end"),
        ("phase_name: str, step: int)", "phase_name: str)", "takes ['phase_name', 'step']"),
    ],
)
def test_a_wrong_override_is_caught(tensorrt: Description, right: str, wrong: str, told: str) -> None:
    source = (ROOT / "stprompt_edge" / "export" / "engine" / "monitor.py").read_text(encoding="utf-8")
    found = faults(source.replace(right, wrong), tensorrt, ALIASES["tensorrt"])
    assert any(told in fault for fault in found), found


FAKED = {
    "FakeBuilder": "Builder", "FakeNetwork": "INetworkDefinition", "FakeConfig": "IBuilderConfig",
    "FakeTimingCache": "ITimingCache", "FakeProfile": "IOptimizationProfile", "FakeParser": "OnnxParser",
    "FakeParserError": "ParserError", "FakeRuntime": "Runtime", "FakeEngine": "ICudaEngine",
    "FakeContext": "IExecutionContext",
}  # fmt: skip


PYCUDA_FAKED = {name: name for name in ("Device", "Context", "Stream", "Event")} | {"Memory": "DeviceAllocation"}
ABOUT_THE_FAKE = {"need_context", "refuse_while_recording", "bytes_at", "allocation", "pointed_at", "launch"}


def methods(module: ModuleType | type, name: str) -> dict[str, list[str]]:
    """Public methods of a class in a source file, with the names of their arguments."""
    tree = ast.parse(Path(module.__file__ or "").read_text(encoding="utf-8"))  # type: ignore[union-attr]
    kind = next(node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name == name)
    functions = [node for node in kind.body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")]
    return {
        f.name: [a.arg for a in f.args.args if a.arg != "self"]
        for f in functions
        if not any(isinstance(d, ast.Name) and d.id == "property" for d in f.decorator_list)
    }


@pytest.mark.parametrize(("fake", "real"), FAKED.items())
def test_the_fake_tensorrt_has_only_what_nvidias_has(tensorrt: Description, fake: str, real: str) -> None:
    members = tensorrt["classes"][real]
    for name, arguments in methods(tensorrt_module, fake).items():
        assert name in members, f"{real} has no {name}"
        calls: list[Any] = members[name]["calls"]
        assert any(arguments == call["names"] for call in calls), f"{real}.{name} takes {calls}, the fake {arguments}"


def test_the_fake_pycuda_has_only_what_pycuda_has() -> None:
    ours: Callable[[str], dict[str, list[str]]] = lambda name: methods(pycuda_driver, name)  # noqa: E731
    for fake, real in PYCUDA_FAKED.items():
        for name, arguments in ours(fake).items():
            calls = PYCUDA["classes"][real][name]["calls"]
            assert not calls or arguments == calls[0]["names"]
    for name, arguments in ours("FakeDriver").items():
        if name not in ABOUT_THE_FAKE:
            names = PYCUDA["values"][name]["calls"][0]["names"]
            assert len(arguments) == len(names)
            assert arguments == names or name == "mem_alloc"


def test_the_fake_cuda_runtime_has_only_what_nvidias_has(cudart: Description) -> None:
    for name, arguments in methods(cudart_module, "FakeCudart").items():
        assert any(arguments == call["names"] for call in cudart["values"][name]["calls"]), name
    for name in ("cudaError_t", "cudaStreamCaptureMode"):
        members = {m for m in vars(getattr(cudart_module, name)) if m.startswith("cuda")}
        assert members <= set(cudart["classes"][name])


@pytest.mark.parametrize(
    ("right", "wrong", "told"),
    [
        ("cudart.cudaGraphInstantiate(graph, 0)", "cudart.cudaGraphInstantiate(graph)", "takes (graph, flags)"),
        ("cudart.cudaGraphLaunch(", "cudart.cudaGraphRun(", "the module has no cudaGraphRun"),
        ("cudaStreamCaptureModeThreadLocal\n", "cudaStreamCaptureModeThread\n", "has no cudaStreamCaptureModeThread"),
    ],
)
def test_a_wrong_use_of_the_cuda_runtime_is_caught(cudart: Description, right: str, wrong: str, told: str) -> None:
    source = (ROOT / "stprompt_edge" / "runtime" / "backends" / "cuda" / "graph.py").read_text(encoding="utf-8")
    assert right in source
    found = faults(source.replace(right, wrong), cudart, ALIASES["cudart"])
    assert any(told in fault for fault in found), found
