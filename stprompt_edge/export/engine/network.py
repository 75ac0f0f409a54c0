"""A typed ONNX graph -> a serialized engine, the same way for TensorRT 10.3 to 11.x.

The network is strongly typed: each tensor has the type that the graph states (fp16 with casts around what stays fp32,
or Q/DQ), so there are no precision flags and no calibrator, which TensorRT 11 no longer has. Window indices are INT64
inputs and stay INT64: since TensorRT 9.0 the ONNX parser keeps that type, and such inputs take int64 buffers
(onnx-tensorrt, docs/Changelog.md).
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stprompt_edge.export.engine.messages import builder_failure, parser_failure
from stprompt_edge.export.engine.monitor import make_monitor
from stprompt_edge.progress import StepProgress
from stprompt_edge.runtime.backends.cuda.engines.sidecar import Profile
from stprompt_edge.runtime.backends.cuda.engines.tensorrt_api import Messages, checked, import_tensorrt, make_logger

if TYPE_CHECKING:
    import tensorrt as trt

GIB = 1 << 30


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What the builder gave."""

    engine: bytes
    timing_cache: bytes


@dataclass(frozen=True, kw_only=True)
class PlanSettings:
    """How to build.

    Args:
        workspace_gib: most scratch memory that a kernel may use.
        timing_cache: of an earlier build on this device; empty for none.
        exact_fp32: no TF32 in fp32 products.
        stop: ends the build when set.
    """

    workspace_gib: float
    timing_cache: bytes = b""
    exact_fp32: bool = False
    stop: threading.Event


def build_plan(onnx: Path, profiles: Sequence[Profile], settings: PlanSettings, progress: StepProgress) -> Plan:
    """Build an engine; minutes on a Jetson.

    Args:
        onnx: one file, typed.
        profiles: at least one; shapes of every input.
        settings: see there.
        progress: told TensorRT's phases.

    Raises:
        EnvironmentFailure: no TensorRT, no usable GPU or driver, out of memory.
        CheckFailed: TensorRT refuses the graph.
        KeyboardInterrupt: `settings.stop` was set.
    """
    tensorrt = import_tensorrt()
    messages = Messages()
    logger = make_logger(messages)
    monitor = make_monitor(progress, settings.stop)
    builder = make_builder(logger, messages)
    network: trt.INetworkDefinition = checked(
        builder.create_network(1 << int(tensorrt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)),
        "making a network",
        messages,
    )
    parser = tensorrt.OnnxParser(network, logger)
    if not parser.parse(onnx.read_bytes()):
        raise parser_failure(parser, onnx, tensorrt.__version__)
    config: trt.IBuilderConfig = checked(builder.create_builder_config(), "configuring the builder", messages)
    config.set_memory_pool_limit(tensorrt.MemoryPoolType.WORKSPACE, int(settings.workspace_gib * GIB))
    config.progress_monitor = monitor
    if settings.exact_fp32:
        config.clear_flag(tensorrt.BuilderFlag.TF32)
    for profile in profiles:
        _add_profile(builder, config, profile, messages)
    _attach_timing_cache(config, settings.timing_cache, messages)
    plan: trt.IHostMemory | None = builder.build_serialized_network(network, config)
    if settings.stop.is_set():
        raise KeyboardInterrupt
    if plan is None:
        raise builder_failure(messages.errors, f"building {onnx.name}")
    return Plan(engine=bytes(plan), timing_cache=_timing_cache(config))


def make_builder(logger: trt.ILogger, messages: Messages) -> trt.Builder:
    """A builder, which needs a GPU and a driver.

    Raises:
        EnvironmentFailure: says which of the two is missing or too old.
    """
    tensorrt = import_tensorrt()
    try:
        return tensorrt.Builder(logger)
    except TypeError as exc:  # NVIDIA's bindings: "factory function returned nullptr"
        raise builder_failure(messages.errors or [f"CUDA initialization failure: {exc}"], "starting") from exc


def _add_profile(builder: trt.Builder, config: trt.IBuilderConfig, profile: Profile, messages: Messages) -> None:
    shapes = builder.create_optimization_profile()
    for name, held in profile.inputs.items():
        shapes.set_shape(name, held.min, held.opt, held.max)
    checked(config.add_optimization_profile(shapes), f"adding the profile {profile.name}", messages)


def _attach_timing_cache(config: trt.IBuilderConfig, content: bytes, messages: Messages) -> None:
    """Earlier timings if they are of this device and version, else an empty cache to fill."""
    for blob in (content, b"") if content else (b"",):
        cache: trt.ITimingCache | None = config.create_timing_cache(blob)
        if cache is not None and config.set_timing_cache(cache, False):
            messages.errors.clear()  # of a cache that was refused; else they would be told as a later failure's reason
            return
    raise builder_failure(messages.errors, "attaching a timing cache")


def _timing_cache(config: trt.IBuilderConfig) -> bytes:
    cache: trt.ITimingCache | None = config.get_timing_cache()
    memory = None if cache is None else cache.serialize()
    return b"" if memory is None else bytes(memory)
