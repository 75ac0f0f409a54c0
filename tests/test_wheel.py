"""What people install: every file that the code reads, and nothing of the repository around it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from stprompt_edge.assets import DEMO_WEIGHTS

pytest.importorskip("setuptools")
ROOT = Path(__file__).resolve().parents[1]
LARGEST_BYTES = 10_000_000
SOURCES = ("stprompt_edge", "demo", "benchmarks", "tests")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, without a network."""
    copy = tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    for name in SOURCES:
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    build = "import setuptools.build_meta as build; build.build_wheel('dist')"
    done = subprocess.run([sys.executable, "-c", build], cwd=copy, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (built,) = (copy / "dist").glob("*.whl")
    return built


def test_it_holds_the_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    there = {path.relative_to(ROOT) for path in (ROOT / "stprompt_edge").rglob("*") if path.is_file()}
    wanted = {path.as_posix() for path in there if "__pycache__" not in path.parts}
    assert held == wanted - {DEMO_WEIGHTS.relative_to(ROOT).as_posix()}


def test_it_is_small(wheel: Path) -> None:
    assert wheel.stat().st_size < LARGEST_BYTES


def test_its_command_is_the_program(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (entry,) = (name for name in archive.namelist() if name.endswith("entry_points.txt"))
        assert "stprompt-edge = stprompt_edge.__main__:main" in archive.read(entry).decode()
