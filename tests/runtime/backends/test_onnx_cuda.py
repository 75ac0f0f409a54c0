"""ONNX Runtime's bindings, for real on the CPU; and what CUDA is asked for, of a session that is not there."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from stprompt_edge.assets import DEMO_BUNDLE
from stprompt_edge.bundle import Bundle, load_bundle, seal_bundle
from stprompt_edge.errors import CheckFailed
from stprompt_edge.runtime.backends import onnx_cuda
from stprompt_edge.runtime.backends.onnx import CPU, CUDA, OnnxBackend
from stprompt_edge.runtime.backends.onnx_cuda import CUDA_OPTIONS, OnnxCudaBackend
from tests.bundles import WIDTH
from tests.fakes.device import engine_bundle

onnxruntime = pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return engine_bundle(tmp_path_factory.mktemp("cuda") / "b")


def on_cpu(bundle: Bundle, **settings: Any) -> OnnxCudaBackend:
    """The same code with its buffers in host memory."""
    return OnnxCudaBackend(bundle, precision="fp32", provider=CPU, device="cpu", **settings)


def inputs(batch: int, fine: int, coarse: int, seed: int = 0) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(seed)
    image = rng.random((batch, 3, 224, 224), dtype=np.float32)
    return image, rng.integers(0, 49, (batch, fine)), rng.integers(0, 16, (batch, coarse))


@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("shape", [(1, 12, 0), (1, 12, 1), (2, 49, 16), (1, 0, 0), (3, 1, 0)])
def test_bound_runs_agree_with_plain_ones(bundle: Bundle, shape: Any, padding: int) -> None:
    with OnnxBackend(bundle, precision="fp32", threads=1) as plain, on_cpu(bundle) as bound:
        bound._padding = padding  # as with a graph
        for seed in (1, 2):  # the second run uses the first one's buffers
            expected, got = plain.encode(*inputs(*shape, seed)), bound.encode(*inputs(*shape, seed))
            for name in ("frame", "fine", "coarse"):
                np.testing.assert_allclose(getattr(got, name), getattr(expected, name), atol=1e-6)


@pytest.mark.parametrize("rows", [1, 7])
def test_heads(bundle: Bundle, rows: int) -> None:
    context, clip = np.random.default_rng(0).normal(size=(2, rows, WIDTH)).astype(np.float32)
    with OnnxBackend(bundle, precision="fp32", threads=1) as plain, on_cpu(bundle) as bound:
        expected, got = plain.heads(context=context, clip=clip), bound.heads(context=context, clip=clip)
    assert expected.similarity is not None
    np.testing.assert_allclose(got.anomaly_logit, expected.anomaly_logit, atol=1e-6)
    np.testing.assert_allclose(got.similarity, expected.similarity, atol=1e-6)  # type: ignore[arg-type]


def test_results_are_the_receivers_own(bundle: Bundle) -> None:
    with on_cpu(bundle) as backend:
        first = backend.encode(*inputs(1, 12, 0, 1))
        kept = first.frame.copy()
        backend.encode(*inputs(1, 12, 0, 2))
        np.testing.assert_array_equal(first.frame, kept)


def test_only_so_many_buffers_are_kept(bundle: Bundle) -> None:
    with on_cpu(bundle) as backend:
        for fine in range(20):
            backend.encode(*inputs(1, fine, 0))
        assert len(backend._bound_encoder._bindings) == onnx_cuda.MAX_BINDINGS


def test_the_demo_bundle_runs_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    demo = load_bundle(DEMO_BUNDLE)
    with OnnxCudaBackend(demo, precision="cpu8", provider=CPU, device="cpu") as bound, OnnxBackend(demo) as plain:
        got, expected = bound.encode(*inputs(1, 12, 0)), plain.encode(*inputs(1, 12, 0))
    np.testing.assert_allclose(got.fine, expected.fine, atol=1e-4)


class Session:
    """A session of ONNX Runtime on CUDA, on a machine that has it."""

    refuses_graph = False
    fails_at_run = 0  # with a graph; 0 never
    made: list[Session] = []  # noqa: RUF012

    def __init__(self, path: str, options: Any, providers: list[Any]) -> None:
        (self.provider, self.options), *_ = providers
        if self.refuses_graph and "enable_cuda_graph" in self.options:
            raise RuntimeError("This session cannot use the graph capture feature: 3 nodes are on the CPU")
        self._real = onnxruntime.InferenceSession(path, providers=[CPU])
        self.graphs: list[str] = []
        Session.made.append(self)

    def get_providers(self) -> list[str]:
        return [self.provider]

    def get_inputs(self) -> Any:
        return self._real.get_inputs()

    def get_outputs(self) -> Any:
        return self._real.get_outputs()

    def io_binding(self) -> Any:
        return self._real.io_binding()

    def run_with_iobinding(self, binding: Any, run_options: Any = None) -> None:
        if run_options is not None:
            self.graphs.append(run_options.get_run_config_entry("gpu_graph_id"))
            if len(self.graphs) == self.fails_at_run:
                raise RuntimeError("CUDA error 900: operation not permitted when stream is capturing\nmore of it")
        self._real.run_with_iobinding(binding)


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> type[Session]:
    runtime = SimpleNamespace(
        __version__="1.20.0",
        get_available_providers=lambda: [CUDA, CPU],
        SessionOptions=onnxruntime.SessionOptions,
        RunOptions=onnxruntime.RunOptions,
        OrtValue=onnxruntime.OrtValue,
        InferenceSession=Session,
    )
    monkeypatch.setitem(sys.modules, "onnxruntime", runtime)
    monkeypatch.setattr(Session, "made", [])
    return Session


def test_what_cuda_is_asked_for(cuda: type[Session], bundle: Bundle) -> None:
    with OnnxCudaBackend(bundle, device="cpu") as backend:
        assert backend.precision == "fp16"
        assert backend.description == "ONNX Runtime CUDA, encoder.fp16.onnx"
        backend.encode(*inputs(1, 12, 0))
    assert [session.options for session in cuda.made] == [CUDA_OPTIONS, CUDA_OPTIONS]
    assert cuda.made[0].graphs == []


def test_each_set_of_shapes_has_its_graph(cuda: type[Session], bundle: Bundle) -> None:
    with OnnxCudaBackend(bundle, device="cpu", cuda_graph=True) as backend:
        assert backend.description == "ONNX Runtime CUDA, encoder.fp16.onnx, CUDA graph"
        for fine, coarse in ((12, 0), (49, 16), (12, 0), (12, 1)):  # an empty coarse window is padded to one
            assert backend.encode(*inputs(1, fine, coarse)).coarse.shape == (1, coarse, WIDTH)
        for fine in range(1, 9):
            backend.encode(*inputs(1, fine, 1))
        held = backend._bound_encoder._bindings.values()
        assert [binding.recorded for binding in held].count(True) == onnx_cuda.MAX_BINDINGS
        assert len(held) == onnx_cuda.MAX_BINDINGS + 1, "what is not recorded is forgotten again"
    assert all(session.options["enable_cuda_graph"] == "1" for session in cuda.made)
    assert cuda.made[0].graphs == ["1", "2", "1", "1", "3", "4", "5", "6", "7", "8", "-1", "-1"]


def test_a_graph_that_cannot_be_recorded(cuda: type[Session], bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Session, "refuses_graph", True)
    with OnnxCudaBackend(bundle, device="cpu", cuda_graph=True) as backend:
        assert "without CUDA graph: " in backend.description
        assert "3 nodes are on the CPU" in backend.description
        backend.encode(*inputs(1, 12, 0))
    assert cuda.made[0].graphs == []


@pytest.mark.parametrize("at", [1, 2])
def test_a_recording_that_fails_at_a_run(
    cuda: type[Session], bundle: Bundle, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    monkeypatch.setattr(Session, "fails_at_run", at)
    recording = OnnxCudaBackend(bundle, device="cpu", cuda_graph=True)
    with recording as backend, OnnxCudaBackend(bundle, device="cpu") as plain:
        for seed in (1, 2, 3):
            got, expected = backend.encode(*inputs(1, 12, 0, seed)), plain.encode(*inputs(1, 12, 0, seed))
            np.testing.assert_allclose(got.fine, expected.fine, atol=1e-6)
        assert backend.description == (
            "ONNX Runtime CUDA, encoder.fp16.onnx, without CUDA graph: "
            "CUDA error 900: operation not permitted when stream is capturing"
        )
        context, clip = np.ones((2, 1, WIDTH), np.float32)
        assert np.isfinite(backend.heads(context=context, clip=clip).anomaly_logit).all()
    assert [session.options.get("enable_cuda_graph") for session in cuda.made] == ["1"] * 2 + [None] * 4


def test_without_a_graph_what_a_run_raises_is_not_hidden(bundle: Bundle) -> None:
    with on_cpu(bundle) as backend, pytest.raises(Exception, match="out of"):
        backend.encode(inputs(1, 12, 0)[0], np.full((1, 12), 99), np.zeros((1, 0), np.int64))


def test_a_graph_that_does_not_load_is_no_matter_of_recording(
    cuda: type[Session], bundle: Bundle, tmp_path: Path
) -> None:
    broken = engine_bundle(tmp_path / "b")
    (broken.path / "encoder.fp16.onnx").write_bytes(b"not a graph")
    broken = seal_bundle(broken.path, broken.manifest)  # its digests are those of what it holds
    for cuda_graph in (False, True):
        with pytest.raises(CheckFailed, match=r"encoder\.fp16\.onnx cannot be loaded by ONNX Runtime"):
            OnnxCudaBackend(broken, device="cpu", cuda_graph=cuda_graph)


def test_options_are_names_that_onnx_runtime_documents() -> None:
    documented = {
        "device_id", "user_compute_stream", "do_copy_in_default_stream", "gpu_mem_limit", "arena_extend_strategy",
        "cudnn_conv_algo_search", "cudnn_conv_use_max_workspace", "cudnn_conv1d_pad_to_nc1d", "enable_cuda_graph",
        "enable_skip_layer_norm_strict_mode", "use_tf32", "gpu_external_alloc", "gpu_external_free", "prefer_nhwc",
        "gpu_external_empty_cache", "use_ep_level_unified_stream", "tunable_op_enable",
    }  # fmt: skip
    assert set(CUDA_OPTIONS) | {"enable_cuda_graph"} <= documented
