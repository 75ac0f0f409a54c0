"""`bench`: its file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.program import Cli

pytest.importorskip("onnxruntime")


def test_bench_writes_its_figures(cli: Cli, tmp_path: Path) -> None:
    done = cli("bench", "--frames", "6", "--json", "bench.json", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert json.loads((tmp_path / "bench.json").read_text())["frames"] == 6
    assert "sampled frames/s" in done.stderr
