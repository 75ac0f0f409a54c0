"""The whole flow on the CPU, and the small program of the sanitizer on the kernel compiled for the host."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import gpu_check
from benchmarks.gpu import report, small_run
from benchmarks.gpu.checks import ROOT
from benchmarks.gpu.kernel import HostLauncher, moved_bytes
from benchmarks.gpu.measuring import CpuDevice
from benchmarks.gpu.preprocessing import bgr_of, check_kernel, nv12_picture, picture, turns, upload
from benchmarks.gpu.reasons import NotMeasured
from stprompt_edge.runtime.backends.cuda.kernels import nv12_to_bgr
from stprompt_edge.runtime.backends.cuda.kernels.job import layout_of
from tests.fakes.pycuda_driver import FakeDriver


def test_a_dry_run_goes_through_every_section(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "dry.json"
    assert gpu_check.main(["--device", "cpu", "--out", str(path)]) == 0
    found = json.loads(path.read_text())
    report.check_result(found)
    assert found["complete"]
    skipped = {name for name in report.SECTIONS if "not_measured" in found[name]}
    assert skipped == {"tests", "sanitizer", "autotune"}
    assert found["kernel_check"]["equal"]
    assert found["parity"]["engines"]["torch eager fp16"]["within"]
    watch = found["steps"]["watch"]["batches"]["2"]["engines"]
    assert watch["torch eager fp16"]["frames_per_s"] > 0
    assert watch["torch.compile fp16 (default)"]["graph"] == {"not_measured": "a CPU has no CUDA graphs"}
    assert found["video"]["stride_16"]["sampled_frames"] == 2
    (step,) = found["watch_end_to_end"].values()
    scores = [engine["plain"]["score"] for engine in step.values()]
    assert scores == pytest.approx([scores[0]] * len(scores), abs=0.01)
    assert "wrote" in capsys.readouterr().out


MAY_BE_MISSING = [
    "pydantic",
    "typer",
    "av",
    "rich",
    "open_clip",
    "pycuda",
    "onnxruntime",
    "onnx",
    "tensorrt",
    "cuda.bindings",
]


def test_it_starts_without_the_packages_that_a_bare_machine_lacks() -> None:
    code = f"import sys; sys.modules.update(dict.fromkeys({MAY_BE_MISSING!r})); import benchmarks.gpu_check"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_without_a_gpu_nothing_is_run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu_check.main([]) == 5
    assert "torch finds no CUDA GPU here" in capsys.readouterr().err


def test_no_gxx(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("benchmarks.gpu.kernel.shutil.which", lambda name: None)
    with pytest.raises(NotMeasured, match=r"no g\+\+"):
        HostLauncher(tmp_path)


def test_a_kernel_that_computes_something_else_is_found(tmp_path: Path) -> None:
    launcher = HostLauncher(tmp_path)

    class Wrong:
        copy = launcher.copy

        def launch(self, launch: Any) -> None:
            launcher.launch(launch)
            launcher.launch(launch)  # the frame counts twice: another motion

    assert not check_kernel(Wrong(), CpuDevice(), [(64, 64)])["equal"]


def test_torch_sees_the_same_pixels() -> None:
    device = CpuDevice()
    for frame, bgr in [(picture(7, 5), picture(7, 5)), (nv12_picture(7, 5), nv12_to_bgr(nv12_picture(7, 5)))]:
        seen = bgr_of(upload(frame, device))[0].permute(1, 2, 0)
        assert float((seen - torch.from_numpy(bgr)).abs().max()) <= 1


def test_bytes_that_a_launch_moves() -> None:
    ring_and_image = (3 * 4 + 3 * 4) * 224 * 224
    assert moved_bytes(layout_of(picture(1920, 1080)), "float32") == 1920 * 1080 * 3 + ring_and_image
    assert moved_bytes(layout_of(nv12_picture(1920, 1080)), "float32") == 1920 * 1080 * 3 // 2 + ring_and_image


def test_frames_take_turns_until_the_cache_is_beaten() -> None:
    device = CpuDevice()
    frame = upload(picture(64, 64), device)
    assert len(turns(frame, device)) == 2
    device.l2_bytes = 10 * frame.layout.nbytes  # type: ignore[misc]
    assert len(turns(frame, device)) == 41


def test_the_small_program_looks_at_every_frame() -> None:
    driver = FakeDriver(current=1)
    assert small_run.run(b"cubin", driver, driver.Stream()) == 2 * 2 * len(small_run.SIZES)
