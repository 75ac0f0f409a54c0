"""`build-engine`: TensorRT engines on the device that will run them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group, RenderableType

from stprompt_edge.assets import DEMO_CLIP
from stprompt_edge.cli.signals import stop_on_signal
from stprompt_edge.cli.terminal import console, live_steps
from stprompt_edge.progress import one_line

if TYPE_CHECKING:
    from stprompt_edge.export.engine import BuiltEngine


def build_engine(
    bundle: Annotated[Path, typer.Argument(help="Folder that `export` wrote.")],
    precision: Annotated[str, typer.Option(help="fp16, int8 (after `calibrate int8`) or fp32.")] = "fp16",
    batch: Annotated[str, typer.Option(help="Frames at once: one size, or smallest, usual and largest: 1,4,8.")] = "1",
    workspace_gib: Annotated[float, typer.Option(help="Most scratch memory of a kernel, GiB.")] = 2.0,
    timing_cache: Annotated[Path | None, typer.Option(help="Measurements to read and write, for many builds.")] = None,
    verify: Annotated[Path, typer.Option(help="Footage for the parity gate.")] = DEMO_CLIP,
    force: Annotated[bool, typer.Option("--force", help="Keep an engine that misses parity.")] = False,
) -> None:
    """Build TensorRT engines of a bundle on the device that will run them."""
    from stprompt_edge.export import engine

    with stop_on_signal() as stop, live_steps() as progress:
        settings = engine.EngineSettings(
            precision=precision, batch=engine.BatchSizes.parse(batch), workspace_gib=workspace_gib,
            timing_cache=timing_cache, verify=verify, force=force, stop=stop,
        )  # fmt: skip
        built = engine.build_engine(bundle, settings, progress)
    console.print(engine_report(built), soft_wrap=True)


def engine_report(built: BuiltEngine) -> RenderableType:
    """Parity, latency, and what the reader should know of a fresh engine."""
    sidecar = built.sidecar
    lines = [one_line(f"wrote {built.folder}")]
    lines.append(
        one_line(f"TensorRT {sidecar.tensorrt} on {sidecar.gpu}, compute capability {sidecar.compute_capability}")
    )
    if sidecar.parity:
        figures = sidecar.parity
        style = "yellow" if figures.accepted_by_force else ""
        verdict = "missed parity, kept by --force" if figures.accepted_by_force else "parity with fp32"
        difference = f"largest score difference {figures.max_score_difference:.4f}"
        lines.append(one_line(f"{verdict}: smallest cosine {figures.min_cosine:.5f}, {difference}", style))
    if sidecar.latency:
        latency = sidecar.latency
        lines.append(one_line(f"encoder, watch step: p50 {latency.p50_ms:.2f} ms, p95 {latency.p95_ms:.2f} ms"))
    return Group(*lines, *(one_line(note, "yellow") for note in built.notes))
