"""Places: what a camera looks at, and where in it people and vehicles normally move.

The middle of the nearer pavement, square or floor is the world's origin; a street runs along x.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import atan2, hypot

import numpy as np

from demo.scenes.camera import Camera, camera_towards
from demo.scenes.lighting import Lighting
from demo.scenes.props import Prop

Point = tuple[float, float]


@dataclass(frozen=True)
class Path:
    """A straight way from start to end (x, z), metres, with half its usable width."""

    start: Point
    end: Point
    half_width: float = 0.0

    @property
    def length(self) -> float:
        """Metres from start to end."""
        return hypot(self.end[0] - self.start[0], self.end[1] - self.start[1])

    @property
    def heading(self) -> float:
        """Direction of travel, radians; 0 leads along +z."""
        return atan2(self.end[0] - self.start[0], self.end[1] - self.start[1])

    def at(self, gone: float) -> Point:
        """The place after `gone` metres."""
        part = gone / self.length
        return (
            self.start[0] + part * (self.end[0] - self.start[0]),
            self.start[1] + part * (self.end[1] - self.start[1]),
        )

    def moved(self, dx: float, dz: float) -> Path:
        """The same way beside this one, without width."""
        return Path((self.start[0] + dx, self.start[1] + dz), (self.end[0] + dx, self.end[1] + dz))

    def turned(self) -> Path:
        """The way back."""
        return Path(self.end, self.start, self.half_width)


@dataclass(frozen=True, kw_only=True)
class Site:
    """A place ready to be filled with activity.

    Args:
        walkways: where people walk.
        lanes: where vehicles drive, in their direction; empty where none may.
        hangouts: where people stand and talk.
        bin_at: where a litter bin stands, burning or not.
        forbidden: ways on which a vehicle is an anomaly.
    """

    kind: str
    camera: Camera
    lighting: Lighting
    picture: np.ndarray
    walkways: tuple[Path, ...]
    lanes: tuple[Path, ...]
    hangouts: tuple[Point, ...]
    forbidden: tuple[Path, ...]
    bin_at: Point
    props: tuple[Prop, ...]
    indoor: bool = False


@dataclass(frozen=True, kw_only=True)
class Framing:
    """How a camera is mounted: person_fraction is a person's height at the origin as part of the frame's."""

    person_fraction: float
    size_wh: tuple[int, int]


def mount(rng: np.random.Generator, framing: Framing, yaw_range: float, low: float = 0.42) -> Camera:
    """A camera that looks at the origin from somewhere within yaw_range; low is its least height by its distance."""
    distance = float(rng.uniform(2.9, 3.6) / framing.person_fraction)
    distance = min(max(distance, 6.0), 14.0)
    return camera_towards(
        distance=distance,
        height=float(distance * rng.uniform(low, low + 0.14)),
        yaw=float(rng.uniform(-yaw_range, yaw_range)),
        person_fraction=framing.person_fraction,
        anchor_v=float(rng.uniform(0.66, 0.74)),
        size_wh=framing.size_wh,
    )


def bin_place(rng: np.random.Generator) -> Point:
    """Where a place has its nearer litter bin: in view, beyond the first walkway."""
    return float(rng.uniform(-1.6, 1.6)), float(rng.uniform(0.9, 1.5))


def clear_of(place: Point, other: Point) -> Point:
    """The place, or one further along if it is too near the other to stand there."""
    x, z = place
    if abs(x - other[0]) < 1.3 and abs(z - other[1]) < 1.3:
        x = other[0] + (1.8 if other[0] < 0 else -1.8)
    return x, z
