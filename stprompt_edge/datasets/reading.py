"""Lists and tables of data sets, line by line; whatever is wrong with them is said with file and line."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stprompt_edge.datasets.terms import ABNORMAL, SPLITS, FrameRange
from stprompt_edge.errors import UsageError, nearest
from stprompt_edge.listing import is_data
from stprompt_edge.runtime.sources import IMAGE_SUFFIXES, pictures_of
from stprompt_edge.vocabulary import NORMAL_CLASS, Vocabulary, is_writing, normalized

VIDEO_SUFFIXES = frozenset({".mp4", ".avi", ".mkv", ".mov", ".webm", ".mpg", ".mpeg", ".m4v", ".ts"})
OUTPUT_NAME = "stprompt-edge-out"  # the default --out of `run`, `demo` and `evaluate`


@dataclass(frozen=True)
class Line:
    """One line that is not blank, or one row of a table."""

    path: Path
    number: int  # 1-based
    text: str = ""
    values: Mapping[str, str] | None = None

    def __str__(self) -> str:
        return f"{self.path}, line {self.number}"

    def __getitem__(self, column: str) -> str:
        assert self.values is not None
        return self.values[column]

    def integer(self, text: str, what: str) -> int:
        """The number that the text says; UsageError where it is none or absurdly long."""
        try:
            number = float(text)  # some publishers write whole numbers as 12.0
            if number != int(number):
                raise ValueError
            return int(number)
        except (ValueError, OverflowError) as exc:
            raise UsageError(f"{self}: {what} is '{text[:40]}'", remedy="write a whole number") from exc


def read_text(path: Path, *, names: bool = False) -> str:
    """UTF-8 text, with or without byte order mark.

    Args:
        path: to read.
        names: it names files, which may have bytes that are no UTF-8; they come as Python has them in paths, and
            `not_utf8` is for the caller to raise where they are no such name.

    Raises:
        UsageError: not there, not readable, not UTF-8 (with its line), or empty.
    """
    try:
        content = path.read_bytes()
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        if not names or b"\0" in content:
            line = content.count(b"\n", 0, exc.start) + 1
            raise not_utf8(f"{path}, line {line}") from exc
        text = content.decode("utf-8-sig", "surrogateescape")
    except (OSError, ValueError) as exc:  # ValueError: a NUL in the path
        raise UsageError(f"cannot read {path}: {exc}", remedy="give a readable text file") from exc
    if not text.strip():
        raise UsageError(f"{path} is empty", remedy="give the file its content, or remove it")
    return text


def not_utf8(where: object) -> UsageError:
    """The error for text in another encoding."""
    return UsageError(f"{where}: not UTF-8 text", remedy="save the file again as UTF-8")


def read_lines(path: Path) -> list[Line]:
    """The lines that are not blank, stripped. Raises as `read_text`."""
    lines = enumerate(read_text(path).split("\n"), start=1)
    return [Line(path, number, text.strip()) for number, text in lines if text.strip()]


def read_table(path: Path, columns: Sequence[str], *, names: bool = False) -> list[Line]:
    """Rows of a comma-separated file with a header; columns that are not asked for do not matter.

    Args:
        path, names: as in `read_text`.
        columns: that it must have.

    Raises:
        UsageError: as `read_text`, a missing or repeated column, a row with more or fewer fields, no row.
    """
    reader = csv.reader(io.StringIO(read_text(path, names=names), newline=""), strict=True)
    rows: list[Line] = []
    header: list[str] | None = None
    try:
        for fields in reader:
            if not any(field.strip() for field in fields):
                continue
            if header is None:
                header = _checked_header(path, reader.line_num, fields, columns)
                continue
            row = Line(path, reader.line_num)
            if len(fields) != len(header):
                what = f"{row}: {len(fields)} fields, expected {len(header)} ({','.join(header)})"
                raise UsageError(what, remedy="write one value per column; quote a value that has a comma")
            rows.append(Line(path, row.number, values=dict(zip(header, map(str.strip, fields), strict=True))))
    except csv.Error as exc:
        remedy = "correct its quotes, or save it again as comma-separated UTF-8"
        raise UsageError(f"{path}, line {reader.line_num}: {exc}", remedy=remedy) from exc
    if not rows:
        raise UsageError(f"{path} has a header and no rows", remedy=f"add rows of {','.join(columns)}")
    return rows


def _checked_header(path: Path, number: int, fields: Sequence[str], columns: Sequence[str]) -> list[str]:
    header = [field.strip().casefold() for field in fields]
    for column in columns:
        if column not in header:
            remedy = f"the first row must name the columns {','.join(columns)}, separated by commas; "
            what = f"{path}, line {number}: column '{column}' is missing"
            raise UsageError(what, remedy=remedy + nearest(column, header))
        if header.count(column) > 1:
            raise UsageError(f"{path}, line {number}: column '{column}' appears twice", remedy="remove one of them")
    return header


# what to do where lists say that something happens and the vocabulary wants to know what
ABNORMAL_REMEDY = (
    f"use a vocabulary with '{ABNORMAL}' (ped2, shanghaitech-binary, ubnormal-binary), or name the class of each "
    "abnormal video of ShanghaiTech or UBnormal in classes.csv (video,label) beside its lists; after that type the "
    "same `extract` command again, which keeps what it has"
)


def row_of_label(vocabulary: Vocabulary, label: str) -> int:
    """`Vocabulary.row_of_label`, with the remedy for data sets that only know `abnormal`. Raises UsageError as it."""
    try:
        return vocabulary.row_of_label(label)
    except UsageError as exc:
        raise UsageError(exc.what, remedy=ABNORMAL_REMEDY if label == ABNORMAL else exc.remedy) from exc


class Labels:
    """Reads labels and splits, and remembers what it saw.

    Args:
        vocabulary: labels must be its own, and become its class names; None takes any label as it is written.
    """

    def __init__(self, vocabulary: Vocabulary | None) -> None:
        self._vocabulary = vocabulary
        self._seen: dict[str, str] = {}

    @property
    def class_names(self) -> tuple[str, ...]:
        """[1+C], `normal` first: the vocabulary's, or all labels seen, sorted."""
        if self._vocabulary:
            return self._vocabulary.class_names
        return (NORMAL_CLASS, *sorted(label for label in self._seen.values() if label != NORMAL_CLASS))

    def label(self, text: str, where: object) -> str:
        """`normal` or the class. Raises UsageError: empty, unknown, or spelled in two ways."""
        text = normalized(text)
        if not is_writing(text):
            raise UsageError(f"{where}: label is empty or not printable", remedy="write `normal` or a class name")
        if self._vocabulary:
            return self._class_name(self._vocabulary, text, where)
        label = NORMAL_CLASS if text.casefold() == NORMAL_CLASS else text
        known = self._seen.setdefault(label.casefold(), label)
        if known != label:
            what = f"{where}: label '{label}' was spelled '{known}' before"
            raise UsageError(what, remedy="spell each class in one way")
        return label

    def _class_name(self, vocabulary: Vocabulary, text: str, where: object) -> str:
        try:
            return vocabulary.class_names[row_of_label(vocabulary, text)]
        except UsageError as exc:
            raise UsageError(f"{where}: {exc.what}", remedy=exc.remedy) from exc

    @staticmethod
    def split(text: str, where: object) -> str:
        """`train` or `test`."""
        if text.casefold() not in SPLITS:
            raise UsageError(f"{where}: split is '{text}', expected train or test", remedy=nearest(text, SPLITS))
        return text.casefold()


class Unique:
    """Refuses the second line that names a video."""

    def __init__(self) -> None:
        self._lines: dict[str, Line] = {}

    def add(self, name: str, line: Line) -> None:
        """Raises UsageError with both lines."""
        first = self._lines.setdefault(name, line)
        if first is not line:
            raise UsageError(
                f"{line}: video '{name}' is listed already ({first})", remedy="remove one of the two lines"
            )


def checked_range(first: int, last: int, where: object) -> FrameRange:
    """[first, last) of 0-based frames. Raises UsageError if it is negative, empty or reversed."""
    if first < 0 or last <= first:
        what = f"{where}: abnormal frames from {first} to before {last} (counted from 0)"
        raise UsageError(what, remedy="the first frame must exist and come before the end")
    return first, last


def merge_ranges(ranges: Iterable[FrameRange]) -> tuple[FrameRange, ...]:
    """The same frames in sorted ranges that neither overlap nor touch."""
    merged: list[FrameRange] = []
    for first, last in sorted(ranges):
        if merged and first <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return tuple(merged)


def ranges_of_frames(abnormal: NDArray[np.bool_]) -> tuple[FrameRange, ...]:
    """[T] bool, True where abnormal -> its ranges."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], abnormal, [False])).astype(np.int8))).tolist()
    return tuple(zip(edges[::2], edges[1::2], strict=True))


def sorted_entries(folder: Path) -> list[Path]:
    """What is in a folder and is data, sorted. Raises UsageError if it cannot be read."""
    try:
        return sorted(entry for entry in folder.iterdir() if is_data(entry.name))
    except (OSError, ValueError) as exc:
        raise UsageError(f"cannot read folder {folder}: {exc}", remedy="give a readable folder") from exc


def walk(root: Path) -> Iterator[tuple[Path, list[str]]]:
    """Every folder from root down, and the names of its files; all sorted, and only what is data.

    Linked folders are followed; one that was seen already under another name is not entered again, so no link leads
    in circles. `stprompt-edge-out`, where other commands write by default, is left out.
    """
    seen = {os.path.realpath(root)}
    for parent, folders, files in os.walk(root, followlinks=True):
        entered = []
        for name in sorted(folders):
            target = os.path.realpath(os.path.join(parent, name))
            if target not in seen and is_data(name) and name != OUTPUT_NAME:
                seen.add(target)
                entered.append(name)
        folders[:] = entered  # os.walk goes on with these
        yield Path(parent), sorted(filter(is_data, files))


def is_video(path: Path) -> bool:
    """By its suffix."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def is_picture_folder(path: Path) -> bool:
    """A folder with pictures in it, which is a video; False for whatever is no folder."""
    try:
        return bool(pictures_of(path))
    except (OSError, ValueError):  # ValueError: a NUL in the path
        return False


def is_picture(path: Path) -> bool:
    """By its suffix."""
    return path.suffix.lower() in IMAGE_SUFFIXES


def index_videos(root: Path) -> dict[str, Path]:
    """Every video below root by its stem (its name without suffix); the first in sorted order where two share it.

    A folder of pictures, as `frames/01_0014/000.jpg`, is a video too; a video file goes before its pictures.
    """
    videos: dict[str, Path] = {}
    pictures: dict[str, Path] = {}
    for parent, files in walk(root):
        for file in files:
            path = parent / file
            if is_video(path):
                videos.setdefault(path.stem, path)
            elif is_picture(path):
                pictures.setdefault(path.parent.name, path.parent)
    return {**pictures, **videos}


def check_found(root: Path, found: Sequence[object], missing: Sequence[str]) -> None:
    """A list of which no video is there is a wrong folder. Raises UsageError."""
    if not found and missing:
        what = f"none of the {len(missing)} listed videos is under {root}, for example '{missing[0]}'"
        raise UsageError(what, remedy="put the videos beside their list, or correct the paths in it")
