"""The libraries whose names we check against, downloaded once and kept in pytest's cache; nothing is installed.

Where one cannot be had, tests are skipped, but not in CI: see `tests.needs`.

TensorRT's Python bindings import as soon as the three libraries exist that they are linked to, and those need only the
C symbols that the bindings look for: stubs of a few lines. The bindings then tell their own signatures and enums.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

from tests.needs import lacking

ROOT = Path(__file__).resolve().parents[2]
TENSORRT = {  # version -> wheel, as pip names it
    "10.3.0": "tensorrt-cu12-bindings==10.3.0",
    "10.16.1": "tensorrt-cu13-bindings==10.16.1.11",
    "11.4.0": "tensorrt-cu13-bindings==11.4.0.106",
}
CUDA_BINDINGS = ("cuda-bindings==12.9.4", "cuda-bindings==13.5.0")
SYMBOL = re.compile(
    r"\bU (create\w+_INTERNAL|get\w+Registry|getNvOnnxParserVersion|initLibNvInferPlugins)$", re.MULTILINE
)
STUBS = ("nvinfer", "nvinfer_plugin", "nvonnxparser")
DOWNLOAD_SECONDS = 120
_REFUSED: dict[str, str] = {}  # requirement -> why


def fetch(requirement: str, folder: Path) -> Path:
    """Unpack a wheel into a folder of the cache, once."""
    target = folder / re.sub(r"\W+", "-", requirement)
    if not target.is_dir():
        archive = _download(requirement, folder / "downloads")
        partial = target.with_name(target.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        with zipfile.ZipFile(archive) as wheel:
            wheel.extractall(partial)
        archive.unlink()
        partial.rename(target)
    return target


def _download(requirement: str, folder: Path) -> Path:
    if requirement in _REFUSED:  # an index that cannot be reached is asked once
        lacking(_REFUSED[requirement])
    shutil.rmtree(folder, ignore_errors=True)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--retries", "1"]
    try:
        done = subprocess.run(
            [*command, "--dest", str(folder), requirement],
            capture_output=True, text=True, timeout=DOWNLOAD_SECONDS, check=False,
        )  # fmt: skip
        lines = done.stderr.splitlines()
    except subprocess.TimeoutExpired:
        lines = [f"ERROR: the package index did not answer within {DOWNLOAD_SECONDS} s"]
    archives = list(folder.glob("*.whl"))
    if not archives:
        said = next((line for line in lines if "ERROR" in line), "no wheel came")
        _REFUSED[requirement] = f"{requirement} cannot be downloaded here: {said}"
        lacking(_REFUSED[requirement])
    return archives[0]


def describe_tensorrt(version: str, folder: Path) -> dict[str, Any]:
    """Public names of NVIDIA's bindings of a version."""
    package = fetch(TENSORRT[version], folder)
    stubs = _build_stubs(package, version.partition(".")[0])
    return _describe("tensorrt_bindings", package, {"LD_LIBRARY_PATH": str(stubs)})


def describe_cuda_runtime(requirement: str, folder: Path) -> dict[str, Any]:
    """Public names of `cuda.bindings.runtime`."""
    return _describe("cuda.bindings.runtime", fetch(requirement, folder), {})


def _describe(module: str, package: Path, environment: dict[str, str]) -> dict[str, Any]:
    kept = package / f"{module}.json"
    if not kept.is_file():
        done = subprocess.run(
            [sys.executable, "-m", "tests.vendor_api.description", module],
            cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
            env={**os.environ, "PYTHONPATH": str(package), **environment},
        )  # fmt: skip
        if done.returncode:
            lacking(f"{module} of {package.name} does not import here: {done.stderr.strip().splitlines()[-1]}")
        kept.write_text(done.stdout, encoding="utf-8")
    return json.loads(kept.read_text(encoding="utf-8"))


def _build_stubs(package: Path, major: str) -> Path:
    """Empty shared libraries with the symbols that the bindings want."""
    folder = package / "stubs"
    if folder.is_dir():
        return folder
    if not (shutil.which("gcc") and shutil.which("nm")):
        lacking("gcc and nm are needed to make the stub libraries")
    binding = next(package.rglob("tensorrt.so"))
    listed = subprocess.run(["nm", "-D", "--undefined-only", str(binding)], capture_output=True, text=True, check=True)
    symbols = sorted(set(SYMBOL.findall(listed.stdout)))
    assert len(symbols) >= 9, symbols
    partial = package / "stubs.partial"
    partial.mkdir(exist_ok=True)
    (partial / "stub.c").write_text("".join(f"void *{name}(void) {{ return 0; }}\n" for name in symbols))
    for library in STUBS:
        name = f"lib{library}.so.{major}"
        command = ["gcc", "-shared", "-fPIC", f"-Wl,-soname,{name}", "-o", str(partial / name), str(partial / "stub.c")]
        subprocess.run(command, check=True, timeout=60)
    partial.rename(folder)
    return folder
