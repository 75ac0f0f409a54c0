"""Cars and bicycles as shaded solids.

Local axes of a vehicle: x to its right, y up, z the way it drives; metres, origin on the ground below its middle.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import cos, pi, sin, sqrt

import numpy as np

from demo.scenes.people import Look
from demo.scenes.sprites import Colour, Shape

PAINTS: tuple[Colour, ...] = (
    (52, 52, 54), (196, 198, 200), (150, 152, 154), (96, 98, 104), (36, 34, 120), (120, 66, 36), (84, 60, 44),
    (60, 84, 66), (214, 216, 214), (30, 30, 32), (140, 120, 96), (70, 90, 130),
)  # fmt: skip
GLASS: Colour = (74, 66, 60)
TYRE: Colour = (28, 28, 30)
RIM: Colour = (128, 130, 134)
CABIN_Y = 0.98  # the waistline: above it a car grows narrower

# (z, y) of the outline from the rear bumper over the roof to the front bumper, for a car of length 4.4 and height 1.45
OUTLINES: dict[str, tuple[tuple[float, float], ...]] = {
    "saloon": (
        (-2.2, 0.28), (-2.2, 0.72), (-2.1, 0.93), (-1.45, 1.0), (-0.85, 1.40), (0.25, 1.44), (1.0, 1.0), (1.9, 0.86),
        (2.18, 0.68), (2.2, 0.28),
    ),
    "hatchback": (
        (-2.1, 0.28), (-2.12, 0.8), (-2.0, 1.0), (-1.7, 1.42), (0.2, 1.48), (0.95, 1.02), (1.75, 0.9), (2.05, 0.7),
        (2.08, 0.28),
    ),
    "van": (
        (-2.4, 0.3), (-2.4, 1.0), (-2.36, 1.2), (-2.3, 1.92), (1.0, 1.98), (1.75, 1.12), (2.25, 0.95), (2.38, 0.7),
        (2.4, 0.3),
    ),
}  # fmt: skip
HALF_WIDTH = 0.88


@dataclass(frozen=True, kw_only=True)
class Car:
    """One car: its outline's name and paint."""

    outline: str
    paint: Colour
    wheel_phase: float = 0.0


@dataclass(frozen=True, kw_only=True)
class VehiclePose:
    """Where a vehicle stands; heading as for people, roll and damage 0 when all is well."""

    x: float
    z: float
    heading: float
    travelled: float = 0.0
    crumple: float = 0.0  # metres that the front is pushed in
    braking: bool = False


def random_car(rng: np.random.Generator) -> Car:
    """A car of an ordinary shape and paint."""
    outline = str(rng.choice(["saloon", "saloon", "hatchback", "hatchback", "van"]))
    paint = np.clip(np.array(PAINTS[rng.integers(len(PAINTS))]) * rng.uniform(0.85, 1.1), 10, 235).tolist()
    return Car(outline=outline, paint=(paint[0], paint[1], paint[2]))


def _world(local: np.ndarray, pose: VehiclePose) -> np.ndarray:
    sin_h, cos_h = sin(pose.heading), cos(pose.heading)
    return np.column_stack(
        [
            local[:, 0] * cos_h + local[:, 2] * sin_h + pose.x,
            local[:, 1],
            -local[:, 0] * sin_h + local[:, 2] * cos_h + pose.z,
        ]
    )


def _shade(colour: Colour, gain: float, sky: float = 0.0) -> Colour:
    blue, green, red = colour
    return (
        min(blue * gain + sky * 235, 255.0),
        min(green * gain + sky * 225, 255.0),
        min(red * gain + sky * 215, 255.0),
    )


def _half_width(y: float) -> float:
    return HALF_WIDTH if y <= CABIN_Y + 0.05 else HALF_WIDTH - 0.34 * min(y - CABIN_Y, 0.5)


class Faces:
    """Collects the faces of a vehicle that look towards the eye, lit by the sun."""

    def __init__(self, pose: VehiclePose, eye: tuple[float, float, float], sun: np.ndarray) -> None:
        self.pose, self.sun = pose, sun.tolist()
        self.eye = np.array(eye)
        self.shapes: list[Shape] = []

    def face(self, local: list[tuple[float, float, float]], colour: Colour, gloss: float = 0.0) -> bool:
        """Adds a face whose corners run counter-clockwise seen from outside; False when it looks away."""
        points = _world(np.array(local, float), self.pose)
        (ax, ay, az), (bx, by, bz) = (points[1] - points[0]).tolist(), (points[2] - points[0]).tolist()
        nx, ny, nz = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
        ex, ey, ez = (self.eye - points[0]).tolist()
        if nx * ex + ny * ey + nz * ez <= 0:
            return False
        size = max(sqrt(nx * nx + ny * ny + nz * nz), 1e-6)
        up, facing = max(ny / size, 0.0), max((nx * self.sun[0] + ny * self.sun[1] + nz * self.sun[2]) / size, 0.0)
        light = 0.5 + 0.22 * up + 0.42 * facing
        self.shapes.append(Shape(points, _shade(colour, light, gloss * (0.3 + 0.7 * up))))
        return True

    def side(self, sign: float, outline: list[tuple[float, float]], colour: Colour, inset: float = 0.0) -> bool:
        """Adds an outline (z, y) on the right (+1) or left (-1) flank."""
        corners = [(sign * (_half_width(y) - inset), y, z) for z, y in outline]
        return self.face(corners if sign > 0 else corners[::-1], colour)


def car_shapes(car: Car, pose: VehiclePose, eye: tuple[float, float, float], sun: np.ndarray) -> list[Shape]:
    """A car's visible faces in the order in which they are painted."""
    front = max(z for z, _ in OUTLINES[car.outline])
    outline = [(z - pose.crumple * max(0.0, z - 0.6) / (front - 0.6), y) for z, y in OUTLINES[car.outline]]
    solid = Faces(pose, eye, sun)
    ground = [(-HALF_WIDTH, 0.02, z) for z, _ in outline] + [(HALF_WIDTH, 0.02, z) for z, _ in outline[::-1]]
    solid.shapes.append(Shape(_world(np.array(ground), pose), (14, 14, 15)))
    for (z0, y0), (z1, y1) in pairwise(outline):
        wide0, wide1 = _half_width(y0), _half_width(y1)
        corners = [(-wide0, y0, z0), (-wide1, y1, z1), (wide1, y1, z1), (wide0, y0, z0)]
        glass = min(y0, y1) >= CABIN_Y - 0.01 and abs(y1 - y0) > 0.2
        if solid.face(corners, car.paint, 0.12) and glass:
            pillar = 0.86
            inner = [(x * pillar, y * 0.97 + 0.03 * (y0 + y1) / 2, z) for x, y, z in corners]
            solid.face(inner, GLASS, 0.25)
    _lamps(solid, outline, pose.braking)
    for sign in (-1.0, 1.0):
        _flank(solid, car, outline, sign)
    return solid.shapes


def _lamps(solid: Faces, outline: list[tuple[float, float]], braking: bool) -> None:
    rear, front = outline[0][0], outline[-1][0]
    for sign in (-1, 1):
        inner, outer = sorted((sign * 0.5, sign * 0.84))
        rear_z = rear - 0.01
        solid.face(
            [(outer, 0.58, rear_z), (inner, 0.58, rear_z), (inner, 0.74, rear_z), (outer, 0.74, rear_z)],
            (50, 50, 235) if braking else (44, 40, 150),
        )
        front_z = front + 0.01
        solid.face(
            [(inner, 0.55, front_z), (outer, 0.55, front_z), (outer, 0.68, front_z), (inner, 0.68, front_z)],
            (225, 230, 235),
        )


def _flank(solid: Faces, car: Car, outline: list[tuple[float, float]], sign: float) -> None:
    if not solid.side(sign, outline, car.paint):
        return
    sill = [(outline[0][0], 0.28), (outline[0][0], 0.4), (outline[-1][0], 0.4), (outline[-1][0], 0.28)]
    solid.side(sign, sill, _shade(car.paint, 0.55))
    roof = [(z, y) for z, y in outline if y >= CABIN_Y]
    middle = sum(z for z, _ in roof) / len(roof)
    pane = [(middle + 0.86 * (z - middle), CABIN_Y + 0.05 + 0.8 * (y - CABIN_Y)) for z, y in roof]
    solid.side(sign, pane, GLASS)
    post = [(middle - 0.05, CABIN_Y), (middle - 0.05, 1.4), (middle + 0.05, 1.4), (middle + 0.05, CABIN_Y)]
    solid.side(sign, post, car.paint)
    for z in (-1.35, 1.32):
        for radius, colour, depth in ((0.40, _shade(car.paint, 0.3), 0.0), (0.33, TYRE, 0.01), (0.19, RIM, 0.02)):
            ring = np.linspace(0, -2 * pi, 14, endpoint=False)
            disc = [(z + radius * cos(a), 0.33 + radius * sin(a)) for a in ring]
            disc = [(a, max(b, 0.005)) for a, b in disc]
            solid.side(sign, disc, colour, -depth)


def cyclist_shapes(look: Look, paint: Colour, pose: VehiclePose, eye: tuple[float, float, float]) -> list[Shape]:
    """A rider on a bicycle, far parts first; the pedals follow pose.travelled."""
    crank = pose.travelled / 0.9  # one turn of the pedals per 5.6 m, a middle gear
    shapes = [
        Shape(_world(np.array(line, float), pose), colour, radius, True) for line, colour, radius in _bicycle(paint)
    ]
    hip, shoulder = (0.0, 0.98, -0.22), (0.0, 1.42, 0.16)
    for side in (-1, 1):
        foot = (
            side * 0.1,
            0.30 + 0.17 * sin(crank + (0 if side < 0 else pi)),
            0.02 + 0.17 * cos(crank + (side > 0) * pi),
        )
        start = (side * 0.09, hip[1], hip[2])
        knee = _knee(start, foot, 0.43, 0.43)
        shapes.append(Shape(_world(np.array([start, knee]), pose), look.trousers, 0.078))
        shapes.append(Shape(_world(np.array([knee, foot]), pose), look.trousers, 0.056))
        grip = (side * 0.24, 1.02, 0.46)
        arm = (side * 0.19, shoulder[1] - 0.04, shoulder[2])
        bend = (side * 0.27, 1.17, 0.26)
        shapes.append(Shape(_world(np.array([arm, bend, grip]), pose), look.top, 0.05))
    trunk = np.array([(-0.07, *hip[1:]), (-0.1, *shoulder[1:]), (0.1, *shoulder[1:]), (0.07, *hip[1:])])
    shapes.append(Shape(_world(trunk, pose), look.top, 0.11))
    shapes.append(Shape(_world(np.array([(0, 1.60, 0.26), (0, 1.54, 0.29)]), pose), look.skin, 0.1))
    shapes.append(Shape(_world(np.array([(0, 1.66, 0.24), (0, 1.64, 0.2)]), pose), look.hair, 0.105))
    near = np.array(eye)
    return sorted(shapes, key=lambda shape: -float(((shape.points.mean(axis=0) - near) ** 2).sum()))


def _bicycle(paint: Colour) -> list[tuple[list[tuple[float, float, float]], Colour, float]]:
    parts: list[tuple[list[tuple[float, float, float]], Colour, float]] = []
    for z in (-0.52, 0.54):
        ring = np.linspace(0, 2 * pi, 17)
        parts.append(([(0.0, 0.34 + 0.32 * sin(a), z + 0.32 * cos(a)) for a in ring], TYRE, 0.02))
    parts.append(([(0, 0.34, -0.52), (0, 0.30, 0.02), (0, 0.88, -0.18), (0, 0.34, -0.52)], paint, 0.018))
    parts.append(([(0, 0.30, 0.02), (0, 0.82, 0.38), (0, 0.80, -0.16)], paint, 0.02))
    parts.append(([(0, 0.34, 0.54), (0, 0.82, 0.38), (0, 1.0, 0.42)], paint, 0.018))
    parts.append(([(-0.26, 1.02, 0.44), (0.26, 1.02, 0.44)], TYRE, 0.018))
    return parts


def _knee(
    hip: tuple[float, float, float], foot: tuple[float, float, float], thigh: float, shin: float
) -> tuple[float, float, float]:
    """The joint of a two-link leg, bent forwards."""
    dy, dz = foot[1] - hip[1], foot[2] - hip[2]
    reach = min(sqrt(dy * dy + dz * dz), thigh + shin - 1e-3)
    along = (thigh**2 - shin**2 + reach**2) / (2 * reach)
    out = sqrt(max(thigh**2 - along**2, 0.0))
    uy, uz = dy / reach, dz / reach
    return (hip[0], hip[1] + along * uy + out * uz, hip[2] + along * uz - out * uy)
