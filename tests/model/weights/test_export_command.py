"""`export` from a weights file, as it is typed: the warning is one line, and the bundle is of the file's weights."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from stprompt_edge.bundle import load_bundle
from stprompt_edge.errors import StpromptEdgeWarning
from stprompt_edge.model.clip import Clip, embed_texts, load_clip
from tests.commands import typed
from tests.model.weights.forms import TINY, TINY_QUICK, halves, save_openai_archive

Export = Callable[[Path, Path], tuple[int, list[str]]]  # a weights file and the bundle to make -> exit code and lines


@pytest.fixture
def export(tiny: Clip, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Export:
    monkeypatch.setenv("COLUMNS", "400")

    def run(file: Path, out: Path) -> tuple[int, list[str]]:
        with warnings.catch_warnings():  # as outside of tests, where they are printed
            warnings.simplefilter("default", StpromptEdgeWarning)
            code = typed(
                "export", "--clip", TINY_QUICK, "--precision", "fp32", "--pretrained", str(file), "--out", str(out)
            )
        lines = capfd.readouterr().err.splitlines()
        return code, [line for line in lines if line and not line.startswith("[")]  # without progress

    return run


def test_an_archive_becomes_a_bundle_and_its_activation_is_warned_of(
    tmp_path: Path, tiny: Clip, export: Export
) -> None:
    weights = tiny.model.state_dict()
    save_openai_archive(tmp_path / "laion2b.pt", weights)
    code, lines = export(tmp_path / "laion2b.pt", tmp_path / "bundle")
    assert code == 0, lines
    assert [line for line in lines if line.startswith("warning")] == [
        f"warning: laion2b.pt was trained with GELU (by its name), {TINY_QUICK} computes QuickGELU: its embeddings "
        f"will be wrong; pass --clip {TINY}"
    ]
    bundle = load_bundle(tmp_path / "bundle")
    assert bundle.manifest.clip.pretrained == "laion2b.pt"
    expected = load_clip(TINY_QUICK, "none", seed=1)  # other weights, replaced by torch itself
    expected.model.load_state_dict({name: tensor.float() for name, tensor in halves(weights).items()})
    phrases = embed_texts(expected, bundle.vocabulary.normal_phrases).numpy()
    np.testing.assert_allclose(bundle.text.normal_phrases, phrases, atol=1e-6)


def test_a_refusal_is_two_lines(tmp_path: Path, export: Export) -> None:
    (tmp_path / "ViT-B-16.pt").write_text("<!doctype html><title>Not found</title>")
    code, (what, remedy) = export(tmp_path / "ViT-B-16.pt", tmp_path / "bundle")
    assert code == 2
    assert what == f"error: {tmp_path}/ViT-B-16.pt is a web page that was saved in place of the weights"
    assert remedy.startswith("  fix: use the link that downloads the file itself")
    assert not (tmp_path / "bundle").exists()
