"""The doctor: its parsers on real and senseless text, its probes on made-up machines, and one real examination."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.requirements import Requirement
from rich.console import Console

from stprompt_edge.doctor import Check, Report, examination, examine, probes, render, trials
from stprompt_edge.doctor.machine import Machine, Outcome
from stprompt_edge.doctor.parsers import (
    GpuInfo,
    parse_cpu_flags,
    parse_cpu_quota,
    parse_failure,
    parse_l4t,
    parse_meminfo,
    parse_nvidia_smi,
)
from stprompt_edge.errors import EnvironmentFailure, UsageError
from stprompt_edge.runtime.sources.gstreamer import PACKAGES
from tests.fakes.device import install


@dataclass(frozen=True, kw_only=True)
class FakeMachine(Machine):
    """Files come from `files`, child processes from `outcomes` (by the last argument); everything else is absent."""

    files: dict[str, str] = field(default_factory=dict)
    outcomes: dict[str, Outcome] = field(default_factory=dict)

    def read(self, path: str) -> str:
        return self.files.get(path, "")

    def run(self, *command: str) -> Outcome:
        absent = Outcome(problem="No such file", absent=True)
        return next((o for key, o in self.outcomes.items() if any(key in part for part in command)), absent)


def only(checks: tuple[Check, ...], name: str) -> Check:
    (check,) = (c for c in checks if c.name == name)
    return check


# ---- parsers


@pytest.mark.parametrize(
    ("text", "model", "features", "meaning"),
    [
        ("", "", (), "measure before choosing"),
        ("\x00\xff:::\n:\nflags", "", (), "measure before choosing"),
        ("model name\t: AMD EPYC\nflags\t\t: fpu avx2 sse", "AMD EPYC", ("AVX2",), "7-bit weights keep its sums exact"),
        ("flags : avx2 avx512_vnni avx_vnni", "", ("AVX-512 VNNI", "AVX-VNNI", "AVX2"), "dot products in hardware"),
        ("flags : amx_int8 avx2 avx512_vnni", "", ("AMX int8", "AVX-512 VNNI", "AVX2"), "tiles in hardware"),
        ("Features\t: fp asimd asimddp\nHardware\t: BCM2711", "BCM2711", ("dotprod", "NEON"), "dot products"),
        ("Features : asimd neon i8mm", "", ("i8mm", "NEON"), "matrix products in hardware"),
        ("Features : asimd", "", ("NEON",), "gains little"),
        ("flags : avx2\nflags : sse", "", ("AVX2",), "7-bit weights keep its sums exact"),
    ],
)
def test_cpu_flags(text: str, model: str, features: tuple[str, ...], meaning: str) -> None:
    cpu = parse_cpu_flags(text)
    assert cpu.model == model
    assert cpu.int8_features == features
    assert meaning in cpu.int8_meaning


@pytest.mark.parametrize(
    ("text", "gpus"),
    [
        ("", ()),
        ("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.", ()),
        ("Error, a, b, c", ()),
        (
            "NVIDIA RTX A2000, 550.54.15, 6138 MiB, 8.6\n",
            (GpuInfo(name="NVIDIA RTX A2000", driver="550.54.15", memory="6138 MiB", compute_capability="8.6"),),
        ),
        (
            "Orin (nvgpu), 540.4.0, [N/A], [Not Supported]\n",
            (GpuInfo(name="Orin (nvgpu)", driver="540.4.0", memory="", compute_capability=""),),
        ),
        ("a, 1, 2 MiB, 3\nb, 1, 2 MiB, 3\n\n", tuple(
            GpuInfo(name=n, driver="1", memory="2 MiB", compute_capability="3") for n in "ab"
        )),
    ],
)  # fmt: skip
def test_nvidia_smi(text: str, gpus: tuple[GpuInfo, ...]) -> None:
    assert parse_nvidia_smi(text) == gpus


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("# R36 (release), REVISION: 4.0, GCID: 37537400, BOARD: generic, EABI: aarch64", "36.4.0"),
        ("# R38 (release), REVISION: 2.0, GCID: 1", "38.2.0"),
        ("", ""),
        ("# R36", ""),
        ("garbage (release), REVISION", ""),
    ],
)
def test_l4t(text: str, version: str) -> None:
    assert parse_l4t(text) == version


@pytest.mark.parametrize(
    ("text", "cores"),
    [("150000 100000\n", 1.5), ("max 100000\n", None), ("", None), ("1 0", None), ("-1 5", None), ("x y", None)],
)
def test_cpu_quota(text: str, cores: float | None) -> None:
    assert parse_cpu_quota(text) == cores


def test_meminfo() -> None:
    assert parse_meminfo("MemTotal:       1024 kB\nHugePages_Total:       0\nMemFree: x kB\n") == {"MemTotal": 1 << 20}


@pytest.mark.parametrize(
    ("line", "extra", "applies"),
    [
        ("numpy>=1.26", "", True),
        ("onnxruntime>=1.18; extra == 'cpu'", "cpu", True),
        ('tomli>=2; python_version < "3"', "", False),
        ("tomli>=2; python_version < '3' and extra == 'cpu'", "cpu", False),
        ("stprompt-edge[export]; extra == 'train'", "train", True),
    ],
)
def test_what_a_requirement_is_for(line: str, extra: str, applies: bool) -> None:
    requirement = Requirement(line)
    assert (probes._extra(requirement), probes._applies(requirement)) == (extra, applies)


@pytest.mark.parametrize(
    ("installed", "wanted", "problem"),
    [
        ("2.14.1+cu130", "<2.15,>=2.14", ""),
        ("3", ">=3.0", ""),
        ("1.18rc1", ">=1.18", ""),
        ("1.9", ">=1.18", "1.9 is too old, 1.18 or newer is needed"),
        ("git", ">=1", "git is too old, 1 or newer is needed"),
        ("0", "", ""),
        ("", ">=1", "not installed"),
    ],
)
def test_versions(monkeypatch: pytest.MonkeyPatch, installed: str, wanted: str, problem: str) -> None:
    monkeypatch.setattr(probes, "_version", lambda package: installed)
    assert probes._version_problem(Requirement(f"package{wanted}")) == problem


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", ""),
        ("\n \n", ""),
        ("all is well", "all is well"),
        (
            "\x1b[1;31m2026-01-02 10:00:00.1 [E:onnxruntime:Default, bridge.cc:1 Get] FAIL : Failed to load library "
            "libonnxruntime_providers_cuda.so with error: libcublasLt.so.12: cannot open shared object file\x1b[m\n"
            "RuntimeError: asked for CUDAExecutionProvider, ONNX Runtime took CPUExecutionProvider",
            "libcublasLt.so.12 is not found",
        ),
        (
            "2026-01-02 10:00:00.1 [E:onnxruntime:Default, cuda.cc:9 Call] CUDA failure 35: driver too old\n"
            "RuntimeError: asked for A, ONNX Runtime took B",
            "CUDA failure 35: driver too old",
        ),
        (
            "[E:onnxruntime:, s.cc:1 ()] This session contains graph nodes\n"
            "Fail: [ONNXRuntimeError] : fallback to CPU EP has been explicitly disabled by the user.",
            "it took no part of the graph and left everything to the CPU",
        ),
        (
            "Traceback (most recent call last):\n  raise ImportError(error)\nModuleNotFoundError: No module named 'x'",
            "ModuleNotFoundError: No module named 'x'",
        ),
        ("error " + "x" * 500, "error " + "x" * 191 + "..."),
    ],
)
def test_failure(text: str, reason: str) -> None:
    assert parse_failure(text) == reason


@pytest.mark.parametrize(
    "parse",
    [parse_cpu_flags, parse_cpu_quota, parse_failure, parse_l4t, parse_meminfo, parse_nvidia_smi],
)
def test_parsers_take_any_text(parse: Callable[[str], object]) -> None:
    @given(st.text() | st.text(alphabet="0123456789. :,;[]\nR()kBMem"))
    def run(text: str) -> None:
        parse(text)

    run()


# ---- child processes


def test_a_child_that_hangs_is_left_behind() -> None:
    started = time.monotonic()
    outcome = Machine(timeout_s=0.3).run(sys.executable, "-c", "import time; time.sleep(60)")
    assert outcome.problem == "no answer within 0.3 s"
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("print(1)", ""),
        ("import os; os.kill(os.getpid(), 11)", "crashed with signal 11"),
        ("raise SystemExit(3)", "exit code 3"),
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
    ],
)
def test_how_a_child_ends(code: str, problem: str) -> None:
    assert Machine().run(sys.executable, "-c", code).problem == problem


def test_a_program_that_is_not_there() -> None:
    assert Machine().run("no-such-program-anywhere").absent


def test_a_program_that_cannot_be_run(tmp_path: Path) -> None:
    path = tmp_path / "program"
    path.write_text("x")
    outcome = Machine().run(str(path))
    assert "Permission denied" in outcome.problem
    assert not outcome.absent


def test_reading_system_files(tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(b"NVIDIA Jetson\0\xff")
    machine = Machine(root=tmp_path)
    assert machine.read("/model") == "NVIDIA Jetson\ufffd"
    assert machine.read("/absent") == ""
    assert machine.read("/") == ""


# ---- trials


def test_the_probe_model_is_what_its_comment_says() -> None:
    onnx = pytest.importorskip("onnx")
    model = onnx.load_from_string(trials.PROBE_ONNX)
    onnx.checker.check_model(model, full_check=True)
    assert [node.op_type for node in model.graph.node] == ["MatMul", "Add"]
    w, b = (onnx.numpy_helper.to_array(t) for t in model.graph.initializer)
    assert (trials.PROBE_INPUT @ w + b).tolist() == [list(row) for row in trials.PROBE_OUTPUT]


def test_the_cpu_provider_is_proved() -> None:
    pytest.importorskip("onnxruntime")
    assert trials.try_provider("CPUExecutionProvider")["version"]


def test_a_provider_that_falls_back_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")

    class CpuSession:
        def __init__(self, *args: object, **kwargs: object) -> None: ...

        def get_providers(self) -> list[str]:
            return ["CPUExecutionProvider"]

    monkeypatch.setattr(onnxruntime, "InferenceSession", CpuSession)
    with pytest.raises(RuntimeError, match="asked for CUDAExecutionProvider, ONNX Runtime took CPUExecutionProvider"):
        trials.try_provider("CUDAExecutionProvider")


def test_wrong_numbers_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr(trials, "PROBE_OUTPUT", ((17.0, 20.0),))
    with pytest.raises(RuntimeError, match=r"wrong numbers: got \[\[17.0, 19.0\]\]"):
        trials.try_provider("CPUExecutionProvider")


def test_a_provider_that_leaves_all_to_the_cpu_fails() -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    if "AzureExecutionProvider" not in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has no provider that computes nothing")
    outcome = Machine(timeout_s=60).run_trial("provider", "AzureExecutionProvider")
    assert outcome.problem == "it took no part of the graph and left everything to the CPU"


def test_imports_are_tried() -> None:
    reasons = trials.try_imports(["json", "no_such_module"])
    assert reasons == {"json": "", "no_such_module": "ModuleNotFoundError: No module named 'no_such_module'"}


# ---- probes on made-up machines


def test_packages_that_do_not_import() -> None:
    reasons = json.dumps({"numpy": "", "cv2": "ImportError: libGL.so.1: cannot open shared object file"})
    checks = probes.probe_packages(FakeMachine(outcomes={"import": Outcome(output=f"noise\n{reasons}\n")}))
    assert only(checks, "numpy").status == "ok"
    opencv = only(checks, "opencv-python-headless")
    assert opencv.status == "failed"
    assert "libGL.so.1 is not found" in opencv.detail
    assert opencv.remedy == "pip install --force-reinstall opencv-python-headless"


@pytest.mark.parametrize(
    "outcome",
    [Outcome(problem="crashed with signal 11"), Outcome(output="[1]"), Outcome(output="{"), Outcome()],
)
def test_an_import_that_crashes(outcome: Outcome) -> None:
    checks = probes.probe_packages(FakeMachine(outcomes={"import": outcome}))
    assert {c.status for c in checks} == {"failed"}
    assert (outcome.problem or "no answer") in checks[0].detail


def test_imports_that_take_too_long_blame_no_package() -> None:
    outcome = Outcome(problem="no answer within 5 s")
    check = probes.probe_packages(FakeMachine(outcomes={"import": outcome}))[0]
    assert check.detail.endswith(": no answer within 5 s")
    assert "reinstall " + check.name not in check.remedy


def test_versions_too_old_and_missing_name_the_install_line(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["numpy>=999", "no-such-package", "no-such-onnx>=1; extra == 'cpu'", "numpy; extra == 'dev'"]
    lines += ["no-such-theme; extra == 'docs'"]
    monkeypatch.setattr(probes, "_requirements", lambda: tuple(map(Requirement, lines)))
    numpy, other = probes.probe_packages(FakeMachine(outcomes={"import": Outcome(output="{}")}))
    assert numpy.status == other.status == "failed"
    assert "is too old, 999 or newer is needed" in numpy.detail
    assert (other.detail, other.remedy) == ("not installed", "pip install stprompt-edge")
    (extra,) = probes.probe_extras(FakeMachine())
    assert (extra.status, extra.detail) == ("missing", "no-such-onnx not installed")
    assert extra.remedy == 'pip install "stprompt-edge[cpu]"'


def test_both_builds_of_onnxruntime_clash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "_version", lambda package: "1.20")
    clash = probes.probe_extras(FakeMachine())[-1]
    assert clash.status == "failed"
    assert clash.remedy == 'pip uninstall -y onnxruntime onnxruntime-gpu && pip install "stprompt-edge[gpu]"'


@pytest.mark.parametrize(
    ("installed", "extra", "status", "remedy"),
    [
        ("onnxruntime-gpu", "cpu", "ok", ""),
        ("onnxruntime", "gpu", "missing", 'pip uninstall -y onnxruntime && pip install "stprompt-edge[gpu]"'),
        ("", "gpu", "missing", 'pip install "stprompt-edge[gpu]"'),
    ],
)
def test_one_build_of_onnxruntime(
    monkeypatch: pytest.MonkeyPatch, installed: str, extra: str, status: str, remedy: str
) -> None:
    monkeypatch.setattr(probes, "_version", lambda package: "1.20" if package == installed else "")
    check = only(probes.probe_extras(FakeMachine()), extra)
    assert (check.status, check.remedy) == (status, remedy)


def test_without_metadata_the_requirements_are_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "_requirements", lambda: ())
    (check,) = probes.probe_packages(FakeMachine())
    assert check.status == "failed"
    assert check.remedy == "pip install stprompt-edge"


@pytest.mark.parametrize("content", ["", "[project", "project = 3", "[project]\ndependencies = 3"])
def test_a_pyproject_that_is_not_ours(tmp_path: Path, content: str) -> None:
    path = tmp_path / "pyproject.toml"
    path.write_text(content)
    assert probes._checkout_requirements(path) == []
    assert probes._checkout_requirements(tmp_path / "absent.toml") == []


def test_providers_are_proved_one_by_one() -> None:
    machine = FakeMachine(
        outcomes={
            "providers": Outcome(output='["CUDAExecutionProvider", "AzureExecutionProvider", "CPUExecutionProvider"]'),
            "CUDA": Outcome(problem="libcublasLt.so.12 is not found"),
            "CPU": Outcome(output='{"version": "1.20"}'),
        }
    )
    cuda, azure, cpu = probes.probe_providers(machine)
    assert (cuda.status, cuda.detail) == ("failed", "listed but failed: libcublasLt.so.12 is not found")
    assert "CUDA libraries" in cuda.remedy
    assert azure.status == "info"
    assert (cpu.status, cpu.detail) == ("ok", "computed the known answer (ONNX Runtime 1.20)")


@pytest.mark.parametrize(
    ("outcome", "status", "detail"),
    [
        (Outcome(problem="ModuleNotFoundError: No module named 'onnxruntime'"), "missing", "not installed"),
        (Outcome(problem="crashed with signal 4"), "failed", "does not import: crashed with signal 4"),
        (Outcome(problem="no answer within 5 s"), "failed", "does not import: no answer within 5 s"),
        (Outcome(output="{}"), "failed", "does not import: it lists no providers"),
    ],
)
def test_onnxruntime_that_does_not_import(outcome: Outcome, status: str, detail: str) -> None:
    (check,) = probes.probe_providers(FakeMachine(outcomes={"providers": outcome}))
    assert (check.status, check.detail) == (status, detail)
    assert check.remedy


def test_a_jetson() -> None:
    machine = FakeMachine(
        files={
            "/proc/device-tree/model": "NVIDIA Jetson Orin Nano Developer Kit",
            "/etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 1",
        },
        outcomes={"tensorrt": Outcome(problem="ModuleNotFoundError: No module named 'tensorrt'")},
    )
    (jetson,) = probes.probe_gpu(machine)
    assert jetson.detail == "NVIDIA Jetson Orin Nano Developer Kit, Jetson Linux 36.4.3"
    (tensorrt,) = probes.probe_tensorrt(machine)
    assert tensorrt.status == "missing"
    assert "--system-site-packages" in tensorrt.remedy


@pytest.mark.parametrize(
    ("outcome", "status", "detail"),
    [
        (Outcome(output="RTX A2000, 550.1, 6138 MiB, 8.6"), "ok", "RTX A2000, 6138 MiB, driver 550.1, compute capab"),
        (Outcome(problem="No such file", absent=True), "missing", "no NVIDIA driver found"),
        (Outcome(problem="no answer within 5 s"), "failed", "nvidia-smi does not answer: no answer within 5 s"),
        (Outcome(output="No devices were found"), "failed", "nvidia-smi does not answer: it lists no GPU"),
    ],
)
def test_a_gpu(outcome: Outcome, status: str, detail: str) -> None:
    (check,) = probes.probe_gpu(FakeMachine(outcomes={"nvidia-smi": outcome}))
    assert check.status == status
    assert check.detail.startswith(detail)


@pytest.mark.parametrize(
    ("outcome", "status", "detail"),
    [
        (Outcome(output='{"driver": 12040, "devices": ["Orin"]}'), "ok", "reaches Orin"),
        (Outcome(output="{}"), "ok", "reaches no device"),
        (Outcome(problem="ModuleNotFoundError: No module named 'pycuda'"), "missing", "not installed"),
        (Outcome(problem="libcuda.so.1 is not found"), "failed", "libcuda.so.1 is not found"),
        (Outcome(problem="no answer within 5 s"), "failed", "no answer within 5 s"),
    ],
)
def test_pycuda(outcome: Outcome, status: str, detail: str) -> None:
    (check,) = probes.probe_pycuda(FakeMachine(outcomes={"pycuda": outcome}))
    assert check.status == status
    assert check.detail.startswith(detail)
    assert bool(check.remedy) == (status != "ok")


@pytest.mark.parametrize(
    ("outcome", "status", "detail"),
    [
        (Outcome(output='{"device": "Orin"}'), "ok", "recorded and launched"),
        (Outcome(problem="EnvironmentFailure: a CUDA graph failed"), "missing", "plain launches will be used: Environ"),
        (Outcome(problem="no answer within 5 s"), "missing", "plain launches will be used: no answer within 5 s"),
    ],
)
def test_cuda_graph(outcome: Outcome, status: str, detail: str) -> None:
    (check,) = probes.probe_cuda_graph(FakeMachine(outcomes={"cuda-graph": outcome}))
    assert check.status == status
    assert check.detail.startswith(detail)
    assert bool(check.remedy) == (status != "ok")


@pytest.mark.parametrize(
    ("outcome", "status", "detail"),
    [
        (
            Outcome(output='{"version": "1.22.0", "decoders": []}'),
            "ok",
            "1.22.0; hardware decoders, listed, not tried: n",
        ),
        (
            Outcome(output='{"version": "1.20.3", "decoders": ["nvv4l2decoder"]}'),
            "ok",
            "1.20.3; hardware decoders, listed",
        ),
        (Outcome(problem="EnvironmentFailure: needs PyGObject"), "missing", "only for sources that are pipelines: Env"),
        (Outcome(output="[]"), "missing", "only for sources that are pipelines: it gave no answer"),
        (Outcome(problem="no answer within 5 s"), "missing", "only for sources that are pipelines: no answer"),
    ],
)
def test_gstreamer(outcome: Outcome, status: str, detail: str) -> None:
    (check,) = probes.probe_gstreamer(FakeMachine(outcomes={"gstreamer": outcome}))
    assert check.status == status
    assert check.detail.startswith(detail)
    assert bool(check.remedy) == (status != "ok")
    assert (PACKAGES in check.remedy) == (status == "missing" and "no answer" not in outcome.problem)


def test_the_trial_of_gstreamer(monkeypatch: pytest.MonkeyPatch) -> None:
    class Factory:
        find = staticmethod(lambda name: name == "vah264dec")

    gst = SimpleNamespace(version=lambda: (1, 24, 2, 0), ElementFactory=Factory)
    monkeypatch.setattr("stprompt_edge.runtime.sources.gstreamer.import_gstreamer", lambda: (gst, None))
    assert trials.try_gstreamer() == {"version": "1.24.2", "decoders": ["vah264dec"]}


@pytest.mark.parametrize(
    "failure",
    [EnvironmentFailure("no gi here", remedy="install it"), UsageError("no gi here", remedy="install it")],
)
def test_a_trial_leaves_the_remedy_to_its_probe(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], failure: Exception
) -> None:
    def fail() -> None:
        raise failure

    monkeypatch.setattr(trials, "try_gstreamer", fail)
    assert trials.run(["gstreamer"]) == 1
    assert capsys.readouterr().err == "no gi here\n"


def test_a_remedy_is_printed_once() -> None:
    """In a process of its own, as `doctor` does it; where GStreamer is there, there is no remedy."""
    check = only(probes.probe_gstreamer(Machine(timeout_s=60)), "GStreamer")
    assert "fix" not in check.detail
    assert "apt install" not in check.detail


def test_every_extra_is_used_by_the_code() -> None:
    root = Path(probes.__file__).parents[2]
    code = "\n".join(path.read_text(encoding="utf-8") for path in (root / "stprompt_edge").rglob("*.py"))
    modules = {"open_clip_torch": "open_clip", "scikit-learn": "sklearn", "pillow": "PIL", "cuda-python": "cuda"}
    modules |= {"onnxruntime-gpu": "onnxruntime", "stprompt-edge": "stprompt_edge"}
    requirements = [Requirement(line) for line in probes._checkout_requirements(root / "pyproject.toml")]
    extras = {r.name: probes._extra(r) for r in requirements if probes._extra(r) not in ("", "dev", "docs")}
    assert {"onnxruntime", "torch", "pillow", "tensorrt"} <= set(extras)
    for package in extras:
        module = modules.get(package, package.replace("-", "_"))
        used = re.search(rf"""(^|\n)\s*(import|from) {module}\b|["']{module}[.\w]*["']""", code)
        assert used or package in ("torchvision", "onnxscript"), (
            package
        )  # imported by open_clip, and by torch's exporter


def test_cuda_graphs_are_no_subject_without_pycuda() -> None:
    outcome = Outcome(problem="EnvironmentFailure: PyCUDA cannot be imported (No module named 'pycuda')")
    assert probes.probe_cuda_graph(FakeMachine(outcomes={"cuda-graph": outcome})) == ()


def test_the_trial_of_a_cuda_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = install(monkeypatch)
    assert trials.try_cuda_graph() == {"device": "Orin"}
    assert (machine.cudart.launches, machine.cudart.alive, machine.driver.memory) == (1, 0, {})
    monkeypatch.setattr(machine.driver, "memcpy_dtoh_async", lambda *arguments: None)
    with pytest.raises(RuntimeError, match="wrong numbers"):
        trials.try_cuda_graph()


def test_tensorrt_tells_its_version_last() -> None:
    (check,) = probes.probe_tensorrt(FakeMachine(outcomes={"tensorrt": Outcome(output="[TRT] loaded\n10.3.0\n")}))
    assert (check.status, check.detail) == ("ok", "10.3.0")


def test_memory_and_cores_of_a_container() -> None:
    files = {
        "/proc/meminfo": "MemTotal: 8388608 kB\nMemAvailable: 4194304 kB\n",
        "/sys/fs/cgroup/memory.max": str(2 << 30),
        "/sys/fs/cgroup/cpu.max": "50000 100000",
    }
    checks = probes.probe_cpu(FakeMachine(files=files))
    assert only(checks, "memory").detail == "8.0 GiB, 4.0 GiB available; this container may use 2.0 GiB"
    assert only(checks, "cores").detail.startswith("0.5 of ")
    assert only(probes.probe_cpu(FakeMachine()), "memory").detail == "unknown"


def test_cameras(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (none,) = probes.probe_cameras(Machine(root=tmp_path))
    assert none.status == "info"
    (tmp_path / "dev").mkdir()
    for name in ("video10", "video2", "videotape"):
        (tmp_path / "dev" / name).touch()
    (tmp_path / "sys/class/video4linux/video2").mkdir(parents=True)
    (tmp_path / "sys/class/video4linux/video2/name").write_text("HD Webcam\n")
    monkeypatch.setattr(probes.os, "access", lambda path, mode: Path(path).name == "video2")
    first, second = probes.probe_cameras(Machine(root=tmp_path))
    assert (first.name, first.status, first.detail) == ("/dev/video2", "ok", "HD Webcam")
    assert (second.name, second.status) == ("/dev/video10", "failed")
    assert "usermod -aG video" in second.remedy


def test_video_without_the_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    import av

    def refuse(*args: object, **kwargs: object) -> None:
        raise ValueError("no codec libx264")

    monkeypatch.setattr(av, "open", refuse)
    check = only(probes.probe_pyav(FakeMachine()), "H.264 (libx264)")
    assert (check.status, check.detail) == ("failed", "no codec libx264")


def test_video_without_pyav(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    (check,) = probes.probe_pyav(FakeMachine())
    assert check.status == "failed"
    assert check.remedy == "pip install --force-reinstall av"


# ---- the whole


def test_a_probe_that_breaks_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def probe_moon(machine: Machine) -> tuple[Check, ...]:
        raise OSError("no moon")

    monkeypatch.setattr(examination, "PROBES", (probe_moon,))
    report = examine()
    assert [(c.name, c.status, c.detail) for c in report.failed] == [
        ("moon", "failed", "probe broke: OSError('no moon')")
    ]


def test_a_machine_without_anything() -> None:
    report = examine(machine=FakeMachine())
    assert not any(c.group == "Doctor" for c in report.checks)
    assert report.failed


def test_a_real_examination() -> None:
    report = examine(timeout_s=60)  # generous: other work may share the cores
    assert not [c for c in report.checks if c.group == "Doctor"]
    assert {"System", "Packages", "Extras", "Hardware", "Inference", "Video", "Cameras"} == {
        c.group for c in report.checks
    }
    assert only(report.checks, "numpy").status == "ok"
    assert only(report.checks, "H.264 (libx264)").status == "ok"
    data = json.loads(json.dumps(report.to_dict()))
    assert data["schema"] == 1
    assert len(data["checks"]) == len(report.checks)
    for check in report.checks:
        assert check.detail
        assert check.status != "failed" or check.remedy


@pytest.mark.parametrize("width", [40, 120])
def test_rendering_keeps_brackets_and_remedies(width: int) -> None:
    check = Check(group="Extras", name="cpu", status="missing", detail="[bold]x[/y]", remedy='pip install "a[cpu]"')
    report = Report(version="0", seconds=1.0, checks=(check,))
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(render(report))
    text = console.export_text()
    assert "[bold]x[/y]" in text
    assert "a[cpu]" in text
    assert "missing" in text


def test_rendering_an_empty_report() -> None:
    console = Console(file=io.StringIO())
    console.print(render(Report(version="0", seconds=0.0, checks=())))


def test_the_doctor_imports_nothing_heavy() -> None:
    code = "import sys, stprompt_edge.doctor; print({'torch', 'onnxruntime', 'cv2', 'av', 'rich'} & set(sys.modules))"
    root = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.strip() == "set()"
