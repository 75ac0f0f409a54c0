"""`export` as people type it wrongly."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.cli.program import Cli, assert_refused, process, written

pytest.importorskip("open_clip")


@pytest.mark.parametrize(
    ("arguments", "what", "fix"),
    [
        (["--vocabulary", "ucf-crim"], "ucf-crim", "did you mean 'ucf-crime'"),
        (["--precision", "fp32,int4"], "unknown precision 'int4'", "known: cpu8, fp16, fp32"),
        (["--precision", ","], "no precision given", "--precision"),
        (["--out", "a_file"], "a_file exists and is not a bundle", "--out"),
        (["nowhere.safetensors"], "nowhere.safetensors", ""),
        (["--clip", "ViT-B-17"], "unknown CLIP model 'ViT-B-17'", "ViT-B-16"),
    ],
)
def test_export_usage_errors(cli: Cli, tmp_path: Path, arguments: list[str], what: str, fix: str) -> None:
    (tmp_path / "a_file").write_text("mine")
    assert_refused(cli("export", "--pretrained", "none", *arguments, cwd=tmp_path), 2, what, fix)
    assert written(tmp_path) == {"a_file"}


def test_a_misspelt_vocabulary_is_found_before_clip_is_loaded(tmp_path: Path) -> None:
    code = (
        "import sys; from stprompt_edge.cli import main; import stprompt_edge.export.exporting as e; "
        "e.load_clip = lambda *a: sys.exit('CLIP was loaded'); sys.argv[1:] = "
        "['export', '--vocabulary', 'ucf-crim', '--pretrained', 'none']; main()"
    )
    done = process(cwd=tmp_path, command=[sys.executable, "-c", code])
    assert_refused(done, 2, "ucf-crim", "did you mean 'ucf-crime'")
