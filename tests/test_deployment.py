"""Container files and the Jetson page: nothing of them can run here, but what they name must exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer.main

from stprompt_edge.cli.app import app
from tests.vendor_api.wheels import TENSORRT

ROOT = Path(__file__).resolve().parents[1]
DOCKERFILES = sorted((ROOT / "docker").glob("*.Dockerfile"))
PAGE = (ROOT / "docs" / "jetson.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_a_container_says_that_it_was_not_run_and_takes_a_checked_tensorrt(path: Path) -> None:
    content = path.read_text(encoding="utf-8")
    assert "NOT RUN" in content.splitlines()[0]
    versions = set(re.findall(r"TensorRT (\d+\.\d+)", content.splitlines()[0]))
    assert versions
    assert versions <= {version.rpartition(".")[0] for version in TENSORRT}
    assert path.name in (ROOT / "docker" / "README.md").read_text(encoding="utf-8")
    extras = set(re.findall(r"/src\[([a-z,]+)\]", content))
    assert extras == {"cpu"}  # TensorRT itself comes from the image, or with a version


def test_the_page_says_that_it_was_not_run() -> None:
    assert "has not been run on a Jetson" in PAGE.splitlines()[2]
    assert {version.rpartition(".")[0] for version in TENSORRT} <= set(re.findall(r"\d+\.\d+", PAGE))


def options_of(command) -> set[str]:
    """Of a command, or of all commands of a group."""
    own = {name for parameter in command.params for name in parameter.opts}
    return own.union(*(options_of(one) for one in getattr(command, "commands", {}).values()))


def test_options_on_the_page_exist() -> None:
    known = options_of(typer.main.get_command(app))
    ours = [line for line in PAGE.splitlines() if "stprompt-edge " in line or line.startswith("- `--")]
    used = {option for line in ours for option in re.findall(r"(?<![\w-])--[a-z][a-z-]+", line)}
    assert {"--precision", "--batch", "--backend", "--workspace-gib"} <= used
    assert used - {"--system-site-packages"} <= known
