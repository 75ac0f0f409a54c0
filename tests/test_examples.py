"""Every example runs as it is, and finds the fire of the packaged clip."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
SAID = {
    "score_a_file.py": ("78 sampled frames, highest score 1.00", "fire and smoke"),
    "own_frames.py": ("alarm on: fire and smoke", "alarm off"),
    "own_sink.py": ('"what": "opened", "class": "fire and smoke"', '"what": "closed"', "pictures in"),
}


def test_every_example_is_run() -> None:
    assert set(SAID) == {path.name for path in EXAMPLES.glob("*.py")}


@pytest.mark.parametrize("name", SAID)
def test_an_example_says_what_it_found(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [name])
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    printed = capsys.readouterr().out
    assert all(said in printed for said in SAID[name])
