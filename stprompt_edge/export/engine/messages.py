"""What TensorRT says, in words that tell what to do."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stprompt_edge.errors import CheckFailed, EnvironmentFailure, StpromptEdgeError

if TYPE_CHECKING:
    import tensorrt as trt

_MAX_LENGTH = 300
_PARSER_REMEDIES = {  # by ErrorCode of the ONNX parser
    "UNSUPPORTED_NODE_DATATYPE": "build from another precision: --precision fp16 or fp32",
    "UNSUPPORTED": "upgrade TensorRT (JetPack), or export the bundle with this version of stprompt-edge",
    "INVALID": "export the bundle again with this version of stprompt-edge",
    "MODEL_DESERIALIZE_FAILED": "export the bundle again: the graph's file is damaged",
    "MEM_ALLOC_FAILED": "free memory (on a Jetson: close the desktop, add swap), then build again",
}


@dataclass(frozen=True)
class Symptom:
    """A pattern in TensorRT's or CUDA's own words, and our words for it."""

    pattern: str
    what: str
    remedy: str


# In the words of TensorRT 8.6 to 10.10, as users quote them in public issues; the first that matches counts.
SYMPTOMS = (
    Symptom(
        r"Target GPU SM (\d+) is not supported|Unsupported SM",
        "this TensorRT does not support the GPU",
        "TensorRT 10.3 needs compute capability 7.0 or higher, and GPUs newer than it need a newer TensorRT",
    ),
    Symptom(
        r"CUDA initialization failure with error: ?(35|803|804)\b|driver version is insufficient",
        "the NVIDIA driver is too old for the CUDA that this TensorRT was built with",
        "update the driver (a Jetson: the JetPack that belongs to this TensorRT)",
    ),
    Symptom(
        r"CUDA initialization failure with error: ?100\b|no CUDA-capable device",
        "there is no NVIDIA GPU that CUDA can use",
        "see `stprompt-edge doctor`; in a container pass --runtime nvidia or --gpus all",
    ),
    Symptom(
        r"CUDA initialization failure",
        "CUDA cannot be initialised",
        "see `stprompt-edge doctor`; in a container pass --runtime nvidia or --gpus all",
    ),
    Symptom(
        r"[Oo]ut ?[Oo]f ?[Mm]emory|cudaErrorMemoryAllocation|Requested amount of GPU memory|insufficient memory",
        "GPU memory ran out while building",
        "close what else uses the GPU, or build with a smaller --workspace-gib or --batch",
    ),
    Symptom(
        r"Could not find any implementation|No valid tactic",
        "TensorRT found no kernel for a part of the graph within the workspace",
        "build with a larger --workspace-gib",
    ),
    Symptom(r"No space left on device", "the disk is full", "free some space, then build again"),
)


def builder_failure(errors: Sequence[str], doing: str) -> StpromptEdgeError:
    """What a builder that gave nothing has logged, as one line.

    Args:
        errors: its messages of severity error, in order.
        doing: what was being done.
    """
    text = "\n".join(errors)
    for symptom in SYMPTOMS:
        match = re.search(symptom.pattern, text)
        if match:
            line = next((line for line in text.splitlines() if match[0] in line), match[0])
            return EnvironmentFailure(f"{symptom.what}: {shorten(line)}", remedy=symptom.remedy)
    said = shorten(errors[0]) if errors else "it logged no reason"
    return CheckFailed(
        f"TensorRT failed while {doing}: {said}",
        remedy="try another --precision; if that fails too, report it with what `stprompt-edge doctor` prints",
    )


def parser_failure(parser: trt.OnnxParser, onnx: Path, version: str) -> CheckFailed:
    """Why the ONNX parser refused a graph: the node, its operator, the reason, what to do."""
    if not parser.num_errors:
        return CheckFailed(f"TensorRT {version} cannot read {onnx.name}", remedy="export the bundle again")
    error: trt.ParserError = parser.get_error(0)
    operator, name = error.node_operator(), error.node_name()
    code = error.code().name
    where = f"node {error.node()}, {operator} '{name}'" if operator else "the model"
    more = f" (and {parser.num_errors - 1} more)" if parser.num_errors > 1 else ""
    remedies = (remedy for prefix, remedy in _PARSER_REMEDIES.items() if code.startswith(prefix))
    return CheckFailed(
        f"TensorRT {version} cannot read {onnx.name}: {where}: {shorten(error.desc())} [{code}]{more}",
        remedy=next(remedies, "report it with what `stprompt-edge doctor` prints"),
    )


def shorten(text: str) -> str:
    """The first line, without TensorRT's place in its own source, at most 300 characters."""
    first = text.strip().splitlines()[0] if text.strip() else "no reason given"
    plain = re.sub(r"^\[?\w+\.cpp::\S+::\d+\]?\s*", "", first)
    return plain if len(plain) <= _MAX_LENGTH else f"{plain[: _MAX_LENGTH - 3]}..."
