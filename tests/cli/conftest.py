"""The command line in this process, which has loaded what it needs: most tests are about what it says."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.cli.program import Cli
from tests.commands import typed


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Runs `stprompt-edge ARGUMENTS` in this process, in a folder."""

    def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        monkeypatch.chdir(cwd)
        monkeypatch.setenv("COLUMNS", "200")
        capfd.readouterr()
        code = typed(*arguments)
        stdout, stderr = capfd.readouterr()
        return subprocess.CompletedProcess(arguments, code, stdout, stderr)

    return run
