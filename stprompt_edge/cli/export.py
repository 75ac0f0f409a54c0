"""`export`: a bundle from CLIP, a vocabulary and perhaps a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group, RenderableType
from rich.table import Table

from stprompt_edge.assets import DEMO_CLIP
from stprompt_edge.cli.terminal import console, live_steps
from stprompt_edge.progress import one_line

if TYPE_CHECKING:
    from stprompt_edge.bundle import Bundle


def export(
    checkpoint: Annotated[Path | None, typer.Argument(help="What training wrote; none for a zero-shot bundle.")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Bundle folder to make.")] = Path("bundle"),
    clip: Annotated[
        str | None,
        typer.Option(help="open_clip model: a ViT with patch 16; a checkpoint's own, or ViT-B-16-quickgelu."),
    ] = None,
    pretrained: Annotated[
        str | None,
        typer.Option(help="open_clip tag, weights file, `demo` or `none` (random); a checkpoint's own, or openai."),
    ] = None,
    vocabulary: Annotated[str, typer.Option(help="Shipped name or TOML file; a checkpoint has its own.")] = "ucf-crime",
    precision: Annotated[str, typer.Option(help="Comma-separated: fp32, fp16, cpu8.")] = "fp32,fp16,cpu8",
    parity_video: Annotated[Path, typer.Option(help="Footage for the parity gate.")] = DEMO_CLIP,
    stride: Annotated[int, typer.Option(min=1, help="Camera frames per sampled frame of a zero-shot bundle.")] = 16,
    seed: Annotated[int | None, typer.Option(help="Of random weights; a checkpoint's own, or 0.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Keep a precision that misses parity.")] = False,
) -> None:
    """Export CLIP, a vocabulary and perhaps a checkpoint to a bundle."""
    from stprompt_edge.export import ExportSettings, export_from_names

    settings = ExportSettings(precisions=_names(precision), parity_video=parity_video, force=force)
    with live_steps() as progress:
        bundle = export_from_names(
            checkpoint, out, clip, pretrained, vocabulary,
            stride=stride, seed=seed, settings=settings, progress=progress,
        )  # fmt: skip
    console.print(bundle_report(bundle))


def bundle_report(bundle: Bundle) -> RenderableType:
    """Files, sizes and parity of a fresh bundle."""
    table = Table("file", "MB", "min cosine to fp32", "max score difference")
    precision_of = {f"encoder.{name}.onnx": name for name in bundle.manifest.parity}
    for name, entry in bundle.manifest.files.items():
        figures = bundle.manifest.parity.get(precision_of.get(name, ""))
        cosine, difference = (
            (f"{figures.min_cosine:.5f}", f"{figures.max_score_difference:.4f}") if figures else ("", "")
        )
        table.add_row(name, f"{entry.bytes / 1e6:.1f}", cosine, difference)
    floats = {name: figures.float_layers for name, figures in bundle.manifest.parity.items() if figures.float_layers}
    left = "; ".join(f"{name}: {count} matrix products left in float" for name, count in floats.items())
    return Group(one_line(str(bundle.path)), table, *([one_line(left)] if floats else []))


def _names(text: str) -> tuple[str, ...]:
    """A comma-separated list without empty entries."""
    return tuple(name.strip() for name in text.split(",") if name.strip())
