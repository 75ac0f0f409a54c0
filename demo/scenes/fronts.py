"""Upright surfaces: house fronts outdoors, walls and shelves indoors."""

from __future__ import annotations

import numpy as np

from demo.scenes.textures import fill, muted, plain, poster, texels, tiled, weathered, window


def facade(rng: np.random.Generator, long: float, tall: float, dark: bool) -> np.ndarray:
    """A row of house fronts: brick or plaster, windows, doors, shop fronts, posters."""
    surface = plain((texels(tall), texels(long)), (120, 120, 120))
    x = 0.0
    while x < long:
        wide = float(rng.uniform(5, 9))
        columns = slice(texels(x), min(texels(x + wide), surface.shape[1]))
        shape = (surface.shape[0], columns.stop - columns.start)
        if shape[1] < 4:
            break
        tone = tuple((rng.uniform(70, 170) * np.array((0.86, 0.95, 1.04)) + rng.normal(0, 5, 3)).clip(30, 210).tolist())
        brick = rng.random() < 0.5
        house = tiled(rng, shape, tone, (0.24, 0.09), joint=0.86, bond=True) if brick else weathered(rng, shape, tone)
        if rng.random() < 0.55:
            _shop_front(rng, house, wide, tall, dark)
        else:
            _flat_front(rng, house, wide, tall, dark)
        surface[:, columns] = house
        x += wide
    return surface


def _shop_front(rng: np.random.Generator, house: np.ndarray, wide: float, tall: float, dark: bool) -> None:
    lit = float(rng.uniform(0.5, 1.0)) if dark else float(rng.uniform(0, 0.3))
    board = muted(rng, 40, 170, 35)
    fill(house, (0.3, tall - 3.3, wide - 0.3, tall - 2.75), board)
    for letter in np.arange(1.0, wide - 1.2, 0.34):
        if rng.random() < 0.8:
            top = tall - 3.15 + float(rng.uniform(0, 0.08))
            fill(house, (letter, top, letter + rng.uniform(0.1, 0.22), tall - 2.9), (215, 220, 225), 0.85)
    window(rng, house, (0.5, tall - 2.6, wide - 1.9, tall - 0.5), lit)
    window(rng, house, (wide - 1.6, tall - 2.5, wide - 0.6, tall - 0.06), lit * 0.7)
    _upper_windows(rng, house, wide, tall - 3.6, dark)


def _flat_front(rng: np.random.Generator, house: np.ndarray, wide: float, tall: float, dark: bool) -> None:
    door = float(rng.uniform(0.6, wide - 1.8))
    tone = muted(rng, 40, 110)
    fill(house, (door - 0.08, tall - 2.2, door + 1.03, tall), (165, 168, 170))
    fill(house, (door, tall - 2.12, door + 0.95, tall), tone)
    for x in np.arange(0.5, wide - 1.4, 2.0):
        if abs(x - door) > 1.5:
            window(rng, house, (x, tall - 2.3, x + 1.1, tall - 0.95), float(dark) * float(rng.random() < 0.5))
    if rng.random() < 0.5:
        left = float(rng.uniform(0.2, wide - 1.2))
        poster(rng, house, (left, tall - 2.0, left + 0.8, tall - 0.8))
    _upper_windows(rng, house, wide, tall - 3.2, dark)


def _upper_windows(rng: np.random.Generator, house: np.ndarray, wide: float, foot: float, dark: bool) -> None:
    for y in np.arange(foot - 0.4, 0.8, -2.6):
        for x in np.arange(0.6, wide - 1.2, 1.9):
            window(rng, house, (x, y - 1.4, x + 0.95, y), float(dark) * float(rng.random() < 0.4))


def wall_fittings(rng: np.random.Generator, wall: np.ndarray, long: float) -> None:
    """Skirting, a dado, doors and notice boards."""
    fill(wall, (0, 3.08, long, 3.2), (70, 72, 76))
    if rng.random() < 0.5:
        fill(wall, (0, 2.1, long, 3.08), muted(rng, 80, 150, 12), 0.6)
    x = float(rng.uniform(0.4, 1.2))
    while x < long - 1.4:
        if rng.random() < 0.5:
            tone = tuple((rng.uniform(50, 120) * np.array((0.7, 0.85, 1.0))).tolist())
            fill(wall, (x - 0.07, 1.03, x + 1.07, 3.2), (150, 152, 154))
            fill(wall, (x, 1.1, x + 1.0, 3.2), tone)
            fill(wall, (x + 0.6, 1.3, x + 0.85, 2.0), (120, 112, 104))
        else:
            poster(rng, wall, (x, 1.2, x + float(rng.uniform(0.6, 1.1)), 2.1))
        x += float(rng.uniform(1.8, 3.4))


def shelf(rng: np.random.Generator, long: float) -> np.ndarray:
    """A shelf unit 1.9 m tall, filled with packages."""
    unit = plain((texels(1.9), texels(long)), (62, 64, 68))
    for y in np.arange(0.1, 1.6, 0.36):
        x = 0.05
        while x < long - 0.1:
            wide = float(rng.uniform(0.08, 0.24))
            tone = muted(rng, 50, 200, 38)
            for copy in range(int(rng.integers(1, 4))):
                start = x + copy * wide
                fill(unit, (start, y + rng.uniform(0.02, 0.1), start + wide * 0.9, y + 0.31), tone)
                x = start + wide
        fill(unit, (0, y + 0.31, long, y + 0.36), (175, 176, 178))
    return unit
