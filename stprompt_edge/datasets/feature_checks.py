"""Do the tensors of a feature file fit each other, and are they numbers? Told before anything is computed with them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stprompt_edge.errors import UsageError

_AXES = {  # T sampled frames, D width of the embedding, N fine windows
    "x_clip": "TD", "x_as": "TD", "motion": "TN", "windows": "TND", "frames": "T",
}  # fmt: skip
_REQUIRED = ("x_clip", "x_as", "motion")
_TYPES = (("F16", "F32", "F64"), ("I64",))  # of values, and of numbers of frames


def check_shapes(path: Path, headers: Mapping[str, tuple[str, tuple[int, ...]]], selected: int, *, remedy: str) -> None:
    """Compare the shapes and types of a feature file's tensors with each other.

    Args:
        path: of the file, for messages.
        headers: type and shape of each tensor, as safetensors names them.
        selected: K windows that were chosen of N.
        remedy: what to do about the file.

    Raises:
        UsageError: names the tensor, its shape and the expected one.
    """
    lacking = [name for name in _REQUIRED if name not in headers]
    if lacking:
        raise UsageError(f"{path} has no {lacking[0]}, only {', '.join(sorted(headers)) or 'nothing'}", remedy=remedy)
    sizes: dict[str, int] = {}
    for name, axes in _AXES.items():
        if name not in headers:
            continue
        kind, shape = headers[name]
        for axis, size in zip(axes, shape, strict=False):
            if size or axis == "N":  # else it has no row, or rows of nothing
                sizes.setdefault(axis, size)
        expected = [sizes.get(axis, axis) for axis in axes]
        if list(shape) != expected:
            wanted = ", ".join(map(str, expected))
            raise UsageError(f"{path}: {name} has shape {list(shape)}, expected [{wanted}]", remedy=remedy)
        if kind not in _TYPES[name == "frames"]:
            raise UsageError(f"{path}: {name} is {kind}, expected {_TYPES[name == 'frames'][0]}", remedy=remedy)
    if sizes["N"] < selected:
        what = f"{path}: motion has shape {list(headers['motion'][1])}, and {selected} windows were chosen by it"
        raise UsageError(what, remedy=remedy)


def check_values(path: Path, tensors: Mapping[str, NDArray[Any]], *, remedy: str) -> None:
    """Refuse what is not finite, and numbers of frames that do not rise.

    Raises:
        UsageError: names the tensor and how many of its values are wrong.
    """
    for name, values in tensors.items():
        lost = int(values.size - np.count_nonzero(np.isfinite(values)))
        if lost:
            what = f"{path}: {lost} of {values.size} values of {name} are NaN or infinite"
            raise UsageError(what, remedy=remedy)
    frames = tensors.get("frames")
    if frames is not None and (frames[0] < 0 or (np.diff(frames) <= 0).any()):
        raise UsageError(f"{path}: its numbers of frames do not rise", remedy=remedy)
