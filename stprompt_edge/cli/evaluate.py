"""`evaluate`: figures of a bundle or checkpoint on labelled videos."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group, RenderableType
from rich.table import Table

from stprompt_edge.cli.options import FormatOption, FpsOption, JsonOption, OutOption
from stprompt_edge.cli.terminal import console, live_steps
from stprompt_edge.progress import one_line
from stprompt_edge.streams import print_json

if TYPE_CHECKING:
    from stprompt_edge.evaluation import Evaluation


def evaluate(
    model: Annotated[Path, typer.Argument(help="Bundle that `export` wrote, or checkpoint that `train` wrote.")],
    dataset: Annotated[Path, typer.Argument(help="Folder, or CSV of video,label,split.")],
    out: OutOption = Path("stprompt-edge-out/evaluation"),
    streaming: Annotated[bool, typer.Option("--streaming", help="A bundle frame by frame, as at the edge.")] = False,
    html: Annotated[bool, typer.Option("--html", help="Also write all of it as one page.")] = False,
    split: Annotated[str, typer.Option(help="test or train.")] = "test",
    dataset_format: FormatOption = "auto",
    stride: Annotated[int | None, typer.Option(min=1, help="Camera frames per sampled frame.")] = None,
    processes: Annotated[int, typer.Option(min=1, help="Videos at the same time.")] = 1,
    precision: Annotated[str | None, typer.Option(help="Of a bundle's encoder: fp32, fp16 or cpu8.")] = None,
    features: Annotated[Path | None, typer.Option(help="Of a checkpoint: what `extract` wrote.")] = None,
    pretrained: Annotated[str | None, typer.Option(help="Of a checkpoint: CLIP weights, if a file.")] = None,
    fps: FpsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure AUC, AP and TIoU, and with --streaming the alarm: how soon, how often false."""
    from stprompt_edge.evaluation import EvaluationCommand, EvaluationSettings, evaluate

    settings = EvaluationSettings(
        streaming=streaming, split=split, stride=stride, processes=processes, precision=precision, features=features,
        pretrained=pretrained, fps=fps,
    )  # fmt: skip
    command = EvaluationCommand(
        model=model, dataset=dataset, out=out, settings=settings, dataset_format=dataset_format, html=html
    )
    with live_steps() as progress:
        evaluation, files = evaluate(command, progress)
    console.print(evaluation_report(evaluation, files))
    if as_json:
        print_json(files[0].read_text(encoding="utf-8"))


def evaluation_report(evaluation: Evaluation, files: Sequence[Path]) -> RenderableType:
    """Figures, operating points, classes, what was skipped, and what to know."""
    from stprompt_edge.evaluation import wording

    head = Table("figure", "", "rests on")
    for line in wording.headlines(evaluation):
        head.add_row(line.label, one_line(line.value, style="bold"), one_line(line.note))
    cautions = [one_line(f"note: {caution}", style="yellow") for caution in evaluation.model.cautions]
    parts: list[RenderableType] = [*cautions, one_line(f"{evaluation.dataset.name}, {evaluation.dataset.split}"), head]
    if evaluation.figures.alarm is not None:
        named = list(wording.marked_points(evaluation.figures.alarm))
        points = Table("alarm", *(name for name, _ in named))
        for row in zip(wording.POINT_COLUMNS, *(wording.point_cells(point) for _, point in named), strict=True):
            points.add_row(*row)
        parts.append(points)
    if evaluation.figures.lookahead:
        waits = Table("lookahead", "score known after", "AUC", "AP")
        for one in evaluation.figures.lookahead:
            cells = f"{one.delay_seconds:.2f} s", wording.number(one.auc), wording.number(one.ap)
            waits.add_row(wording.lookahead_name(one.lookahead), *cells)
        parts.append(waits)
    if len(evaluation.figures.classes) > 1:
        classes = Table("class", "frame AUC")
        for name, auc in evaluation.figures.classes.items():
            classes.add_row(one_line(name), f"{auc:.4f}")
        parts.append(classes)
    parts += [one_line(f"skipped {name}: {reason}", style="yellow") for name, reason in evaluation.skipped]
    parts += [
        one_line(f"note: {note}", style="yellow") for note in evaluation.notes if note not in evaluation.model.cautions
    ]
    shown = [path for path in files if path.suffix != ".csv"]
    parts.append(
        one_line(f"wrote {', '.join(path.name for path in shown)} and scores/ to {files[0].parent}", style="dim")
    )
    return Group(*parts)
