"""`stprompt-edge extract`: a data set -> feature files and their index. Resumable, over several processes."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stprompt_edge.bundle import Bundle, load_bundle
from stprompt_edge.errors import UsageError
from stprompt_edge.files import longest_name, only_writer, write_text_atomic
from stprompt_edge.runtime.sources import expected_frames
from stprompt_edge.training.datasets import Dataset, LabelledVideo, load_dataset
from stprompt_edge.training.disk_space import DiskNeed, disk_need
from stprompt_edge.training.extraction_backend import Engine
from stprompt_edge.training.extraction_pool import Job, Outcome, extract_jobs
from stprompt_edge.training.extraction_settings import ExtractionSettings
from stprompt_edge.training.features import FeatureOrigin, load_features, load_segments, read_origin
from stprompt_edge.vocabulary import Vocabulary

if TYPE_CHECKING:  # imports torch, which extraction with ONNX Runtime does not need
    from stprompt_edge.training.batches import FeatureVideo

INDEX_NAME = "index.json"
SCHEMA = 1

Progress = Callable[[str, float], None]  # told the video and the fraction done


@dataclass(frozen=True, kw_only=True)
class Extraction:
    """What an extraction did."""

    written: int
    skipped: int  # there already, of the same origin
    unreadable: tuple[tuple[str, str], ...]  # name and reason; left out of the index
    damaged: tuple[tuple[str, str], ...] = ()  # name and what is wrong; extracted as far as they go
    missing: tuple[str, ...] = ()  # names that the data set lists and does not have
    left: int = 0  # not done because it was stopped; then the index is not written


@dataclass(frozen=True, kw_only=True)
class Listener:
    """Who is told what happens."""

    say: Callable[[str], None] = lambda line: None  # a line for people: the disk need, then the backend
    progress: Progress = lambda name, done: None


def extract_dataset(
    dataset: Dataset,
    out: Path,
    settings: ExtractionSettings,
    listener: Listener | None = None,
    *,
    stop: threading.Event | None = None,
) -> Extraction:
    """Extract every video that is not there yet, and write the index.

    Args:
        dataset: videos and labels.
        out: folder to make or continue.
        settings: encoder, stride and processes.
        listener: told what is about to be done, and progress by sampled frames.
        stop: set it to end between two frames; the same call goes on where it stopped.

    Raises:
        UsageError: if `out` cannot be written, another run writes there, two videos would share a feature file, a
            feature file's name is too long, or every video is unreadable.
        EnvironmentFailure: the disk is too small, or full; what was written stays and a later run goes on there.
    """
    listener, stop = listener or Listener(), stop or threading.Event()
    bundle = load_bundle(settings.bundle)
    _check_targets(dataset, out)
    with only_writer(out):
        return _extract_missing(dataset, out, settings, bundle, listener, stop)


def _extract_missing(
    dataset: Dataset,
    out: Path,
    settings: ExtractionSettings,
    bundle: Bundle,
    listener: Listener,
    stop: threading.Event,
) -> Extraction:
    origin = FeatureOrigin.of(bundle, settings.stride)
    todo = [video for video in dataset.videos if not _is_done(feature_path(out, video), origin, settings.keep_windows)]
    outcomes = []
    if todo:
        jobs = [Job(name=video.name, video=video.path, target=feature_path(out, video)) for video in todo]
        frames = _count_frames(jobs, listener, stop)
        need = _need(frames, bundle, dataset, out, settings)
        listener.say(need.line)
        if not settings.force:
            need.check(out)
        outcomes = _extract(jobs, need, settings, listener, stop)
    return _finish(dataset, out, outcomes, len(todo))


def extract_from_names(
    dataset: Path,
    out: Path,
    settings: ExtractionSettings,
    listener: Listener,
    *,
    dataset_format: str,
    stop: threading.Event,
) -> Extraction:
    """`extract_dataset` from what a user types. Raises also as `load_bundle` and `load_dataset`."""
    load_bundle(settings.bundle)  # a wrong one is known before a large data set is listed
    return extract_dataset(load_dataset(dataset, dataset_format), out, settings, listener, stop=stop)


def feature_path(out: Path, video: LabelledVideo) -> Path:
    """Where a video's features are: its name without the suffix, folders kept; always below `out`."""
    name = Path(video.name)
    return out.joinpath(*(part for part in name.parts if part not in (name.anchor, ".."))).with_suffix(".safetensors")


def load_training_videos(
    folder: Path, vocabulary: Vocabulary, split: str = "train", *, segments: int | None = None
) -> tuple[list[FeatureVideo], float]:
    """The feature videos of a split, their labels as rows of the vocabulary, and the seconds between samples.

    Args:
        folder: that `extract` wrote.
        vocabulary: of the labels.
        split: train or test.
        segments: load the windows too, averaged over so many segments of each video that has them.

    Raises:
        UsageError: no index, a label outside the vocabulary, or features of different origin.
    """
    from stprompt_edge.training.batches import FeatureVideo

    entries = [entry for entry in _read_index(folder) if entry["split"] == split]
    labels = [vocabulary.row_of_label(entry["label"]) for entry in entries]  # a wrong one is known before all is read
    videos, origins, spacings = [], set(), []
    for entry, label in zip(entries, labels, strict=True):
        path = folder / entry["file"]
        features = load_features(path, windows=False)
        origins.add(features.origin)
        spacings.append(features.seconds_between_samples)
        videos.append(
            FeatureVideo(
                name=entry["name"],
                label=label,
                x_clip=features.x_clip,
                x_as=features.x_as,
                segments=load_segments(path, segments) if segments else None,
            )
        )
    if len(origins) != 1:
        what = "no video of this split" if not origins else f"features of {len(origins)} different encoders or strides"
        raise UsageError(f"{folder}: {what}", remedy="extract the whole data set into one new folder")
    return videos, sorted(spacings)[len(spacings) // 2]


def load_origin(folder: Path) -> FeatureOrigin:
    """What made the features in a folder. Raises UsageError as `load_training_videos`."""
    return read_origin(folder / _read_index(folder)[0]["file"])[0]


def _check_targets(dataset: Dataset, out: Path) -> None:
    owner: dict[Path, str] = {}
    longest = longest_name(out)
    for video in dataset.videos:
        target = feature_path(out, video)
        name_bytes = len(os.fsencode(target.name))
        if name_bytes > longest:
            what = f"the feature file of '{video.name}' would have a name of {name_bytes} bytes, {out} takes {longest}"
            raise UsageError(what, remedy="give that video a shorter name")
        if target in owner:
            what = f"'{owner[target]}' and '{video.name}' would have the same feature file {target}"
            raise UsageError(what, remedy="rename one of the two videos")
        owner[target] = video.name


def _count_frames(jobs: Sequence[Job], listener: Listener, stop: threading.Event) -> dict[str, int | None]:
    frames: dict[str, int | None] = {}
    for done, job in enumerate(jobs, 1):
        listener.progress(f"looking at video {done} of {len(jobs)}", 0.0)
        frames[job.name] = None if stop.is_set() else expected_frames(job.video)
    return frames


def _need(
    frames: dict[str, int | None], bundle: Bundle, dataset: Dataset, out: Path, settings: ExtractionSettings
) -> DiskNeed:
    readable = [video for video in dataset.videos if frames.get(video.name, 0) is not None]
    return disk_need(
        frames,
        bundle,
        out,
        stride=settings.stride,
        keep_windows=settings.keep_windows,
        index_bytes=len(_index(out, dataset, readable)),
    )


def _extract(
    jobs: Sequence[Job], need: DiskNeed, settings: ExtractionSettings, listener: Listener, stop: threading.Event
) -> list[Outcome]:
    """Extract, and tell the progress: in frames, since videos are of very different length."""
    weights = need.weights
    outcomes: list[Outcome] = []
    frames = 0  # of the video under way, with a single process

    def show() -> None:
        done = sum(weights[outcome.name] for outcome in outcomes) + frames
        listener.progress(f"{len(outcomes)} of {len(jobs)} videos", min(done / sum(weights.values()), 1.0))

    def on_frame() -> None:
        nonlocal frames
        frames += 1
        show()

    def on_engine(engine: Engine) -> None:
        listener.say(f"{engine.backend.description} ({engine.reason})")

    for outcome in extract_jobs(jobs, settings, stop=stop, on_engine=on_engine, on_frame=on_frame):
        outcomes.append(outcome)
        frames = 0
        show()
    return outcomes


def _finish(dataset: Dataset, out: Path, outcomes: Sequence[Outcome], todo: int) -> Extraction:
    """Write the index, unless something is left to do."""
    unreadable = {outcome.name: outcome.unreadable for outcome in outcomes if outcome.unreadable is not None}
    if len(unreadable) == len(dataset.videos):
        name, reason = next(iter(unreadable.items()))
        raise UsageError(
            f"no video of {dataset.name} can be read; the first, {name}: {reason}", remedy="check its paths"
        )
    left = todo - len(outcomes)
    if not left:
        readable = [video for video in dataset.videos if video.name not in unreadable]
        write_text_atomic(out / INDEX_NAME, _index(out, dataset, readable))
    return Extraction(
        written=len(outcomes) - len(unreadable),
        skipped=len(dataset.videos) - todo,
        unreadable=tuple(sorted(unreadable.items())),
        damaged=tuple(sorted((outcome.name, "; ".join(outcome.warnings)) for outcome in outcomes if outcome.warnings)),
        missing=dataset.missing_videos,
        left=left,
    )


def _is_done(path: Path, origin: FeatureOrigin, keep_windows: bool) -> bool:
    if not path.exists():
        return False
    try:
        found, has_windows = read_origin(path)
    except UsageError:  # half a file of a killed machine: extracted again
        return False
    return found == origin and (has_windows or not keep_windows)


def _index(out: Path, dataset: Dataset, videos: Sequence[LabelledVideo]) -> str:
    entries = [
        {
            "name": video.name,
            "label": video.label,
            "split": video.split,
            "file": feature_path(out, video).relative_to(out).as_posix(),
        }
        for video in videos
    ]
    index = {"schema": SCHEMA, "dataset": dataset.name, "class_names": dataset.class_names, "videos": entries}
    return json.dumps(index, indent=1) + "\n"


def _read_index(folder: Path) -> list[dict[str, str]]:
    path = folder / INDEX_NAME
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))["videos"]
        first = entries[0]
        _ = first["name"], first["label"], first["split"], first["file"]
    except (OSError, ValueError, KeyError, IndexError, TypeError) as exc:
        raise UsageError(
            f"{folder} holds no features ({type(exc).__name__}: {exc})",
            remedy="make them: stprompt-edge extract DATASET",
        ) from exc
    return entries
