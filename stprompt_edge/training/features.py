"""Features of videos on disk: one safetensors file for each, made by the packed encoder and preprocessing of the edge.

A feature file holds `x_clip` [T, D] and `x_as` [T, D] (float16), `motion` [T, 49] (float32, pixel motion) and, if kept,
`windows` [T, 49, D] (float16). Its metadata names the encoder, stride and windows that made it.

Suffixes: T sampled frames, N fine windows, K selected windows, D width of the embedding.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from stprompt_edge.bundle import Bundle
from stprompt_edge.errors import UsageError
from stprompt_edge.files import write_bytes_atomic
from stprompt_edge.preprocess import Preprocessor
from stprompt_edge.runtime.backends.base import Backend
from stprompt_edge.runtime.motion import SecondDifference, aggregate, pixel_motion, select_windows
from stprompt_edge.runtime.sampler import Sampler
from stprompt_edge.runtime.sources import open_source

_METADATA_KEY = "stprompt-edge"


@dataclass(frozen=True, kw_only=True)
class FeatureOrigin:
    """What made a feature file; files of different origin are not trained on together."""

    clip: str  # open_clip's model name
    pretrained: str
    seed: int
    stride: int
    windows: int  # K of SA²
    motion_timing: str

    @classmethod
    def of(cls, bundle: Bundle, stride: int) -> FeatureOrigin:
        """The origin of what `bundle` extracts."""
        clip, method = bundle.manifest.clip, bundle.manifest.method
        return cls(
            clip=clip.model,
            pretrained=clip.pretrained,
            seed=clip.seed,
            stride=stride,
            windows=method.windows,
            motion_timing=method.motion_timing,
        )


@dataclass(frozen=True, kw_only=True)
class VideoFeatures:
    """What a feature file holds, as float32."""

    origin: FeatureOrigin
    seconds_between_samples: float  # 0.0 when unknown
    x_clip: NDArray[np.float32]  # [T, D]
    x_as: NDArray[np.float32]  # [T, D]
    motion: NDArray[np.float32]  # [T, N]
    windows: NDArray[np.float32] | None  # [T, N, D]


def extract_video(
    video: Path, bundle: Bundle, backend: Backend, *, stride: int, keep_windows: bool = False
) -> VideoFeatures:
    """Embed every sampled frame of a video and its windows.

    Args:
        video: file to read.
        bundle: encoder, geometry and SA²'s K and timing.
        backend: the bundle's graphs, open.
        stride: camera frames per sampled frame.
        keep_windows: encode all fine windows and keep them; otherwise only the K selected ones are encoded.

    Raises:
        SourceError: if the video cannot be read.
    """
    sampler, preprocess = Sampler(stride), Preprocessor(bundle.preprocessing)
    difference = SecondDifference(bundle.manifest.method.motion_timing)
    step = _Step(bundle, backend, keep_windows)
    with open_source(str(video)) as source:
        spacing = sampler.seconds_between_samples(source.info.fps)
        for frame in source.frames(sampler.takes):
            prepared = preprocess(frame.image_bgr)
            step.waiting.append(prepared.image)
            ready = difference.push(prepared.luma)
            if ready is not None:
                step.encode(ready)
    for ready in difference.flush():
        step.encode(ready)
    return VideoFeatures(
        origin=FeatureOrigin.of(bundle, stride),
        seconds_between_samples=spacing,
        x_clip=np.stack(step.x_clip),
        x_as=np.stack(step.x_as),
        motion=np.stack(step.motion),
        windows=np.stack(step.windows) if keep_windows else None,
    )


class _Step:
    """Collects the rows of one video."""

    def __init__(self, bundle: Bundle, backend: Backend, keep_windows: bool) -> None:
        self._bundle = bundle
        self._backend = backend
        self._keep_windows = keep_windows
        self._all_fine = np.arange(bundle.geometry.fine_count, dtype=np.int64)
        self.waiting: list[NDArray[np.float32]] = []
        self.x_clip: list[NDArray[np.float32]] = []
        self.x_as: list[NDArray[np.float32]] = []
        self.motion: list[NDArray[np.float32]] = []
        self.windows: list[NDArray[np.float32]] = []

    def encode(self, luma_difference: NDArray[np.float32]) -> None:
        """The oldest waiting frame, now that its motion is known."""
        motion = pixel_motion(luma_difference, self._bundle.geometry)
        selection = select_windows(motion, self._bundle.manifest.method.windows)
        fine = self._all_fine if self._keep_windows else selection.indices
        encoded = self._backend.encode(self.waiting.pop(0)[None], fine[None], self._all_fine[None, :0])
        selected = encoded.fine[0][selection.indices] if self._keep_windows else encoded.fine[0]
        self.x_clip.append(encoded.frame[0])
        self.x_as.append(aggregate(selected, selection.attention))
        self.motion.append(motion)
        if self._keep_windows:
            self.windows.append(encoded.fine[0].astype(np.float16))


def save_features(path: Path, features: VideoFeatures) -> None:
    """Write a feature file whole or not at all. Raises as `files.disk_errors`."""
    tensors: dict[str, NDArray] = {
        "x_clip": features.x_clip.astype(np.float16),
        "x_as": features.x_as.astype(np.float16),
        "motion": features.motion,
    }
    if features.windows is not None:
        tensors["windows"] = features.windows.astype(np.float16)
    description = {**asdict(features.origin), "seconds_between_samples": features.seconds_between_samples}
    write_bytes_atomic(path, save(tensors, metadata={_METADATA_KEY: json.dumps(description)}))


def load_features(path: Path) -> VideoFeatures:
    """Read a feature file.

    Raises:
        UsageError: if it is missing or not one of ours.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            description = json.loads((file.metadata() or {})[_METADATA_KEY])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a dict
        spacing = float(description.pop("seconds_between_samples"))
        windows = tensors.get("windows")
        return VideoFeatures(
            origin=FeatureOrigin(**description),
            seconds_between_samples=spacing,
            x_clip=tensors["x_clip"].astype(np.float32),
            x_as=tensors["x_as"].astype(np.float32),
            motion=tensors["motion"],
            windows=None if windows is None else windows.astype(np.float32),
        )
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as exc:
        raise UsageError(
            f"{path} is not a feature file of stprompt-edge ({type(exc).__name__}: {exc})",
            remedy="extract this video again",
        ) from exc


def estimate_bytes(sampled_frames: int, width: int, fine_count: int, *, keep_windows: bool) -> int:
    """Disk that features of so many sampled frames take."""
    per_frame = 2 * width * 2 + fine_count * 4 + (fine_count * width * 2 if keep_windows else 0)
    return sampled_frames * per_frame
