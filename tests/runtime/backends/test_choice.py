"""Which backend is opened, and why."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

import pytest

from stprompt_edge.bundle import Bundle
from stprompt_edge.errors import CheckFailed, EnvironmentFailure, StpromptEdgeError, UsageError
from stprompt_edge.runtime.backends import opening
from stprompt_edge.runtime.backends.onnx import CPU, CUDA
from stprompt_edge.runtime.backends.opening import BACKENDS, open_backend
from tests.runtime.tiny import tiny_bundle


class Recorded:
    """Stands for an ONNX backend; starting CUDA ends as `outcome` says."""

    outcome: Exception | None = None

    def __init__(self, bundle: object, provider: str, cuda_graph: bool = False) -> None:
        if provider == CUDA and self.outcome:
            raise self.outcome
        self.provider, self.cuda_graph = provider, cuda_graph


@pytest.fixture
def providers(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The providers that ONNX Runtime lists; a test may add to them."""
    listed = [CPU]

    class Runtime:
        get_available_providers = staticmethod(lambda: listed)

    monkeypatch.setattr(opening, "import_onnxruntime", lambda: Runtime)
    monkeypatch.setattr(opening, "OnnxBackend", Recorded)
    monkeypatch.setattr(opening, "OnnxCudaBackend", functools.partial(Recorded, provider=CUDA))
    monkeypatch.setattr(Recorded, "outcome", None)
    return listed


@pytest.mark.parametrize(
    ("name", "hint"),
    [("onx", "did you mean 'onnx'"), ("gpu", "known: auto, onnx, onnx-cpu, onnx-cuda, tensorrt"), ("", "")],
)
def test_an_unknown_name(name: str, hint: str) -> None:
    with pytest.raises(UsageError, match=rf"(?s)unknown backend '{name}'.*{hint}"):
        open_backend(name, tiny_bundle())


def choose(name: str) -> tuple[Any, str]:
    choice = open_backend(name, tiny_bundle())
    return choice.backend.provider, choice.reason  # type: ignore[attr-defined]


BEST = ("auto", "onnx")


def test_every_name_is_tried_here() -> None:
    assert set(BACKENDS) == {*BEST, "onnx-cuda", "onnx-cpu", "tensorrt"}


@pytest.mark.parametrize("name", BEST)
def test_without_cuda_it_is_the_cpu(providers: list[str], name: str) -> None:
    assert choose(name) == (CPU, "this ONNX Runtime has no CUDA provider")


@pytest.mark.parametrize("name", BEST)
def test_with_cuda_it_is_cuda(providers: list[str], name: str) -> None:
    providers.insert(0, CUDA)
    assert choose(name) == (CUDA, "CUDA started")


@pytest.mark.parametrize(("name", "provider"), [("onnx-cpu", CPU), ("onnx-cuda", CUDA)])
def test_a_provider_by_name(providers: list[str], name: str, provider: str) -> None:
    providers.insert(0, CUDA)
    assert choose(name) == (provider, "asked for")
    backend: Any = open_backend(name, tiny_bundle()).backend
    assert backend.cuda_graph == (name == "onnx-cuda")


def test_a_provider_by_name_is_never_replaced(providers: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Recorded, "outcome", EnvironmentFailure("no driver", remedy="install one"))
    with pytest.raises(EnvironmentFailure, match="no driver"):
        choose("onnx-cuda")


class Engine:
    """Stands for a TensorRT backend."""

    outcome: StpromptEdgeError | None = None
    provider = "TensorRT"

    def __init__(self, bundle: object) -> None:
        if self.outcome:
            raise self.outcome


@pytest.fixture
def engine_beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    """A bundle with something that looks like an engine."""
    folder = tmp_path / "engines" / "orin-sm87-trt10.3.0-fp16"
    folder.mkdir(parents=True)
    (folder / "engine.json").write_text("{}")
    monkeypatch.setattr(opening, "TensorRTBackend", Engine)
    monkeypatch.setattr(Engine, "outcome", None)
    return dataclasses.replace(tiny_bundle(), path=tmp_path)


@pytest.mark.parametrize(("name", "reason"), [("auto", "built for this device"), ("tensorrt", "asked for")])
def test_an_engine_comes_first(providers: list[str], engine_beside: Bundle, name: str, reason: str) -> None:
    choice = open_backend(name, engine_beside)
    assert isinstance(choice.backend, Engine)
    assert choice.reason == reason


@pytest.mark.parametrize("kind", [CheckFailed, EnvironmentFailure])
def test_an_engine_that_does_not_fit(
    providers: list[str], engine_beside: Bundle, monkeypatch: pytest.MonkeyPatch, kind: type[StpromptEdgeError]
) -> None:
    monkeypatch.setattr(Engine, "outcome", kind("built for another GPU", remedy="build it here"))
    choice = open_backend("auto", engine_beside)
    assert choice.reason == "built for another GPU; this ONNX Runtime has no CUDA provider"
    assert isinstance(open_backend("onnx", engine_beside).backend, Recorded)  # asked for, and not asked why
    with pytest.raises(kind, match="built for another GPU"):
        open_backend("tensorrt", engine_beside)


def test_tensorrt_without_an_engine_is_worth_a_word(providers: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    assert choose("auto") == (CPU, "no TensorRT engine in the bundle; this ONNX Runtime has no CUDA provider")
    assert choose("onnx") == (CPU, "this ONNX Runtime has no CUDA provider")


@pytest.mark.parametrize("name", BEST)
def test_cuda_that_does_not_start_is_the_reason_for_the_cpu(
    providers: list[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    providers.insert(0, CUDA)
    monkeypatch.setattr(Recorded, "outcome", EnvironmentFailure("no driver", remedy="install one"))
    assert choose(name) == (CPU, "no driver")


def test_a_graph_that_cuda_refuses_is_not_passed_over(providers: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    providers.insert(0, CUDA)
    monkeypatch.setattr(Recorded, "outcome", CheckFailed("damaged graph", remedy="export again"))
    with pytest.raises(CheckFailed, match="damaged graph"):
        choose("auto")


def test_a_missing_package_is_not_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(EnvironmentFailure, match="ONNX Runtime cannot be imported"):
        open_backend("auto", tiny_bundle())
