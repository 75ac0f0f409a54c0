"""`calibrate int8`: an encoder for TensorRT, quantized on your footage."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group, RenderableType
from rich.table import Table

from stprompt_edge.cli.options import FormatOption, OutOption
from stprompt_edge.cli.terminal import console, live_steps
from stprompt_edge.progress import one_line

if TYPE_CHECKING:
    from stprompt_edge.calibration import Int8Calibration

COSTLY_LAYERS = 8  # that the report of int8 names; its files have all


def calibrate_int8(
    bundle: Annotated[Path, typer.Argument(help="Folder that `export` wrote, with fp32.")],
    more: Annotated[list[str] | None, typer.Argument(metavar="[SOURCE]...", help="More footage.")] = None,
    footage: Annotated[list[str] | None, typer.Option(help="Video file or image folder; several may follow.")] = None,
    frames: Annotated[int, typer.Option(help="To calibrate with.")] = 256,
    method: Annotated[str, typer.Option(help="entropy, percentile or minmax.")] = "minmax",
    dataset: Annotated[Path | None, typer.Option(help="Labelled videos, to compare the AUC on.")] = None,
    dataset_format: FormatOption = "auto",
    out: OutOption = Path("stprompt-edge-out/int8"),
    force: Annotated[bool, typer.Option("--force", help="Keep a graph that misses parity.")] = False,
) -> None:
    """Quantize a bundle's encoder for TensorRT, from footage of your cameras."""
    from stprompt_edge import calibration

    settings = calibration.Int8Settings(
        footage=(*(footage or ()), *(more or ())), out=out, frames=frames, method=method, dataset=dataset,
        dataset_format=dataset_format, force=force,
    )  # fmt: skip
    with live_steps() as progress:
        done, files = calibration.calibrate_int8(bundle, settings, progress)
    console.print(int8_report(done, bundle, files), soft_wrap=True)


def int8_report(done: Int8Calibration, bundle: Path, files: Sequence[Path]) -> RenderableType:
    """Parity, AUC, the costliest layers, and what to do next."""
    table = Table("layer", "weight", "cosine lost alone", "runs in", title="the costliest layers", title_justify="left")
    for row in sorted(done.layers, key=lambda row: -row.cost)[:COSTLY_LAYERS]:
        style = None if row.int8 else "yellow"
        table.add_row(one_line(row.label), row.weight, f"{row.cost:.1e}", "int8" if row.int8 else "fp16", style=style)
    chosen, figures, auc = done.choice, done.parity, done.auc
    verdict = "missed parity, kept by --force" if figures.accepted_by_force else "parity with fp32"
    difference = f"largest score difference {figures.max_score_difference:.4f}"
    lines = [
        one_line(f"{len(chosen.calibration)} frames of {chosen.looked_at} calibrate, {len(chosen.gate)} others judge"),
        one_line(f"{len(done.layers) - len(done.left_in_float)} of {len(done.layers)} layers in int8"),
        one_line(
            f"{verdict}: smallest cosine {figures.min_cosine:.5f}, {difference}",
            "yellow" if figures.accepted_by_force else "",
        ),
    ]
    if auc is not None:
        pair = f"fp32 {auc.fp32:.4f}, int8 {auc.int8:.4f} ({auc.int8 - auc.fp32:+.4f})"
        lines.append(one_line(f"AUC of {auc.of} on {auc.dataset}: {pair}"))
    lines += [one_line(f"note: {note}", "yellow") for note in done.notes]
    shown = ", ".join(path.name for path in files)
    lines.append(one_line(f"wrote encoder.int8.onnx to {bundle}, and {shown} to {files[0].parent}", "dim"))
    lines.append(one_line(f"on the device: stprompt-edge build-engine {bundle} --precision int8", "dim"))
    return Group(table, *lines)
