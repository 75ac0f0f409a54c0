"""`extract`: the features of a data set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group, RenderableType

from stprompt_edge.assets import DEMO_BUNDLE
from stprompt_edge.cli.options import BundleOption, FormatOption, FpsOption
from stprompt_edge.cli.signals import stop_on_signal
from stprompt_edge.cli.terminal import console, live_steps
from stprompt_edge.errors import UsageError, nearest
from stprompt_edge.progress import one_line

if TYPE_CHECKING:
    from stprompt_edge.features.extraction import Extraction


def extract(
    dataset: Annotated[Path, typer.Argument(help="Folder, CSV of video,label,split, or of published features.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of feature files to make or continue.")],
    bundle: BundleOption = DEMO_BUNDLE,
    dataset_format: FormatOption = "auto",
    stride: Annotated[int, typer.Option(min=1, help="Camera frames per sampled frame.")] = 16,
    keep: Annotated[str, typer.Option(help="windows, or only the aggregated embeddings.")] = "aggregated",
    processes: Annotated[int, typer.Option(min=1, help="Videos at the same time.")] = 1,
    backend: Annotated[str, typer.Option(help="onnx on the CPU, torch, or auto: torch if it has a CUDA GPU.")] = "auto",
    precision: Annotated[str | None, typer.Option(help="fp32 or fp16; with onnx any that the bundle holds.")] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Sampled frames at once; 32 on a GPU.")] = None,
    pretrained: Annotated[str | None, typer.Option(help="CLIP weights for torch, where the bundle's are not.")] = None,
    fps: FpsOption = None,
    force: Annotated[bool, typer.Option("--force", help="Begin although the disk seems too small.")] = False,
) -> None:
    """Extract features of a data set for training; the same command goes on where it stopped."""
    from stprompt_edge.features.extraction import Listener, extract_from_names
    from stprompt_edge.features.settings import ExtractionSettings

    if keep not in ("windows", "aggregated"):
        raise UsageError(f"unknown --keep '{keep}'", remedy=nearest(keep, ["windows", "aggregated"]))
    settings = ExtractionSettings(
        bundle=bundle, stride=stride, keep_windows=keep == "windows", processes=processes, backend=backend,
        precision=precision, batch=batch, pretrained=pretrained, fps=fps, force=force,
    )  # fmt: skip
    with stop_on_signal() as stop, live_steps() as progress:
        listener = Listener(
            say=lambda line: console.print(one_line(line, style="dim"), soft_wrap=True),
            warn=lambda line: console.print(one_line(f"warning: {line}", style="yellow"), soft_wrap=True),
            progress=progress,
        )
        done = extract_from_names(dataset, out, settings, listener, dataset_format=dataset_format, stop=stop)
    console.print(extraction_report(done, out), soft_wrap=True)
    if done.left:
        raise typer.Exit(stop.exit_code)


def extraction_report(done: Extraction, out: Path) -> RenderableType:
    """What was written, what is left, and every video that is not whole."""
    lines = [one_line(f"extracted {done.written} videos, {done.skipped} were there already, wrote {out}")]
    lines += [one_line(f"extracted as far as it goes: {name}: {what}", "yellow") for name, what in done.warned]
    lines += [one_line(f"left out {name}: {reason}", "yellow") for name, reason in done.unreadable]
    if done.missing:
        what = f"left out {len(done.missing)} listed videos that are not there, the first is {done.missing[0]}"
        lines.append(one_line(what, "yellow"))
    if done.left:
        lines.append(
            one_line(f"interrupted with {done.left} videos left: the same command goes on with them", "yellow")
        )
    return Group(*lines)
