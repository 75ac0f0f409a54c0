"""`stprompt-edge evaluate` as people meet it, in this process."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")
pytest.importorskip("onnxruntime")

from stprompt_edge.assets import DEMO_BUNDLE
from stprompt_edge.cli import app
from stprompt_edge.cli.terminal import console

from .scored import write_dataset


def main(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["stprompt-edge", "evaluate", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        app.main()
    return int(caught.value.code or 0)


def test_streaming_from_files_to_a_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = write_dataset(tmp_path / "data", frames=17), tmp_path / "out"
    assert main(monkeypatch, DEMO_BUNDLE, data, "--streaming", "--html", "--json", "--stride", 8, "--out", out) == 0
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert found == json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    assert found["figures"]["frames"]["abnormal"] == 16
    assert found["figures"]["localization"]["frames"] == 4
    assert {path.name for path in out.iterdir()} >= {"evaluation.html", "alarms.png", "localization.png", "scores"}
    for word in ("AUC", "TIoU", "the bundle's own", "lookahead", "note:", "wrote metrics.json"):
        assert word in printed.err


@pytest.mark.parametrize(
    ("arguments", "code", "what"),
    [
        (["gone", "DATA"], 2, "gone is neither a bundle nor a checkpoint"),
        (["BUNDLE", "gone"], 2, "data set gone does not exist"),
        (["BUNDLE", "DATA", "--split", "validation"], 2, "has no videos in validation: 1 in train, 4 in test"),
        (["BUNDLE", "DATA", "--format", "ucf"], 2, "unknown data set format 'ucf'"),
        (["BUNDLE", "DATA", "--out", "DATA"], 2, "exists and is no evaluation"),
        (["BUNDLE", "DATA", "--precision", "cpu9"], 2, "unknown precision 'cpu9'"),
        (["BUNDLE", "DATA", "--features", "f"], 2, "are for checkpoints"),
        (["CHECKPOINT", "DATA", "--streaming"], 2, "only bundles run as at the edge"),
        (["CHECKPOINT", "DATA"], 2, "is not a checkpoint of stprompt-edge"),
        (["BUNDLE", "DATA", "--processes", "0"], 2, "--processes"),
        (["BUNDLE"], 2, "(?i)missing argument"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    arguments: list[str], code: int, what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    (tmp_path / "best.safetensors").write_bytes(b"nothing")
    places = {
        "BUNDLE": DEMO_BUNDLE,
        "DATA": write_dataset(tmp_path / "data", frames=2),
        "CHECKPOINT": "best.safetensors",
    }
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(console, "_width", 400)
    assert main(monkeypatch, *(places.get(one, one) for one in arguments)) == code
    told = capsys.readouterr().err.splitlines()
    lines = [line for line in told if line.strip() and not line.startswith("[")]  # progress of a slow machine
    assert len(lines) == 2, lines
    assert re.search(what, lines[0])
    assert lines[0].startswith("error: ")
    assert lines[1].startswith("  fix: ")
    assert not (tmp_path / "stprompt-edge-out").exists()


def test_a_bundle_is_evaluated_without_torch(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "data", frames=8)
    program = f"""
import sys
from pathlib import Path
from stprompt_edge.bundle import load_bundle
from stprompt_edge.datasets import load_dataset
from stprompt_edge.evaluation import EvaluationSettings, evaluate_bundle, to_dict
bundle, dataset = load_bundle(Path({str(DEMO_BUNDLE)!r})), load_dataset({str(data)!r})
found = evaluate_bundle(bundle, dataset, EvaluationSettings(streaming=True))
print(len(to_dict(found)["videos"]), sorted({{"torch", "open_clip"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300, check=False)
    assert done.stdout.split("\n")[0] == "4 []", done.stderr
