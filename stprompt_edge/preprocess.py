"""THE DEFINITION of camera frame -> network input. Training, export, calibration, runtime and tests all call this one.

Sampling rule: BGR uint8 of any size is resized to size x size without keeping the aspect ratio. An axis that
shrinks is area-averaged (cv2.INTER_AREA); an axis that grows is then interpolated bilinearly (cv2.INTER_LINEAR,
half-pixel centres, edge pixels repeated). The result of the resize is rounded to uint8, so every later value is a
function of 224 x 224 x 3 bytes. Channels are then RGB, (value / 255 - mean) / std.

Array suffixes: H height, W width, C channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

# CLIP's image statistics, RGB, of values in 0..1 (Radford et al. 2021, released preprocessing).
CLIP_MEAN_RGB = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD_RGB = (0.26862954, 0.26130258, 0.27577711)
LUMA_BGR = (0.114, 0.587, 0.299)  # ITU-R BT.601 weights, in BGR order


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """The parameters of the definition; they travel in the bundle.

    Raises:
        ValueError: if a value is out of range.
    """

    size: int = 224
    mean_rgb: tuple[float, float, float] = CLIP_MEAN_RGB
    std_rgb: tuple[float, float, float] = CLIP_STD_RGB

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"preprocessing size must be at least 1, got {self.size}")
        if min(self.std_rgb) <= 0:
            raise ValueError(f"preprocessing std must be positive, got {self.std_rgb}")


@dataclass(frozen=True, kw_only=True)
class PreprocessedFrame:
    """What the network and the pixel motion see of one camera frame; arrays owned by the receiver."""

    image: NDArray[np.float32]  # [3, size, size] RGB, normalised
    luma: NDArray[np.float32]  # [size, size], BT.601 luma of the resized frame, 0..1


class Preprocessor:
    """`preprocess` with its normalisation tables built once.

    Args:
        spec: size, mean and standard deviation.
    """

    def __init__(self, spec: Preprocessing) -> None:
        self.spec = spec
        levels = np.arange(256, dtype=np.float32) / np.float32(255)
        mean, std = np.asarray(spec.mean_rgb, np.float32), np.asarray(spec.std_rgb, np.float32)
        self._table_C256 = (levels - mean[:, None]) / std[:, None]  # [3, 256] RGB
        self._luma_BGR = np.asarray(LUMA_BGR, np.float32) / np.float32(255)

    def __call__(self, image_bgr: NDArray[np.uint8]) -> PreprocessedFrame:
        """Resize and normalise one frame.

        Args:
            image_bgr: [H, W, 3] BGR uint8, H and W at least 1; not changed.

        Returns:
            The normalised [3, size, size] float32 image and the [size, size] float32 luma.
        """
        small = resize_to_square(image_bgr, self.spec.size)  # [size, size, 3] BGR uint8
        image = np.empty((3, self.spec.size, self.spec.size), np.float32)
        for channel in range(3):
            np.take(self._table_C256[channel], small[:, :, 2 - channel], out=image[channel], mode="clip")
        luma: Any = cv2.transform(small.astype(np.float32), self._luma_BGR[None])  # [size, size]
        return PreprocessedFrame(image=image, luma=luma.reshape(self.spec.size, self.spec.size))


def resize_to_square(image_bgr: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Resize to size x size by the sampling rule at the head of this file.

    Args:
        image_bgr: [H, W, 3] uint8.
        size: pixels of each side of the result.

    Returns:
        [size, size, 3] uint8; may be `image_bgr` itself when it already has that size.
    """
    height, width = image_bgr.shape[:2]
    shrunk = (min(width, size), min(height, size))
    if (width, height) != shrunk:
        image_bgr = cv2.resize(image_bgr, shrunk, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    if shrunk != (size, size):
        image_bgr = cv2.resize(image_bgr, (size, size), interpolation=cv2.INTER_LINEAR)  # type: ignore[assignment]
    return image_bgr


def preprocess(image_bgr: NDArray[np.uint8], spec: Preprocessing) -> PreprocessedFrame:
    """One frame, once; `Preprocessor` is the same with its tables kept.

    Args:
        image_bgr: [H, W, 3] BGR uint8.
        spec: size, mean and standard deviation.

    Returns:
        See `Preprocessor.__call__`.
    """
    return Preprocessor(spec)(image_bgr)
