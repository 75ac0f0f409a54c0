"""ShanghaiTech Campus in the weakly supervised split of Zhong et al. 2019 (GCN label noise cleaner, CVPR).

Assumed of the published files:

    ROOT/SH_Train.txt, SH_Test.txt    01_0014,1     name and 0 (normal) or 1 (abnormal); a space works like the comma
    ROOT/**/test_frame_mask/*.npy     [T] of 0 and 1 per video of the original test set, as the data set has it
    ROOT/**/01_0014.avi               a video file (any suffix), or a folder `01_0014` of pictures

Names with three digits after the underscore come from the original training set and are normal throughout, so they
need no mask. What happens in a video is not in the lists: the label is `abnormal`, unless `ROOT/classes.csv`
(video,label) says more. Videos that are not there are listed in `missing_videos`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from stprompt_edge.datasets.classes import ClassList
from stprompt_edge.datasets.masks import load_npy
from stprompt_edge.datasets.reading import (
    Labels,
    Line,
    Unique,
    check_found,
    index_videos,
    ranges_of_frames,
    read_lines,
    walk,
)
from stprompt_edge.datasets.records import Dataset, LabelledVideo
from stprompt_edge.datasets.terms import TEST, TRAIN, FrameRange
from stprompt_edge.errors import UsageError
from stprompt_edge.vocabulary import NORMAL_CLASS, Vocabulary

LISTS = {TRAIN: "SH_Train.txt", TEST: "SH_Test.txt"}
MASK_FOLDER = "test_frame_mask"


def load_shanghaitech(root: Path, vocabulary: Vocabulary | None = None) -> Dataset:
    """Reads both lists, and the frame masks of test videos.

    Raises:
        UsageError: a list is missing or a line does not fit, a video is listed twice, an abnormal test video has no
            mask or one that contradicts its label, none of the videos is there.
    """
    classes = ClassList(root, Labels(vocabulary))
    files = index_videos(root)
    masks = {
        Path(file).stem: parent / file
        for parent, files in walk(root)
        if parent.name == MASK_FOLDER
        for file in files
        if file.endswith(".npy")
    }
    unique = Unique()
    videos, missing = [], []
    for split, list_name in LISTS.items():
        for line in read_lines(root / list_name):
            name, abnormal = _parse(line)
            unique.add(name, line)
            label = classes.label(name, abnormal, line)
            if name not in files:
                missing.append(name)
                continue
            ranges = _ranges(line, name, label, masks.get(name)) if split == TEST else None
            videos.append(LabelledVideo(path=files[name], name=name, label=label, split=split, frame_ranges=ranges))
    check_found(root, videos, missing)
    return Dataset(
        name="shanghaitech",
        root=root,
        videos=tuple(videos),
        class_names=classes.labels.class_names,
        missing_videos=tuple(missing),
    )


def _parse(line: Line) -> tuple[str, bool]:
    fields = line.text.replace(",", " ").split()
    if len(fields) != 2 or fields[1] not in ("0", "1"):
        what = f"{line}: '{line.text[:60]}', expected NAME,0 or NAME,1"
        raise UsageError(what, remedy="write the name of the video, a comma, and 0 for normal or 1 for abnormal")
    return fields[0], fields[1] == "1"


def _ranges(line: Line, name: str, label: str, mask: Path | None) -> tuple[FrameRange, ...]:
    if mask is None:
        if label == NORMAL_CLASS:
            return ()
        remedy = f"copy the data set's {MASK_FOLDER} into that folder"
        raise UsageError(f"{line}: abnormal test video '{name}' has no {MASK_FOLDER}/{name}.npy", remedy=remedy)
    frames = load_npy(mask)
    if frames.ndim != 1 or not len(frames) or not np.isin(frames, (0, 1)).all():
        what = f"{mask} has shape {frames.shape} or other values than 0 and 1, expected [T] of 0 and 1"
        raise UsageError(what, remedy="download the frame masks of the data set again")
    if frames.any() == (label == NORMAL_CLASS):
        what = f"{line}: label of '{name}' is {label}, yet {int(frames.sum())} frames in {mask.name} are abnormal"
        raise UsageError(what, remedy="correct the label in the list, or the mask")
    return ranges_of_frames(frames.astype(bool))
