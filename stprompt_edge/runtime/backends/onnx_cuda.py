"""ONNX Runtime on an NVIDIA GPU, for desktops without TensorRT: inputs and outputs stay bound to device buffers.

For each set of shapes there is one binding with its device buffers: a step copies in, runs, copies out. With
`cuda_graph` ONNX Runtime records the first runs of each set of shapes and replays them afterwards; it refuses graphs
whose nodes it cannot all place on CUDA, or fails at the run that it records: then it runs without, saying why in
`description`.

Option names: ONNX Runtime's documentation of the CUDA execution provider, and `gpu_graph_id` in
onnxruntime_run_options_config_keys.h (0 is reserved, -1 runs without a graph).
"""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from stprompt_edge.bundle import ENCODER, Bundle
from stprompt_edge.errors import CheckFailed
from stprompt_edge.runtime.backends.base import Encoded, HeadsOutput
from stprompt_edge.runtime.backends.onnx import CUDA, OnnxBackend, import_onnxruntime

MAX_BINDINGS = 8  # sets of shapes whose buffers are kept; a watch and a locate step need two
CUDA_OPTIONS = {
    "device_id": "0",
    "arena_extend_strategy": "kSameAsRequested",  # the default doubles: too much where a desktop shares the GPU
    "cudnn_conv_algo_search": "HEURISTIC",  # the default measures all algorithms at the first run of each shape
    "do_copy_in_default_stream": "1",
}

Arrays = Mapping[str, NDArray[Any]]
Result = TypeVar("Result")


class OnnxCudaBackend(OnnxBackend):
    """A bundle on ONNX Runtime's CUDA provider.

    Args:
        bundle: checked by `load_bundle`.
        precision: of the encoder; None for fp16 if the bundle holds it.
        cuda_graph: record and replay launches; where that cannot be, now or at a first run, without.
        provider, device: stand in for CUDA in tests.

    Raises:
        As `OnnxBackend`.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        precision: str | None = None,
        cuda_graph: bool = False,
        provider: str = CUDA,
        device: str = "cuda",
    ) -> None:
        self._device, self._sizes = device, bundle.sizes
        self._options = dict(CUDA_OPTIONS) if provider == CUDA else {}
        self._open = functools.partial(OnnxBackend.__init__, self, bundle, provider=provider, precision=precision)
        try:
            self._start(cuda_graph)
        except CheckFailed as exc:
            if not cuda_graph:
                raise
            self._start_without_graph(exc.what)

    def _start(self, cuda_graph: bool) -> None:
        """Open the sessions, with no buffers yet."""
        self._open(provider_options={**self._options, "enable_cuda_graph": "1"} if cuda_graph else self._options)
        self._cuda_graph = cuda_graph
        self.description += ", CUDA graph" if cuda_graph else ""
        self._padding = 1 if cuda_graph else 0  # a graph takes device buffers only, and those cannot be empty
        self._bound_encoder = _BoundSession(self._encoder, self._device, cuda_graph)
        self._bound_heads = None if self._heads is None else _BoundSession(self._heads, self._device, cuda_graph)

    def _start_without_graph(self, why: str) -> None:
        self._start(False)
        self.description += f", without CUDA graph: {why}"

    def encode(self, image: NDArray[np.float32], fine: NDArray[np.int64], coarse: NDArray[np.int64]) -> Encoded:
        """See `Backend.encode`."""
        return self._graph_or_not(lambda: self._encode(image, fine, coarse))

    def heads(self, **inputs: NDArray[np.float32]) -> HeadsOutput:
        """See `Backend.heads`."""
        return self._graph_or_not(lambda: self._run_heads(inputs))

    def _graph_or_not(self, run: Callable[[], Result]) -> Result:
        """A run; if that cannot be recorded or replayed, the same without a graph, as from then on all are."""
        if self._cuda_graph:
            try:
                return run()
            except Exception as exc:  # ONNX Runtime raises a class of its own for each status, children of Exception
                self._start_without_graph((str(exc).splitlines() or [repr(exc)])[0][:300])
        return run()

    def _encode(self, image: NDArray[np.float32], fine: NDArray[np.int64], coarse: NDArray[np.int64]) -> Encoded:
        batch, windows = len(image), (fine.shape[1], coarse.shape[1])
        padded = [np.zeros((batch, max(size, self._padding)), np.int64) for size in windows]
        for target, source in zip(padded, (fine, coarse), strict=True):
            target[:, : source.shape[1]] = source
        sizes = {**self._sizes, "B": batch, "K": padded[0].shape[1], "L": padded[1].shape[1]}
        outputs = self._bound_encoder.run(ENCODER.feed(image, *padded), ENCODER.output_shapes(sizes))
        return Encoded.from_outputs(outputs, *windows)

    def _run_heads(self, inputs: Arrays) -> HeadsOutput:
        assert self._bound_heads is not None
        rows = len(next(iter(inputs.values())))
        shapes = self._heads_graph.output_shapes({**self._sizes, "N": rows})
        return HeadsOutput(**self._bound_heads.run(inputs, shapes))

    def close(self) -> None:
        """Free the sessions and their buffers."""
        self._bound_encoder = self._bound_heads = None  # type: ignore[assignment]
        super().close()


class _BoundSession:
    """A session with the device buffers of the last few sets of shapes."""

    def __init__(self, session: Any, device: str, graph: bool) -> None:
        self._session, self._device, self._graph = session, device, graph
        self._bindings: OrderedDict[Any, _Binding] = OrderedDict()
        self._graphs = 0

    def run(self, inputs: Arrays, output_shapes: Mapping[str, tuple[int, ...]]) -> dict[str, NDArray[np.float32]]:
        """Copy in, run, copy out; outputs are owned by the receiver."""
        key = tuple(array.shape for array in inputs.values())
        if key not in self._bindings:
            self._bindings[key] = self._bind(inputs, output_shapes)
            if len(self._bindings) > MAX_BINDINGS:
                self._forget_one(key)
        self._bindings.move_to_end(key)
        return self._bindings[key].run(inputs)

    def _forget_one(self, newest: Any) -> None:
        """The one used longest ago; a recorded graph keeps its buffers' addresses, so its binding stays."""
        free = [key for key, binding in self._bindings.items() if not binding.recorded and key != newest]
        if free:
            del self._bindings[free[0]]

    def _bind(self, inputs: Arrays, output_shapes: Mapping[str, tuple[int, ...]]) -> _Binding:
        options, recorded = None, False
        if self._graph:
            options = import_onnxruntime().RunOptions()
            recorded = self._graphs < MAX_BINDINGS
            self._graphs += recorded
            options.add_run_config_entry("gpu_graph_id", str(self._graphs if recorded else -1))
        return _Binding(self._session, self._device, inputs, output_shapes, options, recorded)


class _Binding:
    """Device buffers for one set of shapes."""

    def __init__(
        self,
        session: Any,
        device: str,
        inputs: Arrays,
        output_shapes: Mapping[str, tuple[int, ...]],
        options: Any,
        recorded: bool,
    ) -> None:
        ort_value = import_onnxruntime().OrtValue
        self._session, self._options, self.recorded = session, options, recorded
        self._binding = session.io_binding()
        self._inputs, self._outputs, self._empty = {}, {}, {}
        for name, array in inputs.items():
            if array.size == 0:
                self._binding.bind_cpu_input(name, np.ascontiguousarray(array))  # nothing to copy, nothing to allocate
                continue
            self._inputs[name] = ort_value.ortvalue_from_numpy(np.ascontiguousarray(array), device, 0)
            self._binding.bind_ortvalue_input(name, self._inputs[name])
        for name, shape in output_shapes.items():
            if 0 in shape:
                self._empty[name] = shape
                self._binding.bind_output(name, "cpu")
                continue
            self._outputs[name] = ort_value.ortvalue_from_shape_and_type(list(shape), np.float32, device, 0)
            self._binding.bind_ortvalue_output(name, self._outputs[name])

    def run(self, inputs: Arrays) -> dict[str, NDArray[np.float32]]:
        for name, value in self._inputs.items():
            value.update_inplace(np.ascontiguousarray(inputs[name]))
        self._session.run_with_iobinding(self._binding, self._options)
        found = {name: np.array(value.numpy()) for name, value in self._outputs.items()}  # numpy() may be the buffer
        return {**found, **{name: np.zeros(shape, np.float32) for name, shape in self._empty.items()}}
