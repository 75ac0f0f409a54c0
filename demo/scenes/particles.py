"""Smoke, flames and explosions: soft pictures made of drifting noise, computed for any moment without a history."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import exp, sin, sqrt

import cv2
import numpy as np

from demo.scenes.sprites import Colour, Drawn, Item, Shape, View, clip_layer, item_of
from demo.scenes.textures import noise

SMOKE_OWNED_ALPHA = 0.3  # thin smoke is already smoke
SPLINTER = np.array((0.08, 0.05, 0.0))  # a splinter's length along the axes, metres
FIRE_LIGHT = np.ones(3, np.float32)  # fire shines by itself


def _puff(rng: np.random.Generator, size: int = 48) -> np.ndarray:
    """A soft lump of smoke, alpha [size, size] float32 0..1."""
    rows, columns = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j].astype(np.float32)
    radius = np.sqrt(rows**2 + columns**2)
    ragged = 1.05 - radius + 0.22 * noise(rng, (size, size), size / 3, 4) - 0.1
    return np.clip(ragged * 1.9, 0, 1) * np.clip((1 - radius) * 4, 0, 1)


class Plume:
    """Smoke or steam that rises from a place on the ground, drifts, grows and thins.

    Args:
        width: metres across at the source; rise: metres per second; life: seconds of one puff;
        count: puffs in the air at once; density: alpha of a fresh puff.
        start, end: seconds between which it is fed; group: its box group.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        x: float,
        z: float,
        *,
        width: float,
        rise: float,
        tone: Colour,
        density: float,
        life: float,
        count: int,
        foot: float = 0.0,
        start: float = -100.0,
        end: float = 1e9,
        group: int = 0,
    ) -> None:
        self._x, self._z, self._foot, self._width, self._rise = x, z, foot, width, rise
        self._tone, self._density, self._life, self._count = np.array(tone, np.float32), density, life, count
        self._start, self._end, self._group = start, end, group
        self._puffs = [_puff(rng) for _ in range(6)]
        self._scatter = rng.normal(0, 1, (64, 3))
        self._wind = float(rng.uniform(-0.25, 0.25))

    def items(self, t: float, view: View) -> list[Item]:
        """All puffs of t seconds as one layer."""
        scale = view.camera.px_per_m(self._x, self._z)
        side = int((self._width * 6 + self._rise * self._life * 0.7) * scale) + 4
        tall = int((self._rise * self._life + self._width * 2.5) * scale) + 4
        alpha = np.zeros((tall, side), np.float32)
        light = np.zeros((tall, side), np.float32)
        interval = self._life / self._count
        for index in range(int((t - self._life) // interval) + 1, int(t // interval) + 1):
            born = index * interval
            if self._start <= born < self._end and born <= t:
                self._stamp(alpha, light, index, t - born, scale)
        if not alpha.any():
            return []
        foot = view.camera.project(np.array([(self._x, self._foot, self._z)]))[0][0]
        picture = np.empty((tall, side, 4), np.float32)
        picture[..., :3] = self._tone * (light / np.maximum(alpha, 1e-4) * alpha)[..., None]
        picture[..., 3] = alpha
        layer = clip_layer(
            int(foot[0] - side / 2), int(foot[1] - tall + self._width * scale), picture, view.camera.size_wh
        )
        if layer is None:
            return []
        depth = view.camera.depth_at(self._x, self._z) - 0.1
        return [Item(depth, layer, view.gain(self._x, self._z), self._group, SMOKE_OWNED_ALPHA)]

    def _stamp(self, alpha: np.ndarray, light: np.ndarray, index: int, age: float, scale: float) -> None:
        """Lays one puff over the picture, in which the source is at the middle of the lower edge."""
        young = age / self._life
        dx, speed, tint = self._scatter[index % len(self._scatter)]
        size = int(self._width * (0.9 + 1.5 * young) * scale) + 3
        x = alpha.shape[1] / 2 + (self._width * 0.25 * dx + self._wind * age + 0.1 * sin(3 * age + dx)) * scale
        y = alpha.shape[0] - (self._width + self._rise * age * (1 + 0.12 * speed)) * scale
        left, top = int(x - size / 2), int(y - size / 2)
        x0, y0 = max(left, 0), max(top, 0)
        x1, y1 = min(left + size, alpha.shape[1]), min(top + size, alpha.shape[0])
        if x1 <= x0 or y1 <= y0:
            return
        puff = cv2.resize(self._puffs[index % len(self._puffs)], (size, size))[
            y0 - top : y1 - top, x0 - left : x1 - left
        ]
        part = puff * (self._density * min(young * 8, 1.0) * max(1 - young, 0.0) ** 0.6)
        rest = 1 - part
        alpha[y0:y1, x0:x1] = alpha[y0:y1, x0:x1] * rest + part
        light[y0:y1, x0:x1] = light[y0:y1, x0:x1] * rest + part * (1 + 0.09 * tint)


def _heat(value: np.ndarray) -> np.ndarray:
    """Flame colours [..., 4], premultiplied, of a temperature 0..1: dark red, orange, yellow, nearly white."""
    hot = np.clip(value, 0, 1)[..., None]
    steps = np.array([0.0, 0.25, 0.5, 0.75, 1.0])
    table = np.array([(0, 0, 30), (8, 38, 190), (20, 120, 250), (90, 215, 255), (215, 250, 255)], float)
    colour = np.stack([np.interp(hot[..., 0], steps, table[:, part]) for part in range(3)], axis=-1)
    alpha = np.clip(hot * 3.2, 0, 1)
    return np.concatenate([colour * alpha, alpha], axis=-1).astype(np.float32)


@dataclass(kw_only=True)
class Flames:
    """A fire on the ground: noise that climbs through the outline of a flame.

    Args:
        width, height: metres when fully grown.
        start, end: seconds; it grows for grow_s and dies down over the last two seconds.
    """

    seed: int
    x: float
    z: float
    width: float
    height: float
    start: float
    end: float
    grow_s: float = 2.5
    foot: float = 0.0
    group: int = 0
    _climb: np.ndarray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        field_ = noise(rng, (256, 64), 14, 3)
        ramp = np.linspace(0, 1, 32, dtype=np.float32)[:, None]
        field_[:32] = field_[:32] * ramp + field_[-32:][::-1] * (1 - ramp)
        self._climb = field_

    def size_at(self, t: float) -> float:
        """How far the fire has grown, 0..1."""
        if not self.start <= t < self.end:
            return 0.0
        return float(min((t - self.start) / self.grow_s, 1.0, (self.end - t) / 2.0)) ** 0.7

    def items(self, t: float, view: View) -> list[Item]:
        """The flames and a glow around them at t seconds."""
        grown = self.size_at(t)
        scale = view.camera.px_per_m(self.x, self.z)
        wide, tall = int(self.width * grown * scale), int(self.height * grown * scale)
        if min(wide, tall) < 3:
            return []
        offset = int((t * 150) % 190)
        rolling = self._climb[offset : offset + 66]
        columns = np.linspace(-1, 1, 64, dtype=np.float32)[None, :]
        rows = np.linspace(1, 0, 66, dtype=np.float32)[:, None]  # 1 at the tip
        wave = 0.12 * np.sin(7 * t + rows * 5) * rows
        outline = 1.25 - rows * 1.15 - ((columns + wave) / (1.05 - 0.55 * rows)) ** 2
        heat = np.clip(outline + 0.33 * rolling * (0.25 + rows), 0, 1) * np.clip((1 - np.abs(columns)) * 6, 0, 1)
        picture = cv2.resize(_heat(heat), (wide, tall), interpolation=cv2.INTER_AREA)
        foot = view.camera.project(np.array([(self.x, self.foot, self.z)]))[0][0]
        left, top = int(foot[0] - wide / 2), int(foot[1] - tall * 0.95)
        layer = clip_layer(left, top, picture, view.camera.size_wh)
        depth = view.camera.depth_at(self.x, self.z) - 0.15
        glow = self._glow(t, foot, wide, view, depth)
        return glow if layer is None else [*glow, Item(depth, layer, FIRE_LIGHT, self.group)]

    def _glow(self, t: float, foot: np.ndarray, wide: int, view: View, depth: float) -> list[Item]:
        half = int(wide * 1.6) + 2
        rows, columns = np.mgrid[-1 : 1 : half * 1j, -1 : 1 : 2 * half * 1j].astype(np.float32)
        light = np.clip(1 - np.sqrt(rows**2 + columns**2), 0, 1) ** 2 * (0.5 + 0.12 * sin(19 * t))
        picture = np.zeros((*light.shape, 4), np.float32)
        picture[..., :3] = light[..., None] * np.array((10, 60, 130), np.float32)
        layer = clip_layer(int(foot[0] - half), int(foot[1] - half / 2), picture, view.camera.size_wh)
        return [] if layer is None else [Item(depth + 0.02, layer, FIRE_LIGHT)]


@dataclass(kw_only=True)
class Blast:
    """The first second and a half of an explosion: a ball of fire and thrown splinters."""

    seed: int
    x: float
    z: float
    radius: float
    start: float
    foot: float = 0.2
    group: int = 0
    _ragged: np.ndarray = field(init=False, repr=False)
    _throw: np.ndarray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        self._ragged = noise(rng, (64, 64), 18, 4)
        self._throw = rng.normal(0, 1, (14, 3)) * (2.0, 0.8, 1.2) + (0, 2.6, 0)

    def flash(self, t: float) -> float:
        """The gain that the flash adds to the whole picture."""
        age = t - self.start
        return 0.9 * exp(-age / 0.12) if age >= 0 else 0.0

    def items(self, t: float, view: View) -> list[Item]:
        """The fireball and the splinters at t seconds."""
        age = t - self.start
        if not 0 <= age < 1.5:
            return []
        scale = view.camera.px_per_m(self.x, self.z)
        size = max(int(2 * self.radius * scale * min(0.35 + sqrt(age / 0.5) * 0.65, 1.1)), 4)
        rows, columns = np.mgrid[-1:1:64j, -1:1:64j].astype(np.float32)
        ball = 1.15 - (rows**2 + columns**2) - age / 1.1 + 0.3 * self._ragged * (0.4 + age)
        heat = np.clip(ball, 0, 1) * np.clip((1 - np.sqrt(rows**2 + columns**2)) * 5, 0, 1)
        picture = cv2.resize(_heat(heat), (size, size), interpolation=cv2.INTER_AREA)
        centre = np.array([(self.x, self.foot + self.radius * (0.5 + 0.5 * age), self.z)])
        middle = view.camera.project(centre)[0][0]
        layer = clip_layer(int(middle[0] - size / 2), int(middle[1] - size / 2), picture, view.camera.size_wh)
        depth = view.camera.depth_at(self.x, self.z) - 0.3
        items = [] if layer is None else [Item(depth, layer, FIRE_LIGHT, self.group)]
        flying = np.array((self.x, self.foot, self.z)) + self._throw * age - np.array((0, 4.9, 0)) * age**2
        shapes = [Shape(np.stack([spot, spot + SPLINTER]), (22, 24, 28), 0.05, True) for spot in flying if spot[1] > 0]
        splinters = item_of(Drawn(shapes, self.x, self.z, self.group), view) if shapes else None
        return items if splinters is None else [*items, splinters]
