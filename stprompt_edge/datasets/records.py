"""What every data set becomes: videos with a label, a split and, where someone annotated it, the truth per frame.

Frames are 0-based and ranges end exclusively, whatever the files say; boxes are (x0, y0, x1, y1) with x1 and y1
exclusive, in pixels of `boxes_size_wh`, which need not be the size of the video.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stprompt_edge.datasets.masks import load_masks
from stprompt_edge.datasets.terms import SPLITS, TEST, TRAIN, Box, FrameRange
from stprompt_edge.errors import UsageError
from stprompt_edge.vocabulary import NORMAL_CLASS


@dataclass(frozen=True, kw_only=True)
class LabelledVideo:
    """One video and what is known of it.

    Raises:
        UsageError: unknown split, ranges that are negative, reversed or overlap, a normal video with abnormal frames,
            boxes without the size that they refer to, or outside it.
    """

    path: Path
    name: str  # unique in its data set
    label: str  # `normal` or a class
    split: str  # train or test
    frame_ranges: tuple[FrameRange, ...] | None = None  # of abnormal frames; None: not annotated, (): none is abnormal
    boxes: Mapping[int, tuple[Box, ...]] | None = None  # by frame; frames that are not in it were not annotated
    boxes_size_wh: tuple[int, int] | None = None
    masks: Path | None = None  # see `load_masks`

    def __post_init__(self) -> None:
        problem = self._problem()
        if problem:
            raise UsageError(f"video '{self.name}': {problem}", remedy="correct its annotation")

    @property
    def is_normal(self) -> bool:
        """No frame of it is abnormal."""
        return self.label == NORMAL_CLASS

    def fps_of(self, fps: float | None) -> float | None:
        """The rate that was given for folders of pictures, where it is one; None for a file, which has its own."""
        return fps if fps is not None and self.path.is_dir() else None

    def frame_labels(self, frame_count: int) -> NDArray[np.bool_]:
        """[F] bool, True where a frame is abnormal. Ranges that reach beyond the last frame are cut.

        Args:
            frame_count: frames F of the decoded video.

        Raises:
            UsageError: the video is abnormal and not annotated, or a range begins behind its last frame.
        """
        labels = np.zeros(frame_count, bool)
        if self.frame_ranges is None and not self.is_normal:
            remedy = "frame-level metrics need annotated test videos; see the formats of `load_dataset`"
            raise UsageError(f"video '{self.name}' has no frame-level annotation", remedy=remedy)
        for first, last in self.frame_ranges or ():
            if first >= frame_count:
                what = f"video '{self.name}' has {frame_count} frames, its annotation begins at frame {first}"
                raise UsageError(what, remedy="annotate this very file, at its own frame rate")
            labels[first:last] = True
        return labels

    def load_masks(self, frames: Sequence[int] | None = None) -> NDArray[np.bool_]:
        """Pixel masks of the chosen frames, or of all: [N, H, W] bool. Raises UsageError as `masks.load_masks`."""
        if self.masks is None:
            raise UsageError(f"video '{self.name}' has no pixel masks", remedy="use its boxes, or another data set")
        return load_masks(self.masks, frames)

    def _problem(self) -> str | None:
        if self.split not in SPLITS:
            return f"split is '{self.split}', expected train or test"
        if self.is_normal and (self.frame_ranges or self.boxes):
            return "its label is normal, yet frames of it are annotated as abnormal"
        previous = 0
        for first, last in self.frame_ranges or ():
            if not previous <= first < last:
                return f"frame range [{first}, {last}) is negative, reversed or overlaps the one before"
            previous = last
        return _boxes_problem(self.boxes, self.boxes_size_wh)


def _boxes_problem(boxes: Mapping[int, tuple[Box, ...]] | None, size_wh: tuple[int, int] | None) -> str | None:
    if boxes is None:
        return None
    if size_wh is None:
        return "boxes without boxes_size_wh"
    for frame, shown in boxes.items():
        for x0, y0, x1, y1 in shown:
            if frame < 0 or not (0 <= x0 < x1 <= size_wh[0] and 0 <= y0 < y1 <= size_wh[1]):
                return (
                    f"box {(x0, y0, x1, y1)} of frame {frame} is reversed, empty or outside {size_wh[0]}x{size_wh[1]}"
                )
    return None


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Videos of one data set; `load_dataset` makes it.

    Raises:
        UsageError: no video, two videos of the same name, or a label that is not in `class_names`.
    """

    name: str
    root: Path
    videos: tuple[LabelledVideo, ...]
    class_names: tuple[str, ...]  # [1+C], `normal` first
    missing_videos: tuple[str, ...] = ()  # names in the lists whose files are not there

    def __post_init__(self) -> None:
        check_videos(self.name, [(video.name, video.label) for video in self.videos], self.class_names)

    def of_split(self, split: str) -> tuple[LabelledVideo, ...]:
        """The videos of `train` or `test`, in order."""
        return tuple(video for video in self.videos if video.split == split)

    def row(self, video: LabelledVideo) -> int:
        """The row of its label in `class_names`."""
        return self.class_names.index(video.label)

    def with_splits(self, train_names: Iterable[str]) -> Dataset:
        """The same videos, those of the given names in train and all others in test."""
        train = set(train_names)
        videos = tuple(replace(video, split=TRAIN if video.name in train else TEST) for video in self.videos)
        return replace(self, videos=videos)


def check_videos(dataset: str, names_and_labels: Sequence[tuple[str, str]], class_names: Sequence[str]) -> None:
    """What holds for every kind of data set. Raises UsageError as `Dataset`."""
    if not names_and_labels:
        raise UsageError(
            f"data set '{dataset}' has no videos", remedy="check the folder; `load_dataset` has the formats"
        )
    seen: set[str] = set()
    for name, label in names_and_labels:
        if name in seen:
            raise UsageError(f"data set '{dataset}' has two videos '{name}'", remedy="keep one of them")
        if label not in class_names:
            what = f"data set '{dataset}': label '{label}' of '{name}' is not in its classes"
            raise UsageError(what, remedy=f"classes: {', '.join(class_names)}")
        seen.add(name)
