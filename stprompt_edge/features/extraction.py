"""`stprompt-edge extract`: a data set -> feature files and their index. Resumable, over several processes."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from stprompt_edge.bundle import Bundle, load_bundle
from stprompt_edge.datasets import (
    ABNORMAL,
    ABNORMAL_REMEDY,
    AUTO,
    CLIP_FEATURES,
    TRAIN,
    Dataset,
    LabelledVideo,
    check_trainable,
    is_feature_list,
    load_clip_features,
    load_dataset,
    row_of_label,
)
from stprompt_edge.datasets.clip_features import WIDTH as PUBLISHED_WIDTH
from stprompt_edge.errors import UsageError
from stprompt_edge.features.backend import Engine, open_engine
from stprompt_edge.features.continuation import Wanted, feature_path, videos_to_extract
from stprompt_edge.features.disk_space import DiskNeed, disk_need
from stprompt_edge.features.files import save_features
from stprompt_edge.features.index import INDEX_NAME
from stprompt_edge.features.pool import Job, Outcome, extract_jobs
from stprompt_edge.features.published import check_settings, count_frames, published_origin, read_published
from stprompt_edge.features.records import FeatureOrigin
from stprompt_edge.features.settings import ExtractionSettings
from stprompt_edge.files import LOCK_NAME, disk_errors, longest_name, only_writer, write_text_atomic
from stprompt_edge.overwriting import Input, check_outputs, given_file
from stprompt_edge.progress import StepProgress
from stprompt_edge.runtime.sources import expected_frames
from stprompt_edge.vocabulary import Vocabulary

SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class Extraction:
    """What an extraction did."""

    written: int
    skipped: int  # there already, of the same origin
    unreadable: tuple[tuple[str, str], ...]  # name and reason; left out of the index
    warned: tuple[tuple[str, str], ...] = ()  # name and what its source said; extracted as far as it goes
    missing: tuple[str, ...] = ()  # names that the data set lists and does not have
    left: int = 0  # not done because it was stopped; then the index is not written


@dataclass(frozen=True, kw_only=True)
class Listener:
    """Who is told what happens."""

    say: Callable[[str], None] = lambda line: None  # a line for people: the disk need, then the backend
    warn: Callable[[str], None] = lambda line: None  # what `train` will not take, said before hours of extraction
    progress: StepProgress = lambda name, done: None


def extract_dataset(
    dataset: Dataset,
    out: Path,
    settings: ExtractionSettings,
    listener: Listener | None = None,
    *,
    bundle: Bundle | None = None,
    stop: threading.Event | None = None,
) -> Extraction:
    """Extract every video that is not there yet, and write the index.

    Args:
        dataset: videos and labels.
        out: folder to make or continue.
        settings: encoder, stride and processes.
        listener: told what is about to be done, and progress by sampled frames.
        bundle: that of the settings, where it is loaded already.
        stop: set it to end between two frames; the same call goes on where it stopped.

    Raises:
        UsageError: if `out` cannot be written, another run writes there, other settings made what is in it, two videos
            would share a feature file, a feature file's name is too long, or every video is unreadable.
        EnvironmentFailure: the disk is too small, or full; what was written stays and a later run goes on there.
        Also as `load_bundle` and `open_engine`.
    """
    listener, stop = listener or Listener(), stop or threading.Event()
    bundle = bundle or load_bundle(settings.bundle)
    _check_targets(dataset, out, [("bundle", settings.bundle), ("weights", given_file(settings.pretrained))])
    with only_writer(out):
        engine = open_engine(bundle, settings)
        with engine.backend:
            return _extract_missing(dataset, out, settings, bundle, engine, listener, stop)


def _extract_missing(
    dataset: Dataset,
    out: Path,
    settings: ExtractionSettings,
    bundle: Bundle,
    engine: Engine,
    listener: Listener,
    stop: threading.Event,
) -> Extraction:
    """All that is not there yet."""
    wanted = Wanted(origin=engine.origin, keep_windows=settings.keep_windows, fps=settings.fps)
    todo = videos_to_extract(dataset, out, wanted)
    outcomes = []
    if todo:
        jobs = [
            Job(name=video.name, video=video.path, target=feature_path(out, video), fps=video.fps_of(settings.fps))
            for video in todo
        ]
        frames = _count_frames(jobs, listener, stop)
        need = _need(
            frames, dataset, out, engine.origin, width=bundle.manifest.clip.embedding_width,
            fine_count=bundle.geometry.fine_count, keep_windows=settings.keep_windows,
        )  # fmt: skip
        listener.say(need.line)
        if not settings.force:
            need.check(out)
        listener.say(f"{engine.backend.description} ({engine.reason})")
        _remove_index(out)
        outcomes = _extract(jobs, need, bundle, settings, engine, listener, stop)
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
    """`extract_dataset`, or `convert_dataset` of published features, from what a user types.

    `out` may lie inside the data set, but not be its folder.

    Raises also as `load_bundle` and `load_dataset`, or `load_clip_features`.
    """
    check_outputs([("data set", dataset)], files=[out / INDEX_NAME, out / LOCK_NAME], folder=out)
    if dataset_format == CLIP_FEATURES or (dataset_format == AUTO and is_feature_list(dataset)):
        check_settings(settings)
        return convert_dataset(load_clip_features(dataset), out, listener, force=settings.force, stop=stop)
    bundle = load_bundle(settings.bundle)  # a wrong one is known before a large data set is listed
    _remove_if_empty_inside(dataset, out)
    loaded = load_dataset(dataset, dataset_format)
    for line in training_warnings(loaded, bundle.vocabulary):
        listener.warn(line)
    for line in _rate_warnings(loaded, settings.fps):
        listener.warn(line)
    return extract_dataset(loaded, out, settings, listener, bundle=bundle, stop=stop)


def convert_dataset(
    dataset: Dataset, out: Path, listener: Listener, *, force: bool = False, stop: threading.Event
) -> Extraction:
    """Feature files of published features, which `load_clip_features` lists; all else is as in `extract_dataset`."""
    _check_targets(dataset, out)
    with only_writer(out):
        return _convert_missing(dataset, out, listener, force, stop)


def _convert_missing(dataset: Dataset, out: Path, listener: Listener, force: bool, stop: threading.Event) -> Extraction:
    origin, outcomes = published_origin(), []
    todo = videos_to_extract(dataset, out, Wanted(origin=origin))
    if todo:
        frames = {video.name: count_frames(video.path) for video in todo}
        need = _need(frames, dataset, out, origin, width=PUBLISHED_WIDTH, fine_count=0, keep_windows=False)
        listener.say(f"{need.line}; embeddings of whole frames, without windows")
        if not force:
            need.check(out)
        _remove_index(out)
    for done, video in enumerate(todo):
        if stop.is_set():
            break
        listener.progress(video.name, done / len(todo))
        try:
            features = read_published(video.path)
        except UsageError as exc:
            outcomes.append(Outcome(name=video.name, unreadable=exc.what))
            continue
        target = feature_path(out, video)
        with disk_errors(target):
            target.parent.mkdir(parents=True, exist_ok=True)
        save_features(target, features)
        outcomes.append(Outcome(name=video.name))
    return _finish(dataset, out, outcomes, len(todo))


def _remove_index(out: Path) -> None:
    """It is of what was here before."""
    with disk_errors(out):
        (out / INDEX_NAME).unlink(missing_ok=True)


def _remove_if_empty_inside(dataset: Path, out: Path) -> None:
    """What an interrupted first video leaves of `out`: inside the data set it would be a class without videos."""
    with contextlib.suppress(OSError, ValueError):  # also: not empty, not there, no path at all
        if dataset.resolve() in out.resolve().parents:
            out.rmdir()


def training_warnings(dataset: Dataset, vocabulary: Vocabulary) -> list[str]:
    """Why `train` may refuse the features of a data set; none of it matters where they are only tested with.

    Args:
        dataset: about to be extracted.
        vocabulary: the bundle's; `train` may be given another.
    """
    lines = []
    try:
        check_trainable(dataset)
    except UsageError as exc:
        lines.append(f"{exc.what}; {exc.remedy}")
    unknown = []
    for label in sorted({video.label for video in dataset.of_split(TRAIN)}):
        try:
            row_of_label(vocabulary, label)
        except UsageError:
            unknown.append(label)
    suggested = ", ".join(map(vocabulary.with_suggestion, unknown))
    if unknown:
        remedy = ABNORMAL_REMEDY if unknown == [ABNORMAL] else "give `train` one that has"
        lines.append(f"the bundle's vocabulary '{vocabulary.name}' has no class {suggested}: {remedy}")
    return lines


def _rate_warnings(dataset: Dataset, fps: float | None) -> list[str]:
    folders = [video.name for video in dataset.videos if video.path.is_dir()]
    if fps is not None or not folders:
        return []
    lost = "how many seconds lie between samples will not be known"
    return [
        f"{len(folders)} videos are image folders, which have no rate, the first is {folders[0]}: give --fps; {lost}"
    ]


def _check_targets(dataset: Dataset, out: Path, inputs: Sequence[Input] = ()) -> None:
    """What can be refused before the first video is read."""
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
            raise UsageError(what, remedy="rename one of the two videos, or move it")
        owner[target] = video.name
    videos: list[Input] = [("video", video.path) for video in dataset.videos]
    check_outputs([*inputs, *videos], files=[*owner, out / INDEX_NAME, out / LOCK_NAME], folder=out)


def _count_frames(jobs: Sequence[Job], listener: Listener, stop: threading.Event) -> dict[str, int | None]:
    frames: dict[str, int | None] = {}
    for done, job in enumerate(jobs, 1):
        listener.progress(f"looking at video {done} of {len(jobs)}", 0.0)
        frames[job.name] = None if stop.is_set() else expected_frames(job.video)
    return frames


def _need(
    frames: dict[str, int | None],
    dataset: Dataset,
    out: Path,
    origin: FeatureOrigin,
    *,
    width: int,
    fine_count: int,
    keep_windows: bool,
) -> DiskNeed:
    readable = [video for video in dataset.videos if frames.get(video.name, 0) is not None]
    return disk_need(
        frames,
        out,
        width=width,
        fine_count=fine_count,
        origin=origin,
        keep_windows=keep_windows,
        index_bytes=len(_index(out, dataset, readable)),
    )


def _extract(
    jobs: Sequence[Job],
    need: DiskNeed,
    bundle: Bundle,
    settings: ExtractionSettings,
    engine: Engine,
    listener: Listener,
    stop: threading.Event,
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

    for outcome in extract_jobs(jobs, bundle, settings, engine, stop=stop, on_frame=on_frame):
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
        warned=tuple(sorted((outcome.name, "; ".join(outcome.warnings)) for outcome in outcomes if outcome.warnings)),
        missing=dataset.missing_videos,
        left=left,
    )


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
