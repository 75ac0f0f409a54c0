"""CLIP features of UCF-Crime as the authors of VadCLIP publish them (Wu et al., AAAI 2024).

    ucf_CLIP_rgb.csv, ucf_CLIP_rgbtest.csv        path,label      /home/.../Abuse/Abuse001_x264__5.npy,Abuse
    UCFClipFeatures/Abuse/Abuse001_x264__5.npy    [T, 512], one row per 16 camera frames, crop 5 of ten (__0 .. __9)

The training list has ten crops of every video, which belong together here; the test list has crop 5 only. The paths
are those of the authors' machine, so files are looked for by their last two parts, CLASS/NAME__N.npy, under the folder
of the features. A temporal annotation of UCF-Crime beside the lists gives the test videos their frame ranges.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from stprompt_edge.errors import UsageError
from stprompt_edge.training.datasets.masks import load_npy
from stprompt_edge.training.datasets.reading import Labels, Line, Unique, check_found, read_table, walk
from stprompt_edge.training.datasets.records import TEST, TRAIN, FrameRange, check_videos
from stprompt_edge.training.datasets.ucf_crime import read_temporal, temporal_file
from stprompt_edge.vocabulary import NORMAL_CLASS, Vocabulary

CROPS = 10
CENTRE_CROP = 5  # the one that the authors test with
STRIDE = 16  # camera frames per row
COLUMNS = ("path", "label")
_FILE = re.compile(r"(?P<video>.+)__(?P<crop>\d)\.npy")


@dataclass(frozen=True, kw_only=True)
class CropFeatures:
    """One video whose features are on disk, crop by crop."""

    name: str  # CLASS/NAME
    label: str
    split: str
    crops: Mapping[int, Path]  # crop number 0..9 -> file
    frame_ranges: tuple[FrameRange, ...] | None = None  # as in `LabelledVideo`

    @property
    def is_normal(self) -> bool:
        """No frame of it is abnormal."""
        return self.label == NORMAL_CLASS

    def load(self, crop: int = CENTRE_CROP) -> NDArray[np.float32]:
        """[T, D] float32, owned by the caller.

        Raises:
            UsageError: no such crop, a file that cannot be read, is not [T, D], or has values that are not finite.
        """
        if crop not in self.crops:
            have = ", ".join(map(str, sorted(self.crops)))
            raise UsageError(f"'{self.name}' has no crop {crop}", remedy=f"it has {have}")
        features = load_npy(self.crops[crop])
        if features.ndim != 2 or 0 in features.shape or not np.isfinite(features).all():
            what = f"{self.crops[crop]}: shape {features.shape} or values that are not finite, expected finite [T, D]"
            raise UsageError(what, remedy="download this file again")
        return features.astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class FeatureDataset:
    """Videos of which only features are there; `load_clip_features` makes it. Raises UsageError as `Dataset`."""

    name: str
    root: Path
    videos: tuple[CropFeatures, ...]
    class_names: tuple[str, ...]  # [1+C], `normal` first
    missing_videos: tuple[str, ...] = ()  # files of the lists that are not there, CLASS/NAME__N.npy

    def __post_init__(self) -> None:
        check_videos(self.name, [(video.name, video.label) for video in self.videos], self.class_names)

    def of_split(self, split: str) -> tuple[CropFeatures, ...]:
        """The videos of `train` or `test`, in order."""
        return tuple(video for video in self.videos if video.split == split)


@dataclass
class _Group:
    """The crops of one video while they are collected."""

    label: str
    split: str
    crops: dict[int, Path]


def load_clip_features(
    path: Path, features: Path | None = None, vocabulary: Vocabulary | None = None
) -> FeatureDataset:
    """Reads the lists.

    Args:
        path: the training list (the test list is found beside it, `NAMEtest.csv`), the test list alone, or the folder
            of both.
        features: the folder of the features; None for the folder of the lists.
        vocabulary: as in `load_dataset`.

    Raises:
        UsageError: as `read_table`; a file name that is not NAME__N.npy, a crop listed twice, crops of one video with
            different labels or splits, none of the files there, a temporal annotation that does not fit.
    """
    lists = _lists(Path(path))
    root = Path(features) if features else next(iter(lists.values())).parent
    files = {f"{parent.name}/{file}": parent / file for parent, names in walk(root) for file in names}
    labels, unique = Labels(vocabulary), Unique()
    groups: dict[str, _Group] = {}
    missing: list[str] = []
    for split, list_path in lists.items():
        for row in read_table(list_path, COLUMNS):
            name, crop, file_name = _parse(row)
            unique.add(file_name, row)
            label = labels.label(row["label"], row)
            group = groups.setdefault(name, _Group(label, split, {}))
            if (group.label, group.split) != (label, split):
                what = f"{row}: '{name}' is {label} in {split}, another crop of it is {group.label} in {group.split}"
                raise UsageError(what, remedy="all crops of a video belong together")
            if file_name in files:
                group.crops[crop] = files[file_name]
            else:
                missing.append(file_name)
    videos = _videos(groups, next(iter(lists.values())).parent, labels)
    check_found(root, videos, missing)
    names, lost = labels.class_names, tuple(missing)
    return FeatureDataset(name="clip-features", root=root, videos=videos, class_names=names, missing_videos=lost)


def _lists(path: Path) -> dict[str, Path]:
    """Split -> its list."""
    if path.is_dir():
        found = [file for file in sorted(path.glob("*.csv")) if not file.stem.endswith("test")]
        found = [file for file in found if file.with_name(f"{file.stem}test.csv").is_file()]
        if len(found) != 1:
            what = f"{path} has {len(found)} pairs of lists NAME.csv and NAMEtest.csv"
            raise UsageError(what, remedy="give the path of the list, for example ucf_CLIP_rgb.csv")
        path = found[0]
    if path.stem.endswith("test"):
        return {TEST: path}
    test = path.with_name(f"{path.stem}test.csv")
    return {TRAIN: path, TEST: test} if test.is_file() else {TRAIN: path}


def _parse(row: Line) -> tuple[str, int, str]:
    """CLASS/NAME, the crop, and CLASS/NAME__N.npy."""
    parts = PurePosixPath(row["path"]).parts
    match = _FILE.fullmatch(parts[-1]) if len(parts) >= 2 else None
    if match is None:
        what = f"{row}: path is '{row['path'][-60:]}', expected .../CLASS/NAME__N.npy with crop N from 0 to {CROPS - 1}"
        raise UsageError(what, remedy="use the lists as they are published")
    return f"{parts[-2]}/{match['video']}", int(match["crop"]), f"{parts[-2]}/{parts[-1]}"


def _videos(groups: Mapping[str, _Group], folder: Path, labels: Labels) -> tuple[CropFeatures, ...]:
    tests = {PurePosixPath(name).name: group.label for name, group in groups.items() if group.split == TEST}
    temporal = temporal_file(folder)
    ranges = read_temporal(temporal, tests, labels) if temporal and tests else {}
    return tuple(
        CropFeatures(
            name=name,
            label=group.label,
            split=group.split,
            crops=group.crops,
            frame_ranges=ranges.get(PurePosixPath(name).name) if group.split == TEST else None,
        )
        for name, group in groups.items()
        if group.crops
    )
