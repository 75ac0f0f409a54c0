"""One probe per subject: each looks at a `Machine` and returns its findings."""

from __future__ import annotations

import importlib.metadata
import io
import json
import os
import platform
import re
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.version import InvalidVersion, Version

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
from stprompt_edge.doctor.report import Check
from stprompt_edge.imports import import_remedy

DISTRIBUTION = "stprompt-edge"
_ALTERNATIVES = {"onnxruntime": "onnxruntime-gpu"}  # the same module with more providers
_MODULES = {"opencv-python-headless": "cv2"}  # where a package and its module differ in more than `-`
_SLOW_START = "a first start can be slow: run doctor again; if it stays, reinstall its driver and libraries"
_JETSON_VENV = "JetPack ships it: make the environment with `python3 -m venv --system-site-packages`"
_GSTREAMER = (  # written out: what knows the packages imports OpenCV, which may be what is broken
    "sudo apt install python3-gi gir1.2-gstreamer-1.0 gir1.2-gst-plugins-base-1.0 gstreamer1.0-plugins-base, "
    "in an environment made with: python3 -m venv --system-site-packages"
)
_REMOTE_PROVIDER = "AzureExecutionProvider"  # listed on every machine, computes nothing on it


def install_line(extra: str = "") -> str:
    """What to type to install the package, or one of its extras."""
    return f'pip install "{DISTRIBUTION}[{extra}]"' if extra else f"pip install {DISTRIBUTION}"


def probe_system(machine: Machine) -> tuple[Check, ...]:
    """Python, operating system and architecture."""
    names = re.search(r'^PRETTY_NAME="?([^"\n]+)', machine.read("/etc/os-release"), flags=re.MULTILINE)
    system = names[1] if names else f"{platform.system()} {platform.release()}".strip()
    python = f"{platform.python_version()} ({platform.python_implementation()}) at {sys.executable}"
    return (
        Check(group="System", name="Python", status="ok", detail=python),
        Check(group="System", name="operating system", status="info", detail=f"{system}, {platform.machine()}"),
    )


def probe_packages(machine: Machine) -> tuple[Check, ...]:
    """The required packages: present, new enough, and importable (tried in a child process)."""
    required = [r for r in _requirements() if not _extra(r) and _applies(r)]
    if not required:
        return (_unknown_requirements(),)
    modules = {r.name: _MODULES.get(r.name, r.name.replace("-", "_")) for r in required}
    outcome = machine.run_trial("import", *(m for p, m in modules.items() if _version(p)))
    reasons = _json(outcome)
    lost = outcome.problem or "no answer"
    if not isinstance(reasons, dict):
        reasons = {}
    return tuple(_check_package(r, str(reasons.get(modules[r.name], lost))) for r in required)


def _check_package(requirement: Requirement, import_problem: str) -> Check:
    package, version = requirement.name, _version(requirement.name)
    problem = _version_problem(requirement)
    if problem:
        return Check(group="Packages", name=package, status="failed", detail=problem, remedy=install_line())
    if "no answer within" in import_problem:
        detail, remedy = f"{version}, not tried: {import_problem}", "run doctor again when the machine is less busy"
        return Check(group="Packages", name=package, status="failed", detail=detail, remedy=remedy)
    if import_problem:
        detail = f"{version} does not import: {parse_failure(import_problem)}"
        remedy = import_remedy(import_problem, f"pip install --force-reinstall {package}")
        return Check(group="Packages", name=package, status="failed", detail=detail, remedy=remedy)
    return Check(group="Packages", name=package, status="ok", detail=version)


def probe_extras(machine: Machine) -> tuple[Check, ...]:
    """The optional extras, from package metadata only: some of them take seconds to import."""
    extras: dict[str, list[Requirement]] = defaultdict(list)
    for r in _requirements():
        if _extra(r) not in ("", "dev", "docs") and _applies(r):
            extras[_extra(r)].append(r)
    checks = []
    for extra, requirements in extras.items():
        checks.append(_check_extra(extra, [_installed_alternative(r) for r in requirements]))
    return (*checks, *_onnxruntime_clash())


def _check_extra(extra: str, requirements: list[Requirement]) -> Check:
    lack = [f"{r.name} {_version_problem(r)}" for r in requirements if _version_problem(r)]
    if not lack:
        have = ", ".join(f"{r.name} {_version(r.name)}" for r in requirements)
        return Check(group="Extras", name=extra, status="ok", detail=have)
    remedy = install_line(extra)
    if any(r.name == "onnxruntime-gpu" for r in requirements) and _version("onnxruntime"):
        remedy = f"pip uninstall -y onnxruntime && {remedy}"  # side by side they overwrite each other
    return Check(group="Extras", name=extra, status="missing", detail=", ".join(lack), remedy=remedy)


def _installed_alternative(requirement: Requirement) -> Requirement:
    other = _ALTERNATIVES.get(requirement.name, "")
    if other and _version(other) and not _version(requirement.name):
        return Requirement(f"{other}{requirement.specifier}")
    return requirement


def _onnxruntime_clash() -> tuple[Check, ...]:
    """Both builds install the same folder: the later one overwrites the earlier, and pip sees nothing wrong."""
    if not (_version("onnxruntime") and _version("onnxruntime-gpu")):
        return ()
    detail = "onnxruntime and onnxruntime-gpu are both installed and overwrite each other's files"
    remedy = f"pip uninstall -y onnxruntime onnxruntime-gpu && {install_line('gpu')}"
    return (Check(group="Extras", name="onnxruntime", status="failed", detail=detail, remedy=remedy),)


def probe_providers(machine: Machine) -> tuple[Check, ...]:
    """ONNX Runtime's execution providers, each proved by one inference of its own: the list alone promises too much."""
    group, name = "Inference", "ONNX Runtime"
    outcome = machine.run_trial("providers")  # tried, not looked up: builds of one's own carry other package names
    if "No module named 'onnxruntime'" in outcome.problem:
        remedy = f"{install_line('cpu')}, or with an NVIDIA GPU {install_line('gpu')}"
        return (Check(group=group, name=name, status="missing", detail="not installed", remedy=remedy),)
    providers = _json(outcome)
    if outcome.problem or not isinstance(providers, list):
        detail = f"does not import: {outcome.problem or 'it lists no providers'}"
        return (Check(group=group, name=name, status="failed", detail=detail, remedy=_remedy(outcome, "cpu")),)
    return tuple(_prove(machine, str(p)) for p in providers)


def _prove(machine: Machine, provider: str) -> Check:
    group = "Inference"
    if provider == _REMOTE_PROVIDER:
        detail = "for calls to a remote service: nothing here uses it"
        return Check(group=group, name=provider, status="info", detail=detail)
    outcome = machine.run_trial("provider", provider)
    answer = _json(outcome)
    if outcome.problem or not isinstance(answer, dict):
        detail = f"listed but failed: {outcome.problem or 'it gave no answer'}"
        extra = "cpu" if provider.startswith("CPU") else "gpu"
        return Check(group=group, name=provider, status="failed", detail=detail, remedy=_remedy(outcome, extra))
    detail = f"computed the known answer (ONNX Runtime {answer.get('version', 'of unknown version')})"
    return Check(group=group, name=provider, status="ok", detail=detail)


def probe_cpu(machine: Machine) -> tuple[Check, ...]:
    """CPU model, what its instructions mean for int8, the cores and the memory that we may use."""
    cpu = parse_cpu_flags(machine.read("/proc/cpuinfo"))
    model = cpu.model or platform.processor() or platform.machine() or "unknown"
    features = ", ".join(cpu.int8_features) or "none known"
    return (
        Check(group="Hardware", name="CPU", status="info", detail=model),
        Check(group="Hardware", name="int8 on the CPU", status="info", detail=f"{features}: {cpu.int8_meaning}"),
        _check_cores(machine),
        _check_memory(machine),
    )


def _check_cores(machine: Machine) -> Check:
    total = os.cpu_count() or 1
    usable = float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else total)
    usable = min(usable, parse_cpu_quota(machine.read("/sys/fs/cgroup/cpu.max")) or usable)
    limited = "" if usable >= total else f" of {total}: this process is limited"
    return Check(group="Hardware", name="cores", status="info", detail=f"{usable:g}{limited}")


def _check_memory(machine: Machine) -> Check:
    memory = parse_meminfo(machine.read("/proc/meminfo"))
    if "MemTotal" not in memory:
        return Check(group="Hardware", name="memory", status="info", detail="unknown")
    detail = f"{memory['MemTotal'] / 2**30:.1f} GiB"
    if "MemAvailable" in memory:
        detail += f", {memory['MemAvailable'] / 2**30:.1f} GiB available"
    limit = machine.read("/sys/fs/cgroup/memory.max").strip()
    if re.fullmatch(r"\d{1,18}", limit, flags=re.ASCII) and int(limit) < memory["MemTotal"]:
        detail += f"; this container may use {int(limit) / 2**30:.1f} GiB"
    return Check(group="Hardware", name="memory", status="info", detail=detail)


def probe_gpu(machine: Machine) -> tuple[Check, ...]:
    """NVIDIA GPUs and Jetson modules."""
    jetson = _jetson(machine)
    outcome = machine.run(
        "nvidia-smi", "--query-gpu=name,driver_version,memory.total,compute_cap", "--format=csv,noheader"
    )
    gpus = parse_nvidia_smi(outcome.output)
    if gpus:
        found = tuple(Check(group="Hardware", name="GPU", status="ok", detail=_describe(gpu)) for gpu in gpus)
    elif jetson:
        found = ()  # its GPU needs no nvidia-smi
    elif outcome.absent:
        found = (
            Check(group="Hardware", name="GPU", status="missing", detail="no NVIDIA driver found: the CPU is used"),
        )
    else:
        detail = f"nvidia-smi does not answer: {outcome.problem or 'it lists no GPU'}"
        remedy = "reinstall the NVIDIA driver, or reboot after its update"
        found = (Check(group="Hardware", name="GPU", status="failed", detail=detail, remedy=remedy),)
    return (*jetson, *found)


def _jetson(machine: Machine) -> tuple[Check, ...]:
    l4t = parse_l4t(machine.read("/etc/nv_tegra_release"))
    model = machine.read("/proc/device-tree/model").strip()
    if not l4t and not re.search("jetson|nvidia", model, flags=re.IGNORECASE):
        return ()
    system = f"Jetson Linux {l4t}" if l4t else "its Jetson Linux version is not recorded"
    return (Check(group="Hardware", name="Jetson", status="ok", detail=f"{model or 'unknown model'}, {system}"),)


def _describe(gpu: GpuInfo) -> str:
    parts = (gpu.name, gpu.memory, gpu.driver and f"driver {gpu.driver}")
    capability = gpu.compute_capability and f"compute capability {gpu.compute_capability}"
    return ", ".join(part for part in (*parts, capability) if part)


def probe_tensorrt(machine: Machine) -> tuple[Check, ...]:
    """TensorRT's Python bindings: they import, or why not."""
    outcome = machine.run(sys.executable, "-c", "import tensorrt; print(tensorrt.__version__)")
    version = outcome.output.split()[-1:] or ["unknown version"]  # it may log before
    return (_native_package(machine, "TensorRT", "tensorrt", outcome, version[0]),)


def probe_pycuda(machine: Machine) -> tuple[Check, ...]:
    """PyCUDA: it imports and reaches the driver, or why not."""
    outcome = machine.run_trial("pycuda")
    answer = _json(outcome)
    devices = answer.get("devices", []) if isinstance(answer, dict) else []
    return (_native_package(machine, "PyCUDA", "pycuda", outcome, f"reaches {', '.join(devices) or 'no device'}"),)


def probe_cuda_graph(machine: Machine) -> tuple[Check, ...]:
    """Whether TensorRT's launches can be recorded as one; not a word of it where PyCUDA is missing."""
    outcome = machine.run_trial("cuda-graph")
    if "PyCUDA cannot be imported" in outcome.problem:
        return ()
    group, name = "Inference", "CUDA graph"
    if not outcome.problem:
        return (Check(group=group, name=name, status="ok", detail="recorded and launched"),)
    detail = f"plain launches will be used: {outcome.problem}"
    return (Check(group=group, name=name, status="missing", detail=detail, remedy=install_line("tensorrt")),)


def _native_package(machine: Machine, name: str, module: str, outcome: Outcome, detail: str) -> Check:
    group = "Inference"
    if not outcome.problem:
        return Check(group=group, name=name, status="ok", detail=detail)
    known = {_extra(r) for r in _requirements()}
    remedy = install_line("tensorrt") if "tensorrt" in known else f"pip install {module}"
    if _jetson(machine) and module == "tensorrt":
        remedy = _JETSON_VENV
    if f"No module named '{module}'" in outcome.problem:
        return Check(group=group, name=name, status="missing", detail="not installed (NVIDIA GPUs only)", remedy=remedy)
    remedy = import_remedy(outcome.problem, "make its libraries fit the GPU's driver")
    remedy = _SLOW_START if "no answer within" in outcome.problem else remedy
    return Check(group=group, name=name, status="failed", detail=outcome.problem, remedy=remedy)


def probe_pyav(machine: Machine) -> tuple[Check, ...]:
    """PyAV, its H.264 encoder and decoder proved on eight frames, and the hardware decoders it lists."""
    try:
        import av
        from av.codec.hwaccel import hwdevices_available
    except ImportError as exc:
        remedy = import_remedy(exc, "pip install --force-reinstall av")
        return (Check(group="Video", name="PyAV", status="failed", detail=f"does not import: {exc}", remedy=remedy),)
    ffmpeg = ".".join(str(n) for n in av.library_versions.get("libavcodec", ()))
    decoders = sorted(c for c in av.codecs_available if re.match("(h264|hevc)_", c) and _decodes(c))
    listed = f"devices: {', '.join(hwdevices_available()) or 'none'}; decoders: {', '.join(decoders) or 'none'}"
    return (
        Check(group="Video", name="PyAV", status="ok", detail=f"{av.__version__} (libavcodec {ffmpeg})"),
        _check_h264(),
        Check(group="Video", name="hardware decoding", status="info", detail=f"listed, not tried: {listed}"),
    )


def _decodes(codec: str) -> bool:
    import av

    try:
        av.Codec(codec, "r")
    except ValueError:  # UnknownCodecError: an encoder only
        return False
    return True


def _check_h264() -> Check:
    """Encode with libx264 and decode again: the way of every clip that an event stores."""
    import av
    import numpy as np

    name, remedy = "H.264 (libx264)", "use PyAV's own wheel: pip install --force-reinstall --only-binary :all: av"
    try:
        buffer = io.BytesIO()
        with av.open(buffer, "w", format="mp4") as container:
            stream: Any = container.add_stream("libx264", rate=8)
            stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
            for level in range(0, 240, 30):
                picture = np.full((64, 64, 3), level, np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
            container.mux(stream.encode(None))
        buffer.seek(0)
        with av.open(buffer, "r") as container:
            frames = sum(1 for _ in container.decode(video=0))
    except (av.FFmpegError, ValueError, OSError) as exc:
        return Check(group="Video", name=name, status="failed", detail=str(exc), remedy=remedy)
    if frames != 8:
        return Check(group="Video", name=name, status="failed", detail=f"8 frames in, {frames} out", remedy=remedy)
    return Check(group="Video", name=name, status="ok", detail="encoded 8 frames and decoded them")


def probe_gstreamer(machine: Machine) -> tuple[Check, ...]:
    """GStreamer, for sources that are pipelines, and the hardware decoders that it has."""
    group, name = "Video", "GStreamer"
    outcome = machine.run_trial("gstreamer")
    answer = _json(outcome)
    if not outcome.problem and isinstance(answer, dict):
        decoders = ", ".join(answer.get("decoders", ())) or "none"
        detail = f"{answer.get('version', 'of unknown version')}; hardware decoders, listed, not tried: {decoders}"
        return (Check(group=group, name=name, status="ok", detail=detail),)
    detail = f"only for sources that are pipelines: {outcome.problem or 'it gave no answer'}"
    remedy = _SLOW_START if "no answer within" in outcome.problem else _GSTREAMER  # its first start scans every plugin
    return (Check(group=group, name=name, status="missing", detail=detail, remedy=remedy),)


def probe_cameras(machine: Machine) -> tuple[Check, ...]:
    """The /dev/video* devices, and whether we may open them."""
    devices = sorted((machine.root / "dev").glob("video[0-9]*"), key=lambda p: (len(p.name), p.name))
    if not devices:
        return (
            Check(group="Cameras", name="/dev/video*", status="info", detail="none: files and network streams only"),
        )
    return tuple(_check_camera(machine, device) for device in devices)


def _check_camera(machine: Machine, device: Path) -> Check:
    label = machine.read(f"/sys/class/video4linux/{device.name}/name").strip() or "unnamed"
    if os.access(device, os.R_OK | os.W_OK):
        return Check(group="Cameras", name=f"/dev/{device.name}", status="ok", detail=label)
    remedy = "sudo usermod -aG video $USER, then log in again"
    detail = f"{label}: no permission to open it"
    return Check(group="Cameras", name=f"/dev/{device.name}", status="failed", detail=detail, remedy=remedy)


def _requirements() -> tuple[Requirement, ...]:
    """What the installed package, or the checkout it runs from, says it needs; empty when neither is there."""
    try:
        lines = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        lines = _checkout_requirements(Path(__file__).parents[2] / "pyproject.toml")
    return tuple(map(Requirement, lines))


def _checkout_requirements(pyproject: Path) -> list[str]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
        extras = project.get("optional-dependencies", {})
        optional = [_with_extra(line, extra) for extra, lines in extras.items() for line in lines]
        return [*project.get("dependencies", ()), *optional]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # no checkout, or not ours
        return []


def _with_extra(line: str, extra: str) -> str:
    return f"{line} and extra == '{extra}'" if ";" in line else f"{line}; extra == '{extra}'"


def _unknown_requirements() -> Check:
    detail = "not installed as a package, and no pyproject.toml beside it: its requirements are unknown"
    return Check(group="Packages", name=DISTRIBUTION, status="failed", detail=detail, remedy=install_line())


def _extra(requirement: Requirement) -> str:
    """The extra that it is for; empty when it is always required."""
    named = re.search(r'extra == "([^"]+)"', str(requirement.marker or ""))
    return named[1] if named else ""


def _applies(requirement: Requirement) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": _extra(requirement)})


def _version(package: str) -> str:
    """Installed version; empty when it is not installed."""
    try:
        return importlib.metadata.version(package) or ""
    except importlib.metadata.PackageNotFoundError:
        return ""


def _version_problem(requirement: Requirement) -> str:
    installed = _version(requirement.name)
    if not installed:
        return "not installed"
    minimum = next((one.version for one in requirement.specifier if one.operator == ">="), "0")
    try:
        fits = Version(Version(installed).base_version) >= Version(minimum)  # a release candidate of it does
    except InvalidVersion:
        fits = False
    return "" if fits else f"{installed} is too old, {minimum} or newer is needed"


def _json(outcome: Outcome) -> Any:
    """The last line of a trial's output; None when it is not JSON (native libraries print what they like before it)."""
    lines = outcome.output.strip().splitlines()
    try:
        return json.loads(lines[-1]) if lines else None
    except ValueError:
        return None


def _remedy(outcome: Outcome, extra: str) -> str:
    if "no answer within" in outcome.problem:
        return _SLOW_START
    if extra == "gpu":
        remedy = "install the driver and the CUDA libraries that this ONNX Runtime was built for, or use the CPU"
        return import_remedy(outcome.problem, remedy)
    return import_remedy(outcome.problem, f"{install_line(extra)} --force-reinstall")
