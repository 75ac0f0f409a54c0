"""ONNX Runtime on the demo bundle, and on bundles, graphs and machines that do not fit."""

from __future__ import annotations

import dataclasses
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from stprompt_edge.assets import DEMO_BUNDLE
from stprompt_edge.bundle import Bundle, GraphShapes, load_bundle, seal_bundle
from stprompt_edge.errors import CheckFailed, EnvironmentFailure, UsageError
from stprompt_edge.runtime.backends.onnx import (
    CPU,
    CUDA,
    OnnxBackend,
    check_tensors,
    import_onnxruntime,
    open_session,
    pick_precision,
)

onnxruntime = pytest.importorskip("onnxruntime")
NONE = np.zeros((1, 0), np.int64)


@pytest.fixture(scope="module")
def backend() -> OnnxBackend:
    return OnnxBackend(load_bundle(DEMO_BUNDLE), threads=1)


@pytest.fixture
def copied(tmp_path: Path) -> Bundle:
    """The demo bundle at a place where it may be damaged."""
    return load_bundle(shutil.copytree(DEMO_BUNDLE, tmp_path / "bundle"))


def images(count: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, 3, 224, 224)).astype(np.float32)


def test_it_says_what_it_runs_on(backend: OnnxBackend) -> None:
    assert backend.description == "ONNX Runtime CPU, encoder.cpu8.onnx"
    assert backend.precision == "cpu8"


@pytest.mark.parametrize(("fine", "coarse"), [(0, 0), (1, 0), (0, 1), (12, 0), (49, 16)])
@pytest.mark.parametrize("batch", [1, 2])
def test_any_number_of_frames_and_windows(backend: OnnxBackend, batch: int, fine: int, coarse: int) -> None:
    fine_BK = np.tile(np.arange(fine), (batch, 1))
    coarse_BL = np.tile(np.arange(coarse), (batch, 1))
    encoded = backend.encode(images(batch), fine_BK, coarse_BL)
    assert encoded.frame.shape == (batch, 128)
    assert encoded.fine.shape == (batch, fine, 128)
    assert encoded.coarse.shape == (batch, coarse, 128)
    assert {x.dtype for x in (encoded.frame, encoded.fine, encoded.coarse)} == {np.dtype(np.float32)}
    assert np.isfinite(encoded.frame).all()


def test_a_window_is_embedded_alike_alone_and_among_others(backend: OnnxBackend) -> None:
    alone = backend.encode(images(1), np.array([[7]]), NONE).fine[0, 0]
    among = backend.encode(images(1), np.arange(49)[None], NONE).fine[0, 7]
    assert alone @ among / np.linalg.norm(alone) / np.linalg.norm(among) > 0.999


@pytest.mark.parametrize("rows", [1, 5])
def test_heads(backend: OnnxBackend, rows: int) -> None:
    x = np.random.default_rng(0).normal(size=(2, rows, 128)).astype(np.float32)
    output = backend.heads(context=x[0], clip=x[1])
    assert output.anomaly_logit.shape == (rows,)
    assert output.similarity.shape == (rows, 9)
    assert np.abs(output.similarity).max() <= 1 + 1e-5
    one = backend.heads(context=x[0, :1], clip=x[1, :1])
    np.testing.assert_allclose(output.similarity[:1], one.similarity, atol=1e-5)


def test_closing_frees_the_sessions(copied: Bundle) -> None:
    with OnnxBackend(copied, threads=1) as backend:
        assert backend._encoder is not None
    assert backend._encoder is None
    assert backend._heads is None


@pytest.mark.parametrize(
    ("provider", "held", "picked"),
    [
        (CPU, ("fp32", "fp16", "int8", "cpu8"), "cpu8"),
        (CPU, ("fp32", "fp16"), "fp32"),
        (CPU, ("fp16",), "fp16"),
        (CPU, ("int8",), "cpu8"),  # none that it can run: the message will ask for this one
        (CUDA, ("fp32", "fp16", "cpu8"), "fp16"),
        (CUDA, ("cpu8",), "fp16"),
    ],
)
def test_the_fastest_precision_that_is_held(provider: str, held: tuple[str, ...], picked: str) -> None:
    assert pick_precision(SimpleNamespace(precisions=held), provider) == picked  # type: ignore[arg-type]


def test_a_precision_that_was_not_exported() -> None:
    with pytest.raises(UsageError, match=r"holds no encoder\.fp16\.onnx"):
        OnnxBackend(load_bundle(DEMO_BUNDLE), precision="fp16")


def test_a_provider_that_is_not_built_in(copied: Bundle) -> None:
    with pytest.raises(EnvironmentFailure, match=r"has no NoSuchExecutionProvider here, only .*CPU"):
        open_session(copied.file("heads.onnx"), "NoSuchExecutionProvider", None)


def test_a_provider_that_is_listed_but_does_not_start(copied: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    session = SimpleNamespace(get_providers=lambda: [CPU])
    fake = SimpleNamespace(
        get_available_providers=lambda: [CUDA, CPU],
        SessionOptions=lambda: SimpleNamespace(add_session_config_entry=lambda key, value: None),
        InferenceSession=lambda path, options, providers: session,
    )
    monkeypatch.setitem(sys.modules, "onnxruntime", fake)
    with pytest.raises(EnvironmentFailure, match="lists CUDAExecutionProvider but cannot start it, and fell back to"):
        open_session(copied.file("heads.onnx"), CUDA, None)


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(EnvironmentFailure, match=r"(?s)ONNX Runtime cannot be imported.*stprompt-edge\[cpu\]"):
        import_onnxruntime()


@pytest.mark.parametrize("name", ["encoder.cpu8.onnx", "heads.onnx"])
@pytest.mark.parametrize("content", [b"", b"not a graph"])
def test_a_file_that_is_no_graph(copied: Bundle, name: str, content: bytes) -> None:
    (copied.path / name).write_bytes(content)
    with pytest.raises(CheckFailed, match=rf"{name} cannot be loaded by ONNX Runtime"):
        OnnxBackend(seal_bundle(copied.path, copied.manifest), threads=1)


def test_a_graph_of_another_kind(copied: Bundle) -> None:
    shutil.copy(copied.path / "heads.onnx", copied.path / "encoder.cpu8.onnx")
    with pytest.raises(CheckFailed, match=r"inputs are \['clip', 'context'\], expected \['coarse', 'fine', 'image'\]"):
        OnnxBackend(seal_bundle(copied.path, copied.manifest), threads=1)


def test_graphs_of_another_width(copied: Bundle) -> None:
    clip = copied.manifest.clip.model_copy(update={"embedding_width": 64})
    other = dataclasses.replace(copied, manifest=copied.manifest.model_copy(update={"clip": clip}))
    with pytest.raises(CheckFailed, match=r"output frame has shape .*128.*, expected \['any', 64\]"):
        OnnxBackend(other, threads=1)


def session_of(**shapes: list[Any]) -> SimpleNamespace:
    tensors = [SimpleNamespace(name=name, shape=shape) for name, shape in shapes.items()]
    return SimpleNamespace(get_inputs=lambda: tensors, get_outputs=lambda: [])


@pytest.mark.parametrize("shape", [["batch", 3], [1, 3], [None, 3]])
def test_any_size_fits_where_any_is_promised(shape: list[Any]) -> None:
    check_tensors(Path("x.onnx"), session_of(x=shape), GraphShapes(inputs={"x": [None, 3]}, outputs={}))


@pytest.mark.parametrize("shape", [[], [3], ["batch", 4], ["batch", "width"], ["batch", 3, 1]])
def test_a_shape_that_does_not_fit(shape: list[Any]) -> None:
    with pytest.raises(CheckFailed, match=r"x\.onnx: input x has shape .*, expected \['any', 3\]"):
        check_tensors(Path("x.onnx"), session_of(x=shape), GraphShapes(inputs={"x": [None, 3]}, outputs={}))


@pytest.mark.parametrize(("threads", "expected"), [(1, 1), (3, 3)])
def test_threads_are_what_was_asked_for(
    copied: Bundle, monkeypatch: pytest.MonkeyPatch, threads: int, expected: int
) -> None:
    monkeypatch.delattr("os.sched_getaffinity", raising=False)  # as on macOS and Windows
    session = open_session(copied.file("heads.onnx"), CPU, threads)
    assert session.get_session_options().intra_op_num_threads == expected


def test_only_static_int8_is_rounded_as_its_nodes_say(copied: Bundle, tmp_path: Path) -> None:
    key = "session.disable_quant_qdq"
    files = [shutil.copy(copied.file("heads.onnx"), tmp_path / f"encoder.{name}.onnx") for name in ("int8", "cpu8")]
    exact, fused = (open_session(Path(file), CPU, 1).get_session_options() for file in files)
    assert exact.get_session_config_entry(key) == "1"
    with pytest.raises(RuntimeError, match=key):
        fused.get_session_config_entry(key)
