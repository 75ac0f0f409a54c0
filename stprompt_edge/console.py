"""What the command line shows: live progress and tables. No logic."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Table
from rich.text import Text

from stprompt_edge.bench.latency import BenchResult
from stprompt_edge.bundle import Bundle
from stprompt_edge.progress import one_line, plain_progress
from stprompt_edge.runtime.records import StageLatency
from stprompt_edge.runtime.watch import Progress, RunResult

if TYPE_CHECKING:  # the training side imports torch
    from stprompt_edge.calibration import Int8Calibration
    from stprompt_edge.evaluation import Evaluation
    from stprompt_edge.export.engine import BuiltEngine
    from stprompt_edge.features.extraction import Extraction
    from stprompt_edge.training.curves import EpochFigures

SCORE_WIDTH = 30  # characters of the live score bar
COSTLY_LAYERS = 8  # that the report of int8 names; its files have all
TABLE_ROWS = 12  # of the training table: a live one must fit the window
ETA_SECONDS = 3600.0  # the time left follows the speed of so long: a step may take minutes, and rich's 30 s saw none


@contextmanager
def live_run(console: Console, threshold: float) -> Iterator[Callable[[Progress], None]]:
    """A live line of progress and one of the score; yields what the pipeline reports to."""
    if not console.is_terminal:
        with plain_progress(console) as tell:
            yield lambda progress: tell("watching", progress_line(progress))
        return
    bar = Bar(
        TextColumn("frame"), MofNCompleteColumn(), BarColumn(), TextColumn("{task.fields[fps]:.0f} fps"),
        TimeElapsedColumn(), console=console,
    )  # fmt: skip
    task = bar.add_task("", total=None, fps=0.0)
    with Live(bar, console=console, refresh_per_second=8, transient=True) as live:

        def show(progress: Progress) -> None:
            bar.update(
                task,
                completed=progress.camera_frame + 1,
                total=progress.camera_frames,
                fps=progress.frames_per_second,
            )
            live.update(Group(bar, score_line(progress, threshold)))

        yield show


def progress_line(progress: Progress) -> str:
    """Where a run is, as plain text."""
    total = f" of {progress.camera_frames}" if progress.camera_frames is not None else ""
    alarm = ", alarm" if progress.alarm else ""
    return (
        f"frame {progress.camera_frame + 1}{total}, {progress.frames_per_second:.0f} frames/s, "
        f"score {progress.score:.3f}{alarm}, {progress.events} events"
    )


def score_line(progress: Progress, threshold: float) -> Text:
    """The score as a bar with the threshold marked, and the number of events."""
    filled, mark = round(progress.score * SCORE_WIDTH), min(int(threshold * SCORE_WIDTH), SCORE_WIDTH - 1)
    line = Text("score ")
    for position in range(SCORE_WIDTH):
        style = "red" if progress.alarm else "green"
        character = "┃" if position == mark else "█" if position < filled else "·"
        line.append(character, style=style if position < filled else "dim")
    line.append(f" {progress.score:.3f}", style="bold red" if progress.alarm else "bold")
    line.append(f"   events {progress.events}")
    return line


@contextmanager
def live_steps(console: Console) -> Iterator[Callable[[str, float], None]]:
    """A bar over named steps; yields a function of what is done now and the fraction done."""
    if not console.is_terminal:
        with plain_progress(console) as tell:
            yield lambda what, done: tell(what, f"{done:3.0%} {what}")
        return
    bar = Bar(
        BarColumn(), TextColumn("{task.percentage:3.0f} %"), TextColumn("{task.description}", markup=False),
        TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(), console=console, transient=True,
        speed_estimate_period=ETA_SECONDS,
    )  # fmt: skip
    with bar:
        task = bar.add_task("starting", total=1.0)
        yield lambda what, done: bar.update(task, description=what, completed=done)


def run_report(result: RunResult, told: Sequence[str] = ()) -> RenderableType:
    """Counts, events and files of a run, and its warnings but those that were told before."""
    summary = result.summary
    speed = summary.camera_frames / summary.wall_seconds if summary.wall_seconds else 0.0
    head = one_line(
        f"{summary.camera_frames} camera frames, {summary.sampled_frames} sampled (1 of {result.facts.stride}), "
        f"{summary.events} event{'' if summary.events == 1 else 's'}, "
        f"{summary.wall_seconds:.1f} s ({speed:.0f} frames/s), peak memory {summary.peak_rss_mib:.0f} MiB"
    )
    parts: list[RenderableType] = [head]
    if summary.interrupted:
        parts.append(one_line("interrupted: the outputs cover what was seen until then", style="yellow"))
    parts += [one_line(f"warning: {warning}", style="yellow") for warning in summary.warnings if warning not in told]
    if result.events:
        parts.append(_event_table(result))
    parts += [one_line(f"wrote {path}", style="dim") for path in result.files]
    return Group(*parts)


def _event_table(result: RunResult) -> Table:
    table = Table("start", "end", "peak score", "class", "probability", title="events", title_justify="left")
    for event in result.events[-10:]:
        table.add_row(
            f"{event.start_seconds:.2f} s", f"{event.end_seconds:.2f} s", f"{event.peak_score:.3f}",
            one_line(event.top_class), f"{event.top_probability:.2f}",
        )  # fmt: skip
    return table


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


@contextmanager
def live_training(console: Console) -> Iterator[Callable[[Sequence[EpochFigures], int], None]]:
    """A table that grows with each epoch, or a line for each where there is no terminal; yields what shows the rows."""
    if not console.is_terminal:
        yield lambda rows, epochs: console.print(epoch_line(rows[-1], epochs), soft_wrap=True)
        return
    with Live(console=console, refresh_per_second=4) as live:
        yield lambda rows, epochs: live.update(training_table(rows, epochs))


def epoch_line(row: EpochFigures, epochs: int) -> Text:
    """One epoch of training: total loss on training and validation videos, then the parts of the former."""
    line = one_line(f"epoch {row.epoch + 1:3d} of {epochs}   loss {row.train['total']:.4f}")
    if row.validation is not None:
        line.append(f"   validation {row.validation['total']:.4f}, AUC {row.validation_auc:.3f}")
    for name, loss in row.train.items():
        line.append("" if name == "total" else f"   {name} {loss:.4f}", style="dim")
    line.append("   best so far" if row.best else "", style="green")
    return line


def training_table(rows: Sequence[EpochFigures], epochs: int) -> Table:
    """The last epochs and the best one: losses of training, then of the videos held out."""
    best = max(row.epoch for row in rows if row.best)
    table = Table(title=f"epoch {len(rows)} of {epochs}", title_justify="left")
    parts = [name for name in rows[0].train if name != "total"]
    for column in ("epoch", "loss", *parts):
        table.add_column(column, justify="right")
    if rows[0].validation is not None:
        table.add_column("validation loss", justify="right")
        table.add_column("validation AUC", justify="right")
    for row in rows:
        if row.epoch != best and row.epoch < len(rows) - TABLE_ROWS:
            continue
        cells = [str(row.epoch + 1), *(f"{row.train[name]:.4f}" for name in ("total", *parts))]
        if row.validation is not None:
            cells += [f"{row.validation['total']:.4f}", f"{row.validation_auc:.3f}"]
        table.add_row(*cells, style="bold green" if row.epoch == best else None)
    return table


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
