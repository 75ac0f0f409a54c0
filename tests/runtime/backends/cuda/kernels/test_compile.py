"""kernels.cu compiles for every device we name, without spills; and what is said where it cannot."""

from __future__ import annotations

import doctest
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import stprompt_edge.runtime.backends.cuda.kernels.compile as compile_module
from stprompt_edge.errors import EnvironmentFailure, UsageError
from stprompt_edge.runtime.backends.cuda.kernels.compile import PARTS, SOURCE, Nvcc, Nvrtc, build_cubin

CAPABILITIES = [(8, 7), (8, 9), (9, 0), (11, 0), (12, 0)]  # Orin, Ada, Hopper, Thor, Blackwell
MACHINE_CODE = b"\x7fELF"
MAX_REGISTERS = 80  # with 256 threads, three blocks fit every multiprocessor; nvcc 13.0 takes 64


def nvcc_says(*arguments: str) -> str:
    """What nvcc prints; skips where it does not run."""
    try:
        done = subprocess.run(["nvcc", *arguments], capture_output=True, text=True, timeout=1200, check=True)
    except OSError:
        pytest.skip("no nvcc on PATH")
    return done.stdout + done.stderr


def known_to_nvcc() -> list[str]:
    names = {f"sm_{major}{minor}" for major, minor in CAPABILITIES}
    return sorted(names & set(nvcc_says("--list-gpu-code").split()))


def test_no_device_spills_registers(tmp_path: Path) -> None:
    """All architectures in one file, which says for each kernel what it uses."""
    names = known_to_nvcc()
    assert len(names) >= 3
    targets = [f"-gencode=arch=compute_{name[3:]},code={name}" for name in names]
    said = nvcc_says("-fatbin", *targets, "--resource-usage", "-o", str(tmp_path / "all.fatbin"), str(SOURCE))
    compiled = re.findall(r"Compiling entry function '(\w+)' for '(sm_\d+)'", said)
    assert sorted(compiled) == sorted(
        (kernel, name) for name in names for kernel in ("adapter", "preprocess_fast", "preprocess_plain")
    )
    assert said.count("0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads") == len(compiled), said
    assert max(map(int, re.findall(r"Used (\d+) registers", said))) <= MAX_REGISTERS


def test_nvcc_gives_a_cubin(tmp_path: Path) -> None:
    known_to_nvcc()
    built = build_cubin((8, 7), tmp_path / "preprocess.cubin", compilers=[Nvcc()])
    assert built.path.read_bytes().startswith(MACHINE_CODE)
    assert re.fullmatch(r"nvcc \d+\.\d+", built.compiler)
    assert built.passed_over == ()
    assert [path.name for path in tmp_path.iterdir()] == ["preprocess.cubin"]


def test_nvrtc_gives_a_cubin(tmp_path: Path) -> None:
    nvrtc = pytest.importorskip("cuda.bindings.nvrtc", reason="no cuda-python")
    try:
        nvrtc.nvrtcVersion()
    except RuntimeError as exc:
        pytest.skip(f"no libnvrtc: {exc}")
    built = build_cubin((8, 7), tmp_path / "preprocess.cubin", compilers=[Nvrtc()])
    cubin = built.path.read_bytes()
    assert cubin.startswith(MACHINE_CODE)
    assert all(kernel in cubin for kernel in (b"preprocess_fast", b"adapter"))
    assert re.fullmatch(r"NVRTC \d+\.\d+", built.compiler)
    with pytest.raises(EnvironmentFailure, match=r"NVRTC for sm_10: .*gpu-architecture"):
        Nvrtc().compile((1, 0))


class GivenCompiler:
    """Gives the bytes that it was made with, or refuses."""

    def __init__(self, cubin: bytes | None, name: str) -> None:
        self._cubin, self._name = cubin, name

    def compile(self, capability: tuple[int, int]) -> tuple[bytes, str]:
        if self._cubin is None:
            raise EnvironmentFailure(f"{self._name} is not here", remedy="install it")
        return self._cubin, self._name


def test_the_next_compiler_takes_over_and_it_is_said(tmp_path: Path) -> None:
    compilers = [GivenCompiler(None, "first"), GivenCompiler(b"code", "second"), GivenCompiler(b"other", "third")]
    built = build_cubin((8, 7), tmp_path / "preprocess.cubin", compilers=compilers)
    assert (built.path.read_bytes(), built.compiler, built.passed_over) == (b"code", "second", ("first is not here",))


@pytest.mark.parametrize(
    ("names", "message"),
    [((), "on sm_87: none given"), (("a", "b"), r"on sm_87: a is not here; b is not here")],
)
def test_without_a_compiler_one_line_names_all(tmp_path: Path, names: Sequence[str], message: str) -> None:
    target = tmp_path / "preprocess.cubin"
    target.write_bytes(b"the old one")
    with pytest.raises(EnvironmentFailure, match=message) as caught:
        build_cubin((8, 7), target, compilers=[GivenCompiler(None, name) for name in names])
    assert "nvcc" in caught.value.remedy
    assert target.read_bytes() == b"the old one"


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot write"):
        build_cubin((8, 7), tmp_path / "none" / "preprocess.cubin", compilers=[GivenCompiler(b"code", "one")])


def program(folder: Path, script: str) -> Path:
    path = folder / "nvcc"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (
            "echo 'nvcc fatal   : Unsupported gpu architecture' >&2; exit 1",
            "nvcc fatal   : Unsupported gpu architecture",
        ),
        (
            "printf 'preprocess.cu(3): warning\\npreprocess.cu(9): error: no\\n'; exit 2",
            r"preprocess.cu\(9\): error: no",
        ),
        ("exit 1", "no reason given"),
    ],
)
def test_nvcc_that_refuses(tmp_path: Path, script: str, message: str) -> None:
    with pytest.raises(EnvironmentFailure, match=message):
        Nvcc(program(tmp_path, script)).compile((8, 7))


def test_nvcc_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFailure, match="does not run"):
        Nvcc(tmp_path / "nvcc").compile((8, 7))


class FakeNvrtc:
    """Every call succeeds but `failing`; what cuda-python's functions return, in its shape."""

    def __init__(self, failing: str) -> None:
        self._failing, self.destroyed = failing, 0

    def __getattr__(self, name: str) -> Any:
        values: dict[str, tuple[Any, ...]] = {
            "nvrtcVersion": (12, 6),
            "nvrtcCreateProgram": (7,),
            "nvrtcGetCUBINSize": (4,),
            "nvrtcGetProgramLogSize": (3,),
        }

        def call(*arguments: Any) -> tuple[Any, ...]:
            if name == "nvrtcDestroyProgram":
                self.destroyed += 1
            if name == self._failing and name == "nvrtcVersion":
                raise RuntimeError("Failed to dlopen libnvrtc.so")
            return (int(name == self._failing), *values.get(name, ()))

        return call


@pytest.mark.parametrize(
    ("failing", "message", "destroyed"),
    [
        ("nvrtcVersion", r"NVRTC does not load \(Failed to dlopen libnvrtc\.so\)", 0),
        ("nvrtcCreateProgram", "NVRTC failed: 1", 0),
        ("nvrtcCompileProgram", "NVRTC for sm_87: ", 1),
        ("nvrtcGetCUBIN", "NVRTC failed: 1", 1),
    ],
)
def test_each_status_of_nvrtc_is_looked_at(failing: str, message: str, destroyed: int) -> None:
    nvrtc = FakeNvrtc(failing)
    with pytest.raises(EnvironmentFailure, match=message):
        Nvrtc(nvrtc).compile((8, 7))
    assert nvrtc.destroyed == destroyed
    assert Nvrtc(FakeNvrtc("")).compile((8, 7)) == (b"    ", "NVRTC 12.6")


def test_without_cuda_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    with pytest.raises(EnvironmentFailure, match="NVRTC cannot be imported"):
        Nvrtc().compile((8, 7))


def test_the_package_holds_the_source() -> None:
    assert {path.name for path in SOURCE.parent.iterdir()} >= {SOURCE.name, "shim.h", *(part.name for part in PARTS)}
    assert re.findall(r'#include "(.*)"', SOURCE.read_text()) == [part.name for part in PARTS]


def test_the_example() -> None:
    assert doctest.testmod(compile_module) == (0, 1)
