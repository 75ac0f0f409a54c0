"""The anomalies. Each is staged by a function that returns its actors and says what must keep clear of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import pi, sin

import numpy as np

from demo.scenes.activity import (
    NEVER,
    NOWHERE,
    STEP_M,
    Driver,
    Interval,
    Meet,
    Person,
    Region,
    Ride,
    Rider,
    Walk,
)
from demo.scenes.particles import Blast, Flames, Plume
from demo.scenes.people import Placed, Pose, blend, random_look, stride
from demo.scenes.sites import Path, Site
from demo.scenes.sprites import Effect, Solid
from demo.scenes.vehicles import PAINTS, VehiclePose, random_car


@dataclass(kw_only=True)
class Incident:
    """An anomaly's actors.

    Args:
        blast: lights up the whole picture.
        closed_way, closed_lane: seconds in which nobody else uses the first walkway, the first lane.
        keep_out: where nobody stands about.
    """

    solids: list[Solid] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)
    blast: Blast | None = None
    closed_way: Interval = NEVER
    closed_lane: Interval = NEVER
    keep_out: Region = NOWHERE


@dataclass(frozen=True, kw_only=True)
class Cue:
    """When an anomaly happens, and how tall the view is at the origin, metres."""

    start: float
    end: float
    view_height_m: float


@dataclass(frozen=True)
class Brawl:
    """Blows, kicks and dodges of one of two fighters; the other's beats fall between."""

    side: float
    phase: float

    def __call__(self, t: float) -> tuple[Pose, float, float]:
        """Pose and offset (x, z) at t seconds."""
        beat = sin(2 * pi * 1.25 * t + self.phase)
        strike, dodge = max(0.0, beat) ** 0.6, max(0.0, -beat) ** 0.6
        kick = strike if sin(1.9 * t + self.phase) > 0.4 else 0.0
        guard = Pose(
            thighs=(0.35, -0.3), knees=(0.4, 0.3), arms=(0.9, 0.8), elbows=(1.5, 1.6), spread=(0.3, 0.3), lean=0.25
        )
        left = sin(2 * pi * 0.62 * t + self.phase) > 0
        reach = ((1.65, 0.6) if left else (0.6, 1.65), (0.1, 1.5) if left else (1.5, 0.1))
        blow = Pose(
            thighs=(0.6 + 0.8 * kick, -0.45),
            knees=(0.5 * (1 - kick), 0.2),
            arms=reach[0],
            elbows=reach[1],
            lean=0.5 - 0.6 * kick,
            twist=0.5 if left else -0.5,
        )
        flinch = Pose(
            thighs=(0.2, -0.5), knees=(0.6, 0.7), arms=(1.9, 1.7), elbows=(1.9, 1.8), spread=(0.6, 0.7), lean=-0.28
        )
        pose = blend(blend(guard, blow, strike), flinch, dodge)
        dx = -self.side * 0.16 * strike + self.side * 0.2 * dodge + 0.25 * sin(0.9 * t)
        return pose, dx, 0.14 * sin(1.3 * t + self.phase)


def _spot(rng: np.random.Generator, low_z: float = -0.4, high_z: float = 0.8) -> tuple[float, float]:
    return float(rng.uniform(-1.6, 1.6)), float(rng.uniform(low_z, high_z))


def _around(x: float, z: float, reach: float = 1.5) -> Region:
    return (x - reach, z - reach, x + reach, z + reach)


def fighting(rng: np.random.Generator, site: Site, cue: Cue) -> Incident:
    """Two people come together, fight and part."""
    x, z = _spot(rng)
    phase = float(rng.uniform(0, 6))
    people: list[Solid] = []
    for side, lag in ((-1.0, 0.0), (1.0, pi)):
        act = Brawl(side, phase + lag)
        meet = Meet(x=x, z=z, side=side, start=cue.start, end=cue.end, act=act, gap=0.36)
        people.append(Person(look=random_look(rng), script=meet, group=1, marked=(cue.start, cue.end)))
    return Incident(solids=people, keep_out=_around(x, z))


@dataclass(frozen=True, kw_only=True)
class Tumble:
    """Walks, falls towards side (0 forwards, pi backwards), lies with legs drawn in by curl, gets up and walks on."""

    way: Path
    start: float
    end: float
    speed: float
    side: float
    curl: float

    def __call__(self, t: float) -> Placed | None:
        halt = min(t, self.start + 0.35) - self.start + max(0.0, t - self.end)
        gone = self.way.length / 2 + self.speed * halt
        if not 0 <= gone <= self.way.length:
            return None
        walking = stride(gone / STEP_M * pi)
        down = min(max((t - self.start) / 0.75, 0.0), 1.0) ** 1.8
        up = min(max((t - self.end + 1.8) / 1.8, 0.0), 1.0)
        restless = sin(2.6 * t)
        lying = Pose(
            thighs=(self.curl * (0.9 + 0.15 * restless), self.curl * 0.5),
            knees=(0.2 + self.curl * (1.3 + 0.2 * restless), 0.1 + 0.9 * self.curl),
            arms=(2.4 - self.curl, 0.4 + 0.15 * restless),
            spread=(0.5, 0.9),
            elbows=(0.3 + 0.8 * self.curl, 0.2 + 0.3 * self.curl),
            topple=pi / 2 * 0.96,
            topple_side=self.side,
        )
        weight = down * (1 - up)
        pose = blend(walking, lying, weight)
        x, z = self.way.at(gone)
        return Placed(x=x, z=z, heading=self.way.heading, pose=pose)


def falling(rng: np.random.Generator, site: Site, cue: Cue) -> Incident:
    """Somebody falls to the ground, lies there and gets up."""
    x, z = _spot(rng, -0.8, 0.2)
    way = 1.0 if rng.random() < 0.5 else -1.0
    path = Path((x - 14 * way, z), (x + 14 * way, z + float(rng.uniform(-0.6, 0.6))), 0.0)
    side = float(rng.choice([0.0, 0.4, -0.4, pi]))
    script = Tumble(
        way=path,
        start=cue.start,
        end=cue.end,
        speed=float(rng.uniform(1.1, 1.5)),
        side=side,
        curl=0.12 if side != pi else float(rng.uniform(0.4, 1.0)),
    )
    return Incident(
        solids=[Person(look=replace(random_look(rng), bag=False), script=script, group=1, marked=(cue.start, cue.end))],
        keep_out=_around(x, z),
    )


def fire(rng: np.random.Generator, site: Site, cue: Cue) -> Incident:
    """The litter bin burns, with dark smoke."""
    (x, z), size = site.bin_at, cue.view_height_m
    flames = Flames(
        seed=int(rng.integers(2**31)),
        x=x,
        z=z - 0.05,
        width=0.17 * size,
        height=float(rng.uniform(0.24, 0.3)) * size,
        start=cue.start,
        end=cue.end,
        foot=0.88,
        group=1,
    )
    smoke = Plume(
        rng,
        x,
        z,
        width=0.1 * size,
        rise=0.15 * size,
        tone=(50, 50, 52),
        density=0.75,
        life=2.6,
        count=26,
        foot=0.9,
        start=cue.start + 0.3,
        end=cue.end - 2.6,
        group=1,
    )
    return Incident(effects=[smoke, flames], keep_out=_around(x, z))


def explosion(rng: np.random.Generator, site: Site, cue: Cue) -> Incident:
    """A flash and a ball of fire, then smoke and a fire that goes out."""
    x, z = _spot(rng, 0.9, 1.5)
    size = cue.view_height_m
    blast = Blast(seed=int(rng.integers(2**31)), x=x, z=z, radius=0.18 * size, start=cue.start, group=1)
    flames = Flames(
        seed=int(rng.integers(2**31)),
        x=x,
        z=z,
        width=0.17 * size,
        height=0.18 * size,
        start=cue.start + 0.5,
        end=cue.end,
        grow_s=0.5,
        group=1,
    )
    smoke = Plume(
        rng,
        x,
        z,
        width=0.13 * size,
        rise=0.12 * size,
        tone=(58, 58, 60),
        density=0.8,
        life=2.8,
        count=22,
        start=cue.start + 0.15,
        end=cue.end - 2.8,
        group=1,
    )
    return Incident(effects=[smoke, flames, blast], blast=blast, keep_out=_around(x, z, 1.8))


@dataclass(frozen=True, kw_only=True)
class Collide:
    """A car that drives along x, meets an obstacle at start and drives off at end.

    Args:
        stop_x: where it comes to rest; x it has at start is `impact_x`.
        waits_from: seconds from which it stands at impact_x already; None if it drives until start.
    """

    z: float
    impact_x: float
    stop_x: float
    start: float
    end: float
    speed: float
    yaw: float
    crumple: float = 0.0
    waits_from: float | None = None

    def __call__(self, t: float) -> VehiclePose | None:
        since = t - self.start
        slide = 1 - (1 - min(max(since / 0.5, 0.0), 1.0)) ** 2
        x = self.impact_x + (self.stop_x - self.impact_x) * slide
        halted = self.start if self.waits_from is None else self.waits_from
        x -= self.speed * max(halted - t, 0.0)
        away = max(t - self.end, 0.0)
        x += 1.1 * away**2
        if abs(x) > 30:
            return None
        heading = pi / 2 + self.yaw * slide * max(0.0, 1 - away / 1.5)
        return VehiclePose(x=x, z=self.z, heading=heading, crumple=self.crumple * slide, braking=halted <= t < self.end)


def crash(rng: np.random.Generator, site: Site, cue: Cue) -> Incident:
    """A car runs into the back of one that has stopped."""
    x, z = float(rng.uniform(-0.6, 1.2)), site.lanes[0].start[1]
    yaw, crumple = float(rng.uniform(0.1, 0.3)) * float(rng.choice([-1, 1])), float(rng.uniform(0.35, 0.6))
    shared = {"z": z, "start": cue.start, "end": cue.end}
    speed = float(rng.uniform(7, 9))
    ahead = Collide(impact_x=x + 2.2, stop_x=x + 2.9, speed=5.0, yaw=-yaw * 0.5, waits_from=cue.start - 2.0, **shared)
    behind = Collide(impact_x=x - 2.2, stop_x=x - 1.2, speed=speed, yaw=yaw, crumple=crumple, **shared)
    marked = (cue.start, cue.end)
    cars: list[Solid] = [
        Driver(car=random_car(rng), script=script, group=1, marked=marked) for script in (ahead, behind)
    ]
    smoke = Plume(
        rng,
        x + 0.4,
        z - 0.3,
        width=0.4,
        rise=0.6,
        tone=(150, 150, 152),
        density=0.35,
        life=2.0,
        count=12,
        foot=0.9,
        start=cue.start + 0.2,
        end=cue.end - 2.0,
        group=1,
    )
    return Incident(solids=cars, effects=[smoke], closed_lane=(cue.start - 8.0, cue.end + 5.0))


def cyclist_on_pavement(rng: np.random.Generator, site: Site, cue: Cue) -> Incident:
    """Cyclists ride where people walk."""
    way = site.forbidden[0]
    riders: list[Solid] = []
    begin = cue.start
    while begin < cue.end:
        speed = float(rng.uniform(2.6, 3.6))
        mine = (way if rng.random() < 0.5 else way.turned()).moved(0.0, float(rng.uniform(-0.4, 0.4)))
        script = Ride(way=mine, begin=begin - 6.5 / speed, speed=speed, wobble=0.12)
        paint = PAINTS[rng.integers(len(PAINTS))]
        riders.append(
            Rider(look=random_look(rng), paint=paint, script=script, group=len(riders) + 1, marked=(0.0, 1e9))
        )
        begin += float(rng.uniform(2.6, 3.6))
    return Incident(solids=riders)


@dataclass(frozen=True, kw_only=True)
class Trespass:
    """A car that drives slowly along a way, stands in the middle and drives on."""

    way: Path
    start: float
    end: float
    speed: float

    def __call__(self, t: float) -> VehiclePose | None:
        travel = 0.5 * self.way.length / self.speed
        gone = self.speed * (min(t - self.start, travel) + max(0.0, t - self.end + travel))
        if not 0 <= gone <= self.way.length:
            return None
        x, z = self.way.at(gone)
        standing = travel <= t - self.start and t < self.end - travel
        return VehiclePose(x=x, z=z, heading=self.way.heading, braking=standing)


def car_on_pavement(rng: np.random.Generator, site: Site, cue: Cue) -> Incident:
    """A car drives along the pavement and stops there."""
    way = site.forbidden[0]
    script = Trespass(
        way=way if rng.random() < 0.5 else way.turned(),
        start=cue.start,
        end=cue.end,
        speed=float(rng.uniform(2.8, 4.0)),
    )
    car = Driver(car=random_car(rng), script=script, group=1, marked=(cue.start, cue.end))
    return Incident(
        solids=[car],
        closed_way=(cue.start - 1.0, cue.end + 1.0),
        keep_out=(-12, way.start[1] - 1.7, 12, way.start[1] + 1.7),
    )


def running(rng: np.random.Generator, site: Site, cue: Cue) -> Incident:
    """People run through, one after another."""
    way = 1.0 if rng.random() < 0.5 else -1.0
    runners: list[Solid] = []
    begin = cue.start
    while begin < cue.end - 1.5:
        speed = float(rng.uniform(3.6, 4.6))
        z = float(rng.uniform(-0.8, 0.8))
        mine = Path((-10 * way, z), (10 * way, z + float(rng.uniform(-0.8, 0.8))), 0.0)
        script = Walk(way=mine, begin=begin - 6.0 / speed, speed=speed, phase=float(rng.uniform(0, 6)), run=0.85)
        runners.append(Person(look=random_look(rng), script=script, group=len(runners) + 1, marked=(0.0, 1e9)))
        begin += float(rng.uniform(0.9, 1.9))
    return Incident(solids=runners)


EVENTS: dict[str, Callable[[np.random.Generator, Site, Cue], Incident]] = {
    "fighting": fighting,
    "falling": falling,
    "fire and smoke": fire,
    "explosion": explosion,
    "car crash": crash,
    "cyclist on the pavement": cyclist_on_pavement,
    "car on the pavement": car_on_pavement,
    "running": running,
}
