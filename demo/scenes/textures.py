"""Procedural surfaces: every texture is an image [h, w, 3] float32, BGR 0..255, at TEXELS_PER_M."""

from __future__ import annotations

import cv2
import numpy as np

from demo.scenes.sprites import Colour

TEXELS_PER_M = 36  # finer than a pixel of a 640 x 360 frame at the usual distance


def texels(metres: float) -> int:
    """A length in texels."""
    return round(metres * TEXELS_PER_M)


def muted(rng: np.random.Generator, low: float, high: float, spread: float = 22.0) -> Colour:
    """A colour of the street: a grey between low and high, tinted a little."""
    grey = rng.uniform(low, high) * np.array((0.92, 0.97, 1.0))
    blue, green, red = np.clip(grey + rng.normal(0, spread, 3), 8, 240).tolist()
    return (blue, green, red)


def noise(rng: np.random.Generator, shape_hw: tuple[int, int], cell: float, octaves: int = 4) -> np.ndarray:
    """Fractal noise [h, w] float32, mean 0, standard deviation 1; cell is the size of its largest grain, texels."""
    height, width = shape_hw
    total = np.zeros(shape_hw, np.float32)
    for octave in range(octaves):
        grain = max(cell / 2**octave, 1.0)
        grid = rng.standard_normal((int(height / grain) + 3, int(width / grain) + 3)).astype(np.float32)
        total += cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC) * 0.6**octave
    return (total - total.mean()) / max(float(total.std()), 1e-6)


def plain(shape_hw: tuple[int, int], colour: Colour) -> np.ndarray:
    """An even surface."""
    return np.tile(np.array(colour, np.float32), (*shape_hw, 1))


def weathered(rng: np.random.Generator, shape_hw: tuple[int, int], colour: Colour, contrast: float = 1.0) -> np.ndarray:
    """A surface with grain, blotches and stains: asphalt, plaster, concrete."""
    surface = plain(shape_hw, colour)
    shade = 0.05 * noise(rng, shape_hw, 110, 4) + 0.045 * noise(rng, shape_hw, 6, 2)
    stains = np.clip(noise(rng, shape_hw, 60, 3) - 1.1, 0, None) * 0.12
    surface *= (1 + contrast * (shade - stains))[..., None]
    return surface


def tiled(
    rng: np.random.Generator,
    shape_hw: tuple[int, int],
    colour: Colour,
    tile_m: tuple[float, float],
    *,
    joint: float = 0.78,
    bond: bool = False,
    spread: float = 0.06,
) -> np.ndarray:
    """Slabs or bricks of tile_m (width, height) metres; bond shifts every other row by half a slab."""
    surface = weathered(rng, shape_hw, colour, 0.7)
    wide, high = max(3, round(tile_m[0] * TEXELS_PER_M)), max(3, round(tile_m[1] * TEXELS_PER_M))
    rows, columns = np.arange(shape_hw[0]), np.arange(shape_hw[1])
    row = rows // high
    shifted = columns[None, :] + (row % 2 * (wide // 2) if bond else np.zeros_like(row))[:, None]
    column = shifted // wide
    tint = rng.normal(1, spread, (row.max() + 1, column.max() + 1)).astype(np.float32)
    surface *= tint[row[:, None], column][..., None]
    joints = (rows % high == 0)[:, None] | (shifted % wide == 0)
    surface[joints] *= joint
    return surface


def fill(surface: np.ndarray, box_m: tuple[float, float, float, float], colour: Colour, mix: float = 1.0) -> None:
    """Paints a rectangle (left, top, right, bottom), metres in the texture, keeping 1 - mix of what is there."""
    left, top, right, bottom = (round(edge * TEXELS_PER_M) for edge in box_m)
    region = surface[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
    region *= 1 - mix
    region += np.array(colour, np.float32) * mix


def window(rng: np.random.Generator, surface: np.ndarray, box_m: tuple[float, float, float, float], lit: float) -> None:
    """A framed pane with a reflection that falls off downwards; lit 0..1 is a lamp behind it."""
    left, top, right, bottom = box_m
    frame = float(rng.uniform(60, 190))
    fill(surface, (left - 0.07, top - 0.07, right + 0.07, bottom + 0.07), (frame, frame, frame))
    fill(surface, (left - 0.1, bottom + 0.05, right + 0.1, bottom + 0.12), (150, 152, 155))
    rows = [round(edge * TEXELS_PER_M) for edge in (top, bottom)]
    columns = [round(edge * TEXELS_PER_M) for edge in (left, right)]
    pane = surface[max(rows[0], 0) : max(rows[1], 0), max(columns[0], 0) : max(columns[1], 0)]
    if not pane.size:
        return
    fall = np.linspace(1, 0.35, pane.shape[0], dtype=np.float32)[:, None, None]
    glass = np.array((92, 80, 70), np.float32) * fall * rng.uniform(0.5, 1.0)
    lamp = np.array((120, 190, 225), np.float32) * lit * rng.uniform(0.6, 1.0)
    streak = 1 + 0.16 * noise(rng, pane.shape[:2], 40, 2)
    pane[:] = (glass + lamp) * streak[..., None]
    middle = (left + right) / 2
    fill(surface, (middle - 0.025, top, middle + 0.025, bottom), (frame, frame, frame))


def poster(rng: np.random.Generator, surface: np.ndarray, box_m: tuple[float, float, float, float]) -> None:
    """A printed board: blocks of colour, a figure and lines of text, warm as often as cold."""
    left, top, right, bottom = box_m
    ground = rng.uniform(40, 220, 3)
    if rng.random() < 0.5:
        ground = np.array((30, rng.uniform(60, 150), rng.uniform(190, 235)))
    fill(surface, (left - 0.04, top - 0.04, right + 0.04, bottom + 0.04), (50, 50, 52))
    fill(surface, box_m, tuple(ground.tolist()))
    wide, high = right - left, bottom - top
    middle = left + wide * rng.uniform(0.35, 0.65)
    figure = tuple(rng.uniform(30, 200, 3).tolist())
    fill(surface, (middle - 0.1 * wide, top + 0.3 * high, middle + 0.1 * wide, top + 0.75 * high), figure)
    fill(surface, (middle - 0.06 * wide, top + 0.17 * high, middle + 0.06 * wide, top + 0.29 * high), (120, 150, 190))
    for line in range(3):
        y = top + (0.8 + 0.06 * line) * high
        fill(surface, (left + 0.1 * wide, y, left + wide * rng.uniform(0.5, 0.9), y + 0.025 * high), (235, 235, 235))
