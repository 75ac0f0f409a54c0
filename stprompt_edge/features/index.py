"""What `extract` leaves in a folder, as training reads it: the index, and its videos' features in memory.

Suffixes: T sampled frames, S segments of a video, N fine windows (49), D width of the embedding.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stprompt_edge.datasets import row_of_label
from stprompt_edge.errors import UsageError
from stprompt_edge.features.files import extract_again, load_features, load_segments, read_header
from stprompt_edge.features.records import FeatureOrigin
from stprompt_edge.vocabulary import Vocabulary

INDEX_NAME = "index.json"


@dataclass(frozen=True, kw_only=True)
class FeatureVideo:
    """One video as training sees it.

    Raises:
        UsageError: if the arrays are empty, of shapes that do not fit each other, or not finite.
    """

    name: str
    label: int  # row in the vocabulary's class names; 0 is `normal`
    x_clip: NDArray[np.float32]  # [T, D]
    x_as: NDArray[np.float32]  # [T, D]
    segments: NDArray[np.float16] | None = None  # [S, N, D], see `segments.py`; only the ranking method needs them
    file: Path | None = None  # where they come from, for the remedy

    def __post_init__(self) -> None:
        problem = None
        arrays: list[NDArray[Any]] = [self.x_clip, self.x_as, *([] if self.segments is None else [self.segments])]
        if self.x_clip.ndim != 2 or 0 in self.x_clip.shape or self.x_clip.shape != self.x_as.shape:
            problem = f"shapes {self.x_clip.shape} and {self.x_as.shape}, expected two equal [T, D]"
        elif self.segments is not None and not self._segments_fit(self.segments.shape):
            problem = f"segments of shape {self.segments.shape}, expected [S, N, {self.x_clip.shape[1]}]"
        elif not all(np.isfinite(array).all() for array in arrays):
            problem = "values that are not finite"
        if problem:
            remedy = "remove their file, then extract again" if self.file is None else extract_again(self.file)
            raise UsageError(f"features of {self.name} have {problem}", remedy=remedy)

    def _segments_fit(self, shape: tuple[int, ...]) -> bool:
        return len(shape) == 3 and 0 not in shape and shape[2] == self.x_clip.shape[1]


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
        UsageError: no index, a label outside the vocabulary, features of different origin, or some that are no good.
    """
    entries = _entries(folder, split)
    labels = [row_of_label(vocabulary, entry["label"]) for entry in entries]  # a wrong one is known before all is read
    load_origin(folder, split)
    videos, spacings = [], []
    for entry, label in zip(entries, labels, strict=True):
        path = folder / entry["file"]
        features = load_features(path, windows=False)
        spacings.append(features.seconds_between_samples)
        videos.append(
            FeatureVideo(
                name=entry["name"],
                label=label,
                x_clip=features.x_clip,
                x_as=features.x_as,
                segments=load_segments(path, segments) if segments else None,
                file=path,
            )
        )
    known = sorted(spacing for spacing in spacings if spacing > 0)
    return videos, known[len(known) // 2] if known else 0.0


def feature_files(folder: Path) -> list[Path]:
    """What `extract` wrote into a folder, and trains from. Raises UsageError where there is no index."""
    return [folder / entry["file"] for entry in _read_index(folder)]


def load_origin(folder: Path, split: str = "train") -> FeatureOrigin:
    """What made the features of a split, from the headers of their files.

    Raises:
        UsageError: no index, no video of the split, or features of different origin.
    """
    first, header = "", None
    for entry in _entries(folder, split):
        path = folder / entry["file"]
        found = read_header(path)
        if header is None:
            first, header = entry["file"], found
        elif found.origin != header.origin:
            mine, theirs = asdict(header.origin), asdict(found.origin)
            key = next(key for key in mine if getattr(found.origin, key) != getattr(header.origin, key))
            raise UsageError(
                f"{folder}: features of different origin: {key} of {first} is {mine[key]}, "
                f"of {entry['file']} {theirs[key]}",
                remedy="extract the whole data set into one new folder, with one bundle, --stride and --precision",
            )
        elif (found.width, found.fine_count) != (header.width, header.fine_count):
            what = f"{path} has embeddings of width {found.width} and motion of {found.fine_count} windows"
            what += f", {first} has {header.width} and {header.fine_count}"
            raise UsageError(what, remedy=extract_again(path))
    if header is None:
        raise UsageError(f"{folder}: no video of the split {split}", remedy="extract a data set that has some")
    return header.origin


def _entries(folder: Path, split: str) -> list[dict[str, str]]:
    return [entry for entry in _read_index(folder) if entry["split"] == split]


def _read_index(folder: Path) -> list[dict[str, str]]:
    path = folder / INDEX_NAME
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))["videos"]
        first = entries[0]
        _ = first["name"], first["label"], first["split"], first["file"]
    except (OSError, ValueError, KeyError, IndexError, TypeError) as exc:
        raise UsageError(
            f"{folder} holds no features ({type(exc).__name__}: {exc})",
            remedy="make them, or let the extraction that makes them end: stprompt-edge extract DATASET",
        ) from exc
    return entries
