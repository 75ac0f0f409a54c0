"""Which engine embeds: what was asked for, or for `auto` the best that opens, with the reason."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from stprompt_edge.assets import DEMO_BUNDLE
from stprompt_edge.bundle import ENCODER_NAMES, load_bundle
from stprompt_edge.errors import EnvironmentFailure, UsageError
from stprompt_edge.features import backend as extraction_backend
from stprompt_edge.features.backend import Engine, open_engine
from stprompt_edge.features.settings import ExtractionSettings

BUNDLE = load_bundle(DEMO_BUNDLE)


class Opened:
    def __init__(self, bundle: Any, **options: Any) -> None:
        self.options = options
        self.is_cuda = True
        self.precision = options["precision"] or "cpu8"
        self.weights_sha256 = "1" * 64


class Refusing:
    def __init__(self, bundle: Any, **options: Any) -> None:
        raise UsageError("weights are not here", remedy="--pretrained PATH")


def opened(monkeypatch: pytest.MonkeyPatch, *, cuda: bool, torch_backend: Any = Opened, **options: Any) -> Engine:
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=SimpleNamespace(is_available=lambda: cuda)))
    module = SimpleNamespace(TorchBackend=torch_backend)
    monkeypatch.setitem(sys.modules, "stprompt_edge.export.torch_backend", module)
    monkeypatch.setattr(extraction_backend, "OnnxBackend", Opened)
    return open_engine(BUNDLE, ExtractionSettings(bundle=DEMO_BUNDLE, stride=4, **options), threads=3)


@pytest.mark.parametrize(
    ("cuda", "options", "name", "reason", "batch"),
    [
        (True, {}, "torch", "it has a CUDA GPU", 32),
        (True, {"batch": 7, "precision": "fp16"}, "torch", "it has a CUDA GPU", 7),
        (True, {"precision": "cpu8"}, "onnx", "cpu8 is a graph of the bundle", 1),
        (True, {"backend": "onnx"}, "onnx", "asked for", 1),
        (False, {}, "onnx", "PyTorch has no CUDA GPU here", 1),
        (False, {"backend": "torch"}, "torch", "asked for", 32),
        (False, {"batch": 4}, "onnx", "PyTorch has no CUDA GPU here", 4),
    ],
)
def test_choice(monkeypatch: pytest.MonkeyPatch, cuda: bool, options: dict, name: str, reason: str, batch: int) -> None:
    engine = opened(monkeypatch, cuda=cuda, **options)
    assert (engine.name, engine.reason, engine.batch) == (name, reason, batch)
    assert engine.backend.options["threads"] == 3  # type: ignore[attr-defined]
    assert engine.origin.precision == engine.backend.precision  # type: ignore[attr-defined]
    if name == "onnx":
        assert engine.origin.encoder_sha256 == BUNDLE.manifest.files[ENCODER_NAMES["cpu8"]].sha256
        assert engine.origin.weights_sha256 == BUNDLE.manifest.clip.weights_sha256
    else:
        assert (engine.origin.encoder_sha256, engine.origin.weights_sha256) == (None, "1" * 64)
        assert engine.backend.options["precision"] == options.get("precision", "fp32")  # type: ignore[attr-defined]


def test_auto_falls_back_where_the_weights_are_not_here_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = opened(monkeypatch, cuda=True, torch_backend=Refusing)
    assert (engine.name, engine.reason) == ("onnx", "weights are not here")
    for options in ({"pretrained": "x.pt"}, {"backend": "torch"}):
        with pytest.raises(UsageError, match="weights are not here"):
            opened(monkeypatch, cuda=True, torch_backend=Refusing, **options)


def test_without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extraction_backend, "OnnxBackend", Opened)
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "stprompt_edge.export.torch_backend", raising=False)
    engine = open_engine(BUNDLE, ExtractionSettings(bundle=DEMO_BUNDLE, stride=4))
    assert engine.reason.startswith("PyTorch cannot be imported")
    with pytest.raises(EnvironmentFailure, match=r"PyTorch cannot be imported .*\n.*stprompt-edge\[train\]"):
        open_engine(BUNDLE, ExtractionSettings(bundle=DEMO_BUNDLE, stride=4, backend="torch"))
