"""The program as people meet it: what it prints, leaves and returns."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

ROOT = Path(__file__).resolve().parents[2]
FIVE = {"scores.csv", "events.json", "report.html", "summary.json", "annotated.mp4"}
COMMAND = [sys.executable, "-m", "stprompt_edge"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}


Cli = Callable[..., "subprocess.CompletedProcess[str]"]  # what the fixture `cli` gives


def process(*arguments: str, cwd: Path, command: list[str] | None = None) -> subprocess.CompletedProcess[str]:
    """Runs `stprompt-edge ARGUMENTS` in a process of its own, in a folder."""
    return subprocess.run(
        [*(command or COMMAND), *arguments],
        cwd=cwd,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def assert_refused(done: subprocess.CompletedProcess[str], code: int, what: str, fix: str = "") -> None:
    """One line of what, one of the remedy, the exit code, and nothing else."""
    # a line of progress stands before, "[0:02] ...", where the machine was slow
    told = ("ONNX Runtime ", "[")
    lines = [line for line in done.stderr.splitlines() if line and not line.startswith(told)]
    assert "Traceback" not in done.stderr
    assert len(lines) == 2, done.stderr
    assert lines[0].startswith("error: ")
    assert re.search(what, lines[0]), done.stderr
    assert re.match(rf"  fix: .*{fix}", lines[1]), done.stderr
    assert done.returncode == code
    assert done.stdout == ""


def written(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


def summary(out: Path) -> dict[str, Any]:
    return json.loads((out / "summary.json").read_text(encoding="utf-8"))


def text_of(what: object) -> str:
    """What a person reads of something rich can show."""
    console = Console(file=io.StringIO(), width=200)
    console.print(what)
    return console.file.getvalue()  # type: ignore[attr-defined]
