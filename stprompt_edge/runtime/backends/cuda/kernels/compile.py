"""kernels.cu -> cubin, on the machine that will run it: with nvcc, or with NVRTC, which needs no host compiler."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from stprompt_edge.errors import EnvironmentFailure
from stprompt_edge.files import write_bytes_atomic
from stprompt_edge.imports import import_failure

SOURCE = Path(__file__).with_name("kernels.cu")
PARTS = tuple(SOURCE.with_name(name) for name in ("preprocess.cu", "adapter.cu"))  # that it includes
USUAL_NVCC = Path("/usr/local/cuda/bin/nvcc")  # where JetPack and NVIDIA's packages put it, often outside PATH
NVCC_TIMEOUT_S = 300.0  # a second on a desktop, ten on a busy Jetson
_REMEDY = (
    'install the CUDA toolkit (`nvcc`) that belongs to the device\'s driver, or pip install "stprompt-edge[tensorrt]"'
)


class Compiler(Protocol):
    """One way to compile."""

    def compile(self, capability: tuple[int, int]) -> tuple[bytes, str]:
        """The cubin for a compute capability, and the compiler's name and version.

        Raises:
            EnvironmentFailure: it is not here, too old for the device, or refuses the source.
        """


@dataclass(frozen=True, kw_only=True)
class BuiltCubin:
    """What `build_cubin` has written."""

    path: Path
    compiler: str  # name and version
    passed_over: tuple[str, ...]  # compilers that were tried before, and what they said


class Nvcc:
    """The toolkit's compiler driver.

    Args:
        path: of the program; None to look for it.
    """

    def __init__(self, path: Path | None = None) -> None:
        found = path or shutil.which("nvcc") or USUAL_NVCC
        self._path = Path(found)

    def compile(self, capability: tuple[int, int]) -> tuple[bytes, str]:
        """See `Compiler.compile`."""
        with tempfile.TemporaryDirectory() as folder:
            cubin = Path(folder) / "kernels.cubin"
            self._run("-cubin", f"-arch={architecture(capability)}", "-o", str(cubin), str(SOURCE))
            return cubin.read_bytes(), f"nvcc {self.version()}"

    def version(self) -> str:
        """Release of the toolkit, as `13.0`; raises as `compile`."""
        return self._run("--version").partition("release ")[2].partition(",")[0] or "of unknown version"

    def _run(self, *arguments: str) -> str:
        try:
            done = subprocess.run(
                [str(self._path), *arguments],
                capture_output=True,
                text=True,
                errors="replace",
                timeout=NVCC_TIMEOUT_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as exc:
            raise EnvironmentFailure(f"{self._path} does not run ({exc})", remedy=_REMEDY) from exc
        if done.returncode:
            raise EnvironmentFailure(f"{self._path}: {_first_error(done.stderr + done.stdout)}", remedy=_REMEDY)
        return done.stdout


class Nvrtc:
    """The runtime compiler, through cuda-python.

    Args:
        nvrtc: stands in for `cuda.bindings.nvrtc` in tests.
    """

    def __init__(self, nvrtc: Any = None) -> None:
        self._given = nvrtc

    def compile(self, capability: tuple[int, int]) -> tuple[bytes, str]:
        """See `Compiler.compile`."""
        nvrtc = self._given or _import_nvrtc()
        try:
            major, minor = _checked(nvrtc.nvrtcVersion())
            parts, names = [part.read_bytes() for part in PARTS], [part.name.encode() for part in PARTS]
            source = SOURCE.read_bytes()
            program = _checked(nvrtc.nvrtcCreateProgram(source, SOURCE.name.encode(), len(parts), parts, names))
        except RuntimeError as exc:  # libnvrtc is loaded at the first call
            raise EnvironmentFailure(f"NVRTC does not load ({_first_error(str(exc))})", remedy=_REMEDY) from exc
        try:
            return _compile_program(nvrtc, program, capability), f"NVRTC {major}.{minor}"
        finally:
            nvrtc.nvrtcDestroyProgram(program)


def build_cubin(
    capability: tuple[int, int], target: Path, *, compilers: Sequence[Compiler] | None = None
) -> BuiltCubin:
    """Compile the kernels for a device and write it, whole or not at all.

    Args:
        capability: major and minor compute capability of the device, (8, 7) for Jetson Orin.
        target: the cubin; its folder must exist.
        compilers: tried in order; None for nvcc, then NVRTC.

    Raises:
        EnvironmentFailure: no compiler here can do it, or the disk is full.
        UsageError: `target` cannot be written.
    """
    failures: list[str] = []
    for compiler in compilers if compilers is not None else (Nvcc(), Nvrtc()):
        try:
            cubin, name = compiler.compile(capability)
        except EnvironmentFailure as exc:
            failures.append(exc.what)
            continue
        write_bytes_atomic(target, cubin)
        return BuiltCubin(path=target, compiler=name, passed_over=tuple(failures))
    raise EnvironmentFailure(
        f"no compiler for kernels.cu on {architecture(capability)}: {'; '.join(failures) or 'none given'}",
        remedy=_REMEDY,
    )


def architecture(capability: tuple[int, int]) -> str:
    """NVIDIA's name of a compute capability.

    >>> architecture((8, 7))
    'sm_87'
    """
    return f"sm_{capability[0]}{capability[1]}"


def _import_nvrtc() -> Any:
    try:
        from cuda.bindings import nvrtc
    except (ImportError, RuntimeError) as exc:
        raise import_failure("NVRTC", exc, remedy=_REMEDY) from exc
    return nvrtc


def _compile_program(nvrtc: Any, program: Any, capability: tuple[int, int]) -> bytes:
    options = [f"--gpu-architecture={architecture(capability)}".encode()]
    (status,) = nvrtc.nvrtcCompileProgram(program, len(options), options)
    if status:
        log = b" " * _checked(nvrtc.nvrtcGetProgramLogSize(program))
        _checked(nvrtc.nvrtcGetProgramLog(program, log))
        said = _first_error(log.rstrip(b" \0").decode(errors="replace")) or str(status)
        raise EnvironmentFailure(f"NVRTC for {architecture(capability)}: {said}", remedy=_REMEDY)
    cubin: bytes = b" " * _checked(nvrtc.nvrtcGetCUBINSize(program))
    _checked(nvrtc.nvrtcGetCUBIN(program, cubin))
    return cubin


def _checked(result: tuple[Any, ...]) -> Any:
    """What an NVRTC call gave, without its status.

    Raises:
        EnvironmentFailure: the status is not success.
    """
    status, *values = result
    if status:
        raise EnvironmentFailure(f"NVRTC failed: {status}", remedy=_REMEDY)
    return values[0] if len(values) == 1 else tuple(values)


def _first_error(text: str) -> str:
    """The line that says why: the first with `error` or `fatal`, else the first."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if "error" in line or "fatal" in line]
    return (telling or lines or ["no reason given"])[0][:300]
