"""`export` from a weights file, as it is typed: the warning is one line, and the bundle is of the file's weights."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from stprompt_edge.bundle import load_bundle
from stprompt_edge.model.clip import Clip, embed_texts, load_clip
from tests.model.weights.forms import halves, save_openai_archive

COMMAND = [sys.executable, "-m", "stprompt_edge", "export", "--clip", "stprompt-demo-16", "--precision", "fp32"]


def export(file: Path, out: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, "--pretrained", str(file), "--out", str(out)],
        env={**os.environ, "COLUMNS": "200"}, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


def test_an_archive_becomes_a_bundle_and_its_activation_is_warned_of(tmp_path: Path, demo_clip: Clip) -> None:
    weights = demo_clip.model.state_dict()
    save_openai_archive(tmp_path / "laion2b.pt", weights)
    done = export(tmp_path / "laion2b.pt", tmp_path / "bundle")
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stderr.splitlines() if line.startswith("warning")] == [
        "warning: laion2b.pt was trained with GELU (by its name), stprompt-demo-16 computes QuickGELU: its embeddings "
        "will be wrong; use a model with GELU"
    ]
    bundle = load_bundle(tmp_path / "bundle")
    assert bundle.manifest.clip.pretrained == "laion2b.pt"
    expected = load_clip("stprompt-demo-16", "none", seed=1)  # other weights, replaced by torch itself
    expected.model.load_state_dict({name: tensor.float() for name, tensor in halves(weights).items()})
    phrases = embed_texts(expected, bundle.vocabulary.normal_phrases).numpy()
    np.testing.assert_allclose(bundle.text.normal_phrases, phrases, atol=1e-6)


def test_a_refusal_is_two_lines(tmp_path: Path) -> None:
    (tmp_path / "ViT-B-16.pt").write_text("<!doctype html><title>Not found</title>")
    done = export(tmp_path / "ViT-B-16.pt", tmp_path / "bundle")
    assert done.returncode == 2
    told = [line for line in done.stderr.splitlines() if line and not line.startswith("[")]  # without progress
    what, remedy = told
    assert what == f"error: {tmp_path}/ViT-B-16.pt is a web page that was saved in place of the weights"
    assert remedy.startswith("  fix: use the link that downloads the file itself")
    assert not (tmp_path / "bundle").exists()
