"""Packages that cannot be imported, and memory that runs out: each with the remedy that is true."""

from __future__ import annotations

import builtins
import errno
import importlib
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av.error
import pytest

from stprompt_edge.assets import DEMO_BUNDLE, DEMO_CLIP
from stprompt_edge.bundle import load_bundle
from stprompt_edge.calibration.command import require_packages
from stprompt_edge.cli import main
from stprompt_edge.errors import EnvironmentFailure
from stprompt_edge.evaluation.metrics import import_sklearn_metrics
from stprompt_edge.imports import MORE_MEMORY, import_failure, import_remedy, is_out_of_memory, what_lacks
from stprompt_edge.reports.charts import require_matplotlib
from stprompt_edge.runtime.backends.cuda.engines.tensorrt_api import import_tensorrt
from stprompt_edge.runtime.backends.cuda.graph import import_cuda_runtime
from stprompt_edge.runtime.backends.cuda.kernels.driver import import_pycuda_driver
from stprompt_edge.runtime.backends.onnx import import_onnxruntime, open_session
from stprompt_edge.runtime.sources.gstreamer import import_gstreamer

NO_MEMORY = [
    "/x/torch/lib/libtorch_cpu.so: failed to map segment from shared object",
    "libav.so.62: failed to map segment from shared object: Cannot allocate memory",
    "/x/onnxruntime.so: cannot allocate memory",
    "[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes",
    "Load model from encoder.onnx failed:std::bad_alloc",
    "bad allocation",
    "Unable to allocate 746. KiB for an array with shape (398, 640, 3)",
    "OpenCV(4.12.0) alloc.cpp:73: error: (-4:Insufficient memory) Failed to allocate 9 bytes",
    "Failed to allocate memory for requested buffer of size 9",
    "can't start new thread",
]
OTHER = [
    "No module named 'torch'",
    "libGL.so.1: cannot open shared object file: No such file or directory",
    "/mnt/x.so: failed to map segment from shared object: Operation not permitted",  # a volume without exec
    "/mnt/x.so: failed to map segment from shared object: Permission denied",
    "CUDA error: out of memory",
    "undefined symbol: bad",
]
INSTALL = "pip install it"


@pytest.mark.parametrize("text", NO_MEMORY)
def test_want_of_memory_is_told_by_its_words(text: str) -> None:
    assert is_out_of_memory(ImportError(text))
    failure = import_failure("X", ImportError(text), remedy=INSTALL)
    assert failure.what == f"X cannot be imported ({text})"
    assert failure.remedy == MORE_MEMORY
    assert import_remedy(f"RuntimeError: {text}", INSTALL) == MORE_MEMORY


@pytest.mark.parametrize("text", OTHER)
def test_other_reasons_keep_their_remedy(text: str) -> None:
    assert not is_out_of_memory(ImportError(text))
    assert import_failure("X", ImportError(text), remedy=INSTALL).remedy == INSTALL
    assert what_lacks(RuntimeError(text)) is None


@pytest.mark.parametrize("library", ["/usr/lib/aarch64-linux-gnu/libgomp.so.1", "/x/libgomp-d22c30c5.so.1.0.0"])
def test_a_library_that_comes_too_late(library: str) -> None:
    """It speaks of memory, and no memory helps: it must be loaded before the others."""
    exc = ImportError(f"{library}: cannot allocate memory in static TLS block")
    assert not is_out_of_memory(exc)
    assert f"LD_PRELOAD={library} " in import_failure("OpenCV", exc, remedy=INSTALL).remedy


def chained(kind: str) -> Exception:
    try:
        try:
            raise MemoryError
        except MemoryError as exc:
            if kind == "cause":
                raise ImportError("numpy cannot be used") from exc
            raise ImportError("numpy cannot be used")  # noqa: B904  as libraries do
    except ImportError as exc:
        return exc


@pytest.mark.parametrize(
    "exc",
    [
        MemoryError(),
        OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)),
        av.error.BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN)),
        chained("cause"),
        chained("context"),
    ],
    ids=["MemoryError", "ENOMEM", "FFmpeg", "cause", "context"],
)
def test_want_of_memory_is_told_by_its_kind(exc: Exception) -> None:
    failure = what_lacks(exc)
    assert failure is not None
    assert failure.remedy == MORE_MEMORY
    assert failure.what.startswith("there is not enough memory (")


def test_a_stream_that_takes_nothing_now_is_no_want_of_memory() -> None:
    assert what_lacks(BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))) is None


def torch_engine() -> Any:
    from stprompt_edge.features.backend import open_engine
    from stprompt_edge.features.settings import ExtractionSettings

    settings = ExtractionSettings(bundle=DEMO_BUNDLE, stride=16, backend="torch")
    return open_engine(load_bundle(DEMO_BUNDLE), settings)


def open_clip_model() -> Any:
    from stprompt_edge.model.clip import load_clip

    return load_clip("stprompt-demo-16", "none")


def compiler() -> Any:
    from stprompt_edge.runtime.backends.cuda.kernels.compile import _import_nvrtc

    return _import_nvrtc()


@pytest.mark.parametrize(
    ("module", "use", "install"),
    [
        ("onnxruntime", import_onnxruntime, "stprompt-edge[cpu]"),
        ("tensorrt", import_tensorrt, "stprompt-edge[tensorrt]"),
        ("pycuda", import_pycuda_driver, "stprompt-edge[tensorrt]"),
        ("cuda", import_cuda_runtime, "stprompt-edge[tensorrt]"),
        ("cuda", compiler, "stprompt-edge[tensorrt]"),
        ("gi", import_gstreamer, "sudo apt install python3-gi"),
        ("matplotlib", require_matplotlib, "stprompt-edge[train]"),
        ("sklearn", import_sklearn_metrics, "stprompt-edge[train]"),
        ("onnx", require_packages, "stprompt-edge[train]"),
        ("open_clip", open_clip_model, "stprompt-edge[export]"),
        ("stprompt_edge.export.torch_backend", torch_engine, "stprompt-edge[train]"),
    ],
)
def test_each_place_that_says_install(
    monkeypatch: pytest.MonkeyPatch, module: str, use: Callable[[], Any], install: str
) -> None:
    said = ""

    def failing(real: Callable[..., Any]) -> Callable[..., Any]:
        def load(name: str, *args: Any, **kwargs: Any) -> Any:
            if name == module or name.startswith(f"{module}."):
                raise ImportError(said)
            return real(name, *args, **kwargs)

        return load

    monkeypatch.setattr(builtins, "__import__", failing(builtins.__import__))
    monkeypatch.setattr(importlib, "import_module", failing(importlib.import_module))
    for said, remedy in (("No module named 'x'", install), (NO_MEMORY[0], MORE_MEMORY)):
        with pytest.raises(EnvironmentFailure) as caught:
            use()
        assert said in caught.value.what
        assert remedy in caught.value.remedy


def test_a_graph_for_which_there_is_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")

    def fail(*args: Any, **kwargs: Any) -> None:
        raise onnxruntime.capi.onnxruntime_pybind11_state.Fail("Load model failed:std::bad_alloc")

    monkeypatch.setattr(onnxruntime, "InferenceSession", fail)
    with pytest.raises(EnvironmentFailure, match=r"not enough memory to load .*encoder\.onnx") as caught:
        open_session(DEMO_BUNDLE / "encoder.onnx", "CPUExecutionProvider", 1)
    assert caught.value.remedy == MORE_MEMORY


@pytest.mark.parametrize(
    ("exc", "what", "remedy"),
    [
        (MemoryError("Unable to allocate 9 GiB"), "there is not enough memory (Unable to allocate 9 GiB)", MORE_MEMORY),
        (ImportError(NO_MEMORY[0]), f"there is not enough memory ({NO_MEMORY[0]})", MORE_MEMORY),
        (
            ModuleNotFoundError("No module named 'torch'", name="torch"),
            "torch cannot be imported (No module named 'torch')",
            'pip install "stprompt-edge[export]"',
        ),
        (
            ModuleNotFoundError("No module named 'sklearn.x'", name="sklearn.x"),
            "sklearn.x cannot be imported (No module named 'sklearn.x')",
            'pip install "stprompt-edge[train]"',
        ),
    ],
)
def test_the_command_line_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], exc: Exception, what: str, remedy: str
) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise exc

    monkeypatch.setattr("stprompt_edge.cli.app.app", fail)
    monkeypatch.setattr(sys, "argv", ["stprompt-edge", "doctor"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == EnvironmentFailure.exit_code
    assert capsys.readouterr().err == f"error: {what}\n  fix: {remedy}\n"
    monkeypatch.setattr(sys, "argv", ["stprompt-edge", "--debug", "doctor"])
    with pytest.raises(type(exc)):
        main()


@pytest.mark.parametrize(
    "exc", [RuntimeError("a bug"), ModuleNotFoundError("x", name="stprompt_edge.x"), ImportError("y")]
)
def test_a_bug_is_not_hidden(monkeypatch: pytest.MonkeyPatch, exc: Exception) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise exc

    monkeypatch.setattr("stprompt_edge.cli.app.app", fail)
    monkeypatch.setattr(sys, "argv", ["stprompt-edge", "doctor"])
    with pytest.raises(type(exc), match=re.escape(str(exc))):
        main()


@pytest.mark.skipif(sys.platform != "linux", reason="limits of address space are Linux's")
@pytest.mark.parametrize("mib", [250, 300, 600])
def test_a_real_limit(tmp_path: Path, mib: int) -> None:
    """Three places where an import of `run` finds no memory: OpenCV, PyAV, ONNX Runtime."""
    code = (
        f"import resource, runpy; resource.setrlimit(resource.RLIMIT_AS, ({mib << 20}, {mib << 20})); "
        "runpy.run_module('stprompt_edge', run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "run", str(DEMO_CLIP), "--max-frames", "9", "--out", str(tmp_path / "out")],
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "COLUMNS": "200"},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    if done.returncode == 0:
        pytest.skip("these versions need less memory")
    assert done.returncode == EnvironmentFailure.exit_code, done.stderr
    assert "Traceback" not in done.stderr
    assert MORE_MEMORY in done.stderr
    assert not list((tmp_path / "out").rglob("*.partial"))
