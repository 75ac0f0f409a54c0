"""`calibrate int8`: what it refuses, and footage given in a row."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from stprompt_edge.assets import DEMO_BUNDLE
from tests import videos
from tests.calibration.graphs import encoder, make_bundle
from tests.cli.program import Cli, assert_refused, written


@pytest.mark.parametrize(
    ("arguments", "code", "what", "fix"),
    [
        (["int8", str(DEMO_BUNDLE)], 2, "no footage given", "--footage"),
        (["int8", str(DEMO_BUNDLE), "--footage", "a.mp4", "--method", "minmx"], 2, "unknown method 'minmx'", "minmax"),
        (["int8", str(DEMO_BUNDLE), "--footage", "a.mp4", "--frames", "3"], 2, "--frames is 3", ""),
        (["int8", str(DEMO_BUNDLE), "--footage", "a.mp4"], 2, "holds no encoder.onnx", "export again"),
        (["int8", "nowhere", "--footage", "a.mp4"], 2, "no bundle at nowhere", "export"),
        (["int9"], 2, "int9", "calibrate --help"),
    ],
)
def test_calibrate_usage_errors(cli: Cli, tmp_path: Path, arguments: list[str], code: int, what: str, fix: str) -> None:
    assert_refused(cli("calibrate", *arguments, cwd=tmp_path), code, what, fix)
    assert written(tmp_path) == set()


def test_calibrate_int8_takes_footage_one_after_the_other(cli: Cli, tmp_path: Path) -> None:
    make_bundle(tmp_path / "b", encoder())
    for name in ("a.mp4", "b.mp4"):
        videos.write_video(tmp_path / name, frames=30, noise=60)
    arguments = ["--footage", "a.mp4", "b.mp4", "--frames", "12", "--out", "out", "--force"]
    done = cli("calibrate", "int8", "b", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "build-engine b --precision int8" in done.stderr
    assert json.loads((tmp_path / "out" / "int8.json").read_text())["footage"] == ["a.mp4", "b.mp4"]
    assert "encoder.int8.onnx" in written(tmp_path / "b")
    assert_refused(cli("calibrate", "int8", "b", "--footage", "c.mp4", cwd=tmp_path), 4, "no such file: c.mp4")
