"""From a path to a data set: which format it is, and what training and testing need of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from stprompt_edge.datasets.clip_features import is_feature_list
from stprompt_edge.datasets.csv_list import LIST_NAMES, load_csv
from stprompt_edge.datasets.folders import load_folders
from stprompt_edge.datasets.ped2 import load_ped2, load_ped2_weak
from stprompt_edge.datasets.records import Dataset
from stprompt_edge.datasets.shanghaitech import LISTS as SHANGHAITECH_LISTS
from stprompt_edge.datasets.shanghaitech import load_shanghaitech
from stprompt_edge.datasets.terms import TRAIN
from stprompt_edge.datasets.ubnormal import list_file, load_ubnormal
from stprompt_edge.datasets.ucf_crime import LISTS as UCF_CRIME_LISTS
from stprompt_edge.datasets.ucf_crime import load_ucf_crime
from stprompt_edge.errors import UsageError, nearest
from stprompt_edge.vocabulary import Vocabulary

AUTO = "auto"
FORMATS: dict[str, Callable[[Path, Vocabulary | None], Dataset]] = {
    "folders": load_folders,
    "csv": load_csv,
    "ucf-crime": load_ucf_crime,
    "ped2": load_ped2,
    "ped2-weak": load_ped2_weak,
    "shanghaitech": load_shanghaitech,
    "ubnormal": load_ubnormal,
}


def load_dataset(path: str | Path, format: str = AUTO, *, vocabulary: Vocabulary | None = None) -> Dataset:
    """Reads and checks the lists and annotations of a data set; videos are not opened.

    Args:
        path: its folder, or a CSV `video,label,split`.
        format: a name in `FORMATS`, or `auto` to tell by the files that are there.
        vocabulary: labels must be its own and become its class names, in its order; None takes the labels as written.

    Returns:
        Its videos. Those of a list whose files are not there are in `missing_videos`: tell the user.

    Raises:
        UsageError: unknown format, or anything in the files that does not fit, with file, line and remedy.
    """
    path = Path(path)
    if not os.path.exists(path):  # also False where the path is no path at all, as with a NUL in it
        raise UsageError(f"data set {path} does not exist", remedy="give its folder, or a CSV video,label,split")
    if format != AUTO and format not in FORMATS:
        raise UsageError(f"unknown data set format '{format}'", remedy=nearest(format, (AUTO, *FORMATS)))
    return FORMATS[detect_format(path) if format == AUTO else format](path, vocabulary)


def detect_format(path: Path) -> str:
    """The name in `FORMATS` that a path's files speak for.

    Raises:
        UsageError: a file that is no CSV, or the lists of precomputed features.
    """
    if not path.is_dir():
        if path.suffix.lower() != ".csv":
            raise UsageError(f"{path} is no CSV and no folder", remedy="give the folder of the data set")
        if is_feature_list(path):
            remedy = "`stprompt-edge extract LIST --out FEATURES` converts them for `train`; all else needs the videos"
            raise UsageError(f"{path} is a list of features (path,label)", remedy=remedy)
        return "csv"
    if any((path / name).is_file() for name in UCF_CRIME_LISTS.values()):
        return "ucf-crime"
    if any((path / name).is_file() for name in SHANGHAITECH_LISTS.values()):
        return "shanghaitech"
    if list_file(path, "abnormal", "training").is_file():
        return "ubnormal"
    if any((path / name).is_file() for name in LIST_NAMES):
        return "csv"
    if all((path / name).is_dir() for name in ("train", "test", "masks")):
        return "ped2"
    return "folders"


def check_trainable(dataset: Dataset) -> None:
    """Training needs normal and abnormal videos in its split.

    Raises:
        UsageError: one of the two kinds is missing, with how many there are of the other.
    """
    videos = dataset.of_split(TRAIN)
    normal = sum(video.is_normal for video in videos)
    abnormal = len(videos) - normal
    if normal and abnormal:
        return
    what = f"data set '{dataset.name}' has {normal} normal and {abnormal} abnormal videos in train, training needs both"
    lost = f"; {len(dataset.missing_videos)} listed videos are not there" if dataset.missing_videos else ""
    remedy = "add videos of the missing kind with split `train`"
    if dataset.name == "ped2":
        remedy = "Ped2's own split trains on normal videos alone; its weakly supervised split is --format ped2-weak"
    raise UsageError(what + lost, remedy=remedy)
