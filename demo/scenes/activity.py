"""What normally goes on: people who walk, talk, greet and crouch, cars and cyclists on the road."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import cos, inf, pi, sin
from typing import ClassVar

import numpy as np

from demo.scenes.people import Look, Placed, Pose, blend, person_shapes, random_look, stride
from demo.scenes.sites import Path, Site
from demo.scenes.sprites import Colour, Drawn, Solid, View
from demo.scenes.vehicles import (
    PAINTS,
    Car,
    VehiclePose,
    car_shapes,
    cyclist_shapes,
    random_car,
)

STEP_M = 0.72  # one step of a walk
PARTY_EVERY_S = 14.0
Interval = tuple[float, float]
NEVER: Interval = (inf, inf)
Region = tuple[float, float, float, float]  # (x0, z0, x1, z1) on the ground, metres
NOWHERE: Region = (0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True, kw_only=True)
class Person:
    """A person who follows a script; within `marked` they belong to a box group."""

    look: Look
    script: Callable[[float], Placed | None]
    group: int = 0
    marked: Interval = (0.0, 0.0)

    @property
    def kind(self) -> str:
        """What a caption calls it."""
        return "person walking" if isinstance(self.script, Walk) else "person standing"

    def drawn(self, t: float, view: View) -> Drawn | None:
        """The person at t seconds."""
        placed = self.script(t)
        if placed is None or not view.sees(placed.x, placed.z, 2.5):
            return None
        group = self.group if self.marked[0] <= t < self.marked[1] else 0
        return Drawn(person_shapes(self.look, placed, view.camera.eye), placed.x, placed.z, group)


@dataclass(frozen=True, kw_only=True)
class Driver:
    """A car that follows a script."""

    car: Car
    script: Callable[[float], VehiclePose | None]
    group: int = 0
    marked: Interval = (0.0, 0.0)
    kind: ClassVar[str] = "car"

    def drawn(self, t: float, view: View) -> Drawn | None:
        """The car at t seconds."""
        pose = self.script(t)
        if pose is None or not view.sees(pose.x, pose.z, 3.5):
            return None
        group = self.group if self.marked[0] <= t < self.marked[1] else 0
        return Drawn(car_shapes(self.car, pose, view.camera.eye, view.lighting.sun), pose.x, pose.z, group)


@dataclass(frozen=True, kw_only=True)
class Rider:
    """A cyclist who follows a script."""

    look: Look
    paint: Colour
    script: Callable[[float], VehiclePose | None]
    group: int = 0
    marked: Interval = (0.0, 0.0)
    kind: ClassVar[str] = "cyclist"

    def drawn(self, t: float, view: View) -> Drawn | None:
        """The cyclist at t seconds."""
        pose = self.script(t)
        if pose is None or not view.sees(pose.x, pose.z, 3.5):
            return None
        group = self.group if self.marked[0] <= t < self.marked[1] else 0
        return Drawn(cyclist_shapes(self.look, self.paint, pose, view.camera.eye), pose.x, pose.z, group)


@dataclass(frozen=True, kw_only=True)
class Walk:
    """Along a way at a steady pace, from `begin` seconds on."""

    way: Path
    begin: float
    speed: float
    phase: float
    run: float = 0.0

    def __call__(self, t: float) -> Placed | None:
        gone = self.speed * (t - self.begin)
        if not 0 <= gone <= self.way.length:
            return None
        x, z = self.way.at(gone)
        pose = stride(self.phase + gone / (STEP_M * (1 + 0.75 * self.run)) * pi, run=self.run)
        return Placed(x=x, z=z, heading=self.way.heading, pose=pose)


@dataclass(frozen=True, kw_only=True)
class Ride:
    """A vehicle along a way at a steady speed, from `begin` seconds on; wobble in metres."""

    way: Path
    begin: float
    speed: float
    wobble: float = 0.0

    def __call__(self, t: float) -> VehiclePose | None:
        gone = self.speed * (t - self.begin)
        if not 0 <= gone <= self.way.length:
            return None
        x, z = self.way.at(gone)
        drift = self.wobble * sin(1.4 * t + self.begin)
        return VehiclePose(x=x, z=z + drift, heading=self.way.heading, travelled=gone)


@dataclass(frozen=True, kw_only=True)
class Chat:
    """Stands and talks: shifts weight, gestures now and then, sometimes crouches or waves."""

    x: float
    z: float
    heading: float
    phase: float
    habit: str = "talk"

    def __call__(self, t: float) -> Placed:
        slow = sin(0.6 * t + self.phase)
        lively = max(0.0, sin(0.37 * t + 2 * self.phase)) ** 3
        beat = sin(5.2 * t + self.phase)
        pose = Pose(
            thighs=(0.04 * slow, -0.04 * slow),
            arms=(0.15 + lively * (0.7 + 0.25 * beat), 0.1 + 0.1 * slow),
            elbows=(0.5 + lively * 0.7, 0.4),
            lean=0.03 * slow,
            twist=0.12 * slow,
            nod=0.1 * sin(1.1 * t + self.phase),
        )
        if self.habit == "wave" and lively > 0.1:
            pose = replace(pose, arms=(2.3, pose.arms[1]), elbows=(0.5 + 0.5 * beat, 0.4), spread=(0.5, 0.12))
        if self.habit == "crouch":
            pose = blend(pose, CROUCH, min(max(2.5 * sin(0.42 * t + self.phase), 0.0), 1.0))
        return Placed(x=self.x + 0.03 * slow, z=self.z, heading=self.heading + 0.12 * slow, pose=pose)


CROUCH = Pose(thighs=(1.5, 1.2), knees=(2.2, 2.2), arms=(0.9, 0.9), elbows=(0.4, 0.4), lean=0.55, nod=0.3)


@dataclass(frozen=True, kw_only=True)
class Meet:
    """Walks to a place, acts there between start and end, walks on.

    Args:
        side: -1 comes from the left of the place, +1 from the right.
        act: the pose and the offset (x, z) at a moment of the act.
    """

    x: float
    z: float
    side: float
    start: float
    end: float
    act: Callable[[float], tuple[Pose, float, float]]
    gap: float = 0.42
    speed: float = 1.25

    def __call__(self, t: float) -> Placed | None:
        facing = -self.side * pi / 2
        if t < self.start:
            away = self.speed * (self.start - t)
            pose = stride(away / STEP_M * pi)
            return Placed(x=self.x + self.side * (self.gap + away), z=self.z, heading=facing, pose=pose)
        if t < self.end:
            pose, dx, dz = self.act(t)
            return Placed(x=self.x + self.side * self.gap + dx, z=self.z + dz, heading=facing, pose=pose)
        away = self.speed * (t - self.end)
        pose = stride(away / STEP_M * pi)
        return Placed(x=self.x + self.side * (self.gap + away), z=self.z, heading=-facing, pose=pose)


def greeting(t: float) -> tuple[Pose, float, float]:
    """A handshake and a few words."""
    shake = max(0.0, sin(1.3 * t)) ** 0.5
    pose = Pose(arms=(0.1, 0.75 * shake), elbows=(0.3, 0.35 + 0.15 * sin(9 * t) * shake), nod=0.08 * sin(2 * t))
    return pose, 0.0, 0.0


def _lateral(rng: np.random.Generator, way: Path) -> Path:
    """A way like the given one, moved sideways within its width and walked in either direction."""
    move = float(rng.uniform(-way.half_width, way.half_width))
    beside = way.moved(-cos(way.heading) * move, sin(way.heading) * move)
    return beside if rng.random() < 0.5 else beside.turned()


def walkers(rng: np.random.Generator, way: Path, seconds: float, per_minute: float, closed: Interval) -> list[Solid]:
    """People who pass along a walkway; nobody sets out who would be on it while it is closed."""
    people: list[Solid] = []
    begin = -way.length / 0.9  # so that the slowest walkers are on their way when the video starts
    while begin < seconds:
        begin += float(rng.exponential(60 / per_minute)) + 0.4
        speed, mine = float(np.clip(rng.normal(1.3, 0.17), 0.9, 1.7)), _lateral(rng, way)
        look, phase = random_look(rng), float(rng.uniform(0, 6))
        pair = rng.random() < 0.25
        friend, beside = random_look(rng), mine.moved(0.25, 0.62)
        lasts = mine.length / speed
        if begin < closed[1] and begin + lasts > closed[0]:
            continue
        people.append(Person(look=look, script=Walk(way=mine, begin=begin, speed=speed, phase=phase)))
        if pair:
            people.append(Person(look=friend, script=Walk(way=beside, begin=begin, speed=speed, phase=phase + 1)))
    return people


def parties(rng: np.random.Generator, way: Path, seconds: float, closed: Interval) -> list[Solid]:
    """Close groups who pass briskly, one about every PARTY_EVERY_S: much motion, and nothing wrong with it."""
    people: list[Solid] = []
    for _ in range(int(rng.poisson(seconds / PARTY_EVERY_S))):
        begin, speed = float(rng.uniform(-8, seconds)), float(rng.uniform(1.5, 2.0))
        size, mine = int(rng.integers(4, 8)), way if rng.random() < 0.5 else way.turned()
        if begin < closed[1] and begin + mine.length / speed > closed[0]:
            continue
        for _ in range(size):
            beside = mine.moved(0.0, float(rng.uniform(-1, 1)) * way.half_width)
            behind = begin + float(rng.uniform(0, 2.5)) / speed
            script = Walk(way=beside, begin=behind, speed=speed, phase=float(rng.uniform(0, 6)), run=0.15)
            people.append(Person(look=random_look(rng), script=script))
    return people


def traffic(rng: np.random.Generator, lane: Path, seconds: float, closed: Interval) -> list[Solid]:
    """Cars, and now and then a cyclist, along a lane."""
    found: list[Solid] = []
    speed = float(rng.uniform(5.5, 8.5))
    long = lane.length
    begin = -long / speed
    while begin < seconds:
        begin += float(rng.uniform(2.4, 9.0))
        car, look, paint = random_car(rng), random_look(rng), PAINTS[rng.integers(len(PAINTS))]
        cycles = rng.random() < 0.22
        pace = 4.2 if cycles else speed
        if begin < closed[1] and begin + long / pace > closed[0]:
            continue
        script = Ride(way=lane, begin=begin, speed=pace, wobble=0.08 if cycles else 0.0)
        found.append(Rider(look=look, paint=paint, script=script) if cycles else Driver(car=car, script=script))
        if cycles:
            begin += long / pace - long / speed + 1.0
    return found


def _within(x: float, z: float, region: Region) -> bool:
    return region[0] < x < region[2] and region[1] < z < region[3]


def groups(rng: np.random.Generator, site: Site, seconds: float, keep_out: Region) -> list[Solid]:
    """Those who stand about outside keep_out: talkers at the hangouts, and two who meet and shake hands."""
    people: list[Solid] = []
    for x, z in site.hangouts:
        if rng.random() < 0.3 or _within(x, z, keep_out):
            continue
        size, turn = int(rng.integers(1, 4)), float(rng.uniform(0, 2 * pi))
        for member in range(size):
            angle = turn + 2 * pi * member / size
            reach = 0.48 if size > 1 else 0.0
            at = Chat(
                x=x + reach * np.sin(angle),
                z=z + reach * np.cos(angle),
                heading=angle + pi,
                phase=float(rng.uniform(0, 6)),
                habit=str(rng.choice(["talk", "talk", "wave", "crouch"])),
            )
            people.append(Person(look=random_look(rng), script=at))
    if rng.random() < 0.7:
        start = float(rng.uniform(0.05, 0.75) * seconds)
        x, z, lasts = float(rng.uniform(-2, 2)), float(rng.uniform(-0.8, 1.0)), float(rng.uniform(3, 6))
        for side in () if _within(x, z, keep_out) else (-1.0, 1.0):
            meet = Meet(x=x, z=z, side=side, start=start, end=start + lasts, act=greeting)
            people.append(Person(look=random_look(rng), script=meet))
    return people


def normal_activity(
    rng: np.random.Generator,
    site: Site,
    seconds: float,
    *,
    closed_way: Interval,
    closed_lane: Interval,
    keep_out: Region,
) -> list[Solid]:
    """All normal actors of a video; the closed intervals keep the first walkway and lane free for an incident, and
    nobody stands in keep_out."""
    actors: list[Solid] = []
    for index, way in enumerate(site.walkways):
        closed = closed_way if index == 0 else NEVER
        actors += walkers(rng, way, seconds, float(rng.uniform(7, 14)), closed)
        if index == 0:
            actors += parties(rng, way, seconds, closed)
    for index, lane in enumerate(site.lanes):
        actors += traffic(rng, lane, seconds, closed_lane if index == 0 else NEVER)
    return actors + groups(rng, site, seconds, keep_out)
