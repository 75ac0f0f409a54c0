"""`stprompt-edge extract`: a data set -> feature files and their index. Resumable, over several processes."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stprompt_edge.bundle import load_bundle
from stprompt_edge.errors import SourceError, UsageError
from stprompt_edge.files import disk_errors, write_text_atomic
from stprompt_edge.runtime.backends.base import Backend
from stprompt_edge.runtime.backends.onnx import OnnxBackend
from stprompt_edge.training.batches import FeatureVideo
from stprompt_edge.training.datasets import Dataset, LabelledVideo
from stprompt_edge.training.features import FeatureOrigin, extract_video, load_features, save_features
from stprompt_edge.vocabulary import Vocabulary

INDEX_NAME = "index.json"
SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class ExtractionSettings:
    """How to extract."""

    bundle: Path
    stride: int
    keep_windows: bool = False
    processes: int = 1
    precision: str | None = None  # None for the fastest that the bundle holds


@dataclass(frozen=True, kw_only=True)
class Extraction:
    """What an extraction did."""

    written: int
    skipped: int  # there already, of the same origin
    unreadable: tuple[tuple[str, str], ...]  # name and reason; left out of the index


def extract_dataset(
    dataset: Dataset,
    out: Path,
    settings: ExtractionSettings,
    progress: Callable[[str, int, int], None] = lambda name, done, total: None,
) -> Extraction:
    """Extract every video that is not there yet, and write the index.

    Args:
        dataset: videos and labels.
        out: folder to make or continue.
        settings: encoder, stride and processes.
        progress: told the video just finished, how many are done, and of how many.

    Raises:
        UsageError: if `out` cannot be written, or every video is unreadable.
        EnvironmentFailure: disk full; what was written stays and a later run goes on there.
    """
    with disk_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    origin = FeatureOrigin.of(load_bundle(settings.bundle), settings.stride)
    missing = [
        video for video in dataset.videos if not _is_done(feature_path(out, video), origin, settings.keep_windows)
    ]
    skipped = len(dataset.videos) - len(missing)
    unreadable = {}
    for done, (video, reason) in enumerate(_extract_all(missing, out, settings), 1):
        if reason:
            unreadable[video.name] = reason
        progress(video.name, skipped + done, len(dataset.videos))
    if dataset.videos and len(unreadable) == len(dataset.videos):
        name, reason = next(iter(unreadable.items()))
        raise UsageError(
            f"no video of {dataset.name} can be read; the first, {name}: {reason}", remedy="check its paths"
        )
    readable = [video for video in dataset.videos if video.name not in unreadable]
    _write_index(out, dataset, readable)
    return Extraction(written=len(missing) - len(unreadable), skipped=skipped, unreadable=tuple(unreadable.items()))


def feature_path(out: Path, video: LabelledVideo) -> Path:
    """Where a video's features are: its name without the suffix, folders kept."""
    return out / Path(video.name).with_suffix(".safetensors")


def load_training_videos(
    folder: Path, vocabulary: Vocabulary, split: str = "train"
) -> tuple[list[FeatureVideo], float]:
    """The feature videos of a split, their labels as rows of the vocabulary, and the seconds between samples.

    Raises:
        UsageError: no index, a label outside the vocabulary, or features of different origin.
    """
    videos, origins, spacings = [], set(), []
    for entry in _read_index(folder):
        if entry["split"] != split:
            continue
        features = load_features(folder / entry["file"])
        origins.add(features.origin)
        spacings.append(features.seconds_between_samples)
        videos.append(
            FeatureVideo(
                name=entry["name"],
                label=vocabulary.row_of_label(entry["label"]),
                x_clip=features.x_clip,
                x_as=features.x_as,
            )
        )
    if len(origins) != 1:
        what = "no video of this split" if not origins else f"features of {len(origins)} different encoders or strides"
        raise UsageError(f"{folder}: {what}", remedy="extract the whole data set into one new folder")
    return videos, sorted(spacings)[len(spacings) // 2]


def load_origin(folder: Path) -> FeatureOrigin:
    """What made the features in a folder. Raises UsageError as `load_training_videos`."""
    return load_features(folder / _read_index(folder)[0]["file"]).origin


def _extract_all(
    videos: list[LabelledVideo], out: Path, settings: ExtractionSettings
) -> Iterator[tuple[LabelledVideo, str | None]]:
    """Each video with the reason why it could not be read, or None, in the order of completion."""
    if settings.processes == 1:
        _open_worker(settings, None)
        yield from ((video, _extract_one(video, out, settings)) for video in videos)
        return
    context = multiprocessing.get_context("spawn")  # ONNX Runtime's threads do not survive a fork
    with ProcessPoolExecutor(settings.processes, context, _open_worker, (settings, 1)) as pool:
        futures = {pool.submit(_extract_one, video, out, settings): video for video in videos}
        for future in as_completed(futures):
            yield futures[future], future.result()


_worker: dict[str, Any] = {}  # the open bundle of this process


def _open_worker(settings: ExtractionSettings, threads: int | None) -> None:
    bundle = load_bundle(settings.bundle)
    backend: Backend = OnnxBackend(bundle, precision=settings.precision, threads=threads)
    _worker.update(bundle=bundle, backend=backend)


def _extract_one(video: LabelledVideo, out: Path, settings: ExtractionSettings) -> str | None:
    path = feature_path(out, video)
    try:
        features = extract_video(
            video.path,
            _worker["bundle"],
            _worker["backend"],
            stride=settings.stride,
            keep_windows=settings.keep_windows,
        )
    except SourceError as exc:
        return exc.what
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    save_features(path, features)
    return None


def _is_done(path: Path, origin: FeatureOrigin, keep_windows: bool) -> bool:
    if not path.exists():
        return False
    try:
        features = load_features(path)
    except UsageError:  # half a file of a killed machine: extracted again
        return False
    return features.origin == origin and (features.windows is not None or not keep_windows)


def _write_index(out: Path, dataset: Dataset, videos: list[LabelledVideo]) -> None:
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
    write_text_atomic(out / INDEX_NAME, json.dumps(index, indent=1) + "\n")


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
