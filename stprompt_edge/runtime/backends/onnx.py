"""ONNX Runtime, on a CPU or through its CUDA provider."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stprompt_edge.bundle import ENCODER, ENCODER_NAMES, HEADS_NAME, Bundle, GraphShapes
from stprompt_edge.errors import CheckFailed, EnvironmentFailure
from stprompt_edge.files import printable
from stprompt_edge.imports import MORE_MEMORY, import_failure, is_out_of_memory
from stprompt_edge.runtime.backends.base import Backend, Encoded, HeadsOutput

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
# Q and DQ as two roundings, which is what TensorRT's int8 gives too: on CPUs with AVX2 alone the products that ONNX
# Runtime would make of them saturate their 16-bit sums
EXACT_QDQ = ("session.disable_quant_qdq", "1")
PREFERRED_PRECISIONS = {CPU: ("cpu8", "fp32", "fp16"), CUDA: ("fp16", "fp32")}  # fastest first


class OnnxBackend(Backend):
    """A bundle on one execution provider.

    Args:
        bundle: checked by `load_bundle`.
        provider: ONNX Runtime's name of the provider.
        precision: of the encoder; None for the fastest one on this provider that the bundle holds.
        threads: of one inference; None for ONNX Runtime's choice, one for each core.
        provider_options: in ONNX Runtime's own words.

    Raises:
        EnvironmentFailure: ONNX Runtime or the provider is missing.
        UsageError: the bundle does not hold the precision.
        CheckFailed: a graph cannot be loaded, or its inputs and outputs are not the bundle's.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        provider: str = CPU,
        precision: str | None = None,
        threads: int | None = None,
        provider_options: Mapping[str, str] | None = None,
    ) -> None:
        precision = precision or pick_precision(bundle, provider)
        file = ENCODER_NAMES[precision]
        self._encoder: Any = open_session(bundle.file(file), provider, threads, provider_options)
        check_tensors(bundle.path / file, self._encoder, ENCODER.shapes(bundle.sizes))
        self._heads: Any = None
        if HEADS_NAME in bundle.manifest.files:
            self._heads_graph = bundle.traits.heads
            self._heads = open_session(bundle.file(HEADS_NAME), provider, threads, provider_options)
            check_tensors(bundle.path / HEADS_NAME, self._heads, self._heads_graph.shapes(bundle.sizes))
        self.precision = precision
        self.description = f"ONNX Runtime {provider.removesuffix('ExecutionProvider')}, {file}"

    def encode(self, image: NDArray[np.float32], fine: NDArray[np.int64], coarse: NDArray[np.int64]) -> Encoded:
        """See `Backend.encode`."""
        found = self._encoder.run(list(ENCODER.outputs), ENCODER.feed(image, fine, coarse))
        return Encoded.from_outputs(dict(zip(ENCODER.outputs, found, strict=True)), fine.shape[1], coarse.shape[1])

    def heads(self, **inputs: NDArray[np.float32]) -> HeadsOutput:
        """See `Backend.heads`."""
        names = list(self._heads_graph.outputs)
        return HeadsOutput(**dict(zip(names, self._heads.run(names, inputs), strict=True)))

    def close(self) -> None:
        """Free the sessions."""
        self._encoder = self._heads = None


def import_onnxruntime() -> Any:
    """ONNX Runtime, or one line that says how to install it.

    Raises:
        EnvironmentFailure: if it is missing.
    """
    try:
        import onnxruntime
    except ImportError as exc:
        remedy = 'pip install "stprompt-edge[cpu]", or "stprompt-edge[gpu]" for an NVIDIA GPU'
        raise import_failure("ONNX Runtime", exc, remedy=remedy) from exc
    return onnxruntime


def pick_precision(bundle: Bundle, provider: str) -> str:
    """The fastest precision on this provider that the bundle holds."""
    preferred = PREFERRED_PRECISIONS[provider]
    held = [precision for precision in preferred if precision in bundle.precisions]
    return held[0] if held else preferred[0]


def open_session(
    path: Path, provider: str, threads: int | None, provider_options: Mapping[str, str] | None = None
) -> Any:
    """Load a graph on exactly this provider.

    Raises:
        EnvironmentFailure: if ONNX Runtime or the provider is missing, or memory is too small.
        CheckFailed: if ONNX Runtime refuses the graph.
    """
    onnxruntime = import_onnxruntime()
    if provider not in onnxruntime.get_available_providers():
        raise EnvironmentFailure(
            f"ONNX Runtime has no {provider} here, only {', '.join(onnxruntime.get_available_providers())}",
            remedy='see `stprompt-edge doctor`; for an NVIDIA GPU: pip install "stprompt-edge[gpu]"',
        )
    options = session_options(threads)
    if path.name == ENCODER_NAMES["int8"]:
        options.add_session_config_entry(*EXACT_QDQ)
    try:
        wanted = (provider, dict(provider_options)) if provider_options else provider
        graph = str(path) if printable(str(path)) == str(path) else path.read_bytes()  # it takes UTF-8 paths alone
        session = onnxruntime.InferenceSession(graph, options, providers=[wanted])
    except Exception as exc:  # ONNX Runtime raises a class of its own for each status, all direct children of Exception
        if is_out_of_memory(exc):
            raise EnvironmentFailure(f"there is not enough memory to load {path}", remedy=MORE_MEMORY) from exc
        raise CheckFailed(
            f"{path} cannot be loaded by ONNX Runtime {onnxruntime.__version__}: {str(exc).splitlines()[0][:300]}",
            remedy="export the bundle again, or upgrade onnxruntime",
        ) from exc
    if session.get_providers()[0] != provider:
        raise EnvironmentFailure(
            f"ONNX Runtime lists {provider} but cannot start it, and fell back to {session.get_providers()[0]}",
            remedy="see `stprompt-edge doctor` for what is missing",
        )
    return session


def session_options(threads: int | None) -> Any:
    """Quiet, with as many threads as this process may use, or as given, and none of them spinning."""
    options = import_onnxruntime().SessionOptions()
    options.log_severity_level = 4  # what matters comes back as an exception
    # Waiting threads that spin take the cores from decoding, BLAS and video encoding: on 2 cores a run with video
    # took 9.8 s with spinning and 7.5 s without, at the same median step.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0  # 0: ONNX Runtime's own choice
    options.intra_op_num_threads = threads or allowed
    return options


def check_tensors(path: Path, session: Any, shapes: GraphShapes) -> None:
    """Compare a graph's inputs and outputs with what the bundle promises; None is any size.

    Raises:
        CheckFailed: names the tensor, its shape and the expected one.
    """
    for kind, expected, found in [
        ("input", shapes.inputs, session.get_inputs()),
        ("output", shapes.outputs, session.get_outputs()),
    ]:
        held = {tensor.name: tensor.shape for tensor in found}
        if set(held) != set(expected):
            raise CheckFailed(
                f"{path}: {kind}s are {sorted(held)}, expected {sorted(expected)}", remedy="export the bundle again"
            )
        for name, shape in expected.items():
            fits = len(shape) == len(held[name]) and all(
                want is None or want == got for want, got in zip(shape, held[name], strict=True)
            )
            if not fits:
                raise CheckFailed(
                    f"{path}: {kind} {name} has shape {held[name]}, "
                    f"expected {['any' if size is None else size for size in shape]}",
                    remedy="export the bundle again",
                )
