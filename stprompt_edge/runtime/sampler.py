"""Which camera frames are sampled, and whether that matches what the bundle was trained with."""

from __future__ import annotations

import math
from dataclasses import dataclass

from stprompt_edge.bundle import MethodSection
from stprompt_edge.errors import UsageError

SPACING_TOLERANCE = 2.0  # the adapter's kernel counts sampled frames: half or double the trained spacing still fits it


@dataclass(frozen=True)
class Sampler:
    """Takes 1 of every `stride` camera frames, the first one included.

    Raises:
        UsageError: `stride` is under 1.
    """

    stride: int

    def __post_init__(self) -> None:
        if self.stride < 1:
            raise UsageError(f"stride must be 1 or more, got {self.stride}", remedy="1 looks at every camera frame")

    def takes(self, index: int) -> bool:
        """Is the camera frame with this 0-based index a sampled frame?"""
        return index % self.stride == 0

    def seconds_between_samples(self, fps: float) -> float:
        """Seconds between two sampled frames at `fps` camera frames per second; 0.0 when `fps` is unknown (0.0)."""
        return self.stride / fps if fps > 0 else 0.0


def default_stride(method: MethodSection, fps: float) -> int:
    """The stride of a source where nobody gave one: as many seconds from sample to sample as in training.

    Args:
        method: the bundle's; its own stride is taken where the seconds or the rate are unknown.
        fps: camera frames per second; 0.0 when unknown.
    """
    seconds = method.seconds_between_samples or 0.0
    return closest_stride(seconds, fps) if seconds > 0 and 0 < fps < math.inf else method.stride


def closest_stride(seconds: float, fps: float) -> int:
    """Camera frames, at least 1, that come closest to so many seconds at `fps`."""
    return max(1, round(seconds * fps))


def stride_warning(stride: int, fps: float, trained_seconds: float) -> str | None:
    """A line for the user when the source is sampled much denser or sparser than the bundle's training videos.

    Args:
        stride: camera frames per sampled frame, 1 or more.
        fps: camera frames per second; 0.0 when unknown.
        trained_seconds: seconds between sampled frames in training; 0.0 when unknown.

    Returns:
        None within a factor of `SPACING_TOLERANCE`, when something is unknown, or when no other stride comes closer.
    """
    seconds = Sampler(stride).seconds_between_samples(fps)
    if not (seconds > 0 and trained_seconds > 0 and math.isfinite(seconds) and math.isfinite(trained_seconds)):
        return None
    if 1 / SPACING_TOLERANCE <= seconds / trained_seconds <= SPACING_TOLERANCE:
        return None
    suggested = closest_stride(trained_seconds, fps)
    if suggested == stride:
        return None
    return (
        f"stride {stride} at {fps:.4g} fps samples every {seconds:.3g} s, the bundle was trained with one every "
        f"{trained_seconds:.3g} s: stride {suggested} is closest to that"
    )
