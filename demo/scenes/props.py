"""Things that belong to a place: parked cars, furniture, trees, flags and signs. All of them are normal."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import pi, sin

import cv2
import numpy as np

from demo.scenes.particles import Plume
from demo.scenes.sprites import Colour, Drawn, Effect, Item, Layer, Shape, View, clip_layer, item_of
from demo.scenes.vehicles import Faces, VehiclePose, car_shapes, random_car

Eye = tuple[float, float, float]
THING = "thing"  # of no interest to a caption


@dataclass(frozen=True)
class Still:
    """A thing that never moves: it is drawn once."""

    shown: Drawn
    kind: str = THING

    def drawn(self, t: float, view: View) -> Drawn:
        """The same at any t."""
        return self.shown


Prop = Still | Effect


def box_shapes(
    x: float, z: float, size: tuple[float, float, float], colour: Colour, eye: Eye, sun: np.ndarray, foot: float = 0.0
) -> list[Shape]:
    """The visible faces of a box of size (wide, tall, deep) whose floor is at height foot."""
    faces = Faces(VehiclePose(x=x, z=z, heading=0.0), eye, sun)
    w, d = size[0] / 2, size[2] / 2
    low, high = foot, foot + size[1]
    faces.face([(-w, low, -d), (-w, high, -d), (w, high, -d), (w, low, -d)], colour)
    faces.face([(-w, low, d), (w, low, d), (w, high, d), (-w, high, d)], colour)
    faces.face([(-w, low, -d), (-w, low, d), (-w, high, d), (-w, high, -d)], colour)
    faces.face([(w, low, -d), (w, high, -d), (w, high, d), (w, low, d)], colour)
    faces.face([(-w, high, -d), (-w, high, d), (w, high, d), (w, high, -d)], colour, 0.1)
    return faces.shapes


def _tone(rng: np.random.Generator, low: float = 50, high: float = 150) -> Colour:
    blue, green, red = (rng.uniform(low, high) * np.array((0.9, 0.96, 1.0)) + rng.normal(0, 8, 3)).clip(10, 230)
    return (float(blue), float(green), float(red))


def parked(rng: np.random.Generator, x: float, z: float, heading: float, eye: Eye, sun: np.ndarray) -> Still:
    """A car with nobody in it."""
    pose = VehiclePose(x=x, z=z, heading=heading)
    return Still(Drawn(car_shapes(random_car(rng), pose, eye, sun), x, z), "parked car")


def crate(
    rng: np.random.Generator, x: float, z: float, size: tuple[float, float, float], eye: Eye, sun: np.ndarray
) -> Still:
    """A counter, planter or display: a box with a darker plinth."""
    colour = _tone(rng)
    plinth = box_shapes(x, z, (size[0] * 0.96, 0.12, size[2] * 0.96), (30, 30, 32), eye, sun)
    body = box_shapes(x, z, (size[0], size[1] - 0.12, size[2]), colour, eye, sun, 0.12)
    return Still(Drawn(plinth + body, x, z))


def kiosk(rng: np.random.Generator, x: float, z: float, eye: Eye, sun: np.ndarray) -> Still:
    """A stall with a warm awning: the colour of fire, and not one."""
    body = box_shapes(x, z, (2.4, 1.1, 1.4), _tone(rng), eye, sun)
    posts = [
        Shape(np.array([(x + dx, 0, z - 0.6), (x + dx, 2.3, z - 0.6)]), (120, 122, 124), 0.03) for dx in (-1.2, 1.2)
    ]
    awning = box_shapes(x, z, (2.7, 0.25, 1.7), (34, float(rng.uniform(60, 130)), 215), eye, sun, 2.25)
    return Still(Drawn(body + posts + awning, x, z))


def bench(rng: np.random.Generator, x: float, z: float, eye: Eye, sun: np.ndarray) -> Still:
    """A seat of slats on two legs."""
    wood = _tone(rng, 70, 120)
    legs = [s for dx in (-0.65, 0.65) for s in box_shapes(x + dx, z, (0.07, 0.42, 0.4), (48, 48, 50), eye, sun)]
    seat = box_shapes(x, z, (1.6, 0.07, 0.45), wood, eye, sun, 0.42)
    back = box_shapes(x, z + 0.22, (1.6, 0.36, 0.05), wood, eye, sun, 0.55)
    return Still(Drawn(legs + back + seat, x, z))


def bin_prop(rng: np.random.Generator, x: float, z: float, eye: Eye, sun: np.ndarray) -> Still:
    """A litter bin."""
    body = box_shapes(x, z, (0.55, 0.95, 0.5), _tone(rng, 40, 100), eye, sun)
    return Still(Drawn([*body, *box_shapes(x, z, (0.6, 0.1, 0.55), (34, 34, 36), eye, sun, 0.95)], x, z))


def bollard(x: float, z: float) -> Still:
    """A steel post by the kerb."""
    return Still(Drawn([Shape(np.array([(x, 0.05, z), (x, 0.8, z)]), (92, 94, 96), 0.07)], x, z))


def lamp_post(x: float, z: float) -> Still:
    """A post taller than the picture, which hides what passes behind it."""
    return Still(Drawn([Shape(np.array([(x, 0.0, z), (x, 5.5, z)]), (96, 98, 100), 0.065)], x, z))


def cone(x: float, z: float, eye: Eye, sun: np.ndarray) -> Still:
    """A traffic cone: small, bright and harmless."""
    rings = [
        Shape(np.array([(x, y, z), (x, y + 0.1, z)]), colour, radius)
        for y, radius, colour in (
            (0.08, 0.14, (40, 90, 225)),
            (0.22, 0.1, (215, 215, 220)),
            (0.36, 0.06, (40, 90, 225)),
        )
    ]
    base = box_shapes(x, z, (0.4, 0.05, 0.4), (40, 80, 200), eye, sun)
    return Still(Drawn(base + rings, x, z))


def plant(rng: np.random.Generator, x: float, z: float) -> Effect:
    """A pot plant; its leaves hardly move."""
    return Foliage(rng, x, z, height=1.25, crown=0.5, sway=0.008)


class Foliage:
    """A tree or shrub whose crown sways in the wind."""

    def __init__(
        self,
        rng: np.random.Generator,
        x: float,
        z: float,
        *,
        height: float = 2.5,
        crown: float = 1.15,
        sway: float = 0.05,
    ) -> None:
        self._x, self._z, self._height, self._crown, self._sway = x, z, height, crown, sway
        self._phase, self._wind = float(rng.uniform(0, 6)), float(rng.uniform(0.8, 1.6))
        self._texture = _leaves(rng, 128)
        self._bark: Colour = (48, 58, 68)

    def items(self, t: float, view: View) -> list[Item]:
        """The trunk and, over it, the crown at t seconds."""
        x, z, gain = self._x, self._z, view.gain(self._x, self._z)
        swing = self._sway * sin(self._wind * t + self._phase)
        trunk = np.array([(x, 0, z), (x + swing * 0.3, self._height, z)])
        item = item_of(Drawn([Shape(trunk, self._bark, 0.06 * self._crown + 0.01)], x, z), view)
        layer = self._crown_layer(t, swing, view)
        items = [] if item is None else [item]
        return items if layer is None else [*items, Item(view.camera.depth_at(x, z) - 0.05, layer, gain)]

    def _crown_layer(self, t: float, swing: float, view: View) -> Layer | None:
        centre = view.camera.project(np.array([(self._x + swing, self._height, self._z)]))[0][0]
        half = self._crown * view.camera.px_per_m(self._x, self._z)
        size = int(2 * half) + 2
        rows, columns = np.mgrid[0:size, 0:size].astype(np.float32) * np.float32(127 / max(size - 1, 1))
        flutter = 127 * self._sway * 0.5
        angle = self._wind * 2.3 * t + self._phase
        columns += flutter * np.sin(rows * 0.09 + angle) * (1 - rows / 127)
        rows += flutter * 0.6 * np.sin(columns * 0.11 + 1.3 * angle)
        warped = cv2.remap(self._texture, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
        return clip_layer(int(centre[0] - half), int(centre[1] - half), warped, view.camera.size_wh)


def _leaves(rng: np.random.Generator, size: int) -> np.ndarray:
    """A crown as clusters of leaves, lighter above: premultiplied [size, size, 4] float32."""
    canvas = np.zeros((size, size, 4), np.uint8)
    hue = np.array((rng.uniform(34, 60), rng.uniform(74, 104), rng.uniform(50, 84)))
    for index in range(520):
        angle, radius = rng.uniform(0, 2 * pi), size * 0.42 * rng.random() ** 0.55
        x, y = size / 2 + radius * np.cos(angle), size / 2 + radius * np.sin(angle) * 0.9
        shade = 0.35 + 0.75 * index / 520 * (1.25 - y / size) + rng.normal(0, 0.1)
        colour = (*(hue * max(shade, 0.2)).clip(0, 255).tolist(), 255)
        axes = (int(rng.uniform(2, 6)), int(rng.uniform(1, 4)))
        cv2.ellipse(canvas, (int(x), int(y)), axes, float(rng.uniform(0, 180)), 0, 360, colour, -1)
    soft = cv2.GaussianBlur(canvas, (0, 0), 0.8).astype(np.float32)
    soft[..., 3] /= 255
    return soft


@dataclass(frozen=True, kw_only=True)
class Cloth:
    """A banner that hangs from a pole on a wall and waves; often in the colours of fire."""

    x: float
    z: float
    colour: Colour
    phase: float
    top: float = 3.0

    def items(self, t: float, view: View) -> list[Item]:
        """Six strips of cloth, bent by the wind."""
        edges = []
        for step in range(7):
            bend = 0.12 * step / 6 * sin(3.1 * t + self.phase + step * 0.9)
            edges.append((self.x + 0.62 * step / 6 + 0.3 * abs(bend), self.top - 0.04 * step / 6, self.z - 0.3 + bend))
        shapes = [
            Shape(np.array([(self.x, self.top - 1.2, self.z - 0.3), (self.x, self.top, self.z - 0.3)]), RAIL, 0.02)
        ]
        for step, (near, far) in enumerate(pairwise(edges)):
            gain = 0.85 + 0.5 * sin(3.1 * t + self.phase + step * 0.9 + 1.2) * 0.4
            blue, green, red = (min(part * gain, 255.0) for part in self.colour)
            drop = np.array([near, far, (far[0], far[1] - 0.9, far[2]), (near[0], near[1] - 0.9, near[2])])
            shapes.append(Shape(drop, (blue, green, red)))
        item = item_of(Drawn(shapes, self.x, self.z - 0.3), view)
        return [] if item is None else [item]


RAIL: Colour = (110, 112, 114)


def flag(rng: np.random.Generator, x: float, z: float) -> Cloth:
    """A banner on a wall at z."""
    colours: tuple[Colour, ...] = ((30, 70, 205), (40, 130, 220), (150, 70, 40), (60, 120, 60), (200, 200, 205))
    return Cloth(x=x, z=z, colour=colours[rng.integers(len(colours))], phase=float(rng.uniform(0, 6)))


@dataclass(frozen=True, kw_only=True)
class Neon:
    """A lit sign that flickers like a worn tube."""

    x: float
    z: float
    foot: float
    colour: Colour
    phase: float

    def items(self, t: float, view: View) -> list[Item]:
        """The sign and its glow at t seconds."""
        beat = sin(7.3 * t + self.phase) + sin(17.9 * t + 2 * self.phase) + sin(2.7 * t)
        gain = 1.0 if beat > -0.6 else 0.45
        blue, green, red = (part * gain for part in self.colour)
        low, high, z = self.foot, self.foot + 0.32, self.z - 0.05
        board = np.array([(self.x, low, z), (self.x + 1.1, low, z), (self.x + 1.1, high, z), (self.x, high, z)])
        bars = [
            np.array([(self.x + 0.12 + 0.22 * n, low + 0.07, z), (self.x + 0.12 + 0.22 * n, high - 0.07, z)])
            for n in range(5)
        ]
        shapes = [Shape(board, (30, 30, 32)), *(Shape(bar, (blue, green, red), 0.045, True) for bar in bars)]
        item = item_of(Drawn(shapes, self.x, z), view)
        return [] if item is None else [item._replace(gain=np.ones(3, np.float32))]


def sign(rng: np.random.Generator, x: float, z: float, foot: float = 2.35) -> Neon:
    """A flickering sign on a wall at z."""
    colours: tuple[Colour, ...] = ((90, 120, 250), (240, 190, 90), (120, 235, 140), (80, 190, 250))
    return Neon(x=x, z=z, foot=foot, colour=colours[rng.integers(len(colours))], phase=float(rng.uniform(0, 6)))


def steam(rng: np.random.Generator, x: float, z: float) -> Effect:
    """Pale wisps from a drain: they move like smoke and are thin."""
    return Plume(rng, x, z, width=0.25, rise=0.7, tone=(205, 205, 205), density=0.2, life=2.2, count=8)
