"""`run` and `demo`: a video or camera, watched."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from stprompt_edge.assets import DEMO_BUNDLE, DEMO_CLIP
from stprompt_edge.cli.options import BackendOption, BundleOption, FpsOption, JsonOption, OutOption
from stprompt_edge.cli.signals import stop_on_signal
from stprompt_edge.cli.terminal import console
from stprompt_edge.errors import UsageError, nearest
from stprompt_edge.progress import one_line, plain_progress
from stprompt_edge.streams import print_json

if TYPE_CHECKING:
    from stprompt_edge.runtime.cameras import CameraConfig
    from stprompt_edge.runtime.watch import Progress, RunResult, RunSettings

LOCALIZE = ("alarm", "always", "never")
SCORE_WIDTH = 30  # characters of the live score bar

LocalizeOption = Annotated[str, typer.Option(help="Heat map and boxes: alarm, always or never.")]
SaveVideoOption = Annotated[
    bool | None, typer.Option("--save-video/--no-save-video", help="annotated.mp4; by default for files only.")
]


def run(
    source: Annotated[
        str, typer.Argument(help="File, image folder, URL, /dev/videoN, GStreamer pipeline, or a name in cameras.toml.")
    ],
    bundle: BundleOption = DEMO_BUNDLE,
    backend: BackendOption = "auto",
    out: OutOption = Path("stprompt-edge-out"),
    localize: LocalizeOption = "alarm",
    save_video: SaveVideoOption = None,
    as_json: JsonOption = False,
    max_frames: Annotated[int | None, typer.Option(min=1, help="Stop after this many camera frames.")] = None,
    stride: Annotated[int | None, typer.Option(min=1, help="Camera frames per sampled frame.")] = None,
    fps: FpsOption = None,
    times: Annotated[
        str | None, typer.Option(help="Of an image folder: number, exif or name:%Y%m%d_%H%M%S (its form in names).")
    ] = None,
    threshold: Annotated[float | None, typer.Option(help="Score that raises the alarm, 0 to 1.")] = None,
    stream: Annotated[int | None, typer.Option(min=0, help="Which stream of a file or URL, as ffprobe counts.")] = None,
    live: Annotated[
        bool | None, typer.Option("--live/--file", help="Drop frames when late, or never; else as the source says.")
    ] = None,
    cameras: Annotated[
        Path | None, typer.Option(help="File of camera names.", show_default="cameras.toml, if there is one")
    ] = None,
) -> None:
    """Watch a video or camera: scores, events, annotated video and a report."""
    from stprompt_edge.runtime.cameras import DEFAULT_FILE
    from stprompt_edge.runtime.sources import resolve_source
    from stprompt_edge.runtime.watch import RunSettings

    if localize not in LOCALIZE:
        raise UsageError(f"unknown --localize '{localize}'", remedy=nearest(localize, LOCALIZE))
    settings = RunSettings(
        out=out, localize=localize, save_video=save_video, max_frames=max_frames, stride=stride, threshold=threshold,  # type: ignore[arg-type]
        stream=stream, live=live, also_read=(cameras or DEFAULT_FILE,), fps=fps, times=times,
    )  # fmt: skip
    _run(resolve_source(source, cameras), bundle, backend, settings, as_json)


def demo(out: OutOption = Path("stprompt-edge-out/demo"), as_json: JsonOption = False) -> None:
    """Run the packaged clip with the packaged bundle."""
    from stprompt_edge.runtime.sources import CameraConfig
    from stprompt_edge.runtime.watch import RunSettings

    _run(CameraConfig(source=str(DEMO_CLIP)), DEMO_BUNDLE, "auto", RunSettings(out=out, localize="alarm"), as_json)


def _run(camera: CameraConfig, bundle: Path, backend: str, settings: RunSettings, as_json: bool) -> None:
    """Open the bundle and its backend, run, and show the result."""
    from stprompt_edge.bundle import load_bundle
    from stprompt_edge.runtime.backends.opening import open_backend
    from stprompt_edge.runtime.watch import run as run_pipeline

    loaded, told = load_bundle(bundle), list[str]()

    def warn(line: str) -> None:
        told.append(line)
        console.print(one_line(f"warning: {line}", style="yellow"))

    choice = open_backend(backend, loaded)
    with choice.backend as engine, stop_on_signal() as stop, live_run(console) as show:
        console.print(one_line(f"{engine.description} ({choice.reason})", "dim"))
        result = run_pipeline(camera, loaded, engine, settings, stop=stop, on_progress=show, warn=warn)
    console.print(run_report(result, told))
    if as_json:
        print_json((settings.out / "summary.json").read_text(encoding="utf-8"))
    if stop.is_set():
        raise typer.Exit(stop.exit_code)


@contextmanager
def live_run(console: Console) -> Iterator[Callable[[Progress], None]]:
    """A live line of progress and one of the score; yields what the pipeline reports to."""
    from rich.live import Live
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

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
            live.update(Group(bar, score_line(progress)))

        yield show


def progress_line(progress: Progress) -> str:
    """Where a run is, as plain text."""
    total = f" of {progress.camera_frames}" if progress.camera_frames is not None else ""
    alarm = ", alarm" if progress.alarm else ""
    return (
        f"frame {progress.camera_frame + 1}{total}, {progress.frames_per_second:.0f} frames/s, "
        f"score {progress.score:.3f}{alarm}, {progress.events} events"
    )


def score_line(progress: Progress) -> Text:
    """The score as a bar with the threshold that alarms marked, and the number of events."""
    filled = round(progress.score * SCORE_WIDTH)
    mark = min(int(progress.threshold_on * SCORE_WIDTH), SCORE_WIDTH - 1)
    line = Text("score ")
    for position in range(SCORE_WIDTH):
        style = "red" if progress.alarm else "green"
        character = "┃" if position == mark else "█" if position < filled else "·"
        line.append(character, style=style if position < filled else "dim")
    line.append(f" {progress.score:.3f}", style="bold red" if progress.alarm else "bold")
    line.append(f"   events {progress.events}")
    return line


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
