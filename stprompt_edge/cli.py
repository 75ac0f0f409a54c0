"""The command line: parse, call one library function, print. One thin function for each command."""

from __future__ import annotations

import json
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from stprompt_edge import __version__
from stprompt_edge.assets import DEMO_BUNDLE, DEMO_CLIP
from stprompt_edge.errors import (
    INTERRUPTED_EXIT_CODE,
    EnvironmentFailure,
    StpromptEdgeError,
    StpromptEdgeWarning,
    UsageError,
    nearest,
    single_line,
)
from stprompt_edge.imports import what_lacks
from stprompt_edge.progress import one_line, open_console
from stprompt_edge.streams import guarded_streams, print_json

app = typer.Typer(
    name="stprompt-edge",
    help="Video anomaly detection and localization from video-level labels, from training to cameras at the edge.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
calibrate = typer.Typer(help="Fit a bundle to your own footage.", no_args_is_help=True)
app.add_typer(calibrate, name="calibrate")
vocabularies = typer.Typer(help="Show and check vocabularies: classes and phrases.", no_args_is_help=True)
app.add_typer(vocabularies, name="vocabulary")
COMMAND_LINE_ERROR: Any = typer.BadParameter.__mro__[2]  # ClickException, of click or of newer typer's own copy of it
console = open_console(stderr=True)  # progress and tables for people; stdout is for --json
LOCALIZE = ("alarm", "always", "never")

BundleOption = Annotated[Path, typer.Option("--bundle", "-b", help="Folder that `export` wrote.")]
BackendOption = Annotated[str, typer.Option(help="auto, tensorrt, onnx, onnx-cuda or onnx-cpu.")]
OutOption = Annotated[Path, typer.Option("--out", "-o", help="Folder for the results.")]
LocalizeOption = Annotated[str, typer.Option(help="Heat map and boxes: alarm, always or never.")]
SaveVideoOption = Annotated[
    bool | None, typer.Option("--save-video/--no-save-video", help="annotated.mp4; by default for files only.")
]
FpsOption = Annotated[float | None, typer.Option(help="Pictures per second of an image folder.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the summary as JSON on stdout.")]


@app.callback(invoke_without_command=False)
def options(
    version: Annotated[bool, typer.Option("--version", is_eager=True, help="Print the version and exit.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks; may stand anywhere.")] = False,
) -> None:
    """Options that stand before the command; --debug is taken out by `main`."""


@app.command()
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
    from stprompt_edge.console import bundle_report, live_steps
    from stprompt_edge.export import ExportSettings, export_from_names

    settings = ExportSettings(precisions=_names(precision), parity_video=parity_video, force=force)
    with live_steps(console) as progress:
        bundle = export_from_names(
            checkpoint,
            out,
            clip,
            pretrained,
            vocabulary,
            stride=stride,
            seed=seed,
            settings=settings,
            progress=progress,
        )
    console.print(bundle_report(bundle))


@calibrate.command("int8")
def calibrate_int8(
    bundle: Annotated[Path, typer.Argument(help="Folder that `export` wrote, with fp32.")],
    more: Annotated[list[str] | None, typer.Argument(metavar="[SOURCE]...", help="More footage.")] = None,
    footage: Annotated[list[str] | None, typer.Option(help="Video file or image folder; several may follow.")] = None,
    frames: Annotated[int, typer.Option(help="To calibrate with.")] = 256,
    method: Annotated[str, typer.Option(help="entropy, percentile or minmax.")] = "minmax",
    dataset: Annotated[Path | None, typer.Option(help="Labelled videos, to compare the AUC on.")] = None,
    dataset_format: Annotated[str, typer.Option("--format", help="Of the data set; auto tells by its files.")] = "auto",
    out: OutOption = Path("stprompt-edge-out/int8"),
    force: Annotated[bool, typer.Option("--force", help="Keep a graph that misses parity.")] = False,
) -> None:
    """Quantize a bundle's encoder for TensorRT, from footage of your cameras."""
    from stprompt_edge import calibration
    from stprompt_edge.console import int8_report, live_steps

    settings = calibration.Int8Settings(
        footage=(*(footage or ()), *(more or ())), out=out, frames=frames, method=method, dataset=dataset,
        dataset_format=dataset_format, force=force,
    )  # fmt: skip
    with live_steps(console) as progress:
        done, files = calibration.calibrate_int8(bundle, settings, progress)
    console.print(int8_report(done, bundle, files), soft_wrap=True)


@app.command("build-engine")
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
    from stprompt_edge.console import engine_report, live_steps
    from stprompt_edge.export import engine

    with _stop_on_signal() as stop, live_steps(console) as progress:
        settings = engine.EngineSettings(
            precision=precision, batch=engine.BatchSizes.parse(batch), workspace_gib=workspace_gib,
            timing_cache=timing_cache, verify=verify, force=force, stop=stop,
        )  # fmt: skip
        built = engine.build_engine(bundle, settings, progress)
    console.print(engine_report(built), soft_wrap=True)


@app.command()
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
        out=out,
        localize=localize,  # type: ignore[arg-type]
        save_video=save_video,
        max_frames=max_frames,
        stride=stride,
        threshold=threshold,
        stream=stream,
        live=live,
        also_read=(cameras or DEFAULT_FILE,),
        fps=fps,
        times=times,
    )
    _run(resolve_source(source, cameras), bundle, backend, settings, as_json)


@app.command()
def demo(out: OutOption = Path("stprompt-edge-out/demo"), as_json: JsonOption = False) -> None:
    """Run the packaged clip with the packaged bundle."""
    from stprompt_edge.runtime.sources import CameraConfig
    from stprompt_edge.runtime.watch import RunSettings

    _run(CameraConfig(source=str(DEMO_CLIP)), DEMO_BUNDLE, "auto", RunSettings(out=out, localize="alarm"), as_json)


@app.command()
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
    from stprompt_edge.console import bench_report
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


@app.command()
def scenes(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to make.")],
    seed: Annotated[int, typer.Option(help="The same seed gives the same videos.")] = 0,
    train_videos: Annotated[int, typer.Option(min=1, help="Training videos.")] = 60,
    test_videos: Annotated[int, typer.Option(min=1, help="Test videos, of other cameras.")] = 40,
    fps: Annotated[int, typer.Option(min=1, help="Frames per second.")] = 12,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
) -> None:
    """Render CCTV scenes with exact frame labels and boxes."""
    from demo.scenes import render_dataset
    from stprompt_edge.console import live_steps

    with live_steps(console) as progress:
        videos = render_dataset(
            out, seed, train_videos, test_videos, fps=fps, workers=workers,
            progress=lambda done, total, name: progress(name, done / total),
        )  # fmt: skip
    console.print(one_line(f"wrote {len(videos)} videos to {out}"))


@app.command()
def prompts(
    classes: Annotated[list[str], typer.Argument(help='Abnormal classes, each in quotes: "Road accident".')],
    url: Annotated[str, typer.Option(help="OpenAI-compatible server, for example http://localhost:11434.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Vocabulary file to write.")] = Path("vocabulary.toml"),
    model: Annotated[str | None, typer.Option(help="By default the first that the server lists.")] = None,
    name: Annotated[str | None, typer.Option(help="Of the vocabulary; by default the file's.")] = None,
    count: Annotated[int, typer.Option(min=1, max=50, help="Phrases for each class.")] = 4,
    normal_scene: Annotated[str | None, typer.Option(help='What the camera watches: "a railway station".')] = None,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds for one answer.")] = 300,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
) -> None:
    """Have a language model write a vocabulary's phrases, to edit; OPENAI_API_KEY is sent if set."""
    from stprompt_edge.console import live_steps
    from stprompt_edge.training.chat_server import ChatServer, key_from_environment
    from stprompt_edge.training.prompt_writer import PromptSettings, write_vocabulary

    server = ChatServer(url=url, key=key_from_environment(), timeout_s=timeout)
    settings = PromptSettings(
        classes=tuple(classes), out=out, name=name, count=count, normal_scene=normal_scene, force=force
    )
    chosen = model or server.pick_model()
    console.print(one_line(f"asking {chosen} at {server.url}", style="dim"), soft_wrap=True)
    with live_steps(console) as progress:
        written = write_vocabulary(server, chosen, settings, progress)
    phrases = sum(len(entry.phrases) for entry in written.classes)
    console.print(
        one_line(f"wrote {out}: {phrases} phrases for {len(classes)} classes, {len(written.normal_phrases)} normal")
    )
    console.print(one_line(f"edit it, then: stprompt-edge export --vocabulary {out}"), soft_wrap=True)


@vocabularies.command("show")
def show_vocabulary(
    name: Annotated[
        str | None, typer.Argument(help="Shipped name or TOML file; none to list the shipped ones.")
    ] = None,
) -> None:
    """Print a vocabulary as a file to save, edit and use with --vocabulary."""
    from stprompt_edge.vocabulary import EDITING, load_vocabulary, shipped_vocabularies, vocabulary_to_toml

    if name is None:
        print("\n".join(shipped_vocabularies()))
    else:
        print(vocabulary_to_toml(load_vocabulary(name), EDITING), end="")


@vocabularies.command("check")
def check_vocabulary(file: Annotated[Path, typer.Argument(help="TOML file to check.")]) -> None:
    """Say that a vocabulary file is good, or what its first problem is and where."""
    from stprompt_edge.vocabulary import load_vocabulary

    vocabulary = load_vocabulary(file)
    written = sum(len(entry.phrases) for entry in vocabulary.classes)
    counts = f"{len(vocabulary.classes)} classes, {written} phrases, {len(vocabulary.normal_phrases)} normal phrases"
    print(f"ok: {single_line(str(file))}: vocabulary '{vocabulary.name}', {counts}")


@app.command()
def extract(
    dataset: Annotated[Path, typer.Argument(help="Folder, CSV of video,label,split, or of published features.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of feature files to make or continue.")],
    bundle: BundleOption = DEMO_BUNDLE,
    dataset_format: Annotated[str, typer.Option("--format", help="Of the data set; auto tells by its files.")] = "auto",
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
    from stprompt_edge.console import extraction_report, live_steps
    from stprompt_edge.features.extraction import Listener, extract_from_names
    from stprompt_edge.features.settings import ExtractionSettings

    if keep not in ("windows", "aggregated"):
        raise UsageError(f"unknown --keep '{keep}'", remedy=nearest(keep, ["windows", "aggregated"]))
    settings = ExtractionSettings(
        bundle=bundle, stride=stride, keep_windows=keep == "windows", processes=processes, backend=backend,
        precision=precision, batch=batch, pretrained=pretrained, fps=fps, force=force,
    )  # fmt: skip
    with _stop_on_signal() as stop, live_steps(console) as progress:
        listener = Listener(
            say=lambda line: console.print(one_line(line, style="dim"), soft_wrap=True),
            warn=lambda line: console.print(one_line(f"warning: {line}", style="yellow"), soft_wrap=True),
            progress=progress,
        )
        done = extract_from_names(dataset, out, settings, listener, dataset_format=dataset_format, stop=stop)
    console.print(extraction_report(done, out), soft_wrap=True)
    if done.left:
        raise typer.Exit(128 + stop.signal)


@app.command()
def train(
    features: Annotated[Path, typer.Argument(help="Folder that `extract` wrote.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of checkpoints to make or continue.")],
    vocabulary: Annotated[str, typer.Option(help="Shipped name or TOML file.")] = "ucf-crime",
    recipe: Annotated[str, typer.Option(help="Shipped name or TOML file.")] = "ucf-crime",
    pretrained: Annotated[
        str | None, typer.Option(help="CLIP weights, where the features' name is not enough.")
    ] = None,
    method: Annotated[str | None, typer.Option(help="stprompt or mil-ranking, instead of the recipe's.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Instead of the recipe's.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of weights and order.")] = 0,
) -> None:
    """Train a detector from video-level labels; resumes what --out holds."""
    from stprompt_edge.console import live_training
    from stprompt_edge.training.commands import TrainSettings, train

    settings = TrainSettings(
        features=features, out=out, vocabulary=vocabulary, recipe=recipe, pretrained=pretrained, method=method,
        epochs=epochs, seed=seed,
    )  # fmt: skip
    with _stop_on_signal() as stop, live_training(console) as show:
        best = train(settings, stop=stop, on_epoch=lambda rows, plan: show(rows, plan.epochs))
    if stop.is_set():
        console.print("interrupted: the same command goes on from the last finished epoch", style="yellow")
        raise typer.Exit(128 + stop.signal)
    console.print(one_line(f"wrote {best}"))


@app.command()
def evaluate(
    model: Annotated[Path, typer.Argument(help="Bundle that `export` wrote, or checkpoint that `train` wrote.")],
    dataset: Annotated[Path, typer.Argument(help="Folder, or CSV of video,label,split.")],
    out: OutOption = Path("stprompt-edge-out/evaluation"),
    streaming: Annotated[bool, typer.Option("--streaming", help="A bundle frame by frame, as at the edge.")] = False,
    html: Annotated[bool, typer.Option("--html", help="Also write all of it as one page.")] = False,
    split: Annotated[str, typer.Option(help="test or train.")] = "test",
    dataset_format: Annotated[str, typer.Option("--format", help="Of the data set; auto tells by its files.")] = "auto",
    stride: Annotated[int | None, typer.Option(min=1, help="Camera frames per sampled frame.")] = None,
    processes: Annotated[int, typer.Option(min=1, help="Videos at the same time.")] = 1,
    precision: Annotated[str | None, typer.Option(help="Of a bundle's encoder: fp32, fp16 or cpu8.")] = None,
    features: Annotated[Path | None, typer.Option(help="Of a checkpoint: what `extract` wrote.")] = None,
    pretrained: Annotated[str | None, typer.Option(help="Of a checkpoint: CLIP weights, if a file.")] = None,
    fps: FpsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure AUC, AP and TIoU, and with --streaming the alarm: how soon, how often false."""
    from stprompt_edge.console import evaluation_report, live_steps
    from stprompt_edge.evaluation import EvaluationCommand, EvaluationSettings, evaluate

    settings = EvaluationSettings(
        streaming=streaming, split=split, stride=stride, processes=processes, precision=precision, features=features,
        pretrained=pretrained, fps=fps,
    )  # fmt: skip
    command = EvaluationCommand(
        model=model, dataset=dataset, out=out, settings=settings, dataset_format=dataset_format, html=html
    )
    with live_steps(console) as progress:
        evaluation, files = evaluate(command, progress)
    console.print(evaluation_report(evaluation, files))
    if as_json:
        print_json(files[0].read_text(encoding="utf-8"))


@app.command()
def doctor(as_json: JsonOption = False) -> None:
    """Say what this machine has, what it lacks, and what to type about it."""
    from stprompt_edge.doctor import examine, render

    report = examine()
    if as_json:
        print_json(json.dumps(report.to_dict(), indent=2) + "\n")
    else:
        open_console(stderr=False).print(render(report))
    if report.failed:
        raise EnvironmentFailure(
            f"{len(report.failed)} checks failed: {', '.join(check.name for check in report.failed)}",
            remedy="see the lines marked failed above",
        )


def _run(camera: Any, bundle: Path, backend: str, settings: Any, as_json: bool) -> None:
    """Open the bundle and its backend, run, and show the result."""
    from stprompt_edge.bundle import load_bundle
    from stprompt_edge.console import live_run, run_report
    from stprompt_edge.runtime.backends import open_backend
    from stprompt_edge.runtime.watch import run as run_pipeline

    loaded, told = load_bundle(bundle), list[str]()

    def warn(line: str) -> None:
        told.append(line)
        console.print(one_line(f"warning: {line}", style="yellow"))

    choice = open_backend(backend, loaded)
    threshold = settings.threshold if settings.threshold is not None else loaded.manifest.alarm.threshold_on
    with choice.backend as engine, _stop_on_signal() as stop, live_run(console, threshold) as show:
        console.print(one_line(f"{engine.description} ({choice.reason})", "dim"))
        result = run_pipeline(camera, loaded, engine, settings, stop=stop, on_progress=show, warn=warn)
    console.print(run_report(result, told))
    if as_json:
        print_json((settings.out / "summary.json").read_text(encoding="utf-8"))
    if stop.is_set():
        raise typer.Exit(128 + stop.signal)


class _Stop(threading.Event):
    """Set by a signal, and remembers which."""

    signal = 0


@contextmanager
def _stop_on_signal() -> Iterator[_Stop]:
    """Ctrl-C and SIGTERM ask for an orderly end; a second one ends at once."""
    stop = _Stop()

    def handle(number: int, frame: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.signal = number
        stop.set()

    previous = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _reference(against: str | None, bundle: Any) -> Any:
    """What loads the literal PyTorch encoder as a function of one preprocessed frame, or None."""
    if against is None:
        return None
    if against != "literal":
        raise UsageError(f"unknown --against '{against}'", remedy=nearest(against, ["literal"]))
    from stprompt_edge.model.literal import literal_reference

    clip = bundle.manifest.clip
    return lambda: literal_reference(clip.model, "none", clip.seed, bundle.geometry)  # speed does not depend on weights


def _names(text: str) -> tuple[str, ...]:
    """A comma-separated list without empty entries."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def main() -> None:
    """Entry point: our errors, and streams that fail, become one or two lines and an exit code."""
    with guarded_streams() as streams:
        code = _command(sys.argv[1:])
        if failure := streams.failure():
            _print_error(failure)
        code = streams.exit_code(code)
    sys.exit(code)


def _command(arguments: list[str]) -> int:
    """Runs what was typed; returns its exit code."""
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"] or ["--help"]
    if arguments == ["--version"]:
        print(f"stprompt-edge {__version__}")
        return 0
    warnings.showwarning = _show_warning
    try:
        code = app(arguments, standalone_mode=False)
    except StpromptEdgeError as exc:
        if debug:
            raise
        _print_error(exc)
        code = exc.exit_code
    except COMMAND_LINE_ERROR as exc:
        command = exc.ctx.command_path if getattr(exc, "ctx", None) else app.info.name
        _print_error(UsageError(exc.format_message(), remedy=f"see: {command} --help"))
        code = UsageError.exit_code
    except (KeyboardInterrupt, typer.Abort):
        console.print("interrupted", style="yellow")
        code = INTERRUPTED_EXIT_CODE
    except Exception as exc:
        lacking = None if debug else what_lacks(exc)
        if lacking is None:
            raise
        _print_error(lacking)
        code = lacking.exit_code
    return code or 0


def _show_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, file: Any = None, line: Any = None
) -> None:
    """Ours in one line, others as Python shows them."""
    ours = issubclass(category, StpromptEdgeWarning)
    text = f"warning: {message}" if ours else warnings.formatwarning(message, category, filename, lineno, line)
    console.print(Text(text.rstrip(), style="yellow" if ours else ""), soft_wrap=True)


def _print_error(error: StpromptEdgeError) -> None:
    line = Text("error: ", style="bold red")
    line.append(error.what, style="default")
    console.print(line, soft_wrap=True, highlight=False)
    console.print(one_line(f"  fix: {error.remedy}"), soft_wrap=True, highlight=False)
