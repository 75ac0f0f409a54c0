"""A folder of class folders: `ROOT/train/<class>/*.mp4` and `ROOT/test/<class>/*.mp4`, or `ROOT/<class>/*.mp4`.

The folder `normal` (in any case) holds the normal videos; every other folder is a class of its name. Without `train`
and `test` all videos are for training. Videos may lie deeper inside a class folder. Nothing is known of frames.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from stprompt_edge.errors import UsageError, nearest
from stprompt_edge.training.datasets.reading import Labels, is_video, sorted_entries
from stprompt_edge.training.datasets.records import SPLITS, TRAIN, Dataset, LabelledVideo
from stprompt_edge.vocabulary import Vocabulary


def load_folders(root: Path, vocabulary: Vocabulary | None = None) -> Dataset:
    """Reads the folder.

    Raises:
        UsageError: a folder that cannot be read or holds no video, a video outside class folders, a folder beside
            `train` and `test` that is neither, a label that the vocabulary does not have.
    """
    labels = Labels(vocabulary)
    videos = []
    for split, split_root in _split_roots(root):
        for folder in _class_folders(split_root):
            label = labels.label(folder.name, folder)
            paths = sorted(path for path in folder.rglob("*") if is_video(path) and path.is_file())
            if not paths:
                remedy = "put videos into it (.mp4, .avi, .mkv, ...), or remove it"
                raise UsageError(f"class folder {folder} holds no video", remedy=remedy)
            names = [path.relative_to(root).as_posix() for path in paths]
            videos += [
                LabelledVideo(path=path, name=name, label=label, split=split)
                for path, name in zip(paths, names, strict=True)
            ]
    return Dataset(name=root.resolve().name, root=root, videos=tuple(videos), class_names=labels.class_names)


def _split_roots(root: Path) -> Iterator[tuple[str, Path]]:
    folders = [entry for entry in sorted_entries(root) if entry.is_dir()]
    if not any(folder.name in SPLITS for folder in folders):
        yield TRAIN, root
        return
    for folder in folders:
        if folder.name not in SPLITS:
            what = f"{folder} lies beside train or test and is neither"
            raise UsageError(what, remedy=f"move or remove it; {nearest(folder.name, SPLITS)}")
        yield folder.name, folder


def _class_folders(split_root: Path) -> list[Path]:
    entries = sorted_entries(split_root)
    for entry in entries:
        if is_video(entry) and entry.is_file():
            remedy = "move it into a folder that is named after its class, or into `normal`"
            raise UsageError(f"video {entry} lies in no class folder", remedy=remedy)
    folders = [entry for entry in entries if entry.is_dir()]
    if not folders:
        remedy = "make one folder per class and one named `normal`, with videos in them"
        raise UsageError(f"{split_root} has no class folders", remedy=remedy)
    return folders
