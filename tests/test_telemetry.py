"""Nothing reports on its own: in an empty home our commands write nothing, and what the user has set stays."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from stprompt_edge.assets import DEMO_CLIP

SWITCHES = ("ORT_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY")
CONSENT = {*SWITCHES, "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "HF_HOME", "DO_NOT_TRACK"}


def run_at_home(home: Path, arguments: list[str], codes: tuple[int, ...] = (0,), **more: str) -> str:
    """What a new process prints that has `home` for its home and none of the settings about telemetry."""
    home.mkdir(exist_ok=True)
    environment = {name: value for name, value in os.environ.items() if name not in CONSENT}
    environment |= {"HOME": str(home), "OMP_NUM_THREADS": "1", **more}
    done = subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode in codes, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def data_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("videos")
    for name in ("train/normal/a.mp4", "test/normal/b.mp4"):
        (root / name).parent.mkdir(parents=True)
        (root / name).symlink_to(DEMO_CLIP)
    return root


@pytest.mark.parametrize(
    "command",
    [
        ["run", str(DEMO_CLIP), "--max-frames", "20", "--out", "OUT"],
        ["doctor"],
        ["bench", "--frames", "5"],
        ["extract", "DATASET", "--processes", "2", "--backend", "onnx", "--out", "OUT"],
        ["export", "--clip", "stprompt-demo-16", "--pretrained", "demo", "--precision", "fp32", "--out", "OUT"],
    ],
    ids=lambda command: command[0],
)
def test_nothing_is_written_to_an_empty_home(tmp_path: Path, data_set: Path, command: list[str]) -> None:
    home, places = tmp_path / "home", {"OUT": str(tmp_path / "out"), "DATASET": str(data_set)}
    codes = (0, 5) if command == ["doctor"] else (0,)  # 5: what it tries takes longer than it waits, on a busy machine
    run_at_home(home, ["-m", "stprompt_edge", *(places.get(part, part) for part in command)], codes)
    assert [str(path.relative_to(home)) for path in home.rglob("*")] == []


def test_onnxruntime_would_have_written_there(tmp_path: Path) -> None:
    """The test above sees what it is about, where this version of ONNX Runtime does it at all."""
    home = tmp_path / "home"
    run_at_home(home, ["-c", "import onnxruntime"])
    if not list(home.rglob("deviceid")):
        pytest.skip("this ONNX Runtime writes no device id")


@pytest.mark.parametrize("value", [None, "0", ""])
@pytest.mark.parametrize("switch", SWITCHES)
def test_what_the_user_has_set_stays(tmp_path: Path, switch: str, value: str | None) -> None:
    more = {} if value is None else {switch: value}
    code = f"import os, stprompt_edge; print(repr(os.environ[{switch!r}]))"
    assert run_at_home(tmp_path / "home", ["-c", code], **more).strip() == repr("1" if value is None else value)
