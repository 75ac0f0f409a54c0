"""What an extraction finds of earlier ones in its folder: what it keeps, makes again, and will not mix with.

Made again: what is not there, half a file of a killed machine, features of a video that has changed since, features
without windows where windows are asked for. Refused: features that other settings made. They would all have to be made
again, and hours of work lost to a forgotten option.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stprompt_edge.datasets import Dataset, LabelledVideo
from stprompt_edge.errors import UsageError
from stprompt_edge.features.files import read_header
from stprompt_edge.features.records import FeatureHeader, FeatureOrigin
from stprompt_edge.features.video import source_size

# what a person calls the parts of an origin, those that follow from others last
_NAMES = {
    "stride": "--stride",
    "precision": "--precision",
    "windows": "the bundle's K",
    "motion_timing": "the bundle's motion timing",
    "clip": "the bundle's CLIP",
    "weights_sha256": "the CLIP weights (sha256)",
    "encoder_sha256": "the encoder's graph (sha256)",
}


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What features are to be like."""

    origin: FeatureOrigin
    keep_windows: bool = False
    fps: float | None = None  # of image folders


def feature_path(out: Path, video: LabelledVideo) -> Path:
    """Where a video's features are: its name and another suffix behind its own, folders kept; always below `out`."""
    name = Path(video.name)
    path = out.joinpath(*(part for part in name.parts if part not in (name.anchor, "..")))
    return path.with_name(path.name + ".safetensors")


def videos_to_extract(dataset: Dataset, out: Path, wanted: Wanted) -> list[LabelledVideo]:
    """The videos whose features are not there.

    Raises:
        UsageError: `out` holds features of a video of the data set that other settings made, with both settings.
    """
    todo = []
    for video in dataset.videos:
        header = _header(feature_path(out, video))
        if header is not None:
            _check_same_settings(video, out, header, wanted)
        if header is None or not _is_whole(video, header, wanted):
            todo.append(video)
    return todo


def _header(path: Path) -> FeatureHeader | None:
    if not path.exists():
        return None
    try:
        return read_header(path)
    except UsageError:  # half a file of a killed machine
        return None


def _is_whole(video: LabelledVideo, header: FeatureHeader, wanted: Wanted) -> bool:
    same_video = source_size(video.path) in (header.source_size, None)  # None: it is gone, and its features are kept
    return same_video and (header.has_windows or not wanted.keep_windows)


def _check_same_settings(video: LabelledVideo, out: Path, header: FeatureHeader, wanted: Wanted) -> None:
    differs = next(_differences(video, header, wanted), None)
    if differs is None:
        return
    name, there, asked = differs
    go_on = f"go on with {name} {there}, or " if name.startswith("--") and there != "none" else ""
    raise UsageError(
        f"{out} was extracted with {name} {there}, now {name} is {asked} (first seen at {video.name})",
        remedy=f"{go_on}choose another --out, or remove {out} to extract all of it again",
    )


def _differences(video: LabelledVideo, header: FeatureHeader, wanted: Wanted) -> Iterator[tuple[str, str, str]]:
    """What is set otherwise: its name, the value there and the value asked for."""
    for key, name in _NAMES.items():
        there, asked = getattr(header.origin, key), getattr(wanted.origin, key)
        if there != asked:
            yield name, _shown(there), _shown(asked)  # no graph: torch
    assert header.origin == wanted.origin  # else _NAMES lacks a field
    if video.path.is_dir():
        there = header.origin.stride / header.seconds_between_samples if header.seconds_between_samples else 0.0
        if not math.isclose(there, wanted.fps or 0.0, rel_tol=1e-6):
            yield "--fps", _shown(there or None), _shown(wanted.fps)


def _shown(value: object) -> str:
    if value is None:
        return "none"
    return f"{value:g}" if isinstance(value, float) else str(value)[:12]
