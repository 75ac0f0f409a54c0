"""UBnormal (Acsintoae et al. 2022), as its authors publish it.

    ROOT/[scripts/]{normal,abnormal}_{training,validation,test}_video_names.txt    abnormal_scene_1_scenario_2
    ROOT/**/abnormal_scene_1_scenario_2.mp4                                        usually in Scene1/
    ROOT/**/abnormal_scene_1_scenario_2_annotations/
        abnormal_scene_1_scenario_2_tracks.txt      object id, first frame, last frame; from 0, last included
        abnormal_scene_1_scenario_2_0007_gt.png     pixels with the object's id

`*_new_tracks.txt` goes before `*_tracks.txt`, as in the authors' scripts. Weak supervision takes the video-level label
of the training list; frame ranges and masks are read for test videos. The validation list is left out. What happens
in a video is not in the lists: the label is `abnormal`, unless `ROOT/classes.csv` (video,label) says more. Videos that
are not there are listed in `missing_videos`.
"""

from __future__ import annotations

from pathlib import Path

from stprompt_edge.datasets.classes import ClassList
from stprompt_edge.datasets.reading import (
    Labels,
    Unique,
    check_found,
    index_videos,
    merge_ranges,
    read_lines,
)
from stprompt_edge.datasets.records import Dataset, LabelledVideo
from stprompt_edge.datasets.terms import TEST, TRAIN
from stprompt_edge.datasets.tracks import read_tracks, tracks_file
from stprompt_edge.errors import UsageError
from stprompt_edge.listing import data_files
from stprompt_edge.vocabulary import Vocabulary

LIST_PARTS = {TRAIN: "training", TEST: "test"}
KINDS = ("normal", "abnormal")


def load_ubnormal(root: Path, vocabulary: Vocabulary | None = None) -> Dataset:
    """Reads the training and test lists, and the tracks of abnormal test videos.

    Raises:
        UsageError: a list is missing or a name does not fit it, a video is listed twice, an abnormal test video has no
            tracks or tracks that cannot be, none of the videos is there.
    """
    classes = ClassList(root, Labels(vocabulary))
    files, unique = index_videos(root), Unique()
    videos, missing = [], []
    for split, part in LIST_PARTS.items():
        for kind in KINDS:
            for line in read_lines(list_file(root, kind, part)):
                name = line.text.removesuffix(".mp4")
                if not name.startswith(f"{kind}_"):
                    what = f"{line}: '{name[:60]}' in the list of {kind} videos"
                    raise UsageError(what, remedy=f"names there begin with {kind}_")
                unique.add(name, line)
                label = classes.label(name, kind == "abnormal", line)
                if name in files:
                    videos.append(_video(files[name], label, split, kind))
                else:
                    missing.append(name)
    check_found(root, videos, missing)
    return Dataset(
        name="ubnormal",
        root=root,
        videos=tuple(videos),
        class_names=classes.labels.class_names,
        missing_videos=tuple(missing),
    )


def list_file(root: Path, kind: str, part: str) -> Path:
    """Where the list of `normal` or `abnormal` videos of a part lies: in ROOT, or in ROOT/scripts."""
    name = f"{kind}_{part}_video_names.txt"
    return root / name if (root / name).is_file() else root / "scripts" / name


def _video(path: Path, label: str, split: str, kind: str) -> LabelledVideo:
    if split == TRAIN:
        return LabelledVideo(path=path, name=path.stem, label=label, split=split)
    if kind == "normal":
        return LabelledVideo(path=path, name=path.stem, label=label, split=split, frame_ranges=())
    folder = path.with_name(f"{path.stem}_annotations")
    ranges = merge_ranges((track.first, track.last) for track in read_tracks(tracks_file(folder)))
    has_masks = any(file.name.endswith("_gt.png") for file in data_files(folder))
    return LabelledVideo(
        path=path,
        name=path.stem,
        label=label,
        split=split,
        frame_ranges=ranges,
        masks=folder if has_masks else None,
    )
