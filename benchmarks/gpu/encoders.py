"""The same encoder on each engine that is here, behind one call on device memory.

`bind` gives a call that reads the inputs' addresses and leaves the embeddings on the device, all on the device's
stream and without waiting. Inputs are float32 images for all: what turns them into fp16 is part of the call.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from benchmarks.gpu.encoder import LOCATE, WATCH, Inputs, Step
from benchmarks.gpu.measuring import Budget, Device
from benchmarks.gpu.reasons import NotMeasured, first_line
from stprompt_edge.model.encoder import PackedEncoder

OUTPUTS = ("frame", "fine_embeddings", "coarse_embeddings")
CUDA_PROVIDER = "CUDAExecutionProvider"
COMPILE_S, ENGINE_S = 60.0, 150.0  # what one compilation or engine may take, at first


class Embedded(NamedTuple):
    """On the device."""

    frame: Tensor  # [B, D]
    fine: Tensor  # [B, K, D]
    coarse: Tensor  # [B, L, D]


Call = Callable[[], Embedded]


class BoundEncoder(Protocol):
    """An engine with the encoder."""

    name: str
    note: str  # how it runs
    records: bool  # whether its calls can be recorded as a CUDA graph from outside

    def bind(self, inputs: Inputs) -> Call:
        """A call for these inputs.

        Raises:
            NotMeasured: it cannot run here, or there is no time.
        """


class TorchEncoder:
    """The module itself, op by op.

    Args:
        encoder: float32, on the CPU; copied.
        device: where it runs.
        precision: of weights and activations.
    """

    records = True

    def __init__(self, encoder: PackedEncoder, device: Device, precision: torch.dtype = torch.float16) -> None:
        self._encoder, self._precision = _copy(encoder, device, precision), precision
        self.name, self.note = f"torch eager {_short(precision)}", "packed encoder, op by op"

    def bind(self, inputs: Inputs) -> Call:
        """See `BoundEncoder.bind`."""
        return self._call(self._encoder, inputs)

    def _call(self, encoder: Callable[..., Any], inputs: Inputs) -> Call:
        def call() -> Embedded:
            with torch.no_grad():
                return Embedded(*encoder(inputs.image.to(self._precision), inputs.fine, inputs.coarse))

        return call


class CompiledEncoder(TorchEncoder):
    """The module through torch.compile, once for each set of shapes.

    Args:
        mode: of torch.compile; without its own CUDA graphs, which the caller records for all engines alike.
        backend: of torch.compile; `eager` in a dry run.
        budget: compiling takes a share of a minute for each set of shapes.
    """

    def __init__(
        self, encoder: PackedEncoder, device: Device, budget: Budget, *, mode: str, backend: str = "inductor"
    ) -> None:
        super().__init__(encoder, device)
        self._budget, self._estimate_s = budget, COMPILE_S * (3 if mode.startswith("max-autotune") else 1)
        options = {"backend": backend} if backend != "inductor" else {"mode": mode}
        self._compiled = torch.compile(self._encoder, dynamic=False, **options)  # type: ignore[call-overload]
        self._known: set[tuple[int, int, int]] = set()
        self.name, self.note = f"torch.compile fp16 ({mode})", f"backend {backend}, mode {mode}, static shapes"

    def bind(self, inputs: Inputs) -> Call:
        """See `BoundEncoder.bind`."""
        shapes = (inputs.batch, inputs.fine.shape[1], inputs.coarse.shape[1])
        call = self._call(self._compiled, inputs)
        if shapes not in self._known:
            self._budget.need(self._estimate_s, f"{self.name} of {shapes}")
            before = self._budget.left_s
            call()
            self._estimate_s = max(1.5 * (before - self._budget.left_s), 1.0)
            self._known.add(shapes)
        return call


class OnnxCudaEncoder:
    """ONNX Runtime on CUDA: inputs and outputs bound to device memory, on torch's stream.

    Args:
        onnx: the graph; fp16 and typed.
        cuda_graph: ONNX Runtime records and replays each set of shapes itself; it wants no empty tensors, so the watch
            step then encodes one coarse window more, as the runtime does.

    Raises:
        NotMeasured: this ONNX Runtime has no CUDA, or it does not start.
    """

    records = False

    def __init__(self, onnx: Path, device: Device, *, cuda_graph: bool, precision: str = "fp16") -> None:
        self._runtime = import_onnxruntime_cuda()
        self._device, self._graph, self._graphs = device, cuda_graph, 0
        options = self._runtime.SessionOptions()
        options.log_severity_level = 3
        settings = {"device_id": "0", "user_compute_stream": str(device.stream)}
        if cuda_graph:
            settings["enable_cuda_graph"] = "1"
        try:
            self._session = self._runtime.InferenceSession(str(onnx), options, providers=[(CUDA_PROVIDER, settings)])
        except Exception as exc:  # ONNX Runtime raises a class of its own for each status
            raise NotMeasured(f"ONNX Runtime CUDA does not load the graph: {first_line(exc)}") from exc
        if self._session.get_providers()[0] != CUDA_PROVIDER:
            raise NotMeasured("ONNX Runtime lists CUDA but does not start it")
        self._width = int(self._session.get_outputs()[0].shape[1])
        self.name = f"ONNX Runtime CUDA {precision}" + (" (its CUDA graph)" if cuda_graph else "")
        self.note = f"ONNX Runtime {self._runtime.__version__}, bound to device memory"

    def bind(self, inputs: Inputs) -> Call:
        """See `BoundEncoder.bind`."""
        coarse = inputs.coarse
        if self._graph and coarse.shape[1] == 0:
            coarse = torch.zeros(inputs.batch, 1, dtype=torch.int64, device=inputs.image.device)
        found = empty_outputs(inputs.batch, inputs.fine.shape[1], coarse.shape[1], self._width, inputs.image.device)
        binding = self._session.io_binding()
        held = (inputs.image, inputs.fine, coarse)
        for name, tensor in zip(("image", "fine", "coarse"), held, strict=True):
            kind = np.float32 if tensor.dtype == torch.float32 else np.int64
            if tensor.numel():
                binding.bind_input(name, "cuda", 0, kind, tuple(tensor.shape), tensor.data_ptr())
            else:
                binding.bind_cpu_input(name, np.empty(tuple(tensor.shape), kind))  # nothing to copy, no address
        for name, tensor in zip(OUTPUTS, found, strict=True):
            if tensor.numel():
                binding.bind_output(name, "cuda", 0, np.float32, tuple(tensor.shape), tensor.data_ptr())
            else:
                binding.bind_output(name, "cpu")
        options = self._runtime.RunOptions()
        options.add_run_config_entry("disable_synchronize_execution_providers", "1")  # the caller waits, as for all
        if self._graph:
            self._graphs += 1
            options.add_run_config_entry("gpu_graph_id", str(self._graphs))

        def call(kept: Any = held) -> Embedded:
            self._session.run_with_iobinding(binding, options)
            return found

        return call


class TensorRTEncoder:
    """A TensorRT engine built here, of the typed fp16 graph, by `build-engine`'s own builder.

    Args:
        onnx: the graph.
        device: torch's stream is used.
        batches: that it will be asked for.
        budget: building takes minutes.

    Raises:
        NotMeasured: there is no time to build.
        ImportError, EnvironmentFailure, CheckFailed: TensorRT is missing or refuses.
    """

    records = True

    def __init__(self, onnx: Path, device: Device, batches: tuple[int, ...], width: int, budget: Budget) -> None:
        from stprompt_edge.export.engine.network import PlanSettings, build_plan
        from stprompt_edge.runtime.backends.cuda.engines.tensorrt_api import (
            Messages,
            checked,
            import_tensorrt,
            make_logger,
        )

        trt = import_tensorrt()
        budget.need(ENGINE_S, "building an engine")
        settings = PlanSettings(workspace_gib=4.0, stop=threading.Event())
        plan = build_plan(onnx, profiles_for(batches), settings, lambda what, done: None)
        self._messages, self._checked = Messages(), checked
        self._loader = trt.Runtime(make_logger(self._messages))  # outlives the engine
        self._engine = checked(self._loader.deserialize_cuda_engine(plan.engine), "loading the engine", self._messages)
        self._device, self._width = device, width
        self.name, self.note = "TensorRT fp16", f"TensorRT {trt.__version__}, strongly typed, batches {batches}"

    def bind(self, inputs: Inputs) -> Call:
        """See `BoundEncoder.bind`."""
        checked, messages = self._checked, self._messages
        context = checked(self._engine.create_execution_context(), "making a context", messages)
        step = 0 if inputs.coarse.shape[1] == 0 else 1
        checked(context.set_optimization_profile_async(step, self._device.stream), "choosing a profile", messages)
        self._device.synchronize()
        found = empty_outputs(
            inputs.batch, inputs.fine.shape[1], inputs.coarse.shape[1], self._width, inputs.image.device
        )
        held = {"image": inputs.image, "fine": inputs.fine, "coarse": inputs.coarse}
        for name, tensor in held.items():
            checked(context.set_input_shape(name, tuple(tensor.shape)), f"setting the shape of {name}", messages)
        spare = torch.zeros(16, dtype=torch.uint8, device=inputs.image.device)  # an empty tensor wants an address too
        for name, tensor in {**held, **dict(zip(OUTPUTS, found, strict=True))}.items():
            address = tensor.data_ptr() if tensor.numel() else spare.data_ptr()
            checked(context.set_tensor_address(name, address), f"binding {name}", messages)

        def call(kept: Any = (held, spare)) -> Embedded:
            checked(context.execute_async_v3(self._device.stream), "enqueueing the engine", messages)
            return found

        return call


def import_onnxruntime_cuda() -> Any:
    """ONNX Runtime with CUDA.

    Raises:
        NotMeasured: it is missing, or this one has no CUDA.
    """
    try:
        import onnxruntime
    except ImportError as exc:
        raise NotMeasured(f"no ONNX Runtime: {first_line(exc)}") from exc
    if CUDA_PROVIDER not in onnxruntime.get_available_providers():
        raise NotMeasured(f"ONNX Runtime {onnxruntime.__version__} here has no {CUDA_PROVIDER}: no onnxruntime-gpu")
    return onnxruntime


def export_graphs(encoder: PackedEncoder, folder: Path) -> dict[str, Path]:
    """fp32 and typed fp16 ONNX of the encoder, by the package's own export.

    Raises:
        ImportError: onnx or onnxscript is missing.
    """
    import onnx

    from stprompt_edge.export.graphs import export_encoder
    from stprompt_edge.export.half import to_half

    full = export_encoder(encoder)
    paths = {"fp32": folder / "encoder.onnx", "fp16": folder / "encoder.fp16.onnx"}
    onnx.save(full, paths["fp32"])
    onnx.save(to_half(full), paths["fp16"])
    return paths


def profiles_for(batches: tuple[int, ...]) -> tuple[Any, ...]:
    """Watch and locate for the given batches: the smallest, the middle one, the largest."""
    from stprompt_edge.runtime.backends.cuda.engines.sidecar import Profile, ShapeRange

    ordered = sorted(batches)
    sizes = (ordered[0], ordered[len(ordered) // 2], ordered[-1])

    def profile(step: Step) -> Any:
        shapes = {"image": (3, 224, 224), "fine": (step.fine,), "coarse": (step.coarse,)}
        ranges = {
            name: ShapeRange(
                **{bound: (batch, *shape) for bound, batch in zip(("min", "opt", "max"), sizes, strict=True)}
            )
            for name, shape in shapes.items()
        }
        return Profile(name=step.name, inputs=ranges)

    return profile(WATCH), profile(LOCATE)


def empty_outputs(batch: int, fine: int, coarse: int, width: int, device: torch.device) -> Embedded:
    """Float32 tensors for the embeddings."""
    return Embedded(
        torch.empty(batch, width, device=device),
        torch.empty(batch, fine, width, device=device),
        torch.empty(batch, coarse, width, device=device),
    )


def _copy(encoder: PackedEncoder, device: Device, precision: torch.dtype) -> PackedEncoder:
    return copy.deepcopy(encoder).to(device=device.torch, dtype=precision)  # buffers of indices stay int64


def _short(precision: torch.dtype) -> str:
    return {torch.float16: "fp16", torch.float32: "fp32"}[precision]
