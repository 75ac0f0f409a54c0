"""CLIP features of UCF-Crime as the authors of VadCLIP publish them (Wu et al., AAAI 2024).

    ucf_CLIP_rgb.csv, ucf_CLIP_rgbtest.csv        path,label      /home/.../Abuse/Abuse001_x264__5.npy,Abuse
    UCFClipFeatures/Abuse/Abuse001_x264__5.npy    [T, 512], one row per 16 camera frames, crop 5 of ten (__0 .. __9)

Crop 0 is the centre of the frame, 1 to 4 its corners, 5 to 9 the same mirrored. The training list has all ten, the test
list crop 5 only. One crop of each video is taken: ten as videos of their own would put the same seconds into training
and into validation, which then says nothing.

The paths are those of the authors' machine. A file that is not at its path is looked for by its last two parts,
CLASS/NAME__N.npy, under the folder of the list.
"""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from stprompt_edge.datasets.feature_checks import check_values
from stprompt_edge.datasets.masks import load_npy
from stprompt_edge.datasets.reading import Labels, Line, Unique, check_found, read_table, read_text, walk
from stprompt_edge.datasets.records import Dataset, LabelledVideo
from stprompt_edge.datasets.terms import TEST, TRAIN
from stprompt_edge.errors import UsageError
from stprompt_edge.listing import data_files
from stprompt_edge.vocabulary import Vocabulary

CLIP_FEATURES = "clip-features"  # the format's name; it has no videos, so only `extract` reads it
CROPS_TAKEN = (5, 0)  # the first that is there: what the authors test with, else its mirror image
STRIDE = 16  # camera frames per row
WIDTH = 512  # of OpenAI's ViT-B/16
COLUMNS = ("path", "label")
_FILE = re.compile(r"(?P<video>.+)__(?P<crop>\d)\.npy")


def is_feature_list(path: Path) -> bool:
    """A CSV whose first column is `path`. Raises UsageError as `read_text`."""
    if path.suffix.lower() != ".csv" or not path.is_file():
        return False
    return read_text(path, names=True).lstrip().partition("\n")[0].split(",")[0].strip().casefold() == COLUMNS[0]


def load_clip_features(path: Path, vocabulary: Vocabulary | None = None) -> Dataset:
    """Reads the lists; a "video" is named CLASS/NAME.npy, and its path is the file of the crop that is taken.

    Args:
        path: the training list (the test list is found beside it, `NAMEtest.csv`), the test list alone, or the folder
            of both.
        vocabulary: as in `load_dataset`.

    Raises:
        UsageError: as `read_table`; a file name that is not NAME__N.npy, a crop listed twice, crops of one video with
            different labels or splits, none of the files there.
    """
    lists = _lists(path)
    root = next(iter(lists.values())).parent
    below = {f"{parent.name}/{name}": parent / name for parent, names in walk(root) for name in names}
    labels, unique = Labels(vocabulary), Unique()
    known: dict[str, tuple[str, str]] = {}  # label and split of each video
    crops: dict[str, dict[int, Path]] = defaultdict(dict)
    for split, list_path in lists.items():
        for row in read_table(list_path, COLUMNS):
            name, crop, file_name = _parse(row)
            unique.add(file_name, row)
            label = labels.label(row["label"], row)
            before = known.setdefault(name, (label, split))
            if before != (label, split):
                what = f"{row}: '{name}' is {label} in {split}, another crop of it is {' in '.join(before)}"
                raise UsageError(what, remedy="all crops of a video belong together")
            file = root / row["path"]
            crops[name][crop] = file if file.is_file() else below.get(file_name, file)
    videos, missing = [], []
    for name, (label, split) in known.items():
        wanted = (crops[name][crop] for crop in CROPS_TAKEN if crop in crops[name])
        taken = next((file for file in wanted if file.is_file()), None)
        if taken is None:
            missing.append(name)
        else:
            videos.append(LabelledVideo(path=taken, name=name, label=label, split=split))
    check_found(root, videos, missing)
    names, lost = labels.class_names, tuple(missing)
    return Dataset(name=CLIP_FEATURES, root=root, videos=tuple(videos), class_names=names, missing_videos=lost)


def read_rows(path: Path) -> NDArray[np.float32]:
    """The features of one crop, [T, 512] float32, owned by the caller.

    Raises:
        UsageError: a file that cannot be read, has another shape, or values that are not finite.
    """
    features = load_npy(path)
    if features.ndim != 2 or not len(features) or features.shape[1] != WIDTH:
        what = f"{path} has shape {list(features.shape)}, expected [T, {WIDTH}]: frames of ViT-B/16, one crop alone"
        raise UsageError(what, remedy="use the files as they are published, or download this one again")
    check_values(path, {"the array": features}, remedy="download this file again")
    with np.errstate(over="ignore"):
        rows = features.astype(np.float32)
    check_values(path, {"the array as float32": rows}, remedy="download this file again")
    return rows


def _lists(path: Path) -> dict[str, Path]:
    """Split -> its list."""
    if path.is_dir():
        found = [file for file in data_files(path) if file.suffix == ".csv" and not file.stem.endswith("test")]
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
    """CLASS/NAME.npy, the crop, and CLASS/NAME__N.npy."""
    parts = PurePosixPath(row["path"]).parts
    match = _FILE.fullmatch(parts[-1]) if len(parts) >= 2 else None
    if match is None:
        what = f"{row}: path is '{row['path'][-60:]}', expected .../CLASS/NAME__N.npy with crop N from 0 to 9"
        raise UsageError(what, remedy="use the lists as they are published")
    return f"{parts[-2]}/{match['video']}.npy", int(match["crop"]), f"{parts[-2]}/{parts[-1]}"
