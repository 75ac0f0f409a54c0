"""Which backend is opened, and why."""

from __future__ import annotations

from typing import Any

import pytest

from stprompt_edge.errors import CheckFailed, EnvironmentFailure, UsageError
from stprompt_edge.runtime import backends
from stprompt_edge.runtime.backends import BACKENDS, open_backend
from stprompt_edge.runtime.backends.onnx import CPU, CUDA

from ..tiny import tiny_bundle


class Recorded:
    """Stands for an ONNX backend; starting CUDA ends as `outcome` says."""

    outcome: Exception | None = None

    def __init__(self, bundle: object, provider: str) -> None:
        if provider == CUDA and self.outcome:
            raise self.outcome
        self.provider = provider


@pytest.fixture
def providers(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The providers that ONNX Runtime lists; a test may add to them."""
    listed = [CPU]

    class Runtime:
        get_available_providers = staticmethod(lambda: listed)

    monkeypatch.setattr(backends, "import_onnxruntime", lambda: Runtime)
    monkeypatch.setattr(backends, "OnnxBackend", Recorded)
    monkeypatch.setattr(Recorded, "outcome", None)
    return listed


@pytest.mark.parametrize(
    ("name", "hint"), [("onx", "did you mean 'onnx'"), ("tensorrt", "known: auto, onnx"), ("", "")]
)
def test_an_unknown_name(name: str, hint: str) -> None:
    with pytest.raises(UsageError, match=rf"(?s)unknown backend '{name}'.*{hint}"):
        open_backend(name, tiny_bundle())


def choose(name: str) -> tuple[Any, str]:
    choice = open_backend(name, tiny_bundle())
    return choice.backend.provider, choice.reason  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", BACKENDS)
def test_without_cuda_it_is_the_cpu(providers: list[str], name: str) -> None:
    assert choose(name) == (CPU, "this ONNX Runtime has no CUDA provider")


@pytest.mark.parametrize("name", BACKENDS)
def test_with_cuda_it_is_cuda(providers: list[str], name: str) -> None:
    providers.insert(0, CUDA)
    assert choose(name) == (CUDA, "CUDA started")


@pytest.mark.parametrize("name", BACKENDS)
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
