"""A folder of class folders: `ROOT/train/<class>/*.mp4` and `ROOT/test/<class>/*.mp4`, or `ROOT/<class>/*.mp4`.

The folder `normal` (in any case) holds the normal videos; every other folder is a class of its name. Without `train`
and `test` all videos are for training. Videos may lie deeper inside a class folder. Nothing is known of frames.
A folder below a class folder that holds pictures, and no video files beside or below them, is one video too.
A folder without videos in which a command of ours wrote features, checkpoints or an evaluation is no class.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from stprompt_edge.datasets.reading import OUTPUT_NAME, Labels, is_picture, is_video, sorted_entries, walk
from stprompt_edge.datasets.records import Dataset, LabelledVideo
from stprompt_edge.datasets.terms import SPLITS, TRAIN
from stprompt_edge.errors import UsageError, nearest
from stprompt_edge.files import PARTIAL_SUFFIX
from stprompt_edge.vocabulary import Vocabulary

FEATURE_INDEX, FIGURES = "index.json", "metrics.json"  # of `extract`, and of `evaluate`, which draws beside it


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
            paths = _videos(folder)
            names = [path.relative_to(root).as_posix() for path in paths]
            videos += [
                LabelledVideo(path=path, name=name, label=label, split=split)
                for path, name in zip(paths, names, strict=True)
            ]
    return Dataset(name=root.resolve().name, root=root, videos=tuple(videos), class_names=labels.class_names)


def _videos(folder: Path) -> list[Path]:
    """Video files and folders of pictures, sorted. Raises UsageError if there are none, or one lies inside another."""
    below = {parent: [Path(file) for file in files] for parent, files in walk(folder)}
    files = [parent / file for parent, names in below.items() for file in names if is_video(file)]
    around = {parent for file in files for parent in file.parents}  # pictures there are previews
    sequences = [parent for parent, names in below.items() if parent not in around and _is_sequence(names)]
    _check_sequences(folder, sequences)
    if not files and not sequences:
        remedy = "put videos into it (.mp4, .avi, .mkv, ..., or one folder of pictures for each), or remove it"
        raise UsageError(f"class folder {folder} holds no video", remedy=remedy)
    return sorted((*files, *sequences))


def _is_sequence(files: list[Path]) -> bool:
    """Pictures that no command of ours drew."""
    return any(map(is_picture, files)) and not any(_has_charts(file.name) for file in files)


def _check_sequences(class_folder: Path, sequences: list[Path]) -> None:
    for sequence in sequences:
        if sequence == class_folder:
            what = f"class folder {class_folder} holds pictures, and a video is a folder of pictures below it"
            remedy = f"move those of each video into a folder of its own, as {class_folder}/video1"
            raise UsageError(what, remedy=remedy)
        inside = next((other for other in sequences if sequence in other.parents), None)
        if inside is not None:
            what = f"{sequence} holds pictures and {inside} too: which of the two is the video?"
            raise UsageError(what, remedy="move one of them out of the class folder")


def _folders(entries: list[Path]) -> list[Path]:
    """Those that are folders, without what a command of ours wrote beside the videos."""
    return [entry for entry in entries if entry.is_dir() and entry.name != OUTPUT_NAME and not _is_output(entry)]


def _is_output(folder: Path) -> bool:
    """Written by `extract` (perhaps interrupted), `train`, `export` or `evaluate`; never a folder that has a video."""
    below = [[Path(name) for name in files] for _, files in walk(folder)]
    if any(_is_sequence(files) or any(map(is_video, files)) for files in below):
        return False
    return any(file.name == FEATURE_INDEX or _has_charts(file.name) for files in below for file in files)


def _has_charts(name: str) -> bool:
    """Of a file that `evaluate`, `train` or `export` wrote, perhaps with pictures beside it; `extract` writes none."""
    return name.removesuffix(PARTIAL_SUFFIX) == FIGURES or name.removesuffix(PARTIAL_SUFFIX).endswith(".safetensors")


def _split_roots(root: Path) -> Iterator[tuple[str, Path]]:
    folders = _folders(sorted_entries(root))
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
    folders = _folders(entries)
    if not folders:
        remedy = "make one folder per class and one named `normal`, with videos in them"
        is_one = any(is_picture(entry) for entry in entries)
        what = "is a folder of pictures, one video" if is_one else "has no class folders"
        raise UsageError(f"{split_root} {what}", remedy=remedy)
    return folders
