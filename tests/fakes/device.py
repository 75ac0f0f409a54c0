"""A machine with a GPU, TensorRT and a compiler, all of them fakes; and a bundle small enough for them."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from stprompt_edge.bundle import ENCODER_NAMES, HEADS_NAME, Bundle
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
