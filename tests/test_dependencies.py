"""What may be imported where: the edge lives without torch, and starts without what it does not use yet."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
EDGE = """
import importlib, pkgutil, sys
import stprompt_edge.runtime, stprompt_edge.bench, stprompt_edge.cli, stprompt_edge.doctor
packages = [stprompt_edge.runtime, stprompt_edge.bench, stprompt_edge.cli, stprompt_edge.doctor]
names = [m.name for p in packages for m in pkgutil.walk_packages(p.__path__, p.__name__ + ".")]
names += [f"stprompt_edge.{n}" for n in ("bundle", "errors", "files", "geometry", "preprocess", "vocabulary")]
names += ["stprompt_edge.assets"]
for name in names:
    importlib.import_module(name)
assert len(names) > 30, names
"""
RUN = """
from pathlib import Path
from stprompt_edge.assets import DEMO_BUNDLE, DEMO_CLIP
from stprompt_edge.bundle import load_bundle
from stprompt_edge.runtime.backends.opening import open_backend
from stprompt_edge.runtime.cameras import CameraConfig
from stprompt_edge.runtime.watch import RunSettings, run
bundle = load_bundle(DEMO_BUNDLE)
with open_backend("auto", bundle).backend as backend:
    run(CameraConfig(source=str(DEMO_CLIP)), bundle, backend, RunSettings(out=Path("out"), max_frames=20))
"""
REPORT = "\nprint(*sorted({name.partition('.')[0] for name in sys.modules}))"
TRAINING = {"torch", "torchvision", "open_clip", "onnx", "onnxscript"}
OPTIONAL = {"onnxruntime", "tensorrt", "pycuda", "cuda", "ray", "fastapi", "paho"}


def modules_after(code: str, cwd: Path) -> set[str]:
    """Top-level modules that a fresh interpreter has imported after `code`."""
    program = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{code}{REPORT}"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_no_module_of_the_edge_imports_torch_or_an_optional_package(tmp_path: Path) -> None:
    assert not modules_after(EDGE, tmp_path) & (TRAINING | OPTIONAL)


def test_a_whole_run_imports_no_torch(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    loaded = modules_after(EDGE + RUN, tmp_path)
    assert "onnxruntime" in loaded
    assert not loaded & TRAINING


def test_the_command_line_starts_without_what_a_command_needs(tmp_path: Path) -> None:
    heavy = {"av", "cv2", "numpy", "safetensors"}
    assert not modules_after("import stprompt_edge.cli", tmp_path) & (heavy | TRAINING | OPTIONAL)


def test_the_core_starts_without_any_third_party_package(tmp_path: Path) -> None:
    code = "import stprompt_edge.errors, stprompt_edge.files, stprompt_edge.vocabulary, stprompt_edge.assets"
    assert not modules_after(code, tmp_path) & {"numpy", "av", "cv2", "typer", "rich", *TRAINING, *OPTIONAL}
