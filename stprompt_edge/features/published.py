"""Published CLIP features of whole frames as feature files: what `train` needs of them and they do not have is zero.

They come without windows and without motion, so x_as is zero and SA² has K = 0. The origin says so, `train` writes it
into the checkpoint, and the runtime of its bundle looks at no windows either: what is trained is what runs.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from stprompt_edge.datasets.clip_features import STRIDE, read_rows
from stprompt_edge.errors import UsageError
from stprompt_edge.features.records import FeatureOrigin, VideoFeatures
from stprompt_edge.features.settings import ExtractionSettings
from stprompt_edge.features.video import source_size


def published_origin() -> FeatureOrigin:
    """OpenAI's ViT-B/16 on whole frames. Without motion no later frame is waited for: causal."""
    return FeatureOrigin(
        clip="ViT-B-16-quickgelu",
        pretrained="openai",
        seed=0,
        weights_sha256=None,  # known by their name alone
        precision="published",
        encoder_sha256=None,
        stride=STRIDE,
        windows=0,
        motion_timing="causal",
    )


def count_frames(path: Path) -> int | None:
    """Camera frames of a crop's file, from its header alone; None if that cannot be read."""
    headers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    try:
        with path.open("rb") as file:
            shape, _, _ = headers[npy.read_magic(file)](file)
        return int(shape[0]) * STRIDE
    except (OSError, ValueError, LookupError):
        return None


def read_published(path: Path) -> VideoFeatures:
    """The features of a crop's file. Raises UsageError as `read_rows`."""
    x_clip_TD = read_rows(path)
    return VideoFeatures(
        origin=published_origin(),
        seconds_between_samples=0.0,  # the frame rate is not published
        x_clip=x_clip_TD,
        x_as=np.zeros_like(x_clip_TD),
        motion=np.zeros((len(x_clip_TD), 0), np.float32),
        windows=None,
        source_size=source_size(path),
    )


def check_settings(settings: ExtractionSettings) -> None:
    """Published features are as they are. Raises UsageError for options that want them otherwise."""
    if settings.stride != STRIDE:
        raise UsageError(
            f"published features have one row for {STRIDE} camera frames, not for {settings.stride}",
            remedy="leave out --stride, or extract from the videos",
        )
    if settings.keep_windows:
        raise UsageError(
            "published features are of whole frames and have no windows to keep",
            remedy="leave out --keep windows, or extract from the videos",
        )
