"""UCF-Crime (Sultani et al. 2018): the official lists, the temporal annotation, and the boxes of Liu & Ma 2019.

    ROOT/Anomaly_Train.txt, Anomaly_Test.txt      Abuse/Abuse001_x264.mp4
    ROOT/Temporal_Anomaly_Annotation.txt          Abuse028_x264.mp4  Abuse  165  240  -1  -1
    ROOT/boxes_test.csv                           video,frame,x1,y1,x2,y2

The annotation has up to two events, first and last frame, counted from 1, -1 for none. Boxes count frames and pixels
from 1 and include both ends (they run from 1 to 320 and 239), whatever the size of the video. Videos may lie
anywhere under ROOT; those that are not there are listed in `missing_videos`.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path, PurePosixPath

from stprompt_edge.datasets.reading import (
    Labels,
    Line,
    Unique,
    check_found,
    checked_range,
    index_videos,
    merge_ranges,
    read_lines,
    read_table,
)
from stprompt_edge.datasets.records import Dataset, LabelledVideo
from stprompt_edge.datasets.terms import TEST, TRAIN, Box, FrameRange
from stprompt_edge.errors import UsageError
from stprompt_edge.vocabulary import NORMAL_CLASS, Vocabulary

LISTS = {TRAIN: "Anomaly_Train.txt", TEST: "Anomaly_Test.txt"}
TEMPORAL = "Temporal_Anomaly_Annotation.txt"
TEMPORAL_NAMES = (TEMPORAL, "Temporal_Anomaly_Annotation_for_Testing_Videos.txt")  # the official download's name
BOXES = "boxes_test.csv"
BOXES_SIZE_WH = (320, 240)  # every video of UCF-Crime
NORMAL_FOLDERS = ("Training_Normal_Videos_Anomaly", "Testing_Normal_Videos_Anomaly", "Normal_Videos_event")

Boxes = dict[int, tuple[Box, ...]]


def load_ucf_crime(root: Path, vocabulary: Vocabulary | None = None) -> Dataset:
    """Reads the lists that are there; ranges and boxes are of test videos, and wait for the list of those.

    Raises:
        UsageError: no list, a line that does not fit, a video listed twice, an unknown class, ranges or boxes that
            cannot be or belong to no test video, none of the videos there.
    """
    labels = Labels(vocabulary)
    listed = _read_lists(root, labels)
    tests = {PurePosixPath(name).stem: label for name, (label, split) in listed.items() if split == TEST}
    temporal = temporal_file(root)
    ranges = read_temporal(temporal, tests, labels) if temporal and tests else {}
    boxes = _read_boxes(root / BOXES, tests) if tests and (root / BOXES).is_file() else None
    files = index_videos(root)
    videos, missing = [], []
    for name, (label, split) in listed.items():
        stem = PurePosixPath(name).stem
        if stem not in files:
            missing.append(name)
            continue
        shown = boxes.get(stem) if boxes and split == TEST else None
        videos.append(
            LabelledVideo(
                path=files[stem],
                name=name,
                label=label,
                split=split,
                frame_ranges=ranges.get(stem) if split == TEST else None,
                boxes=shown,
                boxes_size_wh=BOXES_SIZE_WH if shown else None,
            )
        )
    check_found(root, videos, missing)
    found, lost = tuple(videos), tuple(missing)
    return Dataset(name="ucf-crime", root=root, videos=found, class_names=labels.class_names, missing_videos=lost)


def temporal_file(folder: Path) -> Path | None:
    """The temporal annotation in a folder, under either name."""
    return next((folder / name for name in TEMPORAL_NAMES if (folder / name).is_file()), None)


def read_temporal(path: Path, tests: dict[str, str], labels: Labels) -> dict[str, tuple[FrameRange, ...]]:
    """The abnormal ranges of test videos.

    Args:
        tests: label of every test video, by its name without folder and suffix.

    Returns:
        By the same names: 0-based ranges, end exclusive; empty for normal videos.
    """
    ranges: dict[str, tuple[FrameRange, ...]] = {}
    unique = Unique()
    for line in read_lines(path):
        fields = line.text.split()
        if len(fields) != 6:
            what = f"{line}: {len(fields)} fields, expected 6 (name class first last first last)"
            raise UsageError(what, remedy="download the official annotation again")
        stem = _stem_of_test(fields[0], tests, line)
        unique.add(stem, line)
        label = labels.label(fields[1], line)
        if label != tests[stem]:
            what = f"{line}: class of '{stem}' is '{label}', the list of test videos says '{tests[stem]}'"
            raise UsageError(what, remedy="make the two files agree")
        numbers = [line.integer(field, "frame") for field in fields[2:]]
        events = [pair for pair in (numbers[:2], numbers[2:]) if pair != [-1, -1]]
        if bool(events) == (label == NORMAL_CLASS):
            what = f"{line}: class '{label}' with {len(events)} abnormal ranges"
            raise UsageError(what, remedy="normal videos have none, all others at least one")
        ranges[stem] = merge_ranges(checked_range(first - 1, last, line) for first, last in events)
    return ranges


def _read_lists(root: Path, labels: Labels) -> dict[str, tuple[str, str]]:
    """Label and split of every listed video, by the name in the lists."""
    listed: dict[str, tuple[str, str]] = {}
    unique = Unique()
    paths = {split: root / name for split, name in LISTS.items() if (root / name).is_file()}
    if not paths:
        remedy = "download the official lists into that folder"
        raise UsageError(f"{root} has neither {' nor '.join(LISTS.values())}", remedy=remedy)
    for split, path in paths.items():
        for line in read_lines(path):
            folder, slash, name = line.text.rpartition("/")
            if not slash or not name.endswith(".mp4"):
                what = f"{line}: '{line.text[:60]}', expected CLASS/NAME.mp4"
                raise UsageError(what, remedy="download the official list again")
            unique.add(PurePosixPath(name).stem, line)
            folder = PurePosixPath(folder).name
            listed[line.text] = (labels.label(NORMAL_CLASS if folder in NORMAL_FOLDERS else folder, line), split)
    return listed


def _read_boxes(path: Path, tests: dict[str, str]) -> dict[str, Boxes]:
    boxes: dict[str, dict[int, list[Box]]] = defaultdict(lambda: defaultdict(list))
    width, height = BOXES_SIZE_WH
    for row in read_table(path, ("video", "frame", "x1", "y1", "x2", "y2")):
        stem = _stem_of_test(row["video"], tests, row)
        frame = row.integer(row["frame"], "frame")
        x1, y1, x2, y2 = (row.integer(row[column], column) for column in ("x1", "y1", "x2", "y2"))
        if tests[stem] == NORMAL_CLASS or frame < 1 or not (1 <= x1 <= x2 <= width and 1 <= y1 <= y2 <= height):
            what = f"{row}: box {x1},{y1},{x2},{y2} in frame {frame} of '{stem}'"
            remedy = f"frames count from 1, boxes lie in 1..{width} x 1..{height}, and normal videos have none"
            raise UsageError(what, remedy=remedy)
        boxes[stem][frame - 1].append((x1 - 1, y1 - 1, x2, y2))
    return {stem: {frame: tuple(shown) for frame, shown in sorted(found.items())} for stem, found in boxes.items()}


def _stem_of_test(name: str, tests: dict[str, str], line: Line) -> str:
    stem = name.removesuffix(".mp4")
    if stem not in tests:
        remedy = f"add it to {LISTS[TEST]}, or remove the line"
        raise UsageError(f"{line}: '{name[:60]}' is not a test video", remedy=remedy)
    return stem
