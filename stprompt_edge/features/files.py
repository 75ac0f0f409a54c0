"""Features of videos on disk: one safetensors file for each, made by the packed encoder and preprocessing of the edge.

A feature file holds `x_clip` [T, D] and `x_as` [T, D] (float16), `motion` [T, 49] (float32, pixel motion) and, if kept,
`windows` [T, 49, D] (float16). Its metadata names the encoder, stride and windows that made it, and the size of its
video. Where sampled frames could not be read, `frames` [T] (int64) has the numbers of those that were.

Suffixes: T sampled frames, N fine windows, K selected windows, D width of the embedding.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from stprompt_edge.datasets.feature_checks import check_shapes, check_values
from stprompt_edge.errors import UsageError
from stprompt_edge.features.records import FeatureHeader, FeatureOrigin, VideoFeatures
from stprompt_edge.features.segments import segment_means
from stprompt_edge.files import write_bytes_atomic

_METADATA_KEY = "stprompt-edge"


def save_features(path: Path, features: VideoFeatures) -> None:
    """Write a feature file whole or not at all. Raises as `files.disk_errors`."""
    write_bytes_atomic(path, _serialized(features))


def _serialized(features: VideoFeatures) -> bytes:
    description = {
        "origin": asdict(features.origin),
        "seconds_between_samples": features.seconds_between_samples,
        "source_size": features.source_size,
    }
    return save(stored_tensors(features), metadata={_METADATA_KEY: json.dumps(description)})


def stored_tensors(features: VideoFeatures) -> dict[str, NDArray[Any]]:
    """The tensors of the file."""
    tensors: dict[str, NDArray[Any]] = {
        "x_clip": half(features.x_clip), "x_as": half(features.x_as), "motion": features.motion,
    }  # fmt: skip
    if features.windows is not None:
        tensors["windows"] = half(features.windows)
    if features.frames is not None:
        tensors["frames"] = features.frames
    return tensors


def half(values: NDArray[Any]) -> NDArray[np.float16]:
    """As it is stored; what is too large becomes infinite."""
    with np.errstate(over="ignore"):  # `extract_video` refuses what is infinite then
        return values.astype(np.float16, copy=False)


def load_features(path: Path, *, windows: bool = True) -> VideoFeatures:
    """Read a feature file.

    Args:
        path: of the file.
        windows: read the windows too, where it has them; they are most of the file.

    Raises:
        UsageError: if it is missing, not one of ours, or its tensors do not fit each other or are not finite.
    """
    with _opened(path) as (file, description):
        names = [name for name in file.keys() if windows or name != "windows"]  # noqa: SIM118  not a dict
        tensors = {name: file.get_tensor(name) for name in names}
        check_values(path, tensors, remedy=extract_again(path))
        kept = tensors.get("windows")
        return VideoFeatures(
            origin=FeatureOrigin(**description["origin"]),
            seconds_between_samples=float(description["seconds_between_samples"]),
            source_size=description["source_size"],
            x_clip=tensors["x_clip"].astype(np.float32),
            x_as=tensors["x_as"].astype(np.float32),
            motion=tensors["motion"],
            windows=None if kept is None else kept.astype(np.float32),
            frames=tensors.get("frames"),
        )


def load_segments(path: Path, segments: int) -> NDArray[np.float16] | None:
    """The windows of a feature file averaged over so many segments of the video, [S, N, D]; None if it has no windows.

    A long video's windows are gigabytes: a segment is read at a time.

    Raises:
        UsageError: as `load_features`.
    """
    with _opened(path) as (file, _):
        if "windows" not in file.keys():  # noqa: SIM118  not a dict
            return None
        windows_TND = file.get_slice("windows")
        means_SND = segment_means(windows_TND, windows_TND.get_shape()[0], segments)
        check_values(path, {"windows": means_SND}, remedy=extract_again(path))
        return means_SND


def read_windows(path: Path, rows: int) -> Iterator[NDArray[np.float16]]:
    """The windows of a feature file, at most so many rows of them at a time: [rows, N, D]; none if it has none.

    Raises:
        UsageError: as `load_features`.
    """
    with _opened(path) as (file, _):
        if "windows" not in file.keys():  # noqa: SIM118  not a dict
            return
        windows_TND = file.get_slice("windows")
        length = windows_TND.get_shape()[0]
        for first in range(0, length, rows):
            yield windows_TND[first : min(first + rows, length)]


def read_header(path: Path) -> FeatureHeader:
    """What a feature file says of itself, without its tensors; a file cut short is noticed.

    Raises:
        UsageError: as `load_features`.
    """
    with _opened(path) as (file, description):
        return FeatureHeader(
            origin=FeatureOrigin(**description["origin"]),
            source_size=description["source_size"],
            seconds_between_samples=float(description["seconds_between_samples"]),
            has_windows="windows" in file.keys(),  # noqa: SIM118  not a dict
            width=file.get_slice("x_clip").get_shape()[1],
            fine_count=file.get_slice("motion").get_shape()[1],
        )


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, dict[str, Any]]]:
    """The open file and its description. Raises UsageError for whatever does not fit while it is read."""
    try:
        with safe_open(path, framework="numpy") as file:
            description = json.loads((file.metadata() or {})[_METADATA_KEY])
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118  not a dict
            headers = {name: (part.get_dtype(), tuple(part.get_shape())) for name, part in slices.items()}
            check_shapes(path, headers, int(description["origin"]["windows"]), remedy=extract_again(path))
            yield file, description
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as exc:
        raise UsageError(
            f"{path} is not a feature file of stprompt-edge ({type(exc).__name__}: {exc})",
            remedy=extract_again(path),
        ) from exc


def extract_again(path: Path) -> str:
    """The remedy for a feature file that is no good: `extract` leaves alone what is there."""
    return f"remove {path}, then extract again" if path.exists() else "extract again"


def estimate_bytes(sampled_frames: int, width: int, fine_count: int, *, keep_windows: bool) -> int:
    """Size of the tensors of so many sampled frames."""
    per_frame = 2 * width * 2 + fine_count * 4 + (fine_count * width * 2 if keep_windows else 0)
    return sampled_frames * per_frame


def header_bytes(origin: FeatureOrigin, width: int, fine_count: int, *, keep_windows: bool) -> int:
    """Size of a feature file without its tensors, within some bytes; most of the file of a short video."""
    row = np.zeros((1, width), np.float32)
    windows = np.zeros((1, fine_count, width), np.float16) if keep_windows else None
    motion = np.zeros((1, fine_count), np.float32)
    features = VideoFeatures(
        origin=origin, seconds_between_samples=0.64, x_clip=row, x_as=row, motion=motion, windows=windows,
        source_size=10_000_000,
    )  # fmt: skip
    return len(_serialized(features)) - estimate_bytes(1, width, fine_count, keep_windows=keep_windows)
