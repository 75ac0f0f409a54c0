"""A machine with a GPU, TensorRT and a compiler, all of them fakes; and a bundle small enough for them."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from stprompt_edge.bundle import ENCODER_NAMES, HEADS_NAME, Bundle, describe_file
from stprompt_edge.runtime.backends.cuda.engines.device import CudaSession
from stprompt_edge.runtime.backends.cuda.engines.profiles import BatchSizes, encoder_profiles, heads_profiles
from stprompt_edge.runtime.backends.cuda.engines.sidecar import (
    EngineSidecar,
    GraphEngine,
    Profile,
    folder_name,
    manifest_sha256,
)
from tests.bundles import WIDTH, write_fake_bundle
from tests.fakes.cudart_module import FakeCudart
from tests.fakes.graphs import tiny_encoder, tiny_heads
from tests.fakes.pycuda_driver import FakeDriver
from tests.fakes.tensorrt_module import FakeTensorRT


@dataclass
class FakeMachine:
    """What was put in the place of the native modules."""

    driver: FakeDriver
    trt: FakeTensorRT
    cudart: FakeCudart


def install(patch: pytest.MonkeyPatch, version: str = "10.3.0", **device: Any) -> FakeMachine:
    """Put the fakes where `import tensorrt` and `import pycuda.driver` find them."""
    driver = FakeDriver(**device)
    trt = FakeTensorRT(version, driver)
    package = ModuleType("pycuda")
    package.driver = driver  # type: ignore[attr-defined]
    patch.setitem(sys.modules, "pycuda", package)
    patch.setitem(sys.modules, "pycuda.driver", driver)
    patch.setitem(sys.modules, "tensorrt", trt)
    bindings, cudart = ModuleType("cuda.bindings"), FakeCudart(driver)
    bindings.runtime = cudart  # type: ignore[attr-defined]
    patch.setitem(sys.modules, "cuda", ModuleType("cuda"))
    patch.setitem(sys.modules, "cuda.bindings", bindings)
    patch.setitem(sys.modules, "cuda.bindings.runtime", cudart)
    return FakeMachine(driver, trt, cudart)


def engine_bundle(path: Path, **sections: Any) -> Bundle:
    """fp32, fp16 and int8 encoders (all the same graph) and heads, 224 px, windows as usual."""
    encoder = tiny_encoder(WIDTH)
    files: dict[str, bytes | None] = {ENCODER_NAMES[name]: encoder for name in ("fp32", "fp16", "int8")}
    return write_fake_bundle(path, files={**files, HEADS_NAME: tiny_heads(WIDTH, 3)}, **sections)


def write_engine(
    bundle: Bundle, machine: FakeMachine, *, device_frames: bool = False, batch: BatchSizes | None = None
) -> Path:
    """An fp16 engine in the bundle, for 1 to 4 frames, as the fake TensorRT understands it, with its sidecar."""
    session = CudaSession()
    folder = bundle.path / "engines" / folder_name(session.device, machine.trt.__version__, "fp16")
    session.close()
    folder.mkdir(parents=True, exist_ok=True)
    engines = {}
    for name, onnx, profiles in (
        ("encoder.engine", "encoder.fp16.onnx", encoder_profiles(bundle, batch or BatchSizes(1, 2, 4))),
        ("heads.engine", "heads.onnx", heads_profiles(bundle)),
    ):
        (folder / name).write_bytes(plan_of(bundle.file(onnx), profiles))
        sha256 = bundle.manifest.files[onnx].sha256
        engines[name] = GraphEngine(onnx=onnx, onnx_sha256=sha256, profiles=profiles)
    (folder / "preprocess.cubin").write_bytes(b"cubin")
    sidecar = EngineSidecar(
        schema_version=1, created_by="tests", precision="fp16", tensorrt=machine.trt.__version__, gpu="Orin",
        compute_capability="8.7", cuda_driver="12.6", cuda_toolkit="12.6", kernel_compiler="nvcc",
        bundle_manifest_sha256=manifest_sha256(bundle), engines=engines,
        device_frames=device_frames,
        files={name: describe_file(folder / name) for name in (*engines, "preprocess.cubin")},
    )  # fmt: skip
    (folder / "engine.json").write_text(sidecar.model_dump_json())
    return folder


def plan_of(onnx: Path, profiles: tuple[Profile, ...]) -> bytes:
    shapes = [{name: [r.min, r.opt, r.max] for name, r in profile.inputs.items()} for profile in profiles]
    header = json.dumps({"version": "10.3.0", "profiles": shapes}).encode()
    return b"PLAN" + len(header).to_bytes(4, "little") + header + onnx.read_bytes()
