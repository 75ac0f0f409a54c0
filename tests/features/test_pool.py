"""Extractions that are killed, interrupted or run out of something, in processes of their own."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from stprompt_edge.assets import DEMO_BUNDLE
from stprompt_edge.datasets import load_dataset
from stprompt_edge.errors import EnvironmentFailure
from stprompt_edge.features.extraction import Extraction, Listener, extract_dataset
from stprompt_edge.features.settings import ExtractionSettings
from tests import videos

pytest.importorskip("onnxruntime")
ROOT = Path(__file__).resolve().parents[2]
SETTINGS = ExtractionSettings(bundle=DEMO_BUNDLE, stride=1, backend="onnx")
VIDEOS = 6
COMMAND = ["extract", "data", "--out", "f", "--stride", "1", "--backend", "onnx"]
FILE_LIMIT = (
    "import resource, runpy; resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, 2_000)); "
    "runpy.run_module('stprompt_edge', run_name='__main__')"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Videos that take long enough to be interrupted."""
    for index in range(VIDEOS):
        label = tmp_path / "data" / ("normal" if index % 2 else "fighting")
        label.mkdir(parents=True, exist_ok=True)
        videos.write_video(label / f"{index}.mp4", frames=30)
    return tmp_path


def start(folder: Path, *arguments: str, program: list[str] | None = None) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *(program or ["-m", "stprompt_edge"]), *COMMAND, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # a terminal, systemd and Slurm send their signals to every process of the command
    )


def features(folder: Path) -> list[Path]:
    return sorted((folder / "f").rglob("*.safetensors"))


def wait_for_the_first(process: subprocess.Popen[str], folder: Path) -> None:
    deadline = time.monotonic() + 300  # a busy machine
    while not features(folder):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)


def go_on(folder: Path) -> Extraction:
    return extract_dataset(load_dataset(folder / "data"), folder / "f", SETTINGS)


def children(process: subprocess.Popen[str]) -> list[int]:
    found = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    return [int(pid) for pid in found.split()]


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("processes", [1, 2])
def test_kill_9_in_the_middle(folder: Path, processes: int) -> None:
    with start(folder, "--processes", str(processes)) as process:
        wait_for_the_first(process, folder)
        workers = children(process) if sys.platform == "linux" else []
        process.kill()
        process.communicate()
    deadline = time.monotonic() + 60
    while any(map(is_running, workers)):  # none goes on behind the back of the next run
        assert time.monotonic() < deadline
        time.sleep(0.01)
    there = len(features(folder))
    assert not (folder / "f" / "index.json").exists()
    done = go_on(folder)
    assert (done.written, done.skipped, done.left) == (VIDEOS - there, there, 0)
    assert (folder / "f" / "index.json").exists()


@pytest.mark.parametrize(
    ("processes", "number", "code"), [(1, signal.SIGINT, 130), (2, signal.SIGINT, 130), (2, signal.SIGTERM, 143)]
)
def test_ctrl_c_or_sigterm_in_the_middle(folder: Path, processes: int, number: int, code: int) -> None:
    with start(folder, "--processes", str(processes)) as process:
        wait_for_the_first(process, folder)
        os.killpg(process.pid, number)
        stdout, stderr = process.communicate(timeout=300)
    assert process.returncode == code, stderr
    assert stdout == ""
    assert "Traceback" not in stderr
    left = re.search(r"interrupted with (\d) videos left: the same command goes on with them", stderr)
    assert left, stderr
    assert not list((folder / "f").rglob("*.partial"))
    assert not (folder / "f" / "index.json").exists()
    done = go_on(folder)
    assert done.written == int(left[1])
    assert done.skipped == VIDEOS - int(left[1])


def test_stopped_before_it_begins(folder: Path) -> None:
    stop = threading.Event()
    stop.set()
    done = extract_dataset(load_dataset(folder / "data"), folder / "f", SETTINGS, stop=stop)
    assert (done.written, done.left) == (0, VIDEOS)


def test_a_process_that_is_killed(folder: Path) -> None:
    def kill_one(name: str, done: float) -> None:
        if done:
            for child in multiprocessing.active_children()[:1]:
                child.kill()

    settings = ExtractionSettings(bundle=DEMO_BUNDLE, stride=1, backend="onnx", processes=2)
    with pytest.raises(EnvironmentFailure, match=r"a process of the extraction was killed.*\n.*fewer --processes"):
        extract_dataset(load_dataset(folder / "data"), folder / "f", settings, Listener(progress=kill_one))
    assert features(folder)
    assert go_on(folder).left == 0


def test_a_full_disk_in_another_process(folder: Path) -> None:
    pytest.importorskip("resource")
    with start(folder, "--processes", "2", program=["-c", FILE_LIMIT]) as process:
        _, stderr = process.communicate(timeout=300)
    assert process.returncode == 5, stderr
    assert "Traceback" not in stderr
    assert re.search(r"error: disk full while writing f/.*\.safetensors", stderr)
    assert not features(folder)
    assert not list((folder / "f").rglob("*.partial"))
