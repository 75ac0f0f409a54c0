"""What runs in processes of its own: the compiler, the GPU test group, compute-sanitizer; and what this machine has."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.gpu.measuring import Budget, attempt
from benchmarks.gpu.reasons import NotMeasured
from stprompt_edge.runtime.backends.cuda.kernels.compile import build_cubin

ROOT = Path(__file__).parents[2]
KERNEL_TESTS = tuple(
    f"tests/runtime/backends/cuda/kernels/test_{name}.py" for name in ("job", "compile", "launch", "preprocess_cu")
)
GPU_TESTS = ("tests/runtime/backends/cuda/kernels/test_on_gpu.py",)
SANITIZER_TOOLS = ("memcheck", "racecheck", "initcheck", "synccheck")
TESTS_S, SANITIZER_S = 120.0, 40.0
PACKAGES = {  # module -> what it would add
    "cv2": "the definition, and OpenCV's times",
    "cuda.bindings": "launching the kernel",
    "pycuda": "the runtime's own driver of TensorRT",
    "onnx": "graphs for ONNX Runtime and TensorRT",
    "onnxscript": "graphs for ONNX Runtime and TensorRT",
    "onnxruntime": "ONNX Runtime",
    "open_clip": "open_clip's own tower",
    "tensorrt": "TensorRT",
    "pydantic": "bundles and engines",
    "av": "the runtime's own decoder",
    "pytest": "the tests",
    "hypothesis": "the tests",
}


def describe_machine() -> dict[str, Any]:
    """Versions, and what is missing with what it would have added."""
    found, missing = {}, {}
    for module, adds in PACKAGES.items():
        if _importable(module):
            found[module] = _version(module)
        else:
            missing[module] = adds
    programs = {name: shutil.which(name) or "" for name in ("nvcc", "g++", "compute-sanitizer")}
    import torch

    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": len(os.sched_getaffinity(0)),
        "torch": torch.__version__,
        "cuda_of_torch": torch.version.cuda or "none",
        "packages": found,
        "packages_missing": missing,
        "programs": {name: bool(path) for name, path in programs.items()},
    }


def _importable(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):  # a parent is missing
        return False


def _version(module: str) -> str:
    names = {"cv2": "opencv-python-headless", "open_clip": "open_clip_torch", "cuda.bindings": "cuda-bindings"}
    for name in (names.get(module, module), "onnxruntime-gpu" if module == "onnxruntime" else module):
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return "unknown"


def build_kernel(capability: tuple[int, int], target: Path) -> dict[str, Any]:
    """preprocess.cu for the device, by nvcc or NVRTC.

    Raises:
        EnvironmentFailure: neither can.
    """
    built = build_cubin(capability, target)
    return {
        "compiler": built.compiler,
        "passed_over": list(built.passed_over),
        "architecture": f"sm_{capability[0]}{capability[1]}",
        "bytes": target.stat().st_size,
    }


def run_tests(budget: Budget) -> dict[str, Any]:
    """The GPU group, and the kernel's tests that need no GPU, each in a process of its own."""
    return {
        "gpu": attempt(lambda: _pytest(["-m", "gpu", *GPU_TESTS], budget)),
        "kernel": attempt(lambda: _pytest(list(KERNEL_TESTS), budget)),
    }


def _pytest(arguments: Sequence[str], budget: Budget) -> dict[str, Any]:
    if not _importable("pytest"):
        raise NotMeasured("pytest is not installed")
    if not _importable("hypothesis"):
        raise NotMeasured("hypothesis is not installed")
    budget.need(TESTS_S, "the tests")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    code, output = run_process(command, TESTS_S)
    return summarize_tests(code, output)


def summarize_tests(code: int, output: str) -> dict[str, Any]:
    """pytest's exit code and last line; a group of which everything was skipped has proved nothing.

    Raises:
        NotMeasured: nothing ran.
    """
    lines = [line.strip("= ") for line in output.splitlines() if line.strip()]
    summary = lines[-1] if lines else "no output"
    if code in (0, 5) and not re.search(r"\d+ passed", summary):
        skipped = next((line for line in lines if line.startswith("SKIPPED")), summary)
        raise NotMeasured(f"no test ran: {skipped}")
    failures = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    return {"passed": code == 0, "summary": summary, "failures": failures[:20]}


def run_sanitizer(cubin: Path, budget: Budget) -> dict[str, Any]:
    """compute-sanitizer's tools over a few frames of odd and usual sizes.

    Raises:
        NotMeasured: the program is not here.
    """
    program = shutil.which("compute-sanitizer") or "/usr/local/cuda/bin/compute-sanitizer"
    if not Path(program).exists():
        raise NotMeasured("compute-sanitizer is not installed")
    return {tool: attempt(lambda tool=tool: _sanitize(program, tool, cubin, budget)) for tool in SANITIZER_TOOLS}  # type: ignore[misc]


def _sanitize(program: str, tool: str, cubin: Path, budget: Budget) -> dict[str, Any]:
    budget.need(SANITIZER_S, f"compute-sanitizer {tool}")
    command = [program, "--tool", tool, "--error-exitcode", "42", sys.executable, "-m", "benchmarks.gpu.small_run"]
    code, output = run_process([*command, str(cubin)], SANITIZER_S)
    return summarize_sanitizer(code, output)


def summarize_sanitizer(code: int, output: str) -> dict[str, Any]:
    """The tool's last words; 42 is its own exit code for errors found.

    Raises:
        NotMeasured: the program under it did not get as far as its end.
    """
    told = [line.strip("= ") for line in output.splitlines() if "SUMMARY" in line]
    summary = told[-1] if told else (output.strip().splitlines() or ["no output"])[-1][:300]
    if code not in (0, 42):
        raise NotMeasured(f"it ended with {code}: {summary}")
    return {"clean": code == 0 and bool(told), "summary": summary}


def run_process(
    command: Sequence[str], timeout_s: float, environment: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """Exit code and output of a program at the repository's root, killed with its children after `timeout_s`.

    Raises:
        NotMeasured: it does not start, or takes too long.
    """
    settings = {**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})}
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as output:
        try:
            process = subprocess.Popen(
                command, cwd=ROOT, env=settings, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )
        except OSError as exc:
            raise NotMeasured(f"{command[0]} does not start: {exc}") from exc
        try:
            code = process.wait(timeout_s)
        except subprocess.TimeoutExpired as exc:
            os.killpg(process.pid, 9)
            process.wait()
            raise NotMeasured(f"{Path(command[0]).name} took longer than {timeout_s:.0f} s and was ended") from exc
        output.seek(0)
        return code, output.read()
