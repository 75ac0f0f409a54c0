"""Loaded engines: a context for each set of input shapes, its buffers bound once, its launches recorded once.

Engines that feed each other, or a kernel, are bound to buffers of each other's and enqueued one behind the other.

All contexts of an engine share one block of device memory for activations: they run one after the other on one stream.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stprompt_edge.errors import CheckFailed, EnvironmentFailure
from stprompt_edge.runtime.backends.cuda.engines.launches import Launches, Runtime
from stprompt_edge.runtime.backends.cuda.engines.profiles import Variant, largest, pick_variant
from stprompt_edge.runtime.backends.cuda.engines.sidecar import Profile
from stprompt_edge.runtime.backends.cuda.engines.tensorrt_api import checked, import_tensorrt

if TYPE_CHECKING:
    import tensorrt as trt

Arrays = dict[str, NDArray[Any]]


class Engine:
    """A loaded engine. The session's context must be current when it is made.

    Args:
        runtime: shared.
        plan: deserialized.
        profiles: of its sidecar.
        inputs, outputs: names; axis 0 of every input is the number of rows.

    Raises:
        EnvironmentFailure: memory is short, or TensorRT refuses.
    """

    def __init__(
        self,
        runtime: Runtime,
        plan: trt.ICudaEngine,
        profiles: tuple[Profile, ...],
        inputs: list[str],
        outputs: list[str],
    ) -> None:
        self._runtime, self._profiles, self._outputs = runtime, profiles, outputs
        self._plan: trt.ICudaEngine = plan
        self._max_rows = largest(profiles, inputs[0], 0)
        self._scratch_bytes = max(plan.device_memory_size_v2, 1)
        self._scratch: Any = runtime.session.cuda.mem_alloc(self._scratch_bytes)
        self._contexts: dict[Variant, BoundContext] = {}

    def warm_up(self) -> None:
        """The smallest step of the first profile, so that the first real one comes in time."""
        shapes = {name: held.min for name, held in self._profiles[0].inputs.items()}
        with self._runtime.session.current("warming up"):
            self._context(shapes).run({name: np.zeros(shape) for name, shape in shapes.items()})

    def run_in_parts(self, inputs: Arrays) -> Arrays:
        """Run on any number of rows, as many at once as the engine takes.

        Returns:
            By output name, owned by the receiver; axes after the first may be padded.

        Raises:
            ValueError: no profile holds the shapes.
            EnvironmentFailure: CUDA or TensorRT refuses.
        """
        rows = next(iter(inputs.values())).shape[0]
        parts = [
            self._run({name: array[start : start + self._max_rows] for name, array in inputs.items()})
            for start in range(0, rows, self._max_rows)
        ]
        return parts[0] if len(parts) == 1 else {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}

    def bind(self, wanted: Mapping[str, tuple[int, ...]], external: Mapping[str, int] | None = None) -> BoundContext:
        """A context of its own for these shapes; the caller closes it. The session's context must be current.

        Args:
            wanted: shape by input name; raised as `pick_variant` does, but not that of an external input.
            external: device addresses of inputs that somebody else fills, and of outputs that somebody else reads, on
                the same stream; they are not copied.

        Raises:
            ValueError: no profile holds the shapes.
            EnvironmentFailure: the engine takes only larger shapes, or TensorRT refuses.
            CheckFailed: the engine does not know its own shapes.
        """
        external = external or {}
        variant = self._variant(wanted)
        for name, shape in wanted.items():
            if name in external and variant.shape(name) != shape:
                raise EnvironmentFailure(
                    f"the engine takes {name} as {variant.shape(name)}, one frame has {shape}",
                    remedy="build it with a --batch that begins at 1, as --batch 1,4,8",
                )
        return self._new_context(variant, external)

    def close(self) -> None:
        """Free contexts, memory and the engine."""
        with self._runtime.session.current("freeing an engine"):
            for context in self._contexts.values():
                context.close()
            self._contexts = {}
            self._plan = None
            self._scratch.free()

    def _run(self, inputs: Arrays) -> Arrays:
        rows = next(iter(inputs.values())).shape[0]
        with self._runtime.session.current("running the engine"):
            context = self._context({name: array.shape for name, array in inputs.items()})
            return {name: array[:rows] for name, array in context.run(inputs).items()}

    def _context(self, wanted: Mapping[str, tuple[int, ...]]) -> BoundContext:
        variant = self._variant(wanted)
        if variant not in self._contexts:
            self._contexts[variant] = self._new_context(variant, {})
        return self._contexts[variant]

    def _variant(self, wanted: Mapping[str, tuple[int, ...]]) -> Variant:
        variant = pick_variant(self._profiles, wanted)
        if variant is None:
            raise ValueError(f"no profile of the engine holds {dict(wanted)}")
        return variant

    def _new_context(self, variant: Variant, external: Mapping[str, int]) -> BoundContext:
        tensorrt = import_tensorrt()
        messages, stream = self._runtime.messages, self._runtime.session.stream
        plan: trt.ICudaEngine = self._plan
        context: trt.IExecutionContext = checked(
            plan.create_execution_context(tensorrt.ExecutionContextAllocationStrategy.USER_MANAGED),
            "making an execution context",
            messages,
        )
        context.set_device_memory(int(self._scratch), self._scratch_bytes)
        checked(context.set_optimization_profile_async(variant.profile, stream.handle), "choosing a profile", messages)
        stream.synchronize()
        for name, shape in variant.shapes:
            checked(context.set_input_shape(name, shape), f"setting the shape of {name} to {shape}", messages)
        return BoundContext(self._runtime, plan, context, variant, self._outputs, external)


class BoundContext:
    """An execution context with one set of shapes, its device buffers bound and its host buffers pinned.

    Made by `Engine.bind`. `run` is a whole step; whoever enqueues more than one engine uses `enqueue` and `results`.
    """

    def __init__(
        self,
        runtime: Runtime,
        plan: trt.ICudaEngine,
        context: trt.IExecutionContext,
        variant: Variant,
        outputs: list[str],
        external: Mapping[str, int],
    ) -> None:
        self._runtime = runtime
        self._plan: trt.ICudaEngine = plan
        self._context: trt.IExecutionContext = context
        self._host: Arrays = {}
        self._device: dict[str, Any] = {}
        self._launches = Launches(runtime, self.enqueue)
        self._input_names = [name for name, _ in variant.shapes if name not in external]
        self._output_names = [name for name in outputs if name not in external]
        try:
            for name, shape in variant.shapes:
                if name not in external:
                    self._bind(name, shape)
            for name, address in external.items():
                checked(context.set_tensor_address(name, address), f"binding {name}", runtime.messages)
            for name in self._output_names:
                self._bind(name, tuple(context.get_tensor_shape(name)))
        except BaseException:
            self.close()
            raise

    def run(self, inputs: Arrays) -> Arrays:
        """Copy in, enqueue, copy out, wait; what the inputs lack is padded with zeros, which are valid indices.

        Returns:
            By output name, owned by the receiver.
        """
        for name in self._input_names:
            fill(self._host[name], inputs[name])
        self._launches.run()
        return self.results()

    def enqueue(self) -> None:
        """All of it on the stream, from pinned buffers to pinned buffers; inputs that were never given are zero."""
        cuda, stream = self._runtime.session.cuda, self._runtime.session.stream
        for name in self._input_names:
            if self._host[name].nbytes:
                cuda.memcpy_htod_async(self._device[name], self._host[name], stream)
        checked(self._context.execute_async_v3(stream.handle), "enqueueing the engine", self._runtime.messages)
        for name in self._output_names:
            if self._host[name].nbytes:
                cuda.memcpy_dtoh_async(self._host[name], self._device[name], stream)

    def results(self) -> Arrays:
        """What was copied out; the stream has been waited for. By output name, owned by the receiver."""
        return {name: self._host[name].copy() for name in self._output_names}

    def close(self) -> None:
        """Free buffers and recording; may be called twice."""
        self._launches.forget()
        if self._device:
            self._runtime.session.stream.synchronize()  # a step that failed half-way has left work on it
        for memory in self._device.values():
            memory.free()
        self._device, self._host = {}, {}

    def _bind(self, name: str, shape: tuple[int, ...]) -> None:
        """Host and device buffers of one tensor, zeroed; TensorRT wants an address of an empty one too."""
        tensorrt = import_tensorrt()
        plan: trt.ICudaEngine = self._plan
        if min(shape, default=0) < 0:
            raise CheckFailed(f"the engine does not know the shape of {name}", remedy="build the engine again")
        kind, cuda = tensorrt.nptype(plan.get_tensor_dtype(name)), self._runtime.session.cuda
        host = cuda.pagelocked_empty(shape, kind) if all(shape) else np.empty(shape, kind)
        host[...] = 0
        self._host[name] = host
        self._device[name] = cuda.mem_alloc(max(host.nbytes, 1))
        context: trt.IExecutionContext = self._context
        checked(context.set_tensor_address(name, int(self._device[name])), f"binding {name}", self._runtime.messages)


def fill(target: NDArray[Any], source: NDArray[Any]) -> None:
    """Copy an array into the low corner of one that is as large or larger, and zeros into the rest."""
    if source.shape != target.shape:
        target[...] = 0
    target[tuple(slice(0, size) for size in source.shape)] = source
