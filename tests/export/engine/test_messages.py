"""TensorRT's words and ours."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stprompt_edge.errors import CheckFailed, EnvironmentFailure
from stprompt_edge.export.engine.messages import builder_failure, parser_failure, shorten

NODE = ("UNSUPPORTED_NODE", "Assertion failed: it has no kernel", 7, "NonMaxSuppression", "/boxes")


class Error:
    """A `trt.ParserError`."""

    def __init__(self, code: str, desc: str, node: int, operator: str, name: str) -> None:
        self.code = lambda: SimpleNamespace(name=code)
        self.desc, self.node = (lambda: desc), (lambda: node)
        self.node_operator, self.node_name = (lambda: operator), (lambda: name)


class Parser:
    """A `trt.OnnxParser`."""

    def __init__(self, *errors: tuple[Any, ...]) -> None:
        self.num_errors = len(errors)
        self.get_error = lambda index: Error(*errors[index])


@pytest.mark.parametrize(
    ("log", "what", "remedy"),
    [
        (
            "IBuilder::buildSerializedNetwork: Error Code 9: API Usage Error (Target GPU SM 61 is not supported by "
            "this TensorRT release.)",
            "does not support the GPU",
            "compute capability 7.0",
        ),
        ("CUDA initialization failure with error: 35. Please check your CUDA installation", "too old", "update"),
        ("CUDA initialization failure with error: 100", "no NVIDIA GPU", "--runtime nvidia"),
        ("CUDA initialization failure with error: 999", "cannot be initialised", "doctor"),
        ("CUDA error 35: CUDA driver version is insufficient for CUDA runtime version", "too old", "update"),
        ("[virtualMemoryBuffer.cpp::resizePhysical::154] Error Code 2: OutOfMemory (no further)", "ran out", "--batch"),
        ("Requested amount of GPU memory (1073741824 bytes) could not be allocated.", "ran out", "--workspace-gib"),
        ("Error Code 1: Cuda Runtime (out of memory)", "ran out", "--workspace-gib"),
        (
            "[optimizer.cpp::computeCosts::4048] Error Code 10: Internal Error (Could not find any implementation for "
            "node {ForeignNode[a...b]}.)",
            "found no kernel",
            "larger --workspace-gib",
        ),
        ("write failed: No space left on device", "disk is full", "free"),
    ],
)
def test_what_a_machine_lacks(log: str, what: str, remedy: str) -> None:
    error = builder_failure(["something before", log], "building x")
    assert isinstance(error, EnvironmentFailure)
    assert error.exit_code == 5
    assert what in error.what
    assert remedy in error.remedy
    assert "\n" not in error.what


@pytest.mark.parametrize(
    ("errors", "told"), [([], "it logged no reason"), (["Error Code 4: strange", "later"], "Error Code 4: strange")]
)
def test_what_nobody_foresaw(errors: list[str], told: str) -> None:
    error = builder_failure(errors, "building x")
    assert isinstance(error, CheckFailed)
    assert error.what == f"TensorRT failed while building x: {told}"


@pytest.mark.parametrize(
    ("errors", "told", "remedy"),
    [
        ([NODE], r"node 7, NonMaxSuppression '/boxes': Assertion failed: it has no kernel \[UNS", "JetPack"),
        ([NODE, NODE, NODE], r"\[UNSUPPORTED_NODE\] \(and 2 more\)", "upgrade TensorRT"),
        ([("UNSUPPORTED_NODE_DATATYPE", "d", 1, "Add", "a")], "node 1, Add 'a'", "another precision"),
        ([("MODEL_DESERIALIZE_FAILED", "Failed to parse", -1, "", "")], "the model: Failed to parse", "damaged"),
        ([("INVALID_GRAPH", "cycle", -1, "", "")], "the model: cycle", "export the bundle again"),
        ([("REFIT_FAILED", "?", 0, "", "")], "the model", "report it"),
        ([], "TensorRT 10.3.0 cannot read encoder.onnx", "export the bundle again"),
    ],
)  # fmt: skip
def test_what_the_parser_refuses(errors: list[tuple[Any, ...]], told: str, remedy: str) -> None:
    error = parser_failure(Parser(*errors), Path("b/encoder.onnx"), "10.3.0")  # type: ignore[arg-type]
    with pytest.raises(CheckFailed, match=told):
        raise error
    assert remedy in error.remedy


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("", "no reason given"),
        ("  \n ", "no reason given"),
        ("one\ntwo", "one"),
        ("[optimizer.cpp::computeCosts::4048] Error Code 10", "Error Code 10"),
        ("x" * 301, "x" * 297 + "..."),
    ],
)
def test_one_line(text: str, short: str) -> None:
    assert shorten(text) == short
