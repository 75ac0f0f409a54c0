"""Features of videos on disk: one safetensors file for each, made by the packed encoder and preprocessing of the edge.

A feature file holds `x_clip` [T, D] and `x_as` [T, D] (float16), `motion` [T, 49] (float32, pixel motion) and, if kept,
`windows` [T, 49, D] (float16). Its metadata names the encoder, stride and windows that made it, and the size of its
video. Where sampled frames could not be read, `frames` [T] (int64) has the numbers of those that were.

Suffixes: T sampled frames, N fine windows, K selected windows, D width of the embedding.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from stprompt_edge.bundle import ENCODER_NAMES, Bundle
from stprompt_edge.datasets.feature_checks import check_shapes, check_values
from stprompt_edge.errors import SourceError, UsageError
from stprompt_edge.features.segments import segment_means
from stprompt_edge.files import write_bytes_atomic
from stprompt_edge.preprocess import Preprocessor
from stprompt_edge.runtime.backends.base import Backend
from stprompt_edge.runtime.motion import SecondDifference, Selection, aggregate, pixel_motion, select_windows
from stprompt_edge.runtime.sampler import Sampler
from stprompt_edge.runtime.sources import open_source, pictures_of

_METADATA_KEY = "stprompt-edge"


@dataclass(frozen=True, kw_only=True)
class FeatureOrigin:
    """What made a feature file; files of different origin are not trained on together.

    Weights are compared by their values: what they were called does not count.
    """

    clip: str  # open_clip's model name
    pretrained: str = field(compare=False)
    seed: int = field(compare=False)
    weights_sha256: str | None  # see `Clip.weights_sha256`; None for published features, which do not tell
    precision: str  # of the encoder
    encoder_sha256: str | None  # of the bundle's graph; None for torch, which has none
    stride: int
    windows: int  # K of SA²
    motion_timing: str

    @classmethod
    def of(
        cls, bundle: Bundle, stride: int, *, precision: str = "fp32", torch_weights: str | None = None
    ) -> FeatureOrigin:
        """The origin of what `bundle` extracts.

        Args:
            bundle: names the encoder, K and the motion's timing.
            stride: camera frames per sampled frame.
            precision: of the encoder.
            torch_weights: sha256 of the weights that torch embeds with, in place of the bundle's graph.
        """
        clip, method = bundle.manifest.clip, bundle.manifest.method
        graph = bundle.manifest.files.get(ENCODER_NAMES[precision]) if torch_weights is None else None
        return cls(
            clip=clip.model,
            pretrained=clip.pretrained,
            seed=clip.seed,
            weights_sha256=torch_weights or clip.weights_sha256,
            precision=precision,
            encoder_sha256=None if graph is None else graph.sha256,
            stride=stride,
            windows=method.windows,
            motion_timing=method.motion_timing,
        )


@dataclass(frozen=True, kw_only=True)
class FeatureHeader:
    """What a feature file says of itself."""

    origin: FeatureOrigin
    source_size: int | None  # see `source_size`
    seconds_between_samples: float  # 0.0 when unknown
    has_windows: bool
    width: int  # D
    fine_count: int  # N


@dataclass(frozen=True, kw_only=True)
class VideoFeatures:
    """What a feature file holds, as float32."""

    origin: FeatureOrigin
    seconds_between_samples: float  # 0.0 when unknown
    x_clip: NDArray[np.float32]  # [T, D]
    x_as: NDArray[np.float32]  # [T, D]
    motion: NDArray[np.float32]  # [T, N]
    windows: (
        NDArray[np.floating[Any]] | None
    )  # [T, N, D]; float16 fresh from a video, to halve the memory of a long one
    frames: NDArray[np.int64] | None = None  # [T] camera frame of each row; None where no sampled frame is missing
    source_size: int | None = None  # when reading began, see the function of that name
    warnings: tuple[str, ...] = ()  # what its source said while it was read; not stored


def source_size(video: Path) -> int | None:
    """Bytes of a video file, or pictures of an image folder; None if it cannot be looked at."""
    try:
        if video.is_dir():
            return len(pictures_of(video))
        return video.stat().st_size
    except OSError:
        return None


def extract_video(
    video: Path,
    bundle: Bundle,
    backend: Backend,
    *,
    origin: FeatureOrigin,
    keep_windows: bool = False,
    batch: int = 1,
    fps: float | None = None,
    on_frame: Callable[[], None] = lambda: None,
) -> VideoFeatures:
    """Embed every sampled frame of a video and its windows.

    Args:
        video: file or image folder to read.
        bundle: encoder, geometry and SA²'s K and timing.
        backend: the bundle's graphs, open.
        origin: what the backend embeds with, and the stride.
        keep_windows: encode all fine windows and keep them; otherwise only the K selected ones are encoded.
        batch: sampled frames to encode at once.
        fps: of an image folder; None where nobody knows, and for files.
        on_frame: called after each sampled frame is read; what it raises ends the extraction.

    Raises:
        SourceError: if the video cannot be read, or its features cannot be stored: not finite in float16.
    """
    size = source_size(video)  # before it is read: of a video that is still being copied it will not be the same later
    sampler, preprocess = Sampler(origin.stride), Preprocessor(bundle.preprocessing)
    difference = SecondDifference(bundle.manifest.method.motion_timing)
    rows = _Rows(bundle, backend, keep_windows, batch)
    wanted: list[int] = []
    read: list[int] = []

    def takes(index: int) -> bool:
        if sampler.takes(index):
            wanted.append(index)
        return sampler.takes(index)

    with open_source(str(video), fps=fps) as source:
        spacing = sampler.seconds_between_samples(source.info.known_fps)
        for frame in source.frames(takes):
            read.append(frame.index)
            prepared = preprocess(frame.image_bgr)
            rows.add_image(prepared.image)
            ready = difference.push(prepared.luma)
            if ready is not None:
                rows.add_motion(ready)
            on_frame()
    for ready in difference.flush():
        rows.add_motion(ready)
    rows.encode()
    if not rows.x_clip:
        raise SourceError(f"{video}: none of its sampled frames can be read", remedy="copy it again")
    features = VideoFeatures(
        origin=origin,
        seconds_between_samples=spacing,
        x_clip=np.concatenate(rows.x_clip),
        x_as=np.stack(rows.x_as),
        motion=np.stack(rows.motion),
        windows=np.concatenate(rows.windows) if keep_windows else None,
        frames=None if read == wanted else np.array(read, np.int64),
        source_size=size,
        warnings=tuple(source.warnings),
    )
    if not all(np.isfinite(tensor).all() for tensor in _stored(features).values()):
        raise SourceError(
            f"{video}: the encoder ({origin.precision}) gives values that are not finite in float16",
            remedy="extract with another --precision",
        )
    return features


class _Rows:
    """Collects the rows of one video, encoding a batch of frames whenever their motion is known.

    Suffix B: frames of a batch.
    """

    def __init__(self, bundle: Bundle, backend: Backend, keep_windows: bool, batch: int) -> None:
        self._bundle = bundle
        self._backend = backend
        self._keep_windows = keep_windows
        self._batch = batch
        self._all_fine = np.arange(bundle.geometry.fine_count, dtype=np.int64)
        self._images: deque[NDArray[np.float32]] = deque()  # oldest first; the last may wait for its motion
        self._selections: list[Selection] = []
        self.x_clip: list[NDArray[np.float32]] = []  # [B, D] each
        self.x_as: list[NDArray[np.float32]] = []  # [D] each
        self.motion: list[NDArray[np.float32]] = []  # [N] each
        self.windows: list[NDArray[np.float16]] = []  # [B, N, D] each

    def add_image(self, image: NDArray[np.float32]) -> None:
        """The next sampled frame, preprocessed."""
        self._images.append(image)

    def add_motion(self, luma_difference: NDArray[np.float32]) -> None:
        """The motion of the oldest frame without one."""
        motion = pixel_motion(luma_difference, self._bundle.geometry)
        self.motion.append(motion)
        self._selections.append(select_windows(motion, self._bundle.manifest.method.windows))
        if len(self._selections) == self._batch:
            self.encode()

    def encode(self) -> None:
        """Everything that has its motion."""
        selections, self._selections = self._selections, []
        if not selections:
            return
        images = np.stack([self._images.popleft() for _ in selections])
        wanted = [self._all_fine if self._keep_windows else selection.indices for selection in selections]
        fine = np.stack(wanted)  # [B, K or N]
        encoded = self._backend.encode(images, fine, fine[:, :0])
        self.x_clip.append(encoded.frame)
        for selection, embeddings in zip(selections, encoded.fine, strict=True):
            selected = embeddings[selection.indices] if self._keep_windows else embeddings
            self.x_as.append(aggregate(selected, selection.attention))
        if self._keep_windows:
            self.windows.append(_half(encoded.fine))


def save_features(path: Path, features: VideoFeatures) -> None:
    """Write a feature file whole or not at all. Raises as `files.disk_errors`."""
    write_bytes_atomic(path, _serialized(features))


def _serialized(features: VideoFeatures) -> bytes:
    description = {
        "origin": asdict(features.origin),
        "seconds_between_samples": features.seconds_between_samples,
        "source_size": features.source_size,
    }
    return save(_stored(features), metadata={_METADATA_KEY: json.dumps(description)})


def _stored(features: VideoFeatures) -> dict[str, NDArray[Any]]:
    """The tensors of the file."""
    tensors: dict[str, NDArray[Any]] = {
        "x_clip": _half(features.x_clip), "x_as": _half(features.x_as), "motion": features.motion,
    }  # fmt: skip
    if features.windows is not None:
        tensors["windows"] = _half(features.windows)
    if features.frames is not None:
        tensors["frames"] = features.frames
    return tensors


def _half(values: NDArray[Any]) -> NDArray[np.float16]:
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
