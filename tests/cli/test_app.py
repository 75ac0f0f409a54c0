"""The program's help, its names, and what it says of arguments that do not fit."""

from __future__ import annotations

from pathlib import Path

import pytest

from stprompt_edge.assets import DEMO_BUNDLE, DEMO_CLIP
from tests.cli.program import Cli, assert_refused, process, written

pytest.importorskip("onnxruntime")


@pytest.mark.parametrize(
    ("arguments", "what", "fix"),
    [
        (["run"], "(?i)missing argument .*source", "run --help"),
        (["frobnicate"], "No such command 'frobnicate'", "--help"),
        (["--bogus"], "No such option", "--help"),
        (["run", "x.mp4", "--threshhold", "1"], "No such option.*--threshold", "run --help"),
        (["run", "x.mp4", "--max-frames", "0"], "--max-frames", "run --help"),
        (["run", "x.mp4", "--stride", "half"], "--stride", "run --help"),
        (["run", "x.mp4", "--localize", "alway"], "unknown --localize 'alway'", "did you mean 'always'"),
        (["run", str(DEMO_CLIP), "--backend", "onx"], "unknown backend 'onx'", "did you mean 'onnx'"),
        (["run", str(DEMO_CLIP), "--threshold", "1.5"], "thresholds must be .*got on 1.5", "between 0 and 1"),
        (["run", str(DEMO_CLIP), "--threshold", "nan"], "thresholds must be", "between 0 and 1"),
        (["run", str(DEMO_CLIP), "--out", "a_file"], "output folder a_file is a file", "name a folder"),
        (["run", str(DEMO_CLIP), "--out", "a_file/out"], "a_file", ""),
        (["run", str(DEMO_CLIP), "--bundle", "nowhere"], "no bundle at nowhere: it is missing", "export"),
        (["run", str(DEMO_CLIP), "--bundle", "a_file"], "no bundle at a_file: it is not a folder", "export"),
        (["bench", "--frames", "2"], "--frames", "bench --help"),
        (["bench", "--against", "litteral"], "unknown --against 'litteral'", "did you mean 'literal'"),
        (["bench", "--backend", "gpu"], "unknown backend 'gpu'", "known: auto, onnx"),
        (["build-engine", "nowhere"], "no bundle at nowhere", "export"),
        (["build-engine", str(DEMO_BUNDLE), "--batch", "8,1"], "--batch is '8,1'", "--batch 1,4,8"),
        (["build-engine", str(DEMO_BUNDLE)], "holds no encoder", "--precision fp32,fp16"),
    ],
)
def test_usage_errors(cli: Cli, tmp_path: Path, arguments: list[str], what: str, fix: str) -> None:
    (tmp_path / "a_file").write_text("mine")
    assert_refused(cli(*arguments, cwd=tmp_path), 2, what, fix)
    assert written(tmp_path) == {"a_file"}
    assert (tmp_path / "a_file").read_text() == "mine"


@pytest.mark.parametrize("arguments", [["--help"], [], ["run", "--help"], ["--version"], ["doctor", "--help"]])
def test_help_and_version(tmp_path: Path, arguments: list[str]) -> None:
    done = process(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "stprompt" in done.stdout or "Usage" in done.stdout


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    done = process("run", "missing.mp4", "--debug", cwd=tmp_path)
    assert "Traceback" in done.stderr
    assert "SourceError: no such file or camera" in done.stderr
    assert done.returncode == 1


@pytest.mark.parametrize("arguments", [[], ["--out", "x", "--seed", "1"], ["--help"]])
def test_scenes_says_where_it_went(tmp_path: Path, arguments: list[str]) -> None:
    done = process("scenes", *arguments, cwd=tmp_path)
    assert_refused(done, 2, "`stprompt-edge scenes` has become `python -m demo.scenes`", "clone of the repository")
    assert "scenes" not in process("--help", cwd=tmp_path).stdout
