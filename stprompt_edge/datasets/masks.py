"""Pixel masks, read when they are asked for.

Three forms: `.npz` with `mask` = packed bits of [T, H, W] and `shape`; `.npy` of [T, H, W]; a folder of UBnormal,
`NAME_annotations/` with `NAME_0007_gt.png` per frame and `NAME_tracks.txt`, where a pixel is abnormal when its value
is the id of a track that is active in that frame.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stprompt_edge.datasets.tracks import read_tracks, tracks_file
from stprompt_edge.errors import UsageError


def load_masks(path: Path, frames: Sequence[int] | None = None) -> NDArray[np.bool_]:
    """Masks of a video.

    Args:
        path: one of the three forms.
        frames: 0-based frames to give; None for all (in a folder: all that have a picture).

    Returns:
        [N, H, W] bool, one per asked frame; owned by the caller.

    Raises:
        UsageError: unreadable or of another shape, or a frame that has no mask.
    """
    if path.is_dir():
        return _load_folder(path, frames)
    masks = _load_packed(path) if path.suffix == ".npz" else load_npy(path)
    if masks.ndim != 3 or 0 in masks.shape:
        raise _unreadable(path, f"shape {masks.shape}, expected [T, H, W]")
    chosen = range(len(masks)) if frames is None else frames
    if any(not 0 <= frame < len(masks) for frame in chosen):
        raise UsageError(f"{path} has {len(masks)} masks, asked for frames {list(chosen)}", remedy="ask for its frames")
    return masks.astype(bool) if frames is None else masks[list(chosen)].astype(bool)


def load_npy(path: Path) -> NDArray:
    """A numeric `.npy` array, never a pickle. Raises UsageError if it cannot be read or is not numeric."""
    try:
        with path.open("rb") as file:  # opened here, because np.load leaves a damaged archive open
            array = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as exc:
        raise _unreadable(path, str(exc)) from exc
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf":
        raise _unreadable(path, "no numeric array")
    return array


def _load_packed(path: Path) -> NDArray[np.bool_]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            packed, shape = stored["mask"], tuple(int(size) for size in stored["shape"])
        count = int(np.prod(shape))
        if min(shape) < 1 or packed.dtype != np.uint8 or packed.shape != ((count + 7) // 8,):
            raise ValueError(f"{packed.shape} {packed.dtype} of bits for shape {shape}")
        return np.unpackbits(packed, count=count).reshape(shape).astype(bool)
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as exc:
        raise _unreadable(path, str(exc)) from exc


def _load_folder(folder: Path, frames: Sequence[int] | None) -> NDArray[np.bool_]:
    import cv2

    name = folder.name.removesuffix("_annotations")
    tracks = read_tracks(tracks_file(folder))
    if frames is None:
        numbers = sorted(path.name.split("_")[-2] for path in folder.glob(f"{name}_*_gt.png"))
        frames = [int(number) for number in numbers if number.isdecimal()]
    masks: list[NDArray[np.bool_]] = []
    for frame in frames:
        picture = folder / f"{name}_{frame:04d}_gt.png"
        ids = cv2.imread(str(picture), cv2.IMREAD_GRAYSCALE) if picture.is_file() else None
        if ids is None or (masks and ids.shape != masks[0].shape):
            raise _unreadable(picture, "no picture of the video's size")
        masks.append(np.isin(ids, [t.object_id for t in tracks if t.first <= frame < t.last]))
    if not masks:
        raise _unreadable(folder, "no *_gt.png in it")
    return np.stack(masks)


def _unreadable(path: Path, why: str) -> UsageError:
    return UsageError(f"cannot read {path}: {why}", remedy="download this file of the data set again")
