"""`build-engine`: engines of a bundle for the device it runs on, compared with fp32 and timed before they are kept."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from stprompt_edge import __version__
from stprompt_edge.assets import DEMO_CLIP
from stprompt_edge.bundle import ENCODER_NAMES, HEADS_NAME, Bundle, describe_file, load_bundle
from stprompt_edge.errors import EnvironmentFailure, StpromptEdgeError, UsageError, nearest
from stprompt_edge.export.engine.gate import FRAMES, compare_engine, compare_frames, measure_latency
from stprompt_edge.export.engine.network import Plan, PlanSettings, build_plan
from stprompt_edge.export.parity import read_parity_frames
from stprompt_edge.files import PARTIAL_SUFFIX, disk_errors, swap_folder, write_bytes_atomic, write_text_atomic
from stprompt_edge.overwriting import Input, check_outputs
from stprompt_edge.progress import StepProgress, part_of
from stprompt_edge.runtime.backends.cuda.engines.device import CudaSession, Device
from stprompt_edge.runtime.backends.cuda.engines.profiles import BatchSizes, encoder_profiles, heads_profiles
from stprompt_edge.runtime.backends.cuda.engines.sidecar import (
    CUBIN_NAME,
    ENCODER_ENGINE,
    ENGINES_FOLDER,
    HEADS_ENGINE,
    PRECISIONS,
    SIDECAR_NAME,
    TIMING_CACHE_NAME,
    EngineSidecar,
    GraphEngine,
    Profile,
    find_engine,
    folder_name,
    manifest_sha256,
)
from stprompt_edge.runtime.backends.cuda.engines.tensorrt_api import import_tensorrt
from stprompt_edge.runtime.backends.cuda.kernels import build_cubin
from stprompt_edge.runtime.backends.tensorrt import TensorRTBackend
from stprompt_edge.runtime.frames import CameraFrame
from stprompt_edge.runtime.source_files import source_files

OLDEST_GPU = (7, 0)  # TensorRT 10.1's support matrix: "all NVIDIA hardware with capability SM 7.0 or higher"
MAX_WORKSPACE_GIB = 1024.0


@dataclass(frozen=True, kw_only=True)
class EngineSettings:
    """What to build, and what to check it with.

    Args:
        precision: fp16, int8 (static Q/DQ) or fp32.
        batch: frames at once.
        workspace_gib: most scratch memory that a kernel may use; a Jetson shares it with everything else.
        timing_cache: measurements of earlier builds, read and written; None for one beside the engine.
        verify: footage for the parity gate.
        force: keep an engine that misses parity.
        stop: ends the build when set.

    Raises:
        UsageError: for a precision or size that cannot be built.
    """

    precision: str = "fp16"
    batch: BatchSizes = field(default_factory=lambda: BatchSizes(1, 1, 1))
    workspace_gib: float = 2.0
    timing_cache: Path | None = None
    verify: Path = DEMO_CLIP
    force: bool = False
    stop: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise UsageError(f"unknown precision '{self.precision}'", remedy=nearest(self.precision, PRECISIONS))
        if not 0 < self.workspace_gib <= MAX_WORKSPACE_GIB:
            raise UsageError(f"--workspace-gib is {self.workspace_gib:g}", remedy="give gibibytes above 0, as 2 or 0.5")


@dataclass(frozen=True, kw_only=True)
class BuiltEngine:
    """What `build_engine` has written."""

    folder: Path
    sidecar: EngineSidecar
    notes: tuple[str, ...]  # what the reader should know of it


def build_engine(path: Path, settings: EngineSettings, progress: StepProgress = lambda what, done: None) -> BuiltEngine:
    """Build, verify and keep the engines of a bundle; what was there before stays until the new one is whole.

    Args:
        path: of the bundle.
        settings: see there.
        progress: told what is being done and the fraction done.

    Raises:
        UsageError: the bundle lacks the precision, or fp32 to compare with, or the timing cache cannot be used.
        CheckFailed: TensorRT refuses the graph, or the engine misses parity.
        EnvironmentFailure: TensorRT, PyCUDA, a compiler, the GPU, its driver or its memory do not suffice.
        SourceError: the footage cannot be read.
        KeyboardInterrupt: `settings.stop` was set.
    """
    bundle = load_bundle(path)
    check_graphs(bundle, settings.precision)
    check_timing_cache(settings.timing_cache, bundle, settings.verify)
    frames = read_parity_frames(settings.verify, FRAMES)
    version = import_tensorrt().__version__
    device = look_at_device()
    target = bundle.path / ENGINES_FOLDER / folder_name(device, version, settings.precision)
    check_outputs([*_footage(settings.verify), ("timing cache", settings.timing_cache)], replaced=[target])
    with staged_engine(target) as folder:
        sidecar = _write_engines(bundle, device, version, settings, folder, progress)
        _write_sidecar(folder, sidecar)
        sidecar, on_cpu = _verify(bundle, folder, sidecar, frames, settings, progress)
        _write_sidecar(folder, sidecar)
        progress("moving the engine into place", 0.99)
        notes = comparison_notes(bundle, device, sidecar)
    return BuiltEngine(folder=target, sidecar=sidecar, notes=(*notes, *([on_cpu] if on_cpu else [])))


def check_graphs(bundle: Bundle, precision: str) -> None:
    """Refuse before any work what the bundle cannot give.

    Raises:
        UsageError: it lacks the graph to build from, or the fp32 one to compare with.
    """
    if precision == "int8" and precision not in bundle.precisions:
        raise UsageError(
            f"bundle {bundle.path} holds no {ENCODER_NAMES['int8']}",
            remedy="make it first: stprompt-edge calibrate int8, or build --precision fp16",
        )
    for name in {ENCODER_NAMES[precision], ENCODER_NAMES["fp32"]}:
        if name not in bundle.manifest.files:
            raise UsageError(
                f"bundle {bundle.path} holds no {name}: an engine is built of a typed graph and compared with fp32",
                remedy=f"export again with --precision fp32,{precision if precision != 'int8' else 'fp16'}",
            )


def check_timing_cache(path: Path | None, bundle: Bundle, footage: Path) -> None:
    """Refuse before minutes of building what could not be written after them, or what would be lost.

    Raises:
        UsageError: it is a folder, or in none, or a file of the bundle or of the footage.
    """
    if path is not None and (path.is_dir() or not path.parent.is_dir()):
        raise UsageError(
            f"--timing-cache {path} is {'a folder' if path.is_dir() else 'in a folder that does not exist'}",
            remedy="give a file, new or of an earlier build, in a folder that exists",
        )
    engines: list[Input] = [("engine", file) for file in sorted(bundle.path.glob(f"{ENGINES_FOLDER}/*/*"))]
    inputs = [("bundle", bundle.path), *engines, *_footage(footage)]
    check_outputs(inputs, files=[path] if path else [], option="--timing-cache")


def _footage(path: Path) -> list[Input]:
    return [("footage", file) for file in source_files(str(path))]


def look_at_device() -> Device:
    """The GPU that engines are built for.

    Raises:
        EnvironmentFailure: there is none, or it is too old for any TensorRT that we work with.
    """
    session = CudaSession()
    device = session.device
    session.close()
    if device.compute_capability < OLDEST_GPU:
        raise EnvironmentFailure(
            f"{device.name} has compute capability {device.capability_text}, TensorRT 10 needs 7.0 or higher",
            remedy="use ONNX Runtime on this machine: --backend onnx",
        )
    return device


@contextmanager
def staged_engine(target: Path) -> Iterator[Path]:
    """A folder that takes the target's place on a clean exit; until then the engine that was there stays usable."""
    partial = target.with_name(target.name + PARTIAL_SUFFIX)
    with disk_errors(target):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    try:
        yield partial
        swap_folder(partial, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def comparison_notes(bundle: Bundle, device: Device, sidecar: EngineSidecar) -> tuple[str, ...]:
    """Whether an int8 engine is worth having: its step against that of the fp16 engine of this device."""
    if sidecar.precision != "int8" or sidecar.latency is None:
        return ()
    try:
        _, half = find_engine(bundle, device, sidecar.tensorrt, "fp16")
    except StpromptEdgeError:
        return ("build --precision fp16 too, to see whether int8 is faster here",)
    if half.latency is None:
        return ()
    ours, theirs = sidecar.latency.p50_ms, half.latency.p50_ms
    if ours >= theirs:
        return (f"int8 is not faster than fp16 here: {ours:.2f} ms against {theirs:.2f} ms; fp16 will be used",)
    return (f"int8 takes {ours:.2f} ms where fp16 takes {theirs:.2f} ms",)


def _write_engines(
    bundle: Bundle, device: Device, version: str, settings: EngineSettings, folder: Path, progress: StepProgress
) -> EngineSidecar:
    """Encoder, heads, kernel and timing cache into the folder; the sidecar that describes them, without figures."""
    graphs = _graphs(bundle, settings)
    cache = _read_timing_cache(settings, folder)
    engines = {}
    spans = {ENCODER_ENGINE: (0.02, 0.72), HEADS_ENGINE: (0.72, 0.8)}
    for name, (onnx, profiles, exact) in graphs.items():
        start, stop = spans[name]
        plan = _build(bundle.file(onnx), profiles, settings, cache, exact, part_of(progress, start, stop))
        cache = plan.timing_cache or cache
        write_bytes_atomic(folder / name, plan.engine)
        sha256 = bundle.manifest.files[onnx].sha256
        engines[name] = GraphEngine(onnx=onnx, onnx_sha256=sha256, profiles=tuple(profiles))
    progress("compiling the preprocessing kernel", 0.81)
    compiler = build_cubin(device.compute_capability, folder / CUBIN_NAME).compiler
    write_bytes_atomic(settings.timing_cache or folder / TIMING_CACHE_NAME, cache)
    return EngineSidecar(
        schema_version=1,
        created_by=f"stprompt-edge {__version__}",
        precision=settings.precision,  # type: ignore[arg-type]
        tensorrt=version,
        gpu=device.name,
        compute_capability=device.capability_text,
        cuda_driver=device.cuda_driver,
        cuda_toolkit=device.cuda_toolkit,
        bundle_manifest_sha256=manifest_sha256(bundle),
        kernel_compiler=compiler,
        engines=engines,
        files={file.name: describe_file(file) for file in sorted(folder.iterdir())},
    )


def _graphs(bundle: Bundle, settings: EngineSettings) -> dict[str, tuple[str, tuple[Profile, ...], bool]]:
    """Engine's file -> graph, profiles, and whether fp32 products stay exact."""
    encoder = encoder_profiles(bundle, settings.batch)
    graphs = {ENCODER_ENGINE: (ENCODER_NAMES[settings.precision], encoder, settings.precision == "fp32")}
    if HEADS_NAME in bundle.manifest.files:
        graphs[HEADS_ENGINE] = (HEADS_NAME, heads_profiles(bundle), True)
    return graphs


def _build(
    onnx: Path, profiles: Sequence[Profile], settings: EngineSettings, cache: bytes, exact: bool, progress: StepProgress
) -> Plan:
    plan_settings = PlanSettings(
        workspace_gib=settings.workspace_gib, timing_cache=cache, exact_fp32=exact, stop=settings.stop
    )
    return build_plan(onnx, profiles, plan_settings, progress)


def _read_timing_cache(settings: EngineSettings, folder: Path) -> bytes:
    """The given one, else that of the engine that is replaced; empty if there is none.

    Raises:
        UsageError: the given one cannot be read.
    """
    old = folder.with_name(folder.name.removesuffix(PARTIAL_SUFFIX)) / TIMING_CACHE_NAME
    path = settings.timing_cache or old
    try:
        return path.read_bytes() if path.is_file() else b""
    except OSError as exc:
        if settings.timing_cache is None:
            return b""
        raise UsageError(f"--timing-cache {path} cannot be read ({exc.strerror})", remedy="give another file") from exc


def _verify(
    bundle: Bundle,
    folder: Path,
    sidecar: EngineSidecar,
    frames: Sequence[CameraFrame],
    settings: EngineSettings,
    progress: StepProgress,
) -> tuple[EngineSidecar, str]:
    """The sidecar with what was measured, and why frames are preprocessed on the CPU if they are."""
    with TensorRTBackend(bundle, folder=folder) as backend:
        parity = compare_engine(
            bundle, backend, frames, settings.verify.name,
            batch=settings.batch.max, force=settings.force, progress=part_of(progress, 0.83, 0.95),
        )  # fmt: skip
        progress("comparing preprocessing on the device with the CPU's", 0.95)
        on_cpu = compare_frames(bundle, backend, frames)
        progress("timing the watch step", 0.97)
        latency = measure_latency(bundle, backend, frames)
    return sidecar.model_copy(update={"parity": parity, "latency": latency, "device_frames": not on_cpu}), on_cpu


def _write_sidecar(folder: Path, sidecar: EngineSidecar) -> None:
    write_text_atomic(folder / SIDECAR_NAME, sidecar.model_dump_json(indent=2) + "\n")
