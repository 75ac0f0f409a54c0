"""A CSV with the columns `video,label,split`, paths relative to its folder (or absolute).

`annotations.json` beside it, as `python -m demo.scenes` writes, adds frame ranges and boxes. A video file that is not
there is listed in `missing_videos`. A folder of pictures is a video too.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field, ValidationError

from stprompt_edge.datasets.reading import (
    Labels,
    Line,
    Unique,
    check_found,
    checked_range,
    is_picture_folder,
    merge_ranges,
    not_utf8,
    read_table,
    read_text,
)
from stprompt_edge.datasets.records import Dataset, LabelledVideo
from stprompt_edge.datasets.terms import Box
from stprompt_edge.errors import UsageError
from stprompt_edge.files import printable
from stprompt_edge.masking import masked_address
from stprompt_edge.runtime.addresses import scheme_of
from stprompt_edge.vocabulary import Vocabulary

COLUMNS = ("video", "label", "split")
ANNOTATIONS = "annotations.json"
LIST_NAMES = ("labels.csv", "split.csv")  # looked for where a folder is given
ANNOTATION_SCHEMA = 1

_Size = Annotated[int, Field(ge=1, le=65536)]
_Coordinate = Annotated[float, Field(allow_inf_nan=False)]


class _VideoAnnotation(BaseModel):
    label: str
    size_wh: tuple[_Size, _Size]
    intervals: list[tuple[int, int]]
    boxes: dict[int, list[tuple[_Coordinate, _Coordinate, _Coordinate, _Coordinate]]]


class _Annotations(BaseModel):
    schema_version: int = Field(alias="schema")
    videos: dict[str, _VideoAnnotation]


def load_csv(path: Path, vocabulary: Vocabulary | None = None) -> Dataset:
    """Reads the list at `path`, or `labels.csv` or `split.csv` in that folder.

    Raises:
        UsageError: as `read_table`, an unknown label or split, a video listed twice, none of the videos there,
            annotations that do not fit the list.
    """
    if path.is_dir():
        path = _list_in(path)
    labels, unique = Labels(vocabulary), Unique()
    annotations = _read_annotations(path.parent / ANNOTATIONS)
    videos, missing = [], []
    for row in read_table(path, COLUMNS, names=True):
        name = row["video"]
        if printable(row["label"] + row["split"]) != row["label"] + row["split"]:
            raise not_utf8(row)
        if not name:
            raise UsageError(f"{row}: column 'video' is empty", remedy="name the video file")
        if scheme_of(name):
            what = f"{row}: '{masked_address(name)}' is an address, and a list names files"
            raise UsageError(what, remedy="record it, and name the file")
        unique.add(os.path.normpath(name), row)
        label, split = labels.label(row["label"], row), labels.split(row["split"], row)
        file = path.parent / name
        if not (os.path.isfile(file) or is_picture_folder(file)):
            if printable(name) != name:  # a list in another encoding, not a file of that name
                raise not_utf8(row)
            missing.append(name)
            continue
        annotated = {} if annotations is None else _annotated(annotations, name, row)
        videos.append(LabelledVideo(path=file, name=name, label=label, split=split, **annotated))
    check_found(path.parent, videos, missing)
    return Dataset(
        name=path.resolve().parent.name,
        root=path.parent,
        videos=tuple(videos),
        class_names=labels.class_names,
        missing_videos=tuple(missing),
    )


def _list_in(folder: Path) -> Path:
    for name in LIST_NAMES:
        if (folder / name).is_file():
            return folder / name
    raise UsageError(f"{folder} has no {' or '.join(LIST_NAMES)}", remedy="give the path of the CSV itself")


def _read_annotations(path: Path) -> _Annotations | None:
    if not path.is_file():
        return None
    try:
        annotations = _Annotations.model_validate_json(read_text(path))
    except ValidationError as exc:
        first = exc.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "its JSON"
        remedy = "render the scenes again, or move the file away to use the labels alone"
        raise UsageError(f"{path}: {place}: {first['msg']}", remedy=remedy) from exc
    if annotations.schema_version != ANNOTATION_SCHEMA:
        what = f"{path} has schema {annotations.schema_version}, expected {ANNOTATION_SCHEMA}"
        raise UsageError(what, remedy="use the version of stprompt-edge that wrote it")
    return annotations


def _annotated(annotations: _Annotations, name: str, row: Line) -> dict:
    """Frame ranges and boxes of one video, as arguments of `LabelledVideo`."""
    found = annotations.videos.get(name)
    if found is None:
        remedy = "remove the line, or move the annotations away to use the labels alone"
        raise UsageError(f"{row}: '{name}' is not in {ANNOTATIONS}", remedy=remedy)
    if found.label.casefold() != row["label"].casefold():
        what = f"{row}: label is '{row['label']}', {ANNOTATIONS} says '{found.label}'"
        raise UsageError(what, remedy="make the two agree")
    where = f"{row.path.parent / ANNOTATIONS}: {name}"
    ranges = merge_ranges(checked_range(first, last, where) for first, last in found.intervals)
    boxes: dict[int, tuple[Box, ...]] = {frame: tuple(shown) for frame, shown in found.boxes.items()}
    return {"frame_ranges": ranges, "boxes": boxes, "boxes_size_wh": found.size_wh}
