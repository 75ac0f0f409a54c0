"""The encoder that is timed, its operations, and the engines behind one call."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.gpu import encoders
from benchmarks.gpu.encoder import LOCATE, TINY, WATCH, Step, build_encoder, make_inputs, packed_flops, token_rows
from benchmarks.gpu.encoders import CompiledEncoder, OnnxCudaEncoder, TensorRTEncoder, TorchEncoder, profiles_for
from benchmarks.gpu.measuring import Budget, CpuDevice
from benchmarks.gpu.reasons import NotMeasured
from benchmarks.gpu.steps import smallest_cosine

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def encoder() -> Any:
    return build_encoder(TINY)[0]


@pytest.mark.parametrize("step", [WATCH, LOCATE, Step(name="frame", fine=0, coarse=0)], ids=lambda step: step.name)
def test_operations_are_those_that_torch_counts(encoder: Any, step: Step) -> None:
    inputs = make_inputs(step, 2, CPU)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        encoder(inputs.image, inputs.fine, inputs.coarse)
    assert packed_flops(TINY, step, 2) == counter.get_total_flops()


def test_rows_of_the_packed_sequence() -> None:
    assert (token_rows(WATCH, 1), token_rows(LOCATE, 2)) == (197 + 60, 2 * (197 + 245 + 16 * 26))


def test_without_open_clip_the_architecture_is_written_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "open_clip", None)
    _, what = build_encoder(dataclasses.replace(TINY, open_clip_name="ViT-B-16-quickgelu"))
    assert what == "plain torch ViT, 2 layers of 32, patch 16, seeded weights (no open_clip)"


def test_windows_differ_from_frame_to_frame() -> None:
    inputs = make_inputs(WATCH, 3, CPU, torch.ones(2, 3, 224, 224))
    assert inputs.image.shape == (3, 3, 224, 224)
    assert len({tuple(row.tolist()) for row in inputs.fine}) == 3
    assert all(len(set(row.tolist())) == 12 for row in inputs.fine)


def test_compiled_and_eager_agree_and_a_second_shape_wants_time(encoder: Any) -> None:
    device, inputs = CpuDevice(), make_inputs(WATCH, 1, CPU)
    now = [0.0]
    budget = Budget(100, clock=lambda: now[0])
    compiled = CompiledEncoder(encoder, device, budget, mode="default", backend="eager")
    eager = TorchEncoder(encoder, device).bind(inputs)()
    assert smallest_cosine(compiled.bind(inputs)(), eager)[0] > 0.9999
    now[0] = 99.5
    with pytest.raises(NotMeasured, match=r"torch\.compile fp16 \(default\) of \(2, 12, 0\)"):
        compiled.bind(make_inputs(WATCH, 2, CPU))
    compiled.bind(inputs)  # known already


class OnCpu:
    """ONNX Runtime's session whose CUDA is the CPU."""

    def __init__(self, real: Any) -> None:
        self._real = real

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def get_providers(self) -> list[str]:
        return ["CUDAExecutionProvider"]

    def io_binding(self) -> Any:
        real = self._real.io_binding()
        moved = SimpleNamespace(
            bind_cpu_input=real.bind_cpu_input,
            bind_input=lambda name, device, *rest: real.bind_input(name, "cpu", *rest),
            bind_output=lambda name, device, *rest: real.bind_output(name, "cpu", *rest),
        )
        return SimpleNamespace(real=real, **vars(moved))

    def run_with_iobinding(self, binding: Any, options: Any) -> None:
        self.options = options
        self._real.run_with_iobinding(binding.real)


@pytest.fixture(scope="module")
def graphs(encoder: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    pytest.importorskip("onnxscript")
    return encoders.export_graphs(encoder, tmp_path_factory.mktemp("graphs"))


@pytest.mark.parametrize("graph", [False, True])
def test_onnxruntime_reads_and_writes_the_given_memory(
    encoder: Any, graphs: dict[str, Path], monkeypatch: pytest.MonkeyPatch, graph: bool
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    asked: list[Any] = []

    def session(path: str, options: Any, providers: Any) -> OnCpu:
        asked.extend(providers)
        return OnCpu(onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]))

    runtime = SimpleNamespace(
        __version__="1.20.0", InferenceSession=session, SessionOptions=onnxruntime.SessionOptions,
        RunOptions=onnxruntime.RunOptions,
    )  # fmt: skip
    monkeypatch.setattr(encoders, "import_onnxruntime_cuda", lambda: runtime)
    engine = OnnxCudaEncoder(graphs["fp16"], CpuDevice(), cuda_graph=graph)
    assert asked[0][1].get("enable_cuda_graph") == ("1" if graph else None)
    assert asked[0][1]["user_compute_stream"] == "0"
    for step in (WATCH, LOCATE):
        inputs = make_inputs(step, 2, CPU)
        call = engine.bind(inputs)
        first = [part.clone() for part in call()]
        inputs.image.mul_(0.5)  # the same addresses, other frames
        second = call()
        assert second.coarse.shape[1] == (1 if graph and step is WATCH else step.coarse)
        expected = TorchEncoder(encoder, CpuDevice(), torch.float32).bind(inputs)()
        got = second._replace(coarse=second.coarse[:, : step.coarse])
        assert smallest_cosine(got, expected)[0] > 0.999
        assert not torch.equal(first[0], second.frame)


def test_an_onnxruntime_without_cuda_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = ModuleType("onnxruntime")
    fake.__version__, fake.get_available_providers = "1.30.0", lambda: ["CPUExecutionProvider"]  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "onnxruntime", fake)
    with pytest.raises(NotMeasured, match=r"1\.30\.0 here has no CUDAExecutionProvider"):
        encoders.import_onnxruntime_cuda()
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(NotMeasured, match="no ONNX Runtime"):
        encoders.import_onnxruntime_cuda()


@pytest.mark.parametrize("provider", ["CPUExecutionProvider", ""])
def test_a_cuda_that_does_not_start(monkeypatch: pytest.MonkeyPatch, provider: str) -> None:
    def session(path: str, options: Any, providers: Any) -> Any:
        if not provider:
            raise RuntimeError("libcublasLt.so.13: cannot open\nmore")
        return SimpleNamespace(get_providers=lambda: [provider])

    options = SimpleNamespace
    runtime = SimpleNamespace(__version__="1", SessionOptions=options, InferenceSession=session)
    monkeypatch.setattr(encoders, "import_onnxruntime_cuda", lambda: runtime)
    told = "does not start it" if provider else "does not load the graph: libcublasLt"
    with pytest.raises(NotMeasured, match=told):
        OnnxCudaEncoder(Path("x.onnx"), CpuDevice(), cuda_graph=False)


class FakeContext:
    """An execution context that writes ones into its outputs, as strict as TensorRT about the order of calls."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.addresses: dict[str, int] = {}

    def set_optimization_profile_async(self, index: int, stream: int) -> bool:
        self.calls.append(("profile", index))
        return True

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        assert self.calls
        self.calls.append((name, shape))
        return True

    def set_tensor_address(self, name: str, address: int) -> bool:
        assert address, f"{name} has no address"
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        return len(self.addresses) == 6


@pytest.mark.parametrize(("step", "profile"), [(WATCH, 0), (LOCATE, 1)], ids=lambda x: getattr(x, "name", None))
def test_a_tensorrt_context_gets_every_address(monkeypatch: pytest.MonkeyPatch, step: Step, profile: int) -> None:
    from stprompt_edge.export.engine import network
    from stprompt_edge.runtime.backends.cuda.engines import tensorrt_api

    context = FakeContext()
    engine = SimpleNamespace(create_execution_context=lambda: context)
    loader = SimpleNamespace(deserialize_cuda_engine=lambda plan: engine)
    fake = SimpleNamespace(__version__="10.3.0", Runtime=lambda logger: loader)
    monkeypatch.setattr(tensorrt_api, "import_tensorrt", lambda: fake)
    monkeypatch.setattr(tensorrt_api, "make_logger", lambda messages: None)
    built: list[Any] = []

    def build(onnx: Path, profiles: Any, settings: Any, progress: Any) -> Any:
        built.extend(profiles)
        return SimpleNamespace(engine=b"plan")

    monkeypatch.setattr(network, "build_plan", build)
    encoder = TensorRTEncoder(Path("x.onnx"), CpuDevice(), (1, 8, 32), 16, Budget(1000))
    found = encoder.bind(make_inputs(step, 8, CPU))()
    assert found.fine.shape == (8, step.fine, 16)
    assert context.calls[0] == ("profile", profile)
    assert ("fine", (8, step.fine)) in context.calls
    assert [held.name for held in built] == ["watch", "locate"]
    with pytest.raises(NotMeasured, match="building an engine"):
        TensorRTEncoder(Path("x.onnx"), CpuDevice(), (1,), 16, Budget(1))


def test_profiles_hold_all_batches() -> None:
    watch, locate = profiles_for((32, 1, 8))
    assert watch.inputs["image"].model_dump() == {
        "min": (1, 3, 224, 224),
        "opt": (8, 3, 224, 224),
        "max": (32, 3, 224, 224),
    }
    assert (watch.inputs["coarse"].max, locate.inputs["coarse"].max) == ((32, 0), (32, 16))
