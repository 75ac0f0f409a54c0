"""engine.json: what an engine was built of and for. It is checked before the engine, which is native code, is loaded.

    <bundle>/engines/<gpu>-sm<cc>-trt<version>-<precision>/
        encoder.engine  heads.engine  preprocess.cubin  timing.cache  engine.json

An engine runs only on the kind of GPU and with the version of TensorRT that it was built with, and only for the graphs
it was built of; whatever differs is refused with the command that builds it anew.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stprompt_edge.bundle import (
    ENCODER_NAMES,
    HEADS_NAME,
    MANIFEST_NAME,
    Bundle,
    FileEntry,
    ParityFigures,
    describe_file,
)
from stprompt_edge.errors import CheckFailed, EnvironmentFailure
from stprompt_edge.runtime.backends.cuda.engines.device import Device

ENGINES_FOLDER = "engines"
SIDECAR_NAME = "engine.json"
SIDECAR_SCHEMA = 1
ENCODER_ENGINE, HEADS_ENGINE = "encoder.engine", "heads.engine"
CUBIN_NAME = "preprocess.cubin"
TIMING_CACHE_NAME = "timing.cache"
PRECISIONS = ("fp16", "int8", "fp32")

Precision = Literal["fp16", "int8", "fp32"]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Sizes = tuple[Annotated[int, Field(ge=0)], ...]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ShapeRange(_Section):
    """Shapes of one input under one optimisation profile."""

    min: Sizes
    opt: Sizes
    max: Sizes


class Profile(_Section):
    """One optimisation profile; its place in the list is its index in the engine."""

    name: str
    inputs: dict[str, ShapeRange]


class GraphEngine(_Section):
    """One serialized engine and the ONNX graph of the bundle that it was built of."""

    onnx: str
    onnx_sha256: Sha256
    profiles: tuple[Profile, ...]


class LatencyFigures(_Section):
    """The encoder's watch step on real frames, copies included; milliseconds."""

    p50_ms: float
    p95_ms: float
    steps: int


class EngineSidecar(_Section):
    """engine.json. Missing or unknown keys are refused."""

    schema_version: Literal[1]
    created_by: str
    precision: Precision
    tensorrt: str
    gpu: str
    compute_capability: str
    cuda_driver: str  # highest CUDA version that the driver supports
    cuda_toolkit: str  # that PyCUDA was built with
    bundle_manifest_sha256: Sha256  # for the record: thresholds may change without making the engine stale
    kernel_compiler: str
    engines: dict[str, GraphEngine]  # by file name
    device_frames: bool = False  # preprocess.cubin was found to give what the CPU gives
    parity: ParityFigures | None = None  # against fp32 ONNX
    latency: LatencyFigures | None = None
    files: dict[str, FileEntry]

    @property
    def batch(self) -> str:
        """Frames at once that the encoder was built for, as `--batch` takes them; `1` if it does not say."""
        encoder = self.engines.get(ENCODER_ENGINE)
        image = encoder.profiles[0].inputs.get("image") if encoder and encoder.profiles else None
        if image is None or not (image.min and image.opt and image.max):
            return "1"
        sizes = [str(shape[0]) for shape in (image.min, image.opt, image.max)]
        return sizes[0] if len(set(sizes)) == 1 else ",".join(sizes)


def folder_name(device: Device, tensorrt: str, precision: str) -> str:
    """Name of an engine's folder.

    >>> from stprompt_edge.runtime.backends.cuda.engines.device import Device
    >>> orin = Device(name="Orin", compute_capability=(8, 7), cuda_driver="12.6", cuda_toolkit="12.6", memory_bytes=1)
    >>> folder_name(orin, "10.3.0", "fp16")
    'orin-sm87-trt10.3.0-fp16'
    """
    gpu = re.sub(r"[^a-z0-9]+", "-", device.name.lower()).strip("-") or "gpu"
    return f"{gpu}-sm{device.architecture}-trt{tensorrt}-{precision}"


def rebuild_command(bundle: Bundle, precision: str, batch: str = "1") -> str:
    """What to type to build an engine of this bundle on this device."""
    command = f"stprompt-edge build-engine {shlex.quote(str(bundle.path))} --precision {precision}"
    return command if batch == "1" else f"{command} --batch {batch}"


def engine_folders(bundle: Bundle) -> Iterator[Path]:
    """Folders of the bundle that hold a sidecar, unfinished ones left out; a replaced one counts if it is alone."""
    for path in sorted((bundle.path / ENGINES_FOLDER).glob(f"*/{SIDECAR_NAME}")):
        folder = path.parent
        newer = folder.with_name(folder.name.removesuffix(".old"))
        if folder.suffix == ".partial" or (folder.suffix == ".old" and (newer / SIDECAR_NAME).is_file()):
            continue
        yield folder


def check_sidecar(folder: Path, bundle: Bundle, device: Device, tensorrt: str) -> EngineSidecar:
    """Everything about an engine that can be known without loading it.

    Args:
        folder: of the engine.
        bundle: that it is to run.
        device: that it is to run on.
        tensorrt: version that will load it.

    Raises:
        CheckFailed: it was built for another device, TensorRT or bundle, is incomplete, or a byte of it has changed.
    """
    sidecar = read_sidecar(folder, bundle)
    for what, built, here in (
        ("GPU", sidecar.gpu, device.name),
        ("compute capability", sidecar.compute_capability, device.capability_text),
        ("TensorRT", sidecar.tensorrt, tensorrt),
    ):
        if built != here:
            raise _refused(folder, f"was built for {what} {built}, here is {here}", bundle, sidecar)
    needed = {ENCODER_ENGINE: ENCODER_NAMES[sidecar.precision]}
    if HEADS_NAME in bundle.manifest.files:
        needed[HEADS_ENGINE] = HEADS_NAME
    for name, onnx in needed.items():
        engine = sidecar.engines.get(name)
        if engine is None or name not in sidecar.files:
            raise _refused(folder, f"has no {name}", bundle, sidecar)
        held = bundle.manifest.files.get(onnx)
        if engine.onnx != onnx or held is None or engine.onnx_sha256 != held.sha256:
            raise _refused(folder, f"was built of another {engine.onnx} than this bundle's", bundle, sidecar)
    for name, entry in sidecar.files.items():
        _check_file(folder, name, entry, bundle, sidecar)
    return sidecar


def read_sidecar(folder: Path, bundle: Bundle) -> EngineSidecar:
    """Parse engine.json.

    Raises:
        CheckFailed: it is missing, of a newer schema or not what `build-engine` writes.
    """
    try:
        content: Any = json.loads((folder / SIDECAR_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as exc:
        raise _refused(folder, f"has no readable {SIDECAR_NAME} ({exc})", bundle) from exc
    version = content.get("schema_version") if isinstance(content, dict) else None
    if isinstance(version, int) and version > SIDECAR_SCHEMA:
        raise _refused(folder, f"has schema {version}, this program reads up to {SIDECAR_SCHEMA}", bundle)
    try:
        return EngineSidecar.model_validate(content)
    except ValidationError as exc:
        first = exc.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "top level"
        raise _refused(folder, f"has a damaged {SIDECAR_NAME}: {where}: {first['msg']}", bundle) from exc


def find_engine(
    bundle: Bundle, device: Device, tensorrt: str, precision: str | None = None
) -> tuple[Path, EngineSidecar]:
    """The engine of a bundle that runs here; of several the one with the shortest measured step.

    Args:
        bundle: checked by `load_bundle`.
        device: that it is to run on.
        tensorrt: version that will load it.
        precision: wanted one; None for any.

    Raises:
        EnvironmentFailure: the bundle has no engine (of this precision) at all.
        CheckFailed: it has, but none that runs here; says why of the first (of this precision).
    """
    folders = list(engine_folders(bundle))
    fitting: list[tuple[float, int, Path, EngineSidecar]] = []
    refusals: list[CheckFailed] = []
    for folder in folders:
        try:
            sidecar = check_sidecar(folder, bundle, device, tensorrt)
        except CheckFailed as exc:
            if precision in (None, _named_precision(folder)):
                refusals.append(exc)
            continue
        if precision in (None, sidecar.precision):
            milliseconds = sidecar.latency.p50_ms if sidecar.latency else float("inf")
            fitting.append((milliseconds, PRECISIONS.index(sidecar.precision), folder, sidecar))
    if fitting:
        _, _, folder, sidecar = min(fitting, key=lambda entry: entry[:2])
        return folder, sidecar
    if refusals:
        raise refusals[0]
    wanted = f"{precision} engine" if precision else "engine"
    raise EnvironmentFailure(
        f"bundle {bundle.path} holds no TensorRT {wanted} for this device",
        remedy=f"build one here: {rebuild_command(bundle, precision or 'fp16')}",
    )


def manifest_sha256(bundle: Bundle) -> str:
    """Of the bundle's bundle.json."""
    return describe_file(bundle.path / MANIFEST_NAME).sha256


def _check_file(folder: Path, name: str, entry: FileEntry, bundle: Bundle, sidecar: EngineSidecar) -> None:
    file = folder / name
    if Path(name).name == name and file.is_symlink():
        why = f"is none that this device built: its {name} is a link (to {os.readlink(file)})"
        raise _refused(folder, why, bundle, sidecar)
    if Path(name).name != name or not file.is_file():
        raise _refused(folder, f"lacks its file {name!r}", bundle, sidecar)
    if file.stat().st_size != entry.bytes or describe_file(file).sha256 != entry.sha256:
        raise _refused(folder, f"was changed: {name} is not what {SIDECAR_NAME} says", bundle, sidecar)


def _refused(folder: Path, why: str, bundle: Bundle, sidecar: EngineSidecar | None = None) -> CheckFailed:
    if sidecar:
        command = rebuild_command(bundle, sidecar.precision, sidecar.batch)
    else:  # it cannot be read, but its folder is named after its precision
        command = rebuild_command(bundle, _named_precision(folder) or "fp16")
    return CheckFailed(f"engine {folder.name} {why}", remedy=f"build it here: {command}")


def _named_precision(folder: Path) -> str | None:
    """What `folder_name` has put at the end; None if that is no precision."""
    last = folder.name.removesuffix(".old").rpartition("-")[2]
    return last if last in PRECISIONS else None
