"""Places: what a camera looks at, and where in it people and vehicles normally move.

The middle of the nearer pavement, square or floor is the world's origin; a street runs along x.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from stprompt_edge.training.scenes.backdrop import Backdrop
from stprompt_edge.training.scenes.camera import Camera, camera_towards
from stprompt_edge.training.scenes.lighting import Lighting, daylight, indoor_light
from stprompt_edge.training.scenes.props import (
    Foliage,
    Prop,
    bench,
    bin_prop,
    bollard,
    cone,
    crate,
    flag,
    kiosk,
    lamp_post,
    parked,
    plant,
    sign,
    steam,
)
from stprompt_edge.training.scenes.textures import TEXELS_PER_M, fill, plain, poster, tiled, weathered, window

Point = tuple[float, float]


@dataclass(frozen=True)
class Path:
    """A straight way from start to end (x, z), metres, with half its usable width."""

    start: Point
    end: Point
    half_width: float


@dataclass(frozen=True, kw_only=True)
class Site:
    """A place ready to be filled with activity.

    Args:
        walkways: where people walk.
        lanes: where vehicles drive, in their direction; empty where none may.
        hangouts: where people stand and talk.
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
    props: tuple[Prop, ...]
    indoor: bool = False


@dataclass(frozen=True, kw_only=True)
class Framing:
    """How a camera is mounted: person_fraction is a person's height at the origin as part of the frame's."""

    person_fraction: float
    size_wh: tuple[int, int]


def _texels(metres: float) -> int:
    return round(metres * TEXELS_PER_M)


def _camera(rng: np.random.Generator, framing: Framing, yaw_range: float, low: float = 0.42) -> Camera:
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


def facade(rng: np.random.Generator, long: float, tall: float, dark: bool) -> np.ndarray:
    """A row of house fronts: brick or plaster, windows, doors, shop fronts, posters."""
    surface = plain((_texels(tall), _texels(long)), (120, 120, 120))
    x = 0.0
    while x < long:
        wide = float(rng.uniform(5, 9))
        columns = slice(_texels(x), min(_texels(x + wide), surface.shape[1]))
        shape = (surface.shape[0], columns.stop - columns.start)
        if shape[1] < 4:
            break
        tone = tuple((rng.uniform(70, 170) * np.array((0.86, 0.95, 1.04)) + rng.normal(0, 10, 3)).clip(30, 210).tolist())
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
    board = tuple(rng.uniform(25, 190, 3).tolist())
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
    tone = tuple(rng.uniform(30, 110, 3).tolist())
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


def street(rng: np.random.Generator, framing: Framing) -> Site:
    """Two pavements and a two-lane road between house fronts; the near pavement is the camera's."""
    lighting, camera = daylight(rng), _camera(rng, framing, 0.42)
    far, left, kerb = 11.4, -24.0, 2.1
    ground = weathered(rng, (_texels(far + 8), _texels(48)), (92, 92, 94))
    slab = tuple((rng.uniform(118, 150) * np.array((0.95, 0.98, 1.0))).tolist())
    size = (0.6, 0.4) if rng.random() < 0.5 else (0.4, 0.4)
    for z0, z1 in ((-8.0, kerb), (far - 2.4, far)):
        rows = slice(_texels(far - z1), _texels(far - z0))
        ground[rows] = tiled(rng, (rows.stop - rows.start, ground.shape[1]), slab, size, bond=True)
    for z in (kerb, far - 2.4):
        fill(ground, (0, far - z - 0.08, 48, far - z + 0.08), (165, 166, 168), 0.85)
        fill(ground, (0, far - z - 0.3, 48, far - z - 0.08), (60, 60, 62), 0.4)
    for x in np.arange(0, 48, 3.0):
        fill(ground, (x, far - 5.6 - 0.06, x + 1.6, far - 5.6 + 0.06), (205, 208, 210), 0.75)
    fill(ground, (0, 0, 48, 0.5), (40, 40, 42), 0.3)
    back = Backdrop(camera, lighting)
    back.ground(ground, left, far)
    back.wall(facade(rng, 48, 9, lighting.dark), (left, far), (1, 0))
    sun, eye = lighting.sun, camera.eye
    props: list[Prop] = [
        parked(rng, float(rng.uniform(-7, 7)), 8.1, -np.pi / 2, eye, sun),
        lamp_post(float(rng.uniform(2.4, 3.4)) * (1 if rng.random() < 0.5 else -1), kerb - 0.3),
        bin_prop(rng, float(rng.uniform(-3, 3)), far - 1.0, eye, sun),
        flag(rng, float(rng.uniform(-5, 5)), far - 0.3),
        sign(rng, float(rng.uniform(-5, 5)), far - 0.15),
        Foliage(rng, float(rng.choice([-4.5, 4.5])) + float(rng.uniform(-0.8, 0.8)), far - 1.6),
    ]
    if rng.random() < 0.5:
        props.append(steam(rng, float(rng.uniform(-4, 4)), 5.5))
    for x in (-3.2, 0.4, 4.0):
        props.append(bollard(x + float(rng.uniform(-0.3, 0.3)), kerb - 0.25, eye, sun))
    return Site(
        kind="street",
        camera=camera,
        lighting=lighting,
        picture=back.picture(),
        walkways=(Path((-9, -0.6), (9, -0.6), 1.3), Path((-14, far - 1.3), (14, far - 1.3), 0.7)),
        lanes=(Path((-26, 3.9), (26, 3.9), 0.15), Path((26, 7.4 - 0.6), (-26, 7.4 - 0.6), 0.15)),
        hangouts=((float(rng.uniform(-3, 3)), float(rng.uniform(0.8, 1.4))), (float(rng.uniform(-4, 4)), far - 0.9)),
        forbidden=(Path((-11, -0.4), (11, -0.4), 0.5),),
        props=tuple(props),
    )


def plaza(rng: np.random.Generator, framing: Framing) -> Site:
    """A paved square with trees, benches and planters; no vehicle belongs there."""
    lighting, camera = daylight(rng), _camera(rng, framing, 0.6)
    far, left = float(rng.uniform(9, 13)), -22.0
    tone = tuple((rng.uniform(110, 165) * np.array((0.92, 0.97, 1.0))).tolist())
    ground = tiled(rng, (_texels(far + 8), _texels(44)), tone, (0.8, 0.8), spread=0.05)
    for x in np.arange(2, 44, 6.0):
        fill(ground, (x, 0, x + 0.35, far + 8), (84, 86, 92), 0.6)
    fill(ground, (0, 0, 44, 0.5), (40, 40, 42), 0.3)
    back = Backdrop(camera, lighting)
    back.ground(ground, left, far)
    back.wall(facade(rng, 44, 8, lighting.dark), (left, far), (1, 0))
    sun, eye = lighting.sun, camera.eye
    props: list[Prop] = [
        bench(rng, float(rng.uniform(-5, 5)), 5.2, eye, sun),
        bench(rng, float(rng.uniform(-5, 5)), far - 1.4, eye, sun),
        crate(rng, float(rng.uniform(-4, -2)), 4.2, (1.4, 0.5, 1.4), eye, sun),
        Foliage(rng, float(rng.uniform(2.5, 4.5)), 5.6),
        Foliage(rng, float(rng.uniform(-5.5, -3.5)), 6.4),
        flag(rng, float(rng.uniform(-4, 4)), far - 0.5),
        sign(rng, float(rng.uniform(-4, 4)), far - 0.15),
        bin_prop(rng, float(rng.uniform(1.5, 3)), 4.6, eye, sun),
        lamp_post(float(rng.uniform(-4.5, 4.5)), 3.4),
    ]
    if rng.random() < 0.4:
        props.append(kiosk(rng, float(rng.uniform(-3, 3)), far - 1.8, eye, sun))
    return Site(
        kind="plaza",
        camera=camera,
        lighting=lighting,
        picture=back.picture(),
        walkways=(
            Path((-10, 0.2), (10, 0.6), 1.0),
            Path((-11, 2.2), (11, 2.6), 0.8),
            Path((-6, -4.5), (5, far - 1), 0.8),
        ),
        lanes=(),
        hangouts=((float(rng.uniform(-3, 3)), 3.4), (float(rng.uniform(-3, 3)), far - 2.2)),
        forbidden=(Path((-11, -0.2), (11, 0.5), 0.5),),
        props=tuple(props),
    )


def car_park(rng: np.random.Generator, framing: Framing) -> Site:
    """A lane between a footway and bays with parked cars."""
    lighting, camera = daylight(rng), _camera(rng, framing, 0.4, 0.48)
    far, left = 13.0, -22.0
    ground = weathered(rng, (_texels(far + 8), _texels(44)), (86, 86, 88), 1.3)
    walk = tiled(rng, (_texels(8.0 - 0.4), ground.shape[1]), (128, 132, 136), (0.4, 0.4))
    ground[_texels(far + 0.4) : _texels(far + 0.4) + len(walk)] = walk[: len(ground) - _texels(far + 0.4)]
    fill(ground, (0, far + 0.32, 44, far + 0.48), (170, 170, 172), 0.85)
    for x in np.arange(0.5, 44, 2.7):
        fill(ground, (x, far - 10.6, x + 0.1, far - 5.6), (205, 208, 210), 0.8)
    back = Backdrop(camera, lighting)
    back.ground(ground, left, far)
    back.wall(facade(rng, 44, 7, lighting.dark), (left, far), (1, 0))
    sun, eye = lighting.sun, camera.eye
    bays = np.arange(left + 0.5, 22, 2.7) + 1.4
    props: list[Prop] = [
        parked(rng, float(x), 8.1 + float(rng.uniform(-0.2, 0.2)), float(rng.choice([0, np.pi])), eye, sun)
        for x in bays
        if abs(x) < 9 and rng.random() < 0.7
    ]
    props += [
        cone(float(rng.uniform(-4, 4)), 0.5, eye, sun),
        lamp_post(float(rng.uniform(-4, 4)), 11.0),
        Foliage(rng, float(rng.uniform(-5, 5)), far - 0.9),
        sign(rng, float(rng.uniform(-4, 4)), far - 0.15),
        flag(rng, float(rng.uniform(-6, 6)), far - 0.5),
    ]
    return Site(
        kind="car park",
        camera=camera,
        lighting=lighting,
        picture=back.picture(),
        walkways=(Path((-9, -1.4), (9, -1.4), 0.8), Path((-12, 11.5), (12, 11.5), 0.6)),
        lanes=(Path((-24, 3.0), (24, 3.0), 0.15),),
        hangouts=((float(rng.uniform(-3, 3)), -0.6), (float(rng.uniform(-4, 4)), 11.6)),
        forbidden=(Path((-11, -1.2), (11, -1.2), 0.4),),
        props=tuple(props),
    )


def _room(rng: np.random.Generator, framing: Framing, half: float, deep: float) -> tuple[Camera, Lighting, Backdrop]:
    lighting, camera = indoor_light(rng), _camera(rng, framing, 0.22, 0.4)
    tile = (0.6, 0.6) if rng.random() < 0.6 else (0.3, 0.3)
    tone = tuple((rng.uniform(110, 180) * np.array((0.92, 0.96, 1.0))).tolist())
    floor = tiled(rng, (_texels(deep + 8), _texels(2 * half + 2)), tone, tile, joint=0.84, spread=0.03)
    fill(floor, (0, 0, 2 * half + 2, 0.3), (40, 40, 42), 0.25)
    back = Backdrop(camera, lighting)
    back.ground(floor, -half - 1, deep)
    wall_tone = tuple((rng.uniform(130, 200) * np.array((0.94, 0.97, 1.0))).tolist())
    rear = weathered(rng, (_texels(3.2), _texels(2 * half)), wall_tone, 0.5)
    _wall_fittings(rng, rear, 2 * half)
    back.wall(rear, (-half, deep), (1, 0))
    for x, towards in ((-half, 1.0), (half, -1.0)):
        long = deep + 4
        flank = weathered(rng, (_texels(3.2), _texels(long)), wall_tone, 0.5) * np.float32(0.88)
        _wall_fittings(rng, flank, long)
        back.wall(flank, (x, -4.0) if towards > 0 else (x, deep), (0, towards))
    return camera, lighting, back


def _wall_fittings(rng: np.random.Generator, wall: np.ndarray, long: float) -> None:
    """Skirting, a dado, doors and notice boards."""
    fill(wall, (0, 3.08, long, 3.2), (70, 72, 76))
    if rng.random() < 0.5:
        fill(wall, (0, 2.1, long, 3.08), tuple(rng.uniform(80, 150, 3).tolist()), 0.6)
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


def lobby(rng: np.random.Generator, framing: Framing) -> Site:
    """A hall with doors, a counter, seats and plants."""
    half, deep = float(rng.uniform(4.5, 6.5)), float(rng.uniform(6.5, 9.5))
    camera, lighting, back = _room(rng, framing, half, deep)
    sun, eye = lighting.sun, camera.eye
    side = float(rng.choice([-1, 1]))
    props: list[Prop] = [
        crate(rng, side * (half - 1.6), deep - 1.5, (2.4, 1.1, 0.8), eye, sun),
        bench(rng, -side * (half - 1.4), deep - 1.0, eye, sun),
        plant(rng, -side * (half - 0.6), 2.5),
        plant(rng, side * (half - 0.5), deep - 0.6),
        sign(rng, float(rng.uniform(-2, 2)), deep - 0.1, 2.4),
    ]
    return Site(
        kind="lobby",
        camera=camera,
        lighting=lighting,
        picture=back.picture(),
        walkways=(
            Path((-half - 2, 0.3), (half + 2, 0.3), 0.9),
            Path((-half - 2, 2.8), (half + 2, 2.8), 0.8),
            Path((-1.5, -4.5), (1.2, deep - 0.4), 0.7),
        ),
        lanes=(),
        hangouts=((float(rng.uniform(-2.5, 2.5)), 4.2), (side * (half - 2.2), deep - 2.3)),
        forbidden=(),
        props=tuple(props),
        indoor=True,
    )


def shop(rng: np.random.Generator, framing: Framing) -> Site:
    """Shelves of goods along the back and the sides, an aisle and a till."""
    half, deep = float(rng.uniform(4.5, 6.0)), float(rng.uniform(6, 8))
    camera, lighting, back = _room(rng, framing, half, deep)
    for x, z, along, long in ((-half + 0.5, deep - 0.6, (1.0, 0.0), 2 * half - 1), (-half + 0.6, 0.5, (0.0, 1.0), 5.0)):
        back.wall(_shelf(rng, long), (x, z), along)
    back.wall(_shelf(rng, 5.0), (half - 0.6, 5.5), (0.0, -1.0))
    sun, eye = lighting.sun, camera.eye
    props: list[Prop] = [
        crate(rng, float(rng.uniform(-1.5, 1.5)), 4.3, (float(rng.uniform(1.2, 2.0)), 1.15, 0.6), eye, sun),
        crate(rng, half - 1.6, 2.2, (0.7, 0.95, 1.8), eye, sun),
        sign(rng, float(rng.uniform(-2, 2)), deep - 0.5, 2.5),
    ]
    return Site(
        kind="shop",
        camera=camera,
        lighting=lighting,
        picture=back.picture(),
        walkways=(
            Path((-half - 1, 0.4), (half + 1, 0.4), 0.8),
            Path((-half - 1, 2.6), (half + 1, 2.6), 0.6),
            Path((-2.6, -4.5), (-2.3, deep - 1.6), 0.4),
        ),
        lanes=(),
        hangouts=((float(rng.uniform(-2.5, 2.5)), 5.6), (float(rng.uniform(-3, -1)), 3.4)),
        forbidden=(),
        props=tuple(props),
        indoor=True,
    )


def _shelf(rng: np.random.Generator, long: float) -> np.ndarray:
    """A shelf unit 1.9 m tall, filled with packages."""
    unit = plain((_texels(1.9), _texels(long)), (62, 64, 68))
    for y in np.arange(0.1, 1.6, 0.36):
        x = 0.05
        while x < long - 0.1:
            wide = float(rng.uniform(0.08, 0.24))
            tone = tuple(rng.uniform(40, 215, 3).tolist())
            for copy in range(int(rng.integers(1, 4))):
                start = x + copy * wide
                fill(unit, (start, y + rng.uniform(0.02, 0.1), start + wide * 0.9, y + 0.31), tone)
                x = start + wide
        fill(unit, (0, y + 0.31, long, y + 0.36), (175, 176, 178))
    return unit


SITES: dict[str, Callable[[np.random.Generator, Framing], Site]] = {
    "street": street,
    "plaza": plaza,
    "car park": car_park,
    "lobby": lobby,
    "shop": shop,
}
