"""TensorRT engines that `build-engine` made on this device.

One primary context, one stream. Every set of input shapes that an engine serves has an execution context of its own
with its buffers bound once, so a step is: copy in, enqueue (or launch the recorded graph), copy out, wait. There are at
most a dozen of them: see `engines.profiles`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from stprompt_edge.bundle import ENCODER, HEADS_NAME, Bundle, GraphShapes, tensor_type
from stprompt_edge.errors import CheckFailed
from stprompt_edge.runtime.backends.base import Backend, Encoded, HeadsOutput
from stprompt_edge.runtime.backends.cuda.engines.device import CudaSession
from stprompt_edge.runtime.backends.cuda.engines.execution import Engine
from stprompt_edge.runtime.backends.cuda.engines.launches import Recording, Runtime
from stprompt_edge.runtime.backends.cuda.engines.sidecar import (
    CUBIN_NAME,
    ENCODER_ENGINE,
    HEADS_ENGINE,
    EngineSidecar,
    Profile,
    check_sidecar,
    find_engine,
    rebuild_command,
)
from stprompt_edge.runtime.backends.cuda.engines.tensorrt_api import Messages, checked, import_tensorrt, make_logger
from stprompt_edge.runtime.backends.cuda.stream import DeviceStream

if TYPE_CHECKING:
    import tensorrt as trt


class TensorRTBackend(Backend):
    """A bundle on the engines of this device.

    Args:
        bundle: checked by `load_bundle`.
        folder: of the engine; None for the fastest one in the bundle that runs here.
        precision: wanted one where `folder` is None; None for any.
        cuda_graph: launch each set of shapes as one CUDA graph; plain launches where it cannot be recorded.

    Attributes:
        sidecar: of the engine.
        precision: of the encoder.

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
        self._runtime = Runtime(session=CudaSession(), messages=Messages(), recording=Recording(wanted=cuda_graph))
        self._engines: list[Engine] = []
        self._streams: list[DeviceStream] = []
        try:
            folder, self.sidecar = self._choose(bundle, folder, precision, tensorrt.__version__)
            self.precision = self.sidecar.precision
            self._folder, self._bundle = folder, bundle
            logger = make_logger(self._runtime.messages)
            with self._runtime.session.current("starting TensorRT"):
                self._loader: trt.Runtime = tensorrt.Runtime(logger)  # must outlive the engines that it loads
            self._open(bundle, folder)
            self._name = f"TensorRT {tensorrt.__version__} on {self._runtime.session.device.name}, {folder.name}"
        except BaseException:
            self.close()
            raise

    @property
    def description(self) -> str:  # type: ignore[override]  # it changes while frames come
        """Engine, device, and whether graphs are launched or why not: some are recorded only while frames come."""
        return f"{self._name}, {self._runtime.recording}"

    def encode(self, image: NDArray[np.float32], fine: NDArray[np.int64], coarse: NDArray[np.int64]) -> Encoded:
        """See `Backend.encode`."""
        outputs = self._encoder.run_in_parts(ENCODER.feed(image, fine, coarse))
        return Encoded.from_outputs(outputs, fine.shape[1], coarse.shape[1])

    def heads(self, **inputs: NDArray[np.float32]) -> HeadsOutput:
        """See `Backend.heads`."""
        return HeadsOutput(**self._heads.run_in_parts(dict(inputs)))

    def open_stream(self, *, lookahead: int) -> DeviceStream | None:
        """See `Backend.open_stream`; it is closed with the backend.

        None where the method compares embeddings instead of pixels or looks at no windows, or `build-engine` found that
        this device's results are not those of the CPU. For a method that is judged on the device, without lookahead,
        the step goes on to the heads' outputs, else it ends with embeddings.

        Raises:
            EnvironmentFailure: a kernel does not load, the engine takes no single frame, or memory is short.
        """
        method = self._bundle.manifest.method
        if not self.sidecar.device_frames or method.motion != "pixel" or not method.windows:
            return None
        judge = self._bundle.traits.judged_on_device and lookahead == 0
        cubin = (self._folder / CUBIN_NAME).read_bytes()
        stream = DeviceStream(self._runtime, self._encoder, self._heads if judge else None, cubin, self._bundle)
        self._streams.append(stream)
        return stream

    def close(self) -> None:
        """Free streams, engines, memory and the context; may be called twice."""
        for stream in self._streams:
            stream.close()
        self._streams = []
        for engine in self._engines:
            engine.close()
        self._engines = []
        self._runtime.session.close()

    def _choose(
        self, bundle: Bundle, folder: Path | None, precision: str | None, version: str
    ) -> tuple[Path, EngineSidecar]:
        if folder is None:
            return find_engine(bundle, self._runtime.session.device, version, precision)
        return folder, check_sidecar(folder, bundle, self._runtime.session.device, version)

    def _open(self, bundle: Bundle, folder: Path) -> None:
        self._encoder = self._load(folder / ENCODER_ENGINE, bundle, ENCODER.shapes(bundle.sizes))
        if HEADS_NAME in bundle.manifest.files:
            self._heads = self._load(folder / HEADS_ENGINE, bundle, bundle.traits.heads.shapes(bundle.sizes))
        for engine in self._engines:
            engine.warm_up()

    def _load(self, path: Path, bundle: Bundle, shapes: GraphShapes) -> Engine:
        """Deserialize an engine whose sidecar was checked, and check what it says of itself."""
        with self._runtime.session.current(f"loading {path.name}"):
            plan: trt.ICudaEngine = checked(
                self._loader.deserialize_cuda_engine(path.read_bytes()), f"loading {path.name}", self._runtime.messages
            )
            profiles = self.sidecar.engines[path.name].profiles
            refusal = engine_mismatch(plan, profiles, shapes)
            if refusal:
                raise CheckFailed(
                    f"engine {path.parent.name}/{path.name}: {refusal}",
                    remedy=f"build it again: {rebuild_command(bundle, self.sidecar.precision, self.sidecar.batch)}",
                )
            engine = Engine(self._runtime, plan, profiles, list(shapes.inputs), list(shapes.outputs))
        self._engines.append(engine)
        return engine


def engine_mismatch(plan: trt.ICudaEngine, profiles: tuple[Profile, ...], shapes: GraphShapes) -> str | None:
    """What an engine says of itself that its sidecar or bundle does not: tensors, types, shapes, profiles; or None."""
    tensorrt = import_tensorrt()
    names = [plan.get_tensor_name(index) for index in range(plan.num_io_tensors)]
    modes = tensorrt.TensorIOMode
    for mode, expected in ((modes.INPUT, shapes.inputs), (modes.OUTPUT, shapes.outputs)):
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
            kind = np.dtype(tensorrt.nptype(plan.get_tensor_dtype(name)))
            if kind != tensor_type(name):
                return f"{name} is {kind}, expected {tensor_type(name)}"
    if plan.num_optimization_profiles != len(profiles):
        return f"has {plan.num_optimization_profiles} profiles, its sidecar says {len(profiles)}"
    for index, profile in enumerate(profiles):
        for name, held_range in profile.inputs.items():
            got = [tuple(shape) for shape in plan.get_tensor_profile_shape(name, index)]
            if got != [held_range.min, held_range.opt, held_range.max]:
                return f"profile {profile.name} of {name} is {got}, its sidecar says {held_range}"
    return None
