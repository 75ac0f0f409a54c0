"""A camera frame as a picture, BGR, or as hardware decoders leave it, NV12, with what that means in BGR.

A pixel of an NV12 frame has its own luma and shares its chroma pair with the other three of its 2 x 2 block (nearest:
no interpolation). The conversion is integer arithmetic in units of 2^-16, so NumPy and every device agree: a value is
gain (Y - offset) + weight_u (U - 128) + weight_v (V - 128) + 2^15, shifted right by 16 bits, clipped to 0..255.

Suffixes: H height, W width; h and w are half of them, rounded up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Matrix = Literal["bt601", "bt709"]

# Weights of red and blue in luma: ITU-R BT.601-7 section 2.5.1 and BT.709-6 section 3.2; green has the rest.
LUMA_WEIGHTS: dict[Matrix, tuple[float, float]] = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722)}
FRACTION_BITS = 16  # sums stay under 2^26


@dataclass(frozen=True, kw_only=True)
class ColourRule:
    """Y, U, V -> B, G, R in units of 2^-16; field names as in `preprocess.cu`."""

    luma_offset: int
    luma_gain: int
    red_v: int
    green_u: int
    green_v: int
    blue_u: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Nv12Frame:
    """A decoded frame as hardware decoders give it; the arrays are views, rows may be apart.

    Raises:
        ValueError: if the planes do not fit each other, or the matrix is unknown.
    """

    luma: NDArray[np.uint8]  # [H, W]
    chroma: NDArray[np.uint8]  # [h, w, 2], U then V
    matrix: Matrix = "bt601"
    full_range: bool = False  # luma 0..255 (JPEG, some cameras) instead of 16..235

    def __post_init__(self) -> None:
        if self.matrix not in LUMA_WEIGHTS:
            raise ValueError(f"unknown colour matrix '{self.matrix}', known: {', '.join(LUMA_WEIGHTS)}")
        if self.luma.ndim != 2 or self.luma.dtype != np.uint8 or self.chroma.dtype != np.uint8:
            raise ValueError(f"NV12 luma must be [H, W] uint8, got {self.luma.shape} {self.luma.dtype}")
        height, width = self.luma.shape
        expected = ((height + 1) // 2, (width + 1) // 2, 2)
        if self.chroma.shape != expected:
            raise ValueError(f"chroma of a {width}x{height} NV12 frame must be {expected}, got {self.chroma.shape}")

    @property
    def colour(self) -> ColourRule:
        """The rule of its matrix and range."""
        return colour_rule(self.matrix, full_range=self.full_range)


def colour_rule(matrix: Matrix, *, full_range: bool) -> ColourRule:
    """The integers of a matrix and range (BT.601-7 section 2.5.3, BT.709-6 section 3.4 and 4.4, inverted)."""
    red, blue = LUMA_WEIGHTS[matrix]
    green = 1 - red - blue
    luma_gain, chroma_gain = (1.0, 1.0) if full_range else (255 / 219, 255 / 224)

    def fixed(value: float) -> int:
        return round(value * (1 << FRACTION_BITS))

    return ColourRule(
        luma_offset=0 if full_range else 16,
        luma_gain=fixed(luma_gain),
        red_v=fixed(2 * (1 - red) * chroma_gain),
        green_u=fixed(-2 * blue * (1 - blue) / green * chroma_gain),
        green_v=fixed(-2 * red * (1 - red) / green * chroma_gain),
        blue_u=fixed(2 * (1 - blue) * chroma_gain),
    )


@dataclass(frozen=True, kw_only=True)
class CameraFrame:
    """One decoded camera frame, as a picture; `planes.PlanarFrame` becomes one when somebody asks."""

    index: int  # 0-based count of decoded camera frames
    seconds: float  # presentation time from the start of the source, as players show it
    image_bgr: NDArray[np.uint8]  # [H, W, 3] BGR uint8, upright; owned by the receiver

    @property
    def pixels(self) -> NDArray[np.uint8] | Nv12Frame:
        """What a device that preprocesses frames itself takes: the cheapest there is."""
        return self.image_bgr

    @property
    def size_wh(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.image_bgr.shape[1], self.image_bgr.shape[0]
