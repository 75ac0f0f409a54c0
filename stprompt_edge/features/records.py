"""What is known of the features of a video.

Suffixes: T sampled frames, N fine windows, D width of the embedding.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stprompt_edge.bundle import ENCODER_NAMES, Bundle


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
