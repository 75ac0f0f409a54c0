"""`bench`: latency, throughput and memory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.table import Table

from stprompt_edge.assets import DEMO_BUNDLE, DEMO_CLIP
from stprompt_edge.cli.options import BackendOption, BundleOption
from stprompt_edge.cli.terminal import console
from stprompt_edge.errors import UsageError, nearest
from stprompt_edge.progress import one_line

if TYPE_CHECKING:
    from stprompt_edge.bench.latency import BenchResult
    from stprompt_edge.bundle import Bundle
    from stprompt_edge.runtime.records import StageLatency


def bench(
    bundle: BundleOption = DEMO_BUNDLE,
    source: Annotated[str, typer.Option(help="Video to take frames from.")] = str(DEMO_CLIP),
    backend: BackendOption = "auto",
    frames: Annotated[int, typer.Option(min=5, help="Sampled frames to measure.")] = 40,
    against: Annotated[str | None, typer.Option(help="`literal`: the PyTorch reference, in the same run.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures to this file.")] = None,
) -> None:
    """Measure latency, throughput and memory, stage by stage."""
    from stprompt_edge.bench import bench_bundle
    from stprompt_edge.bundle import load_bundle
    from stprompt_edge.files import check_writable, disk_errors, write_text_atomic
    from stprompt_edge.overwriting import check_outputs
    from stprompt_edge.runtime.source_files import source_files

    loaded = load_bundle(bundle)
    inputs = [("bundle", bundle), *(("source", file) for file in source_files(source))]
    check_outputs(inputs, files=[json_file] if json_file else [], option="--json")
    if json_file:
        with disk_errors(json_file):
            json_file.parent.mkdir(parents=True, exist_ok=True)
        check_writable(json_file.parent)
    result = bench_bundle(loaded, backend, source, frames, load_reference=_reference(against, loaded))
    if json_file:
        write_text_atomic(json_file, json.dumps(result.to_dict(), indent=2) + "\n")
    console.print(bench_report(result))


def _reference(against: str | None, bundle: Bundle) -> Any:
    """What loads the literal PyTorch encoder as a function of one preprocessed frame, or None."""
    if against is None:
        return None
    if against != "literal":
        raise UsageError(f"unknown --against '{against}'", remedy=nearest(against, ["literal"]))
    from stprompt_edge.model.literal import literal_reference

    clip = bundle.manifest.clip
    return lambda: literal_reference(clip.model, "none", clip.seed, bundle.geometry)  # speed does not depend on weights


def bench_report(result: BenchResult) -> RenderableType:
    """Stages, ratios and what they mean in cameras."""
    table = Table("step", "stage", "p50 ms", "p95 ms", "p99 ms")
    for step, stages in (
        ("watch", result.watch),
        ("watch, on the device", result.watch_device or {}),
        ("watch, all windows", result.watch_all),
        ("locate", result.locate),
        ("bare", {"encoder alone": result.bare_encode}),
        ("literal", {"PyTorch fp32": result.reference} if result.reference else {}),
    ):
        for stage, latency in sorted(stages.items(), key=lambda item: item[0] == "step"):
            table.add_row(step, stage, *_milliseconds(latency), style="bold" if stage == "step" else None)
        table.add_section()
    lines = [f"{name}: {value:.2f}" for name, value in result.ratios.items()]
    lines += [
        f"{result.sampled_frames_per_second:.1f} sampled frames/s "
        f"= {result.cameras:.0f} cameras of 25 fps at stride {result.stride}",
        f"peak memory {result.peak_rss_mib:.0f} MiB",
        ", ".join(f"{key} {value}" for key, value in result.machine.items()),
    ]
    return Group(one_line(f"{result.backend}, {result.frames} frames"), table, *map(one_line, lines))


def _milliseconds(latency: StageLatency) -> tuple[str, str, str]:
    return f"{latency.p50_ms:.2f}", f"{latency.p95_ms:.2f}", f"{latency.p99_ms:.2f}"
