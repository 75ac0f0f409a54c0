"""UBnormal's tracks: which abnormal object is in which frames."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from stprompt_edge.datasets.reading import checked_range, read_lines
from stprompt_edge.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Track:
    """One abnormal object: its id in the pictures, and its frames [first, last)."""

    object_id: int
    first: int
    last: int


def tracks_file(folder: Path) -> Path:
    """The tracks in `NAME_annotations`, the corrected ones where there are any."""
    name = folder.name.removesuffix("_annotations")
    corrected = folder / f"{name}_new_tracks.txt"
    return corrected if corrected.is_file() else folder / f"{name}_tracks.txt"


def read_tracks(path: Path) -> tuple[Track, ...]:
    """The tracks of one video. Raises UsageError: unreadable, not three whole numbers, negative or reversed frames."""
    tracks = []
    for line in read_lines(path):
        fields = line.text.split(",")
        if len(fields) != 3:
            what = f"{line}: {len(fields)} fields, expected 3 (object id, first frame, last frame)"
            raise UsageError(what, remedy="download this annotation again")
        object_id, first, last = (line.integer(field, "field") for field in fields)
        first, last = checked_range(first, last + 1, line)
        tracks.append(Track(object_id=object_id, first=first, last=last))
    return tuple(tracks)
