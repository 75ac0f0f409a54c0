"""TensorRT engines that `build-engine` made on this device.

One primary context, one stream, and for each engine one block of device memory for its activations. Every set of input
shapes that an engine serves has an execution context of its own with its buffers bound once, so a step is: copy in,
enqueue (or launch the captured graph), copy out, wait. There are at most a dozen of them: see `engines.profiles`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self  # in `typing` from Python 3.11 on

from stprompt_edge.bundle import HEADS_NAME, Bundle
from stprompt_edge.errors import CheckFailed, EnvironmentFailure
from stprompt_edge.runtime.backends.base import Encoded, HeadsOutput, Shapes, heads_shapes
from stprompt_edge.runtime.backends.cuda_graph import CudaGraph
from stprompt_edge.runtime.engines.device import CudaSession, cuda_errors
from stprompt_edge.runtime.engines.profiles import Variant, largest, pick_variant
from stprompt_edge.runtime.engines.sidecar import (
    ENCODER_ENGINE,
    HEADS_ENGINE,
    EngineSidecar,
    Profile,
    check_sidecar,
    find_engine,
    rebuild_command,
)
from stprompt_edge.runtime.engines.tensorrt_api import Messages, checked, import_tensorrt, make_logger

if TYPE_CHECKING:
    import tensorrt as trt

Arrays = dict[str, NDArray[Any]]
ENCODER_TYPES = {"image": np.float32, "fine": np.int64, "coarse": np.int64}


class TensorRTBackend:
    """A bundle on the engines of this device.

    Args:
        bundle: checked by `load_bundle`.
        folder: of the engine; None for the fastest one in the bundle that runs here.
        precision: wanted one where `folder` is None; None for any.
        cuda_graph: launch each set of shapes as one CUDA graph; plain launches where it cannot be recorded.

    Attributes:
        description: engine, device, and whether graphs are launched or why not.

    Raises:
        EnvironmentFailure: TensorRT, PyCUDA, the driver, the GPU or an engine is missing, or memory is short.
        CheckFailed: the engine is of another device, TensorRT or bundle, was changed, or is not what its sidecar says.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        folder: Path | None = None,
        precision: str | None = None,
        cuda_graph: bool = True,
    ) -> None:
        tensorrt = import_tensorrt()
        self._messages = Messages()
        self._cuda = CudaSession()
        self._engines: list[_Engine] = []
        self._recording = _Recording(wanted=cuda_graph)
        try:
            folder, self.sidecar = self._choose(bundle, folder, precision, tensorrt.__version__)
            self.precision = self.sidecar.precision
            logger = make_logger(self._messages)
            with self._cuda.current("starting TensorRT"):
                self._runtime: trt.Runtime = tensorrt.Runtime(logger)  # must outlive the engines that it loads
            self._open(bundle, folder)
            name = f"TensorRT {tensorrt.__version__} on {self._cuda.device.name}, {folder.name}"
            self.description = f"{name}, {self._recording}"
        except BaseException:
            self.close()
            raise

    def encode(self, image: NDArray[np.float32], fine: NDArray[np.int64], coarse: NDArray[np.int64]) -> Encoded:
        """See `Backend.encode`."""
        outputs = self._encoder.run_in_parts({"image": image, "fine": fine, "coarse": coarse})
        return Encoded(
            frame=outputs["frame"],
            fine=outputs["fine_embeddings"][:, : fine.shape[1]],
            coarse=outputs["coarse_embeddings"][:, : coarse.shape[1]],
        )

    def heads(self, **inputs: NDArray[np.float32]) -> HeadsOutput:
        """See `Backend.heads`."""
        return HeadsOutput(**self._heads.run_in_parts(dict(inputs)))

    def close(self) -> None:
        """Free engines, memory and the context; may be called twice."""
        for engine in self._engines:
            engine.close()
        self._engines = []
        self._cuda.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _choose(
        self, bundle: Bundle, folder: Path | None, precision: str | None, version: str
    ) -> tuple[Path, EngineSidecar]:
        if folder is None:
            return find_engine(bundle, self._cuda.device, version, precision)
        return folder, check_sidecar(folder, bundle, self._cuda.device, version)

    def _open(self, bundle: Bundle, folder: Path) -> None:
        width, size = bundle.manifest.clip.embedding_width, bundle.geometry.image_size
        self._encoder = self._load(
            folder / ENCODER_ENGINE,
            bundle,
            inputs={"image": [None, 3, size, size], "fine": [None, None], "coarse": [None, None]},
            outputs={
                "frame": [None, width],
                "fine_embeddings": [None, None, width],
                "coarse_embeddings": [None, None, width],
            },
        )
        if HEADS_NAME in bundle.manifest.files:
            inputs, outputs = heads_shapes(bundle)
            self._heads = self._load(folder / HEADS_ENGINE, bundle, inputs=inputs, outputs=outputs)
        for engine in self._engines:
            engine.warm_up()

    def _load(self, path: Path, bundle: Bundle, *, inputs: Shapes, outputs: Shapes) -> _Engine:
        """Deserialize an engine whose sidecar was checked, and check what it says of itself."""
        with self._cuda.current(f"loading {path.name}"):
            plan: trt.ICudaEngine = checked(
                self._runtime.deserialize_cuda_engine(path.read_bytes()), f"loading {path.name}", self._messages
            )
            profiles = self.sidecar.engines[path.name].profiles
            refusal = engine_mismatch(plan, profiles, inputs, outputs)
            if refusal:
                raise CheckFailed(
                    f"engine {path.parent.name}/{path.name}: {refusal}",
                    remedy=f"build it again: {rebuild_command(bundle, self.sidecar.precision)}",
                )
            engine = _Engine(
                self._cuda, plan, profiles, list(inputs), list(outputs), self._messages, self._recording
            )  # fmt: skip
        self._engines.append(engine)
        return engine


@dataclass
class _Recording:
    """Whether launches are recorded; the first that cannot be ends it for all, and is the reason shown."""

    wanted: bool
    problem: str = ""

    def __str__(self) -> str:
        if self.problem:
            return f"plain launches ({self.problem})"
        return "CUDA graph" if self.wanted else "plain launches"


class _Engine:
    """A loaded engine; makes an execution context for each set of shapes when it is first needed."""

    def __init__(
        self,
        session: CudaSession,
        plan: trt.ICudaEngine,
        profiles: tuple[Profile, ...],
        inputs: list[str],
        outputs: list[str],
        messages: Messages,
        recording: _Recording,
    ) -> None:
        self._session, self._messages, self._profiles = session, messages, profiles
        self._recording = recording
        self._plan: trt.ICudaEngine = plan
        self._inputs, self._outputs = inputs, outputs
        self._max_rows = largest(profiles, inputs[0], 0)
        self._scratch_bytes = max(plan.device_memory_size_v2, 1)
        self._scratch: Any = session.cuda.mem_alloc(self._scratch_bytes)
        self._bound: dict[Variant, _Bound] = {}

    def warm_up(self) -> None:
        """The smallest step of the first profile, so that the first real one comes in time."""
        with self._session.current("warming up"):
            self._bind({name: held.min for name, held in self._profiles[0].inputs.items()})

    def run_in_parts(self, inputs: Arrays) -> Arrays:
        """Run on any number of rows (axis 0 of every input), as many at once as the engine takes.

        Returns:
            By output name, owned by the receiver; axes after the first may be padded.
        """
        rows = next(iter(inputs.values())).shape[0]
        parts = [
            self._run({name: array[start : start + self._max_rows] for name, array in inputs.items()})
            for start in range(0, rows, self._max_rows)
        ]
        return parts[0] if len(parts) == 1 else {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}

    def _run(self, inputs: Arrays) -> Arrays:
        rows = next(iter(inputs.values())).shape[0]
        with self._session.current("running the engine"):
            bound = self._bind({name: array.shape for name, array in inputs.items()})
            return {name: array[:rows] for name, array in bound.run(inputs).items()}

    def _bind(self, wanted: Mapping[str, tuple[int, ...]]) -> _Bound:
        variant = pick_variant(self._profiles, wanted)
        if variant is None:
            raise ValueError(f"no profile of the engine holds {dict(wanted)}")
        if variant not in self._bound:
            self._bound[variant] = self._new_bound(variant)
        return self._bound[variant]

    def _new_bound(self, variant: Variant) -> _Bound:
        tensorrt = import_tensorrt()
        context: trt.IExecutionContext = checked(
            self._plan.create_execution_context(tensorrt.ExecutionContextAllocationStrategy.USER_MANAGED),
            "making an execution context",
            self._messages,
        )
        context.set_device_memory(int(self._scratch), self._scratch_bytes)
        stream = self._session.stream
        checked(
            context.set_optimization_profile_async(variant.profile, stream.handle), "choosing a profile", self._messages
        )
        stream.synchronize()
        for name, shape in variant.shapes:
            checked(context.set_input_shape(name, shape), f"setting the shape of {name} to {shape}", self._messages)
        return _Bound(self._session, self._plan, context, variant, self._outputs, self._messages, self._recording)

    def close(self) -> None:
        with self._session.current("freeing an engine"):
            for bound in self._bound.values():
                bound.close()
            self._bound = {}
            self._plan = None  # type: ignore[assignment]
            self._scratch.free()


class _Bound:
    """An execution context with one set of shapes, its device buffers bound and its host buffers pinned."""

    def __init__(
        self,
        session: CudaSession,
        plan: trt.ICudaEngine,
        context: trt.IExecutionContext,
        variant: Variant,
        outputs: list[str],
        messages: Messages,
        recording: _Recording,
    ) -> None:
        self._session, self._plan, self._messages = session, plan, messages
        self._context: trt.IExecutionContext = context
        self._host: Arrays = {}
        self._device: dict[str, Any] = {}
        self._graph: CudaGraph | None = None
        self._input_names = [name for name, _ in variant.shapes]
        self._output_names = list(outputs)
        try:
            for name, shape in variant.shapes:
                self._bind(name, shape)
            for name in outputs:
                self._bind(name, tuple(context.get_tensor_shape(name)))
            self._record(recording)
        except BaseException:
            self.close()
            raise

    def _bind(self, name: str, shape: tuple[int, ...]) -> None:
        """Host and device buffers of one tensor, zeroed; TensorRT wants an address of an empty one too."""
        tensorrt = import_tensorrt()
        plan: trt.ICudaEngine = self._plan
        if min(shape, default=0) < 0:
            raise CheckFailed(f"the engine does not know the shape of {name}", remedy="build the engine again")
        kind = tensorrt.nptype(plan.get_tensor_dtype(name))
        host = self._session.cuda.pagelocked_empty(shape, kind) if all(shape) else np.empty(shape, kind)
        host[...] = 0
        self._host[name] = host
        self._device[name] = self._session.cuda.mem_alloc(max(host.nbytes, 1))
        context: trt.IExecutionContext = self._context
        checked(context.set_tensor_address(name, int(self._device[name])), f"binding {name}", self._messages)

    def _record(self, recording: _Recording) -> None:
        """Run once, and then as a graph if that works."""
        stream = self._session.stream
        self.enqueue()
        stream.synchronize()
        if not recording.wanted or recording.problem:
            return
        try:
            with cuda_errors(self._session.cuda, "recording a CUDA graph"):
                self._graph = CudaGraph(stream.handle, self.enqueue)
        except EnvironmentFailure as exc:
            recording.problem = exc.what

    def run(self, inputs: Arrays) -> Arrays:
        """Copy in, enqueue, copy out, wait; what the inputs lack is padded with zeros, which are valid indices."""
        for name in self._input_names:
            fill(self._host[name], inputs[name])
        if self._graph:
            self._graph.launch()
        else:
            self.enqueue()
        self._session.stream.synchronize()
        return {name: self._host[name].copy() for name in self._output_names}

    def enqueue(self) -> None:
        """All of it on the stream, from pinned buffers to pinned buffers."""
        cuda, stream = self._session.cuda, self._session.stream
        for name in self._input_names:
            if self._host[name].nbytes:
                cuda.memcpy_htod_async(self._device[name], self._host[name], stream)
        checked(self._context.execute_async_v3(stream.handle), "enqueueing the engine", self._messages)
        for name in self._output_names:
            if self._host[name].nbytes:
                cuda.memcpy_dtoh_async(self._host[name], self._device[name], stream)

    def close(self) -> None:
        if self._graph:
            self._graph.close()
        for memory in self._device.values():
            memory.free()
        self._device = {}


def fill(target: NDArray[Any], source: NDArray[Any]) -> None:
    """Copy an array into the low corner of one that is as large or larger, and zeros into the rest."""
    if source.shape != target.shape:
        target[...] = 0
    target[tuple(slice(0, size) for size in source.shape)] = source


def engine_mismatch(
    plan: trt.ICudaEngine, profiles: tuple[Profile, ...], inputs: Shapes, outputs: Shapes
) -> str | None:
    """What an engine says of itself that its sidecar or bundle does not: tensors, types, shapes, profiles; or None."""
    tensorrt = import_tensorrt()
    names = [plan.get_tensor_name(index) for index in range(plan.num_io_tensors)]
    for mode, expected in ((tensorrt.TensorIOMode.INPUT, inputs), (tensorrt.TensorIOMode.OUTPUT, outputs)):
        found = sorted(name for name in names if plan.get_tensor_mode(name) == mode)
        if found != sorted(expected):
            return f"has {mode.name.lower()}s {found}, expected {sorted(expected)}"
        for name, shape in expected.items():
            held = list(plan.get_tensor_shape(name))
            fits = len(held) == len(shape) and all(
                size in (-1, want) or want is None for size, want in zip(held, shape, strict=True)
            )
            if not fits:
                return f"{name} has shape {held}, expected {['any' if size is None else size for size in shape]}"
            kind = tensorrt.nptype(plan.get_tensor_dtype(name))
            if np.dtype(kind) != np.dtype(ENCODER_TYPES.get(name, np.float32)):
                return f"{name} is {np.dtype(kind)}, expected {np.dtype(ENCODER_TYPES.get(name, np.float32))}"
    if plan.num_optimization_profiles != len(profiles):
        return f"has {plan.num_optimization_profiles} profiles, its sidecar says {len(profiles)}"
    for index, profile in enumerate(profiles):
        for name, held_range in profile.inputs.items():
            got = [tuple(shape) for shape in plan.get_tensor_profile_shape(name, index)]
            if got != [held_range.min, held_range.opt, held_range.max]:
                return f"profile {profile.name} of {name} is {got}, its sidecar says {held_range}"
    return None
